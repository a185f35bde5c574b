//! Every pointwise function over the whole range of f32: how far each device is from the exact value, and that it stays within
//! the bounds of the table here. `docs/accuracy.md` is written from the same table:
//!
//! ```sh
//! WGRAD_WRITE_ACCURACY=1 cargo test --test numerics accuracy
//! ```
//!
//! `WGRAD_ACCURACY_STRIDE=61` looks at every 61st number instead of every 8191st (1 at all of them).

// Reference values stand with all the digits that mpmath gave; some are near constants on purpose.
#![allow(clippy::approx_constant, clippy::excessive_precision)]

use super::common::{DEVICES, Rng};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LN_2, PI, TAU};
use std::fmt::Write;
use wgrad::prelude::*;

/// A function of one element or two, its value in f64, and the largest errors that it may have on the CPU and on a GPU, in units
/// of the last place.
struct Function<Call, Exact> {
    name: &'static str,
    call: Call,
    exact: Exact,
    bounds: [f64; 2],
}

type Unary = Function<fn(&Tensor) -> Result<Tensor>, fn(f64) -> f64>;
type Binary = Function<fn(&Tensor, &Tensor) -> Result<Tensor>, fn(f64, f64) -> f64>;

macro_rules! functions {
    ($($name:literal $call:expr, $exact:expr, $cpu:literal, $gpu:literal;)*) => {
        vec![$(Function { name: $name, call: $call, exact: $exact, bounds: [$cpu, $gpu] }),*]
    };
}

// WGSL promises 2.5 units of the last place for a quotient, and as much for a root.
fn unary() -> Vec<Unary> {
    functions! {
        "neg" |x| x.neg(), |x| -x, 0.0, 0.0;
        "abs" |x| x.abs(), f64::abs, 0.0, 0.0;
        "sign" |x| x.sign(), |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }, 0.0, 0.0;
        "floor" |x| x.floor(), f64::floor, 0.0, 0.0;
        "ceil" |x| x.ceil(), f64::ceil, 0.0, 0.0;
        "trunc" |x| x.trunc(), f64::trunc, 0.0, 0.0;
        "round" |x| x.round(), f64::round_ties_even, 0.0, 0.0;
        "square" |x| x.square(), |x| x * x, 0.5, 0.5;
        "reciprocal" |x| x.reciprocal(), |x| 1.0 / x, 0.5, 2.5;
        "sqrt" |x| x.sqrt(), f64::sqrt, 0.5, 3.0;
        "exp" |x| x.exp(), f64::exp, 1.0, 2.0;
        "expm1" |x| x.expm1(), f64::exp_m1, 2.0, 2.0;
        "log" |x| x.log(), f64::ln, 1.0, 2.0;
        "log1p" |x| x.log1p(), f64::ln_1p, 2.0, 2.0;
        "sin" |x| x.sin(), f64::sin, 1.0, 4.0;
        "cos" |x| x.cos(), f64::cos, 1.0, 4.0;
        "tan" |x| x.tan(), f64::tan, 2.0, 8.0;
        "asin" |x| x.asin(), f64::asin, 1.0, 4.0;
        "acos" |x| x.acos(), f64::acos, 1.0, 4.0;
        "atan" |x| x.atan(), f64::atan, 1.0, 4.0;
        "asinh" |x| x.asinh(), f64::asinh, 1.0, 4.0;
        "acosh" |x| x.acosh(), acosh, 1.0, 4.0;
        "atanh" |x| x.atanh(), f64::atanh, 1.0, 5.0;
        "tanh" |x| x.tanh(), f64::tanh, 3.0, 3.0;
        "erf" |x| x.erf(), erf, 1.0, 2.0;
        "sigmoid" |x| x.sigmoid(), |x| 1.0 / (1.0 + (-x).exp()), 3.0, 5.0;
        "softplus" |x| x.softplus(), |x| relu(x) + (-x.abs()).exp().ln_1p(), 3.0, 4.0;
        "softsign" |x| x.softsign(), softsign, 2.0, 4.0;
        "silu" |x| x.silu(), |x| limited(x, x / (1.0 + (-x).exp())), 1.0, 8.0;
        "gelu" |x| x.gelu(), |x| limited(x, 0.5 * x * erfc(-x * FRAC_1_SQRT_2)), 1.0, 12.0;
        "gelu_tanh" |x| x.gelu_tanh(), gelu_tanh, 1.0, 8.0;
        "mish" |x| x.mish(), mish, 1.0, 8.0;
        "log_cosh" |x| x.log_cosh(), log_cosh, 1.0, 8.0;
        "elu" |x| x.elu(), elu, 2.0, 2.0;
        "selu" |x| x.selu(), selu, 4.0, 4.0;
        "relu" |x| x.relu(), relu, 0.0, 0.0;
        "relu6" |x| x.relu6(), relu6, 0.0, 0.0;
        "leaky_relu(0.25)" |x| x.leaky_relu(0.25), |x| if x > 0.0 { x } else { 0.25 * x }, 0.0, 0.0;
        "hard_sigmoid" |x| x.hard_sigmoid(), |x| relu6(x + 3.0) / 6.0, 1.5, 4.0;
        "hard_silu" |x| x.hard_silu(), |x| limited(x, x * relu6(x + 3.0) / 6.0), 2.0, 5.0;
        "clamp(-1, 1)" |x| x.clamp(-1.0, 1.0), |x| if x.is_nan() { x } else { x.clamp(-1.0, 1.0) }, 0.0, 0.0;
        "rsqrt" |x| x.rsqrt(), |x| 1.0 / x.sqrt(), 1.5, 6.0;
        "exp2" |x| x.exp2(), f64::exp2, 1.0, 2.0;
        "log2" |x| x.log2(), f64::log2, 2.0, 5.0;
        "log10" |x| x.log10(), f64::log10, 2.0, 5.0;
        "sinh" |x| x.sinh(), f64::sinh, 4.0, 7.0;
        "cosh" |x| x.cosh(), f64::cosh, 4.0, 7.0;
        "pow(x, 2)" |x| x.pow(2.0), |x| x * x, 0.5, 0.5;
        "pow(x, 3)" |x| x.pow(3.0), |x| x * x * x, 1.0, 2.0;
        "pow(x, -1)" |x| x.pow(-1.0), |x| 1.0 / x, 1.0, 2.0;
        "pow(x, 0.5)" |x| x.pow(0.5), |x| x.powf(0.5), 1.0, 2.0;
    }
}

fn binary() -> Vec<Binary> {
    functions! {
        "add" |x, y| x + y, |x, y| x + y, 0.5, 0.5;
        "sub" |x, y| x - y, |x, y| x - y, 0.5, 0.5;
        "mul" |x, y| x * y, |x, y| x * y, 0.5, 0.5;
        "div" |x, y| x / y, |x, y| x / y, 0.5, 2.5;
        "pow" |x, y| x.pow(y), power, 1.0, 2.0;
        "maximum" |x, y| x.maximum(y), |x, y| if x > y || x.is_nan() { x } else { y }, 0.0, 0.0;
        "minimum" |x, y| x.minimum(y), |x, y| if x < y || x.is_nan() { x } else { y }, 0.0, 0.0;
        "atan2" |x, y| x.atan2(y), f64::atan2, 2.0, 5.0;
        "fmod" |x, y| x % y, |x, y| x % y, 0.0, 0.0;
        "remainder" |x, y| x.remainder(y), remainder, 0.5, 0.5;
        "floor_divide" |x, y| x.floor_divide(y), floor_divide, 2.5, 4.0;
    }
}

/// Of what is the product of -infinity and a vanishing factor, the limit.
fn limited(x: f64, value: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { value }
}

fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

fn relu6(x: f64) -> f64 {
    if x > 6.0 { 6.0 } else { relu(x) }
}

fn elu(x: f64) -> f64 {
    if x > 0.0 { x } else { x.exp_m1() }
}

fn selu(x: f64) -> f64 {
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    const SCALE: f64 = 1.050_700_987_355_480_5;
    SCALE * if x > 0.0 { x } else { ALPHA * x.exp_m1() }
}

fn softsign(x: f64) -> f64 {
    if x.is_infinite() { x.signum() } else { x / (1.0 + x.abs()) }
}

fn gelu_tanh(x: f64) -> f64 {
    let u = (2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3));
    limited(x, x / (1.0 + (-2.0 * u).exp()))
}

/// `x tanh(log(1 + e^x))`
fn mish(x: f64) -> f64 {
    let w = x.exp() * (x.exp() + 2.0);
    if x > 40.0 { x } else { limited(x, x * (w / (w + 2.0))) }
}

/// The series of the logarithm of `1 + 2 sinh(x / 2)^2` where that is small.
fn log_cosh(x: f64) -> f64 {
    let a = x.abs();
    if a < 1.0 { (2.0 * (a / 2.0).sinh().powi(2)).ln_1p() } else { a - LN_2 + (-2.0 * a).exp().ln_1p() }
}

fn acosh(x: f64) -> f64 {
    let t = x - 1.0;
    if x < 1.0 { f64::NAN } else { (t + (t * (t + 2.0)).sqrt()).ln_1p() }
}

/// What is left of dividing f32 numbers is exact in f64; the sum of it and the divisor is rounded once more, unless it is short.
fn remainder(x: f64, y: f64) -> f64 {
    let r = x % y;
    if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
}

fn floor_divide(x: f64, y: f64) -> f64 {
    let r = x % y;
    match y {
        0.0 => x / y,
        _ => ((x - r) / y).round() - f64::from(r != 0.0 && (r < 0.0) != (y < 0.0)),
    }
}

fn erf(x: f64) -> f64 {
    if x.abs() > 2.0 || x.is_nan() {
        return (1.0 - erfc(x.abs())).copysign(x);
    }
    // the series of erf(x) e^(x^2), whose terms are all of one sign
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * FRAC_2_SQRT_PI
}

/// The complementary error function, beyond 2 by its continued fraction.
fn erfc(x: f64) -> f64 {
    match x {
        _ if x.is_nan() => x,
        _ if x < -2.0 => 2.0 - erfc(-x),
        _ if x > 30.0 => 0.0,
        _ if x <= 2.0 => 1.0 - erf(x),
        _ => {
            let fraction = (1..200).rev().fold(x, |f, k| x + f64::from(k) / 2.0 / f);
            (-x * x).exp() / fraction / PI.sqrt()
        }
    }
}

/// C99's pow, which f64 has; of a NaN to the power of 0, 1.
fn power(x: f64, y: f64) -> f64 {
    x.powf(y)
}

/// Numbers from all over f32, and many around those where functions change their formula or reach an end.
fn inputs() -> Vec<f32> {
    let stride = std::env::var("WGRAD_ACCURACY_STRIDE").ok().and_then(|s| s.parse().ok()).unwrap_or(8191);
    let mut all: Vec<f32> = (0..=u32::MAX).step_by(stride).map(f32::from_bits).collect();
    let around = [
        0.0,
        1e-38,
        1e-8,
        0.25,
        0.3465736,
        0.41421354,
        0.5,
        0.6,
        0.70710677,
        0.75,
        0.9,
        1.0,
        1.4142135,
        1.5707964,
        2.0,
        3.0,
        3.1415927,
        4.712389,
        5.0,
        6.0,
        6.2831855,
        9.0,
        10.0,
        15.0,
        17.0,
        20.0,
        30.0,
        87.33655,
        88.72284,
        103.97,
        200.0,
        16777216.0,
        2147483648.0,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
    ];
    for center in around {
        for step in -600i32..600 {
            let bits = center.to_bits().wrapping_add_signed(step);
            all.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        }
    }
    // near multiples of pi / 2
    all.extend((1..2000).map(|k| (f64::from(k) * TAU / 4.0) as f32));
    all
}

/// Pairs of all kinds: any bits, products and powers that are finite, whole exponents, bases near 1.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng(7);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for _ in 0..60_000 {
        let (bits, more) = (rng.bits() as u32, rng.bits() as u32);
        x.push(f32::from_bits(bits));
        y.push(f32::from_bits(more));
        x.push(rng.uniform(-60.0, 60.0).exp() as f32);
        y.push(rng.uniform(-1.4, 1.4) as f32);
        x.push(rng.uniform(-20.0, 20.0) as f32);
        y.push(rng.uniform(-20.0, 20.0).floor() as f32);
        let near = 1.0 + rng.uniform(-0.3, 0.4) * rng.uniform(0.0, 1.0).powi(8);
        x.push(near as f32);
        y.push((rng.uniform(-127.0, 127.0) / near.abs().log2()) as f32);
    }
    let ends =
        [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for a in ends {
        for b in ends {
            x.push(a);
            y.push(b);
        }
    }
    (x, y)
}

/// The worst of a function on a device.
#[derive(Clone, Copy, Default)]
struct Worst {
    ulps: f64,
    relative: f64,
    at: [f32; 2],
    got: f32,
    want: f64,
}

impl Worst {
    /// `alike`: what the function gives for zeros instead of numbers under the normal ones, which a device may take for zero.
    fn add(&mut self, at: [f32; 2], got: f32, want: f64, alike: f64) {
        let tiny = f64::from(f32::MIN_POSITIVE);
        let nearest = want as f32;
        let fine = nearest == got
            || (want.is_nan() && got.is_nan())
            || (at.iter().any(|v| v.is_subnormal())
                && (alike as f32 == got || (alike.is_nan() && got.is_nan())))
            || (want.abs() < tiny && f64::from(got.abs()) <= tiny);
        if fine && !nearest.is_normal() {
            return;
        }
        let off = (f64::from(got) - want).abs();
        let place = (want.abs().max(tiny).log2().floor() - 23.0).exp2();
        let ulps = match off.is_finite() {
            _ if fine && !nearest.is_finite() => 0.0,
            true => off / place,
            // beyond the largest number by so much as may be rounded away
            false if got.is_infinite() && (f32::MAX.copysign(got) as f64 / want - 1.0).abs() < 1e-6 => 1.0,
            false => f64::INFINITY,
        };
        if nearest.is_normal() && off.is_finite() {
            self.relative = self.relative.max(off / want.abs());
        }
        if ulps > self.ulps {
            *self = Worst { ulps, relative: self.relative, at, got, want };
        }
    }
}

/// `-0.0` and `0.0` for what a device may take for them.
fn flushed(x: f32) -> f64 {
    f64::from(if x.is_subnormal() { 0f32.copysign(x) } else { x })
}

struct Row {
    name: &'static str,
    bounds: [f64; 2],
    worst: [Worst; 2],
}

fn measure() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let all = inputs();
    for f in unary() {
        let mut worst = [Worst::default(); 2];
        for piece in all.chunks(1 << 20) {
            let want: Vec<f64> = piece.iter().map(|x| (f.exact)(f64::from(*x))).collect();
            for (device, worst) in DEVICES.into_iter().zip(&mut worst) {
                let got =
                    (f.call)(&Tensor::from_vec(piece.to_vec(), [piece.len()], device)?)?.to_vec::<f32>()?;
                for ((&x, got), &want) in piece.iter().zip(got).zip(&want) {
                    worst.add([x, x], got, want, (f.exact)(flushed(x)));
                }
            }
        }
        rows.push(Row { name: f.name, bounds: f.bounds, worst });
    }
    let (x, y) = pairs();
    for f in binary() {
        let mut worst = [Worst::default(); 2];
        for (device, worst) in DEVICES.into_iter().zip(&mut worst) {
            let a = Tensor::from_vec(x.clone(), [x.len()], device)?;
            let b = Tensor::from_vec(y.clone(), [y.len()], device)?;
            for ((&x, &y), got) in x.iter().zip(&y).zip((f.call)(&a, &b)?.to_vec::<f32>()?) {
                let want = (f.exact)(f64::from(x), f64::from(y));
                worst.add([x, y], got, want, (f.exact)(flushed(x), flushed(y)));
            }
        }
        rows.push(Row { name: f.name, bounds: f.bounds, worst });
    }
    Ok(rows)
}

/// `docs/accuracy.md`: a row of the table begins with the name and the bounds.
fn row_start(row: &Row) -> String {
    format!("| {} | {} | {} |", row.name, row.bounds[0], row.bounds[1])
}

fn document(rows: &[Row]) -> String {
    let mut text = include_str!("accuracy.md").to_string();
    for row in rows {
        let [cpu, gpu] = row.worst;
        let _ = writeln!(
            text,
            "{} {:.2} | {:.1e} | {:.2} | {:.1e} |",
            row_start(row),
            cpu.ulps,
            cpu.relative,
            gpu.ulps,
            gpu.relative
        );
    }
    text
}

#[test]
fn every_function_keeps_its_bound_over_the_whole_range() -> Result<()> {
    let rows = measure()?;
    let mut failures = Vec::new();
    for row in &rows {
        for ((device, worst), bound) in DEVICES.into_iter().zip(row.worst).zip(row.bounds) {
            // half a unit is what rounding costs; the f64 value has an error of its own, a billionth of that
            if worst.ulps > bound + 1e-6 {
                let Worst { ulps, at, got, want, .. } = worst;
                failures.push(format!(
                    "{} on {device}: {ulps:.2} ulp at {at:?}, bits {:08x}: {got:e}, expected {want:e}; the bound is {bound}",
                    row.name,
                    at[0].to_bits()
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/accuracy.md");
    if std::env::var_os("WGRAD_WRITE_ACCURACY").is_some() {
        std::fs::write(path, document(&rows)).expect("docs/accuracy.md can be written");
    }
    let text = std::fs::read_to_string(path).expect("docs/accuracy.md");
    for row in &rows {
        let found = text.lines().any(|line| line.starts_with(&row_start(row)));
        assert!(found, "docs/accuracy.md has no row `{}`: WGRAD_WRITE_ACCURACY=1 writes it", row_start(row));
    }
    let table = text.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(table, rows.len() + 1, "docs/accuracy.md has rows of functions that are not here");
    Ok(())
}

/// The f64 functions here against values by mpmath, 40 digits.
#[test]
fn the_reference_is_right() {
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-13, "{got:e}, expected {want:e}");
    near(erfc(0.5), 0.4795001221869535);
    near(erfc(3.0), 2.209049699858544e-5);
    near(erfc(10.0), 2.088487583762545e-45);
    near(erf(1e-10), 1.1283791670955126e-10);
    near(erf(1.5), 0.9661051464753108);
    near(log_cosh(1e-4), 4.99999999166666667e-9);
    near(log_cosh(3.0), 2.309328504577785);
    near(mish(-2.0), -0.25250148269570887);
    near(gelu_tanh(-1.0), -0.15880800939172324);
    near(selu(-1.0), -1.1113307378125628);
}
