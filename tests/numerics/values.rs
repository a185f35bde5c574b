//! Values and gradients of other operations, losses and random numbers.

use super::common::{assert_close, values};
use crate::on_both_devices;
use wgrad::nn::{BatchNorm, Context, Dropout, GaussianNoise, GroupNorm, LayerNorm, SpatialDropout2d};
use wgrad::prelude::*;

on_both_devices! {
    sums_of_bytes_wrapped_at_256;
    an_empty_list_of_axes_was_all_of_them;
    means_of_equal_numbers_were_a_bit_less;
    normalised_constants_were_not_zero;
    normalisation_lost_the_digits_of_a_large_mean;
    linspace_missed_its_end;
    numbers_outside_a_type_were_rounded;
    a_float_literal_filled_with_f64;
    gradients_of_products_overflowed;
    the_unused_side_of_a_where_made_gradients_nan;
    norms_at_zero_had_nan_gradients;
    dropped_infinities_became_nan;
    draws_of_one_seed_were_alike;
}

fn vector(v: &[f32], d: Device) -> Result<Tensor> {
    Tensor::from_slice(v, [v.len()], d)
}

/// The gradient of a sum of what `f` gives, at a vector.
fn gradient(v: &[f32], d: Device, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f32>> {
    let x = vector(v, d)?.watch()?;
    f(&x)?.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()
}

/// Pearson's coefficient.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n as f64;
    let (ma, mb) = (mean(a), mean(b));
    let covariance = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    covariance(a, ma, b, mb) / (covariance(a, ma, a, ma) * covariance(b, mb, b, mb)).sqrt()
}

mod checks {
    use super::*;

    pub fn sums_of_bytes_wrapped_at_256(d: Device) -> Result<()> {
        let ones = Tensor::ones([256], d)?;
        let count = ones.eq(1.0)?.sum(.., false)?;
        assert_eq!((count.dtype(), count.item::<u32>()?), (DType::U32, 256));
        let bytes = Tensor::full([1000, 70], 255u8, d)?;
        assert_eq!(bytes.sum(.., false)?.item::<u32>()?, 17_850_000);
        assert_eq!(bytes.sum(0, true)?.to_vec::<u32>()?, [255_000; 70]);
        assert_eq!(bytes.sum(-1, false)?.to_vec::<u32>()?, [17_850; 1000]);
        assert_eq!(bytes.slice(0, 3, 2)?.transpose()?.sum(1, false)?.to_vec::<u32>()?, [510; 70]);
        let factors = Tensor::new([[200u8, 3, 7], [255, 255, 2]], d)?;
        assert_eq!(factors.prod(-1, false)?.to_vec::<u32>()?, [4200, 130_050]);
        // one element, or none, of the same type as many
        for axis in [0, 1] {
            let one = Tensor::full([1, 1], 9u8, d)?;
            assert_eq!(one.sum(axis, false)?.to_vec::<u32>()?, [9]);
            assert_eq!(one.prod(axis, true)?.to_vec::<u32>()?, [9]);
        }
        assert_eq!(bytes.slice(0, 0, 0)?.sum(0, false)?.to_vec::<u32>()?, [0; 70]);
        // what does not combine keeps its type
        assert_eq!(factors.max(-1, false)?.to_vec::<u8>()?, [200, 255]);
        Ok(())
    }

    pub fn an_empty_list_of_axes_was_all_of_them(d: Device) -> Result<()> {
        let x = Tensor::new([[3.0f32, -4.0], [0.0, 5.0]], d)?.watch()?;
        let none: [isize; 0] = [];
        for y in [
            x.sum(none, false)?,
            x.mean(none, true)?,
            x.max([], false)?,
            x.min([], true)?,
            x.prod([], false)?,
        ] {
            assert_eq!((y.dims(), y.to_vec::<f32>()?), (x.dims(), x.to_vec()?));
            assert_eq!(y.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?, [1.0; 4]);
        }
        assert_eq!(x.norm([], false)?.to_vec::<f32>()?, [3.0, 4.0, 0.0, 5.0]);
        assert_eq!(
            x.norm([], false)?.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?,
            [1.0, -1.0, 0.0, 1.0]
        );
        for y in [x.var([], false)?, x.std([], true)?] {
            assert_eq!((y.dims(), y.to_vec::<f32>()?), (x.dims(), vec![0.0; 4]));
        }
        assert_eq!(x.cast(DType::U8)?.sum([], false)?.dtype(), DType::U32);
        // a range leaves out what it doesn't name
        assert_eq!(x.sum(1.., false)?.to_vec::<f32>()?, [-1.0, 5.0]);
        assert_eq!(x.max(..-1, true)?.to_vec::<f32>()?, [3.0, 5.0]);
        assert_eq!(x.sum(0..2, false)?.item::<f32>()?, 4.0);
        Ok(())
    }

    pub fn means_of_equal_numbers_were_a_bit_less(d: Device) -> Result<()> {
        for n in (1..130).chain([1000, 4099, 65_537]) {
            assert_eq!(Tensor::ones([n], d)?.mean(.., false)?.item::<f32>()?, 1.0, "{n} ones");
            let rows = Tensor::full([3, n], 24.0, d)?;
            assert_eq!(rows.mean(-1, false)?.to_vec::<f32>()?, [24.0; 3], "{n} of 24");
        }
        // the sum of 0..n is a whole number, and so is its mean for odd n
        for n in [41i64, 83, 3001] {
            let mean = Tensor::arange(0, n, d)?.cast(DType::F32)?.mean(.., false)?.item::<f32>()?;
            assert_eq!(mean, (n - 1) as f32 / 2.0);
        }
        assert!(Tensor::zeros([0], d)?.mean(.., false)?.item::<f32>()?.is_nan());
        let e = Tensor::ones([3], d)?.gt(0.0)?.mean(.., false).unwrap_err().to_string();
        assert!(e.contains("mean: the input is u8"), "{e}");
        Ok(())
    }

    pub fn normalised_constants_were_not_zero(d: Device) -> Result<()> {
        for value in [1e6f32, 1_000_003.0, -0.1, 3e-7, 12_345_678.0] {
            let x = Tensor::full([41, 6], value, d)?;
            let image = x.reshape([41, 1, 1, 6])?;
            for epsilon in [1e-3, 1e-12] {
                let batch = Sequential::new().add(BatchNorm::new().epsilon(epsilon)).build([6], d)?;
                let layer = Sequential::new().add(LayerNorm::new().epsilon(epsilon)).build([6], d)?;
                let group = Sequential::new().add(GroupNorm::new(2).epsilon(epsilon)).build([1, 1, 6], d)?;
                let train = Context::train(1);
                let all = [batch.forward(&x, &train)?, layer.forward(&x, &train)?, group.infer(&image)?];
                for (y, name) in all.iter().zip(["BatchNorm", "LayerNorm", "GroupNorm"]) {
                    assert!(y.to_vec::<f32>()?.iter().all(|&v| v == 0.0), "{name} of {value}: {y}");
                }
                assert_eq!(x.var(0, false)?.to_vec::<f32>()?, [0.0; 6]);
                assert_eq!(x.std(.., false)?.item::<f32>()?, 0.0);
            }
            // The moving averages, once they are there, stay.
            let model = Sequential::new().add(BatchNorm::new()).build([6], d)?;
            let mean = model.parameter("batchnorm.moving_mean")?.variable;
            mean.set(Tensor::full([6], value, d)?)?;
            for step in 0..3 {
                model.forward(&x, &Context::train(step))?.eval()?;
            }
            assert_eq!(mean.value().to_vec::<f32>()?, [value; 6]);
            assert!(model.infer(&x)?.to_vec::<f32>()?.iter().all(|&v| v == 0.0));
        }
        // Without momentum the average is the batch's.
        let model = Sequential::new().add(BatchNorm::new().momentum(0.0)).build([1], d)?;
        let mean = model.parameter("batchnorm.moving_mean")?.variable;
        mean.set(Tensor::full([1], 1e8, d)?)?;
        model.forward(&Tensor::full([4, 1], 1.5, d)?, &Context::train(0))?.eval()?;
        assert_eq!(mean.value().item::<f32>()?, 1.5);
        Ok(())
    }

    pub fn normalisation_lost_the_digits_of_a_large_mean(d: Device) -> Result<()> {
        // Quarters around 2^20: exact in f32. Expected values in f64.
        let offsets: Vec<f64> = (0..60).map(|i| ((i * 37 % 60) as f64 - 20.0) / 4.0).collect();
        let x: Vec<f32> = offsets.iter().map(|v| (1_048_576.0 + v) as f32).collect();
        let n = offsets.len() as f64;
        let mean = offsets.iter().sum::<f64>() / n;
        let variance = offsets.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let want: Vec<f64> = offsets.iter().map(|v| (v - mean) / (variance + 1e-3).sqrt()).collect();
        let column = Tensor::from_slice(&x, [60, 1], d)?;
        let batch = Sequential::new().add(BatchNorm::new()).build([1], d)?;
        assert_close(&values(&batch.forward(&column, &Context::train(0))?)?, &want, 1e-6, "BatchNorm");
        let row = column.reshape([1, 60])?;
        let layer = Sequential::new().add(LayerNorm::new()).build([60], d)?;
        assert_close(&values(&layer.infer(&row)?)?, &want, 1e-6, "LayerNorm");
        let group = Sequential::new().add(GroupNorm::new(1)).build([60], d)?;
        assert_close(&values(&group.infer(&row)?)?, &want, 1e-6, "GroupNorm");
        assert_close(&values(&row.var(.., false)?)?, &[variance], 1e-6, "var");
        assert_close(
            &values(&row.var_unbiased(.., false)?)?,
            &[variance * n / (n - 1.0)],
            1e-6,
            "var_unbiased",
        );
        assert_close(&values(&row.std(-1, true)?)?, &[variance.sqrt()], 1e-6, "std");
        // The first element far from all others: what is lost is small beside the deviation.
        let far: Vec<f32> = (0..1000).map(|i| if i == 0 { 1e6 } else { (i % 7) as f32 }).collect();
        let mean = far.iter().map(|&v| f64::from(v)).sum::<f64>() / 1000.0;
        let variance = far.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / 1000.0;
        let want: Vec<f64> = far.iter().map(|&v| (f64::from(v) - mean) / (variance + 1e-3).sqrt()).collect();
        let layer = Sequential::new().add(LayerNorm::new()).build([1000], d)?;
        let got = values(&layer.infer(&Tensor::from_slice(&far, [1, 1000], d)?)?)?;
        assert_close(&got, &want, 2e-6, "LayerNorm with an outlier");
        Ok(())
    }

    pub fn linspace_missed_its_end(d: Device) -> Result<()> {
        for (start, end) in
            [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (1.0, -2.0), (5.0, 5.0), (1e8, 1e8 + 8.0), (-3e38, 3e38)]
        {
            for n in [2, 3, 7, 10, 11, 49, 1000] {
                let v = Tensor::linspace(start, end, n, d)?.to_vec::<f32>()?;
                assert_eq!(
                    (v[0], v[n - 1], v.len()),
                    (start as f32, end as f32, n),
                    "{start} to {end} by {n}"
                );
                let ordered = v.windows(2).all(|w| if start <= end { w[0] <= w[1] } else { w[0] >= w[1] });
                assert!(ordered, "{start} to {end} by {n}: {v:?}");
                for (i, &got) in v.iter().enumerate() {
                    let want = start * (1.0 - i as f64 / (n - 1) as f64) + end * (i as f64 / (n - 1) as f64);
                    let scale = start.abs().max(end.abs());
                    assert!((f64::from(got) - want).abs() <= 6e-8 * scale, "{got} for {want}");
                }
            }
        }
        assert_eq!(Tensor::linspace(3.0, 9.0, 1, d)?.to_vec::<f32>()?, [3.0]);
        assert!(Tensor::linspace(3.0, 9.0, 0, d)?.to_vec::<f32>()?.is_empty());
        assert!(Tensor::linspace(0.0, f64::INFINITY, 3, d).is_err());
        assert!(Tensor::linspace(f64::NAN, 1.0, 3, d).is_err());
        assert!(Tensor::linspace(0.0, 1.0, usize::MAX / 8, d).is_err());
        Ok(())
    }

    pub fn numbers_outside_a_type_were_rounded(d: Device) -> Result<()> {
        let i = Tensor::new([1i32, -2], d)?;
        let u = Tensor::new([1u32, 2], d)?;
        let b = Tensor::new([1u8, 200], d)?;
        let cases: Vec<(Result<Tensor>, &str, &str)> = vec![
            (&i + 0.5, "0.5", "i32"),
            (0.5 * &u, "0.5", "u32"),
            (&b - 300, "300", "0 to 255"),
            (&u + -1, "-1", "0 to 4294967295"),
            (&i / f64::NAN, "NaN", "i32"),
            (i.maximum(2_147_483_648.0), "2147483648", "-2147483648 to 2147483647"),
            (b.pow(0.5), "0.5", "u8"),
            (i.clamp(0.5, 2.0), "0.5", "i32"),
            (b.clamp(0.0, 300.0), "300", "0 to 255"),
            (u.clamp(-1.0, 3.0), "-1", "u32"),
            (i.pad([(1, 0)], 0.25), "0.25", "i32"),
            (b.pad([(0, 2)], -1.0), "-1", "0 to 255"),
            (u.pad([(0, 2)], f64::INFINITY), "inf", "u32"),
            (Tensor::full_dtype([2], 1.5, DType::I32, d), "1.5", "i32"),
            (Tensor::full_dtype([2], 256.0, DType::U8, d), "256", "0 to 255"),
            (Tensor::full_dtype([2], f64::NAN, DType::U32, d), "NaN", "u32"),
            (Tensor::full_dtype([2], 1e39, DType::F32, d), "infinite in f32", "f32"),
            (Tensor::full([2], -1e300, d), "infinite in f32", "f32"),
            (i.gt(0.5), "0.5", "i32"),
            (b.eq(256), "256", "0 to 255"),
            (u.ne(-1), "-1", "u32"),
            (b.eq(1u8)?.select(&i, 0.5), "0.5", "i32"),
            (b.eq(1u8)?.select(3e9, &i), "3000000000", "i32"),
        ];
        for (result, number, range) in cases {
            match result {
                Err(wgrad::Error::Argument { message, .. }) => {
                    assert!(message.contains(number) && message.contains(range), "{message}");
                }
                other => panic!("{number}, {range}: {other:?}"),
            }
        }
        // what fits is taken
        assert_eq!((&i + 2.0)?.to_vec::<i32>()?, [3, 0]);
        assert_eq!(b.clamp(0.0, 255.0)?.to_vec::<u8>()?, [1, 200]);
        assert_eq!(i.clamp(0.0, f64::INFINITY)?.to_vec::<i32>()?, [1, 0]);
        assert_eq!(u.pad([(1, 0)], 4_294_967_295.0)?.to_vec::<u32>()?, [u32::MAX, 1, 2]);
        assert_eq!(Tensor::full_dtype([1], -0.0, DType::U8, d)?.to_vec::<u8>()?, [0]);
        assert_eq!(Tensor::full_dtype([1], f64::INFINITY, DType::F32, d)?.item::<f32>()?, f32::INFINITY);
        Ok(())
    }

    pub fn a_float_literal_filled_with_f64(d: Device) -> Result<()> {
        for value in [Tensor::full([2], 1.0, d)?, Tensor::full([2], 1.0f32, d)?] {
            assert_eq!((value.dtype(), value.to_vec::<f32>()?), (DType::F32, vec![1.0; 2]));
            assert_eq!((value + Tensor::zeros([2], d)?)?.to_vec::<f32>()?, [1.0; 2]);
        }
        assert_eq!(Tensor::full([2], 0.1, d)?.to_vec::<f32>()?, [0.1f32; 2]);
        assert_eq!(Tensor::full([1], 1, d)?.dtype(), DType::I32);
        assert!(Tensor::full([1], f64::NAN, d)?.item::<f32>()?.is_nan());
        let double = Tensor::full_dtype([1], 0.1, DType::F64, Device::Cpu)?;
        assert_eq!(double.to_vec::<f64>()?, [0.1]);
        Ok(())
    }

    pub fn gradients_of_products_overflowed(d: Device) -> Result<()> {
        let inf = f32::INFINITY;
        let cases: [(&[f32], &[f32]); 9] = [
            (&[1e30, 1e30, 1e-30], &[1.0, 1.0, inf]),
            (&[inf, 2.0], &[2.0, inf]),
            (&[1e-30, 1e-30, 1e30], &[1.0, 1.0, 0.0]),
            (&[0.0, 2.0, 3.0], &[6.0, 0.0, 0.0]),
            (&[0.0, 5.0, 0.0], &[0.0, 0.0, 0.0]),
            (&[0.0, 0.0, 0.0], &[0.0, 0.0, 0.0]),
            (&[2.0, -3.0, 4.0, 5.0, -0.5], &[30.0, -20.0, 15.0, 12.0, -120.0]),
            (&[0.0, inf], &[inf, 0.0]),
            (&[7.0], &[1.0]),
        ];
        for (x, want) in cases {
            let got = gradient(x, d, |x| x.prod(.., false))?;
            assert_eq!(got, want, "{x:?}");
        }
        let got = gradient(&[f32::NAN, 3.0, 2.0], d, |x| x.prod(.., false))?;
        assert!(got[0] == 6.0 && got[1].is_nan() && got[2].is_nan(), "{got:?}");
        // over inner axes, with zeros in some rows
        let x =
            Tensor::new([[[1.0f32, 2.0], [0.0, 3.0], [4.0, 5.0]], [[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]], d)?
                .watch()?;
        let y = x.prod(1, false)?;
        let upstream = Tensor::new([[1.0f32, 10.0], [1.0, 10.0]], d)?;
        let got = y.backward_with(&upstream)?.get(&x)?.to_vec::<f32>()?;
        assert_eq!(got, [0.0, 150.0, 4.0, 100.0, 0.0, 60.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        // Second order: d2/dx_i dx_j is the product of the rest, zeros or not.
        for v in [[2.0f32, 0.0, 5.0, 3.0], [0.0, 0.0, 5.0, 3.0], [0.0, 0.0, 0.0, 3.0]] {
            for i in 0..4 {
                let x = vector(&v, d)?.watch()?;
                let first = x.prod(.., false)?.backward()?.get(&x)?;
                let row =
                    first.slice(0, i, 1)?.sum(.., false)?.backward()?.get_or_zeros(&x)?.to_vec::<f32>()?;
                for j in 0..4 {
                    let rest: f32 = (0..4).filter(|&k| k != i && k != j).map(|k| v[k]).product();
                    assert_eq!(row[j], if i == j { 0.0 } else { rest }, "{v:?} {i} {j}");
                }
            }
        }
        Ok(())
    }

    pub fn the_unused_side_of_a_where_made_gradients_nan(d: Device) -> Result<()> {
        type F = fn(&Tensor) -> Result<Tensor>;
        let cases: [(&str, F, &[f32], &[f32]); 13] = [
            ("log", |x| x.gt(0.0)?.select(x.log()?, 0.0), &[0.0, -1.0, 2.0], &[0.0, 0.0, 0.5]),
            ("sqrt", |x| x.gt(0.0)?.select(x.sqrt()?, 0.0), &[0.0, -1.0, 4.0], &[0.0, 0.0, 0.25]),
            ("reciprocal", |x| x.ne(0.0)?.select(x.reciprocal()?, 0.0), &[0.0, 2.0], &[0.0, -0.25]),
            ("1 / x", |x| x.eq(0.0)?.select(7.0, 1.0 / x), &[0.0, 2.0], &[0.0, -0.25]),
            ("x / x", |x| x.eq(0.0)?.select(1.0, x / (x * 1.0)?), &[0.0, 2.0], &[0.0, 0.0]),
            ("exp", |x| x.lt(50.0)?.select(x.exp()?, 1.0), &[200.0, 0.0], &[0.0, 1.0]),
            ("x log x", |x| x.gt(0.0)?.select((x * x.log()?)?, 0.0), &[0.0, 1.0], &[0.0, 1.0]),
            ("x^0.5", |x| x.gt(0.0)?.select(x.pow(0.5)?, 0.0), &[0.0, 4.0], &[0.0, 0.25]),
            ("after neg", |x| x.lt(0.0)?.select(x.neg()?.sqrt()?, 0.0), &[0.0, -4.0], &[0.0, -0.25]),
            ("times inf", |x| x.gt(0.0)?.select((x * x.reciprocal()?)?, x), &[0.0, 2.0], &[1.0, 0.0]),
            (
                "through a view",
                |x| {
                    let y = x.reshape([2, 1])?.log()?.transpose()?.exp()?.reshape([2])?;
                    x.gt(0.0)?.select(y.log()?, 0.0)
                },
                &[0.0, 2.0],
                &[0.0, 0.5],
            ),
            (
                "two of them",
                |x| x.gt(0.0)?.select(x.gt(1.0)?.select((x - 1.0)?.log()?, x.log()?)?, 0.0),
                &[0.0, 1.0, 3.0],
                &[0.0, 1.0, 0.5],
            ),
            (
                "a root behind a sum",
                |x| {
                    let norm = x.square()?.sum(.., true)?.sqrt()?;
                    norm.gt(0.0)?.select((x / &norm)?, 0.0)
                },
                &[0.0, 0.0],
                &[0.0, 0.0],
            ),
        ];
        for (name, f, x, want) in cases {
            let got: Vec<f64> = gradient(x, d, f)?.into_iter().map(f64::from).collect();
            let want: Vec<f64> = want.iter().map(|&v| f64::from(v)).collect();
            assert_close(&got, &want, 1e-6, name);
        }
        // The used side is differentiated as ever, to infinity where it is infinite, and twice where it is twice.
        assert_eq!(gradient(&[0.0], d, |x| x.ge(0.0)?.select(x.sqrt()?, 0.0))?, [f32::INFINITY]);
        let x = vector(&[1.0, 4.0], d)?.watch()?;
        let y = (x.sqrt()? - 1.0)?.square()?; // the upstream gradient of the root is 0 at 1
        let slope = y.sum(.., false)?.backward()?.get(&x)?;
        let second = slope.sum(.., false)?.backward()?.get(&x)?;
        assert_close(&values(&second)?, &[0.5, 0.0625], 1e-6, "second order"); // 1 / (2 x^1.5)
        Ok(())
    }

    pub fn norms_at_zero_had_nan_gradients(d: Device) -> Result<()> {
        let x =
            Tensor::new([[3.0f32, 4.0, 0.0], [0.0, 0.0, 0.0], [1e30, -1e30, 1e30], [1e-30, 0.0, 0.0]], d)?
                .watch()?;
        let norm = x.norm(-1, true)?;
        assert_eq!(norm.dims(), [4, 1]);
        assert_close(&values(&norm)?[..2], &[5.0, 0.0], 1e-6, "norm");
        assert_close(&values(&norm)?[2..3], &[1e30 * 3f64.sqrt()], 1e-6, "large norm");
        assert_close(&values(&norm)?[3..], &[f64::from(1e-30f32)], 1e-6, "small norm");
        let got = values(&norm.sum(.., false)?.backward()?.get(&x)?)?;
        let third = 1.0 / 3f64.sqrt();
        let want = [0.6, 0.8, 0.0, 0.0, 0.0, 0.0, third, -third, third, 1.0, 0.0, 0.0];
        assert_close(&got, &want, 1e-6, "gradient of the norm");
        assert_eq!(x.norm(.., false)?.dims(), [0usize; 0]);
        // unit vectors, 0 for 0
        let unit = (&x / norm.maximum(1e-12)?)?;
        let got = values(&unit.sum(.., false)?.backward()?.get(&x)?)?;
        assert!(got.iter().all(|v| v.is_finite()), "{got:?}");
        let nan = vector(&[f32::NAN, 1.0], d)?;
        assert!(nan.norm(.., false)?.item::<f32>()?.is_nan() && nan.std(.., false)?.item::<f32>()?.is_nan());
        assert_eq!(vector(&[f32::INFINITY, 1.0], d)?.norm(.., false)?.item::<f32>()?, f32::INFINITY);
        // the deviation, of one sample and of equal ones
        let x = Tensor::new([[1.0f32, 2.0, 6.0], [5.0, 5.0, 5.0]], d)?.watch()?;
        let std = x.std(-1, false)?;
        let deviation = (14.0f64 / 3.0).sqrt();
        assert_close(&values(&std)?, &[deviation, 0.0], 1e-6, "std");
        let got = values(&std.sum(.., false)?.backward()?.get(&x)?)?;
        let slope = |v: f64| (v - 3.0) / (3.0 * deviation);
        assert_close(&got, &[slope(1.0), slope(2.0), slope(6.0), 0.0, 0.0, 0.0], 1e-6, "gradient of std");
        assert!(x.slice(1, 0, 1)?.var_unbiased(-1, false)?.to_vec::<f32>()?.iter().all(|v| v.is_nan()));
        assert_close(&values(&x.std_unbiased(-1, false)?)?, &[7f64.sqrt(), 0.0], 1e-6, "std_unbiased");
        assert_eq!(x.var([0, 1], true)?.dims(), [1, 1]);
        Ok(())
    }

    pub fn dropped_infinities_became_nan(d: Device) -> Result<()> {
        let bad = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0];
        let all: Vec<f32> = (0..4000).map(|i| bad[i % 4]).collect();
        let x = Tensor::from_slice(&all, [1000, 1, 1, 4], d)?.watch()?;
        let layers: [(&str, Sequential); 2] = [
            ("Dropout", Sequential::new().add(Dropout::new(0.5))),
            ("SpatialDropout2d", Sequential::new().add(SpatialDropout2d::new(0.5))),
        ];
        for (name, layer) in layers {
            let y = layer.build([1, 1, 4], d)?.forward(&x, &Context::train(3))?;
            let got = y.to_vec::<f32>()?;
            let dropped = got.iter().filter(|&&v| v == 0.0).count();
            assert!((1800..2200).contains(&dropped), "{name}: {dropped} of 4000");
            for (y, x) in got.iter().zip(&all) {
                let kept = if x.is_nan() { y.is_nan() } else { *y == 2.0 * x };
                assert!(kept || *y == 0.0, "{name}: {y} of {x}");
            }
            // An upstream gradient that is infinite where something was dropped, too.
            let upstream = Tensor::full(y.dims(), f32::INFINITY, d)?;
            let slope = y.backward_with(&upstream)?.get(&x)?.to_vec::<f32>()?;
            for (slope, y) in slope.iter().zip(&got) {
                assert_eq!(*slope, if *y == 0.0 { 0.0 } else { f32::INFINITY }, "{name}: gradient where {y}");
            }
        }
        let noisy = Sequential::new().add(GaussianNoise::new(0.5)).build([1, 1, 4], d)?;
        let y = noisy.forward(&x, &Context::train(3))?.to_vec::<f32>()?;
        assert!(y[0] == f32::INFINITY && y[1] == f32::NEG_INFINITY && y[2].is_nan() && y[3].is_finite());
        Ok(())
    }

    pub fn draws_of_one_seed_were_alike(d: Device) -> Result<()> {
        let n = 20_000;
        for seed in [0, 1, 2, 42, u64::MAX] {
            let next = seed.wrapping_add(1);
            let mask = |seed| {
                let layer = Sequential::new().add(Dropout::new(0.5)).build([n], d)?;
                layer.forward(&Tensor::ones([1, n], d)?, &Context::train(seed))
            };
            let draws = [
                ("rand", values(&Tensor::rand([n], d, seed)?)?),
                ("randn", values(&Tensor::randn([n], d, seed)?)?),
                ("randint", values(&Tensor::randint(0, 1000, [n], d, seed)?)?),
                ("dropout", values(&mask(seed)?)?),
                ("rand of another shape", values(&Tensor::rand([n + 1], d, seed)?)?),
                ("rand of another rank", values(&Tensor::rand([100, n / 100], d, seed)?)?),
                ("randn of another shape", values(&Tensor::randn([n / 4, 4], d, seed)?)?),
                ("rand of the next seed", values(&Tensor::rand([n], d, next)?)?),
                ("randn of the next seed", values(&Tensor::randn([n], d, next)?)?),
                ("randint of the next seed", values(&Tensor::randint(0, 1000, [n], d, next)?)?),
            ];
            // Five deviations of the coefficient of independent numbers, 1 / sqrt(n); shifted by one place, too.
            for (i, (left, a)) in draws.iter().enumerate() {
                for (right, b) in &draws[i + 1..] {
                    for r in [correlation(a, b), correlation(&a[1..], b), correlation(a, &b[1..])] {
                        assert!(r.abs() < 5.0 / (n as f64).sqrt(), "{left} and {right} of {seed}: {r}");
                    }
                }
            }
        }
        let again = || Tensor::randn([64], d, 9)?.to_vec::<f32>();
        assert_eq!(again()?, again()?);
        Ok(())
    }
}
