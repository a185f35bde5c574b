//! Long rows, windows and runs of one index, against float64.

use super::sums::assert_digits;
use crate::common::Rng;
use crate::on_both_devices;
use wgrad::Pool2dOptions;
use wgrad::prelude::*;

on_both_devices! {
    softmax_of_rows_of_millions_of_columns;
    cross_entropy_of_rows_of_millions_of_columns;
    cross_entropy_of_equal_logits_keeps_six_digits;
    one_nan_or_infinity_in_a_long_row_is_in_all_of_it;
    an_index_that_comes_a_hundred_thousand_times_gets_every_gradient;
    windows_of_seventy_thousand_places_are_pooled_whole;
    gradients_of_overlapping_windows_of_thousands_of_places;
    means_of_large_windows_keep_six_digits;
}

/// Logits of a row, no pattern, and the logarithm of the sum of their exponentials, by float64.
fn row(cols: usize, seed: u64) -> (Vec<f32>, f64) {
    let mut rng = Rng(seed);
    let values: Vec<f32> = (0..cols).map(|_| rng.uniform(-3.0, 3.0) as f32).collect();
    let sum: f64 = values.iter().map(|&v| f64::from(v).exp()).sum();
    (values, sum.ln())
}

/// The largest difference of the elements, relative to what they should be.
fn worst(got: &[f32], want: impl Iterator<Item = f64>) -> f64 {
    let errors =
        got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs() / want.abs().max(1e-30));
    errors.fold(0.0, |worst, e| if e > worst || e.is_nan() { e } else { worst })
}

mod checks {
    use super::*;

    pub fn softmax_of_rows_of_millions_of_columns(device: Device) -> Result<()> {
        // odd and even, one pass and several, more parts than one pass combines
        for (rows, cols) in [(3, 2047), (2, 2051), (3, 8196), (2, 50_000), (1, 5_600_001), (1, 10_000_000)] {
            let all: Vec<(Vec<f32>, f64)> = (0..rows).map(|r| row(cols, r as u64)).collect();
            let values: Vec<f32> = all.iter().flat_map(|(row, _)| row.iter().copied()).collect();
            let x = Tensor::from_vec(values, [rows, cols], device)?;
            let (y, log) = (x.softmax(-1)?.to_vec::<f32>()?, x.log_softmax(-1)?.to_vec::<f32>()?);
            for (r, (row, log_sum)) in all.iter().enumerate() {
                let shifted = || row.iter().map(|&v| f64::from(v) - log_sum);
                let error = worst(&y[r * cols..][..cols], shifted().map(f64::exp));
                assert!(error < 1.5e-6, "softmax, row {r} of {rows}x{cols}: {error:e}");
                let error = worst(&log[r * cols..][..cols], shifted());
                assert!(error < 1e-6, "log_softmax, row {r} of {rows}x{cols}: {error:e}");
            }
        }
        Ok(())
    }

    pub fn cross_entropy_of_rows_of_millions_of_columns(device: Device) -> Result<()> {
        for (rows, cols) in [(2, 2049), (3, 20_000), (1, 5_600_001), (1, 7_000_000)] {
            let all: Vec<(Vec<f32>, f64)> = (0..rows).map(|r| row(cols, 10 + r as u64)).collect();
            let values: Vec<f32> = all.iter().flat_map(|(row, _)| row.iter().copied()).collect();
            let labels: Vec<u32> = (0..rows).map(|r| [cols - 1, 0, cols / 2][r] as u32).collect();
            let x = Tensor::from_vec(values, [rows, cols], device)?.watch()?;
            let losses = x.cross_entropy_rows(&Tensor::from_slice(&labels, [rows], device)?)?;
            let slope = losses.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
            for (r, got) in losses.to_vec::<f32>()?.into_iter().enumerate() {
                let (row, log_sum) = &all[r];
                let label = labels[r] as usize;
                let want = log_sum - f64::from(row[label]);
                assert_digits(got, want, want, &format!("sparse loss {r} of {rows}x{cols}"));
                let p = row.iter().map(|&v| (f64::from(v) - log_sum).exp());
                let want = p.enumerate().map(|(c, p)| if c == label { p - 1.0 } else { p });
                let error = worst(&slope[r * cols..][..cols], want);
                assert!(error < 1.5e-6, "sparse gradient {r} of {rows}x{cols}: {error:e}");
            }
            // targets of any mass, a tenth of them zero
            let mut rng = Rng(5);
            let targets: Vec<f32> = (0..rows * cols)
                .map(|i| if i % 10 == 0 { 0.0 } else { rng.uniform(0.0, 2e-6) as f32 })
                .collect();
            let losses = x.cross_entropy_rows(&Tensor::from_slice(&targets, [rows, cols], device)?)?;
            let slope = losses.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
            for (r, got) in losses.to_vec::<f32>()?.into_iter().enumerate() {
                let (row, log_sum) = &all[r];
                let targets = &targets[r * cols..][..cols];
                let terms = row.iter().zip(targets).map(|(&v, &p)| f64::from(p) * (log_sum - f64::from(v)));
                let want: f64 = terms.sum();
                assert_digits(got, want, want, &format!("dense loss {r} of {rows}x{cols}"));
                let mass: f64 = targets.iter().map(|&p| f64::from(p)).sum();
                let magnitude = mass / cols as f64;
                for (c, (&v, &p)) in row.iter().zip(targets).enumerate() {
                    let spread = mass * (f64::from(v) - log_sum).exp();
                    let (got, want) = (f64::from(slope[r * cols + c]), spread - f64::from(p));
                    let error = (got - want).abs() / (magnitude + spread + f64::from(p));
                    assert!(error < 1.5e-6, "dense gradient {r}, {c} of {rows}x{cols}: {got} {want}");
                }
            }
        }
        Ok(())
    }

    pub fn cross_entropy_of_equal_logits_keeps_six_digits(device: Device) -> Result<()> {
        for (cols, value) in [(300_000usize, 0.1f32), (1_000_003, 7.3), (4096, -2.0), (60_000, 0.0)] {
            let x = Tensor::from_vec(vec![value; cols], [1, cols], device)?;
            let want = (cols as f64).ln();
            let uniform = Tensor::from_vec(vec![1.0 / cols as f32; cols], [1, cols], device)?;
            // what the targets sum up to, each being rounded
            let mass = f64::from(1.0 / cols as f32) * cols as f64;
            assert_digits(
                x.cross_entropy_rows(&uniform)?.sum(.., false)?.item()?,
                want * mass,
                want,
                "dense",
            );
            let label = Tensor::new([cols as u32 - 1], device)?;
            assert_digits(x.cross_entropy_rows(&label)?.sum(.., false)?.item()?, want, want, "sparse");
            for p in x.softmax(-1)?.to_vec::<f32>()? {
                assert_digits(p, 1.0 / cols as f64, 1.0 / cols as f64, "softmax");
            }
        }
        Ok(())
    }

    pub fn one_nan_or_infinity_in_a_long_row_is_in_all_of_it(device: Device) -> Result<()> {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for cols in [2000usize, 9000, 100_003] {
            for (r, at) in [0, cols / 2, cols - 1].into_iter().enumerate() {
                let mut values = vec![0.5f32; 4 * cols];
                (values[r * cols + at], values[3 * cols + at]) = (nan, inf);
                let x = Tensor::from_slice(&values, [4, cols], device)?.watch()?;
                let bad = |row: usize| row == r || row == 3;
                let labels = Tensor::new([1u32, 2, 3, 4], device)?;
                let hot = labels.one_hot(cols)?;
                for losses in [x.cross_entropy_rows(&labels)?, x.cross_entropy_rows(&hot)?] {
                    let slope = losses.sum(.., false)?.backward()?.get(&x)?;
                    for (row, loss) in losses.to_vec::<f32>()?.into_iter().enumerate() {
                        assert_eq!(loss.is_nan(), bad(row), "loss {row} of {cols}, {r}");
                    }
                    for (i, v) in slope.to_vec::<f32>()?.into_iter().enumerate() {
                        assert_eq!(v.is_nan(), bad(i / cols), "gradient {i} of {cols}, {r}");
                    }
                }
                for y in [x.softmax(-1)?, x.log_softmax(-1)?] {
                    for (i, v) in y.to_vec::<f32>()?.into_iter().enumerate() {
                        assert_eq!(v.is_nan(), bad(i / cols), "{i} of {cols}, {r}");
                    }
                }
            }
            // -inf has no part in a row, however many there are of them, and nothing else is no row at all
            let mut values = vec![-inf; 2 * cols];
            (values[cols - 1], values[3]) = (1.0, 1.0);
            let x = Tensor::from_vec(values, [2, cols], device)?;
            let y = x.softmax(-1)?.to_vec::<f32>()?;
            assert_eq!((y[3], y[cols - 1], y[4]), (0.5, 0.5, 0.0));
            assert!(y[cols..].iter().all(|v| v.is_nan()));
            let losses = x.cross_entropy_rows(&Tensor::new([3u32, 0], device)?)?.to_vec::<f32>()?;
            assert!((losses[0] - 2f32.ln()).abs() < 1e-6 && losses[1].is_nan(), "{losses:?}");
        }
        Ok(())
    }

    pub fn an_index_that_comes_a_hundred_thousand_times_gets_every_gradient(device: Device) -> Result<()> {
        // one index all the time; another now and then; runs that end inside of a chunk
        for (count, inner, often) in
            [(100_003usize, 4usize, 1usize), (70_000, 3, 3), (300_001, 1, 100_000), (5000, 2, 300)]
        {
            let picks: Vec<u32> =
                (0..count).map(|j| if j % often == often - 1 && often > 1 { 2 } else { 1 }).collect();
            let times = picks.iter().filter(|&&p| p == 1).count();
            let table = Tensor::zeros([4, inner], device)?.watch()?;
            let picked = table.index_select(0, &Tensor::from_vec(picks, [count], device)?)?;
            for value in [0.1f32, 1.4577] {
                let slope = Tensor::from_vec(vec![value; count * inner], [count, inner], device)?;
                let grads = (&picked * slope)?.sum(.., false)?.backward()?.get(&table)?.to_vec::<f32>()?;
                for (i, got) in grads.into_iter().enumerate() {
                    let terms = [0, times, count - times, 0][i / inner];
                    let want = terms as f64 * f64::from(value);
                    assert_digits(got, want, want.max(1e-9), &format!("{terms} times {value} at {i}"));
                }
            }
        }
        Ok(())
    }

    pub fn windows_of_seventy_thousand_places_are_pooled_whole(device: Device) -> Result<()> {
        let long = 70_000;
        for (dims, kernel) in [
            ([1, 1, long, 1], [1, long]),
            ([2, long, 1, 4], [long, 1]),
            ([1, long + 2, 1, 3], [long, 1]),
            ([1, 270, 265, 1], [270, 265]),
        ] {
            let count: usize = dims.iter().product();
            let [n, h, w, c] = dims;
            let (oh, ow) = (h - kernel[0] + 1, w - kernel[1] + 1);
            let options = Pool2dOptions::new(kernel).stride([1, 1]);
            let mut rng = Rng(2);
            let mut values: Vec<f32> = (0..count).map(|_| (rng.bits() % 1000) as f32).collect();
            for at in [count - 1, count - 2 - count / 3, 4 * c] {
                // twice: the first of equals gets the gradient
                (values[at], values[at.min(count - 2) + 1]) = (2000.0, 2000.0);
                let x = Tensor::from_slice(&values, dims, device)?.watch()?;
                let y = x.max_pool2d(options)?;
                let weights: Vec<f32> = (0..y.numel()).map(|i| 1.0 + i as f32).collect();
                let weighted = (&y * Tensor::from_slice(&weights, y.shape(), device)?)?;
                let slope = weighted.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
                let mut want = vec![0f32; count];
                for (i, got) in y.to_vec::<f32>()?.into_iter().enumerate() {
                    let (b, oy, ox, ch) = (i / c / ow / oh, i / c / ow % oh, i / c % ow, i % c);
                    let places = (0..kernel[0] * kernel[1])
                        .map(|k| ((b * h + oy + k / kernel[1]) * w + ox + k % kernel[1]) * c + ch);
                    let best =
                        places.reduce(|best, p| if values[p] > values[best] { p } else { best }).unwrap();
                    assert_eq!(got, values[best], "window {i} of {dims:?}");
                    want[best] += weights[i];
                }
                assert_eq!(slope, want, "gradient of {dims:?} with the maximum at {at}");
                values[at] = 0.0;
            }
            assert_eq!((n, oh * ow > 0), (dims[0], true));
        }
        Ok(())
    }

    pub fn gradients_of_overlapping_windows_of_thousands_of_places(device: Device) -> Result<()> {
        for (dims, axis) in [([1usize, 7001, 1, 2], 0), ([1, 1, 7002, 4], 1)] {
            let long = dims[1].max(dims[2]);
            let (size, c) = (4500, dims[3]);
            let kernel = if axis == 0 { [size, 1] } else { [1, size] };
            let options = Pool2dOptions::new(kernel).stride([1, 1]);
            // rising, so that every window has its maximum at its end, but for one that many share
            let mut values: Vec<f32> = (0..long * c).map(|i| (i / c) as f32).collect();
            values[4000 * c] = 1e6;
            let x = Tensor::from_slice(&values, dims, device)?.watch()?;
            let y = x.max_pool2d(options)?;
            let windows = long - size + 1;
            let slope = (&y * 0.1)?.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
            for (i, got) in slope.iter().enumerate() {
                let (at, ch) = (i / c, i % c);
                let shared = if ch == 0 { windows.min(4001) } else { 0 };
                let own = usize::from(at + 1 >= size && (at + 1 - size) >= shared);
                let want = 0.1f32 as f64 * if ch == 0 && at == 4000 { shared } else { own } as f64;
                assert_digits(*got, want, want.max(1e-9), &format!("maximum at {i} of {dims:?}"));
            }
            let means = (x.avg_pool2d(options)? * 0.1)?.sum(.., false)?.backward()?.get(&x)?;
            for (i, got) in means.to_vec::<f32>()?.into_iter().enumerate() {
                let at = i / c;
                let inside = at.min(windows - 1) + 1 - (at + 1).saturating_sub(size);
                let want = 0.1f32 as f64 / size as f64 * inside as f64;
                assert_digits(got, want, want, &format!("mean at {i} of {dims:?}"));
            }
        }
        Ok(())
    }

    pub fn means_of_large_windows_keep_six_digits(device: Device) -> Result<()> {
        for value in [0.1f32, 1.4577] {
            for (side, kernel, stride) in [(300usize, 260usize, 20usize), (64, 64, 1), (200, 61, 7)] {
                let x =
                    Tensor::from_vec(vec![value; side * side * 2], [1, side, side, 2], device)?.watch()?;
                let options = Pool2dOptions::new([kernel, kernel]).stride([stride, stride]);
                let y = x.avg_pool2d(options)?;
                for got in y.to_vec::<f32>()? {
                    assert_digits(got, value.into(), value.into(), &format!("{kernel} of {side}"));
                }
                let slope = (&y * value as f64)?.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
                let windows = (side - kernel) / stride + 1;
                let along = |p: usize| {
                    (0..windows).filter(|o| (o * stride..o * stride + kernel).contains(&p)).count()
                };
                let counts: Vec<usize> = (0..side).map(along).collect();
                for (i, got) in slope.into_iter().enumerate() {
                    let inside = counts[i / 2 / side] * counts[i / 2 % side];
                    let want = f64::from(value) * inside as f64 / (kernel * kernel) as f64;
                    assert_digits(got, want, want.max(1e-9), &format!("gradient at {i}, {kernel} of {side}"));
                }
            }
        }
        Ok(())
    }
}
