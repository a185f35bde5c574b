//! Making tensors and reading them back, the same on both devices.

mod common;

use common::parity::same_on_both;
use common::{assert_close, values};
use wgrad::prelude::*;

on_both_devices! {
    ranges_and_constants;
    nested_arrays;
    arrays_of_ndarray;
    printing;
    asynchronous_reading;
    one_element_is_read_as_a_type_that_holds_it;
    random_numbers_have_their_moments;
    whole_numbers_stay_in_range;
}

mod checks {
    use super::*;

    pub fn one_element_is_read_as_a_type_that_holds_it(d: Device) -> Result<()> {
        assert_eq!(Tensor::new(0.1f32, d)?.item::<f64>()?, f64::from(0.1f32));
        assert!(Tensor::new(f32::NAN, d)?.item::<f64>()?.is_nan());
        assert_eq!(Tensor::new(-7i32, d)?.item::<f64>()?, -7.0);
        assert_eq!(Tensor::new(u32::MAX, d)?.item::<f64>()?, 4_294_967_295.0);
        let byte = Tensor::new(200u8, d)?;
        assert_eq!((byte.item::<f32>()?, byte.item::<i32>()?, byte.item::<u32>()?), (200.0, 200, 200));
        let says = |e: wgrad::Error| e.to_string();
        let error = says(Tensor::new(16_777_217i32, d)?.item::<f32>().unwrap_err());
        assert_eq!(
            error,
            "item: the tensor holds i32, f32 was asked for and does not hold all i32; cast it first"
        );
        assert!(
            Tensor::new(1.0f32, d)?.item::<i32>().is_err() && Tensor::new(1u32, d)?.item::<i32>().is_err()
        );
        assert!(Tensor::new(1i32, d)?.item::<u8>().is_err());
        assert!(Tensor::new(1.0f32, d)?.to_vec::<f64>().is_err());
        Ok(())
    }

    pub fn ranges_and_constants(d: Device) -> Result<()> {
        assert_eq!(Tensor::arange(-3, 4, d)?.to_vec::<i32>()?, [-3, -2, -1, 0, 1, 2, 3]);
        assert!(Tensor::arange(7, 7, d)?.to_vec::<i32>()?.is_empty());
        let big = Tensor::arange(16_777_210, 16_777_220, d)?.to_vec::<i32>()?;
        assert_eq!(big, (16_777_210..16_777_220).collect::<Vec<_>>());
        assert_eq!(Tensor::eye(3, d)?.to_vec::<f32>()?, [1., 0., 0., 0., 1., 0., 0., 0., 1.]);
        assert_close(
            &values(&Tensor::linspace(-1.0, 1.0, 5, d)?)?,
            &[-1.0, -0.5, 0.0, 0.5, 1.0],
            1e-6,
            "linspace",
        );
        assert_eq!(Tensor::full([2, 2], 7u8, d)?.to_vec::<u8>()?, [7; 4]);
        assert_eq!(Tensor::full([3], -5i32, d)?.to_vec::<i32>()?, [-5; 3]);
        assert_eq!(Tensor::full([], u32::MAX, d)?.item::<u32>()?, u32::MAX);
        assert!(Tensor::zeros([2, 0, 3], d)?.to_vec::<f32>()?.is_empty());
        assert_eq!(Tensor::ones([2], d)?.zeros_like()?.to_vec::<f32>()?, [0.0; 2]);
        let labels = Tensor::new([[2u8, 0], [9, 1]], d)?;
        let hot = labels.one_hot(3)?;
        assert_eq!(hot.dims(), [2, 2, 3]);
        assert_eq!(hot.to_vec::<f32>()?, [0., 0., 1., 1., 0., 0., 0., 0., 0., 0., 1., 0.]);
        Ok(())
    }

    /// Without the feature there is nothing to check.
    pub fn arrays_of_ndarray(_d: Device) -> Result<()> {
        #[cfg(feature = "ndarray")]
        {
            let t = Tensor::new([[[1i32, 2], [3, 4]], [[5, 6], [7, 8]]], _d)?;
            let array = t.permute([2, 0, 1])?.to_ndarray::<i32>()?;
            assert_eq!(array[[1, 0, 1]], 4);
            let strided = array.view().reversed_axes();
            let back = Tensor::from_ndarray(&strided, _d)?;
            assert_eq!(back.to_ndarray::<i32>()?, strided.to_owned());
        }
        Ok(())
    }

    pub fn nested_arrays(d: Device) -> Result<()> {
        let t = Tensor::new([[[1i32, 2], [3, 4]], [[5, 6], [7, 8]]], d)?;
        assert_eq!((t.dims(), t.dtype(), t.device()), (&[2, 2, 2][..], DType::I32, d));
        assert_eq!(Tensor::new(2.5f32, d)?.item::<f32>()?, 2.5);
        assert_eq!(Tensor::new(vec![[1u8, 2, 3]], d)?.to_device(Device::Cpu)?.to_vec::<u8>()?, [1, 2, 3]);
        Ok(())
    }

    pub fn printing(d: Device) -> Result<()> {
        let t = Tensor::new([[1.0f32, -2.5], [0.25, 10.0]], d)?;
        assert_eq!(t.to_string(), "[[ 1.00 -2.50]\n [ 0.25 10.00]]");
        assert_eq!(t.gt(0.0)?.to_string(), "[[1 0]\n [1 1]]");
        let pending = (&t + 1.0)?;
        assert_eq!(format!("{pending:?}"), format!("Tensor(f32 [2, 2] on {d}, add, pending)"));
        Ok(())
    }

    pub fn asynchronous_reading(d: Device) -> Result<()> {
        let t = (Tensor::arange(0, 1000, d)? * 2)?;
        let (list, sum) = pollster::block_on(async {
            let sum = t.sum(.., false)?;
            Ok::<_, wgrad::Error>((t.to_vec_async::<i32>().await?, sum.item_async::<i32>().await?))
        })?;
        assert_eq!((list[999], sum), (1998, 999_000));
        Ok(())
    }

    pub fn random_numbers_have_their_moments(d: Device) -> Result<()> {
        let n = 100_000;
        let moments = |t: Tensor| -> Result<[f64; 3]> {
            let v = values(&t)?;
            let mean = v.iter().sum::<f64>() / n as f64;
            let moment = |p: i32| v.iter().map(|x| (x - mean).powi(p)).sum::<f64>() / n as f64;
            Ok([mean, moment(2), moment(4)])
        };
        // five standard deviations of each moment's estimate
        let near = |got: f64, want: f64, sigma: f64| {
            assert!((got - want).abs() < 5.0 * sigma, "{got}, expected {want}")
        };
        let root = (n as f64).sqrt();
        let [mean, variance, _] = moments(Tensor::rand([n], d, 1)?)?;
        near(mean, 0.5, 0.2887 / root);
        near(variance, 1.0 / 12.0, 0.0745 / root);
        let [mean, variance, fourth] = moments(Tensor::randn([n], d, 2)?)?;
        near(mean, 0.0, 1.0 / root);
        near(variance, 1.0, std::f64::consts::SQRT_2 / root);
        near(fourth, 3.0, 9.8 / root);
        let (a, b) = (Tensor::rand([50], d, 5)?.to_vec::<f32>()?, Tensor::rand([50], d, 6)?.to_vec::<f32>()?);
        assert!(a != b && a.iter().all(|v| (0.0..1.0).contains(v)));
        Ok(())
    }

    pub fn whole_numbers_stay_in_range(d: Device) -> Result<()> {
        let t = Tensor::randint(-2, 3, [5000], d, 9)?.to_vec::<i32>()?;
        for v in -2..3 {
            let count = t.iter().filter(|&&x| x == v).count();
            assert!((850..1150).contains(&count), "{v} came {count} times in 5,000");
        }
        assert!(t.iter().all(|v| (-2..3).contains(v)));
        Ok(())
    }
}

#[test]
fn casts_of_f64() -> Result<()> {
    let x = Tensor::new([-1.5f64, 0.1, 255.9, 256.0, 1e300, f64::NAN], Device::Cpu)?;
    assert_eq!(x.cast(DType::I32)?.to_vec::<i32>()?, [-1, 0, 255, 256, i32::MAX, 0]);
    assert_eq!(x.cast(DType::U8)?.to_vec::<u8>()?, [0, 0, 255, 255, 255, 0]);
    assert_eq!(x.cast(DType::U32)?.to_vec::<u32>()?[..4], [0, 0, 255, 256]);
    let single = x.cast(DType::F32)?.to_vec::<f32>()?;
    assert_eq!(single[..5], [-1.5, 0.1, 255.9, 256.0, f32::INFINITY]);
    for dtype in [DType::F32, DType::I32, DType::U32, DType::U8] {
        let whole = Tensor::new([0.0f64, 1.0, 200.0], Device::Cpu)?;
        assert_eq!(whole.cast(dtype)?.cast(DType::F64)?.to_vec::<f64>()?, [0.0, 1.0, 200.0], "{dtype}");
    }
    Ok(())
}

#[test]
fn a_seed_gives_the_same_numbers_everywhere() -> Result<()> {
    for n in [1, 3, 4, 1001] {
        same_on_both("rand and randint", 0.0, |d| {
            Ok(vec![
                Tensor::rand([n, 3], d, u64::MAX - 7)?,
                Tensor::randint(-100, 1000, [n], d, 3)?,
                Tensor::rand([2, n], d, 1)?.transpose()?.slice(0, n / 2, 1)?,
            ])
        })?;
        // the logarithm inside may round differently
        same_on_both("randn", 1e-6, |d| {
            Ok(vec![Tensor::randn([n, 5], d, 42)?, (Tensor::randn([n], d, 1)? * 2.0)?])
        })?;
    }
    Ok(())
}

/// How often what was drawn is what its probability says, within five standard deviations; and the same on both devices.
#[test]
fn draws_have_their_probabilities() -> Result<()> {
    let near = |count: usize, of: usize, p: f64| {
        let (n, expected) = (of as f64, of as f64 * p);
        assert!(
            (count as f64 - expected).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt(),
            "{count} of {of} at {p}"
        );
    };
    let p = [0.0f32, 0.1, 0.5, 0.9, 1.0, -1.0, 2.0, f32::NAN];
    let both = |f: &dyn Fn(Device) -> Result<Vec<i32>>| -> Result<Vec<i32>> {
        let (cpu, gpu) = (f(Device::Cpu)?, f(Device::Gpu)?);
        assert_eq!(cpu, gpu);
        Ok(cpu)
    };
    let drawn = both(&|device| {
        let p = Tensor::new([p], device)?.broadcast_to([5000, 8])?;
        p.bernoulli(3)?.cast(DType::I32)?.to_vec()
    })?;
    for (c, p) in [0.0, 0.1, 0.5, 0.9, 1.0, 0.0, 1.0, 0.0].into_iter().enumerate() {
        near(drawn.iter().skip(c).step_by(8).filter(|&&v| v == 1).count(), 5000, p);
    }
    let weights = [[1.0f32, 0.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1e-30]];
    let drawn = both(&|device| Tensor::new(weights, device)?.multinomial(20_000, true, 5)?.to_vec())?;
    for (c, p) in [0.125, 0.0, 0.375, 0.5].into_iter().enumerate() {
        near(drawn[..20_000].iter().filter(|&&v| v as usize == c).count(), 20_000, p);
    }
    assert!(drawn[20_000..].iter().all(|&c| c == 3));
    // Without replacement: the first by its weight, the second by what is left.
    let drawn = both(&|device| {
        let rows = Tensor::new([[1.0f32, 0.0, 3.0, 4.0]], device)?.broadcast_to([8000, 4])?;
        rows.multinomial(2, false, 5)?.to_vec()
    })?;
    let count = |a: i32, b: i32| drawn.chunks(2).filter(|pair| **pair == [a, b]).count();
    for (a, b, p) in [
        (0, 2, 3.0 / 56.0),
        (2, 0, 0.375 * 0.2),
        (3, 0, 0.125),
        (3, 2, 0.375),
        (0, 3, 4.0 / 56.0),
        (2, 3, 0.3),
    ] {
        near(count(a, b), 8000, p);
    }
    let order = both(&|device| Tensor::randperm(1000, device, 4)?.to_vec())?;
    assert_ne!(order, Tensor::randperm(1000, Device::Cpu, 5)?.to_vec::<i32>()?);
    let x = both(&|device| Tensor::arange(0, 1000, device)?.shuffle(0, 4)?.to_vec())?;
    assert_eq!(x, order);
    assert_eq!(Tensor::randperm(0, Device::Cpu, 1)?.dims(), [0]);
    Ok(())
}

#[test]
fn f64_is_read_and_made_in_full_precision() -> Result<()> {
    let d = Device::Cpu;
    assert_eq!(Tensor::new(0.1f64, d)?.item::<f32>()?, 0.1f32);
    assert_eq!(Tensor::new(1e300f64, d)?.item::<f32>()?, f32::INFINITY);
    let line = Tensor::linspace_dtype(0.0, 1.0, 11, DType::F64, d)?.to_vec::<f64>()?;
    assert_close(&line, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 1e-15, "linspace in f64");
    let wide = Tensor::linspace_dtype(f64::MAX, -f64::MAX, 3, DType::F64, d)?.to_vec::<f64>()?;
    assert_eq!(wide, [f64::MAX, 0.0, -f64::MAX]);
    assert_eq!(Tensor::linspace_dtype(1.0, 2.0, 1, DType::F64, d)?.to_vec::<f64>()?, [1.0]);
    assert!(Tensor::linspace_dtype(1.0, 2.0, 0, DType::F64, d)?.to_vec::<f64>()?.is_empty());
    let error = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert!(error(Tensor::linspace_dtype(0.0, 1e39, 2, DType::F32, d)).contains("is not finite in f32"));
    assert!(error(Tensor::linspace_dtype(0.0, f64::NAN, 2, DType::F64, d)).contains("is not finite in f64"));
    assert!(error(Tensor::linspace_dtype(0.0, 1.0, 2, DType::I32, d)).contains("expected a float type"));
    let uniform: fn([usize; 1], DType, Device, u64) -> Result<Tensor> =
        |n, t, d, s| Tensor::rand_dtype(n, t, d, s);
    for draw in [uniform, |n, t, d, s| Tensor::randn_dtype(n, t, d, s)] {
        assert!(error(draw([3], DType::U8, d, 1)).contains("expected a float type, f32 or f64, got u8"));
        assert!(error(draw([3], DType::F64, Device::Gpu, 1)).contains("f64 exists on Device::Cpu only"));
        let (single, double) = (draw([5000], DType::F32, d, 7)?, draw([5000], DType::F64, d, 7)?);
        assert_eq!(double.to_vec::<f64>()?, draw([5000], DType::F64, d, 7)?.to_vec::<f64>()?);
        let (single, double) = (values(&single)?, values(&double)?);
        let off = single.iter().zip(&double).filter(|(s, _)| s.abs() < 3.0).map(|(s, d)| (s - d).abs());
        assert!(off.fold(0.0, f64::max) < 1e-5);
        assert!(double.iter().filter(|&&v| f64::from(v as f32) != v).count() > 4900);
    }
    assert_eq!(values(&Tensor::rand_dtype([9], DType::F32, d, 3)?)?, values(&Tensor::rand([9], d, 3)?)?);
    // The first two moments, and the share beyond two deviations, of a hundred thousand.
    let x = Tensor::randn_dtype([100_000], DType::F64, d, 1)?;
    assert!(x.mean(.., false)?.item::<f64>()?.abs() < 0.01);
    assert!((x.square()?.mean(.., false)?.item::<f64>()? - 1.0).abs() < 0.02);
    let beyond = x.abs()?.gt(2.0)?.cast(DType::F64)?.mean(.., false)?.item::<f64>()?;
    assert!((beyond - 0.0455).abs() < 0.002, "{beyond}");
    Ok(())
}
