//! Seeds derived from one seed: for each parameter, epoch and step its own, without any hidden state.

/// One output of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), and its
/// next state.
pub(crate) fn split_mix(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31), state)
}

/// The seed of stream number `stream` of `seed`.
pub(crate) fn derive(seed: u64, stream: u64) -> u64 {
    let (mixed, _) = split_mix(seed);
    split_mix(mixed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03)).0
}

/// The numbers `0..n` in random order (Fisher and Yates): the same for a seed everywhere and for ever.
pub(crate) fn permutation(n: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    let mut state = seed;
    for i in (1..order.len()).rev() {
        let (bits, next) = split_mix(state);
        state = next;
        // The upper word of a product: uniform to within 2^-32, which no data set can tell from exact.
        let j = ((u128::from(bits) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn streams_differ() {
        let seeds: std::collections::HashSet<u64> =
            (0..100).flat_map(|s| (0..100).map(move |i| derive(s, i))).collect();
        assert_eq!(seeds.len(), 10_000);
    }
}
