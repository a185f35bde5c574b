//! Sorts and writing by index at the lengths where kernels change, and beyond 65,535: what plain loops say, bit for bit.

use super::common::{DEVICES, Rng};
use wgrad::prelude::*;

/// NaN is the largest.
fn compare(a: f32, b: f32) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// A stable sort of each row: NaN the largest, zeros equal.
fn order(values: &[f32], len: usize, descending: bool) -> Vec<i32> {
    let mut all = Vec::with_capacity(values.len());
    for row in values.chunks(len) {
        let mut places: Vec<i32> = (0..len as i32).collect();
        places.sort_by(|&a, &b| {
            let found = compare(row[a as usize], row[b as usize]);
            if descending { found.reverse() } else { found }
        });
        all.extend(places);
    }
    all
}

/// Many ties, both zeros, NaN of both signs, infinities, denormal numbers.
fn odd(count: usize, seed: u64) -> Vec<f32> {
    let ends = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40];
    let mut rng = Rng(seed);
    (0..count)
        .map(|_| if rng.int(0, 9) == 0 { rng.pick(&ends) } else { rng.int(0, 60) as f32 - 30.0 })
        .collect()
}

#[test]
fn sorts_of_all_lengths() -> Result<()> {
    // around the blocks of invocations and of workgroups, several merges, rows that share a workgroup, more rows than a dispatch has
    // workgroups in one dimension
    let shapes = [
        [1, 1],
        [5, 2],
        [300, 3],
        [9, 33],
        [3, 63],
        [2, 64],
        [3, 65],
        [2, 130],
        [3, 513],
        [2, 1023],
        [2, 1024],
        [3, 1025],
        [2, 2049],
        [1, 5003],
        [70_000, 2],
        [1, 70_001],
    ];
    for device in DEVICES {
        for [rows, len] in shapes {
            let values = odd(rows * len, len as u64);
            let x = Tensor::from_slice(&values, [rows, len], device)?;
            for descending in [false, true] {
                let want = order(&values, len, descending);
                let (sorted, places) = x.sort_with_indices(1, descending)?;
                assert!(places.to_vec::<i32>()? == want, "{rows} x {len} {descending} on {device}");
                let at = |i: usize| values[i / len * len + want[i] as usize].to_bits();
                let bits: Vec<u32> = sorted.to_vec::<f32>()?.iter().map(|v| v.to_bits()).collect();
                let same = (0..values.len()).all(|i| bits[i] == at(i) || f32::from_bits(at(i)).is_nan());
                assert!(same, "values of {rows} x {len} {descending} on {device}");
            }
        }
    }
    Ok(())
}

/// Places among sorted elements are counts: of all lengths, of one row and of many, of values that no row has.
#[test]
fn searches_of_all_lengths() -> Result<()> {
    for [rows, len, count] in [[1, 1, 9], [1, 70_001, 70_001], [5, 2, 3], [40, 33, 50], [30_000, 3, 5]] {
        let (mut sorted, values) = (odd(rows * len, len as u64), odd(rows * count, 1));
        sorted.chunks_mut(len).for_each(|row| row.sort_by(|&a, &b| compare(a, b)));
        for right in [false, true] {
            let want: Vec<u32> = (0..values.len())
                .map(|i| {
                    let row = &sorted[i / count * len..][..len];
                    let at = row.partition_point(|&v| {
                        compare(v, values[i]).is_lt() || right && compare(v, values[i]).is_eq()
                    });
                    at as u32
                })
                .collect();
            for device in DEVICES {
                let s = Tensor::from_slice(&sorted, [rows, len], device)?;
                let v = Tensor::from_slice(&values, [rows, count], device)?;
                let found = s.searchsorted(&v, right)?.to_vec::<u32>()?;
                assert!(found == want, "{rows} x {len} {right} on {device}");
                if rows == 1 {
                    let found = v.bucketize(&s.squeeze(0)?, right)?;
                    assert_eq!((found.dims(), found.to_vec::<u32>()? == want), (&[1, count][..], true));
                }
            }
        }
    }
    for device in DEVICES {
        let s = Tensor::new([i32::MIN, -1, -1, i32::MAX], device)?;
        let v = Tensor::new([[i32::MIN, -1], [0, i32::MAX]], device)?;
        assert_eq!(s.searchsorted(&v, false)?.to_vec::<u32>()?, [0, 1, 3, 3]);
        assert_eq!(s.searchsorted(&v, true)?.to_vec::<u32>()?, [1, 3, 3, 4]);
        assert_eq!(s.slice(0, 0, 0)?.searchsorted(&v, true)?.to_vec::<u32>()?, [0; 4]);
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message(v.searchsorted(&s, false)).contains("equal dimensions before the last"));
        assert!(message(v.bucketize(&v, false)).starts_with("bucketize: boundaries [2, 2]: expected [n]"));
        assert!(message(s.searchsorted(&v.cast(DType::F32)?, false)).contains("searchsorted"));
        assert!(
            message(Tensor::ones([], device)?.searchsorted(&v.cast(DType::F32)?, false)).contains("no order")
        );
    }
    Ok(())
}

/// Integers to their ends, along other axes, the first few, and gradients.
#[test]
fn sorts_of_integers_parts_and_gradients() -> Result<()> {
    for device in DEVICES {
        let signed = [3, i32::MAX, -1, i32::MIN, 0, -1, 3, i32::MIN + 1];
        let x = Tensor::new(signed, device)?;
        assert_eq!(x.argsort(0, false)?.to_vec::<i32>()?, [3, 7, 2, 5, 4, 0, 6, 1], "{device}");
        assert_eq!(x.argsort(0, true)?.to_vec::<i32>()?, [1, 0, 6, 4, 2, 5, 7, 3], "{device}");
        let x = Tensor::new([3u32, u32::MAX, 1 << 31, 0, (1 << 31) - 1, 3], device)?;
        assert_eq!(x.argsort(0, false)?.to_vec::<i32>()?, [3, 0, 5, 4, 2, 1], "{device}");
        assert_eq!(x.sort(0, true)?.to_vec::<u32>()?[..2], [u32::MAX, 1 << 31], "{device}");
        let x = Tensor::new([200u32, 3, 255, 0, 3], device)?.cast(DType::U8)?;
        assert_eq!(x.sort(0, false)?.to_vec::<u8>()?, [0, 3, 3, 200, 255], "{device}");
        assert_eq!(x.argsort(0, true)?.to_vec::<i32>()?, [2, 0, 1, 4, 3], "{device}");
        for (rows, len, k) in [(3usize, 70usize, 69usize), (2, 3000, 5), (4, 1, 1), (2, 5, 0)] {
            let values = odd(rows * len, 7);
            let want = order(&values, len, true);
            let first: Vec<i32> = want.chunks(len).flat_map(|row| row[..k].to_vec()).collect();
            // along the first axis
            let x = Tensor::from_slice(&values, [rows, len], device)?.transpose()?.watch()?;
            let (top, places) = x.topk(k, 0)?;
            assert_eq!(places.dims(), [k, rows]);
            assert!(places.transpose()?.to_vec::<i32>()? == first, "{k} of {rows} x {len} on {device}");
            let upstream =
                Tensor::arange(1, (rows * k) as i64 + 1, device)?.cast(DType::F32)?.reshape([k, rows])?;
            let gradient = top.backward_with(&upstream)?.get_or_zeros(&x)?.transpose()?;
            let mut expected = vec![0.0; rows * len];
            for (i, &place) in first.iter().enumerate() {
                expected[i / k * len + place as usize] = (i % k * rows + i / k + 1) as f32;
            }
            assert!(gradient.to_vec::<f32>()? == expected, "gradient of {k} of {rows} x {len} on {device}");
        }
        // of all of them, whose gradient goes back by the inverse order
        let values = odd(2 * 1500, 9);
        let x = Tensor::from_slice(&values, [2, 1500], device)?.watch()?;
        let upstream = Tensor::arange(0, 3000, device)?.cast(DType::F32)?.reshape([2, 1500])?;
        let gradient = x.sort(-1, false)?.backward_with(&upstream)?.get(&x)?.to_vec::<f32>()?;
        for (i, place) in order(&values, 1500, false).into_iter().enumerate() {
            assert_eq!(gradient[i / 1500 * 1500 + place as usize], i as f32, "{device}");
        }
    }
    Ok(())
}

#[test]
fn writes_by_index_of_all_lengths() -> Result<()> {
    for device in DEVICES {
        for (axis, inner, count) in [
            (1usize, 1usize, 1usize),
            (5, 3, 63),
            (7, 4, 65),
            (70, 1, 1025),
            (3, 2, 3000),
            (70_000, 1, 70_001),
        ] {
            let mut rng = Rng(count as u64);
            let at: Vec<u32> = (0..count).map(|_| rng.int(0, axis - 1) as u32).collect();
            let x: Vec<i32> = (0..axis * inner).map(|i| i as i32 - 7).collect();
            let values: Vec<i32> = (0..count * inner).map(|_| rng.int(0, 90) as i32 - 40).collect();
            let (mut last, mut sums) = (x.clone(), x.clone());
            for (j, &place) in at.iter().enumerate() {
                for i in 0..inner {
                    last[place as usize * inner + i] = values[j * inner + i];
                    sums[place as usize * inner + i] += values[j * inner + i];
                }
            }
            let what = format!("{count} of [{axis}, {inner}] on {device}");
            let indices = Tensor::from_slice(&at, [count], device)?;
            for dtype in [DType::I32, DType::F32] {
                let x = Tensor::from_slice(&x, [axis, inner], device)?.cast(dtype)?;
                let values = Tensor::from_slice(&values, [count, inner], device)?.cast(dtype)?;
                let whole = |t: Tensor| t.cast(DType::I32)?.to_vec::<i32>();
                assert!(whole(x.index_put(&[&indices], &values, false)?)? == last, "{dtype} {what}");
                assert!(whole(x.index_add(0, &indices, &values)?)? == sums, "sums {dtype} {what}");
                let each = indices.unsqueeze(1)?.broadcast_to([count, inner])?;
                assert!(whole(x.scatter(0, &each, &values)?)? == last, "elements {dtype} {what}");
                assert!(whole(x.scatter_add(0, &each, &values)?)? == sums, "sums of elements {dtype} {what}");
            }
        }
    }
    Ok(())
}

/// Values that others were written over have no gradient, nor has what was written over.
#[test]
fn gradients_of_writes_go_to_what_stays() -> Result<()> {
    for device in DEVICES {
        let x = Tensor::new([1.0f32, f32::NAN, 3.0, 4.0], device)?.watch()?;
        let values = Tensor::new([10.0f32, 20.0, f32::INFINITY, 40.0, 50.0], device)?.watch()?;
        let at = Tensor::new([1, 3, 1, 3, 1], device)?;
        let y = x.scatter(0, &at, &values)?;
        assert_eq!(y.to_vec::<f32>()?, [1.0, 50.0, 3.0, 40.0], "{device}");
        let grads = y.backward_with(&Tensor::new([1.0f32, 2.0, 3.0, 4.0], device)?)?;
        assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [1.0, 0.0, 3.0, 0.0], "{device}");
        assert_eq!(grads.get(&values)?.to_vec::<f32>()?, [0.0, 0.0, 0.0, 4.0, 2.0], "{device}");
        // nothing is written
        let none = Tensor::zeros([0], device)?.watch()?;
        let at = Tensor::from_slice(&[] as &[i32], [0], device)?;
        for y in [x.scatter(0, &at, &none)?, x.scatter_add(0, &at, &none)?, x.index_put(&[&at], &none, true)?]
        {
            assert_eq!(y.to_vec::<f32>()?[2..], [3.0, 4.0], "{device}");
            assert_eq!(y.sum(.., false)?.backward()?.get(&none)?.dims(), [0], "{device}");
        }
    }
    Ok(())
}
