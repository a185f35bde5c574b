//! Loops that are recorded once: against the same loops written out in f64, to the second derivative, on both devices.

mod common;

use common::{DEVICES, assert_close, direction, values};
use std::sync::Arc;
use wgrad::graph::{ScanMemory, ScanOptions, Scanned, scan};
use wgrad::prelude::*;
use wgrad::{CustomKernel, CustomOp, Graph, Shape, TensorSpec, apply_custom};

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

/// Wide batches, which a CPU cuts where rows go their own ways, and bodies in which they don't.
const WIDE: &[Case] = &[
    Case {
        name: "lstm of 40",
        carry: &[&[40, 24], &[40, 24]],
        rows: &[&[40, 9]],
        outside: &[&[9, 96], &[24, 96], &[96]],
        body: lstm,
    },
    Case {
        name: "lstm as wide as its batch",
        carry: &[&[33, 33], &[33, 33]],
        rows: &[&[33, 33]],
        outside: &[&[33, 132], &[33, 132], &[132]],
        body: lstm,
    },
    Case {
        name: "one state, masked by rows and by what is the same in every turn",
        carry: &[&[49, 64]],
        rows: &[&[49, 64], &[49, 1]],
        outside: &[&[64, 64], &[49, 64], &[1, 64], &[64]],
        body: |c, x, w| {
            let candidate = (((c[0].matmul(&w[0])? + &x[0])? + &w[3])? * &w[2])?.tanh()?;
            let seen = x[1].gt(0.0)?;
            let next = seen.select((candidate * &w[1])?, &c[0])?;
            Ok((vec![next.clone()], vec![next.slice(1, 3, 50)?, next.sum([1], true)?, next.max([1], false)?]))
        },
    },
    Case {
        name: "matrices of a batch, and a view of them that is kept",
        carry: &[&[32, 6, 8]],
        rows: &[&[32, 6, 8]],
        outside: &[&[8, 8], &[32, 8, 6], &[6, 6]],
        body: |c, x, w| {
            let y = (c[0].matmul(&w[0])? + &x[0])?;
            let mixed = ((w[2].matmul(&y)? + y.matmul(&w[1])?.matmul(&y)?)? * 0.1)?.tanh()?;
            Ok((vec![mixed.clone()], vec![mixed.permute([0, 2, 1])?, mixed.reshape([32, 48])?]))
        },
    },
    Case {
        name: "rows that need their batch's mean",
        carry: &[&[40, 40]],
        rows: &[&[40, 40]],
        outside: &[&[40, 40]],
        body: |c, x, w| {
            let y = (c[0].matmul(&w[0])? + &x[0])?;
            let y = (&y - y.mean([0], true)?)?.tanh()?;
            Ok((vec![y.clone()], vec![y]))
        },
    },
    Case {
        name: "rows that change places, and are columns",
        carry: &[&[40, 40], &[40, 40]],
        rows: &[&[40, 40]],
        outside: &[&[40, 40]],
        body: |c, x, w| {
            let y = (c[0].matmul(&w[0])? + x[0].flip(0)?)?.tanh()?;
            Ok((vec![c[1].transpose()?, y.clone()], vec![y]))
        },
    },
    Case {
        name: "a weight that the state is, and a count",
        carry: &[&[48, 48], &[]],
        rows: &[&[32, 48], &[32, 48]],
        outside: &[&[48]],
        body: |c, x, w| {
            let y = (x[0].matmul(&c[0])? * &w[0])?.tanh()?;
            let step = (x[1].transpose()?.matmul(&y)? * 0.01)?;
            Ok((vec![(&c[0] - step)?, (&c[1] + 1.0)?], vec![y]))
        },
    },
    Case {
        name: "the state on the right",
        carry: &[&[64, 64]],
        rows: &[&[64, 64]],
        outside: &[&[64, 64]],
        body: |c, x, w| {
            let y = (w[0].matmul(&c[0])? + &x[0])?.tanh()?;
            Ok((vec![y.clone()], vec![y]))
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

/// What a loss is of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    All,
    Last,
    Rows,
}

/// A number that these results count in, each element in its own way.
fn loss(out: &Scanned, of: Of) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    let last = if of == Of::Rows { &[][..] } else { &out.carry };
    let rows = if of == Of::Last { &[][..] } else { &out.rows };
    for (i, t) in last.iter().chain(rows).enumerate() {
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
    let few = [
        (1, false, Of::All),
        (2, true, Of::Last),
        (5, false, Of::All),
        (4, true, Of::All),
        (4, false, Of::Last),
        (3, false, Of::Rows),
    ];
    let cases = CASES.iter().map(|c| (c, &few[..])).chain(WIDE.iter().map(|c| (c, &few[2..4])));
    for (case, kinds) in cases {
        for &(turns, reverse, of) in kinds {
            if of == Of::Last && case.carry.is_empty() || of == Of::Rows && case.name == "state alone" {
                continue;
            }
            let options = ScanOptions::new().reverse(reverse);
            let inputs = Inputs::of(case, turns, DType::F64, Device::Cpu, true)?;
            let want = inputs.scanned(case, options, true)?;
            let want_values = results(&want)?;
            let grads = loss(&want, of)?.backward()?;
            let want_grads: Vec<Vec<f64>> =
                inputs.all().map(|t| values(&grads.get_or_zeros(t)?)).collect::<Result<_>>()?;
            for (d, dtype, tol) in [
                (Device::Cpu, DType::F64, 1e-12),
                (Device::Cpu, DType::F32, 2e-5),
                (Device::Gpu, DType::F32, 2e-5),
            ] {
                for memory in [ScanMemory::Store, ScanMemory::Recompute] {
                    let what =
                        format!("{} of {turns}, {reverse}, {of:?}, {memory:?} on {d} in {dtype}", case.name);
                    let options = options.memory(memory);
                    let inputs = Inputs::of(case, turns, dtype, d, true)?;
                    let out = inputs.scanned(case, options, false)?;
                    let grads = loss(&out, of)?.backward()?;
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

/// Threads share the rows of a batch, and results don't depend on how many there are.
#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for case in WIDE {
        for dtype in [DType::F32, DType::F64] {
            let run = |threads: usize| -> Result<Vec<Vec<f64>>> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let inputs = Inputs::of(case, 6, dtype, Device::Cpu, true)?;
                    let out = inputs.scanned(case, ScanOptions::new(), false)?;
                    let grads = loss(&out, Of::All)?.backward()?;
                    let mut all = results(&out)?;
                    for t in inputs.all() {
                        all.push(values(&grads.get_or_zeros(t)?)?);
                    }
                    Ok(all)
                })
            };
            let alone = run(1)?;
            for threads in [2, 5] {
                assert!(run(threads)? == alone, "{} in {dtype} by {threads} threads", case.name);
            }
        }
    }
    Ok(())
}

/// An error in the midst of a loop is the caller's, wherever its row is.
#[test]
fn a_row_that_is_wrong_is_an_error_of_the_loop() -> Result<()> {
    let (turns, batch) = (3, 64);
    let table = random(&[10, 32], 5, DType::F32, Device::Cpu)?;
    let w = random(&[32, 32], 6, DType::F32, Device::Cpu)?;
    let start = random(&[batch, 32], 7, DType::F32, Device::Cpu)?;
    for (at, wrong) in [(0, false), (70, true), (turns * batch - 1, true)] {
        let mut indices = vec![3i32; turns * batch];
        indices[at] = if wrong { 10 } else { 9 };
        let rows = Tensor::from_vec(indices, [turns, batch], Device::Cpu)?;
        let out = scan(&[&start], &[&rows], ScanOptions::new(), |h, x| {
            let next = (h[0].matmul(&w)? + table.index_select(0, &x[0])?)?.tanh()?;
            Ok((vec![next.clone()], vec![]))
        })?;
        let found = out.carry[0].to_vec::<f32>();
        assert_eq!(found.is_err(), wrong, "{at}: {:?}", found.err());
    }
    Ok(())
}

/// Sums of squares of gradients: what a second derivative is of.
#[test]
fn second_derivatives_are_those_of_the_loop_written_out() -> Result<()> {
    for (name, of) in [
        ("lstm", Of::All),
        ("lstm", Of::Last),
        ("state alone", Of::All),
        ("what goes in comes out", Of::All),
        ("what goes in comes out", Of::Last),
    ] {
        let case = CASES.iter().find(|c| c.name == name).unwrap();
        // The last walk may be within `no_grad`: what it walks over was recorded before.
        let second = |d: Device, dtype: DType, by_hand: bool, memory: ScanMemory| -> Result<Vec<Vec<f64>>> {
            let inputs = Inputs::of(case, 3, dtype, d, true)?;
            let options = ScanOptions::new().memory(memory);
            let out = inputs.scanned(case, options, by_hand)?;
            let first = loss(&out, of)?.square()?.backward()?;
            let mut sum: Option<Tensor> = None;
            for t in inputs.all().filter(|t| first.contains(*t)) {
                let part = first.get(t)?.square()?.sum(.., false)?;
                sum = Some(match sum {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
            let second = no_grad(|| sum.unwrap().backward())?;
            inputs.all().map(|t| values(&second.get_or_zeros(t)?)).collect()
        };
        let want = second(Device::Cpu, DType::F64, true, ScanMemory::Store)?;
        for memory in [ScanMemory::Store, ScanMemory::Recompute] {
            for (d, dtype, tol) in [(Device::Cpu, DType::F64, 1e-11), (Device::Gpu, DType::F32, 1e-3)] {
                for (i, (got, want)) in second(d, dtype, false, memory)?.iter().zip(&want).enumerate() {
                    assert_close(got, want, tol, &format!("{name}, {of:?}, {i}, {memory:?} on {d}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_loss_of_the_last_state_wrote_zeros_for_all_rows() -> Result<()> {
    let (turns, n) = (300, 512);
    for d in DEVICES {
        let x = random(&[turns, n], 3, DType::F32, d)?.watch()?;
        let start = random(&[n], 4, DType::F32, d)?.watch()?;
        let out = scan(&[&start], &[&x], ScanOptions::new(), |h, x| {
            let next = (&h[0] * 0.9)?.tanh()?;
            let next = (next + &x[0])?;
            Ok((vec![next.clone()], vec![next.square()?]))
        })?;
        out.carry[0].eval()?;
        // Of what is as long as all turns nothing is written but by the loop: the gradient of the rows.
        let profile = d.profile(|| out.carry[0].sum(.., false)?.backward()?.get(&start)?.eval())?;
        let long =
            profile.kernels.iter().filter(|k| k.shape.numel() >= turns * n && !k.name.contains("scan"));
        assert_eq!(long.map(|k| k.name.clone()).collect::<Vec<_>>(), [""; 0], "on {d}");
    }
    Ok(())
}

/// Integers are handed on and kept beside floats; what the body makes of them has no gradient, what they choose has.
#[test]
fn integers_are_carried_and_kept() -> Result<()> {
    for d in DEVICES {
        let table = Tensor::arange(0, 12, d)?.cast(DType::F32)?.reshape([4, 3])?.watch()?;
        let token = Tensor::from_slice(&[1u32, 3], [2], d)?;
        let (sum, steps) = (Tensor::zeros([2, 3], d)?, Tensor::from_slice(&[-5i32], [1], d)?);
        // the next token is the place of the largest of the row, and one more, modulo four
        let body = |c: &[Tensor], _: &[Tensor]| -> Result<Turn> {
            let row = table.index_select(0, &c[0])?;
            let more = (&c[0] + 1u32)?.cast(DType::F32)?;
            let next = (&more - (more.ge(4.0)?.cast(DType::F32)? * 4.0)?)?.cast(DType::U32)?;
            let sum = (&c[1] * 0.5)? + &row;
            Ok((
                vec![next.clone(), sum?, (&c[2] + 1i32)?],
                vec![c[0].clone(), row.sum([1], false)?, (&c[2] * 2i32)?],
            ))
        };
        for memory in [ScanMemory::Store, ScanMemory::Recompute] {
            let options = ScanOptions::new().length(3).memory(memory);
            let out = scan(&[&token, &sum, &steps], &[], options, body)?;
            assert_eq!(out.rows[0].to_vec::<u32>()?, [1, 3, 2, 0, 3, 1], "{d}");
            assert_eq!(out.rows[1].to_vec::<f32>()?, [12.0, 30.0, 21.0, 3.0, 30.0, 12.0], "{d}");
            assert_eq!(out.rows[2].to_vec::<i32>()?, [-10, -8, -6], "{d}");
            assert_eq!(out.carry[0].to_vec::<u32>()?, [0, 2], "{d}");
            assert_eq!(out.carry[2].to_vec::<i32>()?, [-2], "{d}");
            // 0.25 a + 0.5 b + c of the rows that were read
            let grads = out.carry[1].sum(.., false)?.backward()?;
            let want = [0.5, 0.5, 0.5, 1.25, 1.25, 1.25, 0.5, 0.5, 0.5, 1.25, 1.25, 1.25];
            assert_eq!(grads.get(&table)?.to_vec::<f32>()?, want, "{d}");
        }
    }
    Ok(())
}

#[test]
fn no_turns_and_no_elements() -> Result<()> {
    for d in DEVICES {
        let (x, h) = (Tensor::zeros([0, 2, 3], d)?, Tensor::ones([2, 4], d)?.watch()?);
        let w = Tensor::ones([3, 4], d)?;
        let body = |c: &[Tensor], x: &[Tensor]| -> Result<Turn> {
            let h = (&c[0] + x[0].matmul(&w)?)?;
            Ok((vec![h.clone()], vec![h]))
        };
        let out = scan(&[&h], &[&x], ScanOptions::new(), body)?;
        assert_eq!(
            (out.carry[0].to_vec::<f32>()?, out.rows[0].shape().to_vec()),
            (vec![1.0; 8], vec![0, 2, 4])
        );
        assert!(out.rows[0].to_vec::<f32>()?.is_empty());
        assert_eq!(out.carry[0].sum(.., false)?.backward()?.get(&h)?.to_vec::<f32>()?, [1.0; 8]);
        // turns without elements
        let (x, h) = (Tensor::zeros([3, 0, 3], d)?.watch()?, Tensor::zeros([0, 4], d)?);
        let out = scan(&[&h], &[&x], ScanOptions::new(), body)?;
        assert_eq!((out.carry[0].numel(), out.rows[0].shape().to_vec()), (0, vec![3, 0, 4]));
        let grads = (out.rows[0].sum(.., false)? + out.carry[0].sum(.., false)?)?.backward()?;
        assert_eq!(grads.get(&x)?.shape(), [3, 0, 3]);
        assert!(grads.get(&x)?.to_vec::<f32>()?.is_empty());
    }
    Ok(())
}

/// Numbers, tensors made before and within, pending ones, random ones: all the same in every turn.
#[test]
fn what_the_body_uses_from_outside() -> Result<()> {
    for d in DEVICES {
        let before = (Tensor::ones([3], d)? * 2.0)?; // pending
        let w = Variable::new(Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], d)?);
        let frozen = Variable::not_trainable(Tensor::ones([3], d)?);
        let out = scan(&[&Tensor::zeros([3], d)?], &[], ScanOptions::new().length(4), |c, _| {
            let within = Tensor::new([10.0f32, 20.0, 30.0], d)?;
            let noise = Tensor::randn([3], d, 5)?;
            let sum = ((((&c[0] + &before)? + &w)? + within)? * 0.5)? + &frozen;
            Ok((vec![sum?], vec![noise, Tensor::full([2, 2], 7.0, d)?]))
        })?;
        let mut want = [0.0f32; 3];
        for _ in 0..4 {
            for (i, v) in want.iter_mut().enumerate() {
                *v = (*v + 2.0 + (1 + i) as f32 + (10 * (i + 1)) as f32) * 0.5 + 1.0;
            }
        }
        assert_eq!(out.carry[0].to_vec::<f32>()?, want, "{d}");
        let noise = Tensor::randn([3], d, 5)?.to_vec::<f32>()?;
        assert_eq!(out.rows[0].to_vec::<f32>()?, noise.repeat(4), "{d}");
        assert_eq!(out.rows[1].to_vec::<f32>()?, [7.0; 16], "{d}");
        let grads = out.carry[0].sum(.., false)?.backward()?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [0.9375; 3], "{d}");
        assert_eq!(grads.len(), 1);
    }
    Ok(())
}

/// A loop in a traced function, with the function's arguments and variables used within; and a loop in a loop.
#[test]
fn loops_within_traced_functions_and_loops() -> Result<()> {
    for d in DEVICES {
        let w = Variable::new(Tensor::full([4], 0.5, d)?);
        let double_loop = |x: &Tensor, scale: &Tensor| -> Result<Tensor> {
            let out = scan(&[&Tensor::zeros([4], d)?], &[x], ScanOptions::new(), |c, x| {
                // each row three times, by the inner loop
                let inner = scan(&[&c[0]], &[], ScanOptions::new().length(3), |c, _| {
                    let next = ((&c[0] * &w)? + (&x[0] * scale)?)?;
                    Ok((vec![next.clone()], vec![next.sum(.., false)?]))
                })?;
                Ok((inner.carry, vec![inner.rows[0].sum(.., false)?]))
            })?;
            out.rows[0].sum(.., false)? + out.carry[0].square()?.sum(.., false)?
        };
        let by_hand = |x: &Tensor, scale: &Tensor| -> Result<Tensor> {
            let mut c = Tensor::zeros([4], d)?;
            let mut sum = Tensor::new(0.0f32, d)?;
            for t in 0..x.shape()[0] {
                let row = (x.slice(0, t, 1)?.reshape([4])? * scale)?;
                for _ in 0..3 {
                    c = ((c * &w)? + &row)?;
                    sum = (sum + c.sum(.., false)?)?;
                }
            }
            sum + c.square()?.sum(.., false)?
        };
        let graph = Graph::trace(&[TensorSpec::f32([5, 4], d)?, TensorSpec::f32([], d)?], |a| {
            let loss = double_loop(&a[0], &a[1])?;
            let grads = loss.backward()?;
            Ok(vec![loss, grads.get(&w)?])
        })?;
        for value in [0.5, -0.25] {
            w.set(Tensor::full([4], value, d)?)?;
            let (x, s) = (random(&[5, 4], 3, DType::F32, d)?, Tensor::new(1.5f32, d)?);
            let want = by_hand(&x, &s)?;
            let want_grad = want.backward()?.get(&w)?;
            let plain = double_loop(&x, &s)?;
            let plain_grad = plain.backward()?.get(&w)?;
            let traced = graph.call(&[&x, &s])?;
            for (got, want) in
                [(&plain, &want), (&traced[0], &want), (&plain_grad, &want_grad), (&traced[1], &want_grad)]
            {
                assert_close(&values(got)?, &values(want)?, 1e-5, &format!("{d}"));
            }
        }
        assert!(graph.to_string().contains("scan"), "{graph}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let d = Device::Cpu;
    let (c, x) = (Tensor::zeros([3], d)?, Tensor::zeros([4, 3], d)?);
    let same = |c: &[Tensor], _: &[Tensor]| -> Result<Turn> { Ok((c.to_vec(), vec![])) };
    let plain = ScanOptions::new();
    let message = |r: Result<Scanned>| r.map(|_| ()).unwrap_err().to_string();
    let says = |r: Result<Scanned>, parts: &[&str]| {
        let message = message(r);
        assert!(parts.iter().all(|p| message.contains(p)), "{message}");
    };
    says(scan(&[], &[], plain, same), &["neither a state nor rows"]);
    says(scan(&[&c], &[], plain, same), &["ScanOptions::length"]);
    says(scan(&[&c], &[&x], plain.length(5), same), &["rows[0]", "[4, 3]", "5"]);
    says(scan(&[&c], &[&x, &Tensor::zeros([2], d)?], plain, same), &["rows[1]", "2 rows", "4"]);
    says(scan(&[&c], &[&Tensor::new(1.0f32, d)?], plain, same), &["rows[0] is a scalar"]);
    says(scan(&[&c], &[&x], plain, |_, _| Ok((vec![], vec![]))), &["returned 0", "given 1"]);
    says(
        scan(&[&c], &[&x], plain, |c, _| Ok((vec![c[0].sum(.., true)?], vec![]))),
        &["carry[0]", "[3]", "[1]"],
    );
    let other = |c: &[Tensor], _: &[Tensor]| Ok((vec![c[0].cast(DType::I32)?], vec![]));
    says(scan(&[&c], &[&x], plain, other), &["carry[0]", "i32"]);
    let bytes = Tensor::zeros([3], d)?.cast(DType::U8)?;
    says(scan(&[&bytes], &[&x], plain, same), &["carry[0]", "u8", "cast"]);
    says(
        scan(&[&c], &[&x], plain, |c, x| Ok((c.to_vec(), vec![x[0].gt(0.0)?]))),
        &["result 0", "u8", "cast"],
    );
    let v = Variable::new(c.clone());
    let sets = |c: &[Tensor], x: &[Tensor]| {
        v.set(&x[0])?;
        Ok((c.to_vec(), vec![]))
    };
    says(scan(&[&c], &[&x], plain, sets), &["Variable::set", "scan", "hand the value on"]);
    assert_eq!(v.value().to_vec::<f32>()?, [0.0; 3]);
    v.set(Tensor::ones([3], d)?)?;
    let steps = |c: &[Tensor], _: &[Tensor]| {
        Sgd::new(0.1).step(&(&c[0] * &v)?.sum(.., false)?.backward()?)?;
        Ok((c.to_vec(), vec![]))
    };
    says(scan(&[&c], &[&x], plain, steps), &["the body of a scan"]);
    let reads = |c: &[Tensor], x: &[Tensor]| {
        x[0].to_vec::<f32>()?;
        Ok((c.to_vec(), vec![]))
    };
    says(scan(&[&c], &[&x], plain, reads), &["scan", "known only"]);
    says(
        scan(&[&c], &[&x], plain, |c, _| Ok((vec![c[0].matmul(&c[0].reshape([1, 3])?)?], vec![]))),
        &["matmul"],
    );
    let on_gpu = Tensor::ones([3], Device::Gpu)?;
    says(
        scan(&[&c], &[&x], plain, |c, _| Ok((c.to_vec(), vec![on_gpu.clone()]))),
        &["scan", "on gpu", "on cpu"],
    );
    says(scan(&[&on_gpu], &[&x], plain, same), &["scan"]);
    // Floats of two types
    let wide = Tensor::zeros([3], d)?.cast(DType::F64)?.watch()?;
    let mixed = scan(&[&c.watch()?, &wide], &[&x], plain, same);
    says(mixed, &["f32", "f64", "cast"]);
    Ok(())
}

/// What only the values tell is an error of reading them; what is not a number goes where it goes.
#[test]
fn faults_and_numbers_that_are_none() -> Result<()> {
    for d in DEVICES {
        let table = Tensor::ones([4, 2], d)?;
        let looked_up = |tokens: &[u32]| {
            let tokens = Tensor::from_slice(tokens, [tokens.len()], d)?;
            let out = scan(&[&Tensor::zeros([2], d)?], &[&tokens], ScanOptions::new(), |c, x| {
                Ok((vec![(&c[0] + table.index_select(0, &x[0].reshape([1])?)?.reshape([2])?)?], vec![]))
            })?;
            out.carry[0].to_vec::<f32>()
        };
        assert_eq!(looked_up(&[0, 3, 1])?, [3.0, 3.0]);
        let e = looked_up(&[0, 9, 1]).unwrap_err().to_string();
        assert!(e.contains('9') && e.contains('4'), "{d}: {e}");
        assert_eq!(looked_up(&[2, 3, 1])?, [3.0, 3.0]);
        let x =
            Tensor::new([[1.0f32, 2.0], [f32::NAN, 1.0], [1.0, f32::INFINITY], [1.0, 1.0]], d)?.watch()?;
        let out = scan(&[&Tensor::zeros([2], d)?], &[&x], ScanOptions::new(), |c, x| {
            let next = (&c[0] + &x[0])?;
            Ok((vec![next.clone()], vec![next]))
        })?;
        let kept = out.rows[0].to_vec::<f32>()?;
        assert_eq!(&kept[..2], &[1.0, 2.0], "{d}");
        assert!(
            kept[2].is_nan() && kept[3] == 3.0 && kept[6].is_nan() && kept[7] == f32::INFINITY,
            "{d}: {kept:?}"
        );
        let grads = out.rows[0].slice(0, 0, 2)?.sum(.., false)?.backward()?;
        assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [2.0, 2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], "{d}");
    }
    Ok(())
}

/// Thousands of turns, more than a chain of pending operations may be long.
#[test]
fn many_turns() -> Result<()> {
    for d in DEVICES {
        let turns = 3000;
        let x = (Tensor::arange(0, turns as i64, d)?.cast(DType::F32)? / turns as f64)?;
        x.eval()?;
        let out = scan(&[&Tensor::new(0.0f32, d)?], &[&x], ScanOptions::new(), |c, x| {
            let next = ((&c[0] * 0.99)? + &x[0])?;
            Ok((vec![next.clone()], vec![next]))
        })?;
        let got = out.rows[0].to_vec::<f32>()?;
        let mut want = 0.0f64;
        for (t, &got) in got.iter().enumerate() {
            want = want * 0.99 + t as f64 / turns as f64;
            assert!((want - f64::from(got)).abs() < 1e-3, "{d}, {t}: {got} {want}");
        }
    }
    Ok(())
}

/// Weights learn by the gradients of a loop: a sum that is asked for at the end, remembered over all turns.
#[test]
fn a_recurrent_network_learns() -> Result<()> {
    let mut losses = Vec::new();
    for d in DEVICES {
        let variable = |shape: &[usize], seed| -> Result<Variable> {
            Ok(Variable::new((random(shape, seed, DType::F32, d)? * 0.5)?))
        };
        let (w, u, b) = (variable(&[1, 32], 1)?, variable(&[8, 32], 2)?, variable(&[32], 3)?);
        let head = variable(&[8, 1], 4)?;
        let x = random(&[6, 16, 1], 5, DType::F32, d)?;
        let y = x.sum([0], false)?;
        y.eval()?;
        let zero = Tensor::zeros([16, 8], d)?;
        let mut adam = Adam::new(0.02);
        let mut last = Vec::new();
        for _ in 0..60 {
            let out = scan(&[&zero, &zero], &[&x], ScanOptions::new(), |c, x| {
                lstm(c, x, &[w.value(), u.value(), b.value()])
            })?;
            let loss = (out.carry[0].matmul(&head)? - &y)?.square()?.mean(.., false)?;
            adam.step(&loss.backward()?)?;
            last.push(loss.item::<f32>()?);
        }
        assert!(last[59] < 0.1 * last[0], "{d}: {last:?}");
        losses.push(last);
    }
    assert!((losses[0][59] - losses[1][59]).abs() < 0.02 * losses[0][0], "{losses:?}");
    Ok(())
}

/// A part of a value that is held, and what is computed from the part and from what the value was computed from: no kernel reads
/// what it writes.
#[test]
fn parts_of_held_values_are_read_when_they_are_there() -> Result<()> {
    let on = |d: Device| -> Result<Vec<Vec<f64>>> {
        let x = random(&[4096, 64], 1, DType::F32, d)?;
        let whole = (&x * 2.0)?.exp()?;
        let part = whole.slice(0, 4095, 1)?;
        let both = (&x + &part)?;
        both.eval()?;
        [&whole, &part, &both].into_iter().map(values).collect()
    };
    let (cpu, gpu) = (on(Device::Cpu)?, on(Device::Gpu)?);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert_close(gpu, cpu, 1e-6, "parts");
    }
    Ok(())
}

/// What one loop gives is handed to another beside what the first was given; what a loop is given is of one vector with what it gives.
#[test]
fn loops_that_share_vectors() -> Result<()> {
    for d in DEVICES {
        let x = random(&[2, 64], 1, DType::F32, d)?;
        let c = (Tensor::ones([64], d)? * 2.0)?; // pending
        let none = ScanOptions::new();
        let a = scan(&[], &[&x], none, |_, x| Ok((vec![], vec![(&x[0] + &c)?])))?.rows.remove(0);
        let out =
            scan(&[&a, &c], &[], none.length(3), |s, _| Ok((vec![(&s[0] * 0.5)?, (&s[1] + 1.0)?], vec![])))?;
        let want: Vec<f64> = values(&x)?.iter().map(|x| (x + 2.0) * 0.125).collect();
        assert_close(&values(&out.carry[0])?, &want, 1e-6, "handed on");
        assert_eq!(out.carry[1].to_vec::<f32>()?, [5.0; 64], "{d}");
        // y = scan(x) + b: the gradients of both are in one vector
        let (x, b) = (Variable::new(x), Variable::new(Tensor::zeros([2, 64], d)?));
        let mut sgd = Sgd::new(1.0);
        for _ in 0..2 {
            let y = scan(&[], &[&x.value()], none, |_, x| Ok((vec![], vec![(&x[0] * 3.0)?])))?;
            sgd.step(&(&y.rows[0] + &b)?.sum(.., false)?.backward()?)?;
        }
        assert_eq!(b.value().to_vec::<f32>()?, [-2.0; 128], "{d}");
        let moved: Vec<f64> = values(&x.value())?.iter().zip(direction(1, 128)).map(|(a, b)| b - a).collect();
        assert_close(&moved, &[6.0; 128], 1e-6, "x");
    }
    Ok(())
}

/// Sums that double again and again are one term of a gradient, not 2^25.
#[test]
fn sums_of_sums_in_a_body() -> Result<()> {
    for d in DEVICES {
        let w = Tensor::new([0.5f32, -1.0], d)?.watch()?;
        let out = scan(&[&Tensor::zeros([2], d)?], &[], ScanOptions::new().length(2), |c, _| {
            let mut s = (&c[0] + &w)?;
            for _ in 0..25 {
                s = (&s + &s)?;
            }
            Ok((vec![(s * (1.0 / 33554432.0))?], vec![]))
        })?;
        assert_eq!(out.carry[0].to_vec::<f32>()?, [1.0, -2.0], "{d}");
        let grads = out.carry[0].sum(.., false)?.backward()?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [2.0, 2.0], "{d}");
    }
    Ok(())
}

/// A kernel from outside the crate, its declarations written as nobody here writes them.
#[derive(Debug)]
struct Tripled;

impl CustomOp for Tripled {
    fn name(&self) -> &'static str {
        "loop"
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }
    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = 3.0 * x);
        Ok(())
    }
    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let source = "
            @binding(0) @group(0) var<uniform> sizes: vec4<u32>;
            @binding(1) @group(0)
            var<storage,read> x: array<f32>;
            @binding(2) @group(0) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                if id.x < sizes.x { y[id.x] = 3.0 * x[id.x]; }
            }";
        let n = shapes[0].numel();
        Some(CustomKernel::new(source, n, 64).uniform([n as u32, 0, 0, 0]))
    }
    fn vjp(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some((grad * 3.0)?)])
    }
}

#[test]
fn kernels_from_outside_in_a_body() -> Result<()> {
    for d in DEVICES {
        let start = Tensor::new([8.0f32, 16.0, 24.0], d)?.watch()?;
        let out = scan(&[&start], &[], ScanOptions::new().length(2), |c, _| {
            let half = (&c[0] * 0.5)?;
            let tripled = apply_custom(Arc::new(Tripled), &[&half])?;
            Ok((vec![(half + &tripled)?], vec![tripled]))
        })?;
        assert_eq!(out.carry[0].to_vec::<f32>()?, [32.0, 64.0, 96.0], "{d}");
        assert_eq!(out.rows[0].to_vec::<f32>()?, [12.0, 24.0, 36.0, 24.0, 48.0, 72.0], "{d}");
        let grads = (out.carry[0].sum(.., false)? + out.rows[0].sum(.., false)?)?.backward()?;
        assert_eq!(grads.get(&start)?.to_vec::<f32>()?, [8.5; 3], "{d}");
        // what is handed on and what comes out of the kernel, both as they are
        let out = scan(&[&start, &start], &[], ScanOptions::new().length(2), |c, _| {
            let half = (&c[0] * 0.5)?;
            let tripled = apply_custom(Arc::new(Tripled), &[&half])?;
            Ok((vec![half, tripled], vec![]))
        })?;
        assert_eq!(out.carry[1].to_vec::<f32>()?, [6.0, 12.0, 18.0], "{d}");
    }
    Ok(())
}
