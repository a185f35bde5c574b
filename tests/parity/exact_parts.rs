//! Products of parts of matrices, which are read where they lie: bindings begin at multiples of 256 bytes, parts anywhere.

use super::{product, whole};
use wgrad::prelude::*;

/// A part of a stored matrix: where it begins, and how far.
#[derive(Clone, Copy, Debug)]
struct Part {
    stored: [usize; 2],
    first: [usize; 2],
    shape: [usize; 2],
}

impl Part {
    /// Its elements from the first on, and its strides.
    fn values<'v>(&self, stored: &'v [f64]) -> (&'v [f64], [usize; 2]) {
        (&stored[self.first[0] * self.stored[1] + self.first[1]..], [self.stored[1], 1])
    }

    fn of(&self, stored: &Tensor) -> Result<Tensor> {
        stored.slice(0, self.first[0], self.shape[0])?.slice(1, self.first[1], self.shape[1])
    }
}

/// `left @ right` of two parts, each stored as it is or transposed, with an epilogue, and its gradients: those of what lies outside
/// of the parts are zero.
fn check(a: Part, b: Part, [ta, tb]: [bool; 2], fused: bool) -> Result<()> {
    let (x, y) = (whole(1, &a.stored), whole(2, &b.stored));
    let (stored_a, stored_b) =
        (x.tensor(Device::Gpu, DType::F32)?.watch()?, y.tensor(Device::Gpu, DType::F32)?.watch()?);
    // Stored, so that the products meet views of buffers, as slices of results are.
    wgrad::eval(&[&stored_a, &stored_b])?;
    let turn = |t: Tensor, turned: bool| if turned { t.transpose() } else { Ok(t) };
    let (left, right) = (turn(a.of(&stored_a)?, ta)?, turn(b.of(&stored_b)?, tb)?);
    let mut out = left.matmul(&right)?;
    if fused {
        out = (out + 1.0)?;
    }
    let swap = |v: [usize; 2], turned: bool| if turned { [v[1], v[0]] } else { v };
    let (va, sa) = a.values(&x.values);
    let (vb, sb) = b.values(&y.values);
    let (sa, sb) = (swap(sa, ta), swap(sb, tb));
    let [m, k] = swap(a.shape, ta);
    let n = swap(b.shape, tb)[1];
    let mut want = product(va, sa, vb, sb, [m, n, k]);
    want.iter_mut().for_each(|w| *w += f64::from(u8::from(fused)));
    let what = format!("{a:?} @ {b:?}, transposed {ta} {tb}");
    let same = |what: &str, got: &Tensor, want: &[f64]| -> Result<()> {
        let got: Vec<f64> = got.to_vec::<f32>()?.into_iter().map(f64::from).collect();
        assert!(got == want, "{what}: {got:?} instead of {want:?}");
        Ok(())
    };
    same(&what, &out, &want)?;
    // With a gradient of ones: the sums of the other side's rows or columns.
    let grads = out.sum(.., false)?.backward()?;
    let mut da = vec![0.0; x.values.len()];
    let mut db = vec![0.0; y.values.len()];
    let at = |part: &Part, [i, j]: [usize; 2], turned: bool| {
        let [i, j] = if turned { [j, i] } else { [i, j] };
        (part.first[0] + i) * part.stored[1] + part.first[1] + j
    };
    for l in 0..k {
        let of_row: f64 = (0..n).map(|j| vb[l * sb[0] + j * sb[1]]).sum();
        let of_column: f64 = (0..m).map(|i| va[i * sa[0] + l * sa[1]]).sum();
        (0..m).for_each(|i| da[at(&a, [i, l], ta)] = of_row);
        (0..n).for_each(|j| db[at(&b, [l, j], tb)] = of_column);
    }
    same(&format!("gradient of a of {what}"), &grads.get(&stored_a)?, &da)?;
    same(&format!("gradient of b of {what}"), &grads.get(&stored_b)?, &db)
}

/// From every element of a line of bindings on, and beyond: quads, pairs and single elements.
#[test]
fn products_of_parts_that_begin_anywhere() -> Result<()> {
    for (round, (columns, shape)) in [(24, [5, 8]), (68, [17, 12]), (23, [9, 7])].into_iter().enumerate() {
        for start in [0, 1, 2, 3, 4, 7, 8, 12] {
            for turned in 0..4 {
                let turned = [turned & 1 > 0, turned & 2 > 0];
                let row = (start * 5 + round) % 11;
                let a = Part { stored: [32, columns], first: [row, start], shape };
                let k = if turned[0] { shape[0] } else { shape[1] };
                let other = if turned[1] { [12, k] } else { [k, 12] };
                let b = Part {
                    stored: [24, 36],
                    first: [(start * 3 + round) % 7, 36 - 17 - start],
                    shape: other,
                };
                check(a, b, turned, start % 2 == 0)?;
            }
        }
    }
    Ok(())
}

/// A step of a sequence is every T-th row: `[batch, T, features]` at a time.
#[test]
fn products_of_the_steps_of_a_sequence() -> Result<()> {
    let (batch, inputs, units) = (6, 8, 12);
    for steps in [1, 5, 9] {
        let (x, w) = (whole(3, &[batch, steps, inputs]), whole(4, &[inputs, units]));
        let (sequence, weight) =
            (x.tensor(Device::Gpu, DType::F32)?, w.tensor(Device::Gpu, DType::F32)?.watch()?);
        let mut sums = Vec::new();
        for t in 0..steps {
            let step = sequence.slice(1, t, 1)?.reshape([batch, inputs])?;
            let got = step.matmul(&weight)?;
            let want = product(
                &x.values[t * inputs..],
                [steps * inputs, 1],
                &w.values,
                [units, 1],
                [batch, units, inputs],
            );
            assert_eq!(got.to_vec::<f32>()?.into_iter().map(f64::from).collect::<Vec<_>>(), want, "step {t}");
            sums.push(got.sum(.., false)?);
        }
        let loss = Tensor::stack(&sums, 0)?.sum(.., false)?;
        let got = loss.backward()?.get(&weight)?.to_vec::<f32>()?;
        for i in 0..inputs {
            let want: f64 = x.values.iter().skip(i).step_by(inputs).sum();
            (0..units).for_each(|j| assert_eq!(f64::from(got[i * units + j]), want, "{i}, {j}"));
        }
    }
    Ok(())
}

/// Joined and padded tensors, whose parts kernels compute by fours where these are whole quads: exactly what the CPU gives. Alone, in sums, beside
/// loads of the same tensors from other places, as a gradient, and in bytes.
#[test]
fn joined_and_padded_parts_of_whole_quads_and_others() -> Result<()> {
    fn both(what: &str, f: impl Fn(Device) -> Result<Vec<Tensor>>) -> Result<()> {
        for (i, (gpu, cpu)) in f(Device::Gpu)?.iter().zip(&f(Device::Cpu)?).enumerate() {
            let numbers = |t: &Tensor| t.to_device(Device::Cpu)?.cast(DType::F32)?.to_vec::<f32>();
            assert_eq!((gpu.shape(), numbers(gpu)?), (cpu.shape(), numbers(cpu)?), "{what}, result {i}");
        }
        Ok(())
    }
    let widths: [&[usize]; 9] = [
        &[4, 8],
        &[8, 4, 12],
        &[256, 256, 256, 256],
        &[4, 5],
        &[3, 4, 8],
        &[8, 6],
        &[6, 2, 8],
        &[1, 1],
        &[16],
    ];
    for (round, widths) in widths.into_iter().enumerate() {
        for rows in [1, 3, 8] {
            for dtype in [DType::F32, DType::U8] {
                let parts = |device| -> Result<Vec<Tensor>> {
                    let part = |(i, &width): (usize, &usize)| {
                        let values = whole((10 * round + i) as u64, &[rows, width]);
                        let part = values.tensor(device, DType::F32)?.abs()?.cast(dtype)?;
                        part.eval()?;
                        Ok(part)
                    };
                    widths.iter().enumerate().map(part).collect()
                };
                both(&format!("{rows} rows of {widths:?}, {dtype}"), |device| {
                    let parts = parts(device)?;
                    let joined = Tensor::concat(&parts, -1)?;
                    let n = joined.shape()[1];
                    let line = Tensor::concat(
                        &parts.iter().map(|p| p.reshape([p.numel()])).collect::<Result<Vec<_>>>()?,
                        0,
                    )?;
                    let turned =
                        Tensor::concat(&parts.iter().map(Tensor::transpose).collect::<Result<Vec<_>>>()?, 0)?;
                    // The first part is read where it lies and one place further on, too.
                    let shifted = parts[0].roll(1, -1)?.pad([(0, 0), (0, n - widths[0])], 1.0)?;
                    let sum = joined.cast(DType::F32)?.sum(-1, false)?;
                    Ok(vec![(&joined + &shifted)?, joined, line, turned, sum])
                })?;
                for (before, behind) in [(4, 8), (0, 4), (4, 0), (4, 3), (1, 4), (8, 8)] {
                    both(&format!("{before} and {behind} beside {rows} rows of {}", widths[0]), |device| {
                        let x = &parts(device)?[0];
                        let padded = x.pad([(0, 0), (before, behind)], 7.0)?;
                        let around = x.pad([(1, 2), (before, behind)], 7.0)?;
                        let line = x.reshape([x.numel()])?.pad([(before, behind)], 7.0)?;
                        let sum = (padded.cast(DType::F32)? * 3.0)?.sum(-1, false)?;
                        Ok(vec![(&padded + 1.0)?, padded, around, line, sum])
                    })?;
                }
            }
            // The gradient of slices is padded, that of joined parts sliced.
            both(&format!("gradients, {rows} rows of {widths:?}"), |device| {
                let n = widths.iter().sum::<usize>();
                let x = whole(round as u64, &[rows, n]).tensor(device, DType::F32)?.watch()?;
                let mut first = 0;
                let mut parts = Vec::new();
                for &width in widths.iter() {
                    parts.push((x.slice(1, first, width)?.square()? * (first + 1) as f64)?);
                    first += width;
                }
                parts.rotate_left(1);
                let joined = Tensor::concat(&parts, -1)?;
                Ok(vec![(&joined * &joined)?.sum(.., false)?.backward()?.get(&x)?])
            })?;
        }
    }
    Ok(())
}
