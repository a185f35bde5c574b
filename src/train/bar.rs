//! A progress bar on a terminal (feature `progress`).

#[cfg(feature = "progress")]
pub(super) use terminal::Bar;
#[cfg(not(feature = "progress"))]
pub(super) use without::Bar;

#[cfg(feature = "progress")]
mod terminal {
    use crate::compiling::count;
    use console::{Term, truncate_str};
    use std::time::{Duration, Instant};

    /// More often, no eye sees it.
    const DRAW_INTERVAL: Duration = Duration::from_millis(50);
    const CELLS: usize = 24;

    pub struct Bar {
        /// Where it is drawn; nowhere in tests.
        terminal: Option<Term>,
        title: String,
        steps: Option<usize>,
        number: usize,
        numbers: String,
        /// What is waited for; stands where the numbers do.
        waits_for: Option<String>,
        last_drawn: Option<Instant>,
    }

    impl Bar {
        /// A bar of so many steps, where standard output is a terminal.
        pub fn begin(title: String, steps: Option<usize>) -> Option<Bar> {
            let terminal = Term::buffered_stdout();
            terminal.is_term().then(|| Bar { terminal: Some(terminal), ..Bar::unseen(title, steps) })
        }

        /// A bar that is drawn nowhere.
        pub fn unseen(title: String, steps: Option<usize>) -> Bar {
            let (numbers, waits_for, last_drawn) = (String::new(), None, None);
            Bar { terminal: None, title, steps, number: 0, numbers, waits_for, last_drawn }
        }

        /// So many steps are done; `numbers`, where there are new ones, stand behind the bar.
        pub fn step(&mut self, number: usize, numbers: Option<String>) {
            self.number = number;
            let news = numbers.is_some();
            if let Some(numbers) = numbers {
                self.numbers = numbers;
            }
            self.draw(news);
        }

        /// So many of so many kernels are compiled.
        pub fn compiling(&mut self, done: usize, kernels: usize) {
            let so_far = if done == 0 { String::new() } else { format!(", {done} done") };
            self.waits_for = Some(format!("compiling {}{so_far}", count(kernels)));
            self.draw(done == 0);
        }

        /// No more is compiled.
        pub fn compiled(&mut self) {
            self.waits_for = None;
            self.draw(true);
        }

        /// Draws the bar, unless it was drawn a moment ago and can wait.
        fn draw(&mut self, at_once: bool) {
            let due = self.last_drawn.is_none_or(|at| at.elapsed() >= DRAW_INTERVAL);
            if !due && !at_once {
                return;
            }
            self.last_drawn = Some(Instant::now());
            let line = self.line();
            let Some(terminal) = &self.terminal else { return };
            // A line that wraps would not be cleared.
            let width = usize::from(terminal.size().1);
            let line = truncate_str(&line, width.saturating_sub(1), "");
            // Who closed standard output doesn't want to know.
            let _ = terminal.clear_line();
            let _ = terminal.write_str(&line);
            let _ = terminal.flush();
        }

        pub fn line(&self) -> String {
            let behind = self.waits_for.as_ref().unwrap_or(&self.numbers);
            line(&self.title, self.number, self.steps, behind)
        }

        /// Takes the bar away.
        pub fn clear(self) {
            self.make_room();
        }

        /// Empties its line, for somebody else to write.
        pub fn make_room(&self) {
            if let Some(terminal) = &self.terminal {
                let _ = terminal.clear_line();
                let _ = terminal.flush();
            }
        }
    }

    /// `epoch  2/5 ━━━━╸───────────────────   15/93  loss 0.2143`
    fn line(title: &str, number: usize, steps: Option<usize>, numbers: &str) -> String {
        let Some(steps) = steps else { return format!("{title}  step {number}  {numbers}") };
        let halves = (2 * CELLS * number.min(steps)).checked_div(steps).unwrap_or(0);
        let (full, half) = (halves / 2, halves % 2);
        let bar = ["━".repeat(full), "╸".repeat(half), "─".repeat(CELLS - full - half)].concat();
        format!("{title} {bar} {number:>4}/{steps}  {numbers}")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bar_grows_with_the_steps() {
            let bar = |number, steps| line("epoch", number, Some(steps), "loss 1");
            assert_eq!(bar(0, 10), "epoch ────────────────────────    0/10  loss 1");
            assert_eq!(bar(25, 48), "epoch ━━━━━━━━━━━━╸───────────   25/48  loss 1");
            assert_eq!(bar(10, 10), "epoch ━━━━━━━━━━━━━━━━━━━━━━━━   10/10  loss 1");
            // more steps than were announced, and none
            assert!(bar(11, 10).contains(&"━".repeat(24)) && bar(0, 0).contains(&"─".repeat(24)));
            assert_eq!(line("epoch", 7, None, "loss 1"), "epoch  step 7  loss 1");
        }

        #[test]
        fn a_bar_says_that_kernels_are_compiled() {
            let mut bar = Bar::unseen("epoch".into(), None);
            bar.compiling(0, 38);
            assert_eq!(bar.line(), "epoch  step 0  compiling 38 kernels");
            bar.compiling(37, 38);
            assert_eq!(bar.line(), "epoch  step 0  compiling 38 kernels, 37 done");
            bar.compiled();
            bar.step(1, Some("loss 1".into()));
            assert_eq!(bar.line(), "epoch  step 1  loss 1");
            bar.compiling(0, 1);
            assert_eq!(bar.line(), "epoch  step 1  compiling 1 kernel");
            bar.compiled();
            assert_eq!(bar.line(), "epoch  step 1  loss 1");
        }
    }
}

#[cfg(not(feature = "progress"))]
mod without {
    /// There is none.
    pub enum Bar {}

    impl Bar {
        pub fn begin(_title: String, _steps: Option<usize>) -> Option<Bar> {
            None
        }

        pub fn step(&mut self, _number: usize, _numbers: Option<String>) {
            match *self {}
        }

        pub fn compiling(&mut self, _done: usize, _kernels: usize) {
            match *self {}
        }

        pub fn compiled(&mut self) {
            match *self {}
        }

        pub fn clear(self) {
            match self {}
        }

        pub fn make_room(&self) {
            match *self {}
        }
    }
}
