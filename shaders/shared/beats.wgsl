// By bits: comparisons of NaN with itself lie on some drivers (fast math, lavapipe).
fn is_nan(v: F) -> B {
    return (bitcast<U>(v) & U(0x7fffffffu)) > U(0x7f800000u);
}

// A NaN is the largest of all, and the first of equals stays.
fn beats(v: F, best: F) -> B {
    return !is_nan(best) & (is_nan(v) | (v > best));
}
