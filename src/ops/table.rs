//! The table of pointwise functions: each expression is written once and serves as Rust for the CPU and, as text, as WGSL
//! for generated kernels.
//!
//! An expression uses `x` (and `y`), arithmetic, comparisons, `T(literal)` for constants, and the functions that [`float`] defines
//! in Rust and `shaders/functions.wgsl` in WGSL, where WGSL's own are not exact or not defined everywhere.

// The expressions are WGSL as well as Rust: parentheses follow what both accept.
#![allow(unused_parens)]

use super::float;
use crate::cpu::simd::vectorized;

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
    Relu "relu" |x| relu(x);
    Elu "elu" |x| select(expm1(x), x, x > T(0.0));
    Sigmoid "sigmoid" |x| sigmoid(x);
    Tanh "tanh" |x| tanh(x);
    Silu "silu" |x| silu(x);
    /// x * Phi(x) with the error function
    Gelu "gelu" |x| gelu(x);
    /// The tanh approximation of Hendrycks and Gimpel (2016)
    GeluTanh "gelu_tanh" |x| gelu_tanh(x);
    Softplus "softplus" |x| softplus(x);
    Erf "erf" |x| erf(x);
    Expm1 "expm1" |x| expm1(x);
    Log1p "log1p" |x| log1p(x);
    Softsign "softsign" |x| softsign(x);
    Mish "mish" |x| mish(x);
    LogCosh "log_cosh" |x| log_cosh(x);
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
