//! From a model, an optimizer and losses to a trainer.

use super::metric::Metric;
use super::optimizers::Optimizers;
use super::outputs::Output;
use super::trainer::Trainer;
use crate::error::{Error, Result};
use crate::nn::{Loss, Module};
use crate::optim::Optimizer;

/// What a [`Trainer`] is made of: a model, an optimizer, losses and metrics. [`build`](Self::build) makes it.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
/// let error = Trainer::multi(model, Sgd::new(0.1)).output("price", MeanSquaredError::new(), 1.0).build().err();
/// assert_eq!(
///     error.map(|e| e.to_string()).as_deref(),
///     Some("Trainer::build: no output is named price; the model has output")
/// );
/// # Ok(()) }
/// ```
#[must_use]
pub struct TrainerBuilder<M: Module> {
    trainer: Trainer<M>,
    /// What was wrong first.
    problem: Option<String>,
}

impl<M: Module> Trainer<M> {
    /// Trains `model`, which has one output and whose parameters say on which device, by `optimizer` towards a small
    /// `loss`.
    // Trainers are built, as models are.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        model: M,
        optimizer: impl Optimizer + 'static,
        loss: impl Loss + 'static,
    ) -> TrainerBuilder<M> {
        let mut builder = Trainer::multi(model, optimizer);
        match &mut *builder.trainer.outputs {
            [output] => output.set_loss(Box::new(loss)),
            _ => builder.wrong("Trainer::new takes a model with one output; use Trainer::multi"),
        }
        builder
    }

    /// Trains a model with several outputs, each with a loss of its own. An [`output`](TrainerBuilder::output) that is not mentioned
    /// is not trained.
    ///
    /// ```
    /// use wgrad::nn::{BinaryCrossentropy, Functional};
    /// use wgrad::train::BinaryAccuracy;
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut net = Functional::new(Device::Cpu);
    /// let image = net.input("image", [28, 28, 1])?;
    /// let x = net.layer(Flatten::new(), image)?;
    /// let x = net.layer(Dense::new(16).activation(Activation::Relu), x)?;
    /// let (digit, odd) = (net.layer(Dense::new(10), x)?, net.layer(Dense::new(1), x)?);
    /// let model = net.build(&[("digit", digit), ("odd", odd)])?;
    ///
    /// let (digits, _) = data::synthetic::digits(200, 1, 1).into_datasets()?;
    /// let odd: Vec<f32> = digits.labels().to_vec::<u8>()?.iter().map(|d| f32::from(d % 2)).collect();
    /// let set = digits.also_target(&Tensor::from_vec(odd, [200, 1], Device::Cpu)?)?;
    ///
    /// let mut trainer = Trainer::multi(model, Adam::new(1e-2))
    ///     .output("digit", SparseCategoricalCrossentropy::from_logits(), 1.0)
    ///     .output("odd", BinaryCrossentropy::from_logits(), 0.5)
    ///     .metric_for("digit", Accuracy::new())
    ///     .metric_for("odd", BinaryAccuracy::from_logits()).build()?;
    /// let history = trainer.fit(&set, Fit::epochs(2).verbose(false))?;
    /// let train = &history.epochs[1].train;
    /// let names: Vec<&str> = train.metrics.iter().map(|(name, _)| name.as_str()).collect();
    /// assert_eq!(names, ["digit_loss", "odd_loss", "digit_accuracy", "odd_binary_accuracy"]);
    /// # Ok(()) }
    /// ```
    pub fn multi(model: M, optimizer: impl Optimizer + 'static) -> TrainerBuilder<M> {
        TrainerBuilder { trainer: Trainer::of(model, Optimizers::one(Box::new(optimizer))), problem: None }
    }
}

impl<M: Module> TrainerBuilder<M> {
    /// The trainer.
    ///
    /// # Errors
    ///
    /// What it was made of doesn't fit together: an output that the model lacks, one with two losses, a weight that is not
    /// finite, or a single loss or metric for a model with several outputs.
    pub fn build(self) -> Result<Trainer<M>> {
        match self.problem {
            Some(problem) => Err(Error::argument("Trainer::build", problem)),
            None => Ok(self.trainer),
        }
    }

    fn wrong(&mut self, message: impl Into<String>) {
        self.problem.get_or_insert(message.into());
    }

    fn output_named(&mut self, name: &str) -> Option<&mut Output> {
        let outputs = &self.trainer.outputs;
        let Some(place) = outputs.iter().position(|o| o.name == name) else {
            let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
            let message = format!("no output is named {name}; the model has {}", names.join(", "));
            self.wrong(message);
            return None;
        };
        self.trainer.outputs.get_mut(place)
    }

    /// The loss of an output, and what it is multiplied by in the total loss. With a weight of 0 it is measured, but not
    /// trained.
    pub fn output(mut self, name: &str, loss: impl Loss + 'static, weight: f64) -> Self {
        let Some(output) = self.output_named(name) else { return self };
        let twice = output.loss.is_some();
        output.set_loss(Box::new(loss));
        output.weight = weight;
        if twice {
            self.wrong(format!("output {name} is given two losses"));
        }
        if !weight.is_finite() {
            self.wrong(format!(
                "the loss of output {name} has the weight {weight}; expected a finite number"
            ));
        }
        self
    }

    /// A metric to be computed beside the loss, of a model with one output.
    pub fn metric(mut self, metric: impl Metric + 'static) -> Self {
        match &mut *self.trainer.outputs {
            [output] => output.add_metric(Box::new(metric)),
            _ => self.wrong(format!(
                "the model has several outputs; use metric_for to say which {} is for",
                metric.name()
            )),
        }
        self
    }

    /// A metric of one of several outputs, shown as `<output>_<metric>`.
    pub fn metric_for(mut self, output: &str, metric: impl Metric + 'static) -> Self {
        if let Some(output) = self.output_named(output) {
            output.add_metric(Box::new(metric));
        }
        self
    }
}

impl<M: Module + std::fmt::Debug> std::fmt::Debug for TrainerBuilder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainerBuilder")
            .field("trainer", &self.trainer)
            .field("problem", &self.problem)
            .finish()
    }
}
