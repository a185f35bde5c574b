//! Indices outside their axis, values larger than a binding, memory.
