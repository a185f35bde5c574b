//! A training step of one's own: several losses, several optimizers, anything between a batch and these.

use super::accumulation::Accumulation;
use super::metric::Metric;
use super::optimizers::Optimizers;
use super::outputs::{Computed, Output};
use crate::data::Batch;
use crate::distributed::Collective;
use crate::error::{Error, Result, ResultExt};
use crate::nn::{Context, Module, fed_to, floats_as};
use crate::optim::Optimizer;
use crate::tensor::{Tensor, no_grad};
use crate::variable::Variable;

const OP: &str = "OwnStep";

/// The closure.
pub(super) type RunOwn<M> = dyn Fn(&M, &Batch, &mut OwnStep<'_>) -> Result<()> + Send;

/// A step with what it is called with.
pub(super) struct Own<M> {
    pub run: Box<RunOwn<M>>,
    /// Of the optimizers; one may have none.
    pub names: Vec<String>,
}

/// What a [training step of one's own](super::Trainer::with_step) is done with: what it minimises, reports and measures.
pub struct OwnStep<'a> {
    cx: &'a Context,
    outputs: &'a [Output],
    names: &'a [String],
    /// None in an evaluation.
    updating: Option<Updates<'a>>,
    samples: usize,
    /// What outputs and targets are, in the order of `outputs`.
    values: Vec<Option<[Tensor; 2]>>,
    /// Sum and number of what each optimizer has minimised.
    losses: Vec<Option<(Tensor, usize)>>,
    pending: Vec<Tensor>,
}

/// The other ranks, where each computes a part of the batch.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub world: &'a dyn Collective,
    /// Samples of this rank's part that count, and of the batch.
    pub counted: usize,
    pub samples: usize,
}

/// What updates a step makes.
pub(super) struct Updates<'a> {
    pub optimizers: &'a mut Optimizers,
    pub accumulation: Option<&'a mut Accumulation>,
    pub shared: Option<Shared<'a>>,
}

impl<'a> OwnStep<'a> {
    /// What to hand to the modules' `forward`. It outlives this handle to the step: `let cx = step.context()` stays while the step
    /// minimises.
    pub fn context(&self) -> &'a Context {
        self.cx
    }
}

impl OwnStep<'_> {
    /// Whether this is a step of training; else one of an evaluation, in which [`minimize`](Self::minimize) only notes the loss.
    pub fn is_training(&self) -> bool {
        self.updating.is_some()
    }

    /// Samples in the batch.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Has the optimizer make this scalar smaller: what is computed from the variables after this call is computed from their new
    /// values. Nothing is computed yet. What layers gave to [`Context::add_loss`] since the last call is added; penalties of
    /// regularised weights are not ([`Module::penalty`]; [`Trainer::with_step`](super::Trainer::with_step) says why). Several calls in a step
    /// are several updates; their mean is shown.
    ///
    /// # Errors
    ///
    /// There are several optimizers ([`minimize_by`](Self::minimize_by) says which), the loss has not one element or depends on nothing
    /// that the optimizer changes, or those of [`Optimizer::update`].
    pub fn minimize(&mut self, loss: &Tensor) -> Result<()> {
        match self.names {
            [_] => self.minimize_at(0, loss),
            names => {
                let message = format!("there are several optimizers, {}; use minimize_by", names.join(", "));
                Err(Error::argument(OP, message))
            }
        }
    }

    /// As [`minimize`](Self::minimize), by one of several optimizers. The loss is shown as `<optimizer>_loss`, and their sum as `loss`.
    ///
    /// # Errors
    ///
    /// As [`minimize`](Self::minimize); or no optimizer has the name.
    pub fn minimize_by(&mut self, optimizer: &str, loss: &Tensor) -> Result<()> {
        match self.names.iter().position(|name| name == optimizer) {
            Some(place) => self.minimize_at(place, loss).with_context(|| format!("the loss of {optimizer}")),
            None => {
                let message =
                    format!("no optimizer is named {optimizer}; there are {}", self.names.join(", "));
                Err(Error::argument(OP, message))
            }
        }
    }

    fn minimize_at(&mut self, place: usize, loss: &Tensor) -> Result<()> {
        let mut loss = loss.clone();
        if loss.numel() != 1 {
            let message =
                format!("the loss has shape {}; reduce it to one element (mean, sum)", loss.shape());
            return Err(Error::shape(OP, message));
        }
        for added in self.cx.take_losses() {
            loss = (loss + added)?;
        }
        if let Some(updating) = &mut self.updating {
            let optimizer = match updating.optimizers.get(place) {
                Some(optimizer) => optimizer,
                None => return Err(Error::internal("an optimizer has a name and is not there")),
            };
            let owned = |grads: crate::Gradients| {
                let own: Vec<Variable> =
                    grads.variables().into_iter().map(|(v, _)| v).filter(|v| optimizer.owns(v)).collect();
                grads.only(own)
            };
            let grads = match &mut updating.accumulation {
                None => Some(match updating.shared {
                    None => loss.backward()?,
                    Some(Shared { world, counted, samples }) => {
                        let sum = owned((&loss * counted as f64)?.backward()?);
                        sum.sum_over(world, samples as f64, counted > 0)?
                    }
                }),
                Some(_) if self.losses[place].is_some() => {
                    let message = "an optimizer minimises twice in a step: that can't be accumulated with Fit::accumulate";
                    return Err(Error::argument(OP, message));
                }
                Some(accumulation) => {
                    let grads = owned((&loss * self.samples as f64)?.backward()?);
                    let mean = accumulation.add_part(place, &grads, self.samples)?;
                    self.pending.extend(accumulation.pending_of(place));
                    mean
                }
            };
            if let Some(grads) = grads {
                self.pending.extend(optimizer.update(&grads)?);
            }
        }
        let loss = loss.detach()?.reshape([0usize; 0])?;
        self.losses[place] = Some(match self.losses[place].take() {
            Some((sum, calls)) => ((sum + loss)?, calls + 1),
            None => (loss, 1),
        });
        Ok(())
    }

    /// A number to be shown beside the loss: a scalar that is a mean over the samples of the batch, under a name that was
    /// [announced](super::StepBuilder::report). Once in each step, also in those of an evaluation.
    ///
    /// # Errors
    ///
    /// The name was not announced, was reported in this step already, or the value has not one element.
    pub fn report(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let reported = |o: &&Output| o.reported;
        let Some(place) = self.outputs.iter().position(|o| o.reported && o.metrics[0].name() == name) else {
            let names: Vec<&str> =
                self.outputs.iter().filter(reported).map(|o| o.metrics[0].name()).collect();
            let message = format!(
                "{name} was not announced; say .report({name:?}) where the trainer is built (announced: {})",
                names.join(", ")
            );
            return Err(Error::argument(OP, message));
        };
        if value.numel() != 1 {
            let message = format!("{name} has shape {}; reduce it to one element (mean, sum)", value.shape());
            return Err(Error::shape(OP, message));
        }
        let sum =
            no_grad(|| value.detach()?.reshape([0usize; 0])?.cast(crate::DType::F32)? * self.samples as f64)?;
        self.put(place, name, [sum.clone(), sum])
    }

    /// Has the [metrics](super::StepBuilder::metric) compare these outputs with these targets. Once in each step, also in those of an
    /// evaluation.
    ///
    /// # Errors
    ///
    /// There are no metrics, or they were measured in this step already.
    pub fn measure(&mut self, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        self.measure_for("", outputs, targets)
    }

    /// As [`measure`](Self::measure), the metrics of a [group](super::StepBuilder::metric_for).
    ///
    /// # Errors
    ///
    /// As [`measure`](Self::measure); or no metric is of the group.
    pub fn measure_for(&mut self, group: &str, outputs: &Tensor, targets: &Tensor) -> Result<()> {
        let Some(place) = self.outputs.iter().position(|o| !o.reported && o.name == group) else {
            let message = match group {
                "" => "there is no metric; say .metric(..) where the trainer is built".to_string(),
                group => format!(
                    "no metric is of the group {group}; say .metric_for({group:?}, ..) where the trainer is built"
                ),
            };
            return Err(Error::argument(OP, message));
        };
        self.put(place, "metrics", [outputs.detach()?, targets.detach()?])
    }

    fn put(&mut self, place: usize, what: &str, values: [Tensor; 2]) -> Result<()> {
        if self.values[place].is_some() {
            return Err(Error::argument(
                OP,
                format!("{what} can be given once in a step, and was given twice"),
            ));
        }
        self.values[place] = Some(values);
        Ok(())
    }

    /// What came of the batch, and what has to be evaluated.
    fn finish(mut self) -> Result<(Computed, Vec<Tensor>)> {
        let several = self.names.len() > 1;
        let mut total: Option<Tensor> = None;
        for (place, loss) in std::mem::take(&mut self.losses).into_iter().enumerate() {
            let Some((sum, calls)) = loss else {
                let by = if several { format!(" by {}", self.names[place]) } else { String::new() };
                let message = format!(
                    "the step minimises nothing{by}; it has to in each step, also in those of an evaluation"
                );
                return Err(Error::argument(OP, message));
            };
            let mean = if calls == 1 { sum } else { no_grad(|| sum / calls as f64)? };
            if several {
                self.report(&loss_name(&self.names[place]), &mean)?;
            }
            total = Some(match total {
                Some(so_far) => no_grad(|| so_far + mean)?,
                None => mean,
            });
        }
        let (mut outputs, mut targets) = (Vec::new(), Vec::new());
        for (output, values) in self.outputs.iter().zip(self.values) {
            let Some([y, target]) = values else {
                let what = output.metrics.first().map_or("a metric", |m| m.name());
                let message = format!(
                    "{what} was not given; it has to be in each step, also in those of an evaluation"
                );
                return Err(Error::argument(OP, message));
            };
            outputs.push(y);
            targets.push(Some(target));
        }
        let Some(loss) = total else { return Err(Error::argument(OP, "the trainer has no optimizer")) };
        let none = || vec![None; self.outputs.len()];
        let computed = Computed {
            outputs,
            targets,
            losses: none(),
            loss,
            plain: None,
            counted: Vec::new(),
            rows: none(),
        };
        Ok((computed, self.pending))
    }
}

/// What the loss of one of several optimizers is shown as.
pub(super) fn loss_name(optimizer: &str) -> String {
    format!("{optimizer}_loss")
}

/// A number that the step reports: its sum over the samples is all that is known of it.
pub(super) struct Reported(pub String);

impl Metric for Reported {
    fn name(&self) -> &str {
        &self.0
    }
    fn sum(&self, outputs: &Tensor, _targets: &Tensor) -> Result<Tensor> {
        Ok(outputs.clone())
    }
    fn result(&self, sum: &[f32], samples: usize) -> f64 {
        sum.first().map_or(f64::NAN, |&sum| f64::from(sum)) / samples as f64
    }
}

impl<M: Module> Own<M> {
    /// What comes of a batch, lazily; with updates, a step of training, which waits for other ranks in each where there are any.
    pub fn compute(
        &self,
        model: &M,
        outputs: &[Output],
        updating: Option<Updates<'_>>,
        batch: &Batch,
        cx: &Context,
    ) -> Result<(Computed, Vec<Tensor>)> {
        let dtype = model.dtype();
        let targets = batch.targets.iter().map(|y| floats_as(y, dtype)).collect::<Result<Vec<_>>>()?;
        let weights = batch.weights.as_ref().map(|w| floats_as(w, dtype)).transpose()?;
        let batch = Batch { inputs: fed_to(model, &batch.inputs)?, targets, weights };
        let mut step = OwnStep {
            cx,
            outputs,
            names: &self.names,
            updating,
            samples: batch.samples(),
            values: outputs.iter().map(|_| None).collect(),
            losses: self.names.iter().map(|_| None).collect(),
            pending: Vec::new(),
        };
        (self.run)(model, &batch, &mut step)?;
        step.finish()
    }
}

impl std::fmt::Debug for OwnStep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnStep({} samples, training: {})", self.samples, self.is_training())
    }
}
