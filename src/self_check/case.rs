//! One call of an operation, on two devices, and what must be equal.

use crate::backend::eval;
use crate::cpu::{Array, dispatch};
use crate::device::Device;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::seed::permutation;
use crate::tensor::Tensor;

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
pub(super) struct Case {
    pub operation: String,
    /// On the CPU.
    pub inputs: Vec<Tensor>,
    call: Call,
    pub tolerance: f64,
    /// Results are compared relative to their largest magnitude, or to this where it is larger: terms may cancel.
    pub floor: f64,
    /// Whether gradients of gradients are compared, too.
    pub second: bool,
}

/// Seeded inputs and the cases.
#[derive(Default)]
pub(super) struct Cases {
    pub list: Vec<Case>,
    drawn: u64,
}

impl Case {
    /// Outputs, gradients and, where they are wanted, gradients of gradients: not computed yet.
    pub fn build(&self, device: Device) -> Result<Vec<Tensor>> {
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

    pub fn run(&self, device: Device) -> Result<Vec<Vec<f64>>> {
        let results = self.build(device)?;
        // together, as in training
        eval(&results.iter().collect::<Vec<_>>())?;
        results.iter().map(|t| numbers(&t.to_host()?)).collect()
    }

    /// The largest relative difference, and what is wrong with it.
    pub fn compare(&self, got: &[Vec<f64>], want: &[Vec<f64>]) -> (f64, Option<String>) {
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
    pub fn seed(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Uniform in low..high.
    pub fn uniform(&mut self, dims: &[usize], low: f64, high: f64) -> Result<Tensor> {
        let t = ((Tensor::rand(dims, Device::Cpu, self.seed())? * (high - low))? + low)?;
        t.eval()?;
        Ok(t)
    }

    /// Of either sign, 0.25 to 2 in magnitude: no kink at zero, no pole.
    pub fn float(&mut self, dims: &[usize]) -> Result<Tensor> {
        let sign = self.uniform(dims, -1.0, 1.0)?.sign()?;
        let t = (self.uniform(dims, 0.25, 2.0)? * sign)?;
        t.eval()?;
        Ok(t)
    }

    /// Every value once, in some order: no ties.
    pub fn distinct(&mut self, dims: &[usize]) -> Result<Tensor> {
        let n: usize = dims.iter().product();
        let order = permutation(n as u32, self.seed());
        let values = order.into_iter().map(|v| (v as f32 - n as f32 / 2.0) * 0.0625).collect();
        Tensor::from_vec(values, dims, Device::Cpu)
    }

    /// Whole numbers in low..high.
    pub fn whole(&mut self, dims: &[usize], low: i32, high: i32, dtype: DType) -> Result<Tensor> {
        let t = Tensor::randint(low, high, dims, Device::Cpu, self.seed())?.cast(dtype)?;
        t.eval()?;
        Ok(t)
    }

    pub fn add(
        &mut self,
        operation: &str,
        inputs: Vec<Tensor>,
        call: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> &mut Case {
        self.add_all(operation, inputs, move |x| Ok(vec![call(x)?]))
    }

    pub fn add_all(
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
    pub fn exact(&mut self) {
        self.tolerance = 0.0;
    }

    pub fn second(&mut self) {
        self.second = true;
        self.tolerance *= 5.0;
    }
}
