//! The loss within epochs, and validation of averaged weights.

use super::{alone, fit, trainer, weights};
use std::sync::atomic::{AtomicBool, Ordering};
use wgrad::optim::Swa;
use wgrad::prelude::*;
use wgrad::train::{EarlyStopping, Event, Flow, History, Mode, ModelCheckpoint, TensorBoard};

fn points(history: &History) -> Vec<(u64, u64, u64)> {
    history.steps.iter().map(|p| (p.step, p.epoch.to_bits(), p.loss.to_bits())).collect()
}

#[test]
fn losses_of_every_few_steps_are_means_of_these_and_cost_no_plans() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    for device in [Device::Cpu, Device::Gpu] {
        let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], device)?;
        let loss = SparseCategoricalCrossentropy::from_logits().ignore_class(3);
        let mut trainer = Trainer::new(model, Adam::new(1e-2), loss).build()?;
        let run = |trainer: &mut Trainer<Model>, every: usize| -> Result<(History, Vec<f64>)> {
            let mut losses = Vec::new();
            let fit = Fit::epochs(2).batch_size(12).record_every(every).verbose(false).callback(|event| {
                if let Event::Step(step) = event {
                    losses.push(f64::from(step.loss.item::<f32>()?));
                }
                Ok(Flow::Continue)
            });
            let history = trainer.fit(&train, fit)?;
            Ok((history, losses))
        };
        run(&mut trainer, 2)?;
        let misses = device.stats()?.plan_misses;
        let (history, losses) = run(&mut trainer, 2)?;
        assert_eq!(device.stats()?.plan_misses, misses, "{device}");
        // five steps in an epoch: points after 2, 4 and 5
        let places: Vec<(u64, f64)> = history.steps.iter().map(|p| (p.step, p.epoch)).collect();
        assert_eq!(places, [(2, 0.4), (4, 0.8), (5, 1.0), (7, 1.4), (9, 1.8), (10, 2.0)]);
        // one step alone: its loss
        for (point, step) in [(2, 4), (5, 9)] {
            let (found, expected) = (history.steps[point].loss, losses[step]);
            assert!((found - expected).abs() < 1e-4 * expected, "{device}: {found} {expected}");
        }
        let (least, most) = (losses[0].min(losses[1]), losses[0].max(losses[1]));
        assert!((least - 1e-4..=most + 1e-4).contains(&history.steps[0].loss), "{device}");

        let (history, _) = run(&mut trainer, 0)?;
        assert!(history.steps.is_empty());
        let (history, _) = run(&mut trainer, 100)?;
        assert_eq!(history.steps.len(), 2, "the ends of the epochs");
        assert_eq!(history.steps[1].loss, history.epochs[1].train.loss);
        trainer.evaluate(&test)?;
    }
    Ok(())
}

#[test]
fn losses_by_step_of_a_resumed_run_are_those_of_the_whole() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer(1, Device::Cpu)?;
    let history = whole.fit(&train, fit(&test, 2).record_every(2))?;
    assert_eq!(history.steps.len(), 6);
    // within the second epoch, after a point, and at its end
    for last in [8, 9] {
        let stop = AtomicBool::new(false);
        let mut first = trainer(1, Device::Cpu)?;
        let mut steps = 0;
        first.fit(
            &train,
            fit(&test, 2).record_every(2).interrupt(&stop).callback(|event| {
                steps += usize::from(matches!(event, Event::Step(_)));
                stop.store(steps == last, Ordering::SeqCst);
                Ok(Flow::Continue)
            }),
        )?;
        assert!(first.interrupted());
        first.save_checkpoint(&path)?;
        let mut second = trainer(2, Device::Cpu)?;
        second.resume(&path)?;
        let board = TensorBoard::new(folder.path().join("board"));
        let rest = second.fit(&train, fit(&test, 2).record_every(2).with(board))?;
        assert_eq!(points(&rest), points(&history), "after {last} steps");
    }
    let event =
        std::fs::read_dir(folder.path().join("board/train")).map_err(|e| Error::io("board", e))?.next();
    let event = event.ok_or_else(|| Error::other("no events"))?.map_err(|e| Error::io("board", e))?;
    let bytes = std::fs::read(event.path()).map_err(|e| Error::io("board", e))?;
    let found = bytes.windows(9).filter(|w| w == b"step_loss").count();
    assert_eq!(found, 3, "those of the epoch that it wrote");
    Ok(())
}

#[test]
fn averaged_weights_are_validated_where_asked_and_trained_on_by_nobody() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let make = |adam: Adam| -> Result<Trainer<Model>> {
        let model =
            Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
        Trainer::new(model, adam, SparseCategoricalCrossentropy::from_logits()).build()
    };
    let fit = || Fit::epochs(3).batch_size(10).validation(&test).verbose(false);
    let (mut averaged, mut plain) = (make(Adam::new(1e-2).ema(0.8))?, make(Adam::new(1e-2).ema(0.8))?);
    let a = averaged.fit(&train, fit().validate_averages(true))?;
    let b = plain.fit(&train, fit())?;
    let losses = |h: &History| h.epochs.iter().map(|e| e.train.loss).collect::<Vec<_>>();
    assert_eq!(losses(&a), losses(&b));
    assert_ne!(a.epochs[0].value("val_loss"), b.epochs[0].value("val_loss"));
    // at the end the model has the averages
    assert_eq!(a.epochs[2].value("val_loss"), Some(averaged.evaluate(&test)?.loss));
    let error = make(Adam::new(1e-2))?.fit(&train, fit().validate_averages(true)).unwrap_err().to_string();
    assert!(error.contains("the optimizer keeps no averages of weights"), "{error}");
    assert!(error.contains("ema") && error.contains("Swa"), "{error}");
    Ok(())
}

#[test]
fn what_was_validated_is_what_is_kept() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let make = |start: u64| -> Result<Trainer<Model>> {
        let model =
            Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
        let swa = Swa::new(Adam::new(0.3)).start(start);
        Trainer::new(model, swa, SparseCategoricalCrossentropy::from_logits()).build()
    };
    let fit = |epochs| Fit::epochs(epochs).batch_size(10).validation(&test).verbose(false);
    // Before there are averages, the weights are validated.
    let (early, plain) =
        (make(1000)?.fit(&train, fit(2).validate_averages(true))?, make(1000)?.fit(&train, fit(2))?);
    assert_eq!(early.epochs[1].value("val_loss"), plain.epochs[1].value("val_loss"));
    // The averages of an epoch that isn't the last.
    let mut trainer = make(3)?;
    let mut stopping = EarlyStopping::new("val_loss").mode(Mode::Max).patience(30).restore_best_weights();
    let path = folder.path().join("best.safetensors");
    let best =
        ModelCheckpoint::new(path.display().to_string()).best("val_loss").mode(Mode::Max).weights_only();
    let history = trainer.fit(&train, fit(6).validate_averages(true).with(&mut stopping).with(best))?;
    let (epoch, value) = stopping.best().expect("a best epoch");
    assert!(epoch < 6, "{history:?}");
    assert_eq!(trainer.evaluate(&test)?.loss, value);
    let loaded = make(0)?;
    loaded.model().load(&path)?;
    assert_eq!(weights(&loaded)?, weights(&trainer)?);
    Ok(())
}
