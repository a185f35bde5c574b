//! Laziness must not be seen: what is held keeps its value, nothing is computed twice, loops neither grow nor plan anew.

mod common;

use common::{Rng, assert_close, values};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, Pool2dOptions, Stats};

on_both_devices! {
    a_held_tensor_keeps_its_value_whatever_is_set_later;
    any_order_of_evaluation_gives_the_same;
    a_held_intermediate_is_not_computed_again;
    tensors_evaluated_together_share_their_work;
    ten_thousand_steps_keep_memory_flat;
    a_loop_that_never_looks_stays_bounded;
    deep_graphs_need_no_stack;
    wide_graphs;
    a_deep_graph_is_dropped_without_recursion;
    dropping_handles_frees_their_memory;
    two_threads_share_a_device;
    the_same_seed_gives_the_same_bits;
    changing_scalars_plan_nothing;
    the_last_partial_batch_plans_once;
}

/// Counters are the process's: the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` with no more stack than a recursion over a deep graph would overflow.
fn on_a_small_stack(f: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(f).expect("a thread");
    thread.join().expect("no panic")
}

fn seeded(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| rng.uniform(-1.0, 1.0) as f32).collect()
}

/// A small network by hand: convolution, pooling, two dense layers, dropout, momentum.
struct Net {
    variables: Vec<Variable>,
    velocity: Vec<Variable>,
}

impl Net {
    fn new(device: Device, seed: u64) -> Result<Net> {
        let shapes: [&[usize]; 6] = [&[3, 3, 1, 4], &[4], &[36, 8], &[8], &[8, 3], &[3]];
        let mut net = Net { variables: Vec::new(), velocity: Vec::new() };
        for (i, dims) in shapes.iter().enumerate() {
            let w = (Tensor::randn(dims, device, seed + i as u64)? * 0.3)?;
            net.variables.push(Variable::new(w));
            net.velocity.push(Variable::new(Tensor::zeros(dims, device)?));
        }
        Ok(net)
    }

    fn loss(&self, images: &Tensor, labels: &Tensor, dropout: u64) -> Result<Tensor> {
        let w = &self.variables;
        let h = images.conv2d(&w[0], Conv2dOptions::default())?;
        let h = (h + &w[1].value())?.relu()?.max_pool2d(Pool2dOptions::new([2, 2]))?.flatten(1)?;
        let h = (h.matmul(&w[2])? + &w[3].value())?.relu()?;
        let kept = Tensor::rand(h.shape(), h.device(), dropout)?.lt(0.75)?.cast(DType::F32)?;
        ((h * kept)?.matmul(&w[4])? + &w[5].value())?.cross_entropy(labels)
    }

    /// One step of gradient descent with momentum; the loss is not read.
    fn step(&self, images: &Tensor, labels: &Tensor, rate: f64, dropout: u64) -> Result<Tensor> {
        let loss = self.loss(images, labels, dropout)?;
        let grads = loss.backward()?;
        no_grad(|| -> Result<()> {
            for (w, v) in self.variables.iter().zip(&self.velocity) {
                v.set((v * 0.9)? - (grads.get(w)? * rate)?)?;
                w.set(w.value() + v.value())?;
            }
            Ok(())
        })?;
        let mut all: Vec<Tensor> = self.variables.iter().chain(&self.velocity).map(Variable::value).collect();
        all.push(loss.clone());
        wgrad::eval(&all.iter().collect::<Vec<_>>())?;
        loss.detach()
    }
}

/// Images of 8 x 8 and labels of three classes.
fn batch(n: usize, seed: u64, device: Device) -> Result<(Tensor, Tensor)> {
    let images = Tensor::from_vec(seeded(n * 64, seed), [n, 8, 8, 1], device)?;
    Ok((images, Tensor::randint(0, 3, [n], device, seed)?))
}

/// What must not change from step to step.
fn steady(s: &Stats) -> [u64; 5] {
    [s.bytes_live, s.bytes_pooled, s.allocations, s.plan_misses, s.pipelines]
}

mod checks {
    use super::*;

    pub fn a_held_tensor_keeps_its_value_whatever_is_set_later(d: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::new([1.0f32, 2.0], d)?);
        let before = w.value();
        let doubled = (&w * 2.0)?;
        let sum = (&doubled + &w)?;
        w.set(&w * 10.0)?;
        let mixed = (&sum + &w)?;
        w.set(Tensor::new([100.0f32, 100.0], d)?)?;
        w.add_assign(&Tensor::ones([2], d)?)?;
        let after = w.value();
        // nothing has been computed yet; the newest first
        assert_eq!(mixed.to_vec::<f32>()?, [13.0, 26.0]);
        assert_eq!(after.to_vec::<f32>()?, [101.0, 101.0]);
        w.set(Tensor::zeros([2], d)?)?;
        assert_eq!(sum.to_vec::<f32>()?, [3.0, 6.0]);
        assert_eq!(before.to_vec::<f32>()?, [1.0, 2.0]);
        assert_eq!(doubled.to_vec::<f32>()?, [2.0, 4.0]);
        assert_eq!(w.value().to_vec::<f32>()?, [0.0, 0.0]);
        assert_eq!(after.to_vec::<f32>()?, [101.0, 101.0]);
        Ok(())
    }

    pub fn any_order_of_evaluation_gives_the_same(d: Device) -> Result<()> {
        let _alone = alone();
        // Twelve tensors that depend on each other and on variables that change meanwhile, next to plain arithmetic.
        for seed in 0..12 {
            let mut rng = Rng(seed);
            let start = [1.5f32, -0.5, 2.0];
            let vars: Vec<Variable> =
                (0..3).map(|_| Tensor::new(start, d).map(Variable::new)).collect::<Result<_>>()?;
            let mut now = vec![start.map(f64::from); 3];
            let mut held: Vec<(Tensor, [f64; 3])> = Vec::new();
            for _ in 0..12 {
                let v = rng.int(0, 2);
                let (t, x) = match held.len() {
                    0 => (vars[v].value(), now[v]),
                    n => held[rng.int(0, n - 1)].clone(),
                };
                let (made, value) = match rng.int(0, 3) {
                    0 => ((&t * &vars[v])?, std::array::from_fn(|i| x[i] * now[v][i])),
                    1 => ((&t + &vars[v])?.tanh()?, std::array::from_fn(|i| (x[i] + now[v][i]).tanh())),
                    2 => (t.flip(0)?, [x[2], x[1], x[0]]),
                    _ => (t.max(0, true)?.broadcast_to([3])?, [x[0].max(x[1]).max(x[2]); 3]),
                };
                if rng.flag() {
                    vars[v].set((&made * 0.5)?)?;
                    now[v] = value.map(|x| x * 0.5);
                }
                if rng.int(0, 4) == 0 {
                    made.eval()?;
                }
                held.push((made, value));
            }
            held.extend(vars.iter().zip(now).map(|(v, x)| (v.value(), x)));
            rng.shuffle(&mut held);
            for (t, x) in &held {
                assert_close(&values(t)?, x, 1e-5, &format!("seed {seed}"));
            }
        }
        Ok(())
    }

    pub fn a_held_intermediate_is_not_computed_again(d: Device) -> Result<()> {
        let _alone = alone();
        let x = Tensor::from_vec(seeded(600, 1), [20, 30], d)?.watch()?;
        let hidden = x.matmul(x.transpose()?)?.tanh()?;
        let total = hidden.sum(.., false)?;
        total.eval()?;
        d.synchronize()?;
        let before = d.stats()?.dispatches;
        let read = hidden.to_vec::<f32>()?;
        hidden.eval()?;
        wgrad::eval(&[&hidden, &total])?;
        assert_eq!(
            d.stats()?.dispatches,
            before,
            "the held intermediate was an output of the first computation"
        );
        let sum: f64 = read.iter().map(|&v| v as f64).sum();
        assert_close(&values(&total)?, &[sum], 1e-4, "sum of what was held");
        Ok(())
    }

    pub fn tensors_evaluated_together_share_their_work(d: Device) -> Result<()> {
        let _alone = alone();
        let build = || -> Result<[Tensor; 2]> {
            let x = Tensor::from_vec(seeded(4096, 2), [64, 64], d)?;
            let product = x.matmul(&x)?.relu()?;
            Ok([product.sum(0, false)?, product.max(1, false)?])
        };
        let count = |f: &dyn Fn() -> Result<()>| -> Result<u64> {
            let before = d.stats()?.dispatches;
            f()?;
            Ok(d.stats()?.dispatches - before)
        };
        let [together, apart] = [
            count(&|| build().and_then(|[a, b]| wgrad::eval(&[&a, &b])))?,
            count(&|| {
                let ([a, _], [_, b]) = (build()?, build()?);
                a.eval()?;
                b.eval()
            })?,
        ];
        assert!(together < apart, "{together} dispatches together, {apart} apart");
        Ok(())
    }

    pub fn ten_thousand_steps_keep_memory_flat(d: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::from_vec(seeded(2000, 3), [2000], d)?);
        let target = Tensor::from_vec(seeded(2000, 4), [2000], d)?;
        let mut warm = None;
        for i in 0..10_000 {
            let loss = (&w - &target)?.square()?.mean(.., false)?;
            let grads = loss.backward()?;
            w.set(no_grad(|| w.value() - (grads.get(&w)? * 2.0)?)?)?;
            wgrad::eval(&[&w.value(), &loss])?;
            drop((loss, grads));
            if i == 200 {
                d.synchronize()?;
                warm = Some(d.stats()?);
            }
        }
        d.synchronize()?;
        let (first, last) = (warm.expect("more than 200 steps"), d.stats()?);
        assert_eq!(steady(&last), steady(&first), "{first:?}\n{last:?}");
        let left: f64 = values(&(&w - &target)?)?.iter().map(|v| v.abs()).fold(0.0, f64::max);
        assert!(left < 1e-4, "the loop descended: {left}");
        Ok(())
    }

    pub fn a_loop_that_never_looks_stays_bounded(d: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::full([2000], 1.0f32, d)?);
        let decay = |steps: usize| -> Result<()> {
            (0..steps).try_for_each(|_| w.set(no_grad(|| w.value() * 0.9999)?))
        };
        decay(5000)?;
        d.synchronize()?;
        let live = d.stats()?.bytes_live;
        decay(15_000)?;
        d.synchronize()?;
        let grown = d.stats()?.bytes_live as i64 - live as i64;
        assert!(grown <= 64 << 10, "{grown} more bytes live after 15,000 further steps");
        let want = 0.9999f64.powi(20_000);
        assert_close(&values(&w.value())?, &vec![want; 2000], 2e-3, "20,000 roundings later");
        Ok(())
    }

    pub fn deep_graphs_need_no_stack(d: Device) -> Result<()> {
        let _alone = alone();
        on_a_small_stack(move || {
            let x = Tensor::new([1.0f32, -2.0], d)?.watch()?;
            let before = d.stats()?.bytes_live;
            let mut y = x.clone();
            for i in 0..50_000 {
                // two nodes each: 100,000 in all
                y = ((&y * if i % 2 == 0 { 1.25 } else { 0.8 })? + 0.125)?;
            }
            let mut want = [1.0f32, -2.0];
            for i in 0..50_000 {
                want = want.map(|v| v * if i % 2 == 0 { 1.25 } else { 0.8 } + 0.125);
            }
            assert_close(&values(&y)?, &want.map(f64::from), 1e-3, "forward");
            let grads = y.sum(.., false)?.backward()?;
            assert_close(&values(&grads.get(&x)?)?, &[1.0, 1.0], 1e-2, "backward");
            drop((y, grads));
            let grown = d.stats()?.bytes_live as i64 - before as i64;
            assert!(grown <= 4096, "{grown} bytes stayed");
            Ok(())
        })
    }

    pub fn wide_graphs(d: Device) -> Result<()> {
        let _alone = alone();
        on_a_small_stack(move || {
            let x = Tensor::new([1.0f32, 2.0], d)?.watch()?;
            // 2,048 leaves of their own, added pair by pair
            let mut level = (0..2048).map(|i| &x * (i % 7) as f64).collect::<Result<Vec<_>>>()?;
            while level.len() > 1 {
                level = level.chunks(2).map(|p| &p[0] + &p[1]).collect::<Result<_>>()?;
            }
            // once inside a sum that nothing has computed yet, once by itself
            let total = level[0].square()?.sum(.., false)?;
            let factor: f64 = (0..2048).map(|i| (i % 7) as f64).sum();
            assert_close(&values(&total)?, &[5.0 * factor * factor], 1e-6, "sum of squares");
            assert_close(&values(&level[0])?, &[factor, 2.0 * factor], 1e-6, "sum of the leaves");
            let grad = level[0].sum(.., false)?.backward()?.get(&x)?;
            assert_close(&values(&grad)?, &[factor, factor], 1e-6, "gradient");
            Ok(())
        })
    }

    pub fn a_deep_graph_is_dropped_without_recursion(d: Device) -> Result<()> {
        let _alone = alone();
        on_a_small_stack(move || {
            // tracked all along: the whole chain is kept for its gradient
            let mut y = Tensor::new([1.0f32], d)?.watch()?;
            let mut other = y.clone();
            for i in 0..100_000 {
                y = (&y + &other)?;
                if i % 1000 == 0 {
                    other = y.detach()?;
                    y = (&y * 0.0)?;
                }
            }
            let clone = y.clone();
            drop(y);
            drop(clone);
            Ok(())
        })
    }

    pub fn dropping_handles_frees_their_memory(d: Device) -> Result<()> {
        let _alone = alone();
        d.synchronize()?;
        let before = d.stats()?.bytes_live;
        let x = Tensor::from_vec(seeded(100_000, 5), [100_000], d)?;
        let y = (&x + 1.0)?;
        y.eval()?;
        let during = d.stats()?.bytes_live;
        assert!(during >= before + 800_000, "{before} before, {during} with two tensors of 400,000 bytes");
        drop((x, y));
        d.synchronize()?;
        assert_eq!(d.stats()?.bytes_live, before);
        Ok(())
    }

    pub fn two_threads_share_a_device(d: Device) -> Result<()> {
        let _alone = alone();
        let train = |seed: u64| -> Result<Vec<f32>> {
            let net = Net::new(d, seed)?;
            let (images, labels) = batch(4 + seed as usize % 3, seed, d)?;
            let mut losses = Vec::new();
            for i in 0..15 {
                losses.push(net.step(&images, &labels, 0.05, seed ^ i)?.item::<f32>()?);
            }
            Ok(losses)
        };
        let alone: Vec<Vec<f32>> = (10..13).map(train).collect::<Result<_>>()?;
        let together: Vec<Result<Vec<f32>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (10..13).map(|seed| scope.spawn(move || train(seed))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic")).collect()
        });
        for (a, b) in alone.iter().zip(together) {
            assert_eq!(*a, b?);
        }
        // and one tensor that two threads ask for at once
        for i in 0..20 {
            let x = Tensor::from_vec(seeded(5000, i), [5000], d)?;
            let y = (x.square()? + 1.0)?;
            let (p, q) = std::thread::scope(|scope| {
                let (p, q) = (scope.spawn(|| y.to_vec::<f32>()), scope.spawn(|| (&y * 2.0)?.to_vec::<f32>()));
                (p.join().expect("no panic"), q.join().expect("no panic"))
            });
            let twice: Vec<f32> = p?.iter().map(|v| v * 2.0).collect();
            assert_eq!(twice, q?);
        }
        Ok(())
    }

    pub fn the_same_seed_gives_the_same_bits(d: Device) -> Result<()> {
        let _alone = alone();
        let train = |seed: u64| -> Result<Vec<Vec<u32>>> {
            let net = Net::new(d, seed)?;
            for i in 0..50 {
                let (images, labels) = batch(7, seed + i % 5, d)?;
                drop(net.step(&images, &labels, 0.02, seed * 1000 + i)?);
            }
            let bits = |v: &Variable| Ok(v.value().to_vec::<f32>()?.iter().map(|x| x.to_bits()).collect());
            net.variables.iter().map(bits).collect()
        };
        let first = train(3)?;
        assert_eq!(first, train(3)?);
        assert_ne!(first, train(4)?);
        assert!(first.iter().flatten().all(|&b| f32::from_bits(b).is_finite()));
        Ok(())
    }

    pub fn changing_scalars_plan_nothing(d: Device) -> Result<()> {
        let _alone = alone();
        let net = Net::new(d, 1)?;
        let (images, labels) = batch(6, 1, d)?;
        let mut warm = None;
        for i in 0..12u64 {
            // the learning rate and the seed of dropout differ in every step
            drop(net.step(&images, &labels, 0.1 / (1 + i) as f64, 77 * i)?);
            if i == 3 {
                warm = Some(d.stats()?);
            }
        }
        let (first, last) = (warm.expect("more steps than four"), d.stats()?);
        assert_eq!(last.plan_misses, first.plan_misses);
        assert_eq!(last.pipelines, first.pipelines);
        assert_eq!(last.allocations, first.allocations);
        assert_eq!(last.submits - first.submits, 8, "one submission a step");
        Ok(())
    }

    pub fn the_last_partial_batch_plans_once(d: Device) -> Result<()> {
        let _alone = alone();
        let net = Net::new(d, 2)?;
        let batches = [batch(8, 1, d)?, batch(8, 2, d)?, batch(5, 3, d)?];
        let epoch = |e: u64| -> Result<Stats> {
            for (i, (images, labels)) in batches.iter().enumerate() {
                drop(net.step(images, labels, 0.01, 10 * e + i as u64)?);
            }
            d.stats()
        };
        epoch(0)?;
        let second = epoch(1)?;
        let third = epoch(2)?;
        assert_eq!(third.plan_misses, second.plan_misses);
        assert_eq!(third.pipelines, second.pipelines);
        assert_eq!(third.allocations, second.allocations);
        Ok(())
    }
}
