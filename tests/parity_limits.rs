//! The GPU against the CPU at the edges: empty and single dimensions, grids beyond 65,535 workgroups, reductions beyond
//! 65,535 terms, bytes, infinities, many axes.

mod common;

use common::parity::same_on_both;
use common::{Domain, Input, Rng, values};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, Pool2dOptions};

fn uniform(seed: u64, dims: &[usize], device: Device) -> Result<Tensor> {
    Input::float(&mut Rng(seed), dims, Domain::Range(-1.0, 1.0)).tensor(device, DType::F32)
}

fn ints(seed: u64, dtype: DType, dims: &[usize], high: i64, device: Device) -> Result<Tensor> {
    Input::int(&mut Rng(seed), dtype, dims, Domain::Whole(0, high)).tensor(device, DType::F32)
}

#[test]
fn empty_tensors() -> Result<()> {
    for dims in [[0, 3], [3, 0], [0, 0]] {
        same_on_both(&format!("{dims:?}"), 0.0, |d| {
            let x = Tensor::zeros(dims, d)?.watch()?;
            let loss = (x.exp()? + 1.0)?.sum(.., false)?;
            let grad = loss.backward()?.get(&x)?;
            Ok(vec![
                loss,
                grad,
                x.sum(0, false)?,
                x.prod(1, true)?,
                x.transpose()?.matmul(&x)?,
                x.matmul(x.transpose()?)?,
                (&x + Tensor::ones([1, 1], d)?)?,
                x.gt(0.0)?.cast(DType::U8)?,
                Tensor::concat(&[&x, &x], 0)?,
                Tensor::concat(&[&x, &Tensor::ones([dims[0], 2], d)?], 1)?,
                x.pad([(1, 1), (2, 0)], 3.0)?,
                x.permute([1, 0])?.flatten(0)?,
                x.softmax(-1)?,
                x.flip(0)?,
                x.index_select(0, &Tensor::zeros([0], d)?.cast(DType::I32)?)?,
            ])
        })?;
    }
    same_on_both("empty batches", 0.0, |d| {
        let images = Tensor::zeros([0, 6, 6, 2], d)?;
        let labels = Tensor::zeros([0], d)?.cast(DType::I32)?;
        let h = images.conv2d(Tensor::ones([3, 3, 2, 4], d)?, Conv2dOptions::default())?;
        let h = h.max_pool2d(Pool2dOptions::new([2, 2]))?;
        let logits = h.flatten(1)?.matmul(Tensor::ones([16, 3], d)?)?;
        let losses = logits.cross_entropy_rows(&labels)?;
        Ok(vec![h, logits, losses, labels.one_hot(3)?, Tensor::rand([0, 2], d, 1)?, Tensor::arange(4, 4, d)?])
    })
}

#[test]
fn single_elements() -> Result<()> {
    for dims in [&[][..], &[1], &[1, 1], &[1, 1, 1, 1]] {
        same_on_both(&format!("{dims:?}"), 1e-6, |d| {
            let x = Tensor::full(dims, 0.75f32, d)?.watch()?;
            let y = (x.exp()? * 2.0)?.log()?;
            let mut out = vec![y.sum(.., true)?, y.max(.., false)?, y.mean(.., false)?, y.reshape([1])?];
            if !dims.is_empty() {
                out.push(y.softmax(-1)?);
                out.push(y.argmax(0, true)?);
                out.push(y.matmul(&y)?);
                out.push(Tensor::concat(&[&y, &x], 0)?.flip(0)?);
                out.push(x.cross_entropy_rows(&Tensor::zeros(&dims[1..], d)?.cast(DType::U8)?)?);
            }
            if dims.len() == 4 {
                out.push(x.conv2d(&y, Conv2dOptions::default())?);
                out.push(x.max_pool2d(Pool2dOptions::new([1, 1]))?);
            }
            out.push(y.square()?.sum(.., false)?.backward()?.get(&x)?);
            Ok(out)
        })?;
    }
    Ok(())
}

#[test]
fn eight_axes() -> Result<()> {
    same_on_both("eight axes", 1e-5, |d| {
        let x = uniform(3, &[2, 1, 3, 2, 1, 2, 3, 2], d)?.watch()?;
        let p = x.permute([7, 2, 5, 0, 3, 6, 1, 4])?;
        let y = (&p + p.mean([1, 3, -3], true)?)?.tanh()?;
        let s = y.slice_step(1, 2, 2, -2)?.flip(5)?;
        let r = s.sum([0, 2, 4], false)?;
        let grads = r.square()?.sum(.., false)?.backward()?;
        Ok(vec![p, y, s, r, grads.get(&x)?])
    })
}

/// 17 million elements: more than 65,535 workgroups of 256.
#[test]
fn grids_beyond_65535_workgroups() -> Result<()> {
    let n = 17_000_003usize;
    let x = Tensor::arange(0, n as i64, Device::Gpu)?;
    let y = ((&x * 3)? - 7)?;
    let got = y.to_vec::<i32>()?;
    let wrong = got.iter().enumerate().find(|&(i, &v)| v != i as i32 * 3 - 7);
    assert_eq!(wrong, None);
    let parity = (y.cast(DType::U8)? * 2u8)?.to_vec::<u8>()?;
    let wrong = parity.iter().enumerate().find(|&(i, &v)| v != ((i as i32 * 3 - 7) as u8).wrapping_mul(2));
    assert_eq!(wrong, None);
    Ok(())
}

#[test]
fn kernels_over_many_rows() -> Result<()> {
    let rows = 70_001;
    same_on_both("rows", 1e-5, |d| {
        let x = uniform(1, &[rows, 3], d)?.watch()?;
        let labels = ints(2, DType::U32, &[rows], 3, d)?;
        let picks = ints(3, DType::U32, &[rows], rows as i64, d)?;
        let h = x.softmax(-1)?;
        let grads = (x.cross_entropy(&labels)? * rows as f64)?.backward()?;
        Ok(vec![
            h.slice(0, rows - 5, 5)?,
            x.sum(1, false)?,
            x.argmax(1, false)?,
            x.index_select(0, &picks)?,
            x.matmul(uniform(4, &[3, 5], d)?)?,
            x.transpose()?.flip(1)?.reshape([rows, 3])?,
            x.unsqueeze(2)?.matmul(x.unsqueeze(1)?)?.sum(1, false)?,
            grads.get(&x)?,
        ])
    })?;
    same_on_both("images", 1e-5, |d| {
        let x = uniform(5, &[1, 530, 520, 1], d)?.watch()?;
        let k = uniform(6, &[2, 2, 1, 1], d)?.watch()?;
        let y = x.conv2d(&k, Conv2dOptions::default())?;
        let pooled = y.max_pool2d(Pool2dOptions::new([2, 2]).stride([1, 1]))?;
        let means = y.avg_pool2d(Pool2dOptions::new([2, 1]).stride([1, 1]))?;
        let grads = (pooled.sum(.., false)? + means.sum(.., false)?)?.backward()?;
        Ok(vec![pooled, means, grads.get(&x)?])
    })
}

/// As [`uniform`], in f64 on the CPU: over so many terms single precision is no reference.
fn precise(seed: u64, dims: &[usize], device: Device) -> Result<Tensor> {
    uniform(seed, dims, device)?.cast(if device == Device::Cpu { DType::F64 } else { DType::F32 })
}

fn single(tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| if t.dtype() == DType::F64 { t.cast(DType::F32) } else { Ok(t.clone()) }).collect()
}

/// Loops of lavapipe end silently after 65,535 iterations; real GPUs want long reductions split, too.
#[test]
fn reductions_beyond_65535_terms() -> Result<()> {
    let k = 200_003;
    same_on_both("sums", 1e-5, |d| {
        let x = precise(1, &[k], d)?.watch()?;
        let grad = x.square()?.mean(.., false)?.backward()?.get(&x)?;
        single(vec![
            x.square()?.sum(.., false)?,
            x.max(.., false)?,
            x.min(0, true)?,
            x.argmax(0, false)?,
            x.argmin(0, false)?,
            x.softmax(0)?,
            x.log_softmax(0)?,
            x.matmul(&x)?,
            grad,
        ])
    })?;
    // each of the factors is rounded to one part in 1e7, and so is each product
    same_on_both("product", 1e-4, |d| {
        single(vec![((precise(1, &[k], d)? * 1e-3)? + 1.0)?.prod(.., false)?])
    })?;
    let rows = 70_001;
    same_on_both("columns", 1e-5, |d| {
        let x = precise(2, &[rows, 3], d)?;
        let y = precise(3, &[rows, 5], d)?;
        let squares = x.square()?;
        single(vec![
            squares.sum(0, false)?,
            squares.transpose()?.mean(1, false)?,
            x.max(0, false)?,
            x.argmin(0, false)?,
            squares.transpose()?.matmul(y.square()?)?,
            squares.reshape([rows, 3, 1])?.sum([0, 2], true)?,
        ])
    })?;
    same_on_both("gradients", 2e-5, |d| {
        let table = precise(4, &[5, 2], d)?.watch()?;
        let picks = ints(5, DType::U32, &[rows], 5, d)?;
        let looked_up = table.index_select(0, &picks)?.square()?.sum(.., false)?.backward()?.get(&table)?;
        let logits = precise(6, &[2, rows], d)?.watch()?;
        let loss = logits.cross_entropy(&ints(7, DType::U32, &[2], rows as i64, d)?)?;
        let slope = loss.backward()?.get(&logits)?;
        let image = (precise(8, &[1, 300, 301, 1], d)? + 1.5)?;
        let kernel = precise(9, &[2, 2, 1, 2], d)?.watch()?;
        let y = image.conv2d(&kernel, Conv2dOptions::default())?;
        let weight = y.sum(.., false)?.backward()?.get(&kernel)?;
        let bias = precise(11, &[3], d)?.watch()?;
        let spread = ((precise(10, &[rows, 3], d)? + 2.5)? + &bias)?.square()?.sum(.., false)?;
        single(vec![looked_up, loss, slope, weight, spread.backward()?.get(&bias)?])
    })
}

/// Bytes stand four to a word on a GPU: every length, offset and layout must pack and unpack.
#[test]
fn bytes_in_and_out() -> Result<()> {
    for n in [1, 2, 3, 4, 5, 7, 8, 63, 257] {
        same_on_both(&format!("{n} bytes"), 0.0, |d| {
            let x = ints(n as u64, DType::U8, &[n], 256, d)?;
            let y = ints(99, DType::U8, &[n], 256, d)?;
            let mut out = vec![
                x.clone(),
                (&x + &y)?,
                (&x * &y)?,
                x.maximum(&y)?,
                x.gt(&y)?,
                x.cast(DType::F32)?,
                x.flip(0)?,
            ];
            out.push(Tensor::concat(&[&x, &y, &x], 0)?);
            out.push(x.pad([(1, 2)], 255.0)?);
            out.push(x.slice(0, n / 3, n - n / 3)?);
            out.push(x.slice_step(0, n - 1, n.div_ceil(2), -2)?);
            out.push((x.slice(0, n / 2, n - n / 2)?.cast(DType::I32)? * 2)?);
            out.push(x.cast(DType::F32)?.gt(100.0)?.select(&x, &y)?);
            out.push(x.sum(.., false)?);
            out.push(x.cast(DType::U32)?.sum(.., false)?);
            Ok(out)
        })?;
    }
    same_on_both("rows of bytes", 1e-6, |d| {
        let images = ints(1, DType::U8, &[9, 5, 3], 256, d)?;
        let order = ints(2, DType::U32, &[14], 9, d)?;
        let batch = images.index_select(0, &order)?;
        let decoded = (batch.cast(DType::F32)? * (1.0 / 255.0))?;
        Ok(vec![
            decoded.reshape([14, 15])?.matmul(uniform(3, &[15, 4], d)?)?,
            decoded,
            batch.permute([2, 0, 1])?,
            batch.transpose()?.slice(1, 1, 2)?,
            images.max(1, false)?,
            images.argmax(2, false)?,
            batch,
        ])
    })
}

/// Infinities that survive on every device. Left out are all that make NaN (inf - inf, 0 * inf, a softmax of +inf): shader
/// compilers may assume that NaN does not occur, and lavapipe computes 0 or the other operand.
#[test]
fn infinities() -> Result<()> {
    let inf = f32::INFINITY;
    same_on_both("infinities", 1e-6, |d| {
        let x = Tensor::new([-inf, -1.0, 0.0, 2.0, inf], d)?;
        let low = Tensor::new([[-inf, 1.0, 2.0], [0.5, -inf, -inf]], d)?;
        let masked = low.watch()?;
        let loss = masked.cross_entropy(&Tensor::new([2u32, 0], d)?)?;
        let mut out = vec![
            x.neg()?,
            x.abs()?,
            x.exp()?,
            x.relu()?,
            x.sigmoid()?,
            x.tanh()?,
            x.square()?,
            x.abs()?.sqrt()?,
            x.reciprocal()?.abs()?,
            x.leaky_relu(0.5)?,
            x.elu()?,
            x.softplus()?,
            x.sign()?,
            (&x + 1.0)?,
            (&x * -2.0)?,
            (2.0 / x.abs()?)?,
            x.abs()?.log()?,
            x.clamp(-3.0, 3.0)?,
            x.maximum(1.0)?,
            x.minimum(1.0)?,
            x.gt(0.0)?,
            x.eq(inf)?,
            x.le(-inf)?,
            x.max(.., false)?,
            x.min(.., false)?,
            x.argmax(0, false)?,
            x.argmin(0, false)?,
            x.slice(0, 1, 4)?.sum(.., false)?,
            x.slice(0, 0, 4)?.sum(.., false)?,
            x.gt(0.0)?.select(&x, 0.0)?,
            x.pad([(1, 1)], f64::NEG_INFINITY)?,
            low.softmax(-1)?,
            low.max(1, true)?,
            loss.backward()?.get(&masked)?,
            loss,
        ];
        let image = Tensor::new([-inf, -5.0, -inf, -inf], d)?.reshape([1, 2, 2, 1])?;
        out.push(image.max_pool2d(Pool2dOptions::new([2, 2]))?);
        out.push(image.max_pool2d(Pool2dOptions::new([2, 1]).stride([1, 1]))?);
        Ok(out)
    })
}

/// Logits of 1e4 and values near the ends of f32.
#[test]
fn large_magnitudes() -> Result<()> {
    same_on_both("large", 1e-5, |d| {
        let logits =
            Tensor::new([[1e4f32, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 9999.0]], d)?.watch()?;
        let labels = Tensor::new([1u32, 0, 2], d)?;
        let hot = labels.one_hot(3)?;
        let (sparse, dense) = (logits.cross_entropy_rows(&labels)?, logits.cross_entropy_rows(&hot)?);
        let grads = [
            sparse.sum(.., false)?.backward()?.get(&logits)?,
            dense.sum(.., false)?.backward()?.get(&logits)?,
        ];
        let x = Tensor::new([-1e30f32, -80.0, -1e-30, 1e-30, 80.0, 1e30], d)?;
        let [a, b] = grads;
        let mut out = vec![sparse, dense, a, b, logits.softmax(-1)?, logits.log_softmax(-1)?];
        for t in
            [x.sigmoid()?, x.tanh()?, x.silu()?, x.gelu()?, x.gelu_tanh()?, x.softplus()?, x.elu()?, x.erf()?]
        {
            out.push(t);
        }
        Ok(out)
    })
}

/// A kernel that meets an index outside its axis records it: the reading call says so, and nothing else is harmed.
#[test]
fn indices_out_of_range_do_no_harm() -> Result<()> {
    let x = uniform(1, &[4, 3], Device::Gpu)?.watch()?;
    let refuse = |result: Result<Vec<f64>>, what: &str| match result {
        Err(wgrad::Error::Argument { message, .. }) => {
            assert!(message.contains("outside") || message.contains('7'), "{what}: {message}")
        }
        other => panic!("{what}: {other:?}"),
    };
    let picks = Tensor::new([1i32, -1, 4, 2_000_000_000, 0], Device::Gpu)?;
    let picked = x.index_select(0, &picks)?;
    refuse(values(&picked), "picks");
    let grads = x.index_select(0, &picks)?.sum(.., false)?.backward()?;
    refuse(values(&grads.get(&x)?), "their gradient");
    let labels = Tensor::new([0u32, 7, 2, 1], Device::Gpu)?;
    refuse(x.cross_entropy_rows(&labels).and_then(|losses| values(&losses)), "a label that is none");
    let right = Tensor::new([3i32, 0], Device::Gpu)?;
    let (got, all) = (values(&x.index_select(0, &right)?)?, values(&x)?);
    assert_eq!(got, [&all[9..], &all[..3]].concat());
    Ok(())
}
