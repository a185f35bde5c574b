//! Gradients against finite differences.

use super::parity::gradients;
use super::pass::{Borrowed, Outputs, PassValues, direction, elements, pass};
use super::table::tensor;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Context, Module, Parameter};
use crate::tensor::Tensor;

/// Elements of one input, or parameter, that are checked one by one. Of larger ones so many are, spread evenly, and all of them
/// together along [`DIRECTIONS`] lines.
const MOST: usize = 256;

/// Lines through a large input.
const DIRECTIONS: u64 = 4;

/// How exact differences are in an element type.
#[derive(Clone, Copy)]
struct Precision {
    dtype: DType,
    /// Step, relative to an element of more than 1. The five-point formula's error is of its fourth power.
    step: f64,
    /// Allowed difference relative to the largest gradient of the input.
    rtol: f64,
    /// The same relative to the sum of the outputs' magnitudes: rounding of the function itself, over the step.
    noise: f64,
}

const DOUBLE: Precision = Precision { dtype: DType::F64, step: 1.0 / 4096.0, rtol: 1e-6, noise: 2e-13 };
/// For functions without f64, such as custom operations.
const SINGLE: Precision = Precision { dtype: DType::F32, step: 1.0 / 32.0, rtol: 1e-3, noise: 2e-7 };

/// Checks the gradients of a function against central differences (five points; Abramowitz and Stegun, 25.3.6) on the CPU: of
/// each element of each float input, for a fixed upstream gradient. Inputs of more than 256 elements are checked at 256 places
/// and along four lines.
///
/// Inputs are moved to the CPU and become f64, whatever they were, and the function must compute in the type of its inputs; one
/// that refuses f64 ([`Error::DType`]), such as a [`CustomOp`](crate::CustomOp), is checked in f32, a thousand times less
/// exactly. It must give the same for the same inputs, and be smooth there: no ReLU at 0, no tie in a maximum.
///
/// A function that calls `backward` itself, on its inputs, can be checked too: inputs are watched.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let x = Tensor::new([[0.5f32, -1.0], [2.0, 0.25]], Device::Cpu)?;
/// wgrad::testing::check_gradients(|t| t[0].softmax(-1)?.log(), &[x])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::Mismatch`] names the input, the element, its gradient and what differences give; it says where differences from
/// the left and the right disagree. Else what the function returns.
pub fn check_gradients<R: Outputs>(f: impl Fn(&[Tensor]) -> Result<R>, inputs: &[Tensor]) -> Result<()> {
    let pass = |x: &[Tensor]| Ok(PassValues { outputs: f(x)?.into_tensors(), also: Vec::new() });
    check("check_gradients", &pass, inputs, &[])
}

/// As [`check_gradients`], of a training pass of a module, with respect to its trainable parameters and its float inputs.
/// Layers that draw random numbers draw the same each time. The parameters are given back as they were, also after an error;
/// nothing else may use the module meanwhile.
///
/// ```
/// use wgrad::nn::BatchNorm;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(3).activation(Activation::Tanh)).add(BatchNorm::new());
/// let x = Tensor::randn([4, 2], Device::Cpu, 1)?;
/// wgrad::testing::check_module_gradients(&model.build([2], Device::Cpu)?, &[x])?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`check_gradients`].
pub fn check_module_gradients(module: &(impl Module + ?Sized), inputs: &[Tensor]) -> Result<()> {
    let parameters = module.parameters();
    let pass = |x: &[Tensor]| pass(module, x, &Context::train(7));
    check("check_module_gradients", &pass, inputs, &parameters)
}

fn check(
    check: &'static str,
    pass: &dyn Fn(&[Tensor]) -> Result<PassValues>,
    inputs: &[Tensor],
    parameters: &[Parameter],
) -> Result<()> {
    let inputs = inputs.iter().map(|x| x.detach()?.to_device(Device::Cpu)).collect::<Result<Vec<_>>>()?;
    let borrowed = Borrowed::new(parameters)?;
    let with = |precision: Precision| {
        let watch =
            |x: &Tensor| if x.dtype().is_float() { x.cast(precision.dtype)?.watch() } else { Ok(x.clone()) };
        let inputs = inputs.iter().map(watch).collect::<Result<Vec<_>>>()?;
        Check { check, pass, inputs, borrowed: &borrowed, precision }.run()
    };
    match with(DOUBLE) {
        Err(e) if matches!(e.root(), Error::DType { .. }) => with(SINGLE),
        result => result,
    }
}

struct Check<'a> {
    check: &'static str,
    pass: &'a dyn Fn(&[Tensor]) -> Result<PassValues>,
    /// On the CPU, in the type of the check, floats watched.
    inputs: Vec<Tensor>,
    borrowed: &'a Borrowed<'a>,
    precision: Precision,
}

/// What gradients are taken with respect to.
#[derive(Clone, Copy)]
enum Leaf {
    Input(usize),
    Parameter(usize),
}

impl Check<'_> {
    fn run(&self) -> Result<()> {
        self.borrowed.place(|t| self.placed(t))?;
        let inputs = &self.inputs;
        let outputs = (self.pass)(inputs)?.outputs;
        let parameters = self.borrowed.parameters;
        let trainable = (0..parameters.len()).filter(|&p| parameters[p].trainable());
        let leaves: Vec<Leaf> = (0..inputs.len())
            .filter(|&i| inputs[i].is_tracked())
            .map(Leaf::Input)
            .chain(trainable.map(Leaf::Parameter))
            .collect();
        let found = gradients(&outputs, inputs, parameters)?;
        // A function that depends on no input has gradients of zero.
        let found: Vec<Vec<f64>> = match found.is_empty() {
            true => leaves.iter().map(|&leaf| vec![0.0; self.leaf(leaf).numel()]).collect(),
            false => found.iter().map(|(_, g)| elements(g)).collect::<Result<_>>()?,
        };
        let magnitude = self.project(&outputs)?.magnitude;
        leaves.iter().zip(&found).try_for_each(|(&leaf, gradient)| self.of(leaf, gradient, magnitude))
    }

    /// A tensor in the type of the check; integers stay.
    fn placed(&self, t: &Tensor) -> Result<Tensor> {
        let t = t.to_device(Device::Cpu)?;
        if t.dtype().is_float() { t.cast(self.precision.dtype) } else { Ok(t) }
    }

    fn leaf(&self, leaf: Leaf) -> &Tensor {
        match leaf {
            Leaf::Input(i) => &self.inputs[i],
            Leaf::Parameter(p) => &self.borrowed.originals[p],
        }
    }

    fn name(&self, leaf: Leaf) -> String {
        match leaf {
            Leaf::Input(i) => format!("input {i}"),
            Leaf::Parameter(p) => self.borrowed.parameters[p].name.clone(),
        }
    }

    /// The sum of all float outputs, each element times its fixed factor.
    fn project(&self, outputs: &[Tensor]) -> Result<Projection> {
        let mut sum = Projection { value: 0.0, magnitude: 0.0 };
        for (o, y) in outputs.iter().enumerate().filter(|(_, y)| y.dtype().is_float()) {
            for (v, d) in elements(y)?.iter().zip(direction(o as u64, y.numel())) {
                sum.value += v * d;
                sum.magnitude += (v * d).abs();
            }
        }
        Ok(sum)
    }

    /// The projection with a leaf moved by `by` along a line.
    fn moved(&self, leaf: Leaf, values: &[f64], line: &Line, by: f64) -> Result<f64> {
        let mut values = values.to_vec();
        match line {
            Line::Element(e) => values[*e] += by,
            Line::All(direction) => values.iter_mut().zip(direction).for_each(|(v, d)| *v += by * d),
        }
        let moved = tensor(&values, self.leaf(leaf).dims(), self.precision.dtype, Device::Cpu)?;
        let mut inputs = self.inputs.clone();
        match leaf {
            Leaf::Input(i) => inputs[i] = moved.watch()?,
            Leaf::Parameter(p) => self.borrowed.parameters[p].variable.exchange(&moved)?,
        }
        Ok(self.project(&(self.pass)(&inputs)?.outputs)?.value)
    }

    /// Compares the gradient of one leaf.
    fn of(&self, leaf: Leaf, gradient: &[f64], magnitude: f64) -> Result<()> {
        let values = elements(self.leaf(leaf))?;
        let n = values.len();
        let mut lines: Vec<Line> = match n > MOST {
            true => (0..MOST).map(|i| Line::Element(i * (n - 1) / (MOST - 1))).collect(),
            false => (0..n).map(Line::Element).collect(),
        };
        if n > MOST {
            lines.extend((0..DIRECTIONS).map(|stream| Line::All(direction(1000 + stream, n))));
        }
        let mut slopes = Vec::with_capacity(lines.len());
        for line in &lines {
            slopes.push(self.slope(leaf, &values, line)?);
        }
        self.borrowed.place(|t| self.placed(t))?;
        let got: Vec<f64> = lines.iter().map(|line| line.of(gradient)).collect();
        let largest = |numbers: &mut dyn Iterator<Item = f64>| {
            numbers.map(f64::abs).filter(|v| v.is_finite()).fold(0.0, f64::max)
        };
        let scale = largest(&mut got.iter().copied().chain(slopes.iter().map(|s| s.central)));
        let allowed = self.precision.rtol * scale + self.precision.noise * magnitude / self.precision.step;
        for ((line, got), slope) in lines.iter().zip(&got).zip(&slopes) {
            let off = (got - slope.central).abs();
            if off <= allowed {
                continue;
            }
            let (name, shape) = (self.name(leaf), self.leaf(leaf).shape());
            let place = match line {
                Line::Element(e) => format!("element {e}"),
                Line::All(_) => "the sum along a line through all elements".into(),
            };
            let kink = match (slope.left - slope.right).abs() <= 0.01 * scale.max(slope.left.abs()) {
                true => "",
                false => {
                    "; differences from the left and the right disagree: there is a kink or a step (a ReLU at 0, a tie in a \
                     maximum), move the input away from it"
                }
            };
            let message = format!(
                "gradient of {name} ({shape}), {place}: got {got:?}, differences say {:?}; off by {off:.3e}, allowed \
                 {allowed:.3e} ({:e} of the largest, {scale:.3e}, and rounding in {}){kink}",
                slope.central, self.precision.rtol, self.precision.dtype
            );
            return Err(Error::mismatch(self.check, message));
        }
        Ok(())
    }

    fn slope(&self, leaf: Leaf, values: &[f64], line: &Line) -> Result<Slope> {
        let size = match line {
            Line::Element(e) => values[*e].abs().max(1.0),
            Line::All(_) => 1.0,
        };
        // a power of two times the step: what is added to f32 is what is divided by
        let h = self.precision.step * size.log2().floor().exp2();
        let f = |by: f64| self.moved(leaf, values, line, by);
        let (far_left, left, right, far_right) = (f(-2.0 * h)?, f(-h)?, f(h)?, f(2.0 * h)?);
        let central = (far_left - 8.0 * left + 8.0 * right - far_right) / (12.0 * h);
        // at half a step to either side
        Ok(Slope { central, left: (left - far_left) / h, right: (far_right - right) / h })
    }
}

struct Projection {
    value: f64,
    magnitude: f64,
}

/// Where a leaf is moved.
enum Line {
    Element(usize),
    All(Vec<f64>),
}

impl Line {
    /// The gradient along it.
    fn of(&self, gradient: &[f64]) -> f64 {
        match self {
            Line::Element(e) => gradient[*e],
            Line::All(direction) => gradient.iter().zip(direction).map(|(g, d)| g * d).sum(),
        }
    }
}

struct Slope {
    central: f64,
    left: f64,
    right: f64,
}
