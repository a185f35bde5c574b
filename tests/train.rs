//! Training on both devices: runs that are interrupted and resumed, several outputs, event files.

#[path = "train/accumulate.rs"]
mod accumulate;
#[path = "train/curve.rs"]
mod curve;
#[path = "train/endings.rs"]
mod endings;
#[path = "train/own_step.rs"]
mod own_step;
#[path = "train/rates.rs"]
mod rates;
#[cfg(all(unix, feature = "signals"))]
#[path = "train/signals.rs"]
mod signals;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::data::Dataset;
use wgrad::nn::{BatchNorm, BinaryCrossentropy, Functional, Regularizer};
use wgrad::prelude::*;
use wgrad::train::{
    BinaryAccuracy, EarlyStopping, Event, Flow, History, ModelCheckpoint, ReduceLrOnPlateau, TensorBoard,
};

/// The device's counters are those of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that has a state: batch normalisation, dropout, Adam with averages.
fn trainer(seed: u64, device: Device) -> Result<Trainer<Model>> {
    let model = Sequential::new()
        .seed(seed)
        .add(Conv2d::new(4, [3, 3]))
        .add(BatchNorm::new())
        .add(MaxPool2d::new([4, 4]))
        .add(Flatten::new())
        .add(Dropout::new(0.3))
        .add(Dense::new(10).kernel_regularizer(Regularizer::l2(1e-3)))
        .build([28, 28, 1], device)?;
    let adam = Adam::new(1e-2).ema(0.9);
    Trainer::new(model, adam, SparseCategoricalCrossentropy::from_logits()).metric(Accuracy::new()).build()
}

fn weights(trainer: &Trainer<Model>) -> Result<Vec<u32>> {
    let mut bits = Vec::new();
    for p in trainer.model().parameters() {
        bits.extend(p.variable.value().to_vec::<f32>()?.into_iter().map(f32::to_bits));
    }
    Ok(bits)
}

/// All numbers of a history but the times.
fn figures(history: &History) -> Vec<Vec<u64>> {
    let names = ["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"];
    let of = |e: &wgrad::train::Epoch| names.iter().map(|n| e.value(n).unwrap_or(-1.0).to_bits()).collect();
    history.epochs.iter().map(of).collect()
}

/// 50 samples in batches of 12: five steps, the last of two samples; updates after every second batch.
fn fit<'a>(test: &'a Dataset, epochs: usize) -> Fit<'a> {
    Fit::epochs(epochs)
        .batch_size(12)
        .seed(9)
        .accumulate(2)
        .validation(test)
        .verbose(false)
        .with(ReduceLrOnPlateau::new("val_accuracy").patience(1).factor(0.5))
        .with(EarlyStopping::new("val_loss").patience(9).restore_best_weights())
}

#[test]
fn a_resumed_run_is_bit_by_bit_the_one_that_was_not_interrupted() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    for device in [Device::Cpu, Device::Gpu] {
        let mut whole = trainer(1, device)?;
        let pattern = folder.path().join(format!("{device}-{{epoch}}.safetensors"));
        let saves = ModelCheckpoint::new(pattern.display().to_string());
        let history = whole.fit(&train, fit(&test, 4).with(saves))?;
        assert_eq!(history.epochs.len(), 4);

        // After an epoch, in another program.
        let mut resumed = trainer(77, device)?;
        resumed.resume(folder.path().join(format!("{device}-2.safetensors")))?;
        let again = resumed.fit(&train, fit(&test, 4))?;
        assert_eq!(figures(&again), figures(&history), "{device}");
        assert_eq!(weights(&resumed)?, weights(&whole)?, "{device}");

        // In the middle of the third epoch, with gradients of one batch accumulated.
        let stop = AtomicBool::new(false);
        let mut broken = trainer(1, device)?;
        let interrupt = fit(&test, 4).interrupt(&stop).callback(|event| {
            if let Event::Step(step) = event
                && (step.epoch, step.step) == (3, 3)
            {
                stop.store(true, Ordering::SeqCst);
            }
            Ok(Flow::Continue)
        });
        let partial = broken.fit(&train, interrupt)?;
        assert!(broken.interrupted() && partial.epochs.len() == 2 && !stop.load(Ordering::SeqCst));
        let path = folder.path().join("middle.safetensors");
        broken.save_checkpoint(&path)?;
        let mut resumed = trainer(78, device)?;
        resumed.resume(&path)?;
        let mut steps = Vec::new();
        let going_on = fit(&test, 4).callback(|event| {
            if let Event::Step(step) = event {
                steps.push((step.epoch, step.step));
            }
            Ok(Flow::Continue)
        });
        let again = resumed.fit(&train, going_on)?;
        assert_eq!(steps, [(3, 4), (3, 5), (4, 1), (4, 2), (4, 3), (4, 4), (4, 5)]);
        assert!(!resumed.interrupted());
        assert_eq!(figures(&again), figures(&history), "{device}");
        assert_eq!(weights(&resumed)?, weights(&whole)?, "{device}");

        // Other settings in the middle of a pass are no continuation.
        let mut other = trainer(1, device)?;
        other.resume(&path)?;
        let message = other.fit(&train, fit(&test, 4).batch_size(10)).unwrap_err().to_string();
        assert!(
            message.contains("batch_size(12), seed(9)") && message.contains("batch_size(10)"),
            "{message}"
        );
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_something_else_changes_nothing() -> Result<()> {
    let _alone = alone();
    let (train, _) = data::synthetic::digits(20, 1, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("run.safetensors");
    let mut saved = trainer(1, Device::Cpu)?;
    saved.fit(&train, Fit::epochs(1).verbose(false))?;
    saved.save_checkpoint(&path)?;
    let loss = SparseCategoricalCrossentropy::from_logits;
    let resume = |mut other: Trainer<Model>, path: &Path| -> Result<String> {
        let before = weights(&other)?;
        let message = other.resume(path).unwrap_err().to_string();
        assert_eq!(before, weights(&other)?);
        Ok(message)
    };
    let small = || Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu);
    let message = resume(Trainer::new(small()?, Adam::new(0.1), loss()).build()?, &path)?;
    assert!(message.contains("does not fit the model"), "{message}");
    let message =
        resume(Trainer::new(trainer(1, Device::Cpu)?.into_model(), Sgd::new(0.1), loss()).build()?, &path)?;
    assert!(message.contains("the optimizer Adam, the trainer has Sgd"), "{message}");
    // Without averages of its own, Adam leaves those of the file alone; with them, it needs them.
    let mut without = Trainer::new(trainer(1, Device::Cpu)?.into_model(), Adam::new(0.1), loss()).build()?;
    without.fit(&train, Fit::epochs(1).verbose(false))?;
    let other = folder.path().join("without.safetensors");
    without.save_checkpoint(&other)?;
    let message = resume(trainer(1, Device::Cpu)?, &other)?;
    assert!(message.contains("the state has no adam.ema"), "{message}");
    saved.model().save(&path)?;
    let message = resume(trainer(1, Device::Cpu)?, &path)?;
    assert!(message.contains("is no checkpoint"), "{message}");
    std::fs::write(&path, b"nothing").map_err(|e| Error::io(&path, e))?;
    assert!(resume(trainer(1, Device::Cpu)?, &path)?.contains("damaged"));
    Ok(())
}

#[test]
fn two_outputs_are_one_submission_without_planning_or_allocation() -> Result<()> {
    let _alone = alone();
    let (set, _) = data::synthetic::digits(130, 10, 5).into_datasets()?;
    let odd: Vec<f32> = set.labels().to_vec::<u8>()?.iter().map(|d| f32::from(d % 2)).collect();
    let set = set.also_target(&Tensor::from_vec(odd, [130, 1], Device::Cpu)?)?;
    let set = set.with_weights(&Tensor::full([130], 0.5f32, Device::Cpu)?)?;
    let mut net = Functional::new(Device::Gpu);
    let image = net.input("image", [28, 28, 1])?;
    let x = net.layer(Conv2d::new(8, [3, 3]).activation(Activation::Relu), image)?;
    let x = net.layer(Flatten::new(), x)?;
    let (digit, parity) = (net.layer(Dense::new(10), x)?, net.layer(Dense::new(1), x)?);
    let model = net.build(&[("digit", digit), ("odd", parity)])?;
    let mut trainer = Trainer::multi(model, Adam::new(1e-3))
        .output("digit", SparseCategoricalCrossentropy::from_logits(), 1.0)
        .output("odd", BinaryCrossentropy::from_logits(), 0.5)
        .metric_for("digit", Accuracy::new())
        .metric_for("odd", BinaryAccuracy::from_logits())
        .build()?;
    let mut marks = Vec::new();
    // 130 = 4 * 32 + 2: the last batch is a small one
    let fit = Fit::epochs(4).batch_size(32).class_weights_of("digit", [(3, 2.0)]).verbose(false);
    let fit = fit.callback(|event| {
        if let Event::Step(step) = event {
            marks.push((step.step, Device::Gpu.stats()?));
        }
        Ok(Flow::Continue)
    });
    let history = trainer.fit(&set, fit)?;
    assert!(history.epochs[3].train.loss < history.epochs[0].train.loss);
    let (before, after) = (marks[2 * 5 - 1].1, marks[4 * 5 - 1].1);
    // Two epochs of five steps, and what is read at the end of the epochs in between (five numbers and whether all weights
    // are finite, twice).
    let submits = after.submits - before.submits;
    assert!((10..=10 + 2 * 7).contains(&submits), "{submits} submissions in 10 steps");
    let within: u64 =
        marks.windows(2).filter(|w| w[1].0 > 1).map(|w| w[1].1.submits - w[0].1.submits).max().unwrap_or(0);
    assert_eq!(within, 1, "submissions in a step");
    assert!(after.dispatches - before.dispatches <= 40 * 10, "{before:?} {after:?}");
    assert_eq!(after.plan_misses, before.plan_misses);
    assert_eq!(after.allocations, before.allocations);
    assert_eq!(after.bytes_peak, before.bytes_peak);
    Ok(())
}

/// A number of a protocol buffer, and what follows it.
fn varint(data: &[u8]) -> (u64, &[u8]) {
    let end = data.iter().position(|b| b & 0x80 == 0).unwrap();
    let value = data[..=end].iter().rev().fold(0, |v, b| v << 7 | u64::from(b & 0x7f));
    (value, &data[end + 1..])
}

/// The fields of a message: number and content.
fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut out = Vec::new();
    while !data.is_empty() {
        let (key, rest) = varint(data);
        let (content, rest) = match key & 7 {
            0 => {
                let (value, rest) = varint(rest);
                (value.to_le_bytes().to_vec(), rest)
            }
            1 => (rest[..8].to_vec(), &rest[8..]),
            2 => {
                let (length, rest) = varint(rest);
                (rest[..length as usize].to_vec(), &rest[length as usize..])
            }
            _ => (rest[..4].to_vec(), &rest[4..]),
        };
        out.push((key >> 3, content));
        data = rest;
    }
    out
}

/// Step, tag and value of all scalars of the one event file in a folder.
fn scalars(folder: &Path) -> Vec<(u64, String, f32)> {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert!(files.len() == 1 && files[0].to_string_lossy().contains("tfevents"), "{files:?}");
    let content = std::fs::read(&files[0]).unwrap();
    let (mut data, mut out) = (&content[..], Vec::new());
    while !data.is_empty() {
        let length = u64::from_le_bytes(data[..8].try_into().unwrap()) as usize;
        let (mut step, mut summary) = (0, None);
        for (field, content) in fields(&data[12..12 + length]) {
            match field {
                2 => step = u64::from_le_bytes(content.try_into().unwrap()),
                5 => summary = Some(content),
                _ => {}
            }
        }
        for (_, value) in summary.iter().flat_map(|s| fields(s)) {
            let value = fields(&value);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            out.push((step, tag, f32::from_le_bytes(value[1].1.clone().try_into().unwrap())));
        }
        data = &data[12 + length + 4..];
    }
    out
}

#[test]
fn event_files_have_every_number_of_the_history() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let mut trainer = trainer(1, Device::Cpu)?;
    let board = TensorBoard::new(folder.path()).every(2);
    let mut losses = Vec::new();
    let fit = Fit::epochs(3).batch_size(12).validation(&test).verbose(false).with(board).callback(|event| {
        if let Event::Step(step) = event {
            losses.push(step.loss.item::<f32>()?);
        }
        Ok(Flow::Continue)
    });
    let history = trainer.fit(&train, fit)?;
    let (of_train, of_validation) =
        (scalars(&folder.path().join("train")), scalars(&folder.path().join("validation")));
    let points = |all: &[(u64, String, f32)], tag: &str| -> Vec<(u64, f32)> {
        all.iter().filter(|p| p.1 == tag).map(|p| (p.0, p.2)).collect()
    };
    let of_history = |name: &str| -> Vec<(u64, f32)> {
        history.epochs.iter().map(|e| (e.number as u64, e.value(name).unwrap_or(f64::NAN) as f32)).collect()
    };
    for name in ["loss", "accuracy", "learning_rate"] {
        assert_eq!(points(&of_train, &format!("epoch_{name}")), of_history(name), "{name}");
    }
    for name in ["loss", "accuracy"] {
        assert_eq!(
            points(&of_validation, &format!("epoch_{name}")),
            of_history(&format!("val_{name}")),
            "{name}"
        );
    }
    let every_second: Vec<(u64, f32)> =
        losses.iter().enumerate().skip(1).step_by(2).map(|(i, &loss)| (i as u64 + 1, loss)).collect();
    assert_eq!(every_second.len(), 7);
    assert_eq!(points(&of_train, "batch_loss"), every_second);
    // For tests/read_events.py, which reads the files with the package tensorboard.
    if let Some(target) = std::env::var_os("WGRAD_TEST_EVENTS") {
        for part in ["train", "validation"] {
            let to = Path::new(&target).join(part);
            std::fs::create_dir_all(&to).map_err(|e| Error::io(&to, e))?;
            for file in std::fs::read_dir(folder.path().join(part)).map_err(|e| Error::io(&to, e))?.flatten()
            {
                std::fs::copy(file.path(), to.join(file.file_name())).map_err(|e| Error::io(&to, e))?;
            }
        }
        history.save_json(Path::new(&target).join("history.json"))?;
    }
    Ok(())
}
