//! The same program on both devices: a small CNN trained by the `Trainer`, step by step.

use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::prelude::*;
use wgrad::train::{Event, Flow};

/// The device's counters are those of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Losses of the first steps, and the weights after them.
fn train(device: Device, seed: u64, steps: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let (set, _) = data::synthetic::digits(1300, 10, 5).into_datasets()?;
    let model = Sequential::new()
        .seed(seed)
        .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(16, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(10))
        .build([28, 28, 1], device)?;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(1e-3), loss).metric(Accuracy::new()).build()?;
    let mut losses = Vec::new();
    let fit = Fit::epochs(1).batch_size(64).seed(seed).verbose(false).callback(|event| {
        let Event::Step(step) = event else { return Ok(Flow::Continue) };
        losses.push(step.loss.item::<f32>()?);
        Ok(if step.step == steps { Flow::Stop } else { Flow::Continue })
    });
    trainer.fit(&set, fit)?;
    let mut weights = Vec::new();
    for p in trainer.model().parameters() {
        weights.extend(p.variable.value().to_vec::<f32>()?);
    }
    Ok((losses, weights))
}

/// Rounding differs between the devices, so that now and then a near tie (of a maximum in a window, of a ReLU at zero) can go
/// the other way, and Adam's first steps are as long for a tiny gradient as for a large one: the seed is one where the
/// twenty steps stay clear of that.
#[test]
fn the_devices_train_alike() -> Result<()> {
    let _alone = alone();
    let ((cpu, _), (gpu, _)) = (train(Device::Cpu, 1, 20)?, train(Device::Gpu, 1, 20)?);
    assert_eq!((cpu.len(), gpu.len()), (20, 20));
    assert!(cpu[19] < 0.8 * cpu[0], "does not learn: {cpu:?}");
    for (step, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
        assert!((a - b).abs() <= 1e-3 * a.abs(), "step {step}: {a} on the CPU, {b} on the GPU");
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let _alone = alone();
    for device in [Device::Cpu, Device::Gpu] {
        let (first, second) = (train(device, 3, 10)?, train(device, 3, 10)?);
        assert_eq!(first, second, "{device}");
        assert_ne!(first.1, train(device, 4, 10)?.1, "{device}: the seed has no effect");
    }
    Ok(())
}

#[test]
fn a_step_is_one_submission_without_planning_or_allocation() -> Result<()> {
    let _alone = alone();
    let (set, _) = data::synthetic::digits(1300, 10, 5).into_datasets()?;
    let model = Sequential::new()
        .add(Conv2d::new(32, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Conv2d::new(64, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(64).activation(Activation::Relu))
        .add(Dense::new(10))
        .build([28, 28, 1], Device::Gpu)?;
    let mut trainer = Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .build()?;
    let mut marks = Vec::new();
    // 1300 = 40 * 32 + 20: the last batch is a small one
    // (A note of the loss so far, every tenth step or so, is a submission by itself.)
    let fit = Fit::epochs(3).batch_size(32).record_every(0).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            marks.push((step.epoch, step.step, Device::Gpu.stats()?));
        }
        Ok(Flow::Continue)
    });
    trainer.fit(&set, fit)?;
    let (_, _, before) = marks[2 * 41 - 1];
    let (epoch, step, after) = marks[3 * 41 - 1];
    assert_eq!((epoch, step), (3, 41));
    // the third epoch: 41 steps, and in between what was read of the second: its sums, and whether all weights are finite
    let submits = after.submits - before.submits;
    assert!((41..=46).contains(&submits), "{submits} submissions in 41 steps");
    // With fewer buffers for a kernel than lavapipe has, less is joined.
    let most = if std::env::var_os("WGRAD_LIMITS").is_some() { 32 } else { 30 };
    assert!(after.dispatches - before.dispatches <= most * 41, "{before:?} {after:?}");
    assert_eq!(after.plan_misses, before.plan_misses);
    assert_eq!(after.allocations, before.allocations);
    Ok(())
}
