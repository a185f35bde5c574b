//! The numbers that a kernel's text does not hold.
//!
//! A generated text depends on structure alone: sizes, strides, offsets and bounds are words of a uniform block, taken in the order
//! in which the text names them. Two graphs that differ in sizes only have equal texts, and with them one pipeline. What stays in
//! the text: that a stride is 1, that a row of elements begins at the first, what is a multiple of four, how many dimensions are left
//! after merging.
//!
//! A division by a number that the driver's compiler doesn't know would be one of the machine's slowest instructions, for every
//! element, and on CPUs one that can't be done for several lanes at once: `shaders/shared/divide.wgsl` divides in floats, exactly.

use std::collections::BTreeSet;
use std::fmt::Write;

/// Helper functions that a text calls, with their width's suffix.
pub(super) type Helpers = BTreeSet<(&'static str, usize)>;

/// Name of the uniform array that holds the words.
const NAME: &str = "wg_n";

/// Dividends below this are divided in floats.
const MOST_DIVIDED: usize = 1 << 31;

/// The words of a kernel, in the order of their places in the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    list: Vec<u32>,
}

/// Words that stand before all others: the name by which `main` knows them is `sizes`.
pub(super) const SIZES: usize = 4;

impl Words {
    /// Those of a kernel whose block is all generated: four sizes first.
    pub fn after_sizes() -> Words {
        Words { list: vec![0; SIZES] }
    }

    /// Takes a number in; gives the WGSL that reads it.
    pub fn word(&mut self, n: u32) -> String {
        let at = self.list.len();
        self.list.push(n);
        format!("{NAME}[{}u].{}", at / 4, ["x", "y", "z", "w"][at % 4])
    }

    /// The declaration at a binding; nothing where there are no words.
    pub fn declare(&self, text: &mut String, binding: u32) {
        if !self.list.is_empty() {
            let n = self.list.len().div_ceil(4);
            let _ =
                writeln!(text, "@group(0) @binding({binding}) var<uniform> {NAME}: array<vec4<u32>, {n}>;");
        }
    }

    /// All words, with those that stand before all others.
    pub fn finish(mut self, sizes: [u32; SIZES]) -> Vec<u32> {
        self.list[..SIZES].copy_from_slice(&sizes);
        self.list
    }

    /// All words of a block without sizes.
    pub fn list(self) -> Vec<u32> {
        self.list
    }
}

/// The first line of `main` that lets it read the sizes.
pub(super) fn read_sizes() -> String {
    format!("    let sizes = {NAME}[0u];\n")
}

/// `i / n`, for an i of at most so much; `n` is what [`Words::word`] gave for the divisor.
pub(super) fn divide(helpers: &mut Helpers, i: &str, n: &str, most: usize) -> String {
    if most >= MOST_DIVIDED {
        return format!("(({i}) / {n})");
    }
    helpers.insert(("divide", 1));
    format!("divide_1({i}, {n})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `shaders/shared/divide.wgsl` computes, where the driver's quotients are off by so many units in the last place: WGSL
    /// allows two and a half.
    fn divided(a: u32, b: u32, ulps: i32) -> u32 {
        let quotient = |x: f32, y: f32| {
            let exact = x / y;
            if exact == 0.0 { exact } else { f32::from_bits(exact.to_bits().wrapping_add_signed(ulps)) }
        };
        let (a, b) = (a as i32, b as i32);
        let divisor = b as f32;
        let mut q = quotient(a as f32, divisor) as i32;
        q = q.wrapping_add(quotient(a.wrapping_sub(q.wrapping_mul(b)) as f32, divisor).floor() as i32);
        let rest = a.wrapping_sub(q.wrapping_mul(b));
        (q - i32::from(rest < 0) + i32::from(rest >= b)) as u32
    }

    fn holds(i: u32, n: u32) {
        for ulps in -3..=3 {
            assert_eq!(divided(i, n, ulps), i / n, "{i} / {n}, {ulps}");
        }
    }

    #[test]
    fn division_is_exact_at_all_edges() {
        let edges =
            |around: u64| (around.saturating_sub(2)..around + 3).filter(|&e| (1..1 << 31).contains(&e));
        let divisors: Vec<u64> = (1..600).chain((9..32).flat_map(|k| edges(1 << k))).collect();
        for n in divisors {
            for multiple in [1, 2, 3, 1000, ((1u64 << 31) - 1) / n] {
                edges(multiple * n).for_each(|i| holds(i as u32, n as u32));
            }
            holds(0, n as u32);
            holds((1 << 31) - 1, n as u32);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn division_is_exact(i in 0u32..1 << 31, n in 1u32..1 << 31, short in 1u32..70_000) {
            holds(i, n);
            holds(i, short);
        }
    }

    #[test]
    fn words_are_named_in_their_order() {
        let mut words = Words::after_sizes();
        assert_eq!(words.word(7), "wg_n[1u].x");
        let (mut helpers, n) = (Helpers::new(), words.word(3));
        assert_eq!(divide(&mut helpers, "i", &n, 100), "divide_1(i, wg_n[1u].y)");
        assert_eq!(divide(&mut helpers, "i", &n, 1 << 31), "((i) / wg_n[1u].y)");
        let mut text = String::new();
        words.declare(&mut text, 0);
        assert_eq!(text, "@group(0) @binding(0) var<uniform> wg_n: array<vec4<u32>, 2>;\n");
        assert_eq!(words.finish([1, 2, 3, 4])[..5], [1, 2, 3, 4, 7]);
    }
}
