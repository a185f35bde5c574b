//! The table of pointwise functions: each expression is written once and serves as Rust for the CPU and, as text, as WGSL
//! for generated kernels.
//!
//! An expression uses `x` (and `y`), arithmetic, comparisons, `T(literal)` for constants, and the functions that [`float`] defines
//! in Rust and `shaders/functions.wgsl` in WGSL, where WGSL's own are not exact or not defined everywhere. Behind `int` stands what
//! the function is of integers; without it, or without an expression before it, there is none. Of these, [`integer`] defines what is
//! called in Rust; in kernels that are WGSL's own functions and those of `gpu/compile/integers.rs`.

// The expressions are WGSL as well as Rust: parentheses follow what both accept.
#![allow(unused_parens)]

use super::float;
use crate::cpu::simd::vectorized;

macro_rules! unary_table {
    ($($(#[$doc:meta])* $variant:ident $name:literal |$x:ident| $($e:expr)? $(, int $i:expr)?;)*) => {
        /// Functions of one argument.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Unary { $($(#[$doc])* $variant),* }

        impl Unary {
            /// All of the table.
            #[cfg(test)]
            pub const ALL: &[Unary] = &[$(Unary::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Unary::$variant => $name),* }
            }
            /// The expression as WGSL; `None` where the function is one of integers only.
            pub fn wgsl(self) -> Option<&'static str> {
                match self {
                    $($(Unary::$variant => Some(stringify!($e)),)?)*
                    _ => None,
                }
            }
            /// That of integers as WGSL; `None` where the function is one of floats only.
            pub fn wgsl_integer(self) -> Option<&'static str> {
                match self { $($(Unary::$variant => Some(stringify!($i)),)?)* _ => None }
            }
            pub fn map_f32(self, src: &[f32], dst: &mut [f32]) {
                vectorized! {
                    fn run[](f: Unary, src: &[f32], dst: &mut [f32]) {
                        match f {
                            $($(Unary::$variant => {
                                #[allow(unused_imports)]
                                use float::f32::*;
                                for (d, &$x) in dst.iter_mut().zip(src) { *d = $e; }
                            })?)*
                            // never asked for: a function of integers
                            _ => dst.copy_from_slice(src),
                        }
                    }
                }
                run(self, src, dst)
            }
            pub fn map_f64(self, src: &[f64], dst: &mut [f64]) {
                vectorized! {
                    fn run[](f: Unary, src: &[f64], dst: &mut [f64]) {
                        match f {
                            $($(Unary::$variant => {
                                #[allow(unused_imports)]
                                use float::f64::*;
                                for (d, &$x) in dst.iter_mut().zip(src) { *d = $e; }
                            })?)*
                            // never asked for: a function of integers
                            _ => dst.copy_from_slice(src),
                        }
                    }
                }
                run(self, src, dst)
            }
            /// The elements themselves where the function is one of floats only.
            pub fn map_integer<I: integer::Integer>(self, src: &[I], dst: &mut [I]) {
                #[allow(unused_imports)]
                use integer::*;
                match self {
                    $($(Unary::$variant => for (d, &$x) in dst.iter_mut().zip(src) {
                        let $x = Int($x);
                        *d = ($i).0;
                    },)?)*
                    _ => dst.copy_from_slice(src),
                }
            }
        }
    };
}

unary_table! {
    Neg "neg" |x| -x, int T(0) - x;
    Abs "abs" |x| abs(x), int abs(x);
    Exp "exp" |x| exp(x);
    Log "log" |x| log(x);
    Sqrt "sqrt" |x| sqrt(x);
    Square "square" |x| x * x, int x * x;
    Reciprocal "reciprocal" |x| T(1.0) / x;
    Sin "sin" |x| sin(x);
    Cos "cos" |x| cos(x);
    Sign "sign" |x| sign(x), int select(T(0), T(1), x > T(0)) - select(T(0), T(1), x < T(0));
    Floor "floor" |x| floor(x);
    Ceil "ceil" |x| ceil(x);
    Trunc "trunc" |x| trunc(x);
    Round "round" |x| round(x);
    Tan "tan" |x| tan(x);
    Asin "asin" |x| asin(x);
    Acos "acos" |x| acos(x);
    Atan "atan" |x| atan(x);
    Asinh "asinh" |x| asinh(x);
    Acosh "acosh" |x| acosh(x);
    Atanh "atanh" |x| atanh(x);
    BitNot "bitwise_not" |x| , int T(0) - x - T(1);
    Relu "relu" |x| relu(x), int max(x, T(0));
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
    ($($(#[$doc:meta])* $variant:ident $name:literal |$x:ident, $y:ident| $($e:expr)? $(, int $i:expr)?;)*) => {
        /// Functions of two arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Binary { $($(#[$doc])* $variant),* }

        impl Binary {
            /// All of the table.
            #[cfg(test)]
            pub const ALL: &[Binary] = &[$(Binary::$variant),*];
            pub fn name(self) -> &'static str {
                match self { $(Binary::$variant => $name),* }
            }
            /// The expression as WGSL; `None` where the function is one of integers only.
            pub fn wgsl(self) -> Option<&'static str> {
                match self {
                    $($(Binary::$variant => Some(stringify!($e)),)?)*
                    _ => None,
                }
            }
            /// The expression of integers as WGSL; `None` where the function is one of floats only.
            pub fn wgsl_integer(self) -> Option<&'static str> {
                match self {
                    $($(Binary::$variant => Some(stringify!($i)),)?)*
                    _ => None,
                }
            }
            binary_table!(@map map_f32 f32 { use float::f32::*; } $($($variant |$x, $y| $e;)?)*);
            binary_table!(@map map_f64 f64 { use float::f64::*; } $($($variant |$x, $y| $e;)?)*);
            binary_table!(@map map_i32 i32 { use integer::*; } $($($variant |$x, $y| {
                let ($x, $y) = (Int($x), Int($y));
                ($i).0
            };)?)*);
            binary_table!(@map map_u32 u32 { use integer::*; } $($($variant |$x, $y| {
                let ($x, $y) = (Int($x), Int($y));
                ($i).0
            };)?)*);
            binary_table!(@map map_u8 u8 { use integer::*; } $($($variant |$x, $y| {
                let ($x, $y) = (Int($x), Int($y));
                ($i).0
            };)?)*);
        }
    };
    (@map $f:ident $t:ident { $($use:tt)* } $($variant:ident |$x:ident, $y:ident| $e:expr;)*) => {
        /// `dst[i] = f(a[i * a_step], b[i * b_step])` with steps 0 or 1.
        pub fn $f(self, a: &[$t], a_step: usize, b: &[$t], b_step: usize, dst: &mut [$t]) {
            vectorized! {
                fn run[](f: Binary, a: &[$t], a_step: usize, b: &[$t], b_step: usize, dst: &mut [$t]) {
                    #[allow(unused_imports)]
                    $($use)*
                    match f {
                        $(Binary::$variant => match (a_step, b_step) {
                            (1, 1) => for (d, (&$x, &$y)) in dst.iter_mut().zip(a.iter().zip(b)) { *d = $e; },
                            (1, _) => { let $y = b[0]; for (d, &$x) in dst.iter_mut().zip(a) { *d = $e; } }
                            (_, 1) => { let $x = a[0]; for (d, &$y) in dst.iter_mut().zip(b) { *d = $e; } }
                            _ => { let ($x, $y) = (a[0], b[0]); dst.fill($e); }
                        },)*
                        // never asked for: a function of other types
                        _ => dst.fill(a[0]),
                    }
                }
            }
            run(self, a, a_step, b, b_step, dst)
        }
    };
}

/// Integers as kernels compute them: arithmetic wraps, for WGSL says so.
pub(crate) mod integer {
    use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

    /// An integer type of tensors.
    pub trait Integer: Copy + Ord {
        fn of(v: i8) -> Self;
        fn add(self, o: Self) -> Self;
        fn sub(self, o: Self) -> Self;
        fn mul(self, o: Self) -> Self;
        fn div(self, o: Self) -> Self;
        fn power(self, o: Self) -> Self;
        fn fmod(self, o: Self) -> Self;
        fn bitand(self, o: Self) -> Self;
        fn bitor(self, o: Self) -> Self;
        fn bitxor(self, o: Self) -> Self;
        fn shl(self, o: Self) -> Self;
        fn shr(self, o: Self) -> Self;
    }
    macro_rules! integer {
        ($($t:ident),*) => {$(impl Integer for $t {
            #[inline(always)]
            fn of(v: i8) -> Self { v as $t }
            #[inline(always)]
            fn add(self, o: Self) -> Self { self.wrapping_add(o) }
            #[inline(always)]
            fn sub(self, o: Self) -> Self { self.wrapping_sub(o) }
            #[inline(always)]
            fn mul(self, o: Self) -> Self { self.wrapping_mul(o) }
            #[inline(always)]
            fn div(self, o: Self) -> Self { self.wrapping_div(o) }
            #[inline(always)]
            fn power(self, o: Self) -> Self { self.wrapping_pow(o as u32) }
            #[inline(always)]
            fn fmod(self, o: Self) -> Self { if o == 0 { 0 } else { self.wrapping_rem(o) } }
            #[inline(always)]
            fn bitand(self, o: Self) -> Self { self & o }
            #[inline(always)]
            fn bitor(self, o: Self) -> Self { self | o }
            #[inline(always)]
            fn bitxor(self, o: Self) -> Self { self ^ o }
            #[inline(always)]
            fn shl(self, o: Self) -> Self { self.checked_shl(o as u32).unwrap_or(0) }
            // all bits shifted out leave the sign
            #[inline(always)]
            fn shr(self, o: Self) -> Self { self >> (o as u32).min(Self::BITS - 1) >> u32::from(o as u32 >= Self::BITS) }
        })*};
    }
    integer!(i32, u32, u8);

    /// What `x` and `y` are in an expression.
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    pub struct Int<I>(pub I);

    macro_rules! operator {
        ($($op:ident $f:ident;)*) => {$(impl<I: Integer> $op for Int<I> {
            type Output = Self;
            #[inline(always)]
            fn $f(self, o: Self) -> Self { Int(self.0.$f(o.0)) }
        })*};
    }
    operator! { Add add; Sub sub; Mul mul; Div div; BitAnd bitand; BitOr bitor; BitXor bitxor; }

    // The names are those of the expressions.
    #[allow(non_snake_case)]
    #[inline(always)]
    pub fn T<I: Integer>(v: i8) -> Int<I> {
        Int(I::of(v))
    }
    #[inline(always)]
    pub fn abs<I: Integer>(x: Int<I>) -> Int<I> {
        if x < T(0) { T(0) - x } else { x }
    }
    #[inline(always)]
    pub fn max<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        if x > y { x } else { y }
    }
    #[inline(always)]
    pub fn min<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        if x < y { x } else { y }
    }
    #[inline(always)]
    pub fn select<I: Integer>(no: Int<I>, yes: Int<I>, condition: bool) -> Int<I> {
        if condition { yes } else { no }
    }
    #[inline(always)]
    pub fn power<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        Int(x.0.power(y.0))
    }
    /// 0 by zero.
    #[inline(always)]
    pub fn fmod<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        Int(x.0.fmod(y.0))
    }
    /// Whether the remainder of a division that rounds towards zero is not that of one that rounds down.
    #[inline(always)]
    fn rounds_up<I: Integer>(remainder: Int<I>, y: Int<I>) -> bool {
        remainder != T(0) && (remainder < T(0)) != (y < T(0))
    }
    #[inline(always)]
    pub fn remainder<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        let r = fmod(x, y);
        if rounds_up(r, y) { r + y } else { r }
    }
    /// The dividend by zero.
    #[inline(always)]
    pub fn floor_divide<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        let quotient = x / select(y, T(1), y == T(0));
        if rounds_up(fmod(x, y), y) { quotient - T(1) } else { quotient }
    }
    #[inline(always)]
    pub fn shl<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        Int(x.0.shl(y.0))
    }
    #[inline(always)]
    pub fn shr<I: Integer>(x: Int<I>, y: Int<I>) -> Int<I> {
        Int(x.0.shr(y.0))
    }
}

// Dividing by zero gives the dividend and the remainder 0, as WGSL defines it; said here all the same, for not every driver knows.
binary_table! {
    Add "add" |x, y| x + y, int x + y;
    Sub "sub" |x, y| x - y, int x - y;
    Mul "mul" |x, y| x * y, int x * y;
    Div "div" |x, y| x / y, int x / select(y, T(1), y == T(0));
    Pow "pow" |x, y| power(x, y), int power(x, y);
    Maximum "maximum" |x, y| max(x, y), int max(x, y);
    Minimum "minimum" |x, y| min(x, y), int min(x, y);
    Atan2 "atan2" |x, y| atan2(x, y);
    /// Of the dividend's sign, as C's and Rust's `%`.
    Rem "fmod" |x, y| fmod(x, y), int fmod(x, y);
    /// Of the divisor's sign, as Python's `%`.
    Remainder "remainder" |x, y| remainder(x, y), int remainder(x, y);
    FloorDivide "floor_divide" |x, y| floor_divide(x, y), int floor_divide(x, y);
    BitAnd "bitwise_and" |x, y| , int x & y;
    BitOr "bitwise_or" |x, y| , int x | y;
    BitXor "bitwise_xor" |x, y| , int x ^ y;
    Shl "shl" |x, y| , int shl(x, y);
    Shr "shr" |x, y| , int shr(x, y);
}

macro_rules! compare_table {
    ($($variant:ident $name:literal |$x:ident, $y:ident| $e:expr;)*) => {
        /// Comparisons: 1 where true, else 0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Compare { $($variant),* }

        impl Compare {
            /// All of the table.
            #[cfg(test)]
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
