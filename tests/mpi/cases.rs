//! What a rank does in each case. It prints one line that begins with `rank N: `: digests, or the error that it got.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wgrad::data::Dataset;
use wgrad::distributed::{Alone, Collective, Mpi};
use wgrad::nn::{BatchNorm, Context, Dropout, Frozen, Regularizer};
use wgrad::prelude::*;
use wgrad::train::{CsvLogger, EarlyStopping, Event, Flow, ModelCheckpoint};

/// A setting of a case: `name=value` after its name.
pub fn setting(case: &str, name: &str) -> Option<String> {
    case.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(String::from))
}

pub fn number(case: &str, name: &str, default: usize) -> usize {
    setting(case, name).map_or(default, |value| value.parse().unwrap())
}

pub fn play(case: &str) {
    let world =
        if setting(case, "world").as_deref() == Some("alone") { None } else { Some(Mpi::world().unwrap()) };
    let rank = world.as_ref().map_or(0, Mpi::rank);
    let result = one(case, world.clone());
    let failed = result.is_err();
    println!("rank {rank}: {}", result.unwrap_or_else(|error| format!("error: {error}")));
    // Leaves MPI when all others have said theirs: mpirun ends those that haven't when one fails.
    drop(world);
    if failed {
        std::process::exit(1);
    }
}

fn one(case: &str, world: Option<Mpi>) -> Result<String> {
    let rank = world.as_ref().map_or(0, Mpi::rank);
    let here = |name: &str| setting(case, name).is_some_and(|which| which.parse() == Ok(rank));
    if case.starts_with("own_loop") {
        return own_loop(&*world.map_or(Box::new(Alone) as Box<dyn Collective>, |world| Box::new(world)));
    }
    if case.starts_with("synchronized") {
        return super::synchronized::play(case, world);
    }
    if case.starts_with("frozen") {
        return frozen(world);
    }
    let device = if here("no_adapter") {
        "a card of gold".into()
    } else {
        setting(case, "device").unwrap_or("cpu".into())
    };
    let device = match &world {
        Some(world) => world.device(&device)?,
        None => device.parse()?,
    };
    let (samples, classes) = (number(case, "samples", 50), if here("other_model") { 11 } else { 10 });
    let model = Sequential::new()
        .add(Conv2d::new(4, [3, 3]).activation(Activation::Relu))
        .add(BatchNorm::new())
        .add(MaxPool2d::new([4, 4]))
        .add(Flatten::new())
        .add(Dropout::new(0.2))
        .add(
            Dense::new(number(case, "units", 16))
                .activation(Activation::Relu)
                .kernel_regularizer(Regularizer::l2(1e-3)),
        )
        .add(Dense::new(classes))
        .seed(if here("other_weights") { 4 } else { 3 })
        .build([28, 28, 1], device)?;
    if setting(case, "own_step").is_some() {
        return own_step(device, world);
    }
    let mut loss = SparseCategoricalCrossentropy::from_logits();
    if setting(case, "ignore").is_some() {
        loss = loss.ignore_class(7);
    }
    let mut trainer = Trainer::new(model, Adam::new(1e-2), loss).metric(Accuracy::new()).build()?;
    if let Some(world) = world {
        trainer.distributed(world);
    }
    let made = samples - usize::from(here("other_count"));
    let (train, test) = digits(made, if here("other_data") { 2 } else { 1 })?;
    let (flag, step_to_fail) = (Arc::new(AtomicBool::new(false)), 2);
    let mut fit = Fit::epochs(number(case, "epochs", 2))
        .batch_size(if here("small_batch") { 2 } else { number(case, "batch", 16) })
        .seed(5)
        .validation(&test)
        .verbose(false)
        .interrupt(&flag)
        .callback(|event| {
            if let Event::Step(step) = &event {
                if step.step == step_to_fail && here("fails") {
                    return Err(wgrad::Error::other("the sensor is off"));
                }
                if step.step == step_to_fail && step.epoch == 1 && here("dies") {
                    std::process::abort();
                }
                if step.step == step_to_fail && step.epoch == 2 && here("dies_later") {
                    std::process::abort();
                }
                if step.step == step_to_fail && here("interrupts") {
                    flag.store(true, Ordering::SeqCst);
                }
                if step.step == step_to_fail && here("stops") {
                    return Ok(Flow::Stop);
                }
            }
            Ok(Flow::Continue)
        });
    if let Some(shards) = setting(case, "shards") {
        fit = fit.shards(shards.parse().unwrap());
    }
    if let Some(patience) = setting(case, "patience") {
        fit = fit
            .with(EarlyStopping::new("val_loss").patience(patience.parse().unwrap()).restore_best_weights());
    }
    if let Some(file) = setting(case, "checkpoint").map(PathBuf::from) {
        if file.exists() {
            trainer.resume(&file)?;
        }
        fit = fit.with(ModelCheckpoint::new(file.display().to_string()));
        fit = fit.with(CsvLogger::new(file.with_extension("csv")));
    }
    let history = trainer.fit(&train, fit)?;
    let mut hash = DefaultHasher::new();
    for parameter in trainer.model().parameters() {
        for value in parameter.variable.value().to_vec::<f32>()? {
            hash.write_u32(value.to_bits());
        }
    }
    let mut numbers = DefaultHasher::new();
    for epoch in &history.epochs {
        let validation = epoch.validation.as_ref().unwrap();
        for value in [epoch.train.loss, validation.loss, epoch.train.metrics[0].1, validation.metrics[0].1] {
            numbers.write_u64(value.to_bits());
        }
        assert!(epoch.train.samples == made || setting(case, "stops").is_some());
        assert_eq!(validation.samples, 20);
    }
    let last = history.epochs.last().map_or(0.0, |epoch| epoch.train.loss);
    Ok(format!(
        "weights {:016x}, numbers {:016x}, epochs {}, interrupted {}, loss {last:.3}",
        hash.finish(),
        numbers.finish(),
        history.epochs.len(),
        trainer.interrupted(),
    ))
}

/// A training step of one's own; 50 samples in batches of 16, so that the last has 2, fewer than 3 or 4 ranks.
fn own_step(device: Device, world: Option<Mpi>) -> Result<String> {
    let model =
        Sequential::new().add(Flatten::new()).add(Dense::new(10)).seed(3).build([28, 28, 1], device)?;
    let mut trainer = Trainer::with_step(model, |model, batch, step| {
        let y = model.forward(&batch.inputs[0], step.context())?;
        step.minimize(&y.cross_entropy(&batch.targets[0])?)?;
        step.report("size", &y.square()?.mean(.., false)?)?;
        step.measure(&y, &batch.targets[0])
    })
    .optimizer(Sgd::new(0.05))
    .report("size")
    .metric(Accuracy::new())
    .build()?;
    if let Some(world) = world {
        trainer.distributed(world);
    }
    let (train, test) = digits(50, 1)?;
    let fit = Fit::epochs(2).batch_size(16).seed(5).validation(&test).verbose(false);
    let history = trainer.fit(&train, fit)?;
    let last = &history.epochs[1];
    assert_eq!(last.train.samples, 50);
    let weight = trainer.model().parameters()[0].variable.value();
    let (train, validation) = (&last.train, last.validation.as_ref().unwrap());
    let size = weight.abs()?.sum(.., false)?.item::<f32>()?;
    Ok(format!("loss {:.3} {:.3}, {:.2?}, weights {size:.2}", train.loss, validation.loss, train.metrics))
}

/// A frozen part stays what it is, to the bit: a mean of three equal numbers need not be one of them.
fn frozen(world: Option<Mpi>) -> Result<String> {
    #[derive(Module)]
    struct Net {
        base: Frozen<Model>,
        head: Model,
    }
    impl Net {
        fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
            self.head.forward(&self.base.forward(x, cx)?, cx)
        }
    }
    let base =
        Sequential::new().add(Flatten::new()).add(Dense::new(20)).seed(3).build([28, 28, 1], Device::Cpu)?;
    let head = Sequential::new().add(Dense::new(10)).seed(4).build([20], Device::Cpu)?;
    let net = Net { base: Frozen::new(base)?, head };
    let weights = |net: &Net| net.base.parameters()[0].variable.value().to_vec::<f32>();
    let before = weights(&net)?;
    let mut trainer =
        Trainer::new(net, Sgd::new(0.1), SparseCategoricalCrossentropy::from_logits()).build()?;
    if let Some(world) = world {
        trainer.distributed(world);
    }
    trainer.fit(&digits(50, 1)?.0, Fit::epochs(1).batch_size(16).shards(3).verbose(false))?;
    assert_eq!(weights(trainer.model())?, before);
    Ok("as it was".into())
}

pub fn digits(samples: usize, seed: u64) -> Result<(Dataset, Dataset)> {
    wgrad::data::synthetic::digits(samples, 20, seed).into_datasets()
}

/// Gradients of one's own loop: the mean over ranks whose numbers are known.
fn own_loop(world: &dyn Collective) -> Result<String> {
    let (rank, ranks) = (world.rank() as f32, world.size() as f32);
    let small = Variable::new(Tensor::new([1.0f32, -2.0], Device::Cpu)?);
    let large = Variable::new(Tensor::zeros([3, 5000], Device::Cpu)?);
    let wide = Variable::new(Tensor::new([0.5f64], Device::Cpu)?);
    let loss = (((small.value() * (rank + 1.0))?.sum(.., false)?
        + (large.value() * rank)?.sum(.., false)?)?
    .cast(DType::F64)?
        + (wide.value() * f64::from(rank))?.sum(.., false)?)?;
    let mean = loss.backward()?.all_reduce(world)?;
    let of_ranks = (ranks - 1.0) / 2.0;
    assert_eq!(mean.get(&small)?.to_vec::<f32>()?, [of_ranks + 1.0; 2]);
    assert!(mean.get(&large)?.to_vec::<f32>()?.iter().all(|&g| g == of_ranks));
    assert_eq!(mean.get(&wide)?.to_vec::<f64>()?, [f64::from(of_ranks)]);
    let loss = f64::from(-(of_ranks + 1.0) + 0.5 * of_ranks);
    assert_eq!(mean.loss().item::<f64>()?, loss);
    let said = wgrad::distributed::agree(world, Ok(format!("I am {rank}")))?;
    assert!(said.iter().enumerate().all(|(k, words)| *words == format!("I am {k}")), "{said:?}");
    Ok("fine".into())
}
