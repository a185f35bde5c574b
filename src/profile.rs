//! Where the time goes, per kernel: [`Device::profile`](crate::Device::profile).

use crate::shape::Shape;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// How the kernels of a [`Profile`] were timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timing {
    /// By the clock of the GPU (or of the driver, on a software adapter), before and after each kernel.
    Timestamps,
    /// By the host's clock: every kernel was submitted alone and waited for, less what an empty submission takes.
    OneByOne,
    /// By the host's clock around each operation.
    HostClock,
}

/// All calls of one kernel (one operation, on the CPU) over one shape: a line of a [`Profile`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KernelProfile {
    /// The operations that it computes, inputs before users; for a hand-written kernel its variant (`/subgroup`), and
    /// `|` between small kernels that share a dispatch.
    pub name: String,
    /// Shape of what it stores; of the first, where there are several.
    pub shape: Shape,
    /// Workgroups per dimension; zeros on the CPU.
    pub grid: [u32; 3],
    /// How often it ran.
    pub calls: u64,
    /// The time of all calls.
    pub time: Duration,
    /// Floating-point operations of all calls, in matrix products and convolutions; 0 for what memory bounds.
    pub flops: u64,
    /// Bytes that all calls have to read and write at the least; 0 where that is not known.
    pub bytes: u64,
}

impl KernelProfile {
    /// 10^9 floating-point operations per second, where they are counted and took time.
    pub fn gflops(&self) -> Option<f64> {
        rate(self.flops, self.time)
    }

    /// 10^9 bytes per second, where they are counted and took time.
    pub fn gbytes(&self) -> Option<f64> {
        rate(self.bytes, self.time)
    }
}

fn rate(count: u64, time: Duration) -> Option<f64> {
    let ns = time.as_nanos();
    (count > 0 && ns > 0).then(|| count as f64 / ns as f64)
}

/// What [`Device::profile`](crate::Device::profile) found (there is an example); `{}` prints a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// The device, as it names itself.
    pub device: String,
    /// How kernels were timed.
    pub timing: Timing,
    /// The kernels, the dearest first.
    pub kernels: Vec<KernelProfile>,
    /// Graphs that were evaluated.
    pub evaluations: u64,
    /// From beginning to end. Longer than without a profile: kernels are waited for.
    pub wall: Duration,
    /// Host: collecting graphs and finding (at first making) their plans.
    pub planning: Duration,
    /// Host: buffers, arguments and the recording of commands. Nothing on the CPU.
    pub encoding: Duration,
    /// Host: all outside of evaluations: building graphs, gradients, data, reading results back, the caller's own code.
    pub outside: Duration,
}

impl Profile {
    /// The time of all kernels.
    pub fn kernel_time(&self) -> Duration {
        self.kernels.iter().map(|k| k.time).sum()
    }
}

/// One call of a kernel.
pub(crate) struct KernelCall<'a> {
    pub name: &'a str,
    pub shape: Shape,
    pub grid: [u32; 3],
    pub time: Duration,
    pub flops: u64,
    pub bytes: u64,
}

/// What is noted while profiling.
#[derive(Default)]
pub(crate) struct Timings {
    pub kernels: HashMap<(String, Shape, [u32; 3]), KernelProfile>,
    pub evaluations: u64,
    pub planning: Duration,
    pub encoding: Duration,
    /// All of the evaluations.
    pub inside: Duration,
}

impl Timings {
    pub fn add(&mut self, call: KernelCall<'_>) {
        let key = (call.name.to_string(), call.shape, call.grid);
        let kernel = self.kernels.entry(key).or_insert_with(|| KernelProfile {
            name: call.name.to_string(),
            shape: call.shape,
            grid: call.grid,
            calls: 0,
            time: Duration::ZERO,
            flops: 0,
            bytes: 0,
        });
        kernel.calls += 1;
        kernel.time += call.time;
        kernel.flops += call.flops;
        kernel.bytes += call.bytes;
    }
}

/// The widest name in a table; longer ones are cut.
const NAME_WIDTH: usize = 56;
/// Kernels below this share of the time are summed up in one line.
const SMALL_SHARE: f64 = 0.001;

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.timing {
            Timing::Timestamps => "timed on the device",
            Timing::OneByOne => "run and timed one by one",
            Timing::HostClock => "timed one by one",
        };
        writeln!(f, "{}: {} evaluations, kernels {how}", self.device, self.evaluations)?;
        let total = self.kernel_time().as_secs_f64();
        let share = |time: Duration| if total > 0.0 { time.as_secs_f64() / total } else { 0.0 };
        let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        let percent = |time: Duration| format!("{:.1}%", 100.0 * share(time));
        let shown = self.kernels.iter().take_while(|k| share(k.time) >= SMALL_SHARE).count();
        let header = ["kernel", "output", "grid", "calls", "ms", "us/call", "share", "GFLOP/s", "GB/s"];
        let mut rows: Vec<[String; 9]> = vec![header.map(String::from)];
        for k in &self.kernels[..shown] {
            let grid: Vec<String> = k.grid.iter().take_while(|&&n| n > 0).map(u32::to_string).collect();
            let per_call = k.time.as_secs_f64() * 1e6 / k.calls as f64;
            let number = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.1}"));
            rows.push([
                shorten(&k.name),
                k.shape.to_string(),
                grid.join("x").trim_end_matches("x1").to_string(),
                k.calls.to_string(),
                ms(k.time),
                format!("{per_call:.1}"),
                percent(k.time),
                number(k.gflops()),
                number(k.gbytes()),
            ]);
        }
        let sum = |name: String, kernels: &[KernelProfile]| {
            let time = kernels.iter().map(|k| k.time).sum();
            let calls = kernels.iter().map(|k| k.calls).sum::<u64>().to_string();
            let empty = String::new;
            [name, empty(), empty(), calls, ms(time), empty(), percent(time), empty(), empty()]
        };
        if shown < self.kernels.len() {
            rows.push(sum(format!("{} others", self.kernels.len() - shown), &self.kernels[shown..]));
        }
        rows.push(sum("all kernels".into(), &self.kernels));
        let mut widths = [0; 9];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => line.push_str(&format!("{cell:<width$}")),
                    1 => line.push_str(&format!("  {cell:<width$}")),
                    _ => line.push_str(&format!("  {cell:>width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        let per = |time: Duration| time.as_secs_f64() * 1e6 / self.evaluations.max(1) as f64;
        write!(
            f,
            "host, per evaluation: planning {:.0} us, encoding {:.0} us, outside of it {:.0} us; {:.3} s in all",
            per(self.planning),
            per(self.encoding),
            per(self.outside),
            self.wall.as_secs_f64()
        )
    }
}

fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME_WIDTH {
        return name.to_string();
    }
    name.chars().take(NAME_WIDTH - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let kernel = |name: &str, us: u64, flops| KernelProfile {
            name: name.into(),
            shape: Shape::from_dims(&[128, 10]),
            grid: [16, 2, 1],
            calls: 2,
            time: Duration::from_micros(us),
            flops,
            bytes: 1000,
        };
        let profile = Profile {
            device: "a device".into(),
            timing: Timing::OneByOne,
            kernels: vec![
                kernel("matmul + add /tiled", 3000, 6_000_000),
                kernel(&"long ".repeat(20), 1000, 0),
                kernel("sum", 1, 0),
            ],
            evaluations: 2,
            wall: Duration::from_millis(7),
            planning: Duration::from_micros(20),
            encoding: Duration::from_micros(30),
            outside: Duration::from_micros(100),
        };
        let text = profile.to_string();
        let expected = "\
a device: 2 evaluations, kernels run and timed one by one
kernel                                                    output     grid  calls    ms  us/call   share  GFLOP/s  GB/s
matmul + add /tiled                                       [128, 10]  16x2      2  3.00   1500.0   75.0%      2.0   0.0
long long long long long long long long long long lon...  [128, 10]  16x2      2  1.00    500.0   25.0%            0.0
1 others                                                                       2  0.00             0.0%
all kernels                                                                    6  4.00           100.0%
host, per evaluation: planning 10 us, encoding 15 us, outside of it 50 us; 0.007 s in all";
        assert_eq!(text, expected);
    }
}
