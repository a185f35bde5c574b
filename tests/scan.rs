//! Loops that are recorded once: against the same loops written out, finite differences, and on both devices.

mod common;

use common::{assert_close, direction, values};
use wgrad::graph::{ScanMemory, ScanOptions, Scanned, scan};
use wgrad::prelude::*;

type Turn = (Vec<Tensor>, Vec<Tensor>);
type Body = fn(&[Tensor], &[Tensor], &[Tensor]) -> Result<Turn>;

/// A body and what it is given: shapes of the state, of a row of each sequence, and of what comes from outside.
struct Case {
    name: &'static str,
    carry: &'static [&'static [usize]],
    rows: &'static [&'static [usize]],
    outside: &'static [&'static [usize]],
    body: Body,
}

fn lstm(c: &[Tensor], x: &[Tensor], w: &[Tensor]) -> Result<Turn> {
    let gates = ((x[0].matmul(&w[0])? + c[0].matmul(&w[1])?)? + &w[2])?;
    let n = c[0].shape()[1];
    let gate = |k: usize| gates.slice(1, k * n, n);
    let cell = ((gate(1)?.sigmoid()? * &c[1])? + (gate(0)?.sigmoid()? * gate(2)?.tanh()?)?)?;
    let h = (gate(3)?.sigmoid()? * cell.tanh()?)?;
    Ok((vec![h.clone(), cell], vec![h]))
}

const CASES: &[Case] = &[
    Case {
        name: "lstm",
        carry: &[&[3, 5], &[3, 5]],
        rows: &[&[3, 4]],
        outside: &[&[4, 20], &[5, 20], &[20]],
        body: lstm,
    },
    Case {
        name: "lstm of aligned sizes",
        carry: &[&[4, 16], &[4, 16]],
        rows: &[&[4, 16]],
        outside: &[&[16, 64], &[16, 64], &[64]],
        body: lstm,
    },
    Case {
        name: "rnn",
        carry: &[&[2, 7]],
        rows: &[&[2, 7]],
        outside: &[&[7, 7]],
        body: |c, x, w| {
            let h = (c[0].matmul(&w[0])? + &x[0])?.tanh()?;
            Ok((vec![h.clone()], vec![h]))
        },
    },
    Case {
        name: "gru whose result is another",
        carry: &[&[3, 6]],
        rows: &[&[3, 2]],
        outside: &[&[2, 12], &[6, 12], &[2, 6], &[6, 6], &[6, 3]],
        body: |c, x, w| {
            let zr = (x[0].matmul(&w[0])? + c[0].matmul(&w[1])?)?.sigmoid()?;
            let (z, r) = (zr.slice(1, 0, 6)?, zr.slice(1, 6, 6)?);
            let n = (x[0].matmul(&w[2])? + (r * c[0].matmul(&w[3])?)?)?.tanh()?;
            let h = (((1.0 - &z)? * n)? + (z * &c[0])?)?;
            Ok((vec![h.clone()], vec![h.matmul(&w[4])?.softmax(-1)?, h.max([1], false)?]))
        },
    },
    Case {
        name: "no state",
        carry: &[],
        rows: &[&[3, 4], &[4]],
        outside: &[&[4]],
        body: |_, x, w| Ok((vec![], vec![((&x[0] * &x[1])? + &w[0])?.exp()?, x[1].sum(.., false)?])),
    },
    Case {
        name: "state alone",
        carry: &[&[], &[5]],
        rows: &[&[5]],
        outside: &[&[]],
        body: |c, x, w| {
            let s = ((&c[0] * &w[0])? + x[0].sum(.., false)?)?;
            Ok((vec![s.clone(), ((&c[1] * 0.5)? + (s * &x[0])?)?], vec![]))
        },
    },
    Case {
        name: "what goes in comes out",
        carry: &[&[4], &[4]],
        rows: &[&[4], &[2, 2]],
        outside: &[&[4], &[3]],
        // the states change places; a row, a state, one from outside, and one result twice
        body: |c, x, w| {
            let s = (&c[0] + &x[0])?;
            let y = vec![x[0].clone(), c[0].clone(), w[1].clone(), s.clone(), s.clone(), x[1].reshape([4])?];
            Ok((vec![(&c[1] * &w[0])?, s], y))
        },
    },
    Case {
        name: "views and pieces",
        carry: &[&[2, 6]],
        rows: &[&[3, 2]],
        outside: &[&[2, 3]],
        body: |c, x, w| {
            let xt = x[0].transpose()?;
            let joined = Tensor::concat(&[&(xt + &w[0])?, &c[0].slice(1, 0, 3)?], 1)?;
            let turned = joined.flip(1)?;
            Ok((vec![(turned * 0.7)?.sin()?], vec![c[0].slice(1, 2, 3)?.transpose()?, joined]))
        },
    },
    Case {
        name: "kernels of all kinds",
        carry: &[&[2, 6, 6, 1]],
        rows: &[&[2, 6, 6, 1]],
        outside: &[&[3, 3, 1, 1]],
        body: |c, x, w| {
            let mut options = wgrad::Conv2dOptions::default();
            options.padding = Padding::Same;
            let y = (x[0].conv2d(&w[0], options)? + &c[0])?.tanh()?;
            let pooled = y.max_pool2d(wgrad::Pool2dOptions::new([2, 2]))?;
            Ok((vec![y.cumsum(1)?.tanh()?], vec![pooled, y.log_softmax(1)?]))
        },
    },
];

/// The same, written out.
fn written_out(
    carry: &[&Tensor],
    rows: &[&Tensor],
    options: ScanOptions,
    body: impl Fn(&[Tensor], &[Tensor]) -> Result<Turn>,
) -> Result<Scanned> {
    let turns = options.length.unwrap_or_else(|| rows[0].shape()[0]);
    let mut state: Vec<Tensor> = carry.iter().map(|&t| t.clone()).collect();
    let mut kept: Vec<Vec<Tensor>> = Vec::new();
    for turn in 0..turns {
        let t = if options.reverse { turns - 1 - turn } else { turn };
        let row = |x: &&Tensor| x.slice(0, t, 1)?.reshape(&x.shape()[1..]);
        let (next, ys) = body(&state, &rows.iter().map(row).collect::<Result<Vec<_>>>()?)?;
        state = next;
        kept.push(ys);
    }
    if options.reverse {
        kept.reverse();
    }
    let rows = (0..kept[0].len())
        .map(|i| Tensor::stack(&kept.iter().map(|ys| &ys[i]).collect::<Vec<_>>(), 0))
        .collect::<Result<_>>()?;
    Ok(Scanned { carry: state, rows })
}

fn random(shape: &[usize], seed: u64, dtype: DType, d: Device) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let v = direction(seed, n);
    Ok(match dtype {
        DType::F64 => Tensor::from_slice(&v, shape, d)?,
        _ => Tensor::from_slice(&v.iter().map(|&v| v as f32).collect::<Vec<_>>(), shape, d)?,
    })
}

struct Inputs {
    carry: Vec<Tensor>,
    rows: Vec<Tensor>,
    outside: Vec<Tensor>,
}

impl Inputs {
    fn of(case: &Case, turns: usize, dtype: DType, d: Device, watch: bool) -> Result<Inputs> {
        let mut seed = 17;
        let mut make = |shape: &[usize]| {
            seed += 1;
            let t = random(shape, seed, dtype, d)?;
            if watch { t.watch() } else { Ok(t) }
        };
        let row = |shape: &&[usize]| [&[turns], *shape].concat();
        Ok(Inputs {
            carry: case.carry.iter().map(|s| make(s)).collect::<Result<_>>()?,
            rows: case.rows.iter().map(|s| make(&row(s))).collect::<Result<_>>()?,
            outside: case.outside.iter().map(|s| make(s)).collect::<Result<_>>()?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Tensor> {
        self.carry.iter().chain(&self.rows).chain(&self.outside)
    }

    fn scanned(&self, case: &Case, options: ScanOptions, by_hand: bool) -> Result<Scanned> {
        let carry: Vec<&Tensor> = self.carry.iter().collect();
        let rows: Vec<&Tensor> = self.rows.iter().collect();
        let body = |c: &[Tensor], x: &[Tensor]| (case.body)(c, x, &self.outside);
        if by_hand { written_out(&carry, &rows, options, body) } else { scan(&carry, &rows, options, body) }
    }
}

/// A number that all results count in, each element in its own way.
fn loss(out: &Scanned) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (i, t) in out.carry.iter().chain(&out.rows).enumerate() {
        let by = random(&t.shape(), 100 + i as u64, t.dtype(), t.device())?;
        let part = (t * by)?.sum(.., false)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    sum.ok_or_else(|| Error::argument("loss", "no results"))
}

fn results(out: &Scanned) -> Result<Vec<Vec<f64>>> {
    out.carry.iter().chain(&out.rows).map(values).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_loop_written_out() -> Result<()> {
    for case in CASES {
        for (turns, reverse) in [(1, false), (2, true), (5, false), (4, true)] {
            let options = ScanOptions::new().reverse(reverse);
            let inputs = Inputs::of(case, turns, DType::F64, Device::Cpu, true)?;
            let want = inputs.scanned(case, options, true)?;
            let want_values = results(&want)?;
            let grads = loss(&want)?.backward()?;
            let want_grads: Vec<Vec<f64>> =
                inputs.all().map(|t| values(&grads.get_or_zeros(t)?)).collect::<Result<_>>()?;
            for (d, dtype, tol) in [
                (Device::Cpu, DType::F64, 1e-12),
                (Device::Cpu, DType::F32, 2e-5),
                (Device::Gpu, DType::F32, 2e-5),
            ] {
                for memory in [ScanMemory::Store, ScanMemory::Recompute] {
                    let what = format!("{} of {turns}, {reverse}, {memory:?} on {d} in {dtype}", case.name);
                    let options = options.memory(memory);
                    let inputs = Inputs::of(case, turns, dtype, d, true)?;
                    let out = inputs.scanned(case, options, false)?;
                    let grads = loss(&out)?.backward()?;
                    for (got, want) in results(&out)?.iter().zip(&want_values) {
                        assert_close(got, want, tol, &what);
                    }
                    for (i, (t, want)) in inputs.all().zip(&want_grads).enumerate() {
                        let got = grads.get_or_zeros(t)?;
                        assert_eq!(got.shape(), t.shape());
                        assert_close(&values(&got)?, want, 4.0 * tol, &format!("{what}, gradient {i}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Sums of squares of gradients: what a second derivative is of.
#[test]
fn second_derivatives_are_those_of_the_loop_written_out() -> Result<()> {
    for case in CASES.iter().filter(|c| ["lstm", "state alone", "what goes in comes out"].contains(&c.name)) {
        let second = |d: Device, dtype: DType, by_hand: bool, memory: ScanMemory| -> Result<Vec<Vec<f64>>> {
            let inputs = Inputs::of(case, 3, dtype, d, true)?;
            let options = ScanOptions::new().memory(memory);
            let out = inputs.scanned(case, options, by_hand)?;
            let first = loss(&out)?.square()?.backward()?;
            let mut sum: Option<Tensor> = None;
            for t in inputs.all().filter(|t| first.contains(*t)) {
                let part = first.get(t)?.square()?.sum(.., false)?;
                sum = Some(match sum {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
            let second = sum.unwrap().backward()?;
            inputs.all().map(|t| values(&second.get_or_zeros(t)?)).collect()
        };
        let want = second(Device::Cpu, DType::F64, true, ScanMemory::Store)?;
        for memory in [ScanMemory::Store, ScanMemory::Recompute] {
            for (d, dtype, tol) in [(Device::Cpu, DType::F64, 1e-11), (Device::Gpu, DType::F32, 1e-3)] {
                for (i, (got, want)) in second(d, dtype, false, memory)?.iter().zip(&want).enumerate() {
                    assert_close(got, want, tol, &format!("{}, {i}, {memory:?} on {d}", case.name));
                }
            }
        }
    }
    Ok(())
}
