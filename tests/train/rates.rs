//! What is done around a training: a learning rate is found, statistics are gathered anew.

use wgrad::nn::{BatchNorm, Lstm, Module};
use wgrad::optim::{CosineDecay, Lookahead, Optimizer, State, Swa};
use wgrad::prelude::*;
use wgrad::train::{RateCurve, RateFinder};
use wgrad::{Gradients, data::Dataset};

fn digits() -> Result<Dataset> {
    Ok(data::synthetic::digits(120, 1, 3).into_datasets()?.0)
}

fn model(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Flatten::new())
        .add(Dense::new(12))
        .add(BatchNorm::new())
        .add(Activation::Relu)
        .add(Dropout::new(0.25))
        .add(Dense::new(10))
        .build([28, 28, 1], device)
}

fn trainer(optimizer: impl Optimizer + 'static, device: Device) -> Result<Trainer<Model>> {
    Trainer::new(model(device)?, optimizer, SparseCategoricalCrossentropy::from_logits()).build()
}

fn weights(trainer: &Trainer<Model>) -> Result<Vec<Vec<f32>>> {
    trainer.model().parameters().iter().map(|p| p.variable.value().to_vec()).collect()
}

#[test]
fn states_of_layers_are_left_by_no_sweep_and_go_to_no_other_shard() -> Result<()> {
    let _alone = super::alone();
    let make = || -> Result<Trainer<Model>> {
        let model = Sequential::new().add(Lstm::new(3).stateful(true)).add(Dense::new(1));
        Trainer::new(model.build([4, 2], Device::Cpu)?, Sgd::new(0.1), MeanSquaredError::new()).build()
    };
    let (x, y) = (Tensor::randn([8, 4, 2], Device::Cpu, 1)?, Tensor::randn([8, 1], Device::Cpu, 2)?);
    let set = Dataset::from_tensors("sequences", &x, &y)?;
    let (mut searched, plain) = (make()?, make()?);
    searched.find_learning_rate(&set, &RateFinder::new().batch_size(4).steps(4))?;
    // of another size of batch, and from zeros
    let shown = |t: &Trainer<Model>| t.predict(&x)?.to_vec::<f32>();
    assert_eq!(shown(&searched)?, shown(&plain)?);
    let fit = || Fit::epochs(1).batch_size(4).verbose(false);
    let error = make()?.fit(&set, fit().shards(2)).unwrap_err().to_string();
    assert!(error.contains("the model has stateful layers"), "{error}");
    make()?.fit(&set, fit().shards(1)).map(drop)
}

#[test]
fn batches_that_can_not_be_cut_are_told() -> Result<()> {
    let _alone = super::alone();
    let model = Sequential::new().add(Dense::new(1)).build([2], Device::Cpu)?;
    let mut trainer = Trainer::new(model, Sgd::new(0.1), MeanSquaredError::new()).build()?;
    let zeros = |shape: &[usize]| Tensor::zeros(shape, Device::Cpu);
    let set = Dataset::from_tensors("zeros", &zeros(&[4, 2])?, &zeros(&[4, 1])?)?;
    trainer.fit(&set, Fit::epochs(1).batch_size(4).shards(2).verbose(false))?;
    for (inputs, targets, expected) in [
        (vec![4, 2], vec![], "a target of [] in a batch of 4 samples"),
        (vec![4, 2], vec![3, 1], "a target of [3, 1] in a batch of 4 samples"),
        (vec![4, 2], vec![5, 1], "a target of [5, 1] in a batch of 4 samples"),
        (vec![0, 2], vec![0, 1], "the batch has no samples"),
    ] {
        let batch = data::Batch::new(zeros(&inputs)?, zeros(&targets)?);
        for error in [trainer.train_on_batch(&batch).err(), trainer.test_on_batch(&batch).err()] {
            let message = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(message.contains(expected), "{message}, expected {expected}");
        }
    }
    let error = trainer.fit(&set, Fit::epochs(1).batch_size(usize::MAX).shards(usize::MAX).verbose(false));
    assert!(error.unwrap_err().to_string().contains("give at most 1048576"));
    Ok(())
}

#[test]
fn a_learning_rate_is_found_and_nothing_is_changed() -> Result<()> {
    let _alone = super::alone();
    [Device::Cpu, Device::Gpu].into_iter().try_for_each(found_and_unchanged)
}

fn found_and_unchanged(device: Device) -> Result<()> {
    let digits = digits()?;
    let fit = || Fit::epochs(1).batch_size(30).seed(5).verbose(false);
    let adam = || Lookahead::new(Adam::new(1e-2).schedule(CosineDecay::new(1e-2, 50)).ema(0.9)).period(3);
    let (mut searched, mut plain) = (trainer(adam(), device)?, trainer(adam(), device)?);
    let finder = RateFinder::new().batch_size(30).steps(40).range(1e-5, 100.0);
    // Before any step, and in the middle.
    for round in 0..2 {
        let curve = searched.find_learning_rate(&digits, &finder)?;
        let n = curve.rates.len();
        assert!(n > 12 && n <= 40 && curve.losses.len() == n && curve.means.len() == n, "{n}");
        assert!((curve.rates[0] - 1e-5).abs() < 1e-12);
        let factor = 1e7f64.powf(1.0 / 39.0);
        assert!(curve.rates.windows(2).all(|r| (r[1] / r[0] / factor - 1.0).abs() < 1e-9));
        assert!((curve.means[0] - curve.losses[0]).abs() < 1e-9);
        let rate = curve.suggestion().expect("a rate");
        assert!((1e-4..10.0).contains(&rate), "{rate}");
        assert_eq!(curve, searched.find_learning_rate(&digits, &finder)?, "the same again");
        assert_eq!(weights(&searched)?, weights(&plain)?, "round {round}");
        assert_eq!(searched.optimizer().learning_rate(), plain.optimizer().learning_rate());
        assert_eq!(searched.optimizer().steps(), plain.optimizer().steps());
        let (a, b) = (searched.fit(&digits, fit())?, plain.fit(&digits, fit())?);
        assert_eq!(a.epochs[0].train.loss, b.epochs[0].train.loss);
        assert_eq!(weights(&searched)?, weights(&plain)?, "round {round}");
    }
    Ok(())
}

#[test]
fn the_suggestion_is_where_the_loss_falls_most_steeply() {
    let mut curve = RateCurve::default();
    for i in 0..40 {
        curve.rates.push(1.2f64.powi(i));
        let x = f64::from(i);
        curve.losses.push(x);
        // Steepest at 25; before the tenth step it falls more, which does not count.
        curve.means.push(if i < 8 { 1000.0 - 100.0 * x } else { -((x - 25.0) / 3.0).tanh() });
    }
    assert_eq!(curve.suggestion(), Some(curve.rates[25]));
    curve.means.truncate(13);
    assert_eq!(curve.suggestion(), None);
    assert_eq!(RateCurve::default().suggestion(), None);
}

/// An optimizer that can't try rates.
struct Stubborn(Sgd);

impl Optimizer for Stubborn {
    fn update(&mut self, grads: &Gradients) -> Result<Vec<Tensor>> {
        self.0.update(grads)
    }
    fn name(&self) -> &str {
        "Stubborn"
    }
    fn steps(&self) -> u64 {
        self.0.steps()
    }
    fn prepare(&mut self, variables: &[Variable]) -> Result<()> {
        self.0.prepare(variables)
    }
    fn learning_rate(&self) -> f64 {
        self.0.learning_rate()
    }
    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.0.set_learning_rate(learning_rate);
    }
    fn export_state(&self, variables: &[(String, Variable)]) -> Result<State> {
        self.0.export_state(variables)
    }
    fn import_state(&mut self, variables: &[(String, Variable)], state: &State) -> Result<()> {
        self.0.import_state(variables, state)
    }
}

#[test]
fn what_no_learning_rate_is_found_with() -> Result<()> {
    let _alone = super::alone();
    let digits = digits()?;
    let mut good = trainer(Sgd::new(0.1), Device::Cpu)?;
    let finder = RateFinder::new;
    for (finder, expected) in [
        (finder().range(0.0, 1.0), "RateFinder: the range is 0 to 1; expected 0 < from < to"),
        (finder().range(1.0, 0.5), "RateFinder: the range is 1 to 0.5"),
        (finder().steps(1), "RateFinder: got 1 steps of 32 samples"),
        (finder().batch_size(0), "RateFinder: got 100 steps of 0 samples"),
        (finder().stop_at(1.0), "RateFinder: stop_at is 1; expected more than 1"),
    ] {
        let message = good.find_learning_rate(&digits, &finder).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let mut stubborn = trainer(Stubborn(Sgd::new(0.1)), Device::Cpu)?;
    let message = stubborn.find_learning_rate(&digits, &finder()).unwrap_err().to_string();
    assert_eq!(message, "Stubborn: the optimizer has no override_learning_rate; implement it");
    // A data set that the model doesn't take: an error, and nothing is changed.
    let before = weights(&good)?;
    let (x, y) = (Tensor::zeros([4, 3], Device::Cpu)?, Tensor::zeros([4], Device::Cpu)?.cast(DType::U32)?);
    assert!(good.find_learning_rate(&Dataset::from_tensors("other", &x, &y)?, &finder()).is_err());
    assert_eq!(weights(&good)?, before);
    Ok(())
}

#[test]
fn statistics_are_gathered_anew_for_averaged_weights() -> Result<()> {
    let _alone = super::alone();
    [Device::Cpu, Device::Gpu].into_iter().try_for_each(gathered)
}

fn gathered(device: Device) -> Result<()> {
    let digits = digits()?;
    let swa = Swa::new(Sgd::new(0.5)).start(2).every(1);
    let mut trainer = trainer(swa, device)?;
    trainer.fit(&digits, Fit::epochs(3).batch_size(50).verbose(false))?;
    let dense = Sequential::new().add(Flatten::new()).add(Dense::new(12)).build([28, 28, 1], device)?;
    for (to, from) in dense.parameters().iter().zip(trainer.model().parameters()) {
        to.variable.set(from.variable.value())?;
    }
    let evaluation = trainer.evaluate(&digits)?;
    trainer.update_statistics(&digits)?;
    // The mean over batches of 50, 50 and 20 of their means and variances.
    let mut want = [vec![0.0f64; 12], vec![0.0f64; 12]];
    let everything = digits.batches(50, device)?;
    for batch in everything {
        let y = dense.infer(&batch?.0.cast(DType::F32)?)?;
        for (want, got) in want.iter_mut().zip([y.mean(0, false)?, y.var(0, false)?]) {
            want.iter_mut().zip(got.to_vec::<f32>()?).for_each(|(w, g)| *w += f64::from(g) / 3.0);
        }
    }
    for (name, want) in ["moving_mean", "moving_variance"].iter().zip(&want) {
        let got = trainer.model().parameter(&format!("batchnorm.{name}"))?.variable.value();
        wgrad::testing::assert_close(got, want.iter().map(|&v| v as f32).collect::<Vec<f32>>(), 1e-5, 1e-6)?;
    }
    let again = trainer.evaluate(&digits)?;
    assert!(again.loss < evaluation.loss, "{} {}", again.loss, evaluation.loss);
    Ok(())
}
