//! `Device::profile`: every kernel is there, once per call, and nothing is left behind.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgrad::prelude::*;
use wgrad::{Profile, Timing};

on_both_devices! {
    a_step_is_profiled_kernel_by_kernel;
    values_are_those_without_a_profile;
    errors_and_nesting_leave_no_recording_behind;
}

/// A device is profiled by one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn train(trainer: &mut Trainer<Model>, set: &data::Dataset) -> Result<()> {
    trainer.fit(set, Fit::epochs(1).batch_size(16).verbose(false)).map(drop)
}

fn trainer(device: Device) -> Result<Trainer<Model>> {
    let model = Sequential::new()
        .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dense::new(10))
        .seed(4)
        .build([28, 28, 1], device)?;
    Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .build()
}

fn calls(profile: &Profile) -> u64 {
    profile.kernels.iter().map(|k| k.calls).sum()
}

mod checks {
    use super::*;

    pub fn a_step_is_profiled_kernel_by_kernel(d: Device) -> Result<()> {
        let _alone = alone();
        let (set, _) = data::synthetic::digits(64, 1, 2).into_datasets()?;
        let mut trainer = trainer(d)?;
        train(&mut trainer, &set)?;
        d.synchronize()?;
        let before = d.stats()?;
        let profile = d.profile(|| train(&mut trainer, &set))?;
        let after = d.stats()?;
        // nothing is missing and nothing counted twice
        assert_eq!(calls(&profile), after.dispatches - before.dispatches);
        assert!(profile.evaluations >= 4, "{profile}");
        let find = |name: &str| profile.kernels.iter().filter(|k| k.name.contains(name)).collect::<Vec<_>>();
        // 16 images, 26 x 26 places, 8 filters of 9 weights, 4 steps
        let flops = 2 * 16 * 26 * 26 * 8 * 9 * 4;
        for name in ["conv2d_weight_grad", "conv2d"] {
            let found: u64 = find(name).iter().filter(|k| k.flops == flops).map(|k| k.calls).sum();
            assert!(found >= 4, "{name}: {profile}");
        }
        assert!(!find("matmul").is_empty() && !find("cross_entropy").is_empty(), "{profile}");
        // the dearest first; together no longer than the whole
        assert!(profile.kernels.is_sorted_by(|a, b| a.time >= b.time));
        assert!(profile.kernel_time() > Duration::ZERO && profile.kernel_time() <= profile.wall);
        assert!(profile.outside + profile.planning + profile.encoding <= profile.wall);
        match d {
            Device::Cpu => assert_eq!(profile.timing, Timing::HostClock),
            _ => assert!(profile.kernels.iter().all(|k| k.grid.iter().all(|&n| n > 0))),
        }
        let table = profile.to_string();
        for word in ["kernel", "calls", "share", "conv2d", "all kernels", "host, per evaluation"] {
            assert!(table.contains(word), "{word} is missing in\n{table}");
        }
        Ok(())
    }

    pub fn values_are_those_without_a_profile(d: Device) -> Result<()> {
        let _alone = alone();
        let (set, _) = data::synthetic::digits(80, 1, 3).into_datasets()?;
        let weights = |profiled: bool| -> Result<Vec<f32>> {
            let mut trainer = trainer(d)?;
            match profiled {
                true => drop(d.profile(|| train(&mut trainer, &set))?),
                false => train(&mut trainer, &set)?,
            }
            let parameters = trainer.model().parameters();
            let values = parameters.iter().map(|p| p.variable.value().to_vec::<f32>());
            Ok(values.collect::<Result<Vec<_>>>()?.concat())
        };
        assert_eq!(weights(true)?, weights(false)?);
        Ok(())
    }

    pub fn errors_and_nesting_leave_no_recording_behind(d: Device) -> Result<()> {
        let _alone = alone();
        let x = Tensor::ones([3], d)?;
        let message = d.profile(|| x.reshape([2]).map(drop)).unwrap_err().to_string();
        assert!(message.contains("reshape"), "{message}");
        let message = d.profile(|| d.profile(|| Ok(())).map(drop)).unwrap_err().to_string();
        assert!(message.contains("is being profiled already"), "{message}");
        let panicked = std::panic::catch_unwind(|| d.profile(|| panic!("on purpose")).map(drop));
        assert!(panicked.is_err());
        let empty = d.profile(|| Ok(()))?;
        assert_eq!((empty.kernels.len(), empty.evaluations), (0, 0));
        assert!(!empty.to_string().contains("NaN"), "{empty}");
        let one = d.profile(|| (&x + 1.0)?.eval())?;
        assert_eq!(one.evaluations, 1);
        Ok(())
    }
}
