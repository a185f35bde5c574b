// Functions that generated kernels call, in place of WGSL's own where those are inexact, undefined for some arguments, or blind
// to NaN: WGSL leaves all of this to the driver. The code generator takes the functions that it needs and writes them for one
// element (`exp_1`) or for four neighbours (`exp_4`): T, I, S and B are then vectors.
//
// Drivers may rewrite float arithmetic as if it were exact: `x - x` becomes 0, `(a + b) - a` becomes b, and constants move
// outwards through sums and products. Where the last bits matter, a value is therefore cut by its bits (`& 0xfffff000`), which
// no driver looks through, and NaN is told by its bits. Nothing relies on fma, nor on there being none.

alias T = f32;
alias I = u32;
alias S = i32;
alias B = bool;

fn is_nan_w(x: T) -> B {
    return (bitcast<I>(x) & I(0x7fffffffu)) > I(0x7f800000u);
}

// A value by its bits, infinities and NaN included, which may not be constants.
fn from_bits_w(bits: I) -> T {
    return bitcast<T>(bits);
}

// The value itself, through a word that is zero: to the driver another value, so that it finds nothing to cancel.
fn opaque_w(x: T, zero: u32) -> T {
    return bitcast<T>(bitcast<I>(x) ^ I(zero));
}

fn max_w(x: T, y: T) -> T {
    return select(select(max(x, y), y, is_nan_w(y)), x, is_nan_w(x));
}

fn min_w(x: T, y: T) -> T {
    return select(select(min(x, y), y, is_nan_w(y)), x, is_nan_w(x));
}

fn clamp_w(x: T, low: T, high: T) -> T {
    return select(min(max(x, low), high), x, is_nan_w(x));
}

// To integers: towards zero, what does not fit as the nearest that does, NaN as 0. The largest f32 below 2^31 is not the
// largest i32.
fn to_i32_w(x: T) -> S {
    let fits = S(clamp(x, T(-2147483648.0), T(2147483520.0)));
    return select(select(fits, S(2147483647), x >= T(2147483648.0)), S(0), is_nan_w(x));
}

fn to_u32_w(x: T) -> I {
    let fits = I(clamp(x, T(0.0), T(4294967040.0)));
    return select(select(fits, I(4294967295u), x >= T(4294967296.0)), I(0u), is_nan_w(x));
}

fn to_byte_w(x: T) -> I {
    return select(I(clamp(x, T(0.0), T(255.0))), I(0u), is_nan_w(x));
}

// Between the bits of -0 and of -infinity, as signed integers, lie the negative numbers and no NaN.
fn relu_w(x: T) -> T {
    return select(x, T(0.0), bitcast<S>(x) <= S(-8388608));
}

fn sign_w(x: T) -> T {
    return select(sign(x), x, is_nan_w(x));
}

// The magnitude of one, the sign of the other.
fn copysign_w(magnitude: T, x: T) -> T {
    return bitcast<T>((bitcast<I>(magnitude) & I(0x7fffffffu)) | (bitcast<I>(x) & I(0x80000000u)));
}

// x * 2^n for n in -252..=254, by two factors that are normal numbers.
fn scale_w(x: T, n: S) -> T {
    let half = n >> I(1u);
    return x * bitcast<T>((half + S(127)) << I(23u)) * bitcast<T>((n - half + S(127)) << I(23u));
}

// e^(x + low), where low is far smaller than x: x = n ln(2) + r, and a polynomial of r.
fn exp_sum_w(x: T, low: T) -> T {
    let a = clamp(x, T(-104.0), T(89.0));
    let n = floor(a * T(1.442695) + T(0.5));
    let r = ((a - n * T(0.693359375)) + n * T(2.1219444e-4)) + low;
    let q = T(0.5) + r * (T(0.166666672) + r * (T(0.041666463) + r * (T(0.00833331048) + r * (T(0.00139337312) + r * T(0.000198910799)))));
    return select(scale_w(T(1.0) + (r + (r * r) * q), S(n)), x, is_nan_w(x));
}

fn exp_w(x: T) -> T {
    return exp_sum_w(x, T(0.0));
}

// e^x - 1 without cancellation: 2^n (e^r - 1) + (2^n - 1), by halves so that 2^128 does not overflow.
fn expm1_w(x: T) -> T {
    let a = clamp(x, T(-30.0), T(89.0));
    let n = floor(a * T(1.442695) + T(0.5));
    let r = (a - n * T(0.693359375)) + n * T(2.1219444e-4);
    let q = T(0.5) + r * (T(0.166666672) + r * (T(0.041666463) + r * (T(0.00833331048) + r * (T(0.00139337312) + r * T(0.000198910799)))));
    let p = r + (r * r) * q;
    let s = bitcast<T>((S(n) + S(126)) << I(23u));
    return select((s * p + (s - T(0.5))) * T(2.0), x, is_nan_w(x) | (abs(x) < T(1.0e-8)));
}

// log(2^k (1 + f)) + low, for 1 + f within sqrt(1/2)..sqrt(2).
fn log_sum_w(f: T, k: T, low: T) -> T {
    let z = f * f;
    let p = T(0.333333313) + f * (T(-0.24999997) + f * (T(0.200007156) + f * (T(-0.166678026) + f * (T(0.142490581) + f * (T(-0.124256872)
        + f * (T(0.116854198) + f * (T(-0.114797339) + f * T(0.0697161183))))))));
    let y = (f * z) * p + k * T(-2.1219444e-4) - z * T(0.5);
    return ((y + low) + f) + k * T(0.693359375);
}

// What a logarithm of these bits is where the number has none, else the value given.
fn log_ends_w(value: T, x: T, bits: I) -> T {
    let zero = (bits & I(0x7fffffffu)) == I(0u);
    let other = select(from_bits_w(I(0x7fc00000u)), from_bits_w(I(0xff800000u)), zero);
    return select(select(value, other, zero | (bits > I(0x7f800000u))), x, is_nan_w(x) | (bits == I(0x7f800000u)));
}

fn log_w(x: T) -> T {
    let bits = bitcast<I>(x);
    // Numbers below the normal ones are whole multiples of 2^-149; many devices compute with zero instead.
    let tiny = bits < I(0x00800000u);
    let normal = bitcast<S>(select(bits, bitcast<I>(T(bits)), tiny));
    let k = (normal - S(0x3f3504f3)) >> I(23u);
    let f = bitcast<T>(normal - (k << I(23u))) - T(1.0);
    let value = log_sum_w(f, T(k + select(S(0), S(-149), tiny)), T(0.0));
    return log_ends_w(value, x, bits);
}

// log(1 + x): the sum's logarithm, and what the sum has lost, over it.
fn log1p_w(x: T) -> T {
    let u = T(1.0) + x;
    let bits = bitcast<S>(u);
    let k = (bits - S(0x3f3504f3)) >> I(23u);
    let m = bitcast<T>(bits - (k << I(23u)));
    let one = bitcast<T>((S(127) - k) << I(23u)); // 2^-k
    let lost = select(T(0.0), (x * one - (m - one)) / m, k < S(30));
    return log_ends_w(select(log_sum_w(m - T(1.0), T(k), lost), x, abs(x) < T(1.0e-8)), x, bitcast<I>(u));
}

fn sqrt_w(x: T) -> T {
    let bits = bitcast<I>(x);
    // sqrt(n 2^-149) = sqrt(2n) 2^-75
    let tiny = (bits > I(0u)) & (bits < I(0x00800000u));
    return select(sqrt(x), sqrt(T(bits) * T(2.0)) * T(2.6469779601696886e-23), tiny);
}

fn tanh_w(x: T) -> T {
    let a = abs(x);
    let z = x * x;
    let p = T(-0.333333343) + z * (T(0.133333132) + z * (T(-0.0539615527) + z * (T(0.0217883214) + z * (T(-0.00841007102) + z * T(0.00237076567)))));
    let large = T(1.0) - T(2.0) / (exp_w(T(2.0) * a) + T(1.0));
    return select(copysign_w(large, x), x + (x * z) * p, a < T(0.6));
}

fn sigmoid_w(x: T) -> T {
    return T(1.0) / (T(1.0) + exp_w(-x));
}

// x / (1 + e^-(v + low)) for v of x's sign: e^v by its root, which is a normal number where x e^v is one.
fn times_sigmoid_w(x: T, v: T, low: T) -> T {
    let minus = v < T(0.0);
    let h = exp_sum_w(T(-0.5) * abs(v), T(0.5) * select(-low, low, minus));
    return select(x, (x * h) * h, minus) / (T(1.0) + h * h);
}

// -infinity as a number so small that every function of it has its limit.
fn bounded_w(x: T) -> T {
    return select(max(x, T(-200.0)), x, is_nan_w(x));
}

fn silu_w(x: T) -> T {
    let c = bounded_w(x);
    return times_sigmoid_w(c, c, T(0.0));
}

// (1 + tanh(u)) / 2 = sigmoid(2u), and 2u = x w = x (1.59577 + 0.07135 x^2). An error of 2u is one of e^2u times 2u, which is as
// low as -80: both it and w are sums of two numbers.
fn gelu_tanh_w(x: T) -> T {
    let c = clamp(x, T(-30.0), T(30.0));
    let c_high = bitcast<T>(bitcast<I>(c) & I(0xfffff000u));
    let c_low = c - c_high;
    let z = c_high * c_high;
    let z_high = bitcast<T>(bitcast<I>(z) & I(0xfffff000u));
    let z_low = (z - z_high) + c_low * (c + c_high);
    let cubic = z_high * T(0.07135009765625);
    let w_high = bitcast<T>(bitcast<I>(cubic + T(1.59576912)) & I(0xfffff000u));
    let w_low = ((cubic - w_high) + T(1.595703125)) + ((z_high * T(4.71861635e-06) + z_low * T(0.0713548163)) + T(6.59966057e-05));
    let value = times_sigmoid_w(c, c_high * w_high, c_high * w_low + c_low * (w_high + w_low));
    return select(value, x, is_nan_w(x) | (x > T(30.0)));
}

// e^(a^2 / 2) times the probability that a normal variable exceeds a, for a in 0..15.
fn mills_w(a: T) -> T {
    let t = (a - T(3.5)) / (a + T(3.5));
    let p = T(0.850761235) + t * (T(-0.00828539021) + t * (T(-0.124281347) + t * (T(0.137733161) + t * (T(-0.0795822963) + t * (T(0.0223332345)
        + t * (T(0.00194045622) + t * (T(-0.00326355617) + t * (T(6.06986505e-5) + t * (T(0.000460533949) + t * T(7.92332503e-5))))))))));
    return p / (T(1.0) + T(2.0) * a);
}

// e^(-c a^2): the square is cut in two, so that its last digits are not lost.
fn bell_w(a: T, c: T) -> T {
    let high = bitcast<T>(bitcast<I>(a) & I(0xfffff000u));
    return exp_sum_w(-c * (high * high), -c * ((a - high) * (a + high)));
}

fn gelu_w(x: T) -> T {
    let c = bounded_w(x);
    let a = min(abs(c), T(15.0));
    let tail = (a * mills_w(a)) * bell_w(a, T(0.5));
    return select(select(c - tail, select(-tail, T(0.0), c < T(-15.0)), c < T(0.0)), x, is_nan_w(x));
}

fn erf_w(x: T) -> T {
    let z = x * x;
    let p = T(0.128379166) + z * (T(-0.376126349) + z * (T(0.112836994) + z * (T(-0.0268595889) + z * (T(0.00520145614) + z * (T(-0.000814708124) + z * T(8.38707419e-5))))));
    let a = min(abs(x), T(5.0));
    let large = T(1.0) - T(2.0) * (mills_w(a * T(1.4142135)) * bell_w(a, T(1.0)));
    return select(select(copysign_w(large, x), x + x * p, abs(x) < T(0.9)), x, is_nan_w(x));
}

fn softplus_w(x: T) -> T {
    return relu_w(x) + log1p_w(exp_w(-abs(x)));
}

// tanh(log(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2) for e = e^x
fn mish_w(x: T) -> T {
    let c = min(max(x, T(-200.0)), T(30.0));
    let h = exp_w(T(0.5) * c);
    let e = h * h;
    let w = e * (e + T(2.0));
    let value = select(x * (w / (w + T(2.0))), ((c * h) * h) * ((e + T(2.0)) / (w + T(2.0))), c < T(0.0));
    return select(value, x, is_nan_w(x) | (x > T(30.0)));
}

fn softsign_w(x: T) -> T {
    let a = abs(x);
    return select(x / (T(1.0) + a), sign(x), bitcast<I>(a) == I(0x7f800000u));
}

// log(1 + (cosh(x) - 1)), and from where e^-2|x| counts no more, |x| - log(2)
fn log_cosh_w(x: T) -> T {
    let a = abs(x);
    let e = expm1_w(min(a, T(20.0)));
    let value = select(log1p_w(e * e / (T(2.0) + T(2.0) * e)), a - T(0.69314718), a > T(10.0));
    return select(value, x, is_nan_w(x));
}

fn mul_hi_w(a: I, b: I) -> I {
    let al = a & I(0xffffu);
    let ah = a >> I(16u);
    let bl = b & I(0xffffu);
    let bh = b >> I(16u);
    let mid = ah * bl + ((al * bl) >> I(16u));
    let mid2 = al * bh + (mid & I(0xffffu));
    return ah * bh + (mid >> I(16u)) + (mid2 >> I(16u));
}

// The word at `i` of five.
fn word_w(i: I, w0: u32, w1: u32, w2: u32, w3: u32, w4: u32) -> I {
    return select(select(select(select(I(w4), I(w3), i < I(4u)), I(w2), i < I(3u)), I(w1), i < I(2u)), I(w0), i < I(1u));
}

// sin(x + quarter * pi/2). The quotient by pi/2 is computed in whole numbers (Payne and Hanek, 1983): 96 bits of 2/pi, from where
// they matter for this exponent, times the 24 of x, give the quadrant and 62 bits of the rest.
fn sine_w(x: T, quarter: I) -> T {
    let bits = bitcast<I>(x) & I(0x7fffffffu);
    let a = bitcast<T>(bits);
    let at = max(bits >> I(23u), I(126u)) - I(96u); // from 30 at 1/2 to 159
    let i = at >> I(5u);
    let s = at & I(31u);
    let w0 = word_w(i, 0u, 0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u);
    let w1 = word_w(i, 0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u);
    let w2 = word_w(i, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u);
    let w3 = word_w(i, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u);
    let back = I(31u) - s;
    let high = (w0 << s) | ((w1 >> I(1u)) >> back);
    let mid = (w1 << s) | ((w2 >> I(1u)) >> back);
    let low = (w2 << s) | ((w3 >> I(1u)) >> back);
    let mantissa = (bits << I(8u)) | I(0x80000000u);
    let from_low = mul_hi_w(mantissa, low);
    let product = mantissa * mid + from_low;
    let carry = select(I(0u), I(1u), product < from_low);
    let top = mantissa * high + mul_hi_w(mantissa, mid) + carry;
    let quadrant = (top + I(0x20000000u)) >> I(30u);
    // the rest, -1/2..1/2 in units of 2^-62, as sign and magnitude
    let rest = top - (quadrant << I(30u));
    let minus = rest >> I(31u);
    let flip = I(0u) - minus;
    let rest_low = (product ^ flip) + minus;
    let rest_high = (rest ^ flip) + select(I(0u), minus, rest_low == I(0u));
    let zeros = min(countLeadingZeros(rest_high), I(31u));
    let digits = (rest_high << zeros) | ((rest_low >> I(1u)) >> (I(31u) - zeros));
    let size = T(digits) * bitcast<T>((I(97u) - zeros) << I(23u)) * T(1.57079633);
    let near = a < T(0.75);
    let r = select(bitcast<T>(bitcast<I>(size) | (minus << I(31u))), a, near);
    let turn = select(quadrant, I(0u), near) + quarter;
    let z = r * r;
    let sine = r + (r * z) * (T(-0.166666672) + z * (T(0.00833333191) + z * (T(-0.000198400638) + z * T(2.72468696e-6))));
    let cosine = T(1.0) - (T(0.5) * z - (z * z) * (T(0.0416666679) + z * (T(-0.00138888881) + z * (T(2.48005799e-5) - z * T(2.72984067e-7)))));
    let value = select(sine, cosine, (turn & I(1u)) != I(0u));
    let odd = select(bitcast<I>(x) & I(0x80000000u), I(0u), quarter == I(1u));
    let signed = bitcast<T>(bitcast<I>(value) ^ ((turn & I(2u)) << I(30u)) ^ odd);
    return select(signed, from_bits_w(I(0x7fc00000u)), bits >= I(0x7f800000u));
}

fn sin_w(x: T) -> T {
    return sine_w(x, I(0u));
}

fn cos_w(x: T) -> T {
    return sine_w(x, I(1u));
}

fn tan_w(x: T) -> T {
    return sine_w(x, I(0u)) / sine_w(x, I(1u));
}

// The angle of the point (b, a), neither below 0 nor infinite, nor both 0: from one of three directions the tangent of the rest is
// no more than that of pi/8.
fn angle_w(a: T, b: T) -> T {
    let steep = a > b * T(2.41421366);
    let flat = a < b * T(0.414213562);
    let t = select(select(a - b, a, flat), -b, steep) / select(select(a + b, b, flat), a, steep);
    let z = t * t;
    let p = T(-0.333329481) + z * (T(0.199776559) + z * (T(-0.138769918) + z * T(0.0805125224)));
    let high = select(select(T(0.785398185), T(0.0), flat), T(1.57079637), steep);
    let low = select(select(T(2.18556941e-8), T(0.0), flat), T(4.37113883e-8), steep);
    return high + (t + ((t * z) * p - low));
}

fn atan_w(x: T) -> T {
    let a = angle_w(min(abs(x), T(1.0e30)), T(1.0));
    return select(copysign_w(a, x), x, is_nan_w(x));
}

// The signs of zeros count. Numbers at the ends of the range are brought to its middle, and infinities are alike.
fn atan2_w(y: T, x: T) -> T {
    let a = abs(y);
    let b = abs(x);
    let far_a = bitcast<I>(a) == I(0x7f800000u);
    let far_b = bitcast<I>(b) == I(0x7f800000u);
    let large = max(a, b);
    let k = select(select(T(1.0), T(1152921504606846976.0), large < T(1.0e-20)), T(9.313225746154785e-10), large > T(1.0e20));
    let p = select(a * k, select(T(0.0), T(1.0), far_a), far_a | far_b);
    let q = select(b * k, select(T(0.0), T(1.0), far_b), far_a | far_b);
    let angle = angle_w(p, select(q, T(1.0), large == T(0.0)));
    let turned = T(3.14159274) - (angle + T(8.74227766e-8));
    let value = copysign_w(select(angle, turned, bitcast<S>(x) < S(0)), y);
    return select(select(value, x, is_nan_w(x)), y, is_nan_w(y));
}

// The arc sine of a in 0..1/2; beyond, of sqrt((1 - a) / 2), which is half of what is missing of pi/2.
fn arc_w(a: T) -> T {
    let far = a > T(0.5);
    let z = select(a * a, T(0.5) * (T(1.0) - a), far);
    let s = select(a, sqrt(z), far);
    let p = T(0.166667526) + z * (T(0.0749529288) + z * (T(0.045471161) + z * (T(0.0241746946) + z * T(0.042175993))));
    return s + (s * z) * p;
}

fn asin_w(x: T) -> T {
    let a = abs(x);
    let s = arc_w(min(a, T(1.0)));
    let value = select(s, T(1.57079637) - (T(2.0) * s + T(4.37113883e-8)), a > T(0.5));
    return select(select(copysign_w(value, x), from_bits_w(I(0x7fc00000u)), a > T(1.0)), x, is_nan_w(x));
}

fn acos_w(x: T) -> T {
    let a = abs(x);
    let s = arc_w(min(a, T(1.0)));
    let near = T(1.57079637) - (copysign_w(s, x) + T(4.37113883e-8));
    let turned = T(3.14159274) - (T(2.0) * s + T(8.74227766e-8));
    let far = select(T(2.0) * s, turned, x < T(0.0));
    return select(select(select(near, far, a > T(0.5)), from_bits_w(I(0x7fc00000u)), a > T(1.0)), x, is_nan_w(x));
}

// log(x + sqrt(x^2 + 1)); of large x log(2 x)
fn asinh_w(x: T) -> T {
    let a = abs(x);
    let c = min(a, T(4096.0));
    let near = log1p_w(c + (c * c) / (T(1.0) + sqrt(c * c + T(1.0))));
    let value = select(near, log_w(a) + T(0.693147182), a > T(4096.0));
    return select(copysign_w(value, x), x, is_nan_w(x));
}

// log(x + sqrt(x^2 - 1)), by how much x is above 1
fn acosh_w(x: T) -> T {
    let t = clamp(x - T(1.0), T(0.0), T(4096.0));
    let value = select(log1p_w(t + sqrt(t * (t + T(2.0)))), log_w(x) + T(0.693147182), x > T(4096.0));
    return select(select(value, from_bits_w(I(0x7fc00000u)), x < T(1.0)), x, is_nan_w(x));
}

fn atanh_w(x: T) -> T {
    let a = abs(x);
    let value = T(0.5) * log1p_w((T(2.0) * a) / (T(1.0) - min(a, T(0.99999994))));
    let end = select(value, from_bits_w(I(0x7f800000u)), a == T(1.0));
    return select(select(copysign_w(end, x), from_bits_w(I(0x7fc00000u)), a > T(1.0)), x, is_nan_w(x));
}

// r 2^left modulo m, for an m of 24 bits and an r below it: 21 bits at a time, and no more than there are. The quotient by floats is
// right but for one more or less: what is left, of 26 bits, is right modulo 2^32.
fn fold_w(r: I, left: I, m: I, inverse: T) -> I {
    let by = min(left, I(21u));
    let q = I((T(r) * bitcast<T>((by + I(127u)) << I(23u))) * inverse);
    let s = bitcast<S>((r << by) - q * m);
    let t = select(s, s + S(m), s < S(0));
    return I(select(t, t - S(m), t >= S(m)));
}

fn fold_four_w(r: I, left: I, m: I, inverse: T) -> I {
    if (!any(left > I(0u))) {
        return r;
    }
    let a = fold_w(r, left, m, inverse);
    let b = fold_w(a, max(left, I(21u)) - I(21u), m, inverse);
    let c = fold_w(b, max(left, I(42u)) - I(42u), m, inverse);
    return fold_w(c, max(left, I(63u)) - I(63u), m, inverse);
}

// What a division towards zero leaves, exactly: the numbers are whole multiples of a power of two, m 2^(e - 150).
fn fmod_w(x: T, y: T) -> T {
    let a = bitcast<I>(x) & I(0x7fffffffu);
    let b = bitcast<I>(y) & I(0x7fffffffu);
    let exponent_a = max(a >> I(23u), I(1u));
    let exponent_b = max(b >> I(23u), I(1u));
    let m_a = select((a & I(0x7fffffu)) | I(0x800000u), a, a < I(0x800000u));
    let m_b = max(select((b & I(0x7fffffu)) | I(0x800000u), b, b < I(0x800000u)), I(1u));
    let left = max(exponent_a, exponent_b) - exponent_b;
    // no more than 253 bits: eight, and three times 84
    let start = (m_a << min(left, I(8u))) % m_b;
    let rest = max(left, I(8u)) - I(8u);
    let inverse = T(1.0) / T(m_b);
    let once = fold_four_w(start, rest, m_b, inverse);
    let twice = fold_four_w(once, max(rest, I(84u)) - I(84u), m_b, inverse);
    let r = fold_four_w(twice, max(rest, I(168u)) - I(168u), m_b, inverse);
    let up = min(countLeadingZeros(r | I(1u)) - I(8u), exponent_b - I(1u));
    let m = r << up;
    let size = select(select(m, (m & I(0x7fffffu)) | ((exponent_b - up) << I(23u)), m >= I(0x800000u)), a, a < b);
    let none = (b == I(0u)) | (a >= I(0x7f800000u)) | (b > I(0x7f800000u));
    return from_bits_w(select(size | (bitcast<I>(x) & I(0x80000000u)), I(0x7fc00000u), none));
}

// Whether what a division towards zero leaves is not what one downwards does.
fn rounds_up_w(r: T, y: T) -> B {
    return ((bitcast<I>(r) & I(0x7fffffffu)) > I(0u)) & ((bitcast<I>(r) ^ bitcast<I>(y)) > I(0x7fffffffu)) & !is_nan_w(r);
}

fn remainder_w(x: T, y: T) -> T {
    let r = fmod_w(x, y);
    return select(select(r, copysign_w(r, y), r == T(0.0)), r + y, rounds_up_w(r, y));
}

// What is divided is a multiple of the divisor, and rounding gets rid of what the quotient lost: exact up to 2^21.
fn floor_divide_w(x: T, y: T) -> T {
    let r = fmod_w(x, y);
    let whole = round((x - r) / y);
    let down = select(whole, whole - T(1.0), rounds_up_w(r, y));
    let sign = (bitcast<I>(x) ^ bitcast<I>(y)) & I(0x80000000u);
    let signed = select(down, bitcast<T>(sign), down == T(0.0));
    // by 0: infinity, or of 0 and NaN, NaN
    let a = bitcast<I>(x) & I(0x7fffffffu);
    let by_zero = select(sign | I(0x7f800000u), I(0x7fc00000u), (a == I(0u)) | (a > I(0x7f800000u)));
    return select(signed, from_bits_w(by_zero), (bitcast<I>(y) & I(0x7fffffffu)) == I(0u));
}

// x^y as C99 has it. The logarithm to base 2 and its product with y are sums of two numbers, the first of 12 bits (the method of
// fdlibm's powf): 2^-30 of the exponent is lost, so that results that are f32 numbers come out as they are.
fn power_w(x: T, y: T) -> T {
    let bits = bitcast<I>(x) & I(0x7fffffffu);
    let a = bitcast<T>(bits);
    let end = (bits == I(0u)) | (bits == I(0x7f800000u));
    let tiny = bits < I(0x00800000u);
    let normal = bitcast<S>(select(select(bits, bitcast<I>(T(bits)), tiny), I(0x3f800000u), end | is_nan_w(x)));
    // m within 2^(-1/6)..2^(5/6), and the nearest of three centres c
    let exponent = (normal - S(0x3f6411f0)) >> I(23u);
    let m = bitcast<T>(normal - (exponent << I(23u)));
    let k = T(exponent + select(S(0), S(-149), tiny & !end));
    let second = m >= T(1.1224620);
    let third = m >= T(1.4142135);
    let c = select(select(T(1.0), T(1.25), second), T(1.59375), third);
    let c_high = select(select(T(0.0), T(0.3212890625), second), T(0.671875), third);
    let c_low = select(select(T(0.0), T(0.000639032387), second), T(0.000550341971), third);
    // log2(m / c) = 2 / ln(2) * (s + s^3 / 3 + ...), s = (m - c) / (m + c)
    let u = m - c;
    let v = m + c;
    let s = u / v;
    let s_high = bitcast<T>(bitcast<I>(s) & I(0xfffff000u));
    let u_high = floor(u * T(1024.0)) * T(0.0009765625);
    let s_low = ((u - s_high * (c + c + u_high)) - s_high * (u - u_high)) / v;
    let z = s * s;
    let series = (s * z) * (T(0.333333343) + z * (T(0.2) + z * (T(0.142857143) + z * T(0.111111111))));
    let log_high = s_high * T(2.884765625);
    let log_low = (s_high * T(0.000624456778) + (s_low + series) * T(2.88539008)) + c_low;
    let t_high = bitcast<T>(bitcast<I>(((log_high + log_low) + c_high) + k) & I(0xfffff000u));
    let t_low = log_low - (((t_high - k) - c_high) - log_high);
    // beyond 2^32 every power but those of 1 is 0 or infinity
    let b = clamp(y, T(-4294967296.0), T(4294967296.0));
    let b_high = bitcast<T>(bitcast<I>(b) & I(0xfffff000u));
    let p_high = b_high * t_high;
    let p_low = (b - b_high) * t_high + b * t_low;
    let p = clamp(p_high + p_low, T(-200.0), T(200.0));
    let n = floor(p + T(0.5));
    let f = select((p_high - n) + p_low, T(0.0), abs(p) > T(190.0));
    // 2^f, the first digits of f ln(2) without error
    let f_high = floor(f * T(1024.0) + T(0.5)) * T(0.0009765625);
    let q = T(0.240226507) + f * (T(0.0555041097) + f * (T(0.00961805414) + f * (T(0.00133334997) + f * (T(0.000154626105) + f * T(1.52982211e-5)))));
    let g = ((f - f_high) * T(0.69314718) + f_high * T(3.1962803e-5)) + (f * f) * q;
    let raised = scale_w((T(1.0) + f_high * T(0.693115234375)) + g, S(n));
    let up = y > T(0.0);
    let whole = floor(b) == b;
    let half = b * T(0.5);
    let odd = whole & (floor(half) != half);
    let size = select(raised, select(from_bits_w(I(0x7f800000u) - bits), a, up), end);
    let signed = bitcast<T>(bitcast<I>(size) | select(I(0u), bitcast<I>(x) & I(0x80000000u), odd));
    let negative = (bitcast<I>(x) > I(0x80000000u)) & !end;
    let value = select(signed, from_bits_w(I(0x7fc00000u)), negative & !whole);
    let undefined = select(select(value, y, is_nan_w(y)), x, is_nan_w(x));
    return select(undefined, T(1.0), (x == T(1.0)) | (y == T(0.0)));
}
