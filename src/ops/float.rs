//! The functions that the expressions of the [table](super::table) call, twice: in Rust for the CPU, in f32 and f64, and in WGSL
//! (`shaders/functions.wgsl`) for generated kernels. `docs/accuracy.md` has the error of each on each device.

// The names are those of the expressions, which are WGSL as well as Rust.
#![allow(non_snake_case)]

use super::polynomial;
use std::collections::HashMap;
use std::sync::OnceLock;

/// What the expressions call, for one float type. Functions named `*64` are computed in f64 for both types, upon those of a module:
/// [`exact`] ones, or [`polynomial`] for f32.
macro_rules! float_functions {
    ($t:ident $own:ident) => {
        #[allow(dead_code)]
        pub mod $t {
            type F = std::primitive::$t;
            #[inline(always)]
            pub fn T(v: std::primitive::f64) -> F {
                v as F
            }
            #[inline(always)]
            pub fn abs(x: F) -> F {
                x.abs()
            }
            #[inline(always)]
            pub fn exp(x: F) -> F {
                super::$own::exp(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn log(x: F) -> F {
                x.ln()
            }
            #[inline(always)]
            pub fn sqrt(x: F) -> F {
                x.sqrt()
            }
            #[inline(always)]
            pub fn sin(x: F) -> F {
                x.sin()
            }
            #[inline(always)]
            pub fn cos(x: F) -> F {
                x.cos()
            }
            #[inline(always)]
            pub fn floor(x: F) -> F {
                x.floor()
            }
            #[inline(always)]
            pub fn ceil(x: F) -> F {
                x.ceil()
            }
            #[inline(always)]
            pub fn trunc(x: F) -> F {
                x.trunc()
            }
            #[inline(always)]
            pub fn round(x: F) -> F {
                x.round_ties_even()
            }
            #[inline(always)]
            pub fn tan(x: F) -> F {
                x.tan()
            }
            #[inline(always)]
            pub fn asin(x: F) -> F {
                x.asin()
            }
            #[inline(always)]
            pub fn acos(x: F) -> F {
                x.acos()
            }
            #[inline(always)]
            pub fn atan(x: F) -> F {
                x.atan()
            }
            #[inline(always)]
            pub fn atan2(y: F, x: F) -> F {
                y.atan2(x)
            }
            #[inline(always)]
            pub fn asinh(x: F) -> F {
                super::asinh64(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn acosh(x: F) -> F {
                super::acosh64(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn atanh(x: F) -> F {
                super::atanh64(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn fmod(x: F, y: F) -> F {
                x % y
            }
            /// Whether the remainder of a division that rounds towards zero is not that of one that rounds down.
            #[inline(always)]
            fn rounds_up(remainder: F, y: F) -> bool {
                remainder != 0.0 && (remainder < 0.0) != (y < 0.0)
            }
            #[inline(always)]
            pub fn remainder(x: F, y: F) -> F {
                let r = x % y;
                if rounds_up(r, y) {
                    r + y
                } else if r == 0.0 {
                    r.copysign(y)
                } else {
                    r
                }
            }
            /// What is divided is a multiple of the divisor, and rounding gets rid of what the quotient lost: exact up to 2^21 in
            /// f32, however a device divides.
            #[inline(always)]
            pub fn floor_divide(x: F, y: F) -> F {
                let r = x % y;
                let whole = round((x - r) / y);
                let down = if rounds_up(r, y) { whole - 1.0 } else { whole };
                if y == 0.0 {
                    x / y
                } else if down == 0.0 {
                    (0.0 as F).copysign(x / y)
                } else {
                    down
                }
            }
            #[inline(always)]
            pub fn tanh(x: F) -> F {
                super::$own::tanh(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn expm1(x: F) -> F {
                x.exp_m1()
            }
            #[inline(always)]
            pub fn log1p(x: F) -> F {
                x.ln_1p()
            }
            #[inline(always)]
            pub fn power(x: F, y: F) -> F {
                x.powf(y)
            }
            #[inline(always)]
            pub fn sign(x: F) -> F {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            }
            /// NaN in, NaN out, as in NumPy.
            #[inline(always)]
            pub fn max(x: F, y: F) -> F {
                if x > y || x != x { x } else { y }
            }
            /// NaN in, NaN out, as in NumPy.
            #[inline(always)]
            pub fn min(x: F, y: F) -> F {
                if x < y || x != x { x } else { y }
            }
            #[inline(always)]
            pub fn relu(x: F) -> F {
                max(x, 0.0)
            }
            #[inline(always)]
            pub fn select(no: F, yes: F, condition: bool) -> F {
                if condition { yes } else { no }
            }
            #[inline(always)]
            pub fn sigmoid(x: F) -> F {
                (1.0 / (1.0 + super::$own::exp(-x as std::primitive::f64))) as F
            }
            #[inline(always)]
            pub fn softplus(x: F) -> F {
                relu(x) + log1p(exp(-abs(x)))
            }
            #[inline(always)]
            pub fn softsign(x: F) -> F {
                if x.is_infinite() { sign(x) } else { x / (1.0 + abs(x)) }
            }
            #[inline(always)]
            pub fn silu(x: F) -> F {
                super::silu64(x as std::primitive::f64, super::$own::exp) as F
            }
            #[inline(always)]
            pub fn mish(x: F) -> F {
                super::mish64(x as std::primitive::f64, super::$own::exp) as F
            }
            #[inline(always)]
            pub fn gelu_tanh(x: F) -> F {
                super::gelu_tanh64(x as std::primitive::f64, super::$own::exp) as F
            }
            #[inline(always)]
            pub fn log_cosh(x: F) -> F {
                super::log_cosh64(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn gelu(x: F) -> F {
                super::$own::gelu(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn erf(x: F) -> F {
                super::$own::erf(x as std::primitive::f64) as F
            }
        }
    };
}
float_functions!(f32 polynomial);
float_functions!(f64 exact);

/// Functions to full f64 accuracy.
pub(super) mod exact {
    pub use super::{erf64 as erf, gelu64 as gelu};
    #[inline(always)]
    pub fn exp(x: f64) -> f64 {
        x.exp()
    }
    #[inline(always)]
    pub fn tanh(x: f64) -> f64 {
        x.tanh()
    }
}

/// The error function to full f64 accuracy: its Maclaurin series up to 3, the continued fraction of erfc beyond
/// (Abramowitz and Stegun, 7.1.5 and 7.1.14).
pub fn erf64(x: std::primitive::f64) -> std::primitive::f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let value = if a < 3.0 { erf_series(a) } else { 1.0 - erfc_fraction(a) };
    value.copysign(x)
}

fn erf_series(a: std::primitive::f64) -> std::primitive::f64 {
    let (mut term, mut sum, mut n) = (a, a, 0.0);
    while term.abs() > 1e-17 * sum.abs() {
        n += 1.0;
        term *= -a * a / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// `1 - erf(a)` for a from 2.
fn erfc_fraction(a: std::primitive::f64) -> std::primitive::f64 {
    let mut f = a;
    for k in (1..60).rev() {
        f = a + (k as std::primitive::f64 / 2.0) / f;
    }
    (-a * a).exp() / (f * std::f64::consts::PI.sqrt())
}

/// x * Phi(x), where Phi(x) is half the complementary error function of `-x / sqrt(2)`.
pub fn gelu64(x: std::primitive::f64) -> std::primitive::f64 {
    let z = -x * std::f64::consts::FRAC_1_SQRT_2;
    let erfc = match z.abs() {
        a if a < 2.0 => 1.0 - erf_series(z),
        a if a > 30.0 && x < 0.0 => return -0.0,
        a if x < 0.0 => erfc_fraction(a),
        a if x > 0.0 => 2.0 - erfc_fraction(a.min(30.0)),
        _ => x,
    };
    0.5 * x * erfc
}

/// `x / (1 + e^-v)` for v of x's sign; -0 at -infinity.
#[inline(always)]
fn times_sigmoid64(
    x: std::primitive::f64,
    v: std::primitive::f64,
    exp: impl Fn(std::primitive::f64) -> std::primitive::f64,
) -> std::primitive::f64 {
    let e = exp(-v.abs());
    // so far below zero that the product with infinity would have no value
    let low = if x < -1e4 { -0.0 } else { x * e };
    (if v < 0.0 { low } else { x }) / (1.0 + e)
}

#[inline(always)]
fn silu64(
    x: std::primitive::f64,
    exp: impl Fn(std::primitive::f64) -> std::primitive::f64,
) -> std::primitive::f64 {
    times_sigmoid64(x, x, exp)
}

/// `(1 + tanh(u)) / 2 = sigmoid(2u)`
#[inline(always)]
fn gelu_tanh64(
    x: std::primitive::f64,
    exp: impl Fn(std::primitive::f64) -> std::primitive::f64,
) -> std::primitive::f64 {
    times_sigmoid64(x, 1.595_769_121_605_730_8 * (x + 0.044715 * x * x * x), exp)
}

/// `tanh(log(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2)` for `e = e^x`
#[inline(always)]
fn mish64(
    x: std::primitive::f64,
    exp: impl Fn(std::primitive::f64) -> std::primitive::f64,
) -> std::primitive::f64 {
    let e = exp(if x > 40.0 { 40.0 } else { x });
    let w = e * (e + 2.0);
    let value = x * (w / (w + 2.0));
    if x < -1e4 {
        -0.0
    } else if x > 40.0 || x.is_nan() {
        x
    } else {
        value
    }
}

/// `log(1 + (cosh(x) - 1))`, and from where `e^-2|x|` counts no more, `|x| - log(2)`.
#[inline(always)]
fn log_cosh64(x: std::primitive::f64) -> std::primitive::f64 {
    let a = x.abs();
    let e = a.exp_m1();
    if a > 20.0 { a - std::f64::consts::LN_2 } else { (e * e / (2.0 + 2.0 * e)).ln_1p() }
}

/// std's overflows for the largest.
#[inline(always)]
fn asinh64(x: std::primitive::f64) -> std::primitive::f64 {
    if x.abs() > 1e9 { (x.abs().ln() + std::f64::consts::LN_2).copysign(x) } else { x.asinh() }
}

/// `log(x + sqrt(x^2 - 1))`, by how much x is above 1.
#[inline(always)]
fn acosh64(x: std::primitive::f64) -> std::primitive::f64 {
    let t = x - 1.0;
    if x < 1.0 {
        std::primitive::f64::NAN
    } else if x > 1e9 {
        x.ln() + std::f64::consts::LN_2
    } else {
        (t + (t * (t + 2.0)).sqrt()).ln_1p()
    }
}

#[inline(always)]
fn atanh64(x: std::primitive::f64) -> std::primitive::f64 {
    let a = x.abs();
    (0.5 * (2.0 * a / (1.0 - a)).ln_1p()).copysign(x)
}

/// The WGSL of a function that expressions call, by the name that they call it by; its own name ends in `_w`, and so do those
/// of the functions that it calls. `None` where WGSL's own does.
pub(crate) fn wgsl_function(name: &str) -> Option<(&'static str, &'static str)> {
    wgsl_functions().get_key_value(name).map(|(name, text)| (*name, *text))
}

pub(crate) fn wgsl_functions() -> &'static HashMap<&'static str, &'static str> {
    static FUNCTIONS: OnceLock<HashMap<&'static str, &'static str>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| split(include_str!("../../shaders/functions.wgsl")))
}

/// The functions of a WGSL file, without the brace that ends them: one at the beginning of a line.
fn split(source: &'static str) -> HashMap<&'static str, &'static str> {
    let function = |text: &'static str| {
        let start = text.rfind("\nfn ").map_or(0, |at| at + 1);
        let text = &text[start..];
        Some((text.strip_prefix("fn ")?.split_once("_w(")?.0, text))
    };
    source.split("\n}\n").filter_map(function).collect()
}

#[cfg(test)]
mod tests {
    use super::{erf64, f32, gelu64, split, wgsl_function};

    #[test]
    fn erf_matches_known_values() {
        // Values of the NIST Digital Library of Mathematical Functions, table 7.23.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.5, 0.999_999_256_901_627_7),
        ] {
            assert!((erf64(x) - y).abs() < 1e-15, "erf({x}) = {}", erf64(x));
            assert!((erf64(-x) + y).abs() < 1e-15);
        }
    }

    #[test]
    fn gelu_keeps_its_digits_far_below_zero() {
        // by mpmath, 40 digits
        for (x, y) in [(-5.0, -1.433_257_859_395_969_6e-6), (-10.0, -7.619_853_024_160_526e-23)] {
            assert!((gelu64(x) / y - 1.0).abs() < 1e-11, "gelu({x}) = {:e}", gelu64(x));
        }
        assert_eq!((f32::gelu(f32::T(f64::NEG_INFINITY)), gelu64(f64::INFINITY)), (0.0, f64::INFINITY));
        assert!(gelu64(f64::NAN).is_nan());
    }

    #[test]
    fn functions_are_found_by_name() {
        let all = split(
            "alias T = f32;\n\nfn a_w(x: T) -> T {\n    return x;\n}\n// two\nfn b_w() {\n}\nfn c_w() {\n}\n",
        );
        let mut names: Vec<_> = all.keys().copied().collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(all["b"], "fn b_w() {");
        assert!(wgsl_function("exp").is_some_and(|(_, text)| text.starts_with("fn exp_w(x: T) -> T {")));
        assert!(wgsl_function("floor").is_none() && wgsl_function("x").is_none());
    }
}
