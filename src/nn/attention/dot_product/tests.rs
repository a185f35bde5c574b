//! Attention with all scores, with blocks of them and without any, by finite differences, on both devices; who sees whom; errors.

use super::*;
use crate::device::Device;
use crate::testing::{assert_close, assert_parity, check_gradients};

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];

fn numbers(shape: &[usize], seed: u64, device: Device) -> Result<Tensor> {
    Tensor::randn(shape, Device::Cpu, seed)?.to_device(device)
}

/// Options of every kind, for scores [2, 4, 7, 5] of 2 heads of keys.
fn all_kinds(query: &Tensor) -> Result<Vec<AttentionOptions>> {
    let (device, dtype) = (query.device(), query.dtype());
    let new = AttentionOptions::new;
    let mask = |shape: &[usize], seed| numbers(shape, seed, device)?.gt(-0.3);
    let added = |shape: &[usize], seed| numbers(shape, seed, device)?.cast(dtype);
    let hidden = mask(&[7, 5], 4)?.select(added(&[7, 5], 5)?, f64::NEG_INFINITY)?;
    Ok(vec![
        new(),
        new().causal(true).scale(0.3),
        new().mask(&mask(&[7, 5], 6)?),
        new().mask(&mask(&[2, 1, 1, 5], 7)?.cast(DType::I32)?).causal(true),
        new().mask(&added(&[4, 7, 5], 8)?),
        new().mask(&added(&[1, 5], 9)?).lengths(&Tensor::new([3u8, 0], device)?),
        new().mask(&hidden).lengths(&Tensor::new([4i32, 77], device)?),
    ])
}

#[test]
fn all_ways_give_the_same() -> Result<()> {
    for device in DEVICES {
        let q = numbers(&[2, 4, 7, 3], 1, device)?.watch()?;
        let (k, v) =
            (numbers(&[2, 2, 5, 3], 2, device)?.watch()?, numbers(&[2, 2, 5, 6], 3, device)?.watch()?);
        for (i, options) in all_kinds(&q)?.into_iter().enumerate() {
            let run = |way| -> Result<Vec<Vec<f32>>> {
                let y = attention(&q, &k, &v, &options, way)?;
                let grads = y.square()?.sum(.., false)?.backward()?;
                [y, grads.get(&q)?, grads.get(&k)?, grads.get(&v)?].iter().map(|t| t.to_vec()).collect()
            };
            let whole = run(Way::Whole)?;
            let blocks: &[usize] = if device == Device::Cpu { &[1, 3, 7, 16] } else { &[3] };
            for way in blocks.iter().map(|&n| Way::Blocks(n)).chain([Way::AtOnce]) {
                for (a, b) in run(way)?.iter().zip(&whole) {
                    assert_close(a.clone(), b.clone(), 1e-5, 1e-5)
                        .map_err(|e| e.context(format!("{device}, options {i}, {way:?}")))?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_match_finite_differences_in_blocks_too() -> Result<()> {
    let f64s = |shape: &[usize], seed| numbers(shape, seed, Device::Cpu)?.cast(DType::F64);
    let inputs = [f64s(&[2, 4, 7, 3], 1)?, f64s(&[2, 2, 5, 3], 2)?, f64s(&[2, 2, 5, 2], 3)?];
    for (i, options) in all_kinds(&inputs[0])?.into_iter().enumerate() {
        // Each number of a sum takes a loop of its own: blocks by what has everything.
        let ways: &[Way] =
            if i == 6 { &[Way::Whole, Way::AtOnce, Way::Blocks(4)] } else { &[Way::Whole, Way::AtOnce] };
        for &way in ways {
            let call = |x: &[Tensor]| Ok(vec![attention(&x[0], &x[1], &x[2], &options, way)?]);
            check_gradients(call, &inputs).map_err(|e| e.context(format!("options {i}, {way:?}")))?;
        }
        // of the gradients: a few elements are enough
        let call = |x: &[Tensor]| {
            let loss = |x: &[Tensor]| {
                attention(&x[0], &x[1], &x[2], &options, Way::AtOnce)?.square()?.sum(.., false)
            };
            crate::grad(loss, &[&x[0], &x[1], &x[2]])
        };
        if [1, 3, 6].contains(&i) {
            check_gradients(call, &inputs).map_err(|e| e.context(format!("options {i}, twice")))?;
        }
    }
    // of the mask
    let inputs = [f64s(&[3, 2], 1)?, f64s(&[4, 2], 2)?, f64s(&[3, 4], 3)?];
    for way in [Way::Whole, Way::Blocks(2), Way::AtOnce] {
        let call = |x: &[Tensor]| {
            let options = AttentionOptions::new().mask(&x[2]).causal(true);
            Ok(vec![attention(&x[0], &x[1], &x[1], &options, way)?])
        };
        check_gradients(call, &inputs)?;
    }
    Ok(())
}

#[test]
fn devices_agree() -> Result<()> {
    let inputs = [
        numbers(&[2, 4, 7, 3], 1, Device::Cpu)?,
        numbers(&[2, 2, 5, 3], 2, Device::Cpu)?,
        numbers(&[2, 2, 5, 6], 3, Device::Cpu)?,
    ];
    for i in 0..7 {
        let call = |x: &[Tensor]| {
            let options = all_kinds(&x[0])?.swap_remove(i);
            Ok(vec![x[0].scaled_dot_product_attention(&x[1], &x[2], &options)?])
        };
        assert_parity(call, &inputs).map_err(|e| e.context(format!("options {i}")))?;
    }
    Ok(())
}

/// With queries of zeros all keys that are seen weigh the same: means of values, which are whole numbers and known.
#[test]
fn long_sequences_are_averaged_exactly_where_all_scores_are_equal() -> Result<()> {
    for device in DEVICES {
        let ways = [
            (1, 1, Way::Whole),
            (1, 1, Way::Blocks(16)),
            (1, 1, Way::AtOnce),
            (2000, 2000, Way::Blocks(512)),
            (8192, 3, Way::Whole),
            (8192, 70, Way::AtOnce),
        ];
        for (n, queries, way) in ways {
            let q = Tensor::zeros([queries, 4], device)?;
            let v: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
            let v = Tensor::from_slice(&v, [n, 1], device)?;
            let k = numbers(&[n, 4], 1, device)?;
            let y = attention(&q, &k, &v, &AttentionOptions::new().causal(true), way)?.to_vec::<f32>()?;
            for (i, y) in y.iter().enumerate() {
                let want = i.div_ceil(2) as f32 / (i + 1) as f32;
                assert!((y - want).abs() < 1e-5, "{device}: query {i} of {n}: {y}, expected {want}");
            }
            let y = attention(&q, &k, &v, &AttentionOptions::new(), way)?.to_vec::<f32>()?;
            let want = (n / 2) as f32 / n as f32;
            assert!(y.iter().all(|y| (y - want).abs() < 1e-5), "{device}: {n}: {}, expected {want}", y[0]);
        }
    }
    Ok(())
}

/// Beyond the limit queries are taken in blocks by themselves. What they give has no elements here, so that it takes no time.
#[test]
fn many_scores_are_never_all_there() -> Result<()> {
    let (batch, n) = (1 << 21, 33);
    let q = Tensor::zeros([batch, n, 0], Device::Cpu)?;
    let k = Tensor::zeros([batch, 1, 0], Device::Cpu)?;
    let y = q.scaled_dot_product_attention(&k, &k, &AttentionOptions::new())?;
    assert_eq!(y.shape(), [batch, n, 0]);
    Ok(())
}

#[test]
fn queries_that_see_nothing_give_zeros_and_have_no_gradients() -> Result<()> {
    for device in DEVICES {
        let q = numbers(&[1, 2, 3, 4], 1, device)?.watch()?;
        let k = numbers(&[1, 2, 5, 4], 2, device)?.watch()?;
        let none = Tensor::full_dtype([3, 5], 0.0, DType::U8, device)?;
        let hidden = Tensor::full([3, 5], f32::NEG_INFINITY, device)?;
        let nobody = Tensor::new([0i32], device)?;
        let new = AttentionOptions::new;
        for options in
            [new().mask(&none), new().mask(&hidden), new().lengths(&nobody), new().mask(&none).causal(true)]
        {
            for way in [Way::Whole, Way::Blocks(2), Way::AtOnce] {
                let y = attention(&q, &k, &k, &options, way)?;
                let grads = y.square()?.sum(.., false)?.backward()?;
                let all = [y, grads.get(&q)?, grads.get(&k)?];
                for t in all {
                    assert!(t.to_vec::<f32>()?.iter().all(|&v| v == 0.0), "{device} {way:?} {options:?}");
                }
            }
        }
        // without keys
        let k = Tensor::zeros([1, 2, 0, 4], device)?;
        let y = q.scaled_dot_product_attention(&k, &k, &new().causal(true))?;
        assert_eq!(y.to_vec::<f32>()?, [0.0; 24]);
        // without queries
        let y = k.scaled_dot_product_attention(&q, &q, &new())?;
        assert_eq!(y.shape(), [1, 2, 0, 4]);
    }
    Ok(())
}

#[test]
fn large_scores_and_nan_stay_what_they_are() -> Result<()> {
    for device in DEVICES {
        let new = AttentionOptions::new;
        let q = Tensor::new([[1e4f32], [-1e4], [f32::NAN]], device)?;
        let k = Tensor::new([[1e4f32], [-1e4]], device)?;
        let v = Tensor::new([[3.0f32], [5.0]], device)?;
        let y = q.scaled_dot_product_attention(&k, &v, &new())?.to_vec::<f32>()?;
        assert!(y[..2] == [3.0, 5.0] && y[2].is_nan(), "{device}: {y:?}");
        let y = q.scaled_dot_product_attention(&k, &v, &new().causal(true))?.to_vec::<f32>()?;
        assert!(y[..2] == [3.0, 5.0], "{device}: {y:?}");
    }
    Ok(())
}

#[test]
fn a_broken_query_gives_nothing_to_values_that_it_does_not_see() -> Result<()> {
    for device in DEVICES {
        let q = Tensor::new([[f32::NAN, 1.0], [0.5, -1.0], [2.0, 0.0]], device)?.reshape([1, 1, 3, 2])?;
        let k = numbers(&[1, 1, 3, 2], 2, device)?;
        let v = numbers(&[1, 1, 3, 2], 3, device)?.watch()?;
        let hidden = Tensor::new([f32::NEG_INFINITY], device)?.broadcast_to([1, 1])?;
        let bias = Tensor::concat(&[&Tensor::zeros([1, 1], device)?, &hidden, &hidden], 1)?;
        let new = AttentionOptions::new;
        let only_first = Tensor::new([1i32], device)?;
        for (options, way) in [new().causal(true), new().mask(&bias), new().lengths(&only_first)]
            .iter()
            .flat_map(|options| [Way::Whole, Way::Blocks(2), Way::AtOnce].map(|way| (options, way)))
        {
            let y = attention(&q, &k, &v, options, way)?;
            let dv = y.sum(.., false)?.backward()?.get(&v)?.to_vec::<f32>()?;
            let of_first_query = [dv[0].is_nan(), dv[2..].iter().all(|v| v.is_finite())];
            assert_eq!(of_first_query, [true, true], "{device} {way:?} {options:?}: {dv:?}");
        }
    }
    Ok(())
}

#[test]
fn what_does_not_go_together_is_told() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, Device::Cpu);
    let (q, k) = (zeros(&[2, 4, 3, 8])?, zeros(&[2, 2, 5, 8])?);
    let new = AttentionOptions::new;
    let message = |q: &Tensor, k: &Tensor, v: &Tensor, options: AttentionOptions| match q
        .scaled_dot_product_attention(k, v, &options)
    {
        Ok(y) => format!("a result of {}", y.shape()),
        Err(e) => e.to_string(),
    };
    let flags = |shape: &[usize]| Tensor::full_dtype(shape, 1.0, DType::U8, Device::Cpu);
    let cases = [
        (
            message(&q, &zeros(&[2, 3, 5, 8])?, &zeros(&[2, 3, 5, 8])?, new()),
            "4 heads of queries can't share 3 heads",
        ),
        (message(&q, &k, &zeros(&[2, 2, 4, 8])?, new()), "not one value for each key"),
        (message(&q, &zeros(&[2, 2, 5, 7])?, &k, new()), "differ in their last dimension"),
        (
            message(&q, &zeros(&[1, 2, 5, 8])?, &zeros(&[1, 2, 5, 8])?, new()),
            "dimensions before the heads differ",
        ),
        (message(&q, &zeros(&[2, 5, 8])?, &zeros(&[2, 5, 8])?, new()), "equally many dimensions"),
        (message(&zeros(&[3])?, &zeros(&[3])?, &zeros(&[3])?, new()), "two at least"),
        (message(&zeros(&[])?, &zeros(&[])?, &zeros(&[])?, new()), "two at least"),
        (message(&q.cast(DType::I32)?, &k, &k, new()), "float"),
        (message(&q, &k.cast(DType::F64)?, &k, new()), "f64"),
        (message(&q, &k, &k, new().mask(&flags(&[5, 3])?)), "the mask is [5, 3], and the scores"),
        (message(&q, &k, &k, new().mask(&flags(&[2, 3, 5])?)), "the mask is [2, 3, 5]"),
        (message(&q, &k, &k, new().mask(&zeros(&[3, 5])?.cast(DType::F64)?)), "f64"),
        (message(&q, &k, &k, new().lengths(&flags(&[3])?)), "one for each element of the first dimension"),
        (message(&q, &k, &k, new().lengths(&zeros(&[2])?)), "expected integers"),
        (message(&q, &k, &k, new().scale(f64::NAN)), "expects a finite scale, got NaN"),
        (message(&q, &k, &k, new().dropout(1.0, 1)), "at least 0 and below 1, got 1"),
        (message(&q, &k, &k, new().dropout(f64::NAN, 1)), "got NaN"),
    ];
    for (message, want) in cases {
        assert!(message.contains(want), "{message}, expected {want}");
    }
    let y = zeros(&[3, 8])?.scaled_dot_product_attention(&zeros(&[5, 8])?, &zeros(&[5, 2])?, &new())?;
    assert_eq!(y.shape(), [3, 2]);
    Ok(())
}

#[test]
fn dropped_weights_keep_the_mean() -> Result<()> {
    let q = Tensor::zeros([1, 200, 8], Device::Cpu)?;
    let k = Tensor::zeros([1, 100, 8], Device::Cpu)?;
    let v = Tensor::ones([1, 100, 1], Device::Cpu)?;
    let run = |seed| {
        q.scaled_dot_product_attention(&k, &v, &AttentionOptions::new().dropout(0.25, seed))?.to_vec::<f32>()
    };
    let y = run(1)?;
    let mean = y.iter().sum::<f32>() / 200.0;
    assert!((mean - 1.0).abs() < 0.02 && y.iter().any(|y| (y - 1.0).abs() > 0.02), "{mean}");
    assert_eq!(y, run(1)?);
    assert_ne!(y, run(2)?);
    Ok(())
}
