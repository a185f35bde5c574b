//! Reductions: long loops, long sums, NaN. What is right is known here: whole numbers whose sums f32 holds exactly, or float64.

use crate::common::Rng;
use crate::on_both_devices;
use wgrad::prelude::*;

on_both_devices! {
    axes_that_no_stride_joins_are_summed_to_the_last_element;
    extremes_at_any_place_of_axes_that_no_stride_joins_are_found;
    sums_over_every_other_axis_are_exact;
    sums_of_sixteen_million_equal_terms_keep_six_digits;
    sums_over_outer_and_inner_axes_keep_six_digits;
    sums_of_terms_of_both_signs_keep_six_digits_of_their_magnitudes;
    nan_among_many_is_their_maximum_and_minimum;
    infinities_of_both_signs_sum_to_nan;
    products_of_many_factors;
    running_sums_of_equal_terms_keep_six_digits;
    a_running_sum_is_nan_from_the_first_nan_on;
    long_integer_sums_wrap_as_they_should;
}

/// 0, 1 or 2, no pattern: sums of up to eight million are exact in f32, in any order.
fn small(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..count).map(|_| (rng.bits() % 3) as f32).collect()
}

fn exact(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum()
}

/// Compares with the exact value, relative to the sum of magnitudes.
pub fn assert_digits(got: f32, want: f64, magnitude: f64, what: &str) {
    let error = (f64::from(got) - want).abs() / magnitude;
    assert!(error <= 1e-6, "{what}: {got} instead of {want}: {error:.1e} of the magnitudes");
}

mod checks {
    use super::*;

    pub fn axes_that_no_stride_joins_are_summed_to_the_last_element(device: Device) -> Result<()> {
        // odd slices, so that not even the order of memory makes one loop of them
        for (dims, order) in [
            (&[41usize, 40, 40, 41][..], &[3isize, 2, 1, 0][..]),
            (&[160, 160, 160], &[2, 1, 0]),
            (&[260, 1, 260, 60], &[3, 1, 2, 0]),
            (&[3, 5, 7, 5, 3, 7, 11, 13], &[7, 2, 5, 0, 3, 6, 1, 4]),
        ] {
            let values = small(dims.iter().product(), 5);
            let x = Tensor::from_slice(&values, dims, device)?;
            let turned = x.permute(order)?;
            assert_eq!(f64::from(turned.sum(.., false)?.item::<f32>()?), exact(&values), "{dims:?}");
            let mut cut = turned;
            for (axis, &d) in order.iter().enumerate().filter(|&(_, &d)| dims[d as usize] > 2) {
                cut = cut.slice(axis as isize, 1, dims[d as usize] - 2)?;
            }
            let inside = |mut i: usize| {
                dims.iter().rev().all(|&n| {
                    let at = i % n;
                    i /= n;
                    n <= 2 || (1..n - 1).contains(&at)
                })
            };
            let kept = values.iter().enumerate().filter(|&(i, _)| inside(i));
            let want: f64 = kept.map(|(_, &v)| f64::from(v)).sum();
            assert_eq!(f64::from(cut.sum(.., false)?.item::<f32>()?), want, "{dims:?}, without its faces");
            assert_eq!(f64::from((cut + 1.0)?.max(.., false)?.item::<f32>()?), 3.0);
        }
        Ok(())
    }

    pub fn extremes_at_any_place_of_axes_that_no_stride_joins_are_found(device: Device) -> Result<()> {
        let dims = [43, 41, 39, 43];
        let count: usize = dims.iter().product();
        for at in [0, 65_535, count / 2, count - 50_001, count - 1] {
            let mut values = small(count, at as u64);
            values[at] = 3.0;
            let x = Tensor::from_slice(&values, dims, device)?.permute([3, 1, 0, 2])?;
            // by rows of three quarters, which no stride joins
            let parts = [x.slice(1, 0, 20)?, x.slice(1, 20, 21)?];
            for sign in [1.0, -1.0] {
                let mut found = Vec::new();
                for part in &parts {
                    let part = (part * sign)?;
                    let best = if sign > 0.0 { part.max(.., false)? } else { part.min(.., false)? };
                    found.push(best.item::<f32>()? * sign as f32);
                }
                found.sort_by(f32::total_cmp);
                assert_eq!(found, [2.0, 3.0], "{sign} at {at}");
            }
        }
        Ok(())
    }

    pub fn sums_over_every_other_axis_are_exact(device: Device) -> Result<()> {
        let dims = [41usize, 2, 41, 2, 21, 2, 41];
        let values = small(dims.iter().product(), 3);
        let mut want = [0f32; 8];
        for (i, v) in values.iter().enumerate() {
            let (f, d, b) = (i / 41 % 2, i / (41 * 2 * 21) % 2, i / (41 * 2 * 21 * 2 * 41) % 2);
            want[4 * b + 2 * d + f] += v;
        }
        let x = Tensor::from_vec(values, dims, device)?;
        assert_eq!(x.sum([0, 2, 4, 6], false)?.to_vec::<f32>()?, want);
        let turned = x.permute([6, 5, 4, 3, 2, 1, 0])?.sum([0, 2, 4, 6], false)?.permute([2, 1, 0])?;
        assert_eq!(turned.to_vec::<f32>()?, want);
        // a maximum over the same, and the mean's exact quotient
        assert_eq!((x.max([0, 2, 4, 6], false)? - 2.0)?.to_vec::<f32>()?, [0.0; 8]);
        Ok(())
    }

    pub fn sums_of_sixteen_million_equal_terms_keep_six_digits(device: Device) -> Result<()> {
        // 1.4577 and 1.6629 are the worst for sums of sixteen and eight
        for (value, count) in
            [(0.1f32, 16_000_000), (1.4577, 16_777_216), (1.6629, 16_000_001), (0.3, 9_999_999)]
        {
            let want = f64::from(value) * count as f64;
            let x = Tensor::full([count], value, device)?;
            let x = x.to_device(Device::Cpu)?.to_device(device)?;
            let what = format!("{count} times {value}");
            assert_digits(x.sum(.., false)?.item()?, want, want, &what);
            assert_digits(
                (&x * 1.0)?.flip(0)?.sum(.., false)?.item()?,
                want,
                want,
                &format!("{what}, flipped"),
            );
            let mean: f32 = x.mean(.., false)?.item()?;
            assert_digits(mean, value.into(), value.into(), &format!("mean of {what}"));
        }
        Ok(())
    }

    pub fn sums_over_outer_and_inner_axes_keep_six_digits(device: Device) -> Result<()> {
        for value in [0.1f32, 1.4577, 0.7] {
            let whole = |x: Tensor, axes: &[isize], terms: usize| -> Result<()> {
                let want = f64::from(value) * terms as f64;
                for got in x.sum(axes, false)?.to_vec::<f32>()? {
                    assert_digits(got, want, want, &format!("{} over {axes:?} of {value}", x.shape()));
                }
                Ok(())
            };
            let full = |dims: &[usize]| Tensor::from_vec(vec![value; dims.iter().product()], dims, device);
            whole(full(&[1000, 4, 4000])?, &[0, 2], 4_000_000)?;
            whole(full(&[1000, 4, 3999])?, &[0, 2], 3_999_000)?;
            whole(full(&[700_000, 3])?, &[0], 700_000)?;
            whole(full(&[500_000, 4])?, &[0], 500_000)?;
            whole(full(&[3, 700_001])?, &[1], 700_001)?;
            whole(full(&[5, 900, 301])?.swap_axes(0, 2)?, &[0, 2], 1505)?;
            whole(full(&[5, 900, 301])?.swap_axes(0, 2)?, &[0, 1], 270_900)?;
            whole(full(&[3, 2, 400_000])?.slice_step(2, 1, 199_999, 2)?, &[2], 199_999)?;
        }
        Ok(())
    }

    pub fn sums_of_terms_of_both_signs_keep_six_digits_of_their_magnitudes(device: Device) -> Result<()> {
        let mut rng = Rng(11);
        let values: Vec<f32> = (0..3_000_007)
            .map(|_| (rng.uniform(-1.0, 1.2) * 10f64.powf(rng.uniform(-3.0, 3.0))) as f32)
            .collect();
        let magnitude = values.iter().map(|v| f64::from(v.abs())).sum();
        let want = exact(&values);
        let x = Tensor::from_vec(values, [3_000_007], device)?;
        assert_digits(x.sum(.., false)?.item()?, want, magnitude, "sum");
        assert_digits(x.flip(0)?.sum(.., false)?.item()?, want, magnitude, "flipped");
        Ok(())
    }

    pub fn nan_among_many_is_their_maximum_and_minimum(device: Device) -> Result<()> {
        for dims in [&[7usize][..], &[8], &[129], &[100_003], &[3, 70_004], &[70_004, 4], &[40, 3, 50, 4, 30]]
        {
            let count: usize = dims.iter().product();
            for bits in [0x7fc0_0000u32, 0xffc0_0000, 0x7f80_0001] {
                for at in [0, count / 3, count - 1] {
                    let mut values = small(count, 1);
                    values[at] = f32::from_bits(bits);
                    let x = Tensor::from_vec(values, dims, device)?;
                    let last = x.rank() as isize - 1;
                    let what = format!("{bits:x} at {at} of {dims:?}");
                    assert!(x.max(.., false)?.item::<f32>()?.is_nan(), "max of {what}");
                    assert!(x.min(.., false)?.item::<f32>()?.is_nan(), "min of {what}");
                    assert!(x.sum(.., false)?.item::<f32>()?.is_nan(), "sum of {what}");
                    assert!(x.mean(.., false)?.item::<f32>()?.is_nan(), "mean of {what}");
                    assert!(x.prod(0, false)?.to_vec::<f32>()?.iter().any(|v| v.is_nan()), "prod of {what}");
                    // one of the rows has it, and no other
                    for (axes, among) in [(0, count / dims[0]), (last, count / dims[last as usize])] {
                        for reduced in [x.max(axes, false)?, x.min(axes, false)?] {
                            let found = reduced.to_vec::<f32>()?.iter().filter(|v| v.is_nan()).count();
                            assert_eq!((found, reduced.numel()), (1, among), "along {axes} of {what}");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub fn infinities_of_both_signs_sum_to_nan(device: Device) -> Result<()> {
        let inf = f32::INFINITY;
        for count in [5, 64, 5000, 200_000] {
            let mut values = vec![1f32; count];
            values[count / 3] = inf;
            let x = Tensor::from_slice(&values, [count], device)?;
            assert_eq!(x.sum(.., false)?.item::<f32>()?, inf);
            assert_eq!(x.max(.., false)?.item::<f32>()?, inf);
            assert_eq!(x.min(.., false)?.item::<f32>()?, 1.0);
            values[count - 1] = -inf;
            let x = Tensor::from_vec(values, [count], device)?;
            assert!(x.sum(.., false)?.item::<f32>()?.is_nan(), "{count}");
            assert_eq!(x.max(.., false)?.item::<f32>()?, inf);
            assert_eq!(x.min(.., false)?.item::<f32>()?, -inf);
        }
        let x = Tensor::from_vec(vec![-inf; 70_000], [70_000], device)?;
        assert_eq!(x.max(.., false)?.item::<f32>()?, -inf);
        assert_eq!((x.neg()?).min(.., false)?.item::<f32>()?, inf);
        Ok(())
    }

    pub fn running_sums_of_equal_terms_keep_six_digits(device: Device) -> Result<()> {
        for (value, count) in [(0.1f32, 4_000_000), (1.4577, 4096), (1.6629, 3_000_001), (0.7, 100_000)] {
            let x = Tensor::from_vec(vec![value; count], [count], device)?;
            for (i, got) in x.cumsum(0)?.to_vec::<f32>()?.into_iter().enumerate() {
                let want = f64::from(value) * (i + 1) as f64;
                assert_digits(got, want, want, &format!("{} of {count} times {value}", i + 1));
            }
        }
        Ok(())
    }

    pub fn a_running_sum_is_nan_from_the_first_nan_on(device: Device) -> Result<()> {
        for count in [40, 5000] {
            let mut values = vec![1.0f32; count];
            (values[20], values[30]) = (f32::INFINITY, f32::NEG_INFINITY);
            let y = Tensor::from_vec(values.clone(), [count], device)?.cumsum(0)?.to_vec::<f32>()?;
            assert_eq!(y[..20], (1..=20).map(|i| i as f32).collect::<Vec<_>>());
            assert!(y[20..30].iter().all(|&y| y == f32::INFINITY), "{count} on {device}");
            assert!(y[30..].iter().all(|y| y.is_nan()), "infinity less infinity: {count} on {device}");
            values[10] = f32::NAN;
            let y = Tensor::from_vec(values, [count], device)?.cumsum(0)?.to_vec::<f32>()?;
            assert!(y[9] == 10.0 && y[10..].iter().all(|y| y.is_nan()), "{count} on {device}");
        }
        Ok(())
    }

    pub fn products_of_many_factors(device: Device) -> Result<()> {
        let mut rng = Rng(4);
        let dims = [31usize, 33, 29, 37];
        // 1 + tiny: the product's logarithm is the sum of theirs
        let values: Vec<f32> =
            (0..dims.iter().product()).map(|_| 1.0 + rng.uniform(-2e-4, 2e-4) as f32).collect();
        let want: f64 = values.iter().map(|&v| f64::from(v)).product();
        let x = Tensor::from_vec(values, dims, device)?.permute([3, 1, 0, 2])?;
        let got = f64::from(x.slice(1, 0, 17)?.prod(.., false)?.item::<f32>()?)
            * f64::from(x.slice(1, 17, 16)?.prod(.., false)?.item::<f32>()?);
        // every one of the million products is rounded, and those of factors this close to 1 mostly downwards
        assert!((got / want - 1.0).abs() < 2e-2, "{got} {want}");
        // Powers of two are exact, wherever they stand; there are too few of them to overflow in any order.
        let power = |i: usize| match i % 100_003 {
            0 => 1,
            50_000 => -1,
            _ => 0,
        };
        let twos: Vec<f32> = (0..1001 * 999).map(|i| 2f32.powi(power(i))).collect();
        let product = |all: &mut dyn Iterator<Item = usize>| 2f32.powi(all.map(power).sum());
        let x = Tensor::from_vec(twos, [1001, 999], device)?;
        assert_eq!(x.prod(.., false)?.item::<f32>()?, product(&mut (0..1001 * 999)));
        let part = x.transpose()?.slice(0, 0, 998)?.prod(.., false)?.item::<f32>()?;
        assert_eq!(part, product(&mut (0..1001 * 999).filter(|i| i % 999 < 998)));
        Ok(())
    }

    pub fn long_integer_sums_wrap_as_they_should(device: Device) -> Result<()> {
        let dims = [91usize, 90, 89];
        let values: Vec<i32> =
            (0..dims.iter().product::<usize>()).map(|i| (i as i32).wrapping_mul(40_503)).collect();
        let want = values.iter().fold(0i32, |a, &b| a.wrapping_add(b));
        let x = Tensor::from_slice(&values, dims, device)?.permute([2, 1, 0])?;
        assert_eq!(x.sum(.., false)?.item::<i32>()?, want);
        assert_eq!(x.max(.., false)?.item::<i32>()?, *values.iter().max().unwrap());
        assert_eq!(x.min(.., false)?.item::<i32>()?, *values.iter().min().unwrap());
        let x = x.cast(DType::U32)?;
        assert_eq!(x.sum(.., false)?.item::<u32>()?, want as u32);
        Ok(())
    }
}
