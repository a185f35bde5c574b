//! The numbers that kernels compute with.

use super::lines::{aligned_mut, slack};
use std::cell::RefCell;
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use gemm_common::Parallelism;

/// An element of a tensor that can be reduced and gathered: f32, f64, i32, u32, u8. Integers wrap.
pub trait Number: Copy + Send + Sync + PartialOrd + Debug + 'static {
    const ZERO: Self;
    const ONE: Self;

    /// What long sums of it are kept in, one after the other: f64 for f32, else itself.
    type Sum: Number;

    fn to_sum(self) -> Self::Sum;
    fn from_sum(sum: Self::Sum) -> Self;

    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;

    fn is_nan(self) -> bool;

    /// Whether `self` replaces `best` in a search for the maximum: it is larger, or it is the first NaN.
    #[inline(always)]
    fn beats_max(self, best: Self) -> bool {
        (self > best) | (self.is_nan() & !best.is_nan())
    }

    /// Whether `self` replaces `best` in a search for the minimum: it is smaller, or it is the first NaN.
    #[inline(always)]
    fn beats_min(self, best: Self) -> bool {
        (self < best) | (self.is_nan() & !best.is_nan())
    }

    /// The larger one; NaN if either is NaN.
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other.beats_max(self) { other } else { self }
    }

    /// The smaller one; NaN if either is NaN.
    #[inline(always)]
    fn smaller(self, other: Self) -> Self {
        if other.beats_min(self) { other } else { self }
    }
}

macro_rules! integer_element {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;

            type Sum = $t;

            #[inline(always)]
            fn to_sum(self) -> $t {
                self
            }

            #[inline(always)]
            fn from_sum(sum: $t) -> $t {
                sum
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    )*};
}

integer_element!(i32, u32, u8);

/// An element that tells a place along an axis: u32, i32, u8.
pub trait Index: Copy + Send + Sync + 'static {
    fn value(self) -> i64;

    /// `place` as an index. It must fit: an axis longer than the type can count has no such index.
    fn from_place(place: usize) -> Self;

    /// The place it names along an axis of `size`, if there is one.
    #[inline(always)]
    fn place(self, size: usize) -> Option<usize> {
        usize::try_from(self.value()).ok().filter(|&place| place < size)
    }
}

macro_rules! index {
    ($($t:ty),*) => {$(
        impl Index for $t {
            #[inline(always)]
            fn value(self) -> i64 {
                i64::from(self)
            }

            #[inline(always)]
            fn from_place(place: usize) -> Self {
                place as $t
            }
        }
    )*};
}

index!(i32, u32, u8);

/// A floating-point element: f32 or f64.
pub trait Float:
    Number
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + wgrad_tiles::Element
{
    const NEG_INFINITY: Self;
    /// The lowest number that is finite.
    const LOWEST: Self;

    fn exp(self) -> Self;
    /// `e^x` for x that are at most 0, or above it by rounding: as a polynomial in f32, so that compilers make vectors of it, to two units
    /// of the last place. What is below the normal numbers is 0.
    fn exp_below(self) -> Self;
    fn ln(self) -> Self;
    fn from_f64(value: f64) -> Self;

    /// `C = A B`, or `C += A B` if `accumulate`, where `C` is row-major with rows `c_stride` apart.
    ///
    /// # Safety
    /// The pointers must be valid for every element that the sizes and strides reach, and `c` must not overlap the others.
    #[allow(clippy::too_many_arguments, reason = "the argument list of BLAS")]
    unsafe fn gemm(
        size: [usize; 3],
        a: *const Self,
        a_strides: [usize; 2],
        b: *const Self,
        b_strides: [usize; 2],
        c: *mut Self,
        c_stride: usize,
        accumulate: bool,
        parallel: bool,
    );

    /// Lends `f` a buffer of `len` elements with unspecified contents. Buffers are kept per thread for the next call.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

/// A thread keeps buffers up to this size for later; larger ones go back to the allocator.
const KEPT_SCRATCH_BYTES: usize = 32 << 20;

/// 2^n (1 + r + ..) for x = n ln(2) + r, |r| up to half of ln(2). NaN stays NaN: the sum has it, whatever n is.
#[inline(always)]
fn exp_below(x: f32) -> f32 {
    /// 1.5 * 2^23: in the sum with it the last place is that of ones, so that it is rounded to a whole number, which is its low bits.
    const WHOLE: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let high = 0.008_333_108 + r * (0.001_393_373_1 + r * 1.989_108e-4);
    let q = 0.5 + r * (0.166_666_67 + r * (0.041_666_463 + r * high));
    let y = (1.0 + (r + (r * r) * q)) * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { y }
}

macro_rules! float {
    ($t:ident, $gemm:path, $exp_below:path) => {
        impl Number for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            type Sum = f64;

            #[inline(always)]
            fn to_sum(self) -> f64 {
                self.into()
            }

            #[inline(always)]
            fn from_sum(sum: f64) -> $t {
                sum as $t
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
        }

        impl Float for $t {
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const LOWEST: Self = $t::MIN;

            #[inline(always)]
            fn exp(self) -> Self {
                $t::exp(self)
            }

            #[inline(always)]
            fn exp_below(self) -> Self {
                $exp_below(self)
            }

            #[inline(always)]
            fn ln(self) -> Self {
                $t::ln(self)
            }

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }

            unsafe fn gemm(
                [m, n, k]: [usize; 3],
                a: *const Self,
                a_strides: [usize; 2],
                b: *const Self,
                b_strides: [usize; 2],
                c: *mut Self,
                c_stride: usize,
                accumulate: bool,
                parallel: bool,
            ) {
                let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
                let [a_m, a_k] = a_strides.map(|s| s as isize);
                let [b_k, b_n] = b_strides.map(|s| s as isize);
                // The crate's kernels write columns: hand it the transposed product, C' = B' A'.
                // SAFETY: the caller vouches for the pointers; the function is the one for this processor.
                unsafe {
                    $gemm()(
                        n,
                        m,
                        k,
                        c,
                        c_stride as isize,
                        1,
                        accumulate,
                        b,
                        b_k,
                        b_n,
                        a,
                        a_m,
                        a_k,
                        1.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallelism,
                    );
                }
            }

            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                // A stack, not one buffer: while a kernel waits for rayon, its thread may run a task that asks for its own.
                thread_local! {
                    static KEPT: RefCell<Vec<Vec<$t>>> = const { RefCell::new(Vec::new()) };
                }
                let mut buffer = KEPT.with(|kept| kept.borrow_mut().pop()).unwrap_or_default();
                if buffer.len() < len + slack::<$t>() {
                    buffer.resize(len + slack::<$t>(), 0.0);
                }
                let result = f(aligned_mut(&mut buffer, len));
                if buffer.capacity() * size_of::<$t>() <= KEPT_SCRATCH_BYTES {
                    KEPT.with(|kept| kept.borrow_mut().push(buffer));
                }
                result
            }
        }
    };
}

float!(f32, gemm_f32::gemm::f32::get_gemm_fn, exp_below);
float!(f64, gemm_f64::gemm::f64::get_gemm_fn, f64::exp);

#[cfg(test)]
pub(super) mod testing {
    /// Deterministic numbers in -1..1 for tests.
    pub fn numbers(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    pub fn to_f32(x: &[f64]) -> Vec<f32> {
        x.iter().map(|&v| v as f32).collect()
    }

    pub fn assert_close<T: super::Float + Into<f64>>(got: &[T], want: &[f64], tolerance: f64, what: &str) {
        assert_eq!(got.len(), want.len(), "{what}: length");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            let g: f64 = (*g).into();
            assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{what}: element {i} is {g}, expected {w}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_wins_and_the_first_stays() {
        assert!(f32::NAN.beats_max(f32::INFINITY) && f32::NAN.beats_min(f32::NEG_INFINITY));
        assert!(!f32::NAN.beats_max(f32::NAN) && !1.0f32.beats_max(f32::NAN));
        assert!(1.0f64.larger(f64::NAN).is_nan() && f64::NAN.smaller(1.0).is_nan());
        assert_eq!((3u8.larger(4), (-3i32).smaller(4), 200u8.plus(100)), (4, -3, 44));
    }

    #[test]
    fn index_places() {
        assert_eq!(
            (2i32.place(3), 3i32.place(3), (-1i32).place(3), u32::MAX.place(3)),
            (Some(2), None, None, None)
        );
    }

    #[test]
    fn exponentials_of_what_is_below_zero_have_all_digits() {
        for i in 0..=87_000 {
            let x = -(i as f32) / 1000.0 + 0.001;
            let (got, want) = (f64::from(x.exp_below()), f64::from(x).exp());
            assert!((got - want).abs() <= 2.5e-7 * want, "{x}: {got:e}, expected {want:e}");
        }
        assert_eq!(
            [0.0, -88.0, -1e30, f32::MIN, f32::NEG_INFINITY].map(Float::exp_below),
            [1.0, 0.0, 0.0, 0.0, 0.0]
        );
        assert!(f32::NAN.exp_below().is_nan() && Float::exp_below(f64::NEG_INFINITY) == 0.0);
    }

    #[test]
    fn nested_scratch_is_distinct() {
        f32::with_scratch(8, |outer| {
            outer.fill(1.0);
            f32::with_scratch(8, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|&v| v == 1.0));
        });
    }
}
