//! The table of pointwise functions: each expression is written once and serves as Rust for the CPU and, as text, as WGSL
//! for generated kernels.
//!
//! An expression uses `x` (and `y`), arithmetic, comparisons, `T(literal)` for constants, and the functions that
//! [`float`] defines in Rust and WGSL has built in, or that [`PRELUDE`] defines for WGSL.

// The expressions are WGSL as well as Rust: parentheses and names follow what both accept.
// Their constants are written out because they are text, too.
#![allow(non_snake_case, unused_parens, clippy::approx_constant, clippy::excessive_precision)]

use crate::cpu::simd::vectorized;

/// What the expressions call, for one float type.
macro_rules! float_functions {
    ($t:ident) => {
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
                x.exp()
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
            pub fn tanh_safe(x: F) -> F {
                x.tanh()
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
            pub fn select(no: F, yes: F, condition: bool) -> F {
                if condition { yes } else { no }
            }
            #[inline(always)]
            pub fn power(x: F, y: F) -> F {
                x.powf(y)
            }
            pub fn erf(x: F) -> F {
                super::erf64(x as std::primitive::f64) as F
            }
            #[inline(always)]
            pub fn expm1_safe(x: F) -> F {
                x.exp_m1()
            }
            #[inline(always)]
            pub fn log1p_safe(x: F) -> F {
                x.ln_1p()
            }
        }
    };
}

/// The functions of the table's expressions in Rust.
pub(crate) mod float {
    float_functions!(f32);
    float_functions!(f64);

    /// The error function to full f64 accuracy: its Maclaurin series up to 3, the continued fraction of erfc beyond
    /// (Abramowitz and Stegun, 7.1.5 and 7.1.14).
    pub fn erf64(x: std::primitive::f64) -> std::primitive::f64 {
        let a = x.abs();
        if a.is_nan() {
            return x;
        }
        let value = if a < 3.0 {
            let (mut term, mut sum, mut n) = (a, a, 0.0);
            while term.abs() > 1e-17 * sum.abs() {
                n += 1.0;
                term *= -a * a / n;
                sum += term / (2.0 * n + 1.0);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        } else if a > 6.0 {
            1.0
        } else {
            let mut f = a;
            for k in (1..60).rev() {
                f = a + (k as std::primitive::f64 / 2.0) / f;
            }
            1.0 - (-a * a).exp() / (f * std::f64::consts::PI.sqrt())
        };
        value.copysign(x)
    }
}

/// WGSL for the functions that WGSL lacks or leaves undefined for some arguments. `T`, `I` and `_w` stand for the float
/// type, the integer type and the width's suffix.
pub(crate) const PRELUDE: &[(&str, &str)] = &[
    (
        // tanh of WGSL may overflow inside: beyond 9 it is 1 in f32
        "tanh_safe",
        "fn tanh_safe_w(x: T) -> T { return tanh(clamp(x, T(-9.0), T(9.0))); }\n",
    ),
    (
        // pow of a negative base is undefined in WGSL: the sign follows the exponent's parity, as IEEE 754 has it
        "power",
        "fn power_w(x: T, y: T) -> T {\n  let whole = floor(y) == y;\n  let odd = (y - T(2.0) * floor(y * T(0.5))) == T(1.0);\n  \
         let m = pow(abs(x), y);\n  let signed = select(m, -m, odd);\n  \
         let bad = bitcast<T>(I(0x7fc00000u) | (bitcast<I>(x) & I(0u)));\n  \
         return select(select(select(bad, signed, whole), m, x >= T(0.0)), T(1.0), y == T(0.0));\n}\n",
    ),
    (
        // Abramowitz and Stegun 7.1.26 (absolute error under 1.5e-7), and near zero, where that is relatively much, the
        // Maclaurin series
        "erf",
        "fn erf_w(x: T) -> T {\n  let a = abs(x);\n  let t = T(1.0) / (T(1.0) + T(0.3275911) * a);\n  \
         let p = t * (T(0.254829592) + t * (T(-0.284496736) + t * (T(1.421413741) + t * (T(-1.453152027) + t * T(1.061405429)))));\n  \
         let q = x * x;\n  \
         let series = x * (T(1.12837917) + q * (T(-0.37612639) + q * (T(0.11283792) + q * (T(-0.02686617) + q * (T(0.005223978) - q * T(0.00085483))))));\n  \
         return select(sign(x) * (T(1.0) - p * exp(-q)), series, a < T(0.5));\n}\n",
    ),
    (
        // exp(x) - 1 without cancellation near zero
        "expm1_safe",
        "fn expm1_safe_w(x: T) -> T {\n  let series = x * (T(1.0) + x * (T(0.5) + x * (T(0.16666667) + x * (T(0.041666667) + x * T(0.0083333333)))));\n  \
         return select(exp(x) - T(1.0), series, abs(x) < T(0.25));\n}\n",
    ),
    (
        // log(1 + x) without cancellation near zero
        "log1p_safe",
        "fn log1p_safe_w(x: T) -> T {\n  let s = x / (T(2.0) + x);\n  let q = s * s;\n  \
         let series = T(2.0) * s * (T(1.0) + q * (T(0.33333333) + q * (T(0.2) + q * (T(0.14285714) + q * T(0.11111111)))));\n  \
         return select(log(T(1.0) + x), series, abs(x) < T(0.5));\n}\n",
    ),
];

macro_rules! unary_table {
    ($($(#[$doc:meta])* $variant:ident $name:literal |$x:ident| $e:expr;)*) => {
        /// Functions of one argument.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Unary { $($(#[$doc])* $variant),* }

        impl Unary {
            /// All of the table.
            pub const ALL: &[Unary] = &[$(Unary::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Unary::$variant => $name),* }
            }
            /// The expression as WGSL.
            pub fn wgsl(self) -> &'static str {
                match self { $(Unary::$variant => stringify!($e)),* }
            }
            pub fn map_f32(self, src: &[f32], dst: &mut [f32]) {
                vectorized! {
                    fn run[](f: Unary, src: &[f32], dst: &mut [f32]) {
                        match f { $(Unary::$variant => {
                            #[allow(unused_imports)]
                            use float::f32::*;
                            for (d, &$x) in dst.iter_mut().zip(src) { *d = $e; }
                        }),* }
                    }
                }
                run(self, src, dst)
            }
            pub fn map_f64(self, src: &[f64], dst: &mut [f64]) {
                vectorized! {
                    fn run[](f: Unary, src: &[f64], dst: &mut [f64]) {
                        match f { $(Unary::$variant => {
                            #[allow(unused_imports)]
                            use float::f64::*;
                            for (d, &$x) in dst.iter_mut().zip(src) { *d = $e; }
                        }),* }
                    }
                }
                run(self, src, dst)
            }
        }
    };
}

unary_table! {
    Neg "neg" |x| -x;
    Abs "abs" |x| abs(x);
    Exp "exp" |x| exp(x);
    Log "log" |x| log(x);
    Sqrt "sqrt" |x| sqrt(x);
    Square "square" |x| x * x;
    Reciprocal "reciprocal" |x| T(1.0) / x;
    Sin "sin" |x| sin(x);
    Cos "cos" |x| cos(x);
    Sign "sign" |x| sign(x);
    Floor "floor" |x| floor(x);
    Relu "relu" |x| max(x, T(0.0));
    Elu "elu" |x| select(expm1_safe(x), x, x > T(0.0));
    Sigmoid "sigmoid" |x| T(1.0) / (T(1.0) + exp(-x));
    Tanh "tanh" |x| tanh_safe(x);
    Silu "silu" |x| x / (T(1.0) + exp(-x));
    /// x * Phi(x) with the error function
    Gelu "gelu" |x| T(0.5) * x * (T(1.0) + erf(x * T(0.7071067811865476)));
    /// The tanh approximation of Hendrycks and Gimpel (2016)
    GeluTanh "gelu_tanh" |x| T(0.5) * x * (T(1.0) + tanh_safe(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)));
    Softplus "softplus" |x| max(x, T(0.0)) + log1p_safe(exp(-abs(x)));
    Erf "erf" |x| erf(x);
}

macro_rules! binary_table {
    ($($variant:ident $name:literal |$x:ident, $y:ident| $e:expr, int $i:expr;)*) => {
        /// Functions of two arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Binary { $($variant),* }

        impl Binary {
            /// All of the table.
            pub const ALL: &[Binary] = &[$(Binary::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Binary::$variant => $name),* }
            }
            pub fn wgsl(self) -> &'static str {
                match self { $(Binary::$variant => stringify!($e)),* }
            }
            binary_table!(@map map_f32 f32 { use float::f32::*; } $($variant |$x, $y| $e;)*);
            binary_table!(@map map_f64 f64 { use float::f64::*; } $($variant |$x, $y| $e;)*);
            binary_table!(@map map_i32 i32 { use integer::*; } $($variant |$x, $y| $i;)*);
            binary_table!(@map map_u32 u32 { use integer::*; } $($variant |$x, $y| $i;)*);
            binary_table!(@map map_u8 u8 { use integer::*; } $($variant |$x, $y| $i;)*);
        }
    };
    (@map $f:ident $t:ident { $($use:tt)* } $($variant:ident |$x:ident, $y:ident| $e:expr;)*) => {
        /// `dst[i] = f(a[i * a_step], b[i * b_step])` with steps 0 or 1.
        pub fn $f(self, a: &[$t], a_step: usize, b: &[$t], b_step: usize, dst: &mut [$t]) {
            vectorized! {
                fn run[](f: Binary, a: &[$t], a_step: usize, b: &[$t], b_step: usize, dst: &mut [$t]) {
                    #[allow(unused_imports)]
                    $($use)*
                    match f { $(Binary::$variant => match (a_step, b_step) {
                        (1, 1) => for (d, (&$x, &$y)) in dst.iter_mut().zip(a.iter().zip(b)) { *d = $e; },
                        (1, _) => { let $y = b[0]; for (d, &$x) in dst.iter_mut().zip(a) { *d = $e; } }
                        (_, 1) => { let $x = a[0]; for (d, &$y) in dst.iter_mut().zip(b) { *d = $e; } }
                        _ => { let ($x, $y) = (a[0], b[0]); dst.fill($e); }
                    }),* }
                }
            }
            run(self, a, a_step, b, b_step, dst)
        }
    };
}

/// Integer arithmetic wraps, as on the GPU; dividing by zero gives the dividend, as WGSL defines it.
pub(crate) mod integer {
    /// What the table needs of an integer type.
    pub trait Int: Copy + PartialOrd + Default {
        fn add(self, o: Self) -> Self;
        fn sub(self, o: Self) -> Self;
        fn mul(self, o: Self) -> Self;
        fn div(self, o: Self) -> Self;
        fn power(self, o: Self) -> Self;
    }
    macro_rules! int {
        ($($t:ident),*) => {$(impl Int for $t {
            fn add(self, o: Self) -> Self { self.wrapping_add(o) }
            fn sub(self, o: Self) -> Self { self.wrapping_sub(o) }
            fn mul(self, o: Self) -> Self { self.wrapping_mul(o) }
            fn div(self, o: Self) -> Self { if o == 0 { self } else { self.wrapping_div(o) } }
            fn power(self, o: Self) -> Self { self.wrapping_pow(o as u32) }
        })*};
    }
    int!(i32, u32, u8);
}

#[allow(unused_imports)]
use integer::Int;

binary_table! {
    Add "add" |x, y| x + y, int x.add(y);
    Sub "sub" |x, y| x - y, int x.sub(y);
    Mul "mul" |x, y| x * y, int x.mul(y);
    Div "div" |x, y| x / y, int x.div(y);
    Pow "pow" |x, y| power(x, y), int x.power(y);
    Maximum "maximum" |x, y| max(x, y), int if x > y { x } else { y };
    Minimum "minimum" |x, y| min(x, y), int if x < y { x } else { y };
}

macro_rules! compare_table {
    ($($variant:ident $name:literal |$x:ident, $y:ident| $e:expr;)*) => {
        /// Comparisons: 1 where true, else 0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Compare { $($variant),* }

        impl Compare {
            /// All of the table.
            pub const ALL: &[Compare] = &[$(Compare::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Compare::$variant => $name),* }
            }
            pub fn wgsl(self) -> &'static str {
                match self { $(Compare::$variant => stringify!($e)),* }
            }
            /// `dst[i] = f(a[i * a_step], b[i * b_step])` with steps 0 or 1.
            pub fn map<E: PartialOrd + Copy>(self, a: &[E], a_step: usize, b: &[E], b_step: usize, dst: &mut [u8]) {
                vectorized! {
                    fn run[E: PartialOrd + Copy](
                        f: Compare, a: &[E], a_step: usize, b: &[E], b_step: usize, dst: &mut [u8],
                    ) {
                        match f { $(Compare::$variant => match (a_step, b_step) {
                            (1, 1) => for (d, (&$x, &$y)) in dst.iter_mut().zip(a.iter().zip(b)) { *d = ($e) as u8; },
                            (1, _) => { let $y = b[0]; for (d, &$x) in dst.iter_mut().zip(a) { *d = ($e) as u8; } }
                            (_, 1) => { let $x = a[0]; for (d, &$y) in dst.iter_mut().zip(b) { *d = ($e) as u8; } }
                            _ => { let ($x, $y) = (a[0], b[0]); dst.fill(($e) as u8); }
                        }),* }
                    }
                }
                run(self, a, a_step, b, b_step, dst)
            }
        }
    };
}

compare_table! {
    Eq "eq" |x, y| x == y;
    Ne "ne" |x, y| x != y;
    Lt "lt" |x, y| x < y;
    Le "le" |x, y| x <= y;
    Gt "gt" |x, y| x > y;
    Ge "ge" |x, y| x >= y;
}

#[cfg(test)]
mod tests {
    use super::float;

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
            assert!((float::erf64(x) - y).abs() < 1e-15, "erf({x}) = {}", float::erf64(x));
            assert!((float::erf64(-x) + y).abs() < 1e-15);
        }
    }
}
