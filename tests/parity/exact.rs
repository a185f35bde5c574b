//! Whole numbers through every kernel of products, reductions and indices: all sums are exact in f32, so that results are those
//! of plain loops over integers, bit for bit, however a kernel cuts its work. One wrong index is one wrong number.

#[path = "exact_parts.rs"]
mod parts;

use super::common::{Domain, Input, Rng, values};
use wgrad::Conv2dOptions;
use wgrad::prelude::*;
use wgrad::testing::assert_close;

/// Whole numbers in -3..=3 as f32.
fn whole(seed: u64, dims: &[usize]) -> Input {
    let mut input = Input::int(&mut Rng(seed), DType::I32, dims, Domain::Whole(-3, 4));
    input.kind = super::common::InputKind::Float;
    input
}

fn on_gpu(input: &Input) -> Result<Tensor> {
    input.tensor(Device::Gpu, DType::F32)?.watch()
}

/// `c[m, n] = sum over k of a[m, k] * b[k, n]`, by strides.
fn product(
    a: &[f64],
    [am, ak]: [usize; 2],
    b: &[f64],
    [bk, bn]: [usize; 2],
    [m, n, k]: [usize; 3],
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            let x = a[i * am + l * ak];
            for j in 0..n {
                c[i * n + j] += x * b[l * bk + j * bn];
            }
        }
    }
    c
}

/// One product in every combination of transposed operands, with its gradients and with an epilogue.
fn check_product([m, n, k]: [usize; 3], seed: u64) -> Result<()> {
    for flips in 0..4 {
        let (ta, tb) = (flips & 1 == 1, flips & 2 == 2);
        let a = whole(seed, &if ta { [k, m] } else { [m, k] });
        let b = whole(seed + 1, &if tb { [n, k] } else { [k, n] });
        let bias = whole(seed + 2, &[n]);
        let up = whole(seed + 3, &[m, n]);
        let (sa, sb) = (if ta { [1, m] } else { [k, 1] }, if tb { [1, k] } else { [n, 1] });
        let (x, w, v) = (on_gpu(&a)?, on_gpu(&b)?, on_gpu(&bias)?);
        let left = if ta { x.transpose()? } else { x.clone() };
        let right = if tb { w.transpose()? } else { w.clone() };
        let y = left.matmul(&right)?;
        let fused = (left.matmul(&right)? + &v)?.relu()?;
        let grads = y.backward_with(&up.tensor(Device::Gpu, DType::F32)?)?;
        let (dx, dw) = (grads.get(&x)?, grads.get(&w)?);
        wgrad::eval(&[&y, &dx, &dw])?;
        let c = product(&a.values, sa, &b.values, sb, [m, n, k]);
        let what = |name: &str| format!("{name} of {m} x {n} x {k}, transposed {ta} {tb}");
        same(&what("product"), &y, &c)?;
        let biased = c.iter().enumerate().map(|(i, v)| (v + bias.values[i % n]).max(0.0));
        same(&what("product with an epilogue"), &fused, &biased.collect::<Vec<_>>())?;
        // dA = U B^T, dB = A^T U, in the layout of each
        let da = product(&up.values, [n, 1], &b.values, [sb[1], sb[0]], [m, k, n]);
        let db = product(&a.values, [sa[1], sa[0]], &up.values, [n, 1], [k, n, m]);
        same(&what("gradient of the left side"), &if ta { dx.transpose()? } else { dx }, &da)?;
        same(&what("gradient of the right side"), &if tb { dw.transpose()? } else { dw }, &db)?;
    }
    Ok(())
}

fn same(what: &str, got: &Tensor, want: &[f64]) -> Result<()> {
    assert_close(got, want, 0.0, 0.0).map_err(|e| Error::mismatch(what, e.to_string()))
}

#[test]
fn products_of_all_sizes() -> Result<()> {
    let sizes = [
        [1, 1, 1],
        [5, 3, 7],
        [33, 17, 65],
        [64, 64, 64],
        [128, 100, 40],
        [130, 66, 257],
        [300, 300, 20],
        // one row, one column
        [1, 500, 512],
        [500, 1, 512],
        [9, 300, 6],
    ];
    sizes.iter().enumerate().try_for_each(|(i, &size)| check_product(size, 10 * i as u64))
}

/// The largest blocks of real GPUs, in all layouts; the CPU says what is right, since plain loops take too long.
#[test]
fn products_large_enough_for_every_block() -> Result<()> {
    for (i, [m, k, n]) in wgrad::testing::table::LARGE_PRODUCTS.into_iter().enumerate() {
        // Of the longest one layout.
        let long = m * k * n > 100_000_000;
        for flips in 0..if long { 1 } else { 4 } {
            let (ta, tb) = (flips & 1 == 1, flips & 2 == 2);
            let a = whole(10 * i as u64, &if ta { [k, m] } else { [m, k] });
            let b = whole(10 * i as u64 + 1, &if tb { [n, k] } else { [k, n] });
            let bias = whole(10 * i as u64 + 2, &[n]);
            let both = [Device::Cpu, Device::Gpu].map(|device| -> Result<[Vec<f32>; 2]> {
                let on = |input: &Input| input.tensor(device, DType::F32);
                let left = if ta { on(&a)?.transpose()? } else { on(&a)? };
                let right = if tb { on(&b)?.transpose()? } else { on(&b)? };
                let fused = (left.matmul(&right)? + on(&bias)?)?.relu()?;
                let plain = if long { fused.clone() } else { left.matmul(&right)? };
                Ok([plain.to_vec()?, fused.to_vec()?])
            });
            let [want, got] = both;
            assert!(want? == got?, "{m} x {n} x {k}, transposed {ta} {tb}");
        }
    }
    Ok(())
}

/// The same of convolutions: many pixels to many channels, and the gradients.
#[test]
fn convolutions_large_enough_for_every_block() -> Result<()> {
    for (i, (image, kernel, padding)) in [
        ([16, 32, 32, 8], [3, 3, 8, 128], Padding::Same),
        ([9, 44, 43, 5], [3, 3, 5, 126], Padding::Valid),
        ([16, 32, 32, 1], [3, 3, 1, 32], Padding::Valid),
    ]
    .into_iter()
    .enumerate()
    {
        let (x, w) = (whole(900 + 2 * i as u64, &image), whole(901 + 2 * i as u64, &kernel));
        let both = [Device::Cpu, Device::Gpu].map(|device| -> Result<[Vec<f32>; 3]> {
            let (x, w) = (x.tensor(device, DType::F32)?.watch()?, w.tensor(device, DType::F32)?.watch()?);
            let y = x.conv2d(&w, Conv2dOptions::new().padding(padding))?;
            // Small enough that sums over all pixels are whole numbers of f32.
            let up = y.clamp(-1.0, 1.0)?.detach()?;
            let grads = y.backward_with(&up)?;
            Ok([y.to_vec()?, grads.get(&x)?.to_vec()?, grads.get(&w)?.to_vec()?])
        });
        let [want, got] = both;
        assert!(want? == got?, "{image:?} by {kernel:?}");
    }
    Ok(())
}

/// Few outputs and a long k: cut over workgroups, added by a second kernel, which then has the epilogue.
#[test]
fn products_whose_k_is_split_and_their_epilogue() -> Result<()> {
    [[16, 8, 9000], [3, 5, 5003], [12, 34, 4096], [1, 1, 70_001]]
        .iter()
        .enumerate()
        .try_for_each(|(i, &size)| check_product(size, 1000 + 10 * i as u64))
}

/// What a kernel loads beyond the end of its k, or before its beginning, is a part of another row or matrix: times the other side's
/// zero, an infinity there would be NaN.
#[test]
fn infinities_stay_in_their_rows_and_columns() -> Result<()> {
    for (i, [m, n, k]) in [[5, 3, 7], [33, 17, 65], [40, 40, 70], [12, 8, 3001]].into_iter().enumerate() {
        for flips in 0..4 {
            let (ta, tb) = (flips & 1 == 1, flips & 2 == 2);
            let mut a = whole(i as u64, &if ta { [2, k, m] } else { [2, m, k] });
            let mut b = whole(50 + i as u64, &if tb { [2, n, k] } else { [2, k, n] });
            let (sa, sb) = (if ta { [1, m] } else { [k, 1] }, if tb { [1, k] } else { [n, 1] });
            // the first matrix of the batch: in its second row; the other: in the first row, in columns
            a.values[sa[0]] = f64::INFINITY;
            a.values[m * k] = f64::INFINITY;
            for j in [0, 1, n - 1] {
                b.values[k * n + j * sb[1]] = f64::INFINITY;
            }
            b.values[k * n + (k / 2) * sb[0]] = f64::INFINITY;
            // and what lies before the second row, the second column and the second matrix
            a.values[(k - 1) * sa[1]] = f64::INFINITY;
            b.values[(k - 1) * sb[0]] = f64::INFINITY;
            let (x, w) = (on_gpu(&a)?, on_gpu(&b)?);
            let left = if ta { x.transpose()? } else { x };
            let right = if tb { w.transpose()? } else { w };
            let mut want = product(&a.values[..m * k], sa, &b.values[..k * n], sb, [m, n, k]);
            want.extend(product(&a.values[m * k..], sa, &b.values[k * n..], sb, [m, n, k]));
            same(&format!("{m} x {n} x {k}, transposed {ta} {tb}"), &left.matmul(&right)?, &want)?;
        }
    }
    Ok(())
}

/// Batches of up to three axes that broadcast either way, of short products and of long ones whose k is split as well.
#[test]
fn products_of_batches() -> Result<()> {
    let list: [([usize; 3], [usize; 3], [usize; 3]); 4] = [
        ([3, 1, 1], [1, 1, 2], [20, 33, 37]),
        ([2, 1, 3], [1, 4, 3], [5, 6, 7]),
        ([2, 3, 1], [2, 1, 5], [9, 8, 12]),
        ([1, 3, 1], [1, 3, 1], [3, 5, 6000]),
    ];
    for (i, (left, right, [m, n, k])) in list.into_iter().enumerate() {
        let seed = 100 * i as u64;
        let a = whole(seed, &[&left[..], &[m, k]].concat());
        let b = whole(seed + 1, &[&right[..], &[k, n]].concat());
        let both: Vec<usize> = (0..3).map(|d| left[d].max(right[d])).collect();
        let up = whole(seed + 2, &[&both[..], &[m, n]].concat());
        let (x, w) = (on_gpu(&a)?, on_gpu(&b)?);
        let y = x.matmul(&w)?;
        let grads = y.backward_with(&up.tensor(Device::Gpu, DType::F32)?)?;
        let (mut c, mut da, mut db) = (Vec::new(), vec![0.0; a.values.len()], vec![0.0; b.values.len()]);
        let add = |to: &mut [f64], from: Vec<f64>| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        for z in 0..both.iter().product::<usize>() {
            let at = [z / both[2] / both[1], z / both[2] % both[1], z % both[2]];
            let place = |dims: [usize; 3]| (0..3).fold(0, |i, d| i * dims[d] + at[d].min(dims[d] - 1));
            let (p, q) = (place(left) * m * k, place(right) * k * n);
            let (a, b) = (&a.values[p..][..m * k], &b.values[q..][..k * n]);
            let u = &up.values[z * m * n..][..m * n];
            c.extend(product(a, [k, 1], b, [n, 1], [m, n, k]));
            add(&mut da[p..][..m * k], product(u, [n, 1], b, [1, n], [m, k, n]));
            add(&mut db[q..][..k * n], product(a, [1, k], u, [n, 1], [k, n, m]));
        }
        let what = |name: &str| format!("{name} of batches {left:?} and {right:?} of {m} x {n} x {k}");
        same(&what("product"), &y, &c)?;
        same(&what("left gradient"), &grads.get(&x)?, &da)?;
        same(&what("right gradient"), &grads.get(&w)?, &db)?;
    }
    Ok(())
}

/// A convolution of whole numbers.
#[derive(Clone, Copy, Debug)]
struct Conv {
    /// batch, height, width
    image: [usize; 3],
    kernel: [usize; 2],
    /// input and output channels per group, groups
    channels: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
}

const fn conv(image: [usize; 3], kernel: [usize; 2], channels: [usize; 3]) -> Conv {
    Conv { image, kernel, channels, stride: [1, 1], padding: [0; 4], dilation: [1, 1] }
}

impl Conv {
    const fn stride(self, stride: [usize; 2]) -> Conv {
        Conv { stride, ..self }
    }

    const fn padding(self, padding: [usize; 4]) -> Conv {
        Conv { padding, ..self }
    }

    const fn dilation(self, dilation: [usize; 2]) -> Conv {
        Conv { dilation, ..self }
    }

    /// Calls `f` with the places in image, kernel and output of every product.
    fn visit(&self, [oh, ow]: [usize; 2], mut f: impl FnMut(usize, usize, usize)) {
        let ([n, h, w], [kh, kw], [cin, cout, groups]) = (self.image, self.kernel, self.channels);
        let at = |o: usize, k: usize, axis: usize, pad: usize, size: usize| {
            let i = (o * self.stride[axis] + k * self.dilation[axis]).checked_sub(pad)?;
            (i < size).then_some(i)
        };
        for image in 0..n {
            for (oy, ky) in (0..oh).flat_map(|o| (0..kh).map(move |k| (o, k))) {
                let Some(y) = at(oy, ky, 0, self.padding[0], h) else { continue };
                for (ox, kx) in (0..ow).flat_map(|o| (0..kw).map(move |k| (o, k))) {
                    let Some(x) = at(ox, kx, 1, self.padding[2], w) else { continue };
                    for g in 0..groups {
                        for ci in 0..cin {
                            let i = ((image * h + y) * w + x) * cin * groups + g * cin + ci;
                            for co in 0..cout {
                                let k = ((ky * kw + kx) * cin + ci) * cout * groups + g * cout + co;
                                let o = ((image * oh + oy) * ow + ox) * cout * groups + g * cout + co;
                                f(i, k, o);
                            }
                        }
                    }
                }
            }
        }
    }

    fn check(&self, seed: u64) -> Result<()> {
        let ([n, h, w], [kh, kw], [cin, cout, groups]) = (self.image, self.kernel, self.channels);
        let image = whole(seed, &[n, h, w, cin * groups]);
        let kernel = whole(seed + 1, &[kh, kw, cin, cout * groups]);
        let bias = whole(seed + 2, &[cout * groups]);
        let [top, bottom, left, right] = self.padding;
        let options = Conv2dOptions::new()
            .stride(self.stride)
            .padding(Padding::Explicit([top, bottom, left, right]))
            .dilation(self.dilation)
            .groups(groups);
        let (x, k) = (on_gpu(&image)?, on_gpu(&kernel)?);
        let y = x.conv2d(&k, options)?;
        let fused = (x.conv2d(&k, options)? + &on_gpu(&bias)?)?.relu()?;
        let up = whole(seed + 3, y.dims());
        let grads = y.backward_with(&up.tensor(Device::Gpu, DType::F32)?)?;
        let (dx, dk) = (grads.get(&x)?, grads.get(&k)?);
        wgrad::eval(&[&y, &dx, &dk])?;
        let mut want = [vec![0.0; y.numel()], vec![0.0; x.numel()], vec![0.0; k.numel()]];
        self.visit([y.dims()[1], y.dims()[2]], |i, w, o| {
            want[0][o] += image.values[i] * kernel.values[w];
            want[1][i] += up.values[o] * kernel.values[w];
            want[2][w] += up.values[o] * image.values[i];
        });
        let what = |name: &str| format!("{name} of {self:?}");
        same(&what("convolution"), &y, &want[0])?;
        let channels = bias.values.len();
        let biased = want[0].iter().enumerate().map(|(i, v)| (v + bias.values[i % channels]).max(0.0));
        same(&what("convolution with an epilogue"), &fused, &biased.collect::<Vec<_>>())?;
        same(&what("input gradient"), &dx, &want[1])?;
        same(&what("weight gradient"), &dk, &want[2])
    }
}

fn check_all(cases: &[Conv], seed: u64) -> Result<()> {
    cases.iter().enumerate().try_for_each(|(i, case)| case.check(seed + 10 * i as u64))
}

#[test]
fn convolutions() -> Result<()> {
    let cases = [
        conv([2, 9, 8], [3, 3], [3, 5, 1]),
        conv([3, 12, 12], [3, 3], [1, 32, 1]),
        conv([2, 7, 7], [3, 3], [32, 64, 1]),
        conv([2, 6, 5], [1, 1], [12, 20, 1]),
        conv([1, 11, 10], [5, 4], [2, 3, 1]).padding([2, 1, 0, 3]),
        conv([2, 9, 11], [3, 3], [8, 8, 1]).stride([2, 3]).padding([1, 1, 1, 0]),
        conv([2, 8, 9], [2, 3], [4, 6, 1]).dilation([2, 3]).padding([1, 2, 3, 1]),
        // many images of few pixels: rows go through the images first
        conv([40, 5, 5], [3, 3], [8, 12, 1]).padding([1; 4]),
        conv([33, 5, 5], [3, 3], [4, 8, 1]).stride([2, 2]).padding([1; 4]),
    ];
    check_all(&cases, 100)
}

/// One small image and many channels: the kernel's places are shared out among workgroups.
#[test]
fn convolutions_whose_places_are_split_among_workgroups() -> Result<()> {
    let cases = [
        conv([1, 6, 6], [3, 3], [256, 8, 1]),
        conv([1, 4, 4], [3, 3], [256, 24, 1]).padding([1; 4]),
        conv([1, 5, 5], [3, 3], [256, 256, 1]),
        conv([1, 3, 3], [2, 2], [512, 5, 1]).stride([2, 2]).padding([1, 0, 0, 1]),
        // and the weight gradient over many pixels
        conv([16, 24, 24], [3, 3], [1, 4, 1]),
        conv([5, 20, 20], [3, 3], [8, 4, 1]).padding([1; 4]),
    ];
    check_all(&cases, 400)
}

#[test]
fn grouped_convolutions_with_eight_and_more_channels() -> Result<()> {
    let cases = [
        conv([2, 6, 7], [3, 3], [8, 8, 2]),
        conv([2, 6, 6], [3, 3], [12, 20, 3]).padding([1; 4]),
        conv([2, 7, 6], [3, 2], [16, 8, 2]).stride([2, 1]).padding([1, 0, 1, 1]),
        conv([2, 8, 8], [3, 3], [8, 12, 2]).dilation([2, 3]).padding([2, 2, 3, 3]),
        conv([1, 5, 5], [3, 3], [64, 16, 4]),
    ];
    check_all(&cases, 700)
}

#[test]
fn grouped_convolutions_with_few_channels() -> Result<()> {
    let cases = [
        conv([2, 7, 8], [3, 3], [2, 3, 4]).dilation([2, 1]).padding([1, 2, 0, 1]),
        conv([2, 9, 8], [2, 3], [1, 2, 3]).dilation([3, 2]).stride([2, 1]).padding([1; 4]),
        conv([2, 8, 8], [3, 3], [1, 1, 8]).dilation([2, 2]).padding([2; 4]),
        conv([3, 9, 7], [3, 3], [1, 1, 12]).stride([2, 2]).padding([1, 0, 0, 1]),
        conv([2, 6, 6], [3, 3], [7, 2, 3]),
        conv([2, 6, 6], [3, 3], [2, 9, 3]).padding([1; 4]),
        // a weight gradient over many pixels, cut into pieces
        conv([6, 40, 41], [3, 3], [1, 1, 4]).padding([1; 4]),
        conv([6, 40, 41], [2, 2], [2, 1, 2]),
    ];
    check_all(&cases, 800)
}

/// What reductions over axes give, by a plain loop.
fn reduced(x: &Input, axes: &[usize], f: fn(f64, f64) -> f64) -> Vec<f64> {
    let dims = &x.dims;
    let count: usize = (0..dims.len()).filter(|d| !axes.contains(d)).map(|d| dims[d]).product();
    let mut out: Vec<Option<f64>> = vec![None; count];
    for (i, &v) in x.values.iter().enumerate() {
        let (mut rest, mut at, mut step) = (i, 0, 1);
        for d in (0..dims.len()).rev() {
            if !axes.contains(&d) {
                at += rest % dims[d] * step;
                step *= dims[d];
            }
            rest /= dims[d];
        }
        out[at] = Some(out[at].map_or(v, |before| f(before, v)));
    }
    out.into_iter().flatten().collect()
}

/// Among others the last axis in quads and over 508, where sums are made of blocks.
#[test]
fn reductions_of_all_lengths() -> Result<()> {
    let shapes: [(&[usize], &[&[usize]]); 12] = [
        (&[3, 516], &[&[1], &[0], &[0, 1]]),
        (&[5, 1028], &[&[1], &[0]]),
        (&[2, 3, 2048], &[&[2], &[0, 2], &[1]]),
        (&[3, 5003], &[&[1], &[0]]),
        (&[700, 3], &[&[0], &[1]]),
        (&[4100, 8], &[&[0], &[0, 1]]),
        (&[66_000], &[&[0]]),
        // Real GPUs combine the pieces of four outputs at once, and of one output four pieces at once.
        (&[8, 2052], &[&[1]]),
        (&[4, 3, 1301], &[&[2], &[0, 1, 2]]),
        (&[700, 1000], &[&[0, 1]]),
        (&[65, 3, 129], &[&[0, 2], &[1], &[0, 1]]),
        (&[6, 520, 5, 4], &[&[1], &[1, 3], &[0, 2], &[3]]),
    ];
    for (i, (dims, lists)) in shapes.iter().enumerate() {
        let x = whole(50 + i as u64, dims);
        let t = x.tensor(Device::Gpu, DType::F32)?;
        for axes in *lists {
            let list: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
            let results = [t.sum(&list, false)?, t.max(&list, false)?, t.min(&list, true)?];
            wgrad::eval(&results.iter().collect::<Vec<_>>())?;
            let loops: [fn(f64, f64) -> f64; 3] = [|a, b| a + b, f64::max, f64::min];
            for ((name, got), f) in ["sum", "max", "min"].iter().zip(&results).zip(loops) {
                same(&format!("{name} of {dims:?} over {axes:?}"), got, &reduced(&x, axes, f))?;
            }
            let ints = t.cast(DType::I32)?.sum(&list, false)?;
            same(&format!("i32 sum of {dims:?} over {axes:?}"), &ints, &reduced(&x, axes, |a, b| a + b))?;
        }
    }
    Ok(())
}

/// The extreme stands at the beginning and end of every piece that an axis may be cut into.
#[test]
fn extremes_at_the_ends_of_pieces() -> Result<()> {
    for n in [5000usize, 40_000] {
        let mut places: Vec<usize> = vec![0, 1, 2, 3, n - 2, n - 1];
        for length in [128, 256, 264, 512, n.isqrt() + 1] {
            places.extend([length - 1, length, 2 * length - 1, 2 * length, (n / length) * length - 1]);
        }
        places.extend((0..n).step_by(n / 23));
        let x = whole(9, &[n]);
        for (i, &p) in places.iter().enumerate() {
            let mut values = x.values.clone();
            values[p] = 7.0;
            // a second one later must not win
            values[p + (n - 1 - p) / 2] =
                values[p + (n - 1 - p) / 2].max(if i % 2 == 0 { 7.0 } else { -3.0 });
            let high = Input::given(&[n], values.clone()).tensor(Device::Gpu, DType::F32)?;
            let low = high.neg()?;
            let rows = high.reshape([2, n / 2])?;
            let results = [
                high.argmax(0, false)?,
                low.argmin(0, false)?,
                high.max(0, false)?.cast(DType::I32)?,
                low.min(0, false)?.neg()?.cast(DType::I32)?,
                rows.max(.., false)?.cast(DType::I32)?,
                rows.argmax(1, false)?.slice(0, p / (n / 2), 1)?,
            ];
            // one by one: evaluated together, small kernels become one
            results.iter().try_for_each(Tensor::eval)?;
            let want = [p, p, 7, 7, 7, p % (n / 2)];
            for (k, (got, want)) in results.iter().zip(want).enumerate() {
                assert_eq!(values_of(got)?, [want as f64], "result {k}, extreme at {p} of {n}");
            }
        }
        // the largest place of a column among many
        let columns = Input::given(&[n / 8, 8], x.values.clone());
        let t = columns.tensor(Device::Gpu, DType::F32)?;
        let first = |c: usize| {
            let mut best = 0;
            for r in 0..n / 8 {
                if columns.values[r * 8 + c] > columns.values[best * 8 + c] {
                    best = r;
                }
            }
            best as f64
        };
        assert_eq!(values_of(&t.argmax(0, false)?)?, (0..8).map(first).collect::<Vec<_>>());
    }
    Ok(())
}

/// Of equals the first, of NaN the first: wherever they stand among the four neighbours that real GPUs read at once.
#[test]
fn extremes_of_rows_of_quads() -> Result<()> {
    for n in [4usize, 8, 12, 64, 4100] {
        for (p, q) in [(0, 1), (1, 2), (2, 3), (3, n - 1), (n - 4, n - 1), (n - 2, n - 3), (n - 1, 0)] {
            let values: Vec<f64> = (0..3 * n).map(|i| f64::from(i % n == p || i % n == q)).collect();
            let x = Input::given(&[3, n], values.clone()).tensor(Device::Gpu, DType::F32)?;
            let ints = x.cast(DType::I32)?;
            let nan = values.iter().map(|&v| if v == 1.0 { f64::NAN } else { f64::INFINITY }).collect();
            let nan = Input::given(&[3, n], nan).tensor(Device::Gpu, DType::F32)?;
            // Zeros of both signs are equal.
            let zeros = values.iter().map(|&v| if v == 1.0 { -0.0 } else { 0.0 }).collect();
            let zeros = Input::given(&[3, n], zeros).tensor(Device::Gpu, DType::F32)?;
            let first = p.min(q) as f64;
            let others = (0..n).find(|i| *i != p && *i != q).map_or(0.0, |i| i as f64);
            let results = [
                ("argmax", x.argmax(1, false)?, first),
                ("argmin", x.argmin(1, false)?, others),
                ("argmin of negatives", x.neg()?.argmin(1, false)?, first),
                ("argmax of i32", ints.argmax(1, false)?, first),
                ("argmin of i32", ints.argmin(1, false)?, others),
                ("argmax of u32", ints.cast(DType::U32)?.argmax(1, true)?, first),
                ("argmax of NaN", nan.argmax(1, false)?, first),
                ("argmin of NaN", nan.argmin(1, false)?, first),
                ("argmax of zeros", zeros.argmax(1, false)?, 0.0),
            ];
            results.iter().try_for_each(|(_, result, _)| result.eval())?;
            for (name, got, want) in &results {
                assert_eq!(values_of(got)?, [*want; 3], "{name}, {n} in a row, at {p} and {q}");
            }
        }
    }
    Ok(())
}

fn values_of(t: &Tensor) -> Result<Vec<f64>> {
    values(t)
}

/// The gradient of picking lines, some of them hundreds of times, along a middle axis.
#[test]
fn picks_that_repeat_hundreds_of_times_beside_other_axes() -> Result<()> {
    for inner in [1usize, 3, 4, 8] {
        for (outer, axis, count) in
            [(3usize, 4usize, 700usize), (2, 5, 1500), (1, 2, 257), (2, 300, 90), (3, 1, 512), (2, 2, 611)]
        {
            let x = whole(1, &[outer, axis, inner]);
            let mut rng = Rng(count as u64);
            // most picks are of one line; of 611, one too few for two whole chunks are of the first
            let picks: Vec<usize> = (0..count)
                .map(|k| match count {
                    611 => usize::from(k >= 511),
                    _ if rng.int(0, 2) > 0 => axis / 2,
                    _ => rng.int(0, axis - 1),
                })
                .collect();
            let at = Tensor::from_vec(picks.iter().map(|&p| p as u32).collect(), [count], Device::Gpu)?;
            let t = on_gpu(&x)?;
            let y = t.index_select(1, &at)?;
            let up = whole(2, &[outer, count, inner]);
            let dx = y.backward_with(&up.tensor(Device::Gpu, DType::F32)?)?.get(&t)?;
            let (mut want, mut back) = (Vec::new(), vec![0.0; x.values.len()]);
            for o in 0..outer {
                for (k, &p) in picks.iter().enumerate() {
                    for i in 0..inner {
                        want.push(x.values[(o * axis + p) * inner + i]);
                        back[(o * axis + p) * inner + i] += up.values[(o * count + k) * inner + i];
                    }
                }
            }
            let what = format!("of [{outer}, {axis}, {inner}], {count} picks");
            same(&format!("lines {what}"), &y, &want)?;
            same(&format!("gradient {what}"), &dx, &back)?;
        }
    }
    Ok(())
}

/// Both devices draw the same bits: uniform numbers are 24 of them, integers 32.
#[test]
fn random_bits_are_the_same_on_both_devices() -> Result<()> {
    for seed in [0, 1, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX, 0x0123_4567_89AB_CDEF] {
        let draw = |device: Device| -> Result<Vec<Vec<f64>>> {
            let drawn = [
                Tensor::rand([10_007], device, seed)?,
                Tensor::rand([17, 3, 4], device, seed)?,
                Tensor::randint(-5, 1_000_000, [5003], device, seed)?,
                Tensor::randint(-7, (1 << 24) - 7, [1024], device, seed)?,
            ];
            drawn.iter().map(values).collect()
        };
        assert_eq!(draw(Device::Gpu)?, draw(Device::Cpu)?, "seed {seed}");
        // a logarithm rounds differently
        let normal = |device| Tensor::randn([10_007], device, seed);
        assert_close(normal(Device::Gpu)?, normal(Device::Cpu)?, 3e-6, 1e-6)?;
    }
    Ok(())
}

/// Powers of integers wrap around as products do.
#[test]
fn powers_of_integers() -> Result<()> {
    let bases: Vec<i32> = vec![-7, -3, -2, -1, 0, 1, 2, 3, 5, 10, 46_341, i32::MAX];
    for e in [0u32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 31] {
        for device in [Device::Cpu, Device::Gpu] {
            let x = Tensor::from_vec(bases.clone(), [bases.len()], device)?;
            let want: Vec<i32> = bases.iter().map(|b| b.wrapping_pow(e)).collect();
            assert_eq!(x.pow(e as f64)?.to_vec::<i32>()?, want, "i32, exponent {e} on {device}");
            let u = x.cast(DType::U32)?;
            let want: Vec<u32> = u.to_vec::<u32>()?.iter().map(|b| b.wrapping_pow(e)).collect();
            assert_eq!(u.pow(e as f64)?.to_vec::<u32>()?, want, "u32, exponent {e} on {device}");
        }
    }
    Ok(())
}

/// Whole numbers to whole powers are products: exact as long as they fit.
#[test]
fn whole_powers_of_floats() -> Result<()> {
    let bases: Vec<f32> = (-6..=6).map(|b| b as f32).collect();
    for device in [Device::Cpu, Device::Gpu] {
        let x = Tensor::from_vec(bases.clone(), [bases.len()], device)?;
        for e in 2..=9 {
            let want: Vec<f64> = bases.iter().map(|&b| f64::from(b).powi(e)).collect();
            same(&format!("exponent {e} on {device}"), &x.pow(f64::from(e))?, &want)?;
        }
    }
    Ok(())
}

/// `e^x - 1` and `log(1 + x)` where their formulas change, through the functions that use them.
#[test]
fn exponentials_and_logarithms_near_a_half() -> Result<()> {
    let x: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.005).chain([-0.5, 0.5, -1e-4, 1e-4, -1e-7]).collect();
    // softplus is log1p(exp(-|x|)): around log 2 that is log1p of a half
    let near: Vec<f32> =
        (-200..=200).map(|i| std::f32::consts::LN_2 + i as f32 * 0.002).flat_map(|v| [v, -v]).collect();
    for device in [Device::Cpu, Device::Gpu] {
        let elu = Tensor::from_vec(x.clone(), [x.len()], device)?.elu()?;
        let want: Vec<f64> =
            x.iter().map(|&v| if v > 0.0 { v as f64 } else { f64::from(v).exp_m1() }).collect();
        same_within(&format!("elu on {device}"), &elu, &want)?;
        let softplus = Tensor::from_vec(near.clone(), [near.len()], device)?.softplus()?;
        let want: Vec<f64> =
            near.iter().map(|&v| f64::from(v).max(0.0) + (-f64::from(v).abs()).exp().ln_1p()).collect();
        same_within(&format!("softplus on {device}"), &softplus, &want)?;
    }
    Ok(())
}

fn same_within(what: &str, got: &Tensor, want: &[f64]) -> Result<()> {
    assert_close(got, want, 1e-6, 1e-12).map_err(|e| Error::mismatch(what, e.to_string()))
}
