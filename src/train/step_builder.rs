//! From a model and a training step of one's own to a trainer.

use super::checkpoint_file::named_variables;
use super::metric::Metric;
use super::optimizers::Optimizers;
use super::outputs::Output;
use super::own_step::{Own, OwnStep, Reported, RunOwn, loss_name};
use super::trainer::Trainer;
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::optim::Optimizer;

/// What a [`Trainer`] with a [training step of one's own](Trainer::with_step) is made of. [`build`](Self::build) makes it.
#[must_use]
pub struct StepBuilder<M: Module> {
    model: M,
    run: Box<RunOwn<M>>,
    optimizers: Vec<(String, Box<dyn Optimizer>)>,
    outputs: Vec<Output>,
}

impl<M: Module> Trainer<M> {
    /// Trains `model` by a step of your own: from a batch to losses that optimizers make smaller, and numbers that are shown. All else is
    /// as with any trainer: progress, validation, callbacks, history, checkpoints, schedules, [`Fit::accumulate`](super::Fit::accumulate).
    /// An evaluation calls the same step, in which nothing is minimised then.
    ///
    /// Penalties of regularised weights are for the step to add, as it alone knows whose they are where there are several losses and
    /// optimizers: `if let Some(penalty) = model.penalty()? { loss = (loss + penalty)?; }`, of a part of the model by that part's
    /// [`penalty`](Module::penalty).
    ///
    /// A variational autoencoder:
    ///
    /// ```
    /// use wgrad::nn::{Build, Built, Context};
    /// use wgrad::prelude::*;
    ///
    /// #[derive(Module)]
    /// struct Vae {
    ///     encoder: Built,
    ///     decoder: Built,
    /// }
    ///
    /// impl Vae {
    ///     /// Means and log-variances of the code.
    ///     fn encode(&self, x: &Tensor, cx: &Context) -> Result<Vec<Tensor>> {
    ///         self.encoder.forward(x, cx)?.chunk(2, -1)
    ///     }
    ///
    ///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
    ///         self.decoder.forward(&self.encode(x, cx)?[0], cx)
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(64, 1, 1).into_datasets()?;
    /// let mut cx = Build::new(Device::Cpu, 1);
    /// let encoder = cx.layer(Sequential::new().add(Flatten::new()).add(Dense::new(8)), [28, 28, 1])?;
    /// let vae = Vae { encoder, decoder: cx.layer(Dense::new(784), [4])? };
    /// let mut trainer = Trainer::with_step(vae, |vae: &Vae, batch, step| {
    ///     let code = vae.encode(&batch.inputs[0], step.context())?;
    ///     let (mean, log_variance) = (&code[0], &code[1]);
    ///     let z = match step.context().next_seed() {
    ///         Some(seed) => (mean + ((log_variance * 0.5)?.exp()? * Tensor::randn(mean.shape(), mean.device(), seed)?)?)?,
    ///         None => mean.clone(),
    ///     };
    ///     let picture = vae.decoder.forward(&z, step.context())?.sigmoid()?;
    ///     let pixels = (picture - batch.inputs[0].flatten(1)?)?.square()?.sum(-1, false)?.mean(.., false)?;
    ///     let kl = (((mean.square()? + log_variance.exp()?)? - log_variance)? - 1.0)?;
    ///     let kl = (kl.sum(-1, false)?.mean(.., false)? * 0.5)?;
    ///     step.report("pixels", &pixels)?;
    ///     step.report("kl", &kl)?;
    ///     step.minimize(&(pixels + kl)?)
    /// })
    /// .optimizer(Adam::new(1e-3))
    /// .report("pixels")
    /// .report("kl")
    /// .build()?;
    /// let history = trainer.fit(&digits, Fit::epochs(2).validation(&digits).verbose(false))?;
    /// assert!(history.epochs[1].value("val_kl").is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// Two networks against each other, each with an optimizer that leaves the other alone:
    ///
    /// ```
    /// use wgrad::nn::{BinaryCrossentropy, Loss};
    /// use wgrad::prelude::*;
    ///
    /// #[derive(Module)]
    /// #[module(no_forward)]
    /// struct Gan {
    ///     generator: Model,
    ///     discriminator: Model,
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(64, 1, 1).into_datasets()?;
    /// # let device = Device::Cpu;
    /// let gan = Gan {
    ///     generator: Sequential::new().add(Dense::new(784).activation(Activation::Sigmoid)).build([16], device)?,
    ///     discriminator: Sequential::new().add(Dense::new(1)).build([784], device)?,
    /// };
    /// let of_discriminator = Adam::new(2e-4).over(&gan.discriminator);
    /// let of_generator = Adam::new(2e-4).over(&gan.generator);
    /// let mut trainer = Trainer::with_step(gan, |gan: &Gan, batch, step| {
    ///     let real = batch.inputs[0].flatten(1)?;
    ///     let (n, loss) = (step.samples(), BinaryCrossentropy::from_logits());
    ///     let (yes, no) = (Tensor::ones([n, 1], real.device())?, Tensor::zeros([n, 1], real.device())?);
    ///     let noise = Tensor::randn([n, 16], real.device(), step.context().next_seed().unwrap_or(0))?;
    ///     let fake = gan.generator.forward(&noise, step.context())?;
    ///
    ///     let of_real = loss.compute(&gan.discriminator.forward(&real, step.context())?, &yes)?;
    ///     let of_fake = loss.compute(&gan.discriminator.forward(&fake.detach()?, step.context())?, &no)?;
    ///     step.minimize_by("discriminator", &(of_real + of_fake)?)?;
    ///     // by the discriminator as it is now
    ///     let fooled = loss.compute(&gan.discriminator.forward(&fake, step.context())?, &yes)?;
    ///     step.minimize_by("generator", &fooled)
    /// })
    /// .optimizer_named("generator", of_generator)
    /// .optimizer_named("discriminator", of_discriminator)
    /// .build()?;
    /// let history = trainer.fit(&digits, Fit::epochs(1).verbose(false))?;
    /// assert!(history.epochs[0].value("generator_loss").is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// Whatever the step gives to [`OwnStep::minimize`] is part of one graph, which is planned once and from then on replayed; what it reads
    /// (`item`, `to_vec`) waits for the device in each step.
    pub fn with_step(
        model: M,
        step: impl Fn(&M, &Batch, &mut OwnStep<'_>) -> Result<()> + Send + 'static,
    ) -> StepBuilder<M> {
        StepBuilder { model, run: Box::new(step), optimizers: Vec::new(), outputs: Vec::new() }
    }
}

impl<M: Module> StepBuilder<M> {
    /// The optimizer of [`OwnStep::minimize`].
    pub fn optimizer(self, optimizer: impl Optimizer + 'static) -> Self {
        self.optimizer_named("", optimizer)
    }

    /// One of several optimizers, that of [`OwnStep::minimize_by`] under this name. No variable may be changed by two: say which are an
    /// optimizer's own with [`over`](crate::optim::Adam::over). The learning rate that is shown is the first one's; where a callback changes
    /// it, those of the others change by the same factor.
    pub fn optimizer_named(mut self, name: &str, optimizer: impl Optimizer + 'static) -> Self {
        self.optimizers.push((name.into(), Box::new(optimizer)));
        self
    }

    /// Announces a number that the step [reports](OwnStep::report).
    pub fn report(mut self, name: &str) -> Self {
        self.outputs.push(reported(name.into()));
        self
    }

    /// A metric of what the step [measures](OwnStep::measure).
    pub fn metric(self, metric: impl Metric + 'static) -> Self {
        self.metric_for("", metric)
    }

    /// A metric of one of several things that the step [measures](OwnStep::measure_for), shown as `<group>_<metric>`.
    pub fn metric_for(mut self, group: &str, metric: impl Metric + 'static) -> Self {
        match self.outputs.iter_mut().find(|o| !o.reported && o.name == group) {
            Some(output) => output.add_metric(Box::new(metric)),
            None => {
                let mut output = Output::new(group.into());
                output.add_metric(Box::new(metric));
                self.outputs.push(output);
            }
        }
        self
    }

    /// The trainer.
    ///
    /// # Errors
    ///
    /// There is no optimizer, two have one name, or both change one of the model's variables; two numbers are shown under one name.
    pub fn build(mut self) -> Result<Trainer<M>> {
        const OP: &str = "Trainer::build";
        let names: Vec<String> = self.optimizers.iter().map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            let message = "there is no optimizer; give one with StepBuilder::optimizer";
            return Err(Error::argument(OP, message));
        }
        if names.len() > 1 {
            if names.iter().any(String::is_empty) {
                let message = "there are several optimizers; name each with StepBuilder::optimizer_named";
                return Err(Error::argument(OP, message));
            }
            if let Some(twice) = twice(&names) {
                return Err(Error::argument(
                    OP,
                    format!("two optimizers are named {twice}; names must be unique"),
                ));
            }
            // First, as the losses of several outputs are.
            let losses = names.iter().map(|name| reported(loss_name(name)));
            self.outputs.splice(0..0, losses);
        }
        let optimizers = Optimizers::of(self.optimizers);
        optimizers.check(&named_variables(&self.model.parameters()))?;
        let mut trainer = Trainer::of(self.model, optimizers);
        trainer.outputs = self.outputs;
        trainer.own = Some(Own { run: self.run, names });
        if let Some(twice) = twice(&super::totals::names(&trainer.outputs)) {
            return Err(Error::argument(
                OP,
                format!("two numbers are shown as {twice}; names must be unique"),
            ));
        }
        Ok(trainer)
    }
}

fn reported(name: String) -> Output {
    let mut output = Output::new(String::new());
    output.metrics.push(Box::new(Reported(name)));
    output.reported = true;
    output
}

/// The first name that comes again.
fn twice(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
}

impl<M: Module> std::fmt::Debug for StepBuilder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.optimizers.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "StepBuilder(optimizers {names:?})")
    }
}
