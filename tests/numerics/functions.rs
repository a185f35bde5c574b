//! Pointwise functions: NaN, infinities, zeros, denormals, exact results.

// Reference values stand with all the digits that mpmath gave; some are near constants on purpose.
#![allow(clippy::approx_constant, clippy::excessive_precision)]

use super::common::DEVICES;
use wgrad::nn::{LogCosh, Loss};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, Pool2dOptions};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;
const TINY: f32 = 1e-30;

type Unary = fn(&Tensor) -> Result<Tensor>;

pub fn vector(values: &[f32], device: Device) -> Result<Tensor> {
    Tensor::from_vec(values.to_vec(), [values.len()], device)
}

/// Fails unless the values are these, NaN where NaN is expected; zeros of either sign are equal.
#[track_caller]
pub fn expect(what: &str, got: &Tensor, want: &[f32]) -> Result<()> {
    let device = got.device();
    let got = got.to_vec::<f32>()?;
    let same = |(g, w): (&f32, &f32)| g == w || (g.is_nan() && w.is_nan());
    let equal = got.len() == want.len() && got.iter().zip(want).all(same);
    assert!(equal, "{what} on {device}: {got:?}, expected {want:?}");
    Ok(())
}

/// As [`expect`], to a relative difference.
#[track_caller]
pub fn expect_near(what: &str, got: &Tensor, want: &[f64], most: f64) -> Result<()> {
    let device = got.device();
    for (g, w) in got.to_vec::<f32>()?.into_iter().map(f64::from).zip(want) {
        let fine = g == *w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= most * w.abs();
        assert!(fine, "{what} on {device}: {g:e}, expected {w:e}");
    }
    Ok(())
}

const UNARY: [(&str, Unary); 42] = [
    ("neg", |x| x.neg()),
    ("abs", |x| x.abs()),
    ("exp", |x| x.exp()),
    ("log", |x| x.log()),
    ("sqrt", |x| x.sqrt()),
    ("square", |x| x.square()),
    ("reciprocal", |x| x.reciprocal()),
    ("sin", |x| x.sin()),
    ("cos", |x| x.cos()),
    ("sign", |x| x.sign()),
    ("floor", |x| x.floor()),
    ("ceil", |x| x.ceil()),
    ("trunc", |x| x.trunc()),
    ("round", |x| x.round()),
    ("tan", |x| x.tan()),
    ("asin", |x| x.asin()),
    ("acos", |x| x.acos()),
    ("atan", |x| x.atan()),
    ("asinh", |x| x.asinh()),
    ("acosh", |x| (x + 1.0)?.acosh()),
    ("atanh", |x| x.atanh()),
    ("relu", |x| x.relu()),
    ("elu", |x| x.elu()),
    ("sigmoid", |x| x.sigmoid()),
    ("tanh", |x| x.tanh()),
    ("silu", |x| x.silu()),
    ("gelu", |x| x.gelu()),
    ("gelu_tanh", |x| x.gelu_tanh()),
    ("softplus", |x| x.softplus()),
    ("erf", |x| x.erf()),
    ("expm1", |x| x.expm1()),
    ("log1p", |x| x.log1p()),
    ("softsign", |x| x.softsign()),
    ("mish", |x| x.mish()),
    ("log_cosh", |x| x.log_cosh()),
    ("leaky_relu", |x| x.leaky_relu(0.3)),
    ("relu6", |x| x.relu6()),
    ("selu", |x| x.selu()),
    ("hard_sigmoid", |x| x.hard_sigmoid()),
    ("hard_silu", |x| x.hard_silu()),
    ("clamp", |x| x.clamp(-1.0, 1.0)),
    ("clamp to what is not negative", |x| x.clamp(0.0, f64::INFINITY)),
];

/// NaN of either sign, alone and within four neighbours, in functions and in chains of them.
#[test]
fn nan_goes_through_every_function() -> Result<()> {
    let negative = f32::from_bits(0xffc0_0001);
    for device in DEVICES {
        for (name, f) in UNARY {
            let got = f(&vector(&[NAN, 0.5, negative, 1.0], device)?)?.to_vec::<f32>()?;
            let nan: Vec<bool> = got.iter().map(|v| v.is_nan()).collect();
            assert_eq!(nan, [true, false, true, false], "{name} on {device}: {got:?}");
            let got = f(&f(&vector(&[negative], device)?)?.neg()?)?.item::<f32>()?;
            assert!(got.is_nan(), "{name} twice on {device}: {got}");
        }
    }
    Ok(())
}

#[test]
fn nan_on_either_side_is_nan() -> Result<()> {
    type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let functions: [(&str, Binary); 10] = [
        ("add", |x, y| x + y),
        ("sub", |x, y| x - y),
        ("mul", |x, y| x * y),
        ("div", |x, y| x / y),
        ("maximum", |x, y| x.maximum(y)),
        ("minimum", |x, y| x.minimum(y)),
        ("atan2", |x, y| x.atan2(y)),
        ("fmod", |x, y| x % y),
        ("remainder", |x, y| x.remainder(y)),
        ("floor_divide", |x, y| x.floor_divide(y)),
    ];
    for device in DEVICES {
        let x = vector(&[NAN, NAN, NAN, 1.0, -1.0, 0.0, INF, -INF], device)?;
        let y = vector(&[1.0, INF, NAN, NAN, NAN, NAN, NAN, NAN], device)?;
        for (name, f) in functions {
            expect(name, &f(&x, &y)?, &[NAN; 8])?;
        }
        expect("maximum", &x.maximum(0.5)?, &[NAN, NAN, NAN, 1.0, 0.5, 0.5, INF, 0.5])?;
        expect("minimum", &x.minimum(0.5)?, &[NAN, NAN, NAN, 0.5, -1.0, 0.0, 0.5, -INF])?;
        expect("clamp", &x.clamp(-0.5, 0.5)?, &[NAN, NAN, NAN, 0.5, -0.5, 0.0, 0.5, -0.5])?;
    }
    Ok(())
}

/// A driver that takes floats for exact numbers makes these 0.
#[test]
fn infinity_minus_itself_is_nan() -> Result<()> {
    let differences: [(&str, Unary); 8] = [
        ("x - x", |x| x - x),
        ("x + -x", |x| x + x.neg()?),
        ("-x + x", |x| x.neg()? + x),
        ("2x - 2x", |x| (x * 2.0)? - (x * 2.0)?),
        ("relu(x) - relu(x)", |x| x.relu()?.abs()? - x.relu()?.abs()?),
        ("(x + 1) - x - 1", |x| ((x + 1.0)? - x)? - 1.0),
        ("(1 + x) - (x + 1)", |x| (1.0 + x)? - (x + 1.0)?),
        ("0 x", |x| x * 0.0),
    ];
    for device in DEVICES {
        let x = vector(&[INF, NAN, 3.0, 0.0, INF, INF, -0.0, 7.0], device)?;
        let want = [NAN, NAN, 0.0, 0.0, NAN, NAN, 0.0, 0.0];
        for (name, f) in differences {
            expect(name, &f(&x)?, &want)?;
            // three elements: one at a time
            expect(name, &f(&x.slice(0, 0, 3)?)?, &want[..3])?;
            // in a reduction, on the way
            let rows = x.reshape([4, 2])?;
            let wide = (&rows + vector(&[0.0, 0.0], device)?)?;
            expect(name, &f(&wide)?.sum(-1, false)?, &[NAN, 0.0, NAN, 0.0])?;
        }
        expect("x / x", &(&x / &x)?, &[NAN, NAN, 1.0, NAN, NAN, NAN, NAN, 1.0])?;
    }
    Ok(())
}

/// Sums are not exact: what the first addition loses is lost.
#[test]
fn sums_are_rounded_one_by_one() -> Result<()> {
    for device in DEVICES {
        let x = vector(&[1.0, 3.0, 1e-3, 5.0], device)?;
        expect("(x + 1e8) - 1e8", &((&x + 1e8)? - 1e8)?, &[0.0, 0.0, 0.0, 8.0])?;
        expect("(1e8 + x) - 1e8", &((1e8 + &x)? - 1e8)?, &[0.0, 0.0, 0.0, 8.0])?;
        let large = vector(&[1e38, 1e38, 1e30, 1.0], device)?;
        expect("(x * 1e8) / 1e8", &((&large * 1e8)? / 1e8)?, &[INF, INF, 1e30 * 1e8 / 1e8, 1.0])?;
        expect("sqrt(x^2)", &large.square()?.sqrt()?, &[INF, INF, INF, 1.0])?;
    }
    Ok(())
}

#[test]
fn comparisons_with_nan_are_false_and_ne_is_true() -> Result<()> {
    for device in DEVICES {
        let x = vector(&[NAN, NAN, 1.0, INF], device)?;
        let y = vector(&[NAN, 1.0, NAN, INF], device)?;
        let bytes = |t: Result<Tensor>| t?.to_vec::<u8>();
        assert_eq!(bytes(x.eq(&y))?, [0, 0, 0, 1], "eq on {device}");
        assert_eq!(bytes(x.ne(&y))?, [1, 1, 1, 0], "ne on {device}");
        assert_eq!(bytes(x.lt(&y))?, [0; 4], "lt on {device}");
        assert_eq!(bytes(x.le(&y))?, [0, 0, 0, 1], "le on {device}");
        assert_eq!(bytes(x.gt(&y))?, [0; 4], "gt on {device}");
        assert_eq!(bytes(x.ge(&y))?, [0, 0, 0, 1], "ge on {device}");
        // with itself, of a chain, and the opposite of a comparison
        assert_eq!(bytes(x.ne(&x))?, [1, 1, 0, 0], "x != x on {device}");
        assert_eq!(bytes(x.eq(&x))?, [0, 0, 1, 1], "x == x on {device}");
        assert_eq!(bytes(x.le(&x))?, [0, 0, 1, 1], "x <= x on {device}");
        assert_eq!(bytes((&x * 2.0)?.ne((&x * 2.0)?))?, [1, 1, 0, 0], "2x != 2x on {device}");
        assert_eq!(bytes((&x - &x)?.ne((&x - &x)?))?, [1, 1, 0, 1], "x - x != x - x on {device}");
        let zero = x.gt(0.0)?.zeros_like()?;
        assert_eq!(bytes(x.lt(0.0)?.eq(&zero))?, [1; 4], "not (x < 0) on {device}");
        assert_eq!(bytes(x.ge(0.0)?.eq(&zero))?, [1, 1, 0, 0], "not (x >= 0) on {device}");
        // a choice is no maximum
        expect("x > y", &x.gt(&y)?.select(&x, &y)?, &[NAN, 1.0, NAN, INF])?;
        expect("x < y", &x.lt(&y)?.select(&x, &y)?, &[NAN, 1.0, NAN, INF])?;
        expect("0 < x", &x.gt(0.0)?.select(&x, 0.0)?, &[0.0, 0.0, 1.0, INF])?;
        // a mask is a number
        let mask = x.gt(10.0)?.cast(DType::F32)?;
        expect("mask * x", &(&mask * vector(&[NAN, INF, 2.0, 3.0], device)?)?, &[NAN, NAN, 0.0, 3.0])?;
    }
    Ok(())
}

/// The ReLU that a product or a convolution ends in, the commonest of all.
#[test]
fn nan_goes_through_epilogues() -> Result<()> {
    for device in DEVICES {
        let bias = vector(&[0.5, NAN, -1.0, INF], device)?;
        let x = Tensor::ones([3, 2], device)?;
        let w = Tensor::zeros([2, 4], device)?;
        let want = [0.5, NAN, 0.0, INF].repeat(3);
        expect("matmul", &(x.matmul(&w)? + &bias)?.relu()?, &want)?;
        expect("matmul", &(x.matmul(&w)? + &bias)?.relu6()?, &[0.5, NAN, 0.0, 6.0].repeat(3))?;
        let product = (x.matmul(&w)? + &bias)?;
        expect("p - p", &(&product - &product)?, &[0.0, NAN, 0.0, NAN].repeat(3))?;
        let image = Tensor::ones([1, 3, 1, 8], device)?;
        let filter = Tensor::zeros([1, 1, 8, 4], device)?;
        let y = (image.conv2d(&filter, Conv2dOptions::default())? + &bias)?.relu()?;
        expect("conv2d", &y, &want)?;
        let rows = Tensor::from_vec(vec![1.0f32, NAN, -2.0, -3.0], [2, 2], device)?;
        expect("sum", &rows.sum(1, false)?.relu()?, &[NAN, 0.0])?;
    }
    Ok(())
}

/// ReLU's gradient at NaN is 0, as at 0; the NaN itself is in the value.
#[test]
fn gradients_at_nan_agree() -> Result<()> {
    for device in DEVICES {
        let x = vector(&[NAN, -1.0, 0.0, 2.0, INF, -INF], device)?.watch()?;
        let grad = |y: Tensor| y.backward_with(&y.ones_like()?)?.get(&x);
        expect("relu", &grad(x.relu()?)?, &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0])?;
        expect("relu6", &grad(x.relu6()?)?, &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0])?;
        expect("abs", &grad(x.abs()?)?, &[NAN, -1.0, 0.0, 1.0, 1.0, -1.0])?;
        expect("clamp", &grad(x.clamp(-1.0, 1.0)?)?, &[0.0, 1.0, 1.0, 0.0, 0.0, 0.0])?;
        expect("square", &grad(x.square()?)?, &[NAN, -2.0, 0.0, 4.0, INF, -INF])?;
    }
    Ok(())
}

/// Activations have their limits at the infinities, and slopes of 0 or 1.
#[test]
fn activations_at_infinity_are_not_nan() -> Result<()> {
    let selu = 1.050_701 * 1.673_263_2;
    // value at -infinity and infinity, slope at both
    let list: [(&str, Unary, [f32; 4]); 16] = [
        ("silu", |x| x.silu(), [0.0, INF, 0.0, 1.0]),
        ("gelu", |x| x.gelu(), [0.0, INF, 0.0, 1.0]),
        ("gelu_tanh", |x| x.gelu_tanh(), [0.0, INF, 0.0, 1.0]),
        ("mish", |x| x.mish(), [0.0, INF, 0.0, 1.0]),
        ("hard_silu", |x| x.hard_silu(), [0.0, INF, 0.0, 1.0]),
        ("softsign", |x| x.softsign(), [-1.0, 1.0, 0.0, 0.0]),
        ("tanh", |x| x.tanh(), [-1.0, 1.0, 0.0, 0.0]),
        ("sigmoid", |x| x.sigmoid(), [0.0, 1.0, 0.0, 0.0]),
        ("hard_sigmoid", |x| x.hard_sigmoid(), [0.0, 1.0, 0.0, 0.0]),
        ("softplus", |x| x.softplus(), [0.0, INF, 0.0, 1.0]),
        ("elu", |x| x.elu(), [-1.0, INF, 0.0, 1.0]),
        ("selu", |x| x.selu(), [-selu, INF, 0.0, 1.050_701]),
        ("erf", |x| x.erf(), [-1.0, 1.0, 0.0, 0.0]),
        ("log_cosh", |x| x.log_cosh(), [INF, INF, -1.0, 1.0]),
        ("relu", |x| x.relu(), [0.0, INF, 0.0, 1.0]),
        ("relu6", |x| x.relu6(), [0.0, 6.0, 0.0, 0.0]),
    ];
    for device in DEVICES {
        for (name, f, want) in list {
            let x = vector(&[-INF, INF, -1e30, 1e30], device)?.watch()?;
            let y = f(&x)?;
            let slope = y.backward_with(&y.ones_like()?)?.get(&x)?;
            let want: Vec<f64> = want.iter().map(|v| f64::from(*v)).collect();
            expect_near(name, &y.slice(0, 0, 2)?, &want[..2], 1e-6)?;
            expect_near(&format!("slope of {name}"), &slope.slice(0, 0, 2)?, &want[2..], 1e-6)?;
            expect_near(&format!("slope of {name}"), &slope.slice(0, 2, 2)?, &want[2..], 1e-6)?;
        }
    }
    Ok(())
}

/// A function, and values of it.
type Digits<'a> = (&'a str, Unary, &'a [(f32, f64)]);

/// Digits that earlier formulas lost; the values are by mpmath with 40 digits.
#[test]
fn functions_keep_their_digits_where_they_nearly_vanish() -> Result<()> {
    let list: [Digits; 16] = [
        (
            "tanh",
            |x| x.tanh(),
            &[(1e-7, 1.0000000116860941e-7), (1e-20, 9.999999682655225e-21), (0.5, 0.46211715726000974)],
        ),
        (
            "log",
            |x| x.log(),
            &[
                (1.0000001, 1.1920928244535446e-7),
                (0.99999994, -5.960464655174753e-8),
                (1e-40, -92.10340910966488),
            ],
        ),
        (
            "log1p",
            |x| x.log1p(),
            &[(1e-10, 1.000000013301432e-10), (0.5, 0.4054651081081644), (-0.9999999, -15.942385152878742)],
        ),
        (
            "expm1",
            |x| x.expm1(),
            &[(1e-10, 1.0000000134014319e-10), (0.5, 0.6487212707001282), (-0.25, -0.22119921692859512)],
        ),
        (
            "sin",
            |x| x.sin(),
            &[(1e6, -0.34999350217129294), (1e22, -0.7340815352961015), (3e38, 0.8749048877644344)],
        ),
        (
            "cos",
            |x| x.cos(),
            &[(1e6, 0.9367521275331447), (1e22, 0.679061337095051), (1.5707964, -4.371139000186241e-8)],
        ),
        ("sqrt", |x| x.sqrt(), &[(1e-40, 9.999973050521066e-21), (2.0, 1.4142135623730951)]),
        ("silu", |x| x.silu(), &[(-60.0, -5.253906457617913e-25), (-88.0, -5.328049667953043e-37)]),
        ("gelu", |x| x.gelu(), &[(-5.0, -1.4332578593959695e-6), (-10.0, -7.619853024160526e-23)]),
        ("softplus", |x| x.softplus(), &[(-50.0, 1.9287498479639178e-22), (0.5, 0.9740769841801067)]),
        ("erf", |x| x.erf(), &[(1e-10, 1.1283791821609903e-10), (0.84375, 0.7672256612323416)]),
        (
            "log_cosh",
            |x| x.log_cosh(),
            &[(1e-4, 4.999999739045422e-9), (1e-10, 5.0000001335143205e-21), (500.0, 499.30685281944005)],
        ),
        ("softsign", |x| x.softsign(), &[(1e-7, 9.999999116861051e-8), (3e38, 1.0)]),
        ("mish", |x| x.mish(), &[(-50.0, -9.643749239819589e-21)]),
        ("sigmoid", |x| x.sigmoid(), &[(-50.0, 1.9287498479639178e-22), (40.0, 1.0)]),
        ("elu", |x| x.elu(), &[(-1e-7, -9.999999616860979e-8)]),
    ];
    for device in DEVICES {
        for (name, f, values) in list {
            for &(x, want) in values {
                expect_near(&format!("{name}({x:e})"), &f(&vector(&[x], device)?)?, &[want], 1e-6)?;
            }
        }
    }
    Ok(())
}

#[test]
fn log_cosh_of_small_errors_is_not_zero() -> Result<()> {
    for device in DEVICES {
        let y = Tensor::new([[1e-4f32], [3e-3], [-1e-6], [1e30]], device)?;
        let loss = LogCosh::new().per_sample(&y, &y.zeros_like()?)?;
        expect_near(
            "LogCosh",
            &loss,
            &[4.999999739045422e-9, 4.499993328247062e-6, 4.999999974751594e-13, 1e30],
            2e-6,
        )?;
    }
    Ok(())
}

/// As Rust's `as`: towards zero, the nearest that fits, NaN 0.
#[test]
fn casts_saturate_and_nan_is_zero() -> Result<()> {
    let values = [
        NAN,
        -NAN,
        INF,
        -INF,
        0.0,
        -0.0,
        TINY,
        0.99,
        -0.99,
        1.5,
        -1.5,
        254.9,
        255.0,
        256.0,
        -1.0,
        2147483520.0,
        2147483648.0,
        -2147483648.0,
        -2147483904.0,
        4294967040.0,
        4294967296.0,
        3e9,
        1e30,
        -1e30,
        16777217.0,
    ];
    for device in DEVICES {
        let x = vector(&values, device)?;
        let want: Vec<i32> = values.iter().map(|v| *v as i32).collect();
        assert_eq!(x.cast(DType::I32)?.to_vec::<i32>()?, want, "i32 on {device}");
        let want: Vec<u32> = values.iter().map(|v| *v as u32).collect();
        assert_eq!(x.cast(DType::U32)?.to_vec::<u32>()?, want, "u32 on {device}");
        let want: Vec<u8> = values.iter().map(|v| *v as u8).collect();
        assert_eq!(x.cast(DType::U8)?.to_vec::<u8>()?, want, "u8 on {device}");
        // to the nearest, and the even one of two
        let whole = [
            i32::MAX,
            i32::MIN,
            16_777_217,
            16_777_219,
            -16_777_217,
            33_554_434,
            2_147_483_583,
            2_147_483_585,
        ];
        let want: Vec<f32> = whole.iter().map(|v| *v as f32).collect();
        expect("f32 of i32", &Tensor::new(whole, device)?.cast(DType::F32)?, &want)?;
        let whole = [u32::MAX, 4_294_967_167, 4_294_967_169, 2_147_483_649, 16_777_219, 0, 1, 3_000_000_001];
        let want: Vec<f32> = whole.iter().map(|v| *v as f32).collect();
        expect("f32 of u32", &Tensor::new(whole, device)?.cast(DType::F32)?, &want)?;
        let large: [f32; 8] =
            [8_388_609.5, 16_777_215.0, 1e30, -1e30, -8_388_607.5, 0.99999994, -1e-30, 4194304.5];
        let want: Vec<f32> = large.iter().map(|v| v.floor()).collect();
        expect("floor", &vector(&large, device)?.floor()?, &want)?;
    }
    Ok(())
}

/// The first NaN of a window wins, then the largest; the gradient goes where the value is from.
#[test]
fn max_pooling_of_special_values() -> Result<()> {
    let image = [
        1.0, NAN, -INF, -INF, 0.0, -0.0, 2.0, INF, //
        INF, NAN, -INF, -INF, -0.0, TINY, NAN, INF,
    ];
    for device in DEVICES {
        for channels in [1usize, 4] {
            let x = Tensor::from_vec(image.to_vec(), [1, 2, 8, 1], device)?;
            let x = Tensor::concat(&vec![&x; channels], 3)?.watch()?;
            // windows of 2x2 as such, and by the general kernel
            for options in [Pool2dOptions::new([2, 2]), Pool2dOptions::new([2, 2]).stride([3, 2])] {
                let y = x.max_pool2d(options)?;
                let grad = y.backward_with(&y.ones_like()?)?.get(&x)?;
                let one = y.slice(3, 0, 1)?.reshape([4])?;
                expect("max_pool2d", &one, &[NAN, -INF, TINY, NAN])?;
                let mut want = [0.0; 16];
                (want[1], want[2], want[13], want[14]) = (1.0, 1.0, 1.0, 1.0);
                expect("its gradient", &grad.slice(3, 0, 1)?.reshape([16])?, &want)?;
            }
            let y = x.avg_pool2d(Pool2dOptions::new([2, 2]))?.slice(3, 0, 1)?.reshape([4])?;
            expect("avg_pool2d", &y, &[NAN, -INF, TINY / 4.0, NAN])?;
        }
    }
    Ok(())
}

/// Rows whose label is nearly sure: the loss is the logarithm of a sum close to 1, which lavapipe has to 2.5e-4 only.
#[test]
fn losses_of_sure_rows_keep_their_digits() -> Result<()> {
    for device in DEVICES {
        let gaps = [2.0f32, 3.0, 4.0, 5.0, 6.0];
        let logits: Vec<f32> = gaps.iter().flat_map(|gap| [0.0, -gap, -gap, -gap, -gap]).collect();
        let x = Tensor::from_vec(logits, [5, 5], device)?;
        let want: Vec<f64> = gaps.iter().map(|gap| (4.0 * f64::from(-gap).exp()).ln_1p()).collect();
        // what rounding the sum, a number a little above 1, leaves of them
        let most = 2.5e-7 / want[4];
        let rows = Tensor::new([0i32; 5], device)?;
        expect_near("sparse", &x.cross_entropy_rows(&rows)?, &want, most)?;
        let first = Tensor::from_vec([1.0f32, 0.0, 0.0, 0.0, 0.0].repeat(5), [5, 5], device)?;
        expect_near("dense", &x.cross_entropy_rows(&first)?, &want, most)?;
        let log_softmax = x.log_softmax(-1)?.slice(1, 0, 1)?.reshape([5])?.neg()?;
        expect_near("log_softmax", &log_softmax, &want, most)?;
    }
    Ok(())
}
