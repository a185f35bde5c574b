//! Shapes that change: many pieces joined and cut, and kernels that know no sizes.

mod common;

use common::{Rng, tensor, values};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::graph::{ScanMemory, ScanOptions, scan};
use wgrad::nn::{Context, Ctc, Embedding, Loss, PositionEmbedding, RmsNorm, TransformerDecoder};
use wgrad::prelude::*;

on_both_devices! {
    many_tensors_joined_along_every_axis;
    gradients_of_many_slices_are_sums_of_their_pieces;
    an_unrolled_recurrence_has_its_gradient;
    axes_of_one_among_others_are_summed_over;
}

/// Those who count pipelines, and those who make any, one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small whole numbers, whose sums are exact.
fn whole(rng: &mut Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.int(0, 6) as f64).collect()
}

/// Where an element of a tensor of this shape is in row-major order, but for its place along `axis`.
fn outer_inner(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[..axis].iter().product(), shape[axis + 1..].iter().product())
}

mod checks {
    use super::*;

    pub fn many_tensors_joined_along_every_axis(d: Device) -> Result<()> {
        let _alone = alone();
        let mut rng = Rng(1);
        for (case, dtype) in
            [DType::F32, DType::I32, DType::U32, DType::U8].into_iter().cycle().take(24).enumerate()
        {
            let rank = 1 + case % 3;
            let axis = rng.int(0, rank - 1);
            let mut shape: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 3, 4, 8])).collect();
            let count = rng.pick(&[2, 6, 7, 9, 33]);
            let lengths: Vec<usize> = (0..count).map(|_| rng.pick(&[0, 1, 2, 3, 4, 12])).collect();
            let total: usize = lengths.iter().sum();
            let (outer, inner) = outer_inner(&shape, axis);
            let mut want = vec![0.0; outer * total * inner];
            let (mut parts, mut at) = (Vec::new(), 0);
            for (k, &len) in lengths.iter().enumerate() {
                shape[axis] = len;
                let part = whole(&mut rng, outer * len * inner);
                for o in 0..outer {
                    let to = (o * total + at) * inner;
                    want[to..to + len * inner].copy_from_slice(&part[o * len * inner..(o + 1) * len * inner]);
                }
                at += len;
                let t = tensor(&part, &shape, dtype, d)?;
                // Computed, read through a view, or there already.
                parts.push(match k % 3 {
                    0 => (&t * 2.0)?.maximum(&t)?,
                    1 => t.flip(axis as isize)?.flip(axis as isize)?,
                    _ => {
                        t.eval()?;
                        t
                    }
                });
                if k % 3 == 0 {
                    for o in 0..outer {
                        let to = (o * total + at - len) * inner;
                        want[to..to + len * inner].iter_mut().for_each(|v| *v *= 2.0);
                    }
                }
            }
            let joined = Tensor::concat(&parts, axis as isize)?;
            let what = format!("case {case}: {count} of {dtype} along {axis} of {:?}", joined.shape());
            // With something that goes on computing from it, in the same plan.
            let more = (&joined + &joined)?;
            let double: Vec<f64> = want.iter().map(|v| 2.0 * v).collect();
            assert_eq!(values(&more)?, double, "{what}");
            assert_eq!(values(&joined)?, want, "{what}");
        }
        Ok(())
    }

    pub fn gradients_of_many_slices_are_sums_of_their_pieces(d: Device) -> Result<()> {
        let _alone = alone();
        let mut rng = Rng(2);
        for case in 0..20 {
            let rank = 1 + case % 3;
            let axis = rng.int(0, rank - 1);
            let mut shape: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 4, 5])).collect();
            let n = rng.int(1, 40);
            shape[axis] = n;
            let (outer, inner) = outer_inner(&shape, axis);
            let x = tensor(&whole(&mut rng, outer * n * inner), &shape, DType::F32, d)?.watch()?;
            let mut want = vec![0.0; outer * n * inner];
            // Beside each other, with gaps, over each other, at one place, and some uses of the whole.
            let kind = case % 5;
            let mut loss = Tensor::zeros([], d)?;
            for k in 0..rng.int(1, 20) {
                let (start, len) = match kind {
                    0 => (k % n, 1),
                    1 => (2 * k % n, 1),
                    2 => {
                        let start = k % n;
                        (start, rng.int(1, n - start))
                    }
                    3 => (0, 1),
                    _ if k % 4 == 3 => (0, n),
                    _ => (k % n, rng.int(0, n - k % n)),
                };
                let weight = rng.int(1, 5) as f64;
                loss = (loss + (x.slice(axis as isize, start, len)?.sum(.., false)? * weight)?)?;
                for o in 0..outer {
                    let at = (o * n + start) * inner;
                    want[at..at + len * inner].iter_mut().for_each(|v| *v += weight);
                }
            }
            let gradient = loss.backward()?.get(&x)?;
            assert_eq!(values(&gradient)?, want, "case {case}: axis {axis} of {shape:?}");
        }
        Ok(())
    }

    /// `h[t + 1] = a h[t] + x[t]`, of which all h are summed: h[T] is a polynomial of a, and the gradient its derivative.
    pub fn an_unrolled_recurrence_has_its_gradient(d: Device) -> Result<()> {
        let _alone = alone();
        for steps in [1, 2, 7, 8, 20] {
            let x =
                Tensor::from_vec((0..steps).map(|t| t as f32 % 3.0).collect(), [1, steps, 1], d)?.watch()?;
            let a = Tensor::new([[0.5f32]], d)?.watch()?;
            let mut h = Tensor::zeros([1, 1], d)?;
            let mut all = Vec::new();
            for t in 0..steps {
                h = (h.matmul(&a)? + x.slice(1, t, 1)?.reshape([1, 1])?)?;
                all.push(h.clone());
            }
            let loss = Tensor::stack(&all, 1)?.sum(.., false)?;
            let grads = loss.backward()?;
            // dL/dx[t] = 1 + a + ... + a^(T - 1 - t); powers of one half are exact
            let want: Vec<f64> = (0..steps).map(|t| 2.0 - 0.5f64.powi((steps - t) as i32 - 1)).collect();
            assert_eq!(values(&grads.get(&x)?)?, want, "{steps} steps");
            let (mut h, mut dh, mut slope) = (0.0f64, 0.0f64, 0.0f64);
            for t in 0..steps {
                dh = h + 0.5 * dh;
                h = 0.5 * h + (t % 3) as f64;
                slope += dh;
            }
            assert_eq!(values(&grads.get(&a)?)?, [slope], "{steps} steps");
        }
        Ok(())
    }

    /// The first axis has a place in kernels even where it is one, wherever the order of memory puts it among those summed over.
    pub fn axes_of_one_among_others_are_summed_over(d: Device) -> Result<()> {
        let _alone = alone();
        for shape in [&[1][..], &[5, 1], &[1, 5], &[1, 1, 5], &[3, 1, 5], &[1, 6, 4], &[1, 3, 1, 7]] {
            let n: usize = shape.iter().product();
            let x: Vec<f64> = (0..n).map(|i| (i % 13) as f64 + 1.0).collect();
            for mask in 1..1u32 << shape.len() {
                let axes: Vec<isize> = (0..shape.len() as isize).filter(|a| mask >> a & 1 > 0).collect();
                let kept: usize = (0..shape.len()).filter(|a| mask >> a & 1 == 0).map(|a| shape[a]).product();
                let mut want = vec![0.0; kept];
                for (i, v) in x.iter().enumerate() {
                    let (mut left, mut step, mut at) = (i, 1, 0);
                    for (a, &len) in shape.iter().enumerate().rev() {
                        if mask >> a & 1 == 0 {
                            at += left % len * step;
                            step *= len;
                        }
                        left /= len;
                    }
                    want[at] += 2.0 * v;
                }
                let sum =
                    (tensor(&x, shape, DType::F32, d)? * 2.0)?.flip(0)?.flip(0)?.sum(&axes[..], false)?;
                assert_eq!(values(&sum)?, want, "{shape:?} over {axes:?}");
            }
        }
        Ok(())
    }
}

/// Pipelines that were compiled so far.
fn pipelines() -> Result<u64> {
    Ok(Device::Gpu.stats()?.pipelines)
}

/// One step of a random graph over tensors of shape `[n, t, c]`, `[t, c]`, `[c]` and `[n, t, 1]`.
#[derive(Clone, Copy, Debug)]
enum Step {
    Unary(usize),
    Binary(usize),
    Row,
    Column,
    Sum(isize),
    Slice,
    Flip(isize),
    Swap,
    Shift,
    Pad,
    Join,
    Flat,
    Where,
    Random,
}

/// What the graph gives at these sizes; its steps know nothing of them. Cuts and shifts are by as much as `cut` says.
fn random_graph(steps: &[Step], [n, t, c]: [usize; 3], cut: usize, d: Device) -> Result<Vec<Tensor>> {
    let base = |shape: &[usize], seed: u64| -> Result<Tensor> {
        let numel: usize = shape.iter().product();
        let values = (0..numel).map(|i| ((i as u64 * 37 + seed * 11) % 23) as f32 / 23.0 + 0.25).collect();
        Tensor::from_vec(values, shape, d)
    };
    let mut x = base(&[n, t, c], 1)?.watch()?;
    let start = x.clone();
    let mut out = Vec::new();
    for (k, step) in steps.iter().enumerate() {
        let seed = k as u64;
        x = match step {
            Step::Unary(0) => x.tanh()?,
            Step::Unary(1) => x.sigmoid()?,
            Step::Unary(_) => (x.square()? * 0.5)?,
            Step::Binary(0) => (&x + base(&[n, t, c], seed)?)?,
            Step::Binary(_) => (&x * base(&[t, c], seed)?)?,
            Step::Row => (&x - base(&[c], seed)?)?,
            Step::Column => (&x * base(&[n, t, 1], seed)?)?,
            Step::Sum(axis) => {
                let sum = x.mean(*axis, true)?;
                out.push(sum.clone());
                (&x - sum)?
            }
            Step::Slice => {
                let part = x.slice(1, cut, t - cut)?;
                out.push((&part * 3.0)?);
                let (left, right) = (x.slice(1, 0, cut)?, x.slice(1, cut, t - cut)?);
                Tensor::concat(&[&right, &left], 1)?
            }
            Step::Flip(axis) => x.flip(*axis)?,
            Step::Swap => {
                let swapped = x.permute([1, 0, 2])?;
                out.push((&swapped + 1.0)?);
                (swapped * 2.0)?.permute([1, 0, 2])?
            }
            Step::Shift => {
                let whole = x.pad([(0, 0), (cut, 0), (0, 0)], 0.0)?;
                whole.slice(1, 0, t)?
            }
            Step::Pad => {
                out.push(x.pad([(cut, cut), (0, 0), (cut, 0)], 1.0)?);
                x
            }
            Step::Join => {
                let rows: Vec<Tensor> = (0..9).map(|k| x.slice(1, k % t, 1)).collect::<Result<_>>()?;
                out.push(Tensor::concat(&rows, 1)?);
                x
            }
            Step::Flat => x.reshape([n * t, c])?.cos()?.reshape([n, t, c])?,
            Step::Where => base(&[n, t, 1], seed)?.gt(0.6)?.select(&x, base(&[t, c], seed)?)?,
            Step::Random => (&x + (Tensor::rand([n, t, c], d, seed)? * 0.125)?)?,
        };
    }
    let loss = x.square()?.mean(.., false)?;
    out.push(loss.backward()?.get(&start)?);
    out.push(loss);
    out.push(x);
    wgrad::eval(&out.iter().collect::<Vec<_>>())?;
    Ok(out)
}

/// Training steps of a transformer with other batches and lengths.
#[test]
fn lengths_of_transformers_make_no_pipelines() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new()
        .add(Embedding::new(11, 16))
        .add(PositionEmbedding::new(64))
        .add(TransformerDecoder::new(24, 4).kv_heads(2).rotary(1e4).dropout(0.1).normalize_first(true))
        .add(RmsNorm::new())
        .add(Dense::new(11))
        .build((None,), Device::Gpu)?;
    let step = |batch: usize, length: usize| -> Result<()> {
        let tokens = Tensor::randint(0, 11, [batch, length], Device::Gpu, 5)?;
        let logits = model.forward(&tokens.cast(DType::U32)?, &Context::train(length as u64))?;
        let loss = logits.reshape([batch * length, 11])?.cross_entropy(&tokens.reshape([batch * length])?)?;
        let grads = loss.backward()?;
        let all = model.parameters().iter().map(|p| grads.get(&p.variable)).collect::<Result<Vec<_>>>()?;
        wgrad::eval(&all.iter().collect::<Vec<_>>())
    };
    // The first sizes of their classes: which small kernels share a dispatch depends on how large they are.
    step(6, 20)?;
    step(6, 28)?;
    let start = pipelines()?;
    for (batch, length) in [(5, 20), (7, 24), (5, 28), (4, 24)] {
        step(batch, length)?;
        assert_eq!(pipelines()? - start, 0, "{batch} sequences of {length}");
    }
    Ok(())
}

#[test]
fn sizes_alone_make_no_pipelines() -> Result<()> {
    let _alone = alone();
    let kinds = [
        Step::Unary(0),
        Step::Unary(1),
        Step::Unary(2),
        Step::Binary(0),
        Step::Binary(1),
        Step::Row,
        Step::Column,
        Step::Sum(0),
        Step::Sum(1),
        Step::Sum(2),
        Step::Slice,
        Step::Flip(0),
        Step::Flip(1),
        Step::Swap,
        Step::Shift,
        Step::Pad,
        Step::Join,
        Step::Flat,
        Step::Where,
        Step::Random,
    ];
    let mut rng = Rng(7);
    let mut found = Vec::new();
    for graph in 0..30 {
        let steps: Vec<Step> = (0..rng.int(3, 9)).map(|_| rng.pick(&kinds)).collect();
        // Sizes of one kind: all of them multiples of four, or none; no two of one length, of which indices could be simplified;
        // nothing that grows fourfold by a border, since what does is not computed again for each; and no kernel so large that it
        // shares no dispatch.
        let quads = graph % 2 == 0;
        let mut sizes = || {
            let mut size = |from: usize, to: usize| match quads {
                true => 4 * rng.int(from.div_ceil(4), to / 4),
                false => rng.int(from, to - 1) | 1,
            };
            let (n, t, c) = (size(8, 12), size(30, 40), size(20, 28));
            ([n, t, c], rng.pick(&[2, 6]))
        };
        let (first, cut) = sizes();
        random_graph(&steps, first, cut, Device::Gpu)?;
        for _ in 0..6 {
            let before = pipelines()?;
            let (next, cut) = sizes();
            let got = random_graph(&steps, next, cut, Device::Gpu)?;
            let new = pipelines()? - before;
            if new > 0 {
                found.push(format!("graph {graph}, {steps:?}: {first:?}, then {next:?} cut at {cut}: {new}"));
            }
            let want = random_graph(&steps, next, cut, Device::Cpu)?;
            for (k, (g, w)) in got.iter().zip(&want).enumerate() {
                wgrad::testing::assert_close(g, w, 2e-5, 2e-5).map_err(|e| {
                    Error::mismatch(format!("result {k} of {steps:?} at {next:?}, {cut}"), e.to_string())
                })?;
            }
        }
    }
    assert!(found.is_empty(), "new pipelines:\n{}", found.join("\n"));
    Ok(())
}

/// An LSTM by hand.
struct Lstm {
    input: Variable,
    hidden: Variable,
    bias: Variable,
    units: usize,
}

impl Lstm {
    fn new(inputs: usize, units: usize) -> Result<Lstm> {
        let variable = |shape: &[usize], seed| -> Result<Variable> {
            Ok(Variable::new((Tensor::randn(shape, Device::Gpu, seed)? * 0.1)?))
        };
        Ok(Lstm {
            input: variable(&[inputs, 4 * units], 1)?,
            hidden: variable(&[units, 4 * units], 2)?,
            bias: variable(&[4 * units], 3)?,
            units,
        })
    }

    /// What a turn makes of a state `[h, c]`.
    fn turn(&self, x: &Tensor, [h, c]: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let gates = ((x.matmul(&self.input)? + h.matmul(&self.hidden)?)? + &self.bias)?;
        let gate = |k: usize| gates.slice(1, k * self.units, self.units);
        let c = ((gate(1)?.sigmoid()? * c)? + (gate(0)?.sigmoid()? * gate(2)?.tanh()?)?)?;
        Ok([(gate(3)?.sigmoid()? * c.tanh()?)?, c])
    }
}

/// A loop's length is a size: the kernels of a training step through an LSTM are those of any other length, few, and the step is one
/// submission.
#[test]
fn lengths_of_loops_make_no_pipelines() -> Result<()> {
    let _alone = alone();
    let d = Device::Gpu;
    // Gradients of weights are products over all turns, whose form depends on whether these are a multiple of four.
    let (batch, inputs, units) = (4, 5, 8);
    let lstm = Lstm::new(inputs, units)?;
    let mut adam = Adam::new(0.01);
    let mut step = |length: usize, memory: ScanMemory| -> Result<()> {
        let x = Tensor::randn([length, batch, inputs], d, 4)?;
        let zero = Tensor::zeros([batch, units], d)?;
        let out = scan(&[&zero, &zero], &[&x], ScanOptions::new().memory(memory), |c, x| {
            let [h, cell] = lstm.turn(&x[0], [&c[0], &c[1]])?;
            Ok((vec![h.clone(), cell], vec![h]))
        })?;
        adam.step(&out.rows[0].square()?.mean(.., false)?.backward()?)
    };
    let mut counted = Vec::new();
    for memory in [ScanMemory::Store, ScanMemory::Recompute] {
        let start = pipelines()?;
        step(20, memory)?;
        step(20, memory)?;
        counted.push(pipelines()? - start);
        for length in [21, 24, 2, 37, 60, 100, 99, 120] {
            let before = d.stats()?;
            step(length, memory)?;
            let after = d.stats()?;
            // Real GPUs split sums over more than 256 k, and the first that is split has a kernel that adds up the parts.
            let split = u64::from(length == 100 && memory == ScanMemory::Store);
            assert!(after.pipelines <= before.pipelines + split, "{length}, {memory:?}");
            assert_eq!(after.submits - before.submits, 1, "{length}, {memory:?}");
        }
    }
    println!("{counted:?} pipelines");
    assert!(counted[0] <= 30, "{counted:?}");
    Ok(())
}

/// The same where the loop is written out, and each turn takes its rows from the sequence for itself: a part of a matrix is read where
/// it lies, so that turns have one kernel and no copies, whose number would depend on the length.
#[test]
fn lengths_of_loops_that_are_written_out_make_no_pipelines() -> Result<()> {
    let _alone = alone();
    let d = Device::Gpu;
    let (batch, inputs, units) = (16, 8, 32);
    let lstm = Lstm::new(inputs, units)?;
    let mut adam = Adam::new(0.01);
    let mut step = |length: usize| -> Result<()> {
        let x = Tensor::randn([batch, length, inputs], d, 4)?;
        let mut h = Tensor::zeros([batch, units], d)?;
        let mut c = h.clone();
        for t in 0..length {
            let input = x.slice(1, t, 1)?.reshape([batch, inputs])?;
            [h, c] = lstm.turn(&input, [&h, &c])?;
        }
        adam.step(&h.square()?.mean(.., false)?.backward()?)
    };
    let start = pipelines()?;
    step(50)?;
    step(50)?;
    let counted = pipelines()? - start;
    for length in [51, 52, 53, 54, 60, 71] {
        let before = pipelines()?;
        step(length)?;
        assert_eq!(pipelines()?, before, "{length}");
    }
    println!("{counted} pipelines");
    assert!(counted <= 30, "{counted}");
    Ok(())
}

/// The losses of two training steps of a small network on so many pictures, and the pipelines that an evaluation waited for.
fn train(model: &Model, adam: &mut Adam, batch: usize) -> Result<(Vec<f32>, u64)> {
    let before = pipelines()?;
    let d = Device::Gpu;
    let images =
        Tensor::from_vec((0..batch * 196).map(|i| (i % 17) as f32 / 17.0).collect(), [batch, 14, 14, 1], d)?;
    let labels = Tensor::from_vec((0..batch).map(|i| (i % 10) as i32).collect(), [batch], d)?;
    let mut losses = Vec::new();
    for _ in 0..2 {
        let loss = model.forward(&images, &Context::train(0))?.cross_entropy(&labels)?;
        let grads = loss.backward()?;
        adam.step(&grads)?;
        losses.push(loss.item::<f32>()?);
    }
    Ok((losses, pipelines()? - before))
}

#[test]
fn batches_of_all_sizes_have_the_kernels_of_others() -> Result<()> {
    let _alone = alone();
    let convolutions = Sequential::new()
        .add(Conv2d::new(16, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(24, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(20).activation(Activation::Relu))
        .add(Dense::new(10))
        .build([14, 14, 1], Device::Gpu)?;
    let layers = Sequential::new()
        .add(Flatten::new())
        .add(Dense::new(96).activation(Activation::Relu))
        .add(Dense::new(33).activation(Activation::Tanh))
        .add(Dense::new(10))
        .build([14, 14, 1], Device::Gpu)?;
    for (name, model) in [("convolutions", convolutions), ("layers", layers)] {
        let mut adam = Adam::new(1e-3);
        for batch in [64, 48] {
            train(&model, &mut adam, batch)?;
        }
        let mut found = Vec::new();
        for batch in 1..=40 {
            let (losses, new) = train(&model, &mut adam, batch)?;
            assert!(losses.iter().all(|l| l.is_finite()), "{name}, batch {batch}: {losses:?}");
            if new > 0 {
                found.push(format!("batch {batch}: {new}"));
            }
        }
        assert!(found.is_empty(), "{name}: new pipelines: {}", found.join(", "));
    }
    Ok(())
}

#[test]
fn plans_that_run_often_get_better_kernels_with_the_same_bits() -> Result<()> {
    let _alone = alone();
    let d = Device::Gpu;
    let fixed = |dims: [usize; 2], seed| -> Result<Tensor> {
        let x = (Tensor::rand(dims, d, seed)? - 0.5)?;
        x.eval()?;
        x.detach()
    };
    let (w, bias) = (fixed([52, 44], 1)?, fixed([1, 44], 2)?);
    let rows = |x: &Tensor| -> Result<Vec<u32>> {
        let y = (x.matmul(&w)? + &bias)?.sin()?;
        Ok(y.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    // Many rows first, so many that real GPUs have larger blocks for them, too: few rows then run with the kernel of many.
    let many = fixed([8192, 52], 3)?;
    let all = rows(&many)?;
    let numbers = many.to_vec::<f32>()?;
    let first = |n: usize| Tensor::from_slice(&numbers[..52 * n], [n, 52], d);
    let few = first(3)?;
    let stats = || d.stats();
    let before = stats()?;
    assert_eq!(rows(&few)?, all[..3 * 44]);
    assert_eq!(stats()?.pipelines, before.pipelines, "the kernel of many rows would do");
    let mut runs = 1;
    // The kernel is asked for, compiled, and taken.
    for _ in 0..2000 {
        assert_eq!(rows(&few)?, all[..3 * 44], "after {runs} runs");
        runs += 1;
        if stats()?.pipelines_in_background > before.pipelines_in_background {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let after = stats()?;
    assert!(after.pipelines_in_background > before.pipelines_in_background, "after {runs} runs");
    assert!(runs > 8, "a plan that has run {runs} times has not run often");
    for _ in 0..20 {
        assert_eq!(rows(&few)?, all[..3 * 44]);
    }
    // Nobody waited for it, and now that it is there it is what other few rows have from the beginning.
    let pair = first(2)?;
    assert_eq!(rows(&pair)?, all[..2 * 44]);
    let last = stats()?;
    assert_eq!(last.pipelines, before.pipelines);
    assert_eq!(last.pipelines_in_background, after.pipelines_in_background);
    Ok(())
}

#[test]
fn few_rows_that_come_first_have_kernels_of_their_own() -> Result<()> {
    let _alone = alone();
    let d = Device::Gpu;
    let w = Tensor::ones([36, 28], d)?;
    let x = Tensor::ones([2, 36], d)?;
    wgrad::eval(&[&w, &x])?;
    let before = d.stats()?;
    for _ in 0..12 {
        assert_eq!((x.matmul(&w)? * 3.0)?.to_vec::<f32>()?, [108.0; 56]);
    }
    let after = d.stats()?;
    assert_eq!(after.pipelines, before.pipelines + 1);
    assert_eq!(after.pipelines_in_background, before.pipelines_in_background);
    Ok(())
}

/// Ends the process in the middle of compiling in the background; run by the test below, in a process of its own.
#[test]
fn ends_while_kernels_are_compiled() -> Result<()> {
    if std::env::var_os("WGRAD_TEST_ENDS").is_none() {
        return Ok(());
    }
    let d = Device::Gpu;
    let w = Tensor::ones([100, 90], d)?;
    let rows = |n: usize| -> Result<Vec<f32>> {
        let y = (Tensor::ones([n, 100], d)?.matmul(&w)? * 0.5)?.gelu()?.sin()?.exp()?;
        y.to_vec::<f32>()
    };
    rows(50)?;
    // Two plans ask for kernels of 4 and of 16 rows.
    for _ in 0..10 {
        rows(3)?;
        rows(13)?;
    }
    std::process::exit(0);
}

#[test]
fn a_process_may_end_while_kernels_are_compiled() {
    for _ in 0..3 {
        let caches = tempfile::tempdir().unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ends_while_kernels_are_compiled"])
            .env("WGRAD_TEST_ENDS", "1")
            .env("XDG_CACHE_HOME", caches.path())
            .env("MESA_SHADER_CACHE_DIR", caches.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// Functions that are made of others: `einsum` and the like find the kernels of other sizes.
#[test]
fn functions_made_of_others_have_the_kernels_of_other_sizes() -> Result<()> {
    type Call = fn(&[Tensor]) -> Result<Tensor>;
    type Shapes = fn(usize) -> Vec<Vec<usize>>;
    let calls: [(&str, Call, Shapes); 8] = [
        (
            "attention",
            |x| Tensor::einsum("bthd,bshd->bhts", &[&x[0], &x[1]]),
            |n| vec![vec![2, n, 3, n + 1], vec![2, n + 2, 3, n + 1]],
        ),
        (
            "a chain",
            |x| Tensor::einsum("ij,jk,kl->il", &[&x[0], &x[1], &x[2]]),
            |n| vec![vec![n, n + 1], vec![n + 1, n + 2], vec![n + 2, n + 3]],
        ),
        ("diagonals", |x| Tensor::einsum("iij,jk->ik", &[&x[0], &x[1]]), |n| vec![vec![n, n, 5], vec![5, n]]),
        (
            "tensordot",
            |x| x[0].tensordot(&x[1], [1, 2], [1, 0]),
            |n| vec![vec![3, n, n + 1], vec![n + 1, n, 6]],
        ),
        ("roll", |x| x[0].roll(x[0].dims()[0] as isize / 3, 0), |n| vec![vec![n, 3]]),
        ("tril", |x| x[0].tril(x[0].dims()[0] as isize - 9), |n| vec![vec![3, n, n + 2]]),
        ("tile", |x| x[0].tile([x[0].dims()[0], 3]), |n| vec![vec![n, 3]]),
        ("logsumexp", |x| x[0].logsumexp(0, false), |n| vec![vec![n, 7]]),
    ];
    let _alone = alone();
    let mut found = Vec::new();
    for (name, call, shapes) in calls {
        let run = |n: usize| -> Result<u64> {
            let x = shapes(n)
                .iter()
                .map(|s| Tensor::rand(s, Device::Gpu, 1)?.watch())
                .collect::<Result<Vec<_>>>()?;
            wgrad::eval(&x.iter().collect::<Vec<_>>())?;
            let before = pipelines()?;
            let y = call(&x)?;
            let grads = y.square()?.sum(.., false)?.backward()?;
            let grads = x.iter().map(|x| grads.get(x)).collect::<Result<Vec<_>>>()?;
            wgrad::eval(&grads.iter().chain([&y]).collect::<Vec<_>>())?;
            y.to_vec::<f32>()?;
            Ok(pipelines()? - before)
        };
        // Whether rows are multiples of four is a kernel's own: each kind once. Between 32 and 64 no other size is a class.
        (34..42).try_for_each(|n| run(n).map(drop))?;
        for n in 42..50 {
            let new = run(n)?;
            if new > 0 {
                found.push(format!("{name} of size {n}: {new}"));
            }
        }
    }
    assert!(found.is_empty(), "new pipelines: {}", found.join(", "));
    Ok(())
}

#[test]
fn other_lengths_of_ctc_make_no_kernels() -> Result<()> {
    let _alone = alone();
    let d = Device::Gpu;
    let step = |batch: usize, steps: usize, labels: usize| -> Result<u64> {
        let logits = Tensor::randn([batch, steps, 5], d, 1)?.watch()?;
        let targets = Tensor::randint(1, 5, [batch, labels], d, 2)?;
        let before = d.stats()?.pipelines;
        let loss = Ctc::new().compute(&logits, &targets)?;
        loss.backward()?.get(&logits)?.eval()?;
        Ok(d.stats()?.pipelines - before)
    };
    step(3, 20, 4)?;
    let others = [(3, 31, 4), (3, 24, 4), (3, 37, 4), (3, 22, 4)];
    let new: Vec<u64> = others.into_iter().map(|(b, t, l)| step(b, t, l)).collect::<Result<_>>()?;
    assert_eq!(new, [0; 4]);
    Ok(())
}
