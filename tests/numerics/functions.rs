//! Pointwise functions: NaN, infinities, zeros, denormals, exact results.
