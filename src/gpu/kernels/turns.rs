//! How often the loops of one invocation go round, all of them together.
//!
//! lavapipe ends an invocation's loops, silently, after 65,535 turns in all, and a dispatch whose loops are longer than that
//! takes so long on real GPUs that Windows kills it. So every dispatch states its [`Turns`] (neither a [`super::Launch`] nor a
//! generated kernel can be made without), loops are cut by [`Turns::longest`], and a plan with a dispatch of more than
//! [`Turns::LIMIT`] is an error, never a wrong number.

use crate::error::{Error, Result};

/// An upper bound of the turns that the loops of any one invocation take together.
///
/// A loop counts one turn more than its body runs (the one that finds the end), and a loop inside another at least one per
/// turn of the outer one, even where it is empty: so lavapipe counts, whose lanes go through all loops together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turns(u64);

impl Turns {
    /// What no invocation exceeds: lavapipe's 65,535 less what the other parts of a joined dispatch take (each of their
    /// loops is entered once, see `compile/merge.rs`).
    pub const LIMIT: usize = 60_000;

    /// No loop at all.
    pub const NONE: Turns = Turns(0);

    /// A loop whose body, without loops, runs so often.
    pub const fn of(count: usize) -> Turns {
        Turns((count as u64).saturating_add(1))
    }

    /// A loop whose body runs so often, each time with the loops of `body` in it.
    pub const fn around(count: usize, body: Turns) -> Turns {
        Turns((count as u64).saturating_add(1).saturating_mul(body.0.saturating_add(1)))
    }

    /// As [`around`](Self::around), the loop going in blocks of so many turns, each block a loop of its own.
    pub const fn in_blocks(count: usize, block: usize, body: Turns) -> Turns {
        let (count, blocks) = (count as u64, count.div_ceil(block) as u64);
        // The turns that find an end run no body.
        Turns(count.saturating_mul(body.0.saturating_add(1)).saturating_add(2 * blocks + 1))
    }

    /// These loops, then those.
    pub const fn then(self, next: Turns) -> Turns {
        Turns(self.0.saturating_add(next.0))
    }

    /// How often a loop around `body` may run at most (0 where `body` alone is too long).
    pub const fn longest(body: Turns) -> usize {
        (Self::LIMIT / (body.0.saturating_add(1) as usize)).saturating_sub(1)
    }

    /// The number of turns.
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Refuses what exceeds the limit, by the device, the label of the kernel and what it computes.
    pub fn check(self, device: &str, kernel: &str, task: impl FnOnce() -> String) -> Result<()> {
        if self.0 <= Self::LIMIT as u64 {
            return Ok(());
        }
        let message = format!(
            "kernel {kernel} of {}: the loops of one invocation would take {} turns, at most {} are certain to run; compute it in \
             parts, or on Device::Cpu",
            task(),
            self.0,
            Self::LIMIT
        );
        Err(Error::gpu(device, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_loop_that_is_empty_counts() {
        assert_eq!(Turns::of(3).count(), 4);
        assert_eq!(Turns::around(10, Turns::NONE), Turns::of(10));
        assert_eq!(Turns::around(9, Turns::of(0)).count(), 20);
        assert_eq!(Turns::around(9, Turns::of(4)).then(Turns::of(2)).count(), 63);
        assert_eq!(Turns::in_blocks(64, 32, Turns::NONE).count(), 64 + 2 + 2 + 1);
        assert_eq!(Turns::in_blocks(3, 32, Turns::of(1)).count(), 3 * 3 + 3);
        assert_eq!(Turns::around(usize::MAX, Turns::around(usize::MAX, Turns::of(1))).count(), u64::MAX);
    }

    #[test]
    fn the_longest_loop_passes_and_a_longer_one_is_an_error_with_its_name() {
        for body in [Turns::NONE, Turns::of(1), Turns::of(100), Turns::around(20, Turns::of(16))] {
            let longest = Turns::longest(body);
            assert!(Turns::around(longest, body).check("llvmpipe", "reduce", || "sum".into()).is_ok());
            let error = Turns::around(longest + 1, body)
                .check("llvmpipe", "reduce", || "sum".into())
                .unwrap_err()
                .to_string();
            assert!(error.contains("kernel reduce of sum"), "{error}");
        }
        assert_eq!(Turns::longest(Turns::of(70_000)), 0);
    }
}
