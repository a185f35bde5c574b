//! Progress for people: a bar on a terminal, a line per epoch elsewhere.

use super::bar::Bar;
use super::callback::Compiled;
use super::history::{Epoch, Evaluation};
use crate::compiling::{Compiling, Observing, observe};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Reading the totals waits for the device: often enough for the eye, seldom enough to cost nothing.
const READ_INTERVAL: Duration = Duration::from_millis(250);

pub(super) struct Progress {
    verbose: bool,
    epochs: usize,
    /// What samples are called.
    unit: &'static str,
    last_read: Instant,
    shared: Arc<Mutex<Shared>>,
    _observing: Observing,
}

/// What the threads that compile have a hand in.
#[derive(Default)]
struct Shared {
    bar: Option<Bar>,
    /// What callbacks have not been told of.
    untold: Compiled,
}

impl Shared {
    fn tell(&mut self, what: Compiling) {
        match (what, &mut self.bar) {
            (Compiling::UnderWay { done, kernels }, Some(bar)) => bar.compiling(done, kernels),
            (Compiling::UnderWay { .. }, None) => {}
            (Compiling::Over { kernels, elapsed }, bar) => {
                self.untold.kernels += kernels;
                self.untold.elapsed += elapsed;
                if let Some(bar) = bar {
                    bar.compiled();
                }
            }
        }
    }
}

impl Progress {
    pub fn new(verbose: bool, epochs: usize, unit: &'static str) -> Progress {
        let shared = Arc::<Mutex<Shared>>::default();
        let observed = shared.clone();
        let _observing =
            observe(move |what| observed.lock().unwrap_or_else(PoisonError::into_inner).tell(what));
        Progress { verbose, epochs, unit, last_read: Instant::now(), shared, _observing }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this thread compiled since it was asked last; `None` where that is nothing.
    pub fn take_compiled(&self) -> Option<Compiled> {
        let compiled = std::mem::take(&mut self.shared().untold);
        (compiled.kernels > 0).then_some(compiled)
    }

    pub fn begin_epoch(&mut self, number: usize, steps: Option<usize>) {
        self.last_read = Instant::now();
        if self.verbose {
            let bar = Bar::begin(format!("epoch {number:>2}/{}", self.epochs), steps);
            self.shared().bar = bar;
        }
    }

    /// Says what looks wrong: in the log, and to people.
    pub fn warn(&mut self, warning: &str) {
        log::warn!(target: "wgrad", "{warning}");
        if self.verbose {
            let mut shared = self.shared();
            if let Some(bar) = &shared.bar {
                bar.make_room();
            }
            // As above.
            let _ = writeln!(std::io::stdout(), "warning: {warning}");
            if let Some(bar) = &mut shared.bar {
                bar.step(0, None);
            }
        }
    }

    /// Whether it is time to read the totals for [`step`](Self::step).
    pub fn wants_numbers(&mut self) -> bool {
        let wanted = self.shared().bar.is_some() && self.last_read.elapsed() >= READ_INTERVAL;
        if wanted {
            self.last_read = Instant::now();
        }
        wanted
    }

    pub fn step(&mut self, number: usize, so_far: Option<Evaluation>) {
        let numbers = so_far.map(|so_far| self.numbers(&so_far, ""));
        if let Some(bar) = &mut self.shared().bar {
            bar.step(number, numbers);
        }
    }

    /// The epoch ends before its end: nothing is said of it.
    pub fn abandon(&mut self) {
        if let Some(bar) = self.shared().bar.take() {
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

    /// From the kernels to the bar and the event, with whatever compiles.
    #[test]
    fn what_is_compiled_is_shown_and_told_once() {
        use crate::compiling::watched;
        use std::time::Duration;
        let progress = Progress::new(false, 1, "images");
        #[cfg(feature = "progress")]
        {
            progress.shared().bar = Some(Bar::unseen("epoch".into(), Some(2)));
        }
        let expect = |text: &str| {
            #[cfg(feature = "progress")]
            {
                let line = progress.shared().bar.as_ref().map(Bar::line);
                assert_eq!(line, Some(format!("epoch {}    0/2  {text}", "─".repeat(24))));
            }
            assert_eq!(progress.shared().bar.is_some(), cfg!(feature = "progress"), "{text}");
        };
        let compile = |kernels| {
            watched("card", kernels, Duration::MAX, |one_done| {
                expect(&format!("compiling {kernels} kernels"));
                one_done();
                expect(&format!("compiling {kernels} kernels, 1 done"));
                Ok(())
            })
        };
        assert_eq!(progress.take_compiled(), None);
        compile(38).unwrap();
        expect("");
        compile(4).unwrap();
        assert_eq!(progress.take_compiled().map(|compiled| compiled.kernels), Some(42));
        assert_eq!(progress.take_compiled(), None);
    }

    #[test]
    fn a_line_tells_everything() {
        let epoch = &super::super::history::testing::history(1, true).epochs[0];
        let line = Progress::new(false, 12, "images").line(epoch);
        let expected = "epoch  1/12  loss 0.5000  accuracy 0.8750  8 images/s  val_loss 0.2600  val_accuracy 0.9375  1.5 s";
        assert_eq!(line, expected);
    }
}
