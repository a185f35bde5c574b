//! Running sums of whole numbers: exact in f32, so that those of every kernel are those of a plain loop, bit for bit.

use super::common::{DEVICES, Rng};
use wgrad::prelude::*;

/// 0, 1 or 2, no pattern: sums of up to eight million are exact in f32, in any order.
fn small(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..count).map(|_| rng.int(0, 2) as f32).collect()
}

/// Along the middle axis.
fn running(values: &[f32], [_, axis, inner]: [usize; 3]) -> Vec<f32> {
    let mut sums = values.to_vec();
    for i in (0..sums.len()).filter(|i| i / inner % axis > 0) {
        sums[i] += sums[i - inner];
    }
    sums
}

#[test]
fn running_sums_of_all_lengths() -> Result<()> {
    // one pass and three, neighbours by four and alone, more lines than a dispatch has workgroups in one dimension
    let shapes = [
        [1, 1, 1],
        [2, 3, 4],
        [1, 255, 3],
        [2, 1023, 1],
        [3, 1025, 5],
        [3, 4097, 4],
        [70_000, 2, 1],
        [1, 300_000, 1],
    ];
    for device in DEVICES {
        for dims in shapes {
            let values = small(dims.iter().product(), dims[1] as u64);
            let x = Tensor::from_vec(values.clone(), dims, device)?.watch()?;
            let y = x.cumsum(1)?;
            assert!(y.to_vec::<f32>()? == running(&values, dims), "{dims:?} on {device}");
            // What follows the kernel becomes part of it; the gradient runs backwards.
            let doubled = (x.cumsum(1)? * 2.0)?;
            let twice: Vec<f32> = running(&values, dims).iter().map(|sum| 2.0 * sum).collect();
            assert!(doubled.to_vec::<f32>()? == twice, "twice {dims:?} on {device}");
            let upstream = Tensor::from_vec(values.clone(), dims, device)?;
            let gradient = y.backward_with(&upstream)?.get(&x)?.flip(1)?;
            let backwards = upstream.flip(1)?.to_vec::<f32>()?;
            assert!(
                gradient.to_vec::<f32>()? == running(&backwards, dims),
                "gradient of {dims:?} on {device}"
            );
        }
    }
    Ok(())
}

/// Products of signs, and of a zero now and then, are exact; so is what depends on a single zero.
#[test]
fn running_products_of_all_lengths() -> Result<()> {
    for device in DEVICES {
        for dims in [[1, 1, 1], [2, 3, 4], [2, 1023, 1], [3, 4097, 4], [70_000, 2, 1], [1, 300_000, 1]] {
            let [outer, axis, inner] = dims;
            let mut rng = Rng(axis as u64);
            let mut values: Vec<f32> =
                (0..outer * axis * inner).map(|_| if rng.int(0, 1) == 0 { 1.0 } else { -1.0 }).collect();
            // a zero at one place of the first line
            let zero = axis * 2 / 3;
            values[zero * inner] = 0.0;
            let mut want = values.clone();
            for i in (0..want.len()).filter(|i| i / inner % axis > 0) {
                want[i] *= want[i - inner];
            }
            let x = Tensor::from_vec(values.clone(), dims, device)?.watch()?;
            let y = x.cumprod(1)?;
            assert!(y.to_vec::<f32>()? == want, "{dims:?} on {device}");
            assert!(
                (x.cumprod(1)? * 2.0)?.to_vec::<f32>()?.iter().zip(&want).all(|(y, w)| *y == 2.0 * w),
                "{dims:?}"
            );
            // the last product by each factor: 0 where the zero is another's, else the product of the others
            let last = y.slice(1, axis - 1, 1)?.sum(.., false)?;
            let gradient = last.backward()?.get(&x)?.to_vec::<f32>()?;
            for i in 0..values.len() {
                let (o, t, c) = (i / (axis * inner), i / inner % axis, i % inner);
                let first = o == 0 && c == 0;
                let others = (0..axis).filter(|&k| k != t).map(|k| values[(o * axis + k) * inner + c]);
                let product = match (first, t == zero) {
                    (true, false) => 0.0,
                    (true, true) => others.product(),
                    // a sign is its own quotient
                    _ => want[(o * axis + axis - 1) * inner + c] * values[i],
                };
                assert!(gradient[i] == product, "gradient {i} of {dims:?} on {device}");
            }
            // the sum of all products by each factor: those before it, times 1 + x' (1 + x'' (..)) of those behind it
            let gradient = y.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
            let mut behind = vec![0.0; outer * inner];
            for i in (0..values.len()).rev() {
                let (o, t, c) = (i / (axis * inner), i / inner % axis, i % inner);
                let line = &mut behind[o * inner + c];
                *line = 1.0 + if t + 1 < axis { values[i + inner] * *line } else { 0.0 };
                let before = if t > 0 { want[i - inner] } else { 1.0 };
                assert!(gradient[i] == before * *line, "gradient {i} of the sum of {dims:?} on {device}");
            }
        }
    }
    Ok(())
}
