//! Data on both devices: augmentation alike on both, and reading and augmenting as part of a step's one plan.

mod common;

#[path = "data/types.rs"]
mod types;

use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::Interpolation;
use wgrad::data::{Augment, BatchIter, Dataset, Fill, Pass, Source};
use wgrad::prelude::*;
use wgrad::train::{Event, Flow};

/// The device's counters are those of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn augmentation_is_alike_on_both_devices() -> Result<()> {
    let _alone = alone();
    let new = Augment::new;
    let all = new().shift(0.1, 0.1).rotate(15.0).zoom(0.1).flip_horizontal().flip_vertical().crop([9, 8]);
    let all = all.contrast(0.3).brightness(0.2);
    // Turning goes through sines, which round otherwise on a GPU; flips and crops only pick pixels.
    let cases = [
        (new().flip_horizontal().flip_vertical().crop([9, 8]), 0.0),
        (new().flip_horizontal().interpolation(Interpolation::Nearest), 0.0),
        (new().rotate(30.0).shift(0.2, 0.2), 1e-4),
        (new().zoom(0.3).fill(Fill::Nearest).normalise(&[0.5], &[0.2]), 1e-4),
        (all.clone().normalise(&[0.1, 0.2, 0.3], &[0.5, 1.0, 2.0]), 1e-4),
        (all.fill(Fill::Constant(0.5)), 1e-4),
    ];
    for (augment, tolerance) in cases {
        let run = |device: Device| -> Result<Vec<f32>> {
            let x = Tensor::rand([16, 12, 11, 3], Device::Cpu, 4)?.to_device(device)?;
            augment.apply(&x, 9)?.to_vec::<f32>()
        };
        let (cpu, gpu) = (run(Device::Cpu)?, run(Device::Gpu)?);
        assert_eq!(gpu, run(Device::Gpu)?);
        for (i, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
            assert!(
                (a - b).abs() <= tolerance,
                "element {i}: {a} on the CPU, {b} on the GPU, by {augment:?}"
            );
        }
    }
    Ok(())
}

/// Submissions, dispatches and plan misses of each step from the third on, which must be alike.
fn steps(source: &dyn Source, augment: Option<Augment>) -> Result<(u64, u64, u64)> {
    let mut layers = Sequential::new();
    if let Some(augment) = augment {
        layers = layers.add(augment);
    }
    let model = layers
        .add(Conv2d::new(4, [3, 3]).activation(Activation::Relu))
        .add(Flatten::new())
        .add(Dense::new(10))
        .build([28, 28, 1], Device::Gpu)?;
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(1e-3), loss).metric(Accuracy::new()).build()?;
    let mut before = Device::Gpu.stats()?;
    let mut counts = Vec::new();
    let fit = Fit::epochs(2).batch_size(16).verbose(false).callback(|event| {
        if let Event::Step(step) = event {
            let stats = Device::Gpu.stats()?;
            if step.step > 2 {
                let (submits, dispatches) =
                    (stats.submits - before.submits, stats.dispatches - before.dispatches);
                counts.push((submits, dispatches, stats.plan_misses - before.plan_misses));
            }
            before = stats;
        }
        Ok(Flow::Continue)
    });
    trainer.fit(source, fit)?;
    assert!(counts.len() >= 4 && counts.iter().all(|c| *c == counts[0]), "{counts:?}");
    Ok(counts[0])
}

#[test]
fn reading_and_augmenting_are_part_of_the_steps_one_plan() -> Result<()> {
    let _alone = alone();
    let (set, _) = data::synthetic::digits(80, 1, 1).into_datasets()?;
    let plain = steps(&set, None)?;
    assert_eq!((plain.0, plain.2), (1, 0), "{plain:?}");
    // one kernel that draws, one that looks pixels up
    let augment = Augment::new().shift(0.1, 0.1).rotate(10.0).zoom(0.1).flip_horizontal();
    for (found, what) in [
        (steps(&set.clone().augmented(augment.clone()), None)?, "a source"),
        (steps(&set, Some(augment.clone()))?, "a layer"),
    ] {
        assert_eq!((found.0, found.2), (1, 0), "{what}: {found:?}");
        assert!(found.1 <= plain.1 + 3, "{what}: {} dispatches, {} without", found.1, plain.1);
    }
    let batches = set.pipeline()?.shuffle(80, 1).batch(16).prefetch(2);
    let found = steps(&batches, None)?;
    assert_eq!((found.0, found.2), (1, 0), "{found:?}");
    Ok(())
}

#[test]
fn augmented_data_differ_from_epoch_to_epoch_and_repeat_with_the_seed() -> Result<()> {
    let _alone = alone();
    let images = Tensor::rand([6, 8, 8, 1], Device::Cpu, 1)?;
    let set = Dataset::from_tensors("noise", &images, &Tensor::arange(0, 6, Device::Cpu)?)?;
    let augmented = set.augmented(Augment::new().rotate(20.0));
    assert_eq!((augmented.samples(), augmented.steps(4), augmented.unit()), (Some(6), Some(2), "images"));
    let pixels = |shuffle| -> Result<Vec<f32>> {
        let batches: BatchIter<'_> = augmented.pass(&Pass::new(4, Device::Cpu).shuffle(shuffle))?;
        let mut all = Vec::new();
        for batch in batches {
            all.extend(batch?.inputs[0].to_vec::<f32>()?);
        }
        Ok(all)
    };
    assert_eq!(pixels(1)?, pixels(1)?);
    assert_ne!(pixels(1)?, pixels(2)?);
    Ok(())
}
