//! Random numbers, in Rust for the CPU and in WGSL for generated kernels: both are the same function of counter and key, from the
//! same constants.
//!
//! Bits are Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): ten rounds over a counter. What it
//! gives depends on nothing but counter and key, so that any invocation, on any device, can make any number by itself.

use super::float;
use std::fmt::Write;

/// What the first and the third word are multiplied by, `PHILOX_M4x32` of the authors' Random123.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What the key grows by from round to round, `PHILOX_W32`.
const INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The step of uniform numbers: 24 bits are as many as all floats in 0.5..1 have.
pub(crate) const UNIT: f32 = 1.0 / 16_777_216.0;

/// The inverse error function by Giles's polynomials in single precision ("Approximating the erfinv function", 2010), in `w - 2.5`
/// for w, the negative logarithm of `1 - x^2`, below 5, and in `sqrt(w) - 3` for the tails. Highest power first.
const CENTRAL: [f32; 9] = [
    2.810_226_4e-08,
    3.432_739_4e-07,
    -3.523_387_7e-06,
    -4.391_506_5e-06,
    0.000_218_580_87,
    -0.001_253_725_1,
    -0.004_177_681_6,
    0.246_640_73,
    1.501_409_4,
];
const TAIL: [f32; 9] = [
    -0.000_200_214_26,
    0.000_100_950_56,
    0.001_349_343_2,
    -0.003_673_428_4,
    0.005_739_507_7,
    -0.007_622_461_3,
    0.009_438_870_5,
    1.001_674,
    2.832_976_8,
];
const TAIL_FROM: f32 = 5.0;
/// The largest float below 1.
const LARGEST: f32 = 1.0 - UNIT;
const CENTRES: [f32; 2] = [2.5, 3.0];

/// Four words of random bits.
pub(crate) fn philox(counter: u32, key: [u32; 2]) -> [u32; 4] {
    let mut c = [counter, 0, 0, 0];
    let mut k = key;
    for round in 0..ROUNDS {
        if round > 0 {
            k = [k[0].wrapping_add(INCREMENTS[0]), k[1].wrapping_add(INCREMENTS[1])];
        }
        let p = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let q = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(q >> 32) as u32 ^ c[1] ^ k[0], q as u32, (p >> 32) as u32 ^ c[3] ^ k[1], p as u32];
    }
    c
}

/// Random bits to [0, 1).
pub(crate) fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 * UNIT
}

/// Random bits to a standard normal: `sqrt(2) erfinv(x)` of an x that is uniform in (-1, 1). The half step keeps it from the lower
/// end; the largest bits would be rounded to the upper one, where the function is infinite.
pub(crate) fn normal(bits: u32) -> f32 {
    let x = (((bits >> 8) as f32 + 0.5) * (2.0 * UNIT) - 1.0).min(LARGEST);
    let w = -float::f32::log((1.0 - x) * (1.0 + x));
    let (v, coefficients) =
        if w < TAIL_FROM { (w - CENTRES[0], CENTRAL) } else { (w.sqrt() - CENTRES[1], TAIL) };
    let p = coefficients.iter().fold(0.0, |p, &c| p * v + c);
    std::f32::consts::SQRT_2 * p * x
}

/// The step of uniform numbers in f64.
const WIDE_UNIT: f64 = 1.0 / (1u64 << 53) as f64;

/// 53 bits: the 24 that [`uniform`] takes, and 29 more.
fn wide_bits(high: u32, low: u32) -> u64 {
    u64::from(high >> 8) << 29 | u64::from(low >> 3)
}

/// Random bits to [0, 1) in f64: at most a step above [`uniform`] of the first word.
pub(crate) fn wide_uniform(high: u32, low: u32) -> f64 {
    wide_bits(high, low) as f64 * WIDE_UNIT
}

/// Random bits to a standard normal in f64, near [`normal`] of the first word: the quantile function by Wichura's polynomials ("Algorithm
/// AS 241: the percentage points of the normal distribution", 1988), exact to 16 digits, in the middle of each of the 2^53 steps.
pub(crate) fn wide_normal(high: u32, low: u32) -> f64 {
    // Twice the distance to the median in half steps: odd, so that neither this nor that to the end is rounded.
    let doubled = 2 * wide_bits(high, low) as i64 + 1 - (1 << 53);
    let q = doubled as f64 * (WIDE_UNIT / 2.0);
    let quotient = |r: f64, [above, below]: &[[f64; 8]; 2]| {
        let polynomial = |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |p, c| p * r + c);
        polynomial(above) / polynomial(below)
    };
    if q.abs() <= 0.425 {
        return q * quotient(0.180_625 - q * q, &QUANTILE_CENTRE);
    }
    let r = (-(0.5 - q.abs()).ln()).sqrt();
    let size =
        if r <= 5.0 { quotient(r - 1.6, &QUANTILE_TAIL) } else { quotient(r - 5.0, &QUANTILE_FAR_TAIL) };
    size.copysign(q)
}

/// Numerators and denominators of the quantile function, highest power first.
const QUANTILE_CENTRE: [[f64; 8]; 2] = [
    [
        2_509.080_928_730_122_7,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5,
    ],
    [
        5_226.495_278_852_854,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0,
    ],
];
const QUANTILE_TAIL: [[f64; 8]; 2] = [
    [
        7.745_450_142_783_414e-4,
        0.022_723_844_989_269_184,
        0.241_780_725_177_450_6,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9,
        5.475_938_084_995_345e-4,
        0.015_198_666_563_616_457,
        0.148_103_976_427_480_08,
        0.689_767_334_985_1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
];
const QUANTILE_FAR_TAIL: [[f64; 8]; 2] = [
    [
        2.010_334_399_292_288_1e-7,
        2.711_555_568_743_487_6e-5,
        0.001_242_660_947_388_078_4,
        0.026_532_189_526_576_124,
        0.296_560_571_828_504_87,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_8e-15,
        1.421_511_758_316_445_8e-7,
        1.846_318_317_510_054_8e-5,
        7.868_691_311_456_133e-4,
        0.014_875_361_290_850_615,
        0.136_929_880_922_735_8,
        0.599_832_206_555_888,
        1.0,
    ],
];

/// [`philox`] as WGSL, without a loop. WGSL has no product of 64 bits: its upper half is put together from four of 16.
pub(crate) fn wgsl_philox() -> String {
    let [m0, m1] = MULTIPLIERS;
    let [w0, w1] = INCREMENTS;
    let round = format!("    c = philox_round(c, k);\n    k = k + vec2<u32>({w0:#X}u, {w1:#X}u);\n");
    format!(
        "fn mul_hi(a: u32, b: u32) -> u32 {{
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let low = al * bl;
    let mid = ah * bl + (low >> 16u);
    let mid2 = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (mid2 >> 16u);
}}
fn philox_round(c: vec4<u32>, k: vec2<u32>) -> vec4<u32> {{
    let p = vec2<u32>(mul_hi({m0:#X}u, c.x), {m0:#X}u * c.x);
    let q = vec2<u32>(mul_hi({m1:#X}u, c.z), {m1:#X}u * c.z);
    return vec4<u32>(q.x ^ c.y ^ k.x, q.y, p.x ^ c.w ^ k.y, p.y);
}}
fn philox_4(counter: u32, key0: u32, key1: u32) -> vec4<u32> {{
    var c = vec4<u32>(counter, 0u, 0u, 0u);
    var k = vec2<u32>(key0, key1);
{}    return philox_round(c, k);
}}
",
        round.repeat(ROUNDS - 1)
    )
}

/// [`normal`] as WGSL; the logarithm is the crate's own on every device.
pub(crate) fn wgsl_normal() -> String {
    let polynomial = |name: &str, of: &str, coefficients: &[f32]| {
        let mut text = String::new();
        for (i, c) in coefficients.iter().enumerate() {
            let _ = match i {
                0 => writeln!(text, "    var {name} = T({c:e});"),
                _ => writeln!(text, "    {name} = {name} * {of} + T({c:e});"),
            };
        }
        text
    };
    format!(
        "fn normal_w(bits: I) -> T {{
    let x = min((T(bits >> I(8u)) + T(0.5)) * T({:e}) - T(1.0), T({LARGEST:e}));
    let w = -log_w((T(1.0) - x) * (T(1.0) + x));
    let a = w - T({:e});
{}    let b = sqrt(w) - T({:e});
{}    return T({:e}) * select(q, p, w < T({TAIL_FROM:e})) * x;
}}
",
        2.0 * UNIT,
        CENTRES[0],
        polynomial("p", "a", &CENTRAL),
        CENTRES[1],
        polynomial("q", "b", &TAIL),
        std::f32::consts::SQRT_2,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_vectors() {
        // Random123's known-answer tests for philox4x32-10 (zero counter and key).
        assert_eq!(philox(0, [0, 0]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn every_constant_is_the_same_number_in_wgsl() {
        let text = wgsl_normal();
        let numbers: Vec<f32> =
            text.split("T(").filter_map(|part| part.split(')').next()?.parse().ok()).collect();
        for c in CENTRAL.iter().chain(&TAIL).chain(&CENTRES).chain(&[TAIL_FROM, 2.0 * UNIT, LARGEST]) {
            assert!(numbers.contains(c), "{c} in {text}");
        }
        assert_eq!(wgsl_philox().matches("philox_round(c, k)").count(), ROUNDS);
    }

    #[test]
    fn bits_fill_their_ranges() {
        assert_eq!((uniform(0), uniform(u32::MAX)), (0.0, 1.0 - UNIT));
        // the largest bits gave minus infinity, once in 2^24 draws
        let (low, high) = (normal(0), normal(u32::MAX));
        assert!(low == -high && (5.0..6.0).contains(&high), "{low} {high}");
        // half of the bits are below the mean, 84.13% below one standard deviation
        assert!(normal(1 << 31) >= 0.0 && normal((1 << 31) - 1) < 0.0);
        assert!((normal((0.841_344_75 * 4_294_967_296.0) as u32) - 1.0).abs() < 1e-5);
    }

    /// Words of bits, and the quantile that they stand for, by mpmath's erfinv in 40 digits.
    const QUANTILES: [(u32, u32, f64); 8] = [
        (0, 0, -8.292361075813595),
        (0, 1048576, -6.651034818517205),
        (1048576, 5, -3.4871041041143704),
        (123456789, 987654321, -1.8995738630142485),
        (2147483648, 0, 1.3914582123358836e-16),
        (3000000000, 77, 0.5200680615148134),
        (4026531840, 4294967295, 1.5341210290065925),
        (4294967295, 4294967295, 8.292361075813595),
    ];

    #[test]
    fn numbers_in_f64_continue_those_in_f32() {
        let most = u32::MAX;
        assert_eq!([wide_uniform(0, 7), wide_uniform(0, 8)], [0.0, WIDE_UNIT]);
        assert_eq!(wide_uniform(most, most), 1.0 - WIDE_UNIT);
        assert_eq!(wide_normal(0, 0), -wide_normal(most, most));
        for high in [0, 1 << 8, 123_456_789, 1 << 31, 3_000_000_000, most] {
            let (unit, gaussian) = (f64::from(uniform(high)), f64::from(normal(high)));
            for low in [0, 1 << 20, most] {
                let above = wide_uniform(high, low) - unit;
                assert!((0.0..f64::from(UNIT)).contains(&above), "{high} {low}: {above}");
                // at the ends, where a step of f32 is wide, further apart
                let allowed = if (1 << 20..4_290_000_000).contains(&high) { 1e-6 } else { 5.0 };
                assert!((wide_normal(high, low) - gaussian).abs() < allowed, "{high} {low}");
            }
        }
        for (high, low, expected) in QUANTILES {
            let got = wide_normal(high, low);
            assert!((got - expected).abs() <= 2e-15 * expected.abs(), "{high} {low}: {got} {expected}");
        }
    }
}
