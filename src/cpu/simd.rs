//! Loops compiled for several vector widths. The crate is built for the oldest processor of its architecture; the loops that
//! matter are compiled again for what most have, and chosen when they run. Nothing but the width differs: no operation is
//! contracted or reordered, so every version gives the same bits.

/// Defines a function that runs its body compiled for the widest vectors that this processor has. Type parameters stand in
/// square brackets. What the body calls must be `#[inline(always)]` to be compiled along with it.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident[$($generics:tt)*]($($arg:ident: $t:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$($generics)*>($($arg: $t),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn plain<$($generics)*>($($arg: $t),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                #[allow(clippy::too_many_arguments)]
                fn wide<$($generics)*>($($arg: $t),*) {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                fn half<$($generics)*>($($arg: $t),*) {
                    plain($($arg),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has these features.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has this feature.
                    return unsafe { half($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use vectorized;
