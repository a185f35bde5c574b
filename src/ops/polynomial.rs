//! Functions of f32 numbers on the CPU, computed in f64 to some nine digits: polynomials without branches, so that compilers make
//! vectors of them where a library's function is called for each element (`tanh` costs 3 ns of a core instead of 14, and the
//! series of the error function cost 105). Nine digits are more than f32 has: rounded, all are within 0.52 units of the last place.
//! Coefficients are minimax, by Remez's exchange.

/// `lowest + x (next + x (..))`
#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    coefficients.into_iter().rev().fold(0.0, |sum, c| c + x * sum)
}

/// x, or the limit beyond it; NaN stays NaN.
#[inline(always)]
fn at_most(x: f64, limit: f64) -> f64 {
    if x > limit { limit } else { x }
}

/// `e^x = 2^n e^r` for |r| up to half of log(2), to 4e-11. Beyond what f32 holds, a number that is 0 or infinite as f32.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    /// 1.5 * 2^52: in the sum with it the last place is that of ones, so that it is rounded to a whole number, which is its low bits.
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    let v = -at_most(-at_most(x, 700.0), 700.0);
    let shifted = v * std::f64::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = (v - n * LN_2[0]) - n * LN_2[1];
    let p = polynomial(
        r,
        [
            0.999_999_999_961_647_1,
            1.000_000_000_243_189_5,
            0.500_000_010_460_632,
            0.166_666_651_264_654_1,
            0.041_666_225_234_950_05,
            0.008_333_560_929_088_57,
            0.001_394_819_595_440_952_7,
            0.000_197_752_881_928_781_2,
        ],
    );
    p * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// `e^(a^2 / 2)` times the probability that a normal variable exceeds a, for a from 0 to 15, to 9e-10.
#[inline(always)]
fn mills(a: f64) -> f64 {
    let p = polynomial(
        (a - 3.5) / (a + 3.5),
        [
            0.850_761_228_304_950_6,
            -0.008_285_439_896_501_748,
            -0.124_281_503_300_617_75,
            0.137_734_671_944_297_45,
            -0.079_579_184_423_930_74,
            0.022_321_237_071_708_903,
            0.001_917_087_726_931_490_5,
            -0.003_231_912_928_053_254,
            0.000_133_956_201_792_506,
            0.000_449_113_983_650_778_2,
            -1.097_708_038_879_701e-6,
            -3.718_382_364_842_463e-5,
        ],
    );
    p / (1.0 + 2.0 * a)
}

/// `x Phi(x)`: of a negative x the tail, of others what it leaves of x.
#[inline(always)]
pub fn gelu(x: f64) -> f64 {
    let a = at_most(x.abs(), 15.0);
    let tail = a * (mills(a) * exp(-0.5 * a * a));
    if x < 0.0 { -tail } else { x - tail }
}

/// Below 1 by its series, beyond by its complement.
#[inline(always)]
pub fn erf(x: f64) -> f64 {
    let p = polynomial(
        x * x,
        [
            1.128_379_165_729_559_4,
            -0.376_126_258_374_651,
            0.112_835_852_486_056_35,
            -0.026_853_814_582_072_52,
            0.005_188_330_482_592_488,
            -0.000_801_020_269_927_250_6,
            7.853_849_828_429_409e-5,
        ],
    );
    let a = at_most(x.abs(), 6.0);
    let far = 1.0 - 2.0 * (mills(a * std::f64::consts::SQRT_2) * exp(-a * a));
    if x.abs() < 1.0 { x * p } else { far.copysign(x) }
}

/// `1 - 2 / (e^2|x| + 1)`, which is short of digits near 0: there, by its series.
#[inline(always)]
pub fn tanh(x: f64) -> f64 {
    let far = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    let z = x * x;
    let near = x * (1.0 - z * (1.0 / 3.0 - z * (2.0 / 15.0)));
    if x.abs() < 0.05 { near } else { far.copysign(x) }
}

#[cfg(test)]
mod tests {
    use crate::ops::float::exact;

    /// `docs/accuracy.md` has what is left after rounding; here are the digits themselves, and the ends.
    #[test]
    fn polynomials_have_nine_digits() {
        type Function = fn(f64) -> f64;
        let list: [(&str, Function, Function, f64); 4] = [
            ("exp", super::exp, exact::exp, 80.0),
            ("tanh", super::tanh, exact::tanh, 20.0),
            ("erf", super::erf, exact::erf, 8.0),
            ("gelu", super::gelu, exact::gelu, 14.0),
        ];
        for (name, f, reference, most) in list {
            for i in -4000..=4000 {
                let x = most * (f64::from(i) / 4000.0).powi(3);
                let (got, want) = (f(x), reference(x));
                assert!((got - want).abs() <= 2e-9 * want.abs(), "{name}({x:e}): {got:e}, expected {want:e}");
            }
            assert!(f(f64::NAN).is_nan(), "{name}");
            for x in [f64::NEG_INFINITY, -1e30, -0.0, 1e30, f64::INFINITY] {
                let (got, want) = (f(x) as f32, reference(x) as f32);
                assert!(
                    got == want && got.is_sign_negative() == want.is_sign_negative(),
                    "{name}({x:e}): {got}"
                );
            }
        }
    }
}
