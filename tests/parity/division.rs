//! What divisions leave, bits and rounding, against plain loops: every pair of awkward numbers, on both devices, bit for bit.

use crate::common::Rng;
use wgrad::prelude::*;

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];

type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// All pairs of some numbers.
fn pairs<T: Copy>(values: &[T]) -> (Vec<T>, Vec<T>) {
    values.iter().flat_map(|&x| values.iter().map(move |&y| (x, y))).unzip()
}

macro_rules! integer_functions {
    ($t:ty, $floor:expr) => {{
        let shift =
            |y: $t| if y as i64 >= <$t>::BITS as i64 || (y as i64) < 0 { None } else { Some(y as u32) };
        let list: [(&str, Binary, Box<dyn Fn($t, $t) -> $t>); 9] = [
            ("div", |x, y| x / y, Box::new(|x, y| if y == 0 { x } else { x.wrapping_div(y) })),
            ("fmod", |x, y| x % y, Box::new(|x, y| if y == 0 { 0 } else { x.wrapping_rem(y) })),
            ("remainder", |x, y| x.remainder(y), Box::new(|x, y| $floor(x, y).1)),
            ("floor_divide", |x, y| x.floor_divide(y), Box::new(|x, y| $floor(x, y).0)),
            ("bitwise_and", |x, y| x & y, Box::new(|x, y| x & y)),
            ("bitwise_or", |x, y| x | y, Box::new(|x, y| x | y)),
            ("bitwise_xor", |x, y| x ^ y, Box::new(|x, y| x ^ y)),
            ("shl", |x, y| x << y, Box::new(move |x, y| shift(y).map_or(0, |n| x << n))),
            (
                "shr",
                |x, y| x >> y,
                Box::new(move |x, y| {
                    x >> shift(y).unwrap_or(<$t>::BITS - 1) >> u32::from(shift(y).is_none())
                }),
            ),
        ];
        list
    }};
}

/// Quotient and remainder of a division that rounds down: by 0, the dividend and 0.
fn floor(x: i64, y: i64) -> (i64, i64) {
    if y == 0 {
        return (x, 0);
    }
    let (q, r) = (x / y, x % y);
    if r != 0 && (r < 0) != (y < 0) { (q - 1, r + y) } else { (q, r) }
}

#[test]
fn divisions_and_bits_of_integers() -> Result<()> {
    macro_rules! check {
        ($t:ty, $values:expr) => {
            let (x, y) = pairs::<$t>($values);
            for device in DEVICES {
                let a = Tensor::from_vec(x.clone(), [x.len()], device)?;
                let b = Tensor::from_vec(y.clone(), [y.len()], device)?;
                let by_floor = |x: $t, y: $t| {
                    let (q, r) = floor(x as i64, y as i64);
                    (q as $t, r as $t)
                };
                for (name, f, want) in integer_functions!($t, by_floor) {
                    // once four at a time, once one by one
                    for len in [x.len() / 4 * 4, x.len() / 4 * 4 - 1] {
                        let got = f(&a.slice(0, 0, len)?, &b.slice(0, 0, len)?)?.to_vec::<$t>()?;
                        for i in 0..len {
                            let (x, y) = (x[i], y[i]);
                            assert_eq!(
                                got[i],
                                want(x, y),
                                "{name} of {x} and {y} on {device}, {len} elements"
                            );
                        }
                    }
                }
                let not: Vec<$t> = x.iter().map(|x| !x).collect();
                assert_eq!((!&a)?.to_vec::<$t>()?, not, "{device}");
            }
        };
    }
    let near = [
        i32::MIN,
        i32::MIN + 1,
        -65_537,
        -33,
        -32,
        -31,
        -8,
        -7,
        -3,
        -2,
        -1,
        0,
        1,
        2,
        3,
        7,
        8,
        30,
        31,
        32,
        33,
    ];
    check!(i32, &[&near[..], &[1 << 20, 46_341, i32::MAX - 1, i32::MAX]].concat());
    check!(
        u32,
        &[0, 1, 2, 3, 7, 8, 31, 32, 33, 65_535, 65_536, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX]
    );
    check!(u8, &[0, 1, 2, 3, 7, 8, 9, 16, 31, 32, 100, 127, 128, 254, 255]);
    Ok(())
}

/// Numbers of any magnitude: the quotient may have 277 bits. Bits are compared, so that zeros have their signs.
#[test]
fn what_divisions_of_floats_leave() -> Result<()> {
    let mut rng = Rng(5);
    let ends = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.5,
        -2.5,
        3.0,
        -3.0,
        1e-30,
        -7e-45,
        1e-45,
        f32::MIN_POSITIVE,
        f32::MAX,
        -f32::MAX,
    ];
    let (mut x, mut y) = pairs(&[&ends[..], &[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]].concat());
    for _ in 0..4000 {
        x.push(f32::from_bits(rng.bits() as u32));
        y.push(f32::from_bits(rng.bits() as u32));
        x.push(rng.uniform(-9.0, 9.0) as f32);
        y.push(rng.uniform(-3.0, 3.0) as f32);
        // whole numbers, many of them multiples
        x.push(rng.uniform(-99.0, 99.0).floor() as f32);
        y.push(rng.uniform(-9.0, 9.0).floor() as f32);
    }
    // Multiples whose last bits are those that a kernel takes last: nothing after them puts right what a quotient was off by.
    for _ in 0..1000 {
        let odd = |bits: u64| ((bits % 4096) | 1) as f32;
        let divisor = odd(rng.bits());
        x.push(divisor * odd(rng.bits()) * 2f32.powi(rng.int(58, 86) as i32));
        y.push(divisor);
    }
    let remainder = |x: f32, y: f32| {
        let r = x % y;
        if r != 0.0 && (r < 0.0) != (y < 0.0) {
            r + y
        } else if r == 0.0 {
            r.copysign(y)
        } else {
            r
        }
    };
    for device in DEVICES {
        let a = Tensor::from_vec(x.clone(), [x.len()], device)?;
        let b = Tensor::from_vec(y.clone(), [y.len()], device)?;
        let (c, p) = ((&a % &b)?.to_vec::<f32>()?, a.remainder(&b)?.to_vec::<f32>()?);
        for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
            for (name, got, want) in [("fmod", c[i], x % y), ("remainder", p[i], remainder(x, y))] {
                // a sum that is denormal may be 0 on a device, and a denormal term adds nothing there
                let fine = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                let tiny = want.is_subnormal() && got == 0.0 || (x % y).is_subnormal() && got == y;
                assert!(
                    fine || name == "remainder" && tiny,
                    "{name} of {x:e} and {y:e} on {device}: {got:e}, expected {want:e}"
                );
            }
        }
        let quotients = |x: &[f32], y: &[f32]| -> Result<Vec<f32>> {
            let (x, y) = (x.to_vec(), y.to_vec());
            let (a, b) =
                (Tensor::from_vec(x.clone(), [x.len()], device)?, Tensor::from_vec(y, [x.len()], device)?);
            a.floor_divide(b)?.to_vec::<f32>()
        };
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        // NumPy's values
        let list = [
            (7.0, 2.0, 3.0),
            (-7.0, 2.0, -4.0),
            (7.0, -2.0, -4.0),
            (-7.0, -2.0, 3.0),
            (0.0, -2.0, -0.0),
            (-0.0, 2.0, -0.0),
            (1.0, 3.0, 0.0),
            (-1e-30, 3.0, -1.0),
            (1.0, 0.1, 9.0),
            (0.3, 0.1, 3.0),
            (1.0, inf, 0.0),
            (-1.0, inf, -1.0),
            (1.0, 0.0, inf),
            (-1.0, 0.0, -inf),
            (1.0, -0.0, -inf),
            (0.0, 0.0, nan),
            (inf, 2.0, nan),
            (inf, 0.0, inf),
            (nan, 2.0, nan),
            (2.0, nan, nan),
            (2_097_151.0, 1.0, 2_097_151.0),
            (699_050.0, 0.333_333_34, 2_097_149.0),
            (1e30, 1e-30, inf),
        ];
        let (x, y): (Vec<f32>, Vec<f32>) = list.iter().map(|&(x, y, _)| (x, y)).unzip();
        for (got, (x, y, want)) in quotients(&x, &y)?.into_iter().zip(list) {
            let fine = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            assert!(fine, "floor_divide of {x:e} and {y:e} on {device}: {got:e}, expected {want:e}");
        }
    }
    Ok(())
}

/// Halves go to the even neighbour, and what is rounded to 0 keeps its sign.
#[test]
fn rounding_keeps_signs_and_ties_are_even() -> Result<()> {
    let mut x: Vec<f32> = (-40..=40).map(|i| i as f32 * 0.25).collect();
    x.extend([-0.0, 0.499_999_97, -0.499_999_97, 8_388_607.5, -8_388_607.5, 16_777_217.0, 1e-40, f32::MAX]);
    x.extend([f32::INFINITY, f32::NEG_INFINITY, 2_147_483_648.0, -4e9]);
    type Unary = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(f32) -> f32);
    let list: [Unary; 4] = [
        ("floor", |x| x.floor(), f32::floor),
        ("ceil", |x| x.ceil(), f32::ceil),
        ("trunc", |x| x.trunc(), f32::trunc),
        ("round", |x| x.round(), f32::round_ties_even),
    ];
    for device in DEVICES {
        let a = Tensor::from_vec(x.clone(), [x.len()], device)?;
        for (name, f, want) in list {
            for (&x, got) in x.iter().zip(f(&a)?.to_vec::<f32>()?) {
                let want = want(x);
                // a device may take a denormal number for 0
                assert!(
                    got.to_bits() == want.to_bits() || x.is_subnormal() && got == 0.0,
                    "{name} of {x} on {device}: {got}, expected {want}"
                );
            }
        }
    }
    Ok(())
}

/// Of points on the axes the quadrant tells the sign of a zero.
#[test]
fn angles_of_points_on_the_axes() -> Result<()> {
    let ends = [0.0f32, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-37];
    let (y, x) = pairs(&ends);
    for device in DEVICES {
        let got = Tensor::from_vec(y.clone(), [y.len()], device)?
            .atan2(Tensor::from_vec(x.clone(), [x.len()], device)?)?
            .to_vec::<f32>()?;
        for ((&y, &x), got) in y.iter().zip(&x).zip(got) {
            let want = y.atan2(x);
            // an angle that is denormal may be 0 on a device
            let near = (got - want).abs() <= 3e-7 * want.abs() || want.is_subnormal() && got == 0.0;
            let near = near && got.is_sign_negative() == want.is_sign_negative();
            assert!(near, "atan2 of {y:e} and {x:e} on {device}: {got:e}, expected {want:e}");
        }
        let odd: [fn(&Tensor) -> Result<Tensor>; 5] =
            [|x| x.tan(), |x| x.asin(), |x| x.atan(), |x| x.asinh(), |x| x.atanh()];
        for f in odd {
            let zeros = f(&Tensor::new([0.0f32, -0.0], device)?)?.to_vec::<f32>()?;
            assert_eq!(zeros.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), [0, 1 << 31], "{device}");
        }
    }
    Ok(())
}
