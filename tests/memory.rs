//! Shapes that change with every evaluation: plans, traces and free memory stay within bounds, and what was used lately stays.

mod common;

use common::values;
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::prelude::*;
use wgrad::{Graph, TensorSpec};

on_both_devices! {
    five_thousand_lengths_in_turn;
    large_tensors_of_many_lengths;
    plans_that_hold_much_are_few;
    a_function_traced_for_five_thousand_shapes;
    traces_that_hold_much_are_few;
}

/// Scores of 2048 queries and as many keys are 16 MiB: what is left behind by attention and its gradients says that they were never there.
#[test]
fn attention_has_no_matrix_of_scores() -> Result<()> {
    let _alone = alone();
    let d = Device::Cpu;
    let heads = |seed| Tensor::randn([2048, 16], d, seed)?.watch();
    let (q, k, v) = (heads(1)?, heads(2)?, heads(3)?);
    wgrad::eval(&[&q, &k, &v])?;
    d.trim()?;
    let before = d.stats()?.bytes_live;
    let y = q.scaled_dot_product_attention(&k, &v, &wgrad::nn::AttentionOptions::new().causal(true))?;
    let grads = y.square()?.sum(.., false)?.backward()?;
    wgrad::eval(&[&y, &grads.get(&q)?, &grads.get(&k)?, &grads.get(&v)?])?;
    let after = d.stats()?;
    assert!(after.bytes_live + after.bytes_pooled < before + 2 * MIB, "{after:?}, {before} bytes before");
    Ok(())
}

const MIB: u64 = 1 << 20;

/// Counters are the process's: the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of the process in memory, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}

/// The sum of `w x + x` over x = 0, 1, ... 6, 0, 1, ... of a length: whole numbers, and exact.
fn check(n: usize, w: &Variable, read: bool, d: Device) -> Result<()> {
    let x = Tensor::from_vec((0..n).map(|i| (i % 7) as f32).collect(), [n], d)?;
    let y = ((&x * w)? + &x)?;
    let total = y.sum(.., false)?;
    wgrad::eval(&[&y, &total])?;
    if read {
        let want: usize = (0..n).map(|i| 3 * (i % 7)).sum();
        assert_eq!(values(&total)?, [want as f64], "{n} elements");
    }
    Ok(())
}

mod checks {
    use super::*;

    pub fn five_thousand_lengths_in_turn(d: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::new([2.0f32], d)?);
        let length = |i: usize| 4 * (i + 1);
        // What a process needs once: kernels of every kind that these lengths need.
        for i in (0..5000).step_by(100) {
            check(length(i), &w, true, d)?;
        }
        d.trim()?;
        let (first, memory) = (d.stats()?, resident());
        for i in 0..5000 {
            check(length(i), &w, i % 50 == 0, d)?;
        }
        d.synchronize()?;
        let last = d.stats()?;
        assert_eq!(last.bytes_live, first.bytes_live);
        assert!(last.bytes_pooled <= 64 * MIB, "{last:?}");
        assert!(last.plans <= 4096 && last.bytes_plans <= 64 * MIB, "{last:?}");
        assert_eq!(last.pipelines, first.pipelines, "a length alone makes no kernel");
        if let (Some(before), Some(now)) = (memory, resident()) {
            let grown = now.saturating_sub(before);
            assert!(grown <= 192 * MIB, "{d}: {grown} bytes more are resident; {last:?}");
        }
        // The lengths of late are still known, the first ones are not.
        for i in (4500..5000).step_by(7) {
            check(length(i), &w, true, d)?;
        }
        let again = d.stats()?;
        assert_eq!(again.plan_misses, last.plan_misses);
        check(length(1), &w, true, d)?;
        if d != Device::Cpu {
            assert!(last.plans > 500, "{last:?}");
            assert_eq!(d.stats()?.plan_misses, again.plan_misses + 1);
        }
        let full = d.stats()?;
        d.trim()?;
        let trimmed = d.stats()?;
        assert_eq!(trimmed.plans, full.plans, "plans stay");
        assert!(trimmed.bytes_plans <= full.bytes_plans, "their bind groups don't");
        Ok(())
    }

    /// Free buffers that the latest evaluations did not use are freed, although the plans that used them are kept.
    pub fn large_tensors_of_many_lengths(d: Device) -> Result<()> {
        let _alone = alone();
        let w = Variable::new(Tensor::new([2.0f32], d)?);
        check(1000, &w, true, d)?;
        d.trim()?;
        let (first, memory) = (d.stats()?, resident());
        // Up to 8 MiB a tensor, in an order that jumps, so that each size class is met again and again: 600 MiB in all.
        for i in 0..80 {
            let n = 4096 * (1 + i * 37 % 80 * 6);
            check(n, &w, i % 10 == 0, d)?;
            let now = d.stats()?;
            assert!(now.bytes_pooled <= now.bytes_peak.max(1024 * MIB), "{now:?}");
        }
        for _ in 0..100 {
            check(1000, &w, false, d)?;
        }
        d.synchronize()?;
        let last = d.stats()?;
        assert_eq!(last.bytes_live, first.bytes_live);
        assert!(last.bytes_pooled <= 64 * MIB, "{last:?}");
        if let (Some(before), Some(now)) = (memory, resident()) {
            let grown = now.saturating_sub(before);
            assert!(grown <= 320 * MIB, "{d}: {grown} bytes more are resident; {last:?}");
        }
        Ok(())
    }

    /// Plans of some hundred kernels, each with bind groups for several sets of buffers: those of 64 MiB are kept, the latest
    /// among them, and the process holds no more than that.
    pub fn plans_that_hold_much_are_few(d: Device) -> Result<()> {
        let _alone = alone();
        let deep = |n: usize, times: usize| -> Result<()> {
            let mut held = Vec::new();
            for _ in 0..times {
                let x = Tensor::from_vec(vec![1.0f32; n], [n], d)?;
                // Each step needs the sum of all that was before.
                let mut y = x.clone();
                for _ in 0..60 {
                    y = (&y - y.mean(.., false)?)?;
                }
                assert_eq!(values(&y)?, vec![0.0; n], "{n} elements");
                // The next time other buffers are free.
                held.push(x);
            }
            Ok(())
        };
        let length = |i: usize| 8 * (i + 1);
        deep(length(40), 6)?;
        let (memory, planned) = (resident(), d.stats()?.plans);
        for i in 0..40 {
            deep(length(i), 6)?;
            let now = d.stats()?;
            assert!(now.bytes_plans <= 64 * MIB, "{now:?}");
        }
        let last = d.stats()?;
        if d != Device::Cpu {
            assert!(last.plans < planned + 40 && last.bytes_plans > 58 * MIB, "{last:?}");
        }
        if let (Some(before), Some(now)) = (memory, resident()) {
            let grown = now.saturating_sub(before);
            assert!(grown <= 192 * MIB, "{d}: {grown} bytes more are resident; {last:?}");
        }
        for i in 30..40 {
            deep(length(i), 1)?;
        }
        assert_eq!(d.stats()?.plan_misses, last.plan_misses, "the plans of late are there");
        Ok(())
    }

    pub fn a_function_traced_for_five_thousand_shapes(d: Device) -> Result<()> {
        let _alone = alone();
        let f =
            Graph::trace(&[TensorSpec::f32([1], d)?], |x| Ok(vec![(x[0].exp()? * &x[0])?.sum(.., false)?]))?;
        let usual = Tensor::ones([7], d)?;
        for i in 0..5000 {
            f.call(&[&Tensor::ones([3 + i], d)?])?;
            if i % 100 == 0 {
                // One that is called now and then is not forgotten for those that are called once.
                f.call(&[&usual])?;
            }
        }
        assert_eq!(f.traces(), 5001);
        let kept = f.signatures();
        assert_eq!(kept.len(), 256);
        assert_eq!(kept.last(), Some(&vec![TensorSpec::f32([5002], d)?]), "the latest last");
        f.call(&[&usual])?;
        f.call(&[&Tensor::ones([5000], d)?])?;
        assert_eq!(f.traces(), 5001);
        // One that was forgotten is traced again, and right.
        let out = f.call(&[&Tensor::zeros([9], d)?])?;
        assert_eq!((f.traces(), f.signatures().len()), (5002, 256));
        assert_eq!(values(&out[0])?, [0.0]);
        Ok(())
    }

    pub fn traces_that_hold_much_are_few(d: Device) -> Result<()> {
        let _alone = alone();
        let captured = Tensor::zeros([1 << 22], d)?;
        captured.eval()?;
        d.synchronize()?;
        let live = d.stats()?.bytes_live;
        // A MiB of its own for each length; what it captured, 16 MiB, is no trace's alone.
        let f = Graph::trace(&[TensorSpec::f32([1], d)?], |x| {
            let mask = Tensor::from_vec(vec![1.0f32; 1 << 18], [1 << 18], d)?;
            let all = (mask.sum(.., false)? + captured.slice(0, 0, 1)?.sum(.., false)?)?;
            Ok(vec![(&x[0] + all)?])
        })?;
        for n in 2..100 {
            f.call(&[&Tensor::ones([n], d)?])?;
        }
        assert_eq!(f.traces(), 99);
        let kept = f.signatures().len();
        assert!((60..=64).contains(&kept), "{kept} kept");
        let more = d.stats()?.bytes_live - live;
        assert!(more <= 66 * MIB, "{more} bytes live");
        drop(f);
        assert!(d.stats()?.bytes_live <= live);
        Ok(())
    }
}
