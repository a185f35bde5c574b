//! The self-check: every operation on a device of the user's machine, forward and gradient, against the CPU.
//!
//! Drivers have faults that no test elsewhere finds: a gradient that is silently zero, a loop that is cut, a shader that is
//! compiled wrongly. The rows are those of the crate's own tests ([`table`](crate::testing::table)), with the sizes at which other
//! kernels begin; steps of optimizers and of training come on top, for they are what operations are put together to.

use crate::device::{Device, DeviceInfo};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Activation, Context, Conv2d, Dense, Flatten, MaxPool2d, Module, Sequential};
use crate::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Nadam, Optimizer, RmsProp, Sgd,
};
use crate::tensor::Tensor;
use crate::testing::elements;
use crate::testing::table::{Case, Domain, Input, Rng, Size, ops};
use crate::variable::Variable;
use std::fmt;
use std::time::{Duration, Instant};

/// Drivers differ more among each other than the devices of the tests do.
const SLACK: f64 = 2.0;
/// A chain of operations may be off by this, relative to the largest magnitude of a result.
const CHAIN: f64 = 1e-4;
/// Magnitudes under this count as this: terms may cancel.
const FLOOR: f64 = 0.1;

type Build = Box<dyn Fn(Device) -> Result<Vec<Tensor>>>;

/// Something that is computed on both devices.
struct Check {
    operation: String,
    /// The results, not computed yet.
    build: Build,
    /// What the first result may be off by, and what the others may: gradients.
    tolerances: [f64; 2],
    floor: f64,
}

/// What a self-check found about one operation: a line of a [`SelfCheck`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedOperation {
    /// The operation.
    pub name: String,
    /// Calls that were compared, each with its gradients.
    pub cases: usize,
    /// The largest difference to the CPU's result, relative to the largest magnitude in it. Infinite where a call failed, or
    /// its result has another form.
    pub difference: f64,
    /// What it may be; 0 where results must be the same.
    pub tolerance: f64,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
    /// Time on the device, compiling of kernels included.
    pub time: Duration,
}

/// The report of [`Device::self_check`], where there is an example; `{}` prints a table.
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
        for check in checks() {
            let began = Instant::now();
            let got = check.run(self);
            let time = began.elapsed();
            let lost = got.as_ref().is_err_and(|e| matches!(e.root(), Error::DeviceLost { .. }));
            let outcome = got.and_then(|got| Ok((got, check.run(Device::Cpu)?)));
            let (difference, problem) = match outcome {
                Ok((got, want)) => check.compare(&got, &want),
                Err(e) => (f64::INFINITY, Some(e.to_string())),
            };
            let tolerance = check.tolerances[0].max(check.tolerances[1]);
            match operations.iter_mut().find(|o| o.name == check.operation) {
                None => operations.push(CheckedOperation {
                    name: check.operation,
                    cases: 1,
                    difference,
                    tolerance,
                    problem,
                    time,
                }),
                Some(o) => {
                    o.cases += 1;
                    o.difference = o.difference.max(difference);
                    o.tolerance = o.tolerance.max(tolerance);
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

impl Check {
    /// Output, gradients and, where the row says so, gradients of gradients.
    fn of_case(case: Case) -> Check {
        let tolerances = [case.tol, case.grad_tol * if case.second { 5.0 } else { 1.0 }];
        let (operation, floor) = (case.operation().to_string(), case.floor.max(FLOOR));
        let build = move |device| {
            let inputs = case.tensors(device, DType::F32)?;
            let mut results = vec![case.run(&inputs, device, DType::F32)?];
            let first = gradients(&results, &inputs, 1)?;
            let second = if case.second { gradients(&first, &inputs, 100)? } else { Vec::new() };
            results.extend(first);
            results.extend(second);
            Ok(results)
        };
        let tolerances = tolerances.map(|t| t * SLACK);
        Check { operation, build: Box::new(build), tolerances, floor }
    }

    /// Several operations, one after the other.
    fn of_chain(
        name: impl Into<String>,
        inputs: Vec<Input>,
        f: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + 'static,
    ) -> Check {
        let build = move |device| {
            let inputs = inputs.iter().map(|i| i.tensor(device, DType::F32)).collect::<Result<Vec<_>>>()?;
            f(&inputs)
        };
        Check { operation: name.into(), build: Box::new(build), tolerances: [CHAIN; 2], floor: FLOOR }
    }

    fn run(&self, device: Device) -> Result<Vec<Vec<f64>>> {
        let results = (self.build)(device)?;
        // together, as in training
        crate::backend::eval(&results.iter().collect::<Vec<_>>())?;
        results.iter().map(elements).collect()
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
                if off > self.tolerances[k.min(1)] && problem.is_none() {
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

/// The gradients of the inputs that are watched, by a random direction for each result.
fn gradients(of: &[Tensor], inputs: &[Tensor], seed: u64) -> Result<Vec<Tensor>> {
    let mut total: Option<Tensor> = None;
    for (i, y) in of.iter().enumerate().filter(|(_, y)| y.is_tracked()) {
        let direction = (Tensor::rand(y.shape(), y.device(), seed + i as u64)? - 0.5)?;
        let sum = (y * direction)?.sum(.., false)?;
        total = Some(match total {
            Some(t) => (t + sum)?,
            None => sum,
        });
    }
    let Some(total) = total else { return Ok(Vec::new()) };
    let grads = total.backward()?;
    inputs.iter().filter(|x| x.is_tracked()).map(|x| grads.get_or_zeros(x)).collect()
}

/// Everything that is computed.
fn checks() -> Vec<Check> {
    let mut all: Vec<Check> = ops(1, Size::Kernels).into_iter().map(Check::of_case).collect();
    all.extend(steps(&mut Rng(2)));
    all
}

/// Two steps of each optimizer, and a step of training a small network.
fn steps(rng: &mut Rng) -> Vec<Check> {
    type Make = fn() -> Box<dyn Optimizer>;
    let list: [(&str, Make); 11] = [
        ("Sgd", || Box::new(Sgd::new(0.1).momentum(0.9))),
        ("Adam", || Box::new(Adam::new(0.1))),
        ("AdamW", || Box::new(AdamW::new(0.1))),
        ("RmsProp", || Box::new(RmsProp::new(0.1))),
        ("Adagrad", || Box::new(Adagrad::new(0.1))),
        ("Nadam", || Box::new(Nadam::new(0.1))),
        ("Adadelta", || Box::new(Adadelta::new(1.0))),
        ("Adamax", || Box::new(Adamax::new(0.1))),
        ("Ftrl", || Box::new(Ftrl::new(0.1).l1(0.01).l2(0.1))),
        ("Lamb", || Box::new(Lamb::new(0.1))),
        ("Lion", || Box::new(Lion::new(0.1))),
    ];
    let mut all = Vec::new();
    for (name, make) in list {
        let inputs = [&[5, 7][..], &[70]].map(|dims| Input::float(rng, dims, Domain::AwayFromZero));
        all.push(Check::of_chain(format!("step of {name}"), inputs.into(), move |x| {
            let variables = [Variable::new(x[0].detach()?), Variable::new(x[1].detach()?)];
            let mut optimizer = make();
            for _ in 0..2 {
                let sums = (variables[0].value().square()?.sum(.., false)?
                    + variables[1].value().exp()?.sum(.., false)?)?;
                optimizer.step(&sums.backward()?)?;
            }
            variables.iter().map(|v| v.value().detach()).collect()
        }));
    }
    let x = Input::float(rng, &[8, 12, 12, 1], Domain::AwayFromZero);
    let y = Input::int(rng, DType::U8, &[8], Domain::Whole(0, 5));
    all.push(Check::of_chain("training step", vec![x, y], |x| {
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
    }));
    all
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
