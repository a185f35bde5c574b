//! The self-check: every operation on a device of the user's machine, forward and gradient, against the CPU.
//!
//! Drivers have faults that no test elsewhere finds: a gradient that is silently zero, a loop that is cut, a shader that is
//! compiled wrongly. The cases here are few and small; they call each operation once or a few times, with shapes that reach
//! its different kernels. A test makes sure that none is missing.

mod case;
mod table;

use crate::device::{Device, DeviceInfo};
use crate::error::{Error, Result};
use std::fmt;
use std::time::{Duration, Instant};
use table::cases;

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
