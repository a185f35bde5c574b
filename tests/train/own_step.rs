//! Training steps of one's own, and loops of one's own that are resumed.

use super::{alone, figures, fit};
use std::sync::{Mutex, PoisonError};
use wgrad::io::Checkpoint;
use wgrad::nn::{Build, Built, Context, Loss};
use wgrad::optim::ExponentialDecay;
use wgrad::prelude::*;
use wgrad::train::{LearningRateScheduler, OwnStep};

fn classifier(device: Device) -> Result<Model> {
    let layers = Sequential::new().add(Flatten::new()).add(Dropout::new(0.2)).add(Dense::new(10));
    layers.seed(3).build([28, 28, 1], device)
}

#[test]
fn a_step_of_ones_own_that_does_the_same_gives_the_same_bits() -> Result<()> {
    let _alone = alone();
    let (train, test) = data::synthetic::digits(50, 20, 5).into_datasets()?;
    for device in [Device::Cpu, Device::Gpu] {
        let loss = SparseCategoricalCrossentropy::from_logits;
        let mut usual =
            Trainer::new(classifier(device)?, Adam::new(1e-2), loss()).metric(Accuracy::new()).build()?;
        let mut own = Trainer::with_step(classifier(device)?, move |model: &Model, batch, step| {
            let logits = model.forward(&batch.inputs[0], step.context())?;
            step.measure(&logits, &batch.targets[0])?;
            step.minimize(&loss().compute(&logits, &batch.targets[0])?)
        })
        .optimizer(Adam::new(1e-2))
        .metric(Accuracy::new())
        .build()?;
        if device == Device::Cpu {
            // with accumulation, validation and callbacks
            let (a, b) = (usual.fit(&train, fit(&test, 3))?, own.fit(&train, fit(&test, 3))?);
            assert_eq!(figures(&a), figures(&b));
        }
        let fit = || Fit::epochs(2).batch_size(10).seed(4).verbose(false);
        let (a, b) = (usual.fit(&train, fit())?, own.fit(&train, fit())?);
        assert_eq!(figures(&a), figures(&b), "{device}");
        assert_eq!(usual.evaluate(&test)?.metrics, own.evaluate(&test)?.metrics);
        let x = test.batches(20, device)?.next().transpose()?.map(|(x, _)| x).ok_or(Error::other("none"))?;
        assert_eq!(usual.predict(&x)?.to_vec::<f32>()?, own.predict(&x)?.to_vec::<f32>()?);
    }
    Ok(())
}

#[derive(Module)]
#[module(no_forward)]
struct Gan {
    generator: Built,
    discriminator: Built,
}

impl Gan {
    fn new(device: Device) -> Result<Gan> {
        let mut cx = Build::new(device, 8);
        let generator = Sequential::new().add(Dense::new(16).activation(Activation::Relu)).add(Dense::new(2));
        let generator = cx.layer(generator, [4])?;
        let discriminator =
            Sequential::new().add(Dense::new(16).activation(Activation::Relu)).add(Dense::new(1));
        Ok(Gan { discriminator: cx.layer(discriminator, generator.output)?, generator })
    }

    fn bits(&self) -> Result<Vec<u32>> {
        let mut bits = Vec::new();
        for p in self.parameters() {
            bits.extend(p.variable.value().to_vec::<f32>()?.into_iter().map(f32::to_bits));
        }
        Ok(bits)
    }
}

/// What the noise of the last step was drawn from.
static LAST_SEED: Mutex<u64> = Mutex::new(0);

/// Losses of both, without logarithms: the discriminator's is computed from detached pictures.
fn of_discriminator(gan: &Gan, real: &Tensor, fake: &Tensor, cx: &Context) -> Result<Tensor> {
    let real = (gan.discriminator.forward(real, cx)? - 1.0)?.square()?.mean(.., false)?;
    real + gan.discriminator.forward(&fake.detach()?, cx)?.square()?.mean(.., false)?
}

fn of_generator(gan: &Gan, fake: &Tensor, cx: &Context) -> Result<Tensor> {
    (gan.discriminator.forward(fake, cx)? - 1.0)?.square()?.mean(.., false)
}

fn step(gan: &Gan, batch: &data::Batch, step: &mut OwnStep<'_>) -> Result<()> {
    let seed = step.context().next_seed().unwrap_or(0);
    *LAST_SEED.lock().unwrap_or_else(PoisonError::into_inner) = seed;
    let real = &batch.inputs[0];
    let fake =
        gan.generator.forward(&Tensor::randn([step.samples(), 4], real.device(), seed)?, step.context())?;
    let told = of_discriminator(gan, real, &fake, step.context())?;
    step.minimize_by("discriminator", &told)?;
    let fooled = of_generator(gan, &fake, step.context())?;
    step.report("spread", &fake.std(0, false)?.mean(.., false)?)?;
    step.minimize_by("generator", &fooled)
}

fn gan_trainer(device: Device) -> Result<Trainer<Gan>> {
    let gan = Gan::new(device)?;
    let of_generator = Adam::new(1e-2).over(&gan.generator).global_clip_norm(1.0);
    let of_discriminator = Sgd::new(2e-2).momentum(0.5).over(&gan.discriminator);
    Trainer::with_step(gan, step)
        .optimizer_named("generator", of_generator)
        .optimizer_named("discriminator", of_discriminator)
        .report("spread")
        .build()
}

fn points(device: Device) -> Result<data::Dataset> {
    let x = Tensor::randn([40, 2], Device::Cpu, 6)?;
    data::Dataset::from_tensors("points", &x.to_device(device)?, &Tensor::zeros([40], device)?)
}

#[test]
fn two_optimizers_in_a_step_do_what_a_loop_by_hand_does_in_one_plan() -> Result<()> {
    let _alone = alone();
    for device in [Device::Cpu, Device::Gpu] {
        let set = points(device)?;
        let mut trainer = gan_trainer(device)?;
        let by_hand = Gan::new(device)?;
        let mut g = Adam::new(1e-2).over(&by_hand.generator).global_clip_norm(1.0);
        let mut d = Sgd::new(2e-2).momentum(0.5).over(&by_hand.discriminator);
        let batch = data::Batch::new(Tensor::randn([8, 2], device, 1)?, Tensor::zeros([8], device)?);
        for k in 0..3 {
            let found = trainer.train_on_batch(&batch)?;
            let cx = Context::train(k);
            let seed = *LAST_SEED.lock().unwrap_or_else(PoisonError::into_inner);
            let fake = by_hand.generator.forward(&Tensor::randn([8, 4], device, seed)?, &cx)?;
            let told = of_discriminator(&by_hand, &batch.inputs[0], &fake, &cx)?;
            d.step(&told.backward()?)?;
            let fooled = of_generator(&by_hand, &fake, &cx)?;
            g.step(&fooled.backward()?)?;
            let sum = f64::from(told.item::<f32>()?) + f64::from(fooled.item::<f32>()?);
            assert!((found.loss - sum).abs() < 1e-5, "{device}: {} {sum}", found.loss);
            let of = |name: &str| found.metric(name).unwrap_or(f64::NAN);
            assert!((of("generator_loss") - f64::from(fooled.item::<f32>()?)).abs() < 1e-5);
            assert!((of("discriminator_loss") - f64::from(told.item::<f32>()?)).abs() < 1e-5);
        }
        let far = trainer.model().bits()?.into_iter().zip(by_hand.bits()?);
        let far = far.map(|(a, b)| (f32::from_bits(a) - f32::from_bits(b)).abs()).fold(0.0, f32::max);
        assert!(far < 1e-5, "{device}: {far}");

        let fit = |epochs| Fit::epochs(epochs).batch_size(8).verbose(false);
        trainer.fit(&set, fit(2).validation(&set))?;
        let misses = device.stats()?.plan_misses;
        let history = trainer.fit(&set, fit(3).validation(&set))?;
        assert_eq!(device.stats()?.plan_misses, misses, "{device}: plans are replayed");
        let names = ["loss", "generator_loss", "discriminator_loss", "spread", "val_spread", "val_loss"];
        let last = &history.epochs[2];
        assert!(names.iter().all(|name| last.value(name).is_some_and(f64::is_finite)), "{last:?}");
        let sum =
            last.value("generator_loss").unwrap_or(0.0) + last.value("discriminator_loss").unwrap_or(0.0);
        assert!((last.train.loss - sum).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn runs_with_two_optimizers_are_resumed_bit_by_bit() -> Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("gan.safetensors");
    let set = points(Device::Cpu)?;
    for accumulate in [1, 2] {
        let stop = std::sync::atomic::AtomicBool::new(false);
        let fit = |epochs| {
            let rates = LearningRateScheduler::new(|epoch, _| 0.01 / epoch as f64);
            Fit::epochs(epochs).batch_size(8).accumulate(accumulate).verbose(false).with(rates)
        };
        let mut whole = gan_trainer(Device::Cpu)?;
        let history = whole.fit(&set, fit(4))?;
        let mut first = gan_trainer(Device::Cpu)?;
        let mut steps = 0;
        first.fit(
            &set,
            fit(4).interrupt(&stop).callback(|_| {
                steps += 1;
                if steps == 9 {
                    stop.store(true, std::sync::atomic::Ordering::SeqCst);
                }
                Ok(wgrad::train::Flow::Continue)
            }),
        )?;
        assert!(first.interrupted());
        first.save_checkpoint(&path)?;
        let mut second = gan_trainer(Device::Cpu)?;
        second.resume(&path)?;
        let rest = second.fit(&set, fit(4))?;
        assert_eq!(figures(&rest), figures(&history), "accumulate {accumulate}");
        assert_eq!(second.model().bits()?, whole.model().bits()?, "accumulate {accumulate}");
        let one = Trainer::with_step(Gan::new(Device::Cpu)?, step).optimizer(Adam::new(0.1)).report("spread");
        let error = one.build()?.resume(&path).unwrap_err().to_string();
        assert!(error.contains("was saved with the optimizer generator Adam, discriminator Sgd"), "{error}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_step_is_told() -> Result<()> {
    let _alone = alone();
    let set = points(Device::Cpu)?;
    let run = |step: fn(&Gan, &data::Batch, &mut OwnStep<'_>) -> Result<()>| -> String {
        let told = || -> Result<()> {
            let gan = Gan::new(Device::Cpu)?;
            let (g, d) = (Adam::new(0.1).over(&gan.generator), Adam::new(0.1).over(&gan.discriminator));
            let mut trainer = Trainer::with_step(gan, step)
                .optimizer_named("g", g)
                .optimizer_named("d", d)
                .report("spread")
                .metric(Accuracy::new())
                .build()?;
            trainer.fit(&set, Fit::epochs(1).verbose(false)).map(drop)
        };
        told().err().map(|e| e.to_string()).unwrap_or_default()
    };
    let errors = [
        (
            run(|_, _, step| step.minimize(&Tensor::ones([], Device::Cpu)?)),
            "several optimizers, g, d; use minimize_by",
        ),
        (
            run(|_, _, step| step.minimize_by("h", &Tensor::ones([], Device::Cpu)?)),
            "no optimizer is named h; there are g, d",
        ),
        (
            run(|_, b, step| step.minimize_by("g", &b.inputs[0])),
            "the loss of g: OwnStep: the loss has shape [32, 2]; reduce it",
        ),
        (
            run(|_, b, step| step.minimize_by("g", &b.inputs[0].sum(.., false)?)),
            "does not depend on any variable",
        ),
        (run(|_, _, _| Ok(())), "the step minimises nothing by g"),
        (run(|_, b, step| step.report("kl", &b.inputs[0])), "kl was not announced; say .report(\"kl\")"),
        (run(|_, b, step| step.report("spread", &b.inputs[0])), "spread has shape [32, 2]"),
        (run(|_, b, step| step.measure_for("x", &b.inputs[0], &b.targets[0])), "no metric is of the group x"),
        (
            run(|gan, b, step| {
                step.minimize_by(
                    "d",
                    &gan.discriminator.forward(&b.inputs[0], step.context())?.sum(.., false)?,
                )?;
                let fake = gan.generator.forward(&Tensor::ones([1, 4], Device::Cpu)?, step.context())?;
                step.minimize_by("g", &fake.sum(.., false)?)
            }),
            "spread was not given; it has to be in each step",
        ),
    ];
    for (found, expected) in errors {
        assert!(found.contains(expected), "{found}\nexpected: {expected}");
    }
    let build = |optimizers: Vec<(&str, Adam)>| {
        let gan = Gan::new(Device::Cpu).map(|gan| Trainer::with_step(gan, step));
        let built =
            gan.and_then(|b| optimizers.into_iter().fold(b, |b, (n, o)| b.optimizer_named(n, o)).build());
        built.err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(build(vec![]).contains("there is no optimizer"));
    let both = build(vec![("a", Adam::new(0.1)), ("b", Adam::new(0.1))]);
    assert!(
        both.contains("generator.dense.weight is changed by the optimizers a and b; say which"),
        "{both}"
    );
    let twice = build(vec![("a", Adam::new(0.1)), ("a", Adam::new(0.1))]);
    assert!(twice.contains("two optimizers are named a"), "{twice}");
    Ok(())
}

#[test]
fn losses_of_layers_and_several_updates_in_a_step() -> Result<()> {
    let set = points(Device::Cpu)?;
    let model = Sequential::new().add(Dense::new(1).bias(false)).build([2], Device::Cpu)?;
    let weight = model.parameter("dense.weight")?.variable;
    weight.set(Tensor::ones([2, 1], Device::Cpu)?)?;
    let mut trainer = Trainer::with_step(model, |model: &Model, _batch, step| {
        let weight = model.parameter("dense.weight")?.variable;
        step.context().add_loss(weight.value().sum(.., false)?); // slope 1
        step.minimize(&(weight.value().sum(.., false)? * 2.0)?)?; // slope 2: together 3
        step.minimize(&weight.value().square()?.sum(.., false)?) // at the new values
    })
    .optimizer(Sgd::new(0.1))
    .build()?;
    let batch = data::Batch::new(Tensor::ones([1, 2], Device::Cpu)?, Tensor::ones([1], Device::Cpu)?);
    let evaluation = trainer.train_on_batch(&batch)?;
    // 1 - 0.3 = 0.7, then 0.7 - 0.2 * 0.7
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
    weight.value().to_vec::<f32>()?.iter().for_each(|w| near(f64::from(*w), 0.56));
    near(evaluation.loss, (6.0 + 2.0 * 0.49) / 2.0);
    near(trainer.evaluate(&set)?.loss, (6.0 * 0.56 + 2.0 * 0.56 * 0.56) / 2.0);
    let error = trainer.fit(&set, Fit::epochs(1).accumulate(2).verbose(false)).unwrap_err().to_string();
    assert!(error.contains("can't be accumulated"), "{error}");
    Ok(())
}

#[test]
fn a_loop_of_ones_own_is_saved_and_resumed_in_three_lines() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
    let path = folder.path().join("loop.safetensors");
    let x = Tensor::randn([8, 2], Device::Cpu, 1)?;
    let run = |steps: std::ops::Range<u64>, resume: bool| -> Result<Vec<u32>> {
        let gan = Gan::new(Device::Cpu)?;
        let schedule = ExponentialDecay::new(0.01, 2, 0.5);
        let mut g = Adam::new(0.01).schedule(schedule).over(&gan.generator);
        let mut d = Sgd::new(0.01).momentum(0.9).over(&gan.discriminator);
        let mut steps = steps;
        if resume {
            steps.start = Checkpoint::load(&path)?.restore(&gan, &mut [&mut g, &mut d])?;
        }
        for step in steps.clone() {
            let cx = Context::train(step);
            let fake = gan.generator.forward(&Tensor::randn([8, 4], Device::Cpu, step)?, &cx)?;
            d.step(&of_discriminator(&gan, &x, &fake, &cx)?.backward()?)?;
            g.step(&of_generator(&gan, &fake, &cx)?.backward()?)?;
        }
        Checkpoint::of(steps.end, &gan, &[&g, &d])?.save(&path)?;
        gan.bits()
    };
    let whole = run(0..6, false)?;
    run(0..3, false)?;
    assert_eq!(run(0..6, true)?, whole);
    let gan = Gan::new(Device::Cpu)?;
    let (before, mut adam) = (gan.bits()?, Adam::new(0.01));
    let checkpoint = Checkpoint::load(&path)?;
    let error = checkpoint.restore(&gan, &mut [&mut adam]).unwrap_err().to_string();
    assert!(error.contains("was saved with the optimizers Adam, Sgd; got Adam"), "{error}");
    let mut sgd = Sgd::new(0.01);
    let error = checkpoint.restore(&gan.generator, &mut [&mut adam, &mut sgd]).unwrap_err().to_string();
    assert!(error.contains("is not in the model"), "{error}");
    assert_eq!((gan.bits()?, adam.steps()), (before, 0));
    Ok(())
}

/// An optimizer that can't take its state leaves the one before it as it was.
#[test]
fn a_checkpoint_that_is_refused_changes_nothing() -> Result<()> {
    let gan = Gan::new(Device::Cpu)?;
    let mut g = Sgd::new(0.1).momentum(0.9).over(&gan.generator);
    let mut d = Adam::new(0.1).ema(0.5).over(&gan.discriminator);
    let x = Tensor::randn([8, 4], Device::Cpu, 1)?;
    let update = |g: &mut dyn Optimizer, d: &mut dyn Optimizer| -> Result<()> {
        let fake = gan.generator.forward(&x, &Context::eval())?;
        let grads =
            gan.discriminator.forward(&fake, &Context::eval())?.square()?.mean(.., false)?.backward()?;
        g.step(&grads)?;
        d.step(&grads)
    };
    update(&mut g, &mut d)?;
    let saved = Checkpoint::of(1, &gan, &[&g, &d])?;
    update(&mut g, &mut d)?;
    let named: Vec<(String, Variable)> = gan.parameters().into_iter().map(|p| (p.name, p.variable)).collect();
    let state = |g: &dyn Optimizer| -> Result<Vec<f32>> {
        let state = g.export_state(&named)?;
        let floats = state.iter().filter(|(_, t)| t.dtype() == DType::F32);
        Ok(floats.map(|(_, t)| t.to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat())
    };
    let before = state(&g)?;
    assert!(d.swap_averages()?);
    let error = saved.restore(&gan, &mut [&mut g, &mut d]).unwrap_err().to_string();
    assert!(error.contains("averages"), "{error}");
    assert_eq!(state(&g)?, before);
    Ok(())
}
