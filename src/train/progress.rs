//! Progress for people: a bar on a terminal, a line per epoch elsewhere.

use super::history::{Epoch, Evaluation};
#[cfg(feature = "app")]
use std::io::IsTerminal;
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
    #[cfg(feature = "app")]
    bar: Option<indicatif::ProgressBar>,
}

impl Progress {
    pub fn new(verbose: bool, epochs: usize, unit: &'static str) -> Progress {
        Progress {
            verbose,
            epochs,
            unit,
            last_read: Instant::now(),
            #[cfg(feature = "app")]
            bar: None,
        }
    }

    pub fn begin_epoch(&mut self, number: usize, steps: Option<usize>) {
        self.last_read = Instant::now();
        #[cfg(feature = "app")]
        if self.verbose && std::io::stdout().is_terminal() {
            let target = indicatif::ProgressDrawTarget::stdout();
            let bar = indicatif::ProgressBar::with_draw_target(steps.map(|n| n as u64), target);
            let template = "{prefix} {bar:24} {pos:>4}/{len}  {msg}";
            if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            bar.set_prefix(format!("epoch {number:>2}/{}", self.epochs));
            self.bar = Some(bar);
        }
        #[cfg(not(feature = "app"))]
        let _ = (number, steps);
    }

    /// Whether it is time to read the totals for [`step`](Self::step).
    pub fn wants_numbers(&mut self) -> bool {
        #[cfg(feature = "app")]
        if self.bar.is_some() && self.last_read.elapsed() >= READ_INTERVAL {
            self.last_read = Instant::now();
            return true;
        }
        let _ = (self.last_read, READ_INTERVAL);
        false
    }

    pub fn step(&self, number: usize, so_far: Option<Evaluation>) {
        #[cfg(feature = "app")]
        if let Some(bar) = &self.bar {
            bar.set_position(number as u64);
            if let Some(so_far) = so_far {
                bar.set_message(self.numbers(&so_far, ""));
            }
        }
        #[cfg(not(feature = "app"))]
        let _ = (number, so_far);
    }

    /// The epoch ends before its end: nothing is said of it.
    pub fn abandon(&mut self) {
        #[cfg(feature = "app")]
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
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
