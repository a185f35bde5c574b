//! Graphs that provoke fusion: random programs of pointwise operations, reductions, views, products and convolutions with
//! epilogues, several held outputs, values that several consumers use. The GPU against the CPU, which never fuses.

mod common;

use common::parity::{same_above, same_on_both};
use common::{Domain, Input, Rng};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, Pool2dOptions};

/// Programs are some 20 operations long, and errors of one part in 1e6 pass through squares, products and softmaxes.
const TOLERANCE: f64 = 5e-5;
/// Gradients are of means over some thousand elements, and may cancel: softmaxes and differences from means. Errors are
/// measured against this at least.
const FLOOR: f64 = 1e-3;

/// A value of a running program. `leaf` values come from inputs by exact operations: only those may meet a kink
/// (relu, abs, maximum, a pooling), where a rounding would choose the other side.
#[derive(Clone)]
struct Value {
    t: Tensor,
    leaf: bool,
}

struct Program {
    rng: Rng,
    values: Vec<Value>,
    device: Device,
}

impl Program {
    /// Inputs that broadcast together: a matrix, rows, columns, a number, an image of bytes.
    fn new(seed: u64, device: Device) -> Result<(Program, Vec<Tensor>)> {
        let mut rng = Rng(seed);
        let (r, c) = (rng.pick(&[1, 3, 4, 8, 13, 33]), rng.pick(&[1, 2, 5, 8, 16, 31]));
        let mut program = Program { rng, values: Vec::new(), device };
        let mut inputs = Vec::new();
        for dims in [&[r, c][..], &[r, c], &[c], &[r, 1], &[1], &[c, r]] {
            let x =
                Input::float(&mut program.rng, dims, Domain::Range(-1.0, 1.0)).tensor(device, DType::F32)?;
            let x = x.watch()?;
            inputs.push(x.clone());
            program.values.push(Value { t: x, leaf: true });
        }
        let bytes = Input::int(&mut program.rng, DType::U8, &[r, c], Domain::Whole(0, 256));
        let bytes = bytes.tensor(device, DType::F32)?.cast(DType::F32)?;
        program.values.push(Value { t: (bytes * (1.0 / 128.0))?, leaf: false });
        Ok((program, inputs))
    }

    /// A value, recent ones more often than old ones.
    fn any(&mut self) -> Value {
        let n = self.values.len();
        let from = if self.rng.flag() { n.saturating_sub(4) } else { 0 };
        let i = self.rng.int(from, n - 1);
        self.values[i].clone()
    }

    fn matrix(&mut self) -> Value {
        let list: Vec<usize> = (0..self.values.len()).filter(|&i| self.values[i].t.rank() == 2).collect();
        let i = self.rng.pick(&list);
        self.values[i].clone()
    }

    /// Another value that broadcasts with `x`, at worst `x` itself.
    fn beside(&mut self, x: &Value) -> Value {
        for _ in 0..8 {
            let y = self.any();
            if x.t.shape().broadcast(&y.t.shape()).is_some_and(|s| s.numel() <= 4096) {
                return y;
            }
        }
        x.clone()
    }

    fn step(&mut self) -> Result<Value> {
        let x = self.any();
        let t = &x.t;
        let rank = t.rank();
        let axis = if rank == 0 { 0 } else { self.rng.int(0, rank - 1) as isize };
        let smooth = |t: Result<Tensor>| Ok(Value { t: t?, leaf: false });
        let moved = |t: Result<Tensor>| Ok(Value { t: t?, leaf: x.leaf });
        match self.rng.int(0, 27) {
            0 => smooth(t.tanh()),
            1 => smooth(t.sigmoid()? * 2.0),
            2 => smooth((t * 0.5)?.sin()),
            3 => smooth((t * 0.5)?.gelu()),
            4 => smooth(t.silu()),
            5 => smooth((t.square()? + 0.5)?.sqrt()),
            6 => smooth((t.square()? + 1.0)?.reciprocal()),
            7 | 8 => smooth((t + self.beside(&x).t)? * 0.7),
            9 => smooth(t - self.beside(&x).t),
            10 | 11 => smooth(t.tanh()? * self.beside(&x).t),
            12 if x.leaf => smooth(t.relu()),
            13 if x.leaf => smooth(t.abs()),
            14 if x.leaf => {
                let y = self.beside(&x);
                let picked = t.gt(&y.t.detach()?)?.select(&y.t, t)?;
                if y.leaf { moved(Ok(picked)) } else { smooth(y.t + 0.25) }
            }
            15 if rank > 0 => smooth(t.mean(axis, self.rng.flag())),
            16 if rank > 0 => smooth(t.sum(axis, true)? * (1.0 / t.shape()[axis as usize] as f64)),
            17 if rank > 0 && x.leaf => smooth(t.max(axis, true)),
            18 if rank > 0 => smooth(t.softmax(axis)),
            19 if rank == 2 => moved(t.transpose()),
            20 if rank > 0 => moved(t.flip(axis)),
            21 if rank > 0 => {
                let n = t.shape()[axis as usize];
                let start = self.rng.int(0, n - 1);
                let len = self.rng.int(1, n - start);
                moved(t.slice(axis, start, len))
            }
            22 if rank > 0 && t.numel() <= 1024 => moved(Tensor::concat(&[t, t], axis)),
            23 => moved(t.reshape([t.numel()])),
            24 if rank > 0 => {
                let n = t.shape()[axis as usize] as i32;
                let at = Tensor::randint(0, n, [self.rng.int(1, 9)], self.device, self.rng.bits())?;
                moved(t.index_select(axis, &at))
            }
            25 => {
                let (a, b) = (self.matrix().t, self.matrix().t);
                let k = a.shape()[1];
                let b = if b.shape()[0] == k { b } else { b.transpose()? };
                if b.shape()[0] != k || a.shape()[0] * b.shape()[1] > 4096 {
                    return smooth(a.tanh());
                }
                // scale, bias and activation: what an epilogue takes
                let y = ((a.matmul(&b)? * (1.0 / k as f64))? + b.mean(0, false)?)?;
                smooth(y.tanh())
            }
            26 => {
                let a = self.matrix().t;
                let [h, w] = [a.shape()[0], a.shape()[1]];
                let kernel = Tensor::randn([3, 3, 1, 2], self.device, self.rng.bits())?.watch()?;
                let options = Conv2dOptions::new().padding(Padding::Same);
                let y = a.reshape([1, h, w, 1])?.conv2d((kernel * 0.2)?, options)?;
                smooth((y + 0.1)?.sigmoid()?.mean(3, false)?.reshape([h, w]))
            }
            27 if t.numel() > 1 => smooth(t.pad(vec![(1, 0); rank], 0.5)?.mean(axis, false)),
            _ => smooth(t * -0.8),
        }
    }
}

/// Runs a program; gives what was held, and the gradients of the inputs.
fn run(seed: u64, length: usize, device: Device) -> Result<Vec<Tensor>> {
    let (mut program, inputs) = Program::new(seed, device)?;
    let mut held = Vec::new();
    for _ in 0..length {
        let value = program.step()?;
        if program.rng.int(0, 3) == 0 {
            held.push(value.t.clone());
        }
        program.values.push(value);
    }
    held.extend(program.values.last().map(|v| v.t.clone()));
    let mut loss = Tensor::full([], 0.0f32, device)?;
    for t in held.iter().filter(|t| t.is_tracked()) {
        loss = (loss + t.mean(.., false)?)?;
    }
    if loss.is_tracked() {
        let grads = loss.backward()?;
        for x in &inputs {
            held.push(grads.get_or_zeros(x)?);
        }
        held.push(loss);
    }
    Ok(held)
}

#[test]
fn short_programs() -> Result<()> {
    (0..40).try_for_each(|seed| same_above(&format!("program {seed}"), TOLERANCE, FLOOR, |d| run(seed, 6, d)))
}

#[test]
fn long_programs() -> Result<()> {
    (100..120)
        .try_for_each(|seed| same_above(&format!("program {seed}"), TOLERANCE, FLOOR, |d| run(seed, 25, d)))
}

/// Whole numbers: products and sums are exact, so that a relu or a mask behind them sees the same sign everywhere.
fn whole(seed: u64, dims: &[usize], device: Device) -> Result<Tensor> {
    let mut input = Input::int(&mut Rng(seed), DType::I32, dims, Domain::Whole(-3, 4));
    input.kind = common::InputKind::Float;
    input.tensor(device, DType::F32)
}

#[test]
fn epilogues_of_products() -> Result<()> {
    for (i, (m, k, n)) in
        [(1, 1, 1), (5, 3, 2), (33, 17, 9), (64, 64, 64), (7, 130, 65), (128, 36, 10)].into_iter().enumerate()
    {
        let seed = i as u64;
        same_on_both(&format!("{m} x {k} x {n}"), 1e-5, |d| {
            let (a, b) = (whole(seed, &[m, k], d)?.watch()?, whole(seed + 50, &[k, n], d)?.watch()?);
            let bias = (whole(seed + 90, &[n], d)? + 0.5)?.watch()?;
            let column = whole(seed + 95, &[m, 1], d)?;
            let before = (a.matmul(&b)? + &bias)?;
            // `before` is used by three consumers: it can't vanish in one epilogue
            let relu = before.relu()?;
            let gated = (before.gt(0.0)?.select(&relu, (&before * 0.25)?)? + &column)?;
            let both = Tensor::concat(&[&gated, &relu], 1)?;
            let loss = both.mean(.., false)?;
            let grads = loss.backward()?;
            let transposed = (a.matmul(&b)?.transpose()? * 2.0)?.flip(0)?;
            let alone = (a.matmul(&b)? + &bias)?.relu()?;
            Ok(vec![relu, gated, both, transposed, alone, grads.get(&a)?, grads.get(&b)?, grads.get(&bias)?])
        })?;
    }
    Ok(())
}

#[test]
fn epilogues_of_convolutions() -> Result<()> {
    let sizes = [(1, 6, 6, 1, 4), (2, 9, 7, 3, 5), (3, 13, 13, 8, 16), (2, 8, 8, 32, 8)];
    for (i, (n, h, w, cin, cout)) in sizes.into_iter().enumerate() {
        let seed = 200 + i as u64;
        same_on_both(&format!("{n} x {h} x {w} x {cin} to {cout}"), 1e-5, |d| {
            let x = whole(seed, &[n, h, w, cin], d)?.watch()?;
            let k = whole(seed + 50, &[3, 3, cin, cout], d)?.watch()?;
            let bias = (whole(seed + 90, &[cout], d)? + 0.5)?.watch()?;
            let y = (x.conv2d(&k, Conv2dOptions::default())? + &bias)?.relu()?;
            let pooled = y.max_pool2d(Pool2dOptions::new([2, 2]))?;
            let loss = ((&pooled * 0.125)?.square()?.mean(.., false)? + y.mean(.., false)?)?;
            let grads = loss.backward()?;
            Ok(vec![y, pooled, loss, grads.get(&x)?, grads.get(&k)?, grads.get(&bias)?])
        })?;
    }
    Ok(())
}

#[test]
fn more_inputs_than_one_kernel_can_bind() -> Result<()> {
    for count in [7, 8, 9, 12, 20] {
        same_on_both(&format!("{count} inputs"), 1e-5, |d| {
            let inputs = (0..count)
                .map(|i| whole(i, if i % 3 == 0 { &[5, 7] } else { &[7] }, d)?.watch())
                .collect::<Result<Vec<_>>>()?;
            let mut y = (&inputs[0] * 0.5)?;
            for (i, x) in inputs.iter().enumerate().skip(1) {
                y = if i % 2 == 0 { (y + x)? } else { (y * 0.5)?.maximum((x + 0.25)?)? };
            }
            let total = y.sum(0, false)?;
            let joined = Tensor::concat(&inputs.iter().collect::<Vec<_>>()[1..3], 0)?;
            let grads = total.sum(.., false)?.backward()?;
            let mut out = vec![y, total, joined];
            for x in &inputs {
                out.push(grads.get_or_zeros(x)?);
            }
            Ok(out)
        })?;
    }
    Ok(())
}

#[test]
fn one_value_and_many_readers() -> Result<()> {
    same_on_both("many readers", 1e-5, |d| {
        let x = whole(1, &[12, 10], d)?.watch()?;
        let h = ((&x * 0.25)? - 0.5)?.tanh()?;
        let mut out = vec![
            h.sum(0, false)?,
            h.max(1, true)?,
            h.transpose()?.matmul(&h)?,
            (&h + h.mean(1, true)?)?,
            h.slice_step(1, 9, 4, -2)?,
            h.reshape([2, 6, 10, 1])?.avg_pool2d(Pool2dOptions::new([2, 3]))?,
            Tensor::concat(&[&h, &x], 0)?,
            h.gt(0.0)?,
            h.softmax(-1)?,
            h.clone(),
        ];
        let mut loss = Tensor::full([], 0.0f32, d)?;
        for t in out.iter().filter(|t| t.is_tracked()) {
            loss = (loss + t.square()?.mean(.., false)?)?;
        }
        out.push(loss.backward()?.get(&x)?);
        Ok(out)
    })
}

#[test]
fn chains_of_hundreds_of_pointwise_operations() -> Result<()> {
    same_on_both("300 links", 1e-4, |d| {
        let x = whole(5, &[3, 11], d)?.watch()?;
        let mut y = (&x * 0.1)?;
        for i in 0..300 {
            y = match i % 3 {
                0 => (&y * 1.01)?,
                1 => (&y + 0.01)?,
                _ => (&y - (&y * 0.02)?)?,
            };
        }
        let grads = y.mean(.., false)?.backward()?;
        Ok(vec![y, grads.get(&x)?])
    })
}

#[test]
fn reductions_between_pointwise_operations() -> Result<()> {
    for dims in [[1, 5, 1], [4, 1, 9], [6, 33, 7], [2, 300, 3]] {
        same_on_both(&format!("{dims:?}"), 2e-5, |d| {
            let x = (whole(9, &dims, d)? * 0.5)?.watch()?;
            // layer normalisation, over each axis in turn
            let mut out = Vec::new();
            for axis in 0..3 {
                let centred = (&x - x.mean(axis, true)?)?;
                let variance = centred.square()?.mean(axis, true)?;
                let y = (centred / (variance + 0.1)?.sqrt()?)?;
                out.push(y.square()?.sum(-1, false)?);
                out.push(y.sum([0, 2], true)?.exp()?);
                out.push((y * 0.5)?.tanh()?.mean(.., false)?.backward()?.get(&x)?);
            }
            out.push(x.transpose()?.sum(1, false)?);
            out.push(x.permute([2, 0, 1])?.flip(0)?.max([0, 1], false)?);
            Ok(out)
        })?;
    }
    Ok(())
}
