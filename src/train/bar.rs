//! A progress bar on a terminal (feature `progress`).

#[cfg(feature = "progress")]
pub(super) use terminal::Bar;
#[cfg(not(feature = "progress"))]
pub(super) use without::Bar;

#[cfg(feature = "progress")]
mod terminal {
    use console::{Term, truncate_str};
    use std::time::{Duration, Instant};

    /// More often, no eye sees it.
    const DRAW_INTERVAL: Duration = Duration::from_millis(50);
    const CELLS: usize = 24;

    pub struct Bar {
        terminal: Term,
        title: String,
        steps: Option<usize>,
        numbers: String,
        last_drawn: Option<Instant>,
    }

    impl Bar {
        /// A bar of so many steps, where standard output is a terminal.
        pub fn begin(title: String, steps: Option<usize>) -> Option<Bar> {
            let terminal = Term::buffered_stdout();
            terminal.is_term().then(|| Bar {
                terminal,
                title,
                steps,
                numbers: String::new(),
                last_drawn: None,
            })
        }

        /// So many steps are done; `numbers`, where there are new ones, stand behind the bar.
        pub fn step(&mut self, number: usize, numbers: Option<String>) {
            let due = self.last_drawn.is_none_or(|at| at.elapsed() >= DRAW_INTERVAL);
            if !due && numbers.is_none() {
                return;
            }
            if let Some(numbers) = numbers {
                self.numbers = numbers;
            }
            self.last_drawn = Some(Instant::now());
            let line = line(&self.title, number, self.steps, &self.numbers);
            // A line that wraps would not be cleared.
            let width = usize::from(self.terminal.size().1);
            let line = truncate_str(&line, width.saturating_sub(1), "");
            // Who closed standard output doesn't want to know.
            let _ = self.terminal.clear_line();
            let _ = self.terminal.write_str(&line);
            let _ = self.terminal.flush();
        }

        /// Takes the bar away.
        pub fn clear(self) {
            let _ = self.terminal.clear_line();
            let _ = self.terminal.flush();
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

        pub fn clear(self) {
            match self {}
        }
    }
}
