//! Progress for people: a bar on a terminal, a line per epoch elsewhere.

use super::bar::Bar;
use super::history::{Epoch, Evaluation};
use std::io::Write;
use std::time::{Duration, Instant};

/// Reading the totals waits for the device: often enough for the eye, seldom enough to cost nothing.
const READ_INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct Progress {
    verbose: bool,
    epochs: usize,
    /// What samples are called.
    unit: &'static str,
    last_read: Instant,
    bar: Option<Bar>,
}

impl Progress {
    pub fn new(verbose: bool, epochs: usize, unit: &'static str) -> Progress {
        Progress { verbose, epochs, unit, last_read: Instant::now(), bar: None }
    }

    pub fn begin_epoch(&mut self, number: usize, steps: Option<usize>) {
        self.last_read = Instant::now();
        if self.verbose {
            self.bar = Bar::begin(format!("epoch {number:>2}/{}", self.epochs), steps);
        }
    }

    /// Whether it is time to read the totals for [`step`](Self::step).
    pub fn wants_numbers(&mut self) -> bool {
        let wanted = self.bar.is_some() && self.last_read.elapsed() >= READ_INTERVAL;
        if wanted {
            self.last_read = Instant::now();
        }
        wanted
    }

    pub fn step(&mut self, number: usize, so_far: Option<Evaluation>) {
        let numbers = so_far.map(|so_far| self.numbers(&so_far, ""));
        if let Some(bar) = &mut self.bar {
            bar.step(number, numbers);
        }
    }

    /// The epoch ends before its end: nothing is said of it.
    pub fn abandon(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.clear();
        }
    }

    pub fn end_epoch(&mut self, epoch: &Epoch) {
        self.abandon();
        if self.verbose {
            // Who closed standard output doesn't want to know; that is no reason to end a training.
            let _ = writeln!(std::io::stdout(), "{}", self.line(epoch));
        }
    }

    /// `loss 0.2143  accuracy 0.9352  4,878 images/s`
    fn numbers(&self, evaluation: &Evaluation, prefix: &str) -> String {
        let mut out = format!("{prefix}loss {:.4}", evaluation.loss);
        for (name, value) in &evaluation.metrics {
            out += &format!("  {prefix}{name} {value:.4}");
        }
        if prefix.is_empty() {
            let rate = evaluation.samples as f64 / evaluation.seconds.max(1e-9);
            out += &format!("  {rate:.0} {}/s", self.unit);
        }
        out
    }

    fn line(&self, epoch: &Epoch) -> String {
        let mut out =
            format!("epoch {:>2}/{}  {}", epoch.number, self.epochs, self.numbers(&epoch.train, ""));
        if let Some(validation) = &epoch.validation {
            out += &format!("  {}", self.numbers(validation, "val_"));
        }
        out + &format!("  {:.1} s", epoch.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_everything() {
        let epoch = &super::super::history::testing::history(1, true).epochs[0];
        let line = Progress::new(false, 12, "images").line(epoch);
        let expected = "epoch  1/12  loss 0.5000  accuracy 0.8750  8 images/s  val_loss 0.2600  val_accuracy 0.9375  1.5 s";
        assert_eq!(line, expected);
    }
}
