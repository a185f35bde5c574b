//! Every device against the CPU.

use super::close::worst;
use super::pass::{Borrowed, Outputs, PassValues, direction, elements, pass};
use super::table::tensor;
use crate::device::{Device, DeviceInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Context, Module, Parameter};
use crate::shape::Shape;
use crate::tensor::{Tensor, no_grad};

/// What single precision owes, relative to the largest magnitude of a result.
const RTOL: f64 = 1e-5;

/// How often rounding noise is measured.
const NOISE_RUNS: u32 = 3;

/// How much larger than the measured noise a difference may be: a GPU rounds in other places than the CPU, and its
/// functions are exact to a few units in the last place.
const NOISE_FACTOR: f64 = 16.0;

/// Noise above this share of the largest number of a run, inputs and parameters included, is none: a step of the function lies there.
const MOST_NOISE: f64 = 1e-4;

/// The seed of training passes.
const SEED: u64 = 7;

/// Computes a function on every device of [`Device::list`] and compares with the CPU: its outputs and, where they are
/// floats, the gradients with respect to all float inputs, for a fixed upstream gradient.
///
/// Inputs may live anywhere; they are moved to each device, f64 as f32. The function must compute on the device of its
/// inputs and give the same for the same inputs. What it captures stays where it is: pass weights as inputs, or see
/// [`assert_module_parity`].
///
/// Integers must be equal. Floats of an output or a gradient may differ by 1e-5 of its largest magnitude, plus 16 times its
/// rounding noise: how far it moves on the CPU when all inputs grow by a few units in the last place. Where terms cancel, such
/// as in the gradient of a bias before a batch normalisation, that noise is all there is. NaN must meet NaN, and an infinity
/// the same infinity.
///
/// ```no_run
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::randn([3, 4], Device::Cpu, 1)?;
/// wgrad::testing::assert_parity(|t| t[0].tanh()?.sum(1, false), &[x])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::Mismatch`] names the device, the output or gradient, and the worst element. [`Error::NoAdapter`] where there is no
/// device to compare with. Else what the function itself returns.
pub fn assert_parity<R: Outputs>(f: impl Fn(&[Tensor]) -> Result<R>, inputs: &[Tensor]) -> Result<()> {
    let pass = |x: &[Tensor]| Ok(PassValues { outputs: f(x)?.into_tensors(), also: Vec::new() });
    Subject { check: "assert_parity", mode: "", parameters: &[], pass: &pass, gradients: true }
        .compare(inputs)
}

/// As [`assert_parity`], of a module: a training pass (outputs, gradients with respect to all trainable parameters and float
/// inputs, buffers such as moving averages afterwards) and a pass that predicts.
///
/// The module's parameters are moved to each device and back; afterwards they hold what they held, also after an error. Nothing
/// else may use the module meanwhile.
///
/// ```no_run
/// use wgrad::nn::BatchNorm;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(3)).add(BatchNorm::new()).build([4], Device::Cpu)?;
/// wgrad::testing::assert_module_parity(&model, &[Tensor::randn([8, 4], Device::Cpu, 1)?])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`assert_parity`].
pub fn assert_module_parity(module: &(impl Module + ?Sized), inputs: &[Tensor]) -> Result<()> {
    let parameters = module.parameters();
    let check = "assert_module_parity";
    let training = |x: &[Tensor]| pass(module, x, &Context::train(SEED));
    let mode = "training pass, ";
    Subject { check, mode, parameters: &parameters, pass: &training, gradients: true }.compare(inputs)?;
    let predicting = |x: &[Tensor]| no_grad(|| pass(module, x, &Context::eval()));
    let mode = "predicting pass, ";
    Subject { check, mode, parameters: &parameters, pass: &predicting, gradients: false }.compare(inputs)
}

/// What is computed everywhere.
struct Subject<'a> {
    check: &'static str,
    /// What precedes the names of results.
    mode: &'static str,
    parameters: &'a [Parameter],
    pass: &'a dyn Fn(&[Tensor]) -> Result<PassValues>,
    gradients: bool,
}

/// One tensor that a run gave.
struct Quantity {
    what: String,
    shape: Shape,
    dtype: DType,
    values: Vec<f64>,
}

impl Subject<'_> {
    fn compare(&self, inputs: &[Tensor]) -> Result<()> {
        let devices: Vec<DeviceInfo> =
            Device::list().into_iter().filter(|info| info.device != Device::Cpu).collect();
        if devices.is_empty() {
            // says how to get an adapter
            Device::Gpu.info()?;
        }
        let inputs = inputs.iter().map(Tensor::detach).collect::<Result<Vec<_>>>()?;
        let borrowed = Borrowed::new(self.parameters)?;
        let want = self.run(&borrowed, &inputs, Device::Cpu, 0)?;
        let mut largest = want.iter().flat_map(|q| finite(&q.values)).fold(0.0, f64::max);
        // Where everything cancels, only what goes in says how large the terms were.
        let parameters = self.parameters.iter().map(|p| p.variable.value());
        for x in inputs.iter().cloned().chain(parameters).filter(|x| x.dtype().is_float()) {
            largest = finite(&elements(&x)?).fold(largest, f64::max);
        }
        let mut noise = vec![0.0f64; want.len()];
        for run in 1..=NOISE_RUNS {
            for (most, (moved, q)) in
                noise.iter_mut().zip(self.run(&borrowed, &inputs, Device::Cpu, run)?.iter().zip(&want))
            {
                let off = moved.values.iter().zip(&q.values).map(|(a, b)| (a - b).abs());
                *most = off.filter(|v| *v <= MOST_NOISE * largest).fold(*most, f64::max);
            }
        }
        for info in devices {
            let got = self.run(&borrowed, &inputs, info.device, 0)?;
            self.same(&info, &got, &want, &noise)?;
        }
        Ok(())
    }

    fn same(&self, info: &DeviceInfo, got: &[Quantity], want: &[Quantity], noise: &[f64]) -> Result<()> {
        let fail = |message: String| {
            Err(Error::mismatch(
                self.check,
                format!("{} ({}): {}{message}", info.device, info.name, self.mode),
            ))
        };
        if got.len() != want.len() {
            return fail(format!("{} results, {} on the CPU", got.len(), want.len()));
        }
        for ((g, w), &noise) in got.iter().zip(want).zip(noise) {
            if (g.shape, g.dtype) != (w.shape, w.dtype) {
                let (what, shape, dtype) = (&w.what, w.shape, w.dtype);
                return fail(format!("{what} is {} {}, on the CPU {dtype} {shape}", g.dtype, g.shape));
            }
            let scale = finite(&w.values).fold(0.0, f64::max);
            let (allowed, rule) = match w.dtype.is_float() {
                true => (
                    RTOL * scale + NOISE_FACTOR * noise,
                    format!(
                        "{RTOL:e} of the largest magnitude {scale:.3e} + {NOISE_FACTOR} x rounding noise {noise:.1e}"
                    ),
                ),
                false => (0.0, "integers are equal".into()),
            };
            if let Some(difference) = worst(&g.values, &w.values, |_| allowed) {
                return fail(format!("{}: {}", w.what, difference.report(Some(w.shape), &rule)));
            }
        }
        Ok(())
    }

    /// Everything that one pass gives on a device, with floats grown by `run` units in the last place.
    fn run(
        &self,
        borrowed: &Borrowed<'_>,
        inputs: &[Tensor],
        device: Device,
        run: u32,
    ) -> Result<Vec<Quantity>> {
        let place = |t: &Tensor| -> Result<Tensor> {
            let t = match t.dtype() {
                DType::F64 => t.cast(DType::F32)?,
                _ => t.clone(),
            };
            let t = t.to_device(device)?;
            match t.dtype().is_float() && run > 0 {
                true => &t * (1.0 + f64::from(run) * f64::from(f32::EPSILON)),
                false => Ok(t),
            }
        };
        borrowed.place(place)?;
        let mut placed = Vec::with_capacity(inputs.len());
        for input in inputs {
            let t = place(input)?;
            placed.push(if t.dtype().is_float() && self.gradients { t.watch()? } else { t });
        }
        let PassValues { outputs, also } = (self.pass)(&placed)?;
        let mut results: Vec<(String, Tensor)> = Vec::new();
        for (i, y) in outputs.iter().enumerate() {
            results.push((format!("output {i}"), y.clone()));
        }
        let leaves = gradients(&outputs, &placed, self.parameters)?;
        results.extend(leaves.into_iter().map(|(name, g)| (format!("gradient of {name}"), g)));
        for p in self.parameters.iter().filter(|p| p.buffer) {
            results.push((format!("{} after it", p.name), p.variable.value()));
        }
        let all: Vec<&Tensor> = results.iter().map(|(_, t)| t).chain(&also).collect();
        crate::eval(&all)?;
        let quantity = |(what, t): (String, Tensor)| {
            Ok(Quantity { what, shape: t.shape(), dtype: t.dtype(), values: elements(&t)? })
        };
        results.into_iter().map(quantity).collect()
    }
}

/// The gradients of the outputs, each times a fixed direction, with respect to all watched inputs and trainable parameters.
pub(super) fn gradients(
    outputs: &[Tensor],
    inputs: &[Tensor],
    parameters: &[Parameter],
) -> Result<Vec<(String, Tensor)>> {
    let mut sums: Vec<(String, Tensor)> = Vec::new();
    for (o, y) in outputs.iter().enumerate().filter(|(_, y)| y.is_tracked()) {
        let upstream = tensor(&direction(o as u64, y.numel()), y.dims(), y.dtype(), y.device())?;
        let grads = y.backward_with(&upstream)?;
        let mut of_this = Vec::new();
        for (i, x) in inputs.iter().enumerate().filter(|(_, x)| x.is_tracked()) {
            of_this.push((format!("input {i}"), grads.get_or_zeros(x)?));
        }
        for p in parameters.iter().filter(|p| p.trainable()) {
            of_this.push((p.name.clone(), grads.get_or_zeros(&p.variable)?));
        }
        if sums.is_empty() {
            sums = of_this;
            continue;
        }
        for ((_, sum), (_, gradient)) in sums.iter_mut().zip(of_this) {
            *sum = (&*sum + gradient)?;
        }
    }
    Ok(sums)
}

fn finite(values: &[f64]) -> impl Iterator<Item = f64> + '_ {
    values.iter().map(|v| v.abs()).filter(|v| v.is_finite())
}
