//! Powers: exact ones, the table of C99, gradients, whole numbers.

use super::common::DEVICES;
use super::functions::{expect, expect_near, vector};
use wgrad::prelude::*;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// Powers that are numbers of the type come out as they are.
#[test]
fn whole_powers_are_exact() -> Result<()> {
    let (mut base, mut exponent, mut want) = (Vec::new(), Vec::new(), Vec::new());
    for b in 2u64..300 {
        let mut power = 1;
        for e in 0..24 {
            if power >= 1 << 24 {
                break;
            }
            for (sign, negative) in [(1.0, false), (-1.0, true)] {
                base.push(sign * b as f32);
                exponent.push(e as f32);
                want.push(if negative && e % 2 == 1 { -(power as f32) } else { power as f32 });
            }
            power *= b;
        }
    }
    for e in 1..127 {
        base.extend([2.0, 2.0, 0.5]);
        exponent.extend([e as f32, -e as f32, -e as f32]);
        want.extend([(e as f32).exp2(), (-e as f32).exp2(), (e as f32).exp2()]);
    }
    for root in 1..3000 {
        base.push((root * root) as f32);
        exponent.push(0.5);
        want.push(root as f32);
    }
    for device in DEVICES {
        let y = vector(&base, device)?.pow(vector(&exponent, device)?)?;
        expect("pow", &y, &want)?;
        expect("x^2", &vector(&[5.0, -3.0], device)?.pow(2.0)?, &[25.0, 9.0])?;
        expect("floor(x^3)", &vector(&[10.0, -2.0], device)?.pow(3.0)?.floor()?, &[1000.0, -8.0])?;
        expect("x^-1", &vector(&[4.0, -8.0], device)?.pow(-1.0)?, &[0.25, -0.125])?;
    }
    Ok(())
}

/// The table of C99, annex F.9.4.4 (IEEE 754's pow).
#[test]
fn powers_of_zero_infinity_and_nan() -> Result<()> {
    let list: &[(f32, f32, f32)] = &[
        (0.0, -1.0, INF),
        (-0.0, -1.0, -INF),
        (-0.0, -3.0, -INF),
        (-0.0, -2.0, INF),
        (0.0, -0.5, INF),
        (-0.0, -0.5, INF),
        (0.0, -INF, INF),
        (-0.0, -INF, INF),
        (0.0, 3.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-0.0, 0.5, 0.0),
        (0.0, INF, 0.0),
        (0.0, 0.0, 1.0),
        (-1.0, INF, 1.0),
        (-1.0, -INF, 1.0),
        (1.0, INF, 1.0),
        (1.0, NAN, 1.0),
        (1.0, -7.5, 1.0),
        (NAN, 0.0, 1.0),
        (NAN, -0.0, 1.0),
        (INF, 0.0, 1.0),
        (-5.0, 0.5, NAN),
        (-5.0, 1e30, INF),
        (-5.0, 3.0, -125.0),
        (-2.0, 16_777_217.0, INF),
        (0.5, -INF, INF),
        (2.0, -INF, 0.0),
        (-0.5, INF, 0.0),
        (-2.0, INF, INF),
        (2.0, INF, INF),
        (0.5, INF, 0.0),
        (-INF, -3.0, -0.0),
        (-INF, -2.0, 0.0),
        (-INF, -0.5, 0.0),
        (-INF, 3.0, -INF),
        (-INF, 2.0, INF),
        (-INF, 0.5, INF),
        (INF, -1.0, 0.0),
        (INF, 0.5, INF),
        (NAN, 2.0, NAN),
        (NAN, 0.5, NAN),
        (2.0, NAN, NAN),
        (0.0, NAN, NAN),
        (3e38, 2.0, INF),
        (1e-30, 2.0, 0.0),
        (-3e38, 3.0, -INF),
    ];
    let column = |f: fn(&(f32, f32, f32)) -> f32| -> Vec<f32> { list.iter().map(f).collect() };
    let (base, exponent) = (column(|r| r.0), column(|r| r.1));
    for device in DEVICES {
        let got = vector(&base, device)?.pow(vector(&exponent, device)?)?.to_vec::<f32>()?;
        for ((x, y, want), got) in list.iter().zip(got) {
            let same = (want.is_nan() && got.is_nan())
                || (*want == got && want.is_sign_negative() == got.is_sign_negative());
            assert!(same, "{x} ^ {y} on {device}: {got}, expected {want}");
            let number = vector(&[*x], device)?.pow(*y)?.item::<f32>()?;
            assert!(
                number == got || (number.is_nan() && got.is_nan()),
                "{x} ^ number {y} on {device}: {number}"
            );
        }
    }
    Ok(())
}

#[test]
fn gradients_of_powers_at_zero() -> Result<()> {
    for device in DEVICES {
        // by the base: y x^(y - 1)
        let x = vector(&[0.0, 0.0, 0.0, 0.0, 0.0, -0.0], device)?.watch()?;
        let y = vector(&[0.5, 1.0, 2.0, 0.0, 3.0, 2.0], device)?.watch()?;
        let p = x.pow(&y)?;
        let grads = p.backward_with(&p.ones_like()?)?;
        expect("by the base", &grads.get(&x)?, &[INF, 1.0, 0.0, 0.0, 0.0, 0.0])?;
        // by the exponent: x^y log(x), and 0 in the limit of y > 0; PyTorch has 0 at y = 0 too
        expect("by the exponent", &grads.get(&y)?, &[0.0; 6])?;
        let y = vector(&[-1.0, -0.5, 2.0, 1.0], device)?.watch()?;
        let x = vector(&[0.0, 0.0, 4.0, 0.5], device)?.watch()?;
        let p = x.pow(&y)?;
        let grads = p.backward_with(&p.ones_like()?)?;
        let want = [f64::NEG_INFINITY, f64::NEG_INFINITY, 16.0 * 4f64.ln(), 0.5 * 0.5f64.ln()];
        expect_near("by the exponent", &grads.get(&y)?, &want, 1e-6)?;
        let want = [f64::NEG_INFINITY, f64::NEG_INFINITY, 8.0, 1.0];
        expect_near("by the base", &grads.get(&x)?, &want, 1e-6)?;
        for (exponent, want) in [(0.5, INF), (1.0, 1.0), (2.0, 0.0), (0.0, 0.0), (3.0, 0.0)] {
            let x = vector(&[0.0], device)?.watch()?;
            let grad = x.pow(exponent)?.backward_with(&Tensor::ones([1], device)?)?.get(&x)?;
            expect(&format!("slope of x^{exponent} at 0"), &grad, &[want])?;
        }
    }
    Ok(())
}

#[test]
fn negative_exponents_of_whole_numbers_are_an_error() -> Result<()> {
    for device in DEVICES {
        for len in [3usize, 4] {
            let x = Tensor::from_vec(vec![3i32, 2, 1, -1][..len].to_vec(), [len], device)?;
            let message = x.pow(-1).unwrap_err().to_string();
            assert!(message.contains("pow: an integer to the power of -1"), "{message}");
            assert_eq!(x.pow(3)?.to_vec::<i32>()?, [27, 8, 1, -1][..len]);
            assert_eq!(x.pow(2)?.to_vec::<i32>()?, [9, 4, 1, 1][..len]);
            let exponents = Tensor::from_vec(vec![0i32, 4, 5, 3][..len].to_vec(), [len], device)?;
            assert_eq!(x.pow(exponents)?.to_vec::<i32>()?, [1, 16, 1, -1][..len]);
            let exponents = Tensor::from_vec(vec![1i32, -2, 0, 7][..len].to_vec(), [len], device)?;
            let error = (x.pow(&exponents)? + 1)?.to_vec::<i32>().unwrap_err().to_string();
            assert!(error.contains("pow: an integer to the power of -2"), "{error}");
            assert_eq!((&x + 1)?.to_vec::<i32>()?, [4, 3, 2, 0][..len]);
        }
    }
    Ok(())
}
