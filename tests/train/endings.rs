//! How runs end that don't end well: data that run out or fail, losses that are no numbers, callbacks that give up.

use super::{figures, fit, trainer, weights};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use wgrad::data::{Batch, BatchIter, Dataset, Pass, Pipeline, Source};
use wgrad::prelude::*;
use wgrad::train::{Callback, EarlyStopping, Epoch, Flow, Mode, Run, TerminateOnNan};

/// One weight on one feature.
fn line() -> Result<Trainer<Model>> {
    let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
    Trainer::new(model, Sgd::new(0.1), MeanSquaredError::new()).build()
}

fn numbers(n: u32) -> Pipeline<u32> {
    (0..n).collect()
}

fn sample(i: u32) -> Result<([f32; 1], [f32; 1])> {
    Ok(([i as f32 / 100.0], [i as f32 / 50.0]))
}

/// So many batches of one sample in each pass, and none after the last of these.
struct Shrinking {
    passes: Vec<usize>,
    next: AtomicUsize,
}

impl Shrinking {
    fn new(passes: &[usize]) -> Shrinking {
        Shrinking { passes: passes.to_vec(), next: AtomicUsize::new(0) }
    }
}

impl Source for Shrinking {
    fn name(&self) -> &str {
        "a shrinking source"
    }
    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let n = self.passes.get(self.next.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(0);
        let device = pass.device;
        Ok(Box::new((0..n).map(move |i| {
            let x = Tensor::full([1, 1], i as f32, device)?;
            Ok(Batch::new(x.clone(), x))
        })))
    }
}

#[test]
fn steps_over_a_source_that_ran_empty_spun_for_ever() -> Result<()> {
    let stop = AtomicBool::new(false);
    for (passes, steps, expected, epochs) in [
        // The second pass is empty: an iterator that can be gone through once.
        (&[3][..], Some(2), "gave no batch in pass 2 over it, and 3 in the one before", 1),
        (&[3], None, "gave no batch in pass 2 over it, and 3 in the one before", 1),
        (&[5, 3, 1, 0], Some(4), "gave no batch in pass 4 over it, and 1 in the one before", 2),
        (&[], Some(2), "has no samples to train on", 0),
        (&[], None, "has no samples to train on", 0),
    ] {
        let mut trainer = line()?;
        let mut fit = Fit::epochs(9).interrupt(&stop).verbose(false);
        if let Some(steps) = steps {
            fit = fit.steps_per_epoch(steps);
        }
        let message = trainer.fit(&Shrinking::new(passes), fit).unwrap_err().to_string();
        assert!(message.starts_with("a shrinking source: ") && message.contains(expected), "{message}");
        assert_eq!(trainer.history().epochs.len(), epochs);
    }
    // Passes that shrink and stay are epochs of their own.
    let mut trainer = line()?;
    let history = trainer.fit(&Shrinking::new(&[4, 2, 1]), Fit::epochs(3).verbose(false))?;
    assert_eq!(history.epochs.iter().map(|e| e.train.samples).collect::<Vec<_>>(), [4, 2, 1]);
    // More steps than the source has batches are several passes.
    let history = trainer.fit(&numbers(3).map(sample), Fit::epochs(1).steps_per_epoch(7).verbose(false))?;
    assert_eq!(history.epochs[0].train.samples, 7 * 3);
    Ok(())
}

#[test]
fn pipelines_without_samples_say_so_whatever_is_on_top() -> Result<()> {
    let empty = || numbers(9).filter(|_| Ok(false));
    let shared = Arc::new(Mutex::new(numbers(4).iter()));
    let once = Pipeline::generate("an iterator that is used up", move || {
        let shared = shared.clone();
        std::iter::from_fn(move || shared.lock().ok()?.next())
    });
    let cases: Vec<(&str, Pipeline<u32>)> = vec![
        ("list", numbers(0)),
        ("list", numbers(5).take(0)),
        ("list", numbers(5).skip(5)),
        ("list", empty()),
        ("list", empty().shuffle(5, 1)),
        ("list", empty().shuffle(usize::MAX, 1)),
        ("list", empty().prefetch(3)),
        ("list", empty().par_map(3, Ok)),
        ("list", empty().repeat(3)),
        ("list", empty().repeat(usize::MAX)),
        ("list", empty().repeat_forever()),
        ("list", empty().repeat_forever().prefetch(2).shuffle(4, 1)),
        ("list", empty().cache()),
        ("list", numbers(4).zip(empty()).map(|(a, _)| Ok(a))),
        ("list", empty().zip(numbers(4)).map(|(a, _)| Ok(a))),
        ("list", empty().chain(empty())),
        ("list", numbers(4).flat_map(|_| Ok(Vec::new()))),
        ("list", numbers(4).map(|_| Err(Error::argument("test", "no"))).ignore_errors()),
        ("nothing", Pipeline::generate("nothing", Vec::<Result<u32>>::new)),
    ];
    for (name, pipeline) in cases {
        for steps in [None, Some(3)] {
            let fit = || {
                let fit = Fit::epochs(2).verbose(false);
                if let Some(steps) = steps { fit.steps_per_epoch(steps) } else { fit }
            };
            let samples = pipeline.clone().map(sample);
            for message in [
                line()?.fit(&samples, fit()).unwrap_err().to_string(),
                line()?.fit(&samples.clone().batch(2), fit()).unwrap_err().to_string(),
                line()?.fit(&samples.clone().batch_exact(99), fit()).unwrap_err().to_string(),
            ] {
                assert_eq!(message, format!("{name}: has no samples to train on"), "{pipeline:?}");
            }
            let message =
                line()?.fit(&numbers(4).map(sample), fit().validation(&samples)).unwrap_err().to_string();
            let expected = ["has no samples to ", "never ends; "].map(|what| format!("{name}: {what}"));
            assert!(expected.iter().any(|e| message.starts_with(e)), "{message}");
        }
    }
    let message = line()?.fit(&once.map(sample), Fit::epochs(2).verbose(false)).unwrap_err().to_string();
    assert!(message.starts_with("an iterator that is used up: gave no batch in pass 2"), "{message}");
    // Known to be empty: told before an epoch is spent.
    let mut trainer = line()?;
    let none = numbers(0).map(sample);
    let message = trainer.fit(&numbers(4).map(sample), Fit::epochs(1).validation(&none)).unwrap_err();
    assert_eq!(message.to_string(), "list: has no samples to validate on");
    // What never ends can't be evaluated as a whole.
    let endless = numbers(4).map(sample).repeat_forever();
    for message in [
        trainer
            .fit(&numbers(4).map(sample), Fit::epochs(1).validation(&endless).verbose(false))
            .unwrap_err()
            .to_string(),
        trainer.evaluate(&endless).unwrap_err().to_string(),
        trainer.predict_on(&endless.clone().batch(2)).unwrap_err().to_string(),
    ] {
        assert!(message.starts_with("list: never ends; "), "{message}");
    }
    let fit = Fit::epochs(1).validation(&endless).validation_steps(2).steps_per_epoch(2).verbose(false);
    assert_eq!(trainer.fit(&endless, fit)?.epochs[0].train.samples, 64);
    Ok(())
}

#[test]
fn batches_without_samples_made_the_loss_no_number() -> Result<()> {
    let batch = || {
        let x = Tensor::zeros([0, 1], Device::Cpu)?;
        Ok(Batch::new(x.clone(), x))
    };
    let hollow = numbers(3).map(move |_| batch());
    let mut trainer = line()?;
    for message in [
        trainer.fit(&hollow, Fit::epochs(1).verbose(false)).unwrap_err().to_string(),
        trainer.evaluate(&hollow).unwrap_err().to_string(),
    ] {
        assert_eq!(message, "list: gave a batch without samples, number 1 of its pass");
    }
    // A batch size of 0 is refused, and leaves nothing behind.
    let samples = numbers(3).map(sample).to_dataset()?;
    for fit in [Fit::epochs(1).batch_size(0), Fit::epochs(0).batch_size(0)] {
        let message = trainer.fit(&samples, fit).unwrap_err().to_string();
        assert!(message.contains("the batch size is 0"), "{message}");
    }
    assert_eq!(trainer.predict(&Tensor::zeros([3, 1], Device::Cpu)?)?.shape(), [3, 1]);
    // No epochs are no run, but no error.
    let history = trainer.fit(&samples, Fit::epochs(0).batch_size(usize::MAX).verbose(false))?;
    assert!(history.epochs.is_empty());
    assert_eq!(trainer.fit(&samples, Fit::epochs(1).batch_size(usize::MAX).verbose(false))?.epochs.len(), 1);
    for fraction in [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = trainer
            .fit(&samples, Fit::epochs(1).validation_split(fraction).verbose(false))
            .unwrap_err()
            .to_string();
        assert!(message.contains("leaves nothing for one side"), "{fraction}: {message}");
    }
    Ok(())
}

/// Keeps the weights of each epoch, and what ended the run.
#[derive(Default)]
struct Witness {
    epochs: Vec<Vec<u32>>,
    told: Option<Option<String>>,
}

impl Callback for Witness {
    fn on_epoch_end(&mut self, _: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        let mut bits = Vec::new();
        for p in run.model().parameters() {
            bits.extend(p.variable.value().to_vec::<f32>()?.into_iter().map(f32::to_bits));
        }
        self.epochs.push(bits);
        Ok(Flow::Continue)
    }
    fn on_train_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.told = Some(run.error().map(ToString::to_string));
        Ok(())
    }
}

/// Fails after an epoch, if it is told to.
struct Fails {
    after: Option<usize>,
    begin: bool,
    end: bool,
}

impl Callback for Fails {
    fn on_train_begin(&mut self, _: &mut Run<'_>) -> Result<()> {
        if self.begin { Err(Error::argument("Fails", "in the beginning")) } else { Ok(()) }
    }
    fn on_epoch_end(&mut self, epoch: &Epoch, _: &mut Run<'_>) -> Result<Flow> {
        match self.after == Some(epoch.number) {
            true => Err(Error::argument("Fails", "as it was told to")),
            false => Ok(Flow::Continue),
        }
    }
    fn on_train_end(&mut self, _: &mut Run<'_>) -> Result<()> {
        if self.end { Err(Error::argument("Fails", "in the end")) } else { Ok(()) }
    }
}

/// A data set whose batches fail, or are not numbers, from a pass on.
struct Failing {
    set: Dataset,
    from: usize,
    nan: bool,
    passes: AtomicUsize,
}

impl Source for Failing {
    fn name(&self) -> &str {
        "failing"
    }
    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let fails = self.passes.fetch_add(1, Ordering::SeqCst) >= self.from;
        Ok(Box::new(self.set.pass(pass)?.enumerate().map(move |(k, batch)| {
            let mut batch = batch?;
            if fails && k == 2 {
                if !self.nan {
                    return Err(Error::data("file 17", "is gone"));
                }
                batch.inputs[0] = (&batch.inputs[0] * f64::NAN)?;
            }
            Ok(batch)
        })))
    }
}

#[test]
fn the_best_weights_did_not_come_back_after_an_error() -> Result<()> {
    let _alone = super::alone();
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum How {
        Data,
        Validation,
        Nan,
        TerminatedNan,
        CallbackBefore,
        CallbackAfter,
        CallbackAtTheEnd,
    }
    for device in [Device::Cpu, Device::Gpu] {
        let (train, test) = data::synthetic::digits(60, 20, 5).into_datasets()?;
        let sound = |set: &Dataset| Failing {
            set: set.clone(),
            from: usize::MAX,
            nan: false,
            passes: AtomicUsize::new(0),
        };
        for how in [
            How::Data,
            How::Validation,
            How::Nan,
            How::TerminatedNan,
            How::CallbackBefore,
            How::CallbackAfter,
            How::CallbackAtTheEnd,
        ] {
            let (mut source, mut validation) = (sound(&train), sound(&test));
            match how {
                How::Data => source.from = 5,
                How::Nan | How::TerminatedNan => (source.from, source.nan) = (5, true),
                How::Validation => validation.from = 5,
                _ => {}
            }
            // The loss falls, and the best is where it is largest: an early epoch.
            let mut trainer = Trainer::new(
                trainer(1, device)?.into_model(),
                Adam::new(3e-3),
                SparseCategoricalCrossentropy::from_logits(),
            )
            .build()?;
            let mut witness = Witness::default();
            let mut stopping =
                EarlyStopping::new("val_loss").mode(Mode::Max).patience(99).restore_best_weights();
            let fails = |at: How, after: Option<usize>| Fails {
                after: after.filter(|_| how == at),
                begin: false,
                end: how == How::CallbackAtTheEnd,
            };
            let mut fit = Fit::epochs(6)
                .batch_size(20)
                .validation(&validation)
                .verbose(false)
                .with(&mut witness)
                .with(fails(How::CallbackBefore, Some(5)))
                .with(&mut stopping)
                .with(fails(How::CallbackAfter, Some(5)));
            if how == How::Validation {
                // Two batches of the validation set are all: the third would fail.
                fit = fit.batch_size(6);
            }
            if how == How::TerminatedNan {
                fit = fit.with(TerminateOnNan::new());
            }
            let result = trainer.fit(&source, fit);
            let expected = match how {
                How::Data | How::Validation => "file 17: is gone",
                How::Nan => "the mean loss of epoch 6 is NaN",
                How::CallbackBefore | How::CallbackAfter => "Fails: as it was told to",
                How::CallbackAtTheEnd => "Fails: in the end",
                How::TerminatedNan => "",
            };
            match result {
                Ok(history) => assert!(how == How::TerminatedNan && history.epochs.len() == 6, "{how:?}"),
                Err(error) => assert!(error.to_string().contains(expected), "{how:?}: {error}"),
            }
            // The error is known to who is told of the end, but where that is what fails.
            let told = witness.told.unwrap_or_else(|| panic!("{how:?}: not told of the end"));
            match how {
                How::TerminatedNan | How::CallbackAtTheEnd => assert_eq!(told, None, "{how:?}"),
                _ => assert!(told.is_some_and(|message| message.contains(expected)), "{how:?}"),
            }
            let whole = match how {
                How::CallbackAtTheEnd | How::TerminatedNan => 6,
                _ => 5,
            };
            assert_eq!(trainer.history().epochs.len(), whole, "{how:?}");
            let (best, value) = stopping.best().unwrap_or_else(|| panic!("{how:?}: no best epoch"));
            assert!(best < 5, "{how:?}: the best is epoch {best}; the test needs an earlier one");
            assert_eq!(weights(&trainer)?, witness.epochs[best - 1], "{how:?} on {device}");
            let first = trainer.history().epochs[best - 1].value("val_loss");
            assert_eq!(first, Some(value));
            assert_eq!(trainer.evaluate(&test)?.loss, value, "{how:?} on {device}");
        }
    }
    Ok(())
}

#[test]
fn who_has_not_begun_is_not_told_of_the_end() -> Result<()> {
    let samples = numbers(3).map(sample);
    let (mut first, mut second) = (Witness::default(), Witness::default());
    let fails = Fails { after: None, begin: true, end: true };
    let fit = Fit::epochs(1).verbose(false).with(&mut first).with(fails).with(&mut second);
    assert_eq!(line()?.fit(&samples, fit).unwrap_err().to_string(), "callback 2: Fails: in the beginning");
    assert_eq!(first.told, Some(Some("callback 2: Fails: in the beginning".into())));
    assert_eq!(second.told, None);
    Ok(())
}

#[test]
fn the_best_weights_of_an_interrupted_run_are_to_be_had() -> Result<()> {
    let stop = AtomicBool::new(false);
    let samples = numbers(9).map(sample).to_dataset()?;
    let mut trainer = line()?;
    let mut witness = Witness::default();
    let mut stopping = EarlyStopping::new("loss").mode(Mode::Max).restore_best_weights();
    stopping = stopping.patience(9);
    let fit = Fit::epochs(9).batch_size(3).verbose(false).interrupt(&stop).with(&mut witness);
    let fit = fit.with(&mut stopping).callback(|event| {
        if let wgrad::train::Event::Step(step) = event {
            stop.store((step.epoch, step.step) == (4, 2), Ordering::SeqCst);
        }
        Ok(Flow::Continue)
    });
    trainer.fit(&samples, fit)?;
    assert!(trainer.interrupted() && trainer.history().epochs.len() == 3);
    // Where it was, to go on; the best is the first epoch, as the loss should rise here.
    let bits = |trainer: &Trainer<Model>| weights(trainer);
    assert!(witness.epochs.iter().all(|epoch| bits(&trainer).is_ok_and(|now| now != *epoch)));
    assert!(stopping.restore(trainer.model())?);
    assert_eq!(bits(&trainer)?, witness.epochs[0]);
    let other = Sequential::new().add(Dense::new(1).bias(false)).build([1], Device::Cpu)?;
    assert!(stopping.restore(&other).unwrap_err().to_string().contains("the model has 1"));
    Ok(())
}

/// A validation set that sets a flag at its second batch, as somebody would who lost patience.
struct Impatient<'a> {
    set: &'a Dataset,
    stop: &'a AtomicBool,
    passes: AtomicUsize,
}

impl Source for Impatient<'_> {
    fn name(&self) -> &str {
        "impatient"
    }
    fn pass(&self, pass: &Pass) -> Result<BatchIter<'_>> {
        let third = self.passes.fetch_add(1, Ordering::SeqCst) == 2;
        Ok(Box::new(
            self.set
                .pass(pass)?
                .enumerate()
                .inspect(move |(k, _)| {
                    if third && *k == 1 {
                        self.stop.store(true, Ordering::SeqCst);
                    }
                })
                .map(|(_, batch)| batch),
        ))
    }
}

#[test]
fn an_interrupt_was_not_heard_while_a_run_validated() -> Result<()> {
    let _alone = super::alone();
    let (train, test) = data::synthetic::digits(50, 40, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("validating.safetensors");
    let mut whole = trainer(1, Device::Cpu)?;
    let history = whole.fit(&train, fit(&test, 4))?;
    let stop = AtomicBool::new(false);
    let impatient = Impatient { set: &test, stop: &stop, passes: AtomicUsize::new(0) };
    let mut broken = trainer(1, Device::Cpu)?;
    let settings = Fit::epochs(4).batch_size(12).seed(9).accumulate(2).validation(&impatient).verbose(false);
    let settings = settings
        .interrupt(&stop)
        .with(wgrad::train::ReduceLrOnPlateau::new("val_accuracy").patience(1).factor(0.5))
        .with(EarlyStopping::new("val_loss").patience(9).restore_best_weights());
    broken.fit(&train, settings)?;
    assert!(broken.interrupted() && broken.history().epochs.len() == 2);
    broken.save_checkpoint(&path)?;
    let mut resumed = trainer(5, Device::Cpu)?;
    resumed.resume(&path)?;
    let mut steps = 0;
    let again = resumed.fit(
        &train,
        fit(&test, 4).callback(|event| {
            steps += usize::from(matches!(event, wgrad::train::Event::Step(_)));
            Ok(Flow::Continue)
        }),
    )?;
    // The third epoch was trained: only the fourth has steps.
    assert_eq!(steps, 5);
    assert_eq!(figures(&again), figures(&history));
    assert_eq!(weights(&resumed)?, weights(&whole)?);
    Ok(())
}

#[test]
fn data_that_fail_in_the_middle_can_be_resumed_from_there() -> Result<()> {
    let _alone = super::alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("failed.safetensors");
    let plain = |epochs: usize| Fit::epochs(epochs).batch_size(12).seed(9).validation(&test).verbose(false);
    let mut whole = trainer(1, Device::Cpu)?;
    let history = whole.fit(&train, plain(3))?;
    let failing = Failing { set: train.clone(), from: 1, nan: false, passes: AtomicUsize::new(0) };
    let mut broken = trainer(1, Device::Cpu)?;
    assert_eq!(broken.fit(&failing, plain(3)).unwrap_err().to_string(), "file 17: is gone");
    assert_eq!(broken.history().epochs.len(), 1);
    broken.save_checkpoint(&path)?;
    let mut resumed = trainer(6, Device::Cpu)?;
    resumed.resume(&path)?;
    let again = resumed.fit(&train, plain(3))?;
    assert_eq!(figures(&again), figures(&history));
    assert_eq!(weights(&resumed)?, weights(&whole)?);
    Ok(())
}
