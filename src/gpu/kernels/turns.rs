//! How often the loops of one invocation go round, all of them together.
//!
//! lavapipe ends an invocation's loops, silently, after 65,535 turns in all, and a dispatch whose loops are longer than that
//! takes so long on real GPUs that Windows kills it. So every dispatch states its [`Turns`] (neither a [`super::Launch`] nor a
//! generated kernel can be made without), loops are cut by [`Turns::longest`], and a plan with a dispatch of more than
//! [`Turns::LIMIT`] is an error, never a wrong number.
//!
//! How long a dispatch takes is another question, which `pace.rs` asks: where data decides how often loops go round, the bound is
//! far from that. So a number of turns has a mean beside it.

use crate::error::{Error, Result};

/// An upper bound of the turns that the loops of any one invocation take together, and their mean over all invocations.
///
/// A loop counts one turn more than its body runs (the one that finds the end), and a loop inside another at least one per
/// turn of the outer one, even where it is empty: so lavapipe counts, whose lanes go through all loops together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    most: u64,
    mean: u64,
    /// Invocations of a kernel from outside, of whose loops nothing is known; 0 for all others.
    outside: u64,
}

impl Turns {
    /// What no invocation exceeds: lavapipe's 65,535 less what the other parts of a joined dispatch take (each of their
    /// loops is entered once, see `compile/merge.rs`).
    pub const LIMIT: usize = 60_000;

    /// No loop at all.
    pub const NONE: Turns = Turns { most: 0, mean: 0, outside: 0 };

    /// What so many invocations of a kernel from outside take, which only its author can know.
    pub const fn unknown(invocations: usize) -> Turns {
        Turns { outside: invocations as u64, ..Turns::NONE }
    }

    const fn exactly(count: u64) -> Turns {
        Turns { most: count, mean: count, outside: 0 }
    }

    /// A loop whose body, without loops, runs so often.
    pub const fn of(count: usize) -> Turns {
        Turns::exactly((count as u64).saturating_add(1))
    }

    /// A loop whose body runs so often, each time with the loops of `body` in it.
    pub const fn around(count: usize, body: Turns) -> Turns {
        body.times((count as u64).saturating_add(1))
    }

    /// These loops so often, each time in the turn of another.
    const fn times(self, count: u64) -> Turns {
        Turns {
            most: count.saturating_mul(self.most.saturating_add(1)),
            mean: count.saturating_mul(self.mean.saturating_add(1)),
            outside: self.outside,
        }
    }

    /// As [`around`](Self::around), the loop going in blocks of so many turns, each block a loop of its own.
    pub const fn in_blocks(count: usize, block: usize, body: Turns) -> Turns {
        let (count, blocks) = (count as u64, count.div_ceil(block) as u64);
        // The turns that find an end run no body.
        let ends = Turns::exactly(2 * blocks + 1);
        body.times(count).then(ends)
    }

    /// These loops, then those.
    pub const fn then(self, next: Turns) -> Turns {
        Turns {
            most: self.most.saturating_add(next.most),
            mean: self.mean.saturating_add(next.mean),
            outside: self.outside + next.outside,
        }
    }

    /// These loops or those, whichever are longer.
    pub const fn or(self, other: Turns) -> Turns {
        const fn max(a: u64, b: u64) -> u64 {
            if a > b { a } else { b }
        }
        Turns {
            most: max(self.most, other.most),
            mean: max(self.mean, other.mean),
            outside: max(self.outside, other.outside),
        }
    }

    /// These loops where data decides how often they go round: so often in the mean of all invocations, which is the same
    /// whatever the data.
    pub const fn in_the_mean(self, mean: usize) -> Turns {
        let mean = mean as u64;
        Turns { mean: if mean < self.most { mean } else { self.most }, ..self }
    }

    /// How often a loop around `body` may run at most (0 where `body` alone is too long).
    pub const fn longest(body: Turns) -> usize {
        (Self::LIMIT / (body.most.saturating_add(1) as usize)).saturating_sub(1)
    }

    /// The most turns of an invocation.
    pub const fn count(self) -> u64 {
        self.most
    }

    /// The turns of an invocation in the mean of all.
    pub const fn mean(self) -> u64 {
        self.mean
    }

    /// How many invocations there are, where nothing is known of their turns.
    pub const fn outside(self) -> Option<u64> {
        if self.outside > 0 { Some(self.outside) } else { None }
    }

    /// Refuses what exceeds the limit, by the device, the label of the kernel and what it computes.
    pub fn check(self, device: &str, kernel: &str, task: impl FnOnce() -> String) -> Result<()> {
        if self.most <= Self::LIMIT as u64 {
            return Ok(());
        }
        let message = format!(
            "kernel {kernel} of {}: the loops of one invocation would take {} turns, at most {} are certain to run; compute it in \
             parts, or on Device::Cpu",
            task(),
            self.most,
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
    fn where_data_decides_the_mean_is_not_the_bound() {
        let runs = Turns::of(1000).in_the_mean(3);
        assert_eq!((runs.count(), runs.mean()), (1001, 3));
        assert_eq!(Turns::of(2).in_the_mean(1000), Turns::of(2));
        let both = runs.then(Turns::of(9));
        assert_eq!((both.count(), both.mean()), (1011, 13));
        let joined = runs.or(Turns::of(9));
        assert_eq!((joined.count(), joined.mean()), (1001, 10));
        let inside = Turns::around(9, runs);
        assert_eq!((inside.count(), inside.mean()), (10_020, 40));
        assert_eq!((runs.outside(), Turns::unknown(64).outside()), (None, Some(64)));
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
