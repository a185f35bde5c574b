//! What a forward pass is for.

use super::KvCache;
use super::past::Past;
use crate::distributed::{Collective, SharedBatch};
use crate::dtype::DType;
use crate::error::Result;
use crate::seed;
use crate::tensor::Tensor;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// What a forward pass is for, handed from the model down to each layer.
///
/// It is a value rather than a state of the model: the same model can be trained and evaluated at once, and nobody
/// forgets to switch back.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Context;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Dropout::new(0.5)).build([8], Device::Cpu)?;
/// let x = Tensor::ones([1, 8], Device::Cpu)?;
/// let y = |cx: Context| model.forward(&x, &cx)?.to_vec::<f32>();
/// assert_eq!(y(Context::train(1))?, y(Context::train(1))?); // the same seed drops the same
/// assert_eq!(y(Context::eval())?, [1.0; 8]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Context {
    seed: Option<u64>,
    drawn: Cell<u64>,
    side_effects: RefCell<Vec<Tensor>>,
    losses: RefCell<Vec<Tensor>>,
    past: Option<RefCell<Past>>,
    /// Of a pass that only gathers statistics: how many such passes were before.
    gathered: Option<u64>,
    /// Whether what runs now does not follow from the tokens of the generation's step: another input of the model.
    beside: Cell<bool>,
    /// Who has the other parts of the batch.
    shared: Option<SharedBatch>,
    /// That of the model that runs.
    dtype: Cell<Option<DType>>,
}

impl Context {
    fn new(seed: Option<u64>, past: Option<Past>) -> Context {
        Context {
            seed,
            drawn: Cell::new(0),
            side_effects: RefCell::default(),
            losses: RefCell::default(),
            past: past.map(RefCell::new),
            gathered: None,
            beside: Cell::new(false),
            shared: None,
            dtype: Cell::new(None),
        }
    }

    /// A pass of training. Layers that draw random numbers derive them from `seed`: give each step its own, as [`steps`](Self::steps)
    /// does. The same seed drops the same (and two passes with one context differ).
    pub fn train(seed: u64) -> Context {
        Context::new(Some(seed), None)
    }

    /// Passes of training one after the other, each of which drops something else, all derived from one seed: for loops of one's own. A
    /// loop that is resumed skips what was done: `Context::steps(42).skip(step)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::Context;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dropout::new(0.5)).build([64], Device::Cpu)?;
    /// let x = Tensor::ones([1, 64], Device::Cpu)?;
    /// let mut seen = Vec::new();
    /// for cx in Context::steps(42).take(3) {
    ///     seen.push(model.forward(&x, &cx)?.to_vec::<f32>()?);
    /// }
    /// assert!(seen[0] != seen[1] && seen[1] != seen[2]);
    /// # Ok(()) }
    /// ```
    pub fn steps(seed: u64) -> impl Iterator<Item = Context> {
        (0..).map(move |step| Context::train(seed::derive(seed, step)))
    }

    /// A pass of training that gathers statistics anew: after `before` such passes (0 begins), moving averages such as those of
    /// [`BatchNorm`](super::BatchNorm) become the mean of what each of the passes had, whatever they were
    /// (PyTorch's `update_bn`). [`Trainer::update_statistics`](crate::train::Trainer::update_statistics) does it for a data set.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{BatchNorm, Context};
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(BatchNorm::new()).build([1], Device::Cpu)?;
    /// for (before, x) in [[1.0f32, 3.0], [5.0, 9.0]].into_iter().enumerate() {
    ///     model.forward(&Tensor::new(x, Device::Cpu)?.reshape([2, 1])?, &Context::gathering(1, before as u64))?;
    /// }
    /// assert_eq!(model.parameter("batchnorm.moving_mean")?.variable.value().item::<f32>()?, 4.5); // of 2 and 7
    /// # Ok(()) }
    /// ```
    pub fn gathering(seed: u64, before: u64) -> Context {
        Context { gathered: Some(before), ..Context::new(Some(seed), None) }
    }

    /// The same, where each rank of a group has a part of the batch, of any number of samples: layers that look at the whole batch
    /// ([`BatchNorm::synchronized`](super::BatchNorm::synchronized)) look at all parts. For loops of one's own; all ranks make the same
    /// passes, forward and backward, in the same order.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::distributed::Alone; // or Mpi::world()?
    /// use wgrad::nn::{BatchNorm, Context};
    /// # fn main() -> Result<()> {
    /// let world = Alone;
    /// let model = Sequential::new().add(Dense::new(4)).add(BatchNorm::new().synchronized(true)).build([2], Device::Cpu)?;
    /// let mut adam = Adam::new(1e-3);
    /// for cx in Context::steps(42).take(3) {
    ///     let cx = cx.distributed(world);
    ///     let x = Tensor::rand([8, 2], Device::Cpu, 1)?; // this rank's samples
    ///     let loss = model.forward(&x, &cx)?.square()?.mean(.., false)?;
    ///     adam.step(&loss.backward()?.all_reduce(&world)?)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn distributed(self, world: impl Collective + 'static) -> Context {
        let shards = world.size();
        self.sharing(SharedBatch { world: Arc::new(world), shards, counts: true })
    }

    /// The same, over a part of a batch.
    pub(crate) fn sharing(self, batch: SharedBatch) -> Context {
        Context { shared: Some(batch), ..self }
    }

    /// The batch of which this pass has a part.
    pub(super) fn shared(&self) -> Option<&SharedBatch> {
        self.shared.as_ref()
    }

    /// The share of its old value that a moving average keeps in this pass: `momentum`, or what makes it a mean where statistics are
    /// [gathered](Self::gathering).
    pub fn kept_share(&self, momentum: f64) -> f64 {
        match self.gathered {
            Some(before) => before as f64 / (before as f64 + 1.0),
            None => momentum,
        }
    }

    /// A pass that only predicts: no dropout, nothing random.
    pub fn eval() -> Context {
        Context::new(None, None)
    }

    /// A pass over tokens that come after others.
    pub(super) fn generating(past: Past) -> Context {
        Context::new(None, Some(past))
    }

    /// The others, and the tokens of this pass.
    pub(super) fn into_past(self) -> Option<Past> {
        self.past.map(RefCell::into_inner)
    }

    /// Runs what has all of its input at once, even in a step of a generation: a part of a model that does not follow from the tokens.
    pub(super) fn beside<T>(&self, beside: bool, run: impl FnOnce() -> T) -> T {
        let before = self.beside.replace(self.beside.get() || beside);
        let y = run();
        self.beside.set(before);
        y
    }

    /// Runs a model that computes in a type, unless it is part of one that runs.
    pub(super) fn in_type<T>(&self, dtype: impl FnOnce() -> DType, run: impl FnOnce() -> T) -> T {
        let outer = self.dtype.get();
        self.dtype.set(Some(outer.unwrap_or_else(dtype)));
        let y = run();
        self.dtype.set(outer);
        y
    }

    /// The float type of which a layer makes integers that it computes with: that of the model; f32 where no model runs.
    ///
    /// ```
    /// use wgrad::nn::Context;
    /// # use wgrad::prelude::*;
    /// fn halves(x: &Tensor, cx: &Context) -> Result<Tensor> {
    ///     if x.dtype().is_float() { x / 2.0 } else { x.cast(cx.dtype())? / 2.0 }
    /// }
    /// # fn main() -> Result<()> {
    /// assert_eq!(halves(&Tensor::new([3], Device::Cpu)?, &Context::eval())?.item::<f32>()?, 1.5);
    /// # Ok(()) }
    /// ```
    pub fn dtype(&self) -> DType {
        self.dtype.get().unwrap_or(DType::F32)
    }

    fn past(&self) -> Option<&RefCell<Past>> {
        self.past.as_ref().filter(|_| !self.beside.get())
    }

    /// Whether the tokens of this pass continue those of earlier ones: a step of a [`Generation`](super::Generation). Not in layers of
    /// a model that its first input does not reach.
    pub fn is_generating(&self) -> bool {
        self.past().is_some()
    }

    /// The place of this pass's first token in its sequence: 0, but in a step of a [`Generation`](super::Generation) the number of
    /// tokens before.
    pub fn position(&self) -> usize {
        self.past().map_or(0, |past| past.borrow().len())
    }

    /// In a step of a [`Generation`](super::Generation), for a layer that attends to the tokens before: the keys and values of all of
    /// them, with those of this pass appended, `[.., tokens, size]` each. `None` in other passes.
    ///
    /// # Errors
    ///
    /// As [`KvCache::append`]; more layers than in earlier steps.
    pub fn extend_cache(&self, keys: &Tensor, values: &Tensor) -> Result<Option<KvCache>> {
        self.past().map(|past| past.borrow_mut().extend(keys, values)).transpose()
    }

    /// Whether this pass is for training.
    pub fn is_training(&self) -> bool {
        self.seed.is_some()
    }

    /// The seed of the next layer that needs random numbers; `None` where the pass only predicts.
    pub fn next_seed(&self) -> Option<u64> {
        let stream = self.drawn.get();
        self.drawn.set(stream + 1);
        self.seed.map(|s| seed::derive(s, stream))
    }

    /// A seed for noise that is drawn in predictions, too, such as the points of a variational autoencoder: in a pass of training that of
    /// [`next_seed`](Self::next_seed); in one that only predicts 0, 1 and so on, the same in each pass, so that evaluations can be
    /// compared.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::Context;
    /// # fn main() -> Result<()> {
    /// let noise = |cx: &Context| Tensor::randn([4], Device::Cpu, cx.noise_seed())?.to_vec::<f32>();
    /// let cx = Context::eval();
    /// let first = noise(&cx)?;
    /// assert_ne!(first, noise(&cx)?);
    /// assert_eq!(first, noise(&Context::eval())?);
    /// # Ok(()) }
    /// ```
    pub fn noise_seed(&self) -> u64 {
        let stream = self.drawn.get();
        self.next_seed().unwrap_or(stream)
    }

    /// Has a tensor computed along with the step, as running averages need that a layer updates while it trains.
    pub fn also_compute(&self, tensor: Tensor) {
        self.side_effects.borrow_mut().push(tensor);
    }

    /// Adds a scalar to the loss of this pass, such as a penalty on what a layer gives (Keras's `add_loss`). A
    /// [`Trainer`](crate::train::Trainer) adds it to the loss, in evaluations, too; loops of one's own do by
    /// [`take_losses`](Self::take_losses).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::{Context, Regularizer};
    /// # fn main() -> Result<()> {
    /// let layer = Dense::new(3).activity_regularizer(Regularizer::l2(0.1));
    /// let model = Sequential::new().add(layer).build([2], Device::Cpu)?;
    /// let cx = Context::train(1);
    /// let y = model.forward(&Tensor::ones([4, 2], Device::Cpu)?, &cx)?;
    /// let mut loss = y.mean(.., false)?;
    /// for penalty in cx.take_losses() {
    ///     loss = (loss + penalty)?;
    /// }
    /// # loss.backward()?;
    /// # Ok(()) }
    /// ```
    pub fn add_loss(&self, loss: Tensor) {
        self.losses.borrow_mut().push(loss);
    }

    /// What the layers added to the loss with [`add_loss`](Self::add_loss).
    pub fn take_losses(&self) -> Vec<Tensor> {
        self.losses.take()
    }

    /// What the layers asked for with [`also_compute`](Self::also_compute), for whoever evaluates the step.
    pub fn take_also_compute(&self) -> Vec<Tensor> {
        self.side_effects.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_a_seed_in_every_pass() {
        let (a, b) = (Context::train(3), Context::train(3));
        assert_eq!([Some(a.noise_seed()), Some(a.noise_seed())], [b.next_seed(), b.next_seed()]);
        // Layers that draw nothing in predictions count all the same: what is drawn after them stays apart.
        let eval = Context::eval();
        assert_eq!((eval.noise_seed(), eval.next_seed(), eval.noise_seed()), (0, None, 2));
    }
}
