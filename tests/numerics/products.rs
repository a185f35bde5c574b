//! Matrix products and convolutions over long sums.
//!
//! Like terms are the worst case of a long sum: every rounding goes in the same direction. The right value is the product
//! in f64 of the f32 that `0.1` is, times the number of terms.

use crate::common::{DEVICES, Rng, values};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, Pool2dOptions};

/// How far sums may be off, relative to the sum of their terms' magnitudes.
const BOUND: f64 = 1e-6;

fn tenth() -> f64 {
    f64::from(0.1f32)
}

#[track_caller]
fn all_near(t: &Tensor, want: f64, what: &str) -> Result<()> {
    let worst = values(t)?.into_iter().map(|v| (v - want).abs() / want.abs()).fold(0.0, f64::max);
    assert!(worst <= BOUND, "{what} on {}: {worst:.2e} off, {BOUND:.0e} allowed", t.device());
    Ok(())
}

#[test]
fn dot_products_of_like_terms_keep_their_digits() -> Result<()> {
    for device in DEVICES {
        for k in [1000, 5000, 1_000_003, 16_000_000] {
            let a = Tensor::full([1, k], 0.1f32, device)?;
            let b = Tensor::ones([k, 1], device)?;
            all_near(&a.matmul(&b)?, tenth() * k as f64, &format!("dot of {k}"))?;
        }
    }
    Ok(())
}

#[test]
fn products_over_a_long_k_keep_their_digits_in_every_layout() -> Result<()> {
    for device in DEVICES {
        for [m, n, k] in [[3, 5, 70_001], [33, 40, 20_000], [8, 64, 100_000], [64, 4, 40_004]] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                let a = Tensor::full(if ta { [k, m] } else { [m, k] }, 0.1f32, device)?;
                let b = Tensor::ones(if tb { [n, k] } else { [k, n] }, device)?;
                let a = if ta { a.transpose()? } else { a };
                let b = if tb { b.transpose()? } else { b };
                let what = format!("[{m}, {k}] x [{k}, {n}], transposed {ta} {tb}");
                all_near(&a.matmul(&b)?, tenth() * k as f64, &what)?;
            }
        }
    }
    Ok(())
}

#[test]
fn products_of_random_numbers_over_a_long_k_are_near_float64() -> Result<()> {
    let [m, n, k] = [7, 9, 150_001];
    let mut rng = Rng(5);
    let mut numbers = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.uniform(-1.0, 1.0) as f32).collect() };
    let (a, b) = (numbers(m * k), numbers(k * n));
    for device in DEVICES {
        let x = Tensor::from_slice(&a, [m, k], device)?;
        let y = Tensor::from_slice(&b, [k, n], device)?;
        let got = x.matmul(&y)?.to_vec::<f32>()?;
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let terms = || (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j]));
            let (want, scale) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            let off = (f64::from(got[i * n + j]) - want).abs() / scale;
            assert!(off <= BOUND, "({i}, {j}) on {device}: {off:.2e} off");
        }
    }
    Ok(())
}

/// The weight's gradient sums over all pixels of all images.
#[test]
fn weight_gradients_of_convolutions_over_many_pixels_keep_their_digits() -> Result<()> {
    // images, height and width, channels in and out, groups
    for [n, size, cin, cout, groups] in [
        [4, 130, 3, 8, 1],
        [4, 130, 1, 32, 1],
        [2, 130, 16, 16, 16],
        [2, 130, 16, 32, 2],
        [1, 302, 5, 6, 1],
        [1, 302, 6, 6, 3],
    ] {
        for device in DEVICES {
            let x = Tensor::full([n, size, size, cin], 0.1f32, device)?;
            let w = Tensor::zeros([3, 3, cin / groups, cout], device)?.watch()?;
            let y = x.conv2d(&w, Conv2dOptions::new().groups(groups))?;
            let upstream = Tensor::ones(y.dims(), device)?;
            let dw = y.backward_with(&upstream)?.get(&w)?;
            let pixels = n * (size - 2) * (size - 2);
            let what = format!("{cin} to {cout} channels, {groups} groups, {pixels} pixels");
            all_near(&dw, tenth() * pixels as f64, &what)?;
        }
    }
    Ok(())
}

#[test]
fn convolutions_over_many_channels_and_taps_keep_their_digits() -> Result<()> {
    for device in DEVICES {
        for [kernel, cin, cout, groups] in [[3, 512, 8, 1], [25, 16, 4, 1], [21, 4, 4, 4], [1, 4096, 5, 1]] {
            let size = kernel + 2;
            let x = Tensor::full([1, size, size, cin], 0.1f32, device)?.watch()?;
            let w = Tensor::ones([kernel, kernel, cin / groups, cout], device)?;
            let y = x.conv2d(&w, Conv2dOptions::new().groups(groups))?;
            let what = format!("{kernel}x{kernel}, {cin} channels, {groups} groups");
            all_near(&y, tenth() * (kernel * kernel * cin / groups) as f64, &what)?;
        }
    }
    Ok(())
}

#[test]
fn average_pooling_with_large_windows_keeps_its_digits() -> Result<()> {
    for device in DEVICES {
        let (size, kernel) = (300, 260);
        let x = Tensor::full([1, size, size, 2], 0.1f32, device)?.watch()?;
        let y = x.avg_pool2d(Pool2dOptions::new([kernel, kernel]).stride([1, 1]))?;
        assert_eq!(y.dims(), [1, 41, 41, 2]);
        all_near(&y, tenth(), "the mean of like numbers")?;
        // The middle lies in all 41 x 41 windows.
        let dx = y.backward_with(&Tensor::full(y.dims(), 0.1f32, device)?)?.get(&x)?;
        let middle = dx.slice(1, 40, 220)?.slice(2, 40, 220)?;
        all_near(&middle, tenth() * 1681.0 / 67_600.0, "the gradient in the middle")?;
        let corner = values(&dx)?[0];
        assert!((corner * 67_600.0 / tenth() - 1.0).abs() <= BOUND, "corner {corner}");
    }
    Ok(())
}
