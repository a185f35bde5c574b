//! BatchNorm over all ranks: what a rank does, and what must come of it.

use super::cases::{digits, number, setting};
use super::checks::{all_fail, all_say, alone_says};
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use wgrad::distributed::{Alone, Collective, Mpi};
use wgrad::nn::{BatchNorm, Build, Context, Conv3d, Parameter};
use wgrad::optim::GradientAccumulator;
use wgrad::prelude::*;

/// What a rank of a case does.
pub fn play(case: &str, world: Option<Mpi>) -> Result<String> {
    let rank = world.as_ref().map_or(0, Mpi::rank);
    let values = if case.contains("own_loop") { own_loop(case, world)? } else { trained(case, world)? };
    // Too long for a line that ranks print at once.
    if let (0, Some(file)) = (rank, setting(case, "out")) {
        std::fs::write(file, serde_json::to_string(&values).unwrap()).unwrap();
    }
    let mut hash = DefaultHasher::new();
    values.iter().flat_map(|(_, values)| values).for_each(|value| hash.write_u32(value.to_bits()));
    Ok(format!("{:016x}", hash.finish()))
}

/// Parameters by their names.
type Values = Vec<(String, Vec<f32>)>;

/// All parameters after a run of a model with three forms of the layer.
fn trained(case: &str, world: Option<Mpi>) -> Result<Values> {
    let rank = world.as_ref().map_or(0, Mpi::rank);
    let here = |name: &str| setting(case, name).is_some_and(|which| which.parse() == Ok(rank));
    let device: Device = setting(case, "device").unwrap_or("cpu".into()).parse()?;
    let norm = || BatchNorm::new().momentum(0.9).synchronized(!here("not_here"));
    let model = Sequential::new()
        .add(Conv2d::new(4, [3, 3]).stride([2, 2]).activation(Activation::Tanh))
        .add(norm())
        .add(Conv2d::new(4, [3, 3]).stride([2, 2]).bias(false))
        .add(Conv2d::new(4, [3, 3]))
        .add(norm().trainable(setting(case, "frozen").is_none()))
        .add(Activation::Tanh)
        .add(Flatten::new())
        .add(Dense::new(16))
        .add(norm().center(false))
        .add(Dense::new(10))
        .seed(3)
        .build([28, 28, 1], device)?;
    let optimizer = Sgd::new(0.005).momentum(0.9);
    let mut trainer = if setting(case, "own_step").is_some() {
        let (fails, steps) = (here("fails"), AtomicUsize::new(0));
        Trainer::with_step(model, move |model, batch, step| {
            if fails && steps.fetch_add(1, Ordering::SeqCst) == 2 {
                return Err(wgrad::Error::other("the sensor is off"));
            }
            let y = model.forward(&batch.inputs[0], step.context())?;
            step.minimize(&y.cross_entropy(&batch.targets[0])?)
        })
        .optimizer(optimizer)
        .build()?
    } else {
        let mut loss = SparseCategoricalCrossentropy::from_logits();
        if setting(case, "ignore").is_some() {
            loss = loss.ignore_class(7);
        }
        Trainer::new(model, optimizer, loss).build()?
    };
    if let Some(world) = world {
        trainer.distributed(world);
    }
    let (train, test) = digits(number(case, "samples", 51), 1)?;
    let mut fit = Fit::epochs(2).batch_size(16).seed(5).validation(&test).verbose(false);
    if let Some(shards) = setting(case, "shards") {
        fit = fit.shards(shards.parse().unwrap());
    }
    let history = trainer.fit(&train, fit)?;
    let mut values = values(&trainer.model().parameters())?;
    let last = &history.epochs.last().unwrap();
    let losses = [last.train.loss, last.validation.as_ref().unwrap().loss];
    values.push(("losses".into(), losses.map(|loss| loss as f32).to_vec()));
    Ok(values)
}

fn values(parameters: &[Parameter]) -> Result<Values> {
    let of = |p: &Parameter| Ok((p.name.clone(), p.variable.value().to_vec::<f32>()?));
    parameters.iter().map(of).collect()
}

/// What ranks say, or a process without MPI, and the parameters after it.
fn outcome(ranks: Option<usize>, case: &str) -> (String, Values) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    let case = format!("{case} out={}", file.display());
    let said = match ranks {
        Some(ranks) => all_say(ranks, &case),
        None => alone_says(&case),
    };
    (said, serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap())
}

/// That the parameters are the same, up to rounding.
fn assert_alike(got: &Values, expected: &Values, case: &str) {
    assert!(got.len() == expected.len() && expected.len() > 8, "{case}");
    let mut furthest = 0.0f32;
    for ((name, got), (_, expected)) in got.iter().zip(expected) {
        assert!(got.len() == expected.len() && !expected.is_empty(), "{case}: {name}");
        // Biases before a normalisation change nothing: theirs is rounding alone.
        let scale = expected.iter().fold(1e-2f32, |m, v| m.max(v.abs()));
        for (got, expected) in got.iter().zip(expected) {
            let off = (got - expected).abs() / scale;
            assert!(off < 1e-5, "{case}: {name}: {got} {expected}");
            furthest = furthest.max(off);
        }
    }
    println!("  {case}: at most {furthest:.1e} from one process");
}

/// Several steps, each of two batches of uneven parts, whose gradients are accumulated.
fn own_loop(case: &str, world: Option<Mpi>) -> Result<Values> {
    let (rank, ranks) = world.as_ref().map_or((0, 1), |world| (world.rank(), world.size()));
    let mut build = Build::new(Device::Cpu, 7);
    let norm = || BatchNorm::new().momentum(0.5).synchronized(true);
    let layers = [
        build.layer(Conv3d::new(3, [2, 2, 2]), [3, 4, 3, 2])?,
        build.layer(norm(), [2, 3, 2, 3])?,
        build.layer(Flatten::new(), [2, 3, 2, 3])?,
        build.layer(Dense::new(5).activation(Activation::Tanh), [36])?,
        build.layer(norm().scale(false), [5])?,
        build.layer(Dense::new(2), [5])?,
    ];
    let parameters: Vec<_> = layers.iter().flat_map(Module::parameters).collect();
    // Of 12 samples the first rank has most; of 4 ranks the last has none.
    let samples = 12;
    let end = |rank: usize| if rank >= 3 || rank == ranks { samples } else { [0, 7, 9][rank] };
    let mine = end(rank)..end(rank + 1);
    let mut sgd = Sgd::new(0.01);
    let mut sums = GradientAccumulator::new(2);
    for step in 0..6 {
        if case.contains("leaves") && step == 3 && rank == 1 {
            return Err(wgrad::Error::other("the file is gone"));
        }
        let all = (Tensor::randn([samples, 3, 4, 3, 2], Device::Cpu, 100 + step)? * 3.0)? + 1.0;
        let mut y = all?.slice(0, mine.start, mine.len())?;
        let cx = Context::train(step);
        let cx = match &world {
            Some(world) => cx.distributed(world.clone()),
            None => cx,
        };
        for layer in &layers {
            y = layer.forward(&y, &cx)?;
        }
        // Ranks have other numbers of samples: a mean over all is a sum over these, divided by what each would have.
        let loss = (y.square()?.square()?.sum(.., false)? * (ranks as f64 / samples as f64))?;
        let grads = loss.backward()?;
        let mean = match &world {
            Some(world) => grads.all_reduce(world)?,
            None => grads.all_reduce(&Alone)?,
        };
        if let Some(mean) = sums.add(&mean)? {
            sgd.step(&mean)?;
        }
        wgrad::eval(&cx.take_also_compute().iter().collect::<Vec<_>>())?;
    }
    values(&parameters)
}

/// Whatever the ranks, the weights and averages of one process with the whole batch.
pub fn one_batch() {
    // The last batch has 3 samples, fewer than 4 ranks.
    for case in [
        "synchronized",
        "synchronized ignore=7",
        "synchronized frozen=1",
        "synchronized own_step=1",
        "synchronized own_loop",
    ] {
        let (alone, expected) = outcome(None, case);
        for ranks in [1, 2, 3, 4] {
            let (said, got) = outcome(Some(ranks), case);
            assert_alike(&got, &expected, &format!("{case} on {ranks} ranks"));
            assert_eq!(said == alone, ranks == 1, "{case} on {ranks} ranks");
        }
    }
    assert_eq!(all_say(3, "synchronized"), all_say(3, "synchronized"), "again");
}

pub fn on_the_gpu() {
    let case = "synchronized device=gpu samples=19";
    assert_alike(&outcome(Some(2), case).1, &outcome(None, case).1, case);
}

pub fn errors() {
    // In a step while others wait within the forward pass.
    all_fail(3, "synchronized own_step=1 fails=2", &["the sensor is off"]);
    all_fail(
        2,
        "synchronized shards=4",
        &["BatchNorm::synchronized", "4 shards and 2 ranks", "leave out Fit::shards"],
    );
    all_fail(1, "synchronized shards=2", &["2 shards and 1 rank:"]);
    all_fail(3, "synchronized not_here=1", &["different models or programs"]);
    all_fail(3, "synchronized own_loop leaves", &["rank 1"]);
}
