//! The numbers that products are made of.

use crate::kernel::{Kernel, Sizes, Work};
use pulp::{Arch, Simd};
use std::marker::PhantomData;

/// f32 and f64, and what vectors of them can do.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    /// Zero, of which a sum of no terms is made.
    const NONE: Self;
    /// As many as a register holds.
    #[doc(hidden)]
    type Vector<S: Simd>: Copy;
    #[doc(hidden)]
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// `a b + c`, rounded once.
    #[doc(hidden)]
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    #[doc(hidden)]
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    // What follows is compiled here, and not anew and without optimisations by who calls it.
    #[doc(hidden)]
    fn compute(work: Work<'_, Self>);
    #[doc(hidden)]
    fn pack(b: &[Self], strides: [usize; 2], columns: usize, panel: &mut [Self]);
    #[doc(hidden)]
    fn sizes() -> [usize; 2];
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! element {
    ($t:ty, $vector:ident, $splat:ident, $mul_add:ident, $add:ident) => {
        impl Element for $t {
            const NONE: Self = 0.0;
            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            fn compute(work: Work<'_, Self>) {
                Arch::new().dispatch(Kernel(work));
            }

            fn pack(b: &[Self], strides: [usize; 2], columns: usize, panel: &mut [Self]) {
                crate::pack_any(b, strides, columns, panel);
            }

            fn sizes() -> [usize; 2] {
                Arch::new().dispatch(Sizes::<Self>(PhantomData))
            }
        }
    };
}

element!(f32, f32s, splat_f32s, mul_add_f32s, add_f32s);
element!(f64, f64s, splat_f64s, mul_add_f64s, add_f64s);
