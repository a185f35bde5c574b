//! The numbers that a kernel's text does not hold.
//!
//! A generated text depends on structure alone: sizes, strides, offsets and bounds are words of a uniform block, taken in the order
//! in which the text names them. Two graphs that differ in sizes only have equal texts, and with them one pipeline. What stays in
//! the text: that a stride is 1 or an offset 0, what is a multiple of four, how many dimensions are left after merging.
//!
//! A division by a number that the driver's compiler doesn't know would be one of the machine's slowest instructions, for every
//! element, and on CPUs one that can't be done for several lanes at once. So its divisor comes as the two words of an exact
//! multiplication ([`Words::divide`]).

use std::collections::BTreeSet;
use std::fmt::Write;

/// Helper functions that a text calls, with their width's suffix.
pub(super) type Helpers = BTreeSet<(&'static str, usize)>;

/// Name of the uniform array that holds the words.
const NAME: &str = "wg_n";

/// Dividends below this are divided by a multiplication.
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

    /// `i / n`, for an i of at most so much.
    pub fn divide(&mut self, helpers: &mut Helpers, i: &str, n: usize, most: usize) -> String {
        if most >= MOST_DIVIDED {
            return format!("(({i}) / {})", self.word(n as u32));
        }
        helpers.insert(("divide", 1));
        let [factor, shift] = divisor(n as u32);
        format!("divide_1({i}, {}, {})", self.word(factor), self.word(shift))
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

/// A factor f and a shift s for which `i / n` is `(2 i * f) >> (32 + s)`, for all i below 2^31.
///
/// With s the smallest for which 2^s is not below n, f is 2^(31 + s) / n rounded up: n f is 2^(31 + s) + e with an e below n. So
/// i f / 2^(31 + s) is i / n and i e / (n 2^(31 + s)) more. That is below 1 / n, since i is below 2^31 and e below 2^s, and i / n is
/// at least 1 / n away from the next whole number: rounded down, both are the same. (T. Granlund and P. Montgomery, "Division by
/// invariant integers using multiplication", PLDI 1994.)
fn divisor(n: u32) -> [u32; 2] {
    let n = n.max(1) as u64;
    let shift = 64 - (n - 1).leading_zeros();
    let factor = (1u64 << (31 + shift)).div_ceil(n);
    [factor as u32, shift]
}

/// WGSL of the division: the upper half of a product of 32-bit numbers, by its four parts of 16 bits.
pub(super) const DIVIDE: &str = "fn divide_w(i: u32, factor: u32, shift: u32) -> u32 {
    let x = i << 1u;
    let low = (x & 0xffffu) * (factor & 0xffffu);
    let mid = (x >> 16u) * (factor & 0xffffu) + (low >> 16u);
    let rest = (x & 0xffffu) * (factor >> 16u) + (mid & 0xffffu);
    return ((x >> 16u) * (factor >> 16u) + (mid >> 16u) + (rest >> 16u)) >> shift;
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the WGSL computes.
    fn divide(i: u32, [factor, shift]: [u32; 2]) -> u32 {
        let x = i << 1;
        let low = (x & 0xffff) * (factor & 0xffff);
        let mid = (x >> 16) * (factor & 0xffff) + (low >> 16);
        let rest = (x & 0xffff) * (factor >> 16) + (mid & 0xffff);
        ((x >> 16) * (factor >> 16) + (mid >> 16) + (rest >> 16)) >> shift
    }

    fn holds(i: u32, n: u32) {
        assert_eq!(divide(i, divisor(n)), i / n, "{i} / {n}");
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
        let mut helpers = Helpers::new();
        assert_eq!(words.divide(&mut helpers, "i", 3, 100), "divide_1(i, wg_n[1u].y, wg_n[1u].z)");
        assert_eq!(words.divide(&mut helpers, "i", 3, 1 << 31), "((i) / wg_n[1u].w)");
        let mut text = String::new();
        words.declare(&mut text, 0);
        assert_eq!(text, "@group(0) @binding(0) var<uniform> wg_n: array<vec4<u32>, 2>;\n");
        assert_eq!(words.finish([1, 2, 3, 4])[..5], [1, 2, 3, 4, 7]);
    }
}
