//! The self-check: every operation on a device of the user's machine, forward and gradient, against the CPU.
//!
//! Drivers have faults that no test elsewhere finds: a gradient that is silently zero, a loop that is cut, a shader that is
//! compiled wrongly. The cases here are few and small; they call each operation once or a few times, with shapes that reach
//! its different kernels. A test makes sure that none is missing.

use crate::axes::Axes;
use crate::cpu::{Array, dispatch};
use crate::device::{Device, DeviceInfo};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::nn::{Activation, Context, Conv2d, Dense, Flatten, MaxPool2d, Module, Sequential};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::pointwise::{binary, compare, unary};
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::resize::Interpolation;
use crate::ops::table::{Binary, Compare, Unary};
use crate::optim::{Adagrad, Adam, AdamW, Lion, Nadam, Optimizer, RmsProp, Sgd};
use crate::tensor::Tensor;
use crate::variable::Variable;
use std::fmt;
use std::time::{Duration, Instant};

/// What single precision owes: relative to the largest magnitude of a result.
const TOLERANCE: f64 = 2e-5;

/// Where WGSL promises less, or where errors add up, and why.
const TOLERANCES: &[(&str, f64, &str)] = &[
    ("sin", 1e-3, "WGSL: within 2^-11"),
    ("cos", 1e-3, "WGSL: within 2^-11"),
    ("pow", 2e-4, "exp2(y * log2(x)): the logarithm's error grows with the exponent"),
    ("tanh", 1e-4, "WGSL: by sinh and cosh"),
    ("gelu_tanh", 1e-4, "by tanh"),
    ("prod", 1e-4, "rounding grows with the number of factors"),
    ("randn", 1e-4, "a logarithm near its zero"),
    ("training step", 1e-4, "a chain of operations"),
];

type Call = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>>;

/// One call of an operation.
struct Case {
    operation: String,
    /// On the CPU.
    inputs: Vec<Tensor>,
    call: Call,
    tolerance: f64,
    /// Results are compared relative to their largest magnitude, or to this where it is larger: terms may cancel.
    floor: f64,
    /// Whether gradients of gradients are compared, too.
    second: bool,
}

/// Seeded inputs and the cases.
#[derive(Default)]
struct Cases {
    list: Vec<Case>,
    drawn: u64,
}

/// What a self-check found about one operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedOperation {
    /// The operation.
    pub name: String,
    /// Calls that were compared, each with its gradients.
    pub cases: usize,
    /// The largest difference to the CPU's result, relative to the largest magnitude in it. 0 where nothing was computed.
    pub difference: f64,
    /// What it may be; 0 where results must be the same.
    pub tolerance: f64,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
    /// Time on the device, compiling of kernels included.
    pub time: Duration,
}

/// The report of [`Device::self_check`]; `{}` prints a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SelfCheck {
    /// The device.
    pub device: DeviceInfo,
    /// What was checked, in order.
    pub operations: Vec<CheckedOperation>,
    /// Time in all, the CPU's share included.
    pub time: Duration,
}

impl SelfCheck {
    /// Whether all operations agree with the CPU.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The operations that don't.
    pub fn failures(&self) -> impl Iterator<Item = &CheckedOperation> {
        self.operations.iter().filter(|o| o.problem.is_some())
    }

    /// The report as JSON: `adapter`, `backend`, `driver`, `passed`, `seconds`, and for each of its `operations` the fields of
    /// [`CheckedOperation`], times in milliseconds (`ms`).
    pub fn to_json(&self) -> String {
        let operation = |o: &CheckedOperation| {
            serde_json::json!({
                "name": o.name,
                "cases": o.cases,
                "difference": if o.difference.is_finite() { Some(o.difference) } else { None },
                "tolerance": o.tolerance,
                "problem": o.problem,
                "ms": o.time.as_secs_f64() * 1e3,
            })
        };
        serde_json::json!({
            "adapter": self.device.name,
            "backend": self.device.backend,
            "driver": self.device.driver,
            "passed": self.passed(),
            "seconds": self.time.as_secs_f64(),
            "operations": self.operations.iter().map(operation).collect::<Vec<_>>(),
        })
        .to_string()
    }
}

impl Device {
    /// Computes every operation, forward and gradient, on this device and on the CPU, and compares: to find out whether a
    /// driver can be trusted. Takes seconds, most of them for compiling kernels.
    ///
    /// ```no_run
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let report = Device::Gpu.self_check()?;
    /// println!("{report}");
    /// assert!(report.passed());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The device can't be opened, or is the CPU, which is what others are compared with. Operations that fail or differ are
    /// no error but in the report.
    pub fn self_check(self) -> Result<SelfCheck> {
        if self == Device::Cpu {
            let message =
                "the CPU is what other devices are compared with; name an adapter of Device::list()";
            return Err(Error::argument("Device::self_check", message));
        }
        self.check()?;
        let start = Instant::now();
        let mut operations: Vec<CheckedOperation> = Vec::new();
        for case in cases()? {
            let began = Instant::now();
            let got = case.run(self);
            let time = began.elapsed();
            let lost = matches!(got, Err(Error::DeviceLost { .. }));
            let outcome = got.and_then(|got| Ok((got, case.run(Device::Cpu)?)));
            let (difference, problem) = match outcome {
                Ok((got, want)) => case.compare(&got, &want),
                Err(e) => (f64::INFINITY, Some(e.to_string())),
            };
            match operations.iter_mut().find(|o| o.name == case.operation) {
                None => operations.push(CheckedOperation {
                    name: case.operation,
                    cases: 1,
                    difference,
                    tolerance: case.tolerance,
                    problem,
                    time,
                }),
                Some(o) => {
                    o.cases += 1;
                    o.difference = o.difference.max(difference);
                    o.tolerance = o.tolerance.max(case.tolerance);
                    o.problem = o.problem.take().or(problem);
                    o.time += time;
                }
            }
            if lost {
                break; // all that follows would fail the same way
            }
        }
        Ok(SelfCheck { device: self.info()?, operations, time: start.elapsed() })
    }
}

impl Case {
    /// Outputs, gradients and, where they are wanted, gradients of gradients: not computed yet.
    fn build(&self, device: Device) -> Result<Vec<Tensor>> {
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let moved = input.to_device(device)?;
            inputs.push(if input.dtype().is_float() { moved.watch()? } else { moved });
        }
        let mut results = (self.call)(&inputs)?;
        let gradients = |of: &[Tensor], seed: u64| -> Result<Vec<Tensor>> {
            let mut total: Option<Tensor> = None;
            for (i, y) in of.iter().enumerate().filter(|(_, y)| y.is_tracked()) {
                let direction = (Tensor::rand(y.shape(), device, seed + i as u64)? - 0.5)?;
                let sum = (y * direction)?.sum(.., false)?;
                total = Some(match total {
                    Some(t) => (t + sum)?,
                    None => sum,
                });
            }
            let Some(total) = total else { return Ok(Vec::new()) };
            let grads = total.backward()?;
            let watched = inputs.iter().filter(|x| x.is_tracked());
            watched.map(|x| grads.get_or_zeros(x)).collect()
        };
        let first = gradients(&results, 1)?;
        let second = if self.second { gradients(&first, 100)? } else { Vec::new() };
        results.extend(first);
        results.extend(second);
        Ok(results)
    }

    fn run(&self, device: Device) -> Result<Vec<Vec<f64>>> {
        let results = self.build(device)?;
        // together, as in training
        crate::backend::eval(&results.iter().collect::<Vec<_>>())?;
        results.iter().map(|t| numbers(&t.to_host()?)).collect()
    }

    /// The largest relative difference, and what is wrong with it.
    fn compare(&self, got: &[Vec<f64>], want: &[Vec<f64>]) -> (f64, Option<String>) {
        if got.len() != want.len() {
            let message = format!("{} results, the CPU has {}", got.len(), want.len());
            return (f64::INFINITY, Some(message));
        }
        let mut worst = 0.0f64;
        let mut problem = None;
        for (k, (g, w)) in got.iter().zip(want).enumerate() {
            let scale = w.iter().filter(|v| v.is_finite()).fold(self.floor, |m, v| m.max(v.abs()));
            for (i, (&g, &w)) in g.iter().zip(w).enumerate() {
                let off = match (g.is_finite(), w.is_finite()) {
                    (true, true) if g == w => 0.0,
                    (true, true) => (g - w).abs() / scale.max(f64::MIN_POSITIVE),
                    _ if g == w || (g.is_nan() && w.is_nan()) => 0.0,
                    _ => f64::INFINITY,
                };
                if off > self.tolerance && problem.is_none() {
                    let what =
                        if k == 0 { "the result".to_string() } else { format!("result {k} (a gradient)") };
                    problem = Some(format!("element {i} of {what} is {g:e}, on the CPU {w:e}"));
                }
                worst = worst.max(off);
            }
            if g.len() != w.len() {
                problem = Some(format!("{} elements, the CPU has {}", g.len(), w.len()));
                worst = f64::INFINITY;
            }
        }
        (worst, problem)
    }
}

fn numbers(array: &Array) -> Result<Vec<f64>> {
    let array = array.contiguous()?;
    dispatch!(array.dtype(), T => Ok(array.slice::<T>()?.iter().map(|v| v.to_f64()).collect()))
}

impl Cases {
    fn seed(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Uniform in low..high.
    fn uniform(&mut self, dims: &[usize], low: f64, high: f64) -> Result<Tensor> {
        let t = ((Tensor::rand(dims, Device::Cpu, self.seed())? * (high - low))? + low)?;
        t.eval()?;
        Ok(t)
    }

    /// Of either sign, 0.25 to 2 in magnitude: no kink at zero, no pole.
    fn float(&mut self, dims: &[usize]) -> Result<Tensor> {
        let sign = self.uniform(dims, -1.0, 1.0)?.sign()?;
        let t = (self.uniform(dims, 0.25, 2.0)? * sign)?;
        t.eval()?;
        Ok(t)
    }

    /// Every value once, in some order: no ties.
    fn distinct(&mut self, dims: &[usize]) -> Result<Tensor> {
        let n: usize = dims.iter().product();
        let order = crate::seed::permutation(n as u32, self.seed());
        let values = order.into_iter().map(|v| (v as f32 - n as f32 / 2.0) * 0.0625).collect();
        Tensor::from_vec(values, dims, Device::Cpu)
    }

    /// Whole numbers in low..high.
    fn whole(&mut self, dims: &[usize], low: i32, high: i32, dtype: DType) -> Result<Tensor> {
        let t = Tensor::randint(low, high, dims, Device::Cpu, self.seed())?.cast(dtype)?;
        t.eval()?;
        Ok(t)
    }

    fn add(
        &mut self,
        operation: &str,
        inputs: Vec<Tensor>,
        call: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> &mut Case {
        self.add_all(operation, inputs, move |x| Ok(vec![call(x)?]))
    }

    fn add_all(
        &mut self,
        operation: &str,
        inputs: Vec<Tensor>,
        call: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + 'static,
    ) -> &mut Case {
        let wide = TOLERANCES.iter().find(|t| t.0 == operation);
        self.list.push(Case {
            operation: operation.to_string(),
            inputs,
            call: Box::new(call),
            tolerance: wide.map_or(TOLERANCE, |t| t.1),
            floor: 0.1,
            second: false,
        });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}

impl Case {
    /// Integers and moved elements: the same to the bit. Their gradients are, too.
    fn exact(&mut self) {
        self.tolerance = 0.0;
    }

    fn second(&mut self) {
        self.second = true;
        self.tolerance *= 5.0;
    }
}

fn cases() -> Result<Vec<Case>> {
    let mut c = Cases::default();
    pointwise(&mut c)?;
    random(&mut c)?;
    reductions(&mut c)?;
    moving(&mut c)?;
    products(&mut c)?;
    images(&mut c)?;
    losses(&mut c)?;
    steps(&mut c)?;
    Ok(c.list)
}

/// Everything in the tables of pointwise functions.
fn pointwise(c: &mut Cases) -> Result<()> {
    for &f in Unary::ALL {
        let x = match f {
            Unary::Log | Unary::Log1p | Unary::Sqrt | Unary::Reciprocal => c.uniform(&[7, 33], 0.25, 2.5)?,
            _ => c.float(&[7, 33])?,
        };
        c.add(f.name(), vec![x], move |x| unary(f, &x[0]));
        if matches!(f, Unary::Neg | Unary::Abs | Unary::Square | Unary::Sign | Unary::Relu) {
            let x = c.whole(&[65], -9, 9, DType::I32)?;
            c.add(f.name(), vec![x], move |x| unary(f, &x[0]));
        }
    }
    for &f in Binary::ALL {
        // Between two sets of values no ties, which maxima share between both.
        let x = if f == Binary::Pow { c.uniform(&[5, 1, 9], 0.25, 2.5)? } else { c.float(&[5, 1, 9])? };
        let y = c.float(&[4, 9])?;
        c.add(f.name(), vec![x, y], move |x| binary(f, &x[0], &x[1]));
        let (a, b) = (c.whole(&[65], -9, 9, DType::I32)?, c.whole(&[65], 1, 4, DType::I32)?);
        c.add(f.name(), vec![a, b], move |x| binary(f, &x[0], &x[1]));
    }
    for &f in Compare::ALL {
        let (x, y) = (c.whole(&[4, 33], -2, 3, DType::F32)?, c.whole(&[33], -2, 3, DType::F32)?);
        c.add(f.name(), vec![x, y], move |x| compare(f, &x[0], &x[1])).exact();
        let (x, y) = (c.whole(&[33], 0, 3, DType::U32)?, c.whole(&[33], 0, 3, DType::U32)?);
        c.add(f.name(), vec![x, y], move |x| compare(f, &x[0], &x[1])).exact();
    }
    let (mask, x, y) = (c.whole(&[6, 1], 0, 2, DType::U8)?, c.float(&[6, 11])?, c.float(&[11])?);
    c.add("where", vec![mask, x, y], |x| x[0].select(&x[1], &x[2]));
    let x = c.float(&[6, 11])?;
    c.add("clamp", vec![x], |x| x[0].clamp(-1.0, 0.6)).exact();
    for (from, to) in [
        (DType::F32, DType::I32),
        (DType::F32, DType::U8),
        (DType::I32, DType::F32),
        (DType::U8, DType::F32),
        (DType::U32, DType::I32),
    ] {
        let x = c.whole(&[5, 13], 0, 200, from)?;
        c.add("cast", vec![x], move |x| x[0].cast(to)).exact();
    }
    Ok(())
}

fn random(c: &mut Cases) -> Result<()> {
    // The device is that of an input.
    let like = c.float(&[1])?;
    c.add("rand", vec![like.clone()], |x| Tensor::rand([1001], x[0].device(), 7)).exact();
    c.add("randn", vec![like.clone()], |x| Tensor::randn([1001], x[0].device(), 7));
    c.add("arange", vec![like], |x| Tensor::arange(-3, 1000, x[0].device())).exact();
    Ok(())
}

fn reductions(c: &mut Cases) -> Result<()> {
    type Reduce = fn(&Tensor, Axes, bool) -> Result<Tensor>;
    let list: [(&str, Reduce); 4] =
        [("sum", Tensor::sum), ("prod", Tensor::prod), ("max", Tensor::max), ("min", Tensor::min)];
    for (name, f) in list {
        for axes in [Axes::from(..), Axes::from(-1), Axes::from([0, 2])] {
            let dims = if name == "prod" { [2, 3, 2] } else { [7, 19, 6] };
            let x = match name {
                "max" | "min" => c.distinct(&dims)?,
                "prod" => c.uniform(&dims, 0.7, 1.4)?,
                _ => c.float(&dims)?,
            };
            c.add(name, vec![x], move |x| f(&x[0], axes.clone(), false));
        }
    }
    // Longer than the 65,535 turns after which lavapipe ends a loop, and more rows than a dispatch has workgroups.
    let long = c.uniform(&[150_000], 0.0, 1.0)?;
    c.add("sum", vec![long], |x| x[0].sum(.., false));
    let rows = c.uniform(&[70_000, 3], 0.0, 1.0)?;
    c.add("max", vec![rows], |x| x[0].max(-1, false)).exact();
    for axis in [0, -1] {
        let x = c.distinct(&[9, 31])?;
        c.add("argmax", vec![x.clone()], move |x| x[0].argmax(axis, false)).exact();
        c.add("argmin", vec![x], move |x| x[0].argmin(axis, true)).exact();
    }
    Ok(())
}

/// Views, joins, indexing.
fn moving(c: &mut Cases) -> Result<()> {
    let x = c.float(&[4, 5, 6])?;
    c.add("to_device", vec![x.clone()], |x| Ok(x[0].clone())).exact();
    let bytes = c.whole(&[77], 0, 256, DType::U8)?;
    c.add("to_device", vec![bytes], |x| Ok(x[0].clone())).exact();
    c.add("reshape", vec![x.clone()], |x| x[0].reshape([6, 20])).exact();
    c.add("permute", vec![x.clone()], |x| x[0].permute([2, 0, 1])).exact();
    let column = c.float(&[4, 1])?;
    c.add("broadcast_to", vec![column], |x| x[0].broadcast_to([3, 4, 7]));
    c.add("slice", vec![x.clone()], |x| x[0].slice(1, 1, 3)).exact();
    c.add("slice", vec![x.clone()], |x| x[0].slice_step(2, 5, 3, -2)).exact();
    let y = c.float(&[4, 2, 6])?;
    c.add("concat", vec![x.clone(), y.clone()], |x| Tensor::concat(&[&x[0], &x[1]], 1)).exact();
    c.add("pad", vec![x.clone()], |x| x[0].pad([(0, 0), (1, 2), (3, 0)], -1.5)).exact();
    c.add("pack", vec![x.clone(), y], |x| {
        let packed = crate::ops::join::pack(&[x[0].exp()?, x[1].clone()])?;
        // what lies between the parts is unspecified
        Tensor::concat(&[&packed.slice(0, 0, 120)?, &packed.slice(0, 128, 48)?], 0)
    });
    // More picks than places: the gradient adds up.
    let at = c.whole(&[17], 0, 5, DType::U32)?;
    c.add("index_select", vec![x.clone(), at], |x| x[0].index_select(1, &x[1])).second();
    let at = c.whole(&[4, 3, 6], 0, 5, DType::I32)?;
    c.add("gather", vec![x, at], |x| x[0].gather(1, &x[1]));
    Ok(())
}

fn products(c: &mut Cases) -> Result<()> {
    // Rows, inner length, columns: each kernel's favourite, odd ones, and sums long enough to be split.
    for (m, k, n) in [(5, 7, 3), (33, 65, 31), (64, 64, 128), (16, 4000, 16)] {
        let (a, b) = (c.float(&[m, k])?, c.float(&[k, n])?);
        let case = c.add("matmul", vec![a, b], |x| x[0].matmul(&x[1]));
        case.floor = 1.0;
        if m == 5 {
            case.second();
        }
    }
    let (a, b) = (c.float(&[3, 2, 17, 9])?, c.float(&[2, 8, 17])?);
    c.add("matmul", vec![a, b], |x| x[0].transpose()?.matmul(x[1].transpose()?)).floor = 1.0;
    Ok(())
}

fn images(c: &mut Cases) -> Result<()> {
    use Padding::{Explicit, Same, Valid};
    // kernel, stride, padding, dilation, groups, input and output channels of a group
    let list = [
        ([3, 3], [1, 1], Valid, [1, 1], 1, 1, 8),
        ([3, 3], [1, 1], Valid, [1, 1], 1, 16, 32),
        ([3, 2], [2, 3], Explicit([0, 2, 1, 3]), [1, 1], 1, 2, 5),
        ([2, 2], [1, 1], Valid, [2, 3], 1, 2, 2),
        ([1, 1], [2, 2], Valid, [1, 1], 1, 8, 4),
        ([3, 3], [1, 1], Same, [1, 1], 2, 4, 6),
        ([3, 3], [1, 2], Same, [1, 1], 6, 1, 1),
    ];
    for (i, (kernel, stride, padding, dilation, groups, cin, cout)) in list.into_iter().enumerate() {
        let x = c.float(&[2, 9, 11, cin * groups])?;
        let w = c.float(&[kernel[0], kernel[1], cin, cout * groups])?;
        let options = Conv2dOptions { stride, padding, dilation, groups };
        let case = c.add("conv2d", vec![x, w], move |x| x[0].conv2d(&x[1], options));
        case.floor = 1.0;
        if i == 2 {
            case.second();
        }
    }
    let (x, w) = (c.float(&[2, 5, 6, 4])?, c.float(&[3, 3, 6, 4])?);
    let options = ConvTranspose2dOptions { stride: [2, 2], ..Default::default() };
    c.add("conv2d_transpose", vec![x, w], move |x| x[0].conv2d_transpose(&x[1], options)).floor = 1.0;
    for how in [Interpolation::Nearest, Interpolation::Bilinear] {
        let x = c.float(&[2, 3, 4, 3])?;
        c.add("upsample2d", vec![x], move |x| x[0].upsample2d([2, 3], how));
    }
    for (kernel, stride, padding) in
        [([2, 2], [2, 2], Valid), ([3, 3], [2, 2], Same), ([3, 2], [1, 1], Valid)]
    {
        let options = Pool2dOptions { stride, padding, ..Pool2dOptions::new(kernel) };
        let x = c.distinct(&[2, 8, 9, 5])?;
        c.add("max_pool2d", vec![x.clone()], move |x| x[0].max_pool2d(options)?.square()).second();
        c.add("avg_pool2d", vec![x], move |x| x[0].avg_pool2d(options));
    }
    Ok(())
}

fn losses(c: &mut Cases) -> Result<()> {
    for (rows, cols) in [(9, 10), (3, 301)] {
        let x = c.float(&[rows, cols])?;
        c.add("softmax", vec![x.clone()], |x| x[0].softmax(-1)).second();
        c.add("log_softmax", vec![x.clone()], |x| x[0].log_softmax(-1)).second();
        let labels = c.whole(&[rows], 0, cols as i32, DType::U8)?;
        c.add("cross_entropy", vec![x.clone(), labels], |x| x[0].cross_entropy_rows(&x[1])).second();
        let weights = c.uniform(&[rows, cols], 0.1, 1.0)?;
        let sum = weights.sum(-1, true)?;
        let dense = (weights / sum)?;
        dense.eval()?;
        c.add("cross_entropy, dense", vec![x, dense], |x| x[0].cross_entropy_rows(&x[1])).second();
    }
    let x = c.float(&[4, 6, 5])?;
    c.add("softmax", vec![x], |x| x[0].softmax(1));
    Ok(())
}

/// Two steps of each optimizer, and a step of training a small network.
fn steps(c: &mut Cases) -> Result<()> {
    type Make = fn() -> Box<dyn Optimizer>;
    let list: [(&str, Make); 7] = [
        ("Sgd", || Box::new(Sgd::new(0.1).momentum(0.9))),
        ("Adam", || Box::new(Adam::new(0.1))),
        ("AdamW", || Box::new(AdamW::new(0.1))),
        ("RmsProp", || Box::new(RmsProp::new(0.1))),
        ("Adagrad", || Box::new(Adagrad::new(0.1))),
        ("Nadam", || Box::new(Nadam::new(0.1))),
        ("Lion", || Box::new(Lion::new(0.1))),
    ];
    for (name, make) in list {
        let (a, b) = (c.float(&[5, 7])?, c.float(&[70])?);
        c.add_all(&format!("step of {name}"), vec![a, b], move |x| {
            let variables = [Variable::new(x[0].detach()?), Variable::new(x[1].detach()?)];
            let mut optimizer = make();
            for _ in 0..2 {
                let sums = (variables[0].value().square()?.sum(.., false)?
                    + variables[1].value().exp()?.sum(.., false)?)?;
                optimizer.step(&sums.backward()?)?;
            }
            variables.iter().map(|v| v.value().detach()).collect()
        });
    }
    let (x, y) = (c.float(&[8, 12, 12, 1])?, c.whole(&[8], 0, 5, DType::U8)?);
    c.add_all("training step", vec![x, y], |x| {
        let model = Sequential::new()
            .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
            .add(MaxPool2d::new([2, 2]))
            .add(Conv2d::new(16, [3, 3]).activation(Activation::Relu))
            .add(Flatten::new())
            .add(Dense::new(16).activation(Activation::Relu))
            .add(Dense::new(5))
            .seed(3)
            .build([12, 12, 1], x[0].device())?;
        let loss = model.forward(&x[0].detach()?, &Context::train(1))?.cross_entropy(&x[1])?;
        let grads = loss.backward()?;
        let mut results = vec![loss.detach()?];
        for (_, gradient) in grads.variables() {
            results.push(gradient.detach()?);
        }
        Ok(results)
    });
    Ok(())
}

impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} against the CPU", self.device.name)?;
        let width = self.operations.iter().map(|o| o.name.len()).max().unwrap_or(0).max("operation".len());
        writeln!(
            f,
            "{:<width$}  {:>5}  {:>10}  {:>9}  {:>8}  result",
            "operation", "cases", "difference", "tolerance", "ms"
        )?;
        let number = |v: f64| match v {
            0.0 => "0".to_string(),
            v if v.is_finite() => format!("{v:.1e}"),
            _ => "-".to_string(),
        };
        for o in &self.operations {
            let result = if o.problem.is_some() { "FAILED" } else { "ok" };
            writeln!(
                f,
                "{:<width$}  {:>5}  {:>10}  {:>9}  {:>8.1}  {result}",
                o.name,
                o.cases,
                number(o.difference),
                number(o.tolerance),
                o.time.as_secs_f64() * 1e3
            )?;
        }
        for o in self.failures() {
            writeln!(f, "{}: {}", o.name, o.problem.as_deref().unwrap_or_default())?;
        }
        let cases: usize = self.operations.iter().map(|o| o.cases).sum();
        let all = self.operations.len();
        match self.failures().count() {
            0 => write!(f, "all {all} operations agree with the CPU ({cases} cases, ")?,
            n => write!(f, "{n} of {all} operations FAILED ({cases} cases, ")?,
        }
        write!(f, "{:.1} s)", self.time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
