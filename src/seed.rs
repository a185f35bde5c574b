//! Randomness on the host: seeds derived from one seed (for each parameter, epoch and step its own, without any hidden state),
//! and what is drawn from them.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;

/// The seed of stream number `stream` of `seed`. A function rather than a generator, so that any stream is had at once; `rand`
/// has none whose values are promised to stay.
pub(crate) fn derive(seed: u64, stream: u64) -> u64 {
    mix(mix(seed) ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
}

/// What [`mix`] adds first: an odd number whose multiples are spread evenly (2^64 by the golden ratio).
pub(crate) const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers that differ little become such that have nothing to do with each other, one to one (the output function of SplitMix64;
/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The generator of a seed: one of those whose numbers `rand` promises to be the same on every platform and to stay so. How
/// orders and ranges are drawn from it may change with a minor version of `rand` only; tests would notice.
pub(crate) fn generator(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// The numbers `0..n` in random order: the same for a seed everywhere.
pub(crate) fn permutation(n: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    order.shuffle(&mut generator(seed));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn a_permutation_has_every_number_once_and_is_uniform() {
        let mut sorted = permutation(1000, 7);
        assert_ne!(sorted, permutation(1000, 8));
        assert_eq!(sorted, permutation(1000, 7));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert!(permutation(0, 1).is_empty());
        // Each of the 24 orders of four numbers about 1000 times of 24,000: chi squared of 23 degrees under 60.
        let mut counts = std::collections::HashMap::new();
        for seed in 0..24_000 {
            *counts.entry(permutation(4, derive(3, seed))).or_insert(0u32) += 1;
        }
        let chi: f64 = counts.values().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(counts.len() == 24 && chi < 60.0, "{} orders, chi squared {chi}", counts.len());
    }

    /// Who has a seed wants the order that it gave, and a run that is resumed needs it.
    #[test]
    fn what_a_seed_gives_stays() {
        assert_eq!(permutation(10, 7), [8, 5, 3, 9, 0, 7, 2, 1, 4, 6]);
        assert_eq!(permutation(100_000, 7)[..5], [84_942, 7_149, 49_421, 98_316, 30_341]);
        assert_eq!([derive(0, 0), derive(1, 2)], [12_035_550_249_420_947_055, 3_279_294_537_695_293_187]);
        let mut rng = generator(7);
        assert_eq!([rng.random_range(0..1000usize), rng.random_range(0..1 << 40)], [55, 189_243_383_290]);
        assert_eq!(rng.random::<f32>(), 0.717_576_1);
    }

    #[test]
    fn streams_differ() {
        let seeds: std::collections::HashSet<u64> =
            (0..100).flat_map(|s| (0..100).map(move |i| derive(s, i))).collect();
        assert_eq!(seeds.len(), 10_000);
    }
}
