//! Which learning rate to begin with.

use super::checkpoint_file::named_variables;
use super::outputs::ClassWeights;
use super::totals::Totals;
use super::trainer::Trainer;
use crate::data::{Pass, Source, with_samples};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::Module;
use crate::optim::Optimizer as _;
use crate::seed;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// The share of its old value that the mean of the losses keeps at each step (PyTorch Lightning's number).
const KEPT: f64 = 0.98;
/// Where the loss only settles, and where it begins to grow (PyTorch Lightning's numbers).
const FIRST: usize = 10;
const LAST: usize = 1;

/// How [`Trainer::find_learning_rate`] looks for a learning rate (Smith, 2017).
///
/// ```
/// use wgrad::train::RateFinder;
/// let finder = RateFinder::new().range(1e-6, 1.0).steps(50).batch_size(64);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateFinder {
    from: f64,
    to: f64,
    steps: usize,
    batch_size: usize,
    seed: u64,
    stop_at: f64,
}

impl Default for RateFinder {
    fn default() -> RateFinder {
        RateFinder::new()
    }
}

impl RateFinder {
    /// From 10^-7 to 10 in 100 steps of 32 samples, ended where the loss is four times the least.
    pub fn new() -> RateFinder {
        RateFinder { from: 1e-7, to: 10.0, steps: 100, batch_size: 32, seed: 0, stop_at: 4.0 }
    }

    /// The first rate and the last.
    pub fn range(mut self, from: f64, to: f64) -> RateFinder {
        (self.from, self.to) = (from, to);
        self
    }

    /// How many rates are tried, a step of training each.
    pub fn steps(mut self, steps: usize) -> RateFinder {
        self.steps = steps;
        self
    }

    /// Samples in a step.
    pub fn batch_size(mut self, batch_size: usize) -> RateFinder {
        self.batch_size = batch_size;
        self
    }

    /// Seed of the order of samples and of random layers.
    pub fn seed(mut self, seed: u64) -> RateFinder {
        self.seed = seed;
        self
    }

    /// Ends where the mean of the losses is so many times the least that it was.
    pub fn stop_at(mut self, times: f64) -> RateFinder {
        self.stop_at = times;
        self
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::argument("RateFinder", message));
        if !(self.from > 0.0 && self.from < self.to && self.to.is_finite()) {
            return wrong(format!("the range is {} to {}; expected 0 < from < to", self.from, self.to));
        }
        if self.steps < 2 || self.batch_size == 0 {
            let (steps, samples) = (self.steps, self.batch_size);
            return wrong(format!("got {steps} steps of {samples} samples; expected at least 2 steps of 1"));
        }
        if self.stop_at.is_nan() || self.stop_at <= 1.0 {
            return wrong(format!("stop_at is {}; expected more than 1", self.stop_at));
        }
        Ok(())
    }

    /// The rate of a step: from one to the next by the same factor.
    fn rate(&self, step: usize) -> f64 {
        let way = step as f64 / (self.steps - 1) as f64;
        (self.from.ln() + way * (self.to.ln() - self.from.ln())).exp()
    }
}

/// The loss over learning rates: what [`Trainer::find_learning_rate`] has measured. With the feature `plot` it is drawn by `plot`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RateCurve {
    /// The learning rates, each larger than the one before.
    pub rates: Vec<f64>,
    /// The loss of the step at each of them.
    pub losses: Vec<f64>,
    /// The exponential mean of the losses so far, which keeps 98% at each step.
    pub means: Vec<f64>,
}

impl RateCurve {
    fn push(&mut self, rate: f64, loss: f64, average: f64) {
        self.rates.push(rate);
        self.losses.push(loss);
        self.means.push(average);
    }

    /// A rate to begin with: the one at which the mean of the losses falls most steeply, without the first ten steps and the last, as
    /// PyTorch Lightning suggests it. `None` where there are fewer than three other steps.
    ///
    /// A schedule that goes up and down ([`OneCycle`](crate::optim::OneCycle)) may go to a few times of it; a constant one is often
    /// best at less.
    pub fn suggestion(&self) -> Option<f64> {
        let end = self.means.len().saturating_sub(LAST);
        let means = self.means.get(FIRST..end)?;
        if means.len() < 3 {
            return None;
        }
        // NumPy's gradient: halves of what lies around each, and the first and last step.
        let last = means.len() - 1;
        let slope = |i: usize| match i {
            0 => means[1] - means[0],
            i if i == last => means[i] - means[i - 1],
            i => (means[i + 1] - means[i - 1]) / 2.0,
        };
        let steepest = (0..means.len()).min_by(|&a, &b| slope(a).total_cmp(&slope(b)))?;
        self.rates.get(FIRST + steepest).copied()
    }
}

impl<M: Module> Trainer<M> {
    /// Tries learning rates, small to large, a step of training each, until the loss grows: which one to train with. Afterwards weights,
    /// optimizer and trainer are what they were, also where it ends in an error; [stateful](crate::nn::Lstm::stateful) layers begin anew.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::train::RateFinder;
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(200, 1, 1).into_datasets()?;
    /// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
    /// # let mut trainer = Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    /// let curve = trainer.find_learning_rate(&digits, &RateFinder::new().batch_size(20).steps(40))?;
    /// let rate = curve.suggestion().unwrap_or(1e-3);
    /// assert!(rate > 1e-6 && rate < 1.0);
    /// trainer.optimizer().set_learning_rate(rate);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A setting is impossible; the optimizer has no
    /// [`override_learning_rate`](crate::optim::Optimizer::override_learning_rate); the data are empty or don't fit the model, or the
    /// device fails.
    pub fn find_learning_rate(&mut self, train: &dyn Source, finder: &RateFinder) -> Result<RateCurve> {
        finder.check()?;
        let values = |variable: &Variable| variable.value().detach();
        let parameters = self.model.parameters();
        let named = named_variables(&parameters);
        let before: Vec<(Variable, Tensor)> = parameters
            .into_iter()
            .map(|p| Ok((p.variable.clone(), values(&p.variable)?)))
            .collect::<Result<_>>()?;
        let state = self.optimizer.export_state(&named)?;
        let (steps, seed) = (self.at.steps, self.seed);
        let accumulator = self.accumulator.take();
        // States that the sweep began with, or left behind, would be of other sequences.
        self.model.reset_states();
        let measured = self.measure_rates(train, finder);
        self.model.reset_states();
        (self.at.steps, self.seed, self.accumulator) = (steps, seed, accumulator);
        let mut restored = self.optimizer.override_learning_rate(None);
        restored = restored.and(self.optimizer.import_state(&named, &state));
        for (variable, value) in &before {
            restored = restored.and(variable.set(value));
        }
        let curve = self.told(measured)?;
        restored.map(|()| curve)
    }

    fn measure_rates(&mut self, train: &dyn Source, finder: &RateFinder) -> Result<RateCurve> {
        self.seed = finder.seed;
        let (mut curve, mut mean, mut least) = (RateCurve::default(), 0.0, f64::INFINITY);
        for pass in 0.. {
            let shuffle = Some(seed::derive(finder.seed, 2 * pass));
            let how = Pass { batch_size: finder.batch_size, shuffle, device: self.device };
            let already = curve.rates.len();
            for batch in with_samples(train.name(), train.nth_pass(pass, &how)?) {
                let step = curve.rates.len();
                if step == finder.steps {
                    return Ok(curve);
                }
                let rate = finder.rate(step);
                self.optimizer.override_learning_rate(Some(rate))?;
                let mut totals = Totals::new(&self.outputs, self.device)?;
                let loss = self.train_step(batch?, &mut ClassWeights::default(), &mut totals)?;
                let loss = loss.to_device(Device::Cpu)?.cast(DType::F64)?.item::<f64>()?;
                mean = KEPT * mean + (1.0 - KEPT) * loss;
                // The mean begins with 0.
                let average = mean / (1.0 - KEPT.powi(step as i32 + 1));
                if !average.is_finite() {
                    return Ok(curve);
                }
                curve.push(rate, loss, average);
                if step > 0 && average > finder.stop_at * least {
                    return Ok(curve);
                }
                least = least.min(average);
            }
            if curve.rates.len() == already {
                return Err(Error::data(train.name(), "has no samples to train on"));
            }
        }
        Ok(curve)
    }

    /// Makes moving averages of statistics anew, such as those of [`BatchNorm`](crate::nn::BatchNorm): the mean of what each batch of the
    /// data has, with the weights as they are (PyTorch's `update_bn`). What averaged weights need
    /// ([`Swa`](crate::optim::Swa), [`ema`](crate::optim::Adam::ema)), whose training has gathered those of other weights. Batches are as large as in
    /// the last `fit`, in the order of the data.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::BatchNorm;
    /// use wgrad::optim::Swa;
    /// # fn main() -> Result<()> {
    /// # let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let model = Sequential::new().add(Flatten::new()).add(Dense::new(8)).add(BatchNorm::new()).add(Dense::new(10));
    /// let model = model.build([28, 28, 1], Device::Cpu)?;
    /// let swa = Swa::new(Adam::new(1e-2)).start(4).every(2);
    /// let mut trainer = Trainer::new(model, swa, SparseCategoricalCrossentropy::from_logits()).build()?;
    /// trainer.fit(&digits, Fit::epochs(3).verbose(false))?; // now the weights are means
    /// trainer.update_statistics(&digits)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The data set is empty, endless or doesn't fit the model, or the device fails.
    pub fn update_statistics(&mut self, set: &dyn Source) -> Result<()> {
        use crate::backend::eval;
        use crate::nn::{Context, fed_to};
        use crate::tensor::no_grad;
        self.check_end(set)?;
        let mut before = 0;
        for batch in with_samples(set.name(), set.pass(&self.pass())?) {
            let batch = batch?;
            let cx = Context::gathering(seed::derive(self.seed, before), before);
            no_grad(|| self.model.forward_all(&fed_to(&self.model, &batch.inputs)?, &cx))?;
            let pending = cx.take_also_compute();
            eval(&pending.iter().collect::<Vec<_>>())?;
            before += 1;
        }
        if before == 0 {
            return Err(Error::data(set.name(), "has no samples to gather statistics of"));
        }
        Ok(())
    }
}
