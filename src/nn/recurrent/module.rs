//! The loop over the steps.

use super::layers::{Gru, Lstm, RecurrentLayer, SimpleRnn};
use super::mask;
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{ScanOptions, scan};
use crate::nn::constraint::settled;
use crate::nn::kept::Kept;
use crate::nn::{Build, Built, Context, Layer, Module, Parameter, Parameters, SampleShape};
use crate::ops::random::drop_out;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// What [`Recurrent::run`] gives. Lazy, as every tensor is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recurrence {
    /// The output: of the last step `[batch, units]`, or of all, `[batch, time, units]`, where the layer returns sequences.
    pub output: Tensor,
    /// The state after the last step, `[batch, units]` each: `h`, and for [`Lstm`] `h` and `c`.
    pub state: Vec<Tensor>,
}

/// A built recurrent layer: what [`Lstm::module`], [`Gru::module`] and [`SimpleRnn::module`] make. As a [`Module`] it begins with a
/// state of zeros; [`run`](Self::run) takes a state and a mask, and gives the state back.
///
/// ```
/// use wgrad::nn::{Context, Lstm, sequence_mask};
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let device = Device::Cpu;
/// let lstm = Lstm::new(4).return_sequences(true).module(3, device, 1)?;
/// let x = Tensor::randn([2, 6, 3], device, 2)?;
/// let whole = lstm.infer(&x)?;
///
/// // The same in two parts, the state handed on.
/// let first = lstm.run(&x.slice(1, 0, 4)?, None, None, &Context::eval())?;
/// let second = lstm.run(&x.slice(1, 4, 2)?, Some(&first.state), None, &Context::eval())?;
/// let joined = Tensor::concat(&[&first.output, &second.output], 1)?;
/// wgrad::testing::assert_close(joined, whole, 1e-5, 1e-6)?;
///
/// // Sequences of 6 and 2 steps: what is beyond does not count.
/// let mask = sequence_mask(&Tensor::new([6u32, 2], device)?, 6)?;
/// let state = lstm.run(&x, None, Some(&mask), &Context::eval())?.state;
/// assert_eq!(state[0].shape(), [2, 4]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Recurrent {
    layer: RecurrentLayer,
    weight: Variable,
    recurrent: Variable,
    bias: Option<Variable>,
    /// The state after the last batch, of a stateful layer.
    kept: Kept,
}

impl Recurrent {
    pub(super) fn new(layer: RecurrentLayer, features: usize, cx: &mut Build) -> Result<Recurrent> {
        let common = layer.common();
        common.recurrent.check(common.units)?;
        let units = common.units;
        let width = units.saturating_mul(layer.gates());
        let weight = common.weights.kernel(cx, &[features, width], [features, width])?;
        let recurrent = cx.weight(&common.recurrent.initializer, [units, width], [units, width])?;
        let shape = match &layer {
            RecurrentLayer::Gru(Gru { reset_after: true, .. }) => vec![2, width],
            _ => vec![width],
        };
        let forget = matches!(&layer, RecurrentLayer::Lstm(Lstm { unit_forget_bias: true, .. }));
        let bias = match common.weights.bias {
            false => None,
            true => {
                let one_forget = |bias: Tensor| match forget {
                    true => {
                        let (first, last) = (bias.slice(0, 0, units)?, bias.slice(0, 2 * units, 2 * units)?);
                        Tensor::concat(&[&first, &first.ones_like()?, &last], 0)
                    }
                    false => Ok(bias),
                };
                Some(cx.changed_weight(
                    &common.weights.bias_initializer,
                    shape,
                    [width, width],
                    one_forget,
                )?)
            }
        };
        let trainable = common.weights.trainable;
        let recurrent = settled(recurrent, trainable, &common.recurrent.constraint)?;
        let bias = bias.map(|bias| settled(bias, trainable, &common.weights.bias_constraint)).transpose()?;
        Ok(Recurrent { layer, weight, recurrent, bias, kept: Kept::default() })
    }

    /// What it gives for one sample of this many steps.
    pub(super) fn sample_output(&self, time: Option<usize>) -> Result<SampleShape> {
        let common = self.layer.common();
        match common.recurrent.return_sequences {
            true => SampleShape::new((time, common.units)),
            false => SampleShape::new([common.units]),
        }
    }

    /// The state before the first step where none is given: zeros, `[batch, units]` each, of the type of the weights.
    ///
    /// # Errors
    ///
    /// The batch is too large.
    pub fn zero_state(&self, batch: usize) -> Result<Vec<Tensor>> {
        let weight = self.weight.value();
        let zeros =
            Tensor::zeros([batch, self.layer.common().units], weight.device())?.cast(weight.dtype())?;
        Ok(vec![zeros; self.layer.states()])
    }

    /// The output for a batch `[batch, time, features]`, from a state, with a mask, and the state after it.
    ///
    /// - `state`: that before the first step, as [`Recurrence::state`] gives it; zeros where there is none. (With
    ///   [`go_backwards`](Lstm::go_backwards) the first step is the last one.)
    /// - `mask`: `[batch, time]`, other than 0 where a step counts; [`sequence_mask`](crate::nn::sequence_mask) makes one of lengths.
    ///   A step that doesn't count leaves the state as it is and gives the output of the step before it, as in Keras; before the
    ///   first that counts, that is the state that was given (zeros in Keras). What stands there in `x`, NaN included, has no effect.
    ///
    /// With no steps at all, the output of the last one is the state that was given. Gradients flow to the state, too;
    /// [`Tensor::detach`] it between parts of a long sequence (truncated backpropagation).
    ///
    /// # Errors
    ///
    /// `x` has another rank or number of features; state or mask have other shapes.
    pub fn run(
        &self,
        x: &Tensor,
        state: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &Context,
    ) -> Result<Recurrence> {
        let (rows, state) = self.rows(x, state, mask, cx)?;
        let output = match (rows, state.first()) {
            (Some(rows), _) if self.layer.common().recurrent.go_backwards => rows.flip(1)?,
            (Some(rows), _) => rows,
            (None, Some(h)) => h.clone(),
            (None, None) => return Err(Error::internal("a recurrent layer has no state")),
        };
        self.penalize(&output, cx)?;
        Ok(Recurrence { output, state })
    }

    /// The outputs of all steps in their own order, where the layer returns sequences, and the last state.
    pub(super) fn rows(
        &self,
        x: &Tensor,
        state: Option<&[Tensor]>,
        mask: Option<&Tensor>,
        cx: &Context,
    ) -> Result<(Option<Tensor>, Vec<Tensor>)> {
        let common = self.layer.common();
        let units = common.units;
        let [batch, _, features] = *x.dims() else {
            let message = format!("expects [batch, time, features], got {}", x.shape());
            return Err(Error::shape(self.layer.kind(), message));
        };
        let weight = self.weight.value();
        if weight.dims()[0] != features {
            let expected = weight.dims()[0];
            let message = format!("expects [batch, time, {expected}], got {}", x.shape());
            return Err(Error::shape(self.layer.kind(), message));
        }
        let before = match state {
            Some(state) => Some(state.to_vec()),
            None => self.kept_state(&weight)?,
        };
        let state = match before {
            Some(state) => {
                self.check_state(&state, batch)?;
                state
            }
            None => self.zero_state(batch)?,
        };
        let mask = mask.map(|mask| mask::rows(mask, x)).transpose()?;
        // The order in which the loop takes steps: time first.
        let mut x = x.permute([1, 0, 2])?;
        if let Some(mask) = &mask {
            // What doesn't count must not reach the weights' gradient either, where it would be multiplied by 0.
            x = mask.gt(0.0)?.select(&x, x.zeros_like()?)?;
        }
        let rates = [common.recurrent.dropout, common.recurrent.recurrent_dropout];
        let seeds = rates.map(|rate| if rate > 0.0 { cx.next_seed() } else { None });
        if let Some(seed) = seeds[0] {
            x = drop_out(&x, Shape::new(&[1, batch, features])?, rates[0], seed)?;
        }
        // One product for all steps: only what needs the state is left to the loop.
        let mut projected = x.matmul(&weight)?;
        let bias = self.bias.as_ref().map(Variable::value);
        let (input_bias, state_bias) = match (&bias, &self.layer) {
            (Some(b), RecurrentLayer::Gru(Gru { reset_after: true, .. })) => {
                (Some(b.slice(0, 0, 1)?), Some(b.slice(0, 1, 1)?))
            }
            (bias, _) => (bias.clone(), None),
        };
        if let Some(bias) = input_bias {
            projected = (projected + bias)?;
        }
        let recurrent = self.recurrent.value();
        let dropped = |h: &Tensor| match seeds[1] {
            Some(seed) => drop_out(h, Shape::new(&[batch, units])?, rates[1], seed),
            None => Ok(h.clone()),
        };
        let step = Step { recurrent: &recurrent, bias: state_bias.as_ref(), units };
        let given: Vec<&Tensor> = [Some(&projected), mask.as_ref()].into_iter().flatten().collect();
        let options = ScanOptions::new().reverse(common.recurrent.go_backwards);
        let sequences = common.recurrent.return_sequences;
        let out = scan(&state.iter().collect::<Vec<_>>(), &given, options, |state, rows| {
            let h = dropped(&state[0])?;
            let mut next = match &self.layer {
                RecurrentLayer::SimpleRnn(layer) => step.simple(layer, &rows[0], &h)?,
                RecurrentLayer::Lstm(layer) => step.lstm(layer, &rows[0], &h, &state[1])?,
                RecurrentLayer::Gru(layer) => step.gru(layer, &rows[0], &h, &state[0])?,
            };
            if let Some(mask) = rows.get(1) {
                let counts = mask.gt(0.0)?;
                let chosen = next.iter().zip(state).map(|(next, before)| counts.select(next, before));
                next = chosen.collect::<Result<_>>()?;
            }
            let kept = if sequences { vec![next[0].clone()] } else { Vec::new() };
            Ok((next, kept))
        })?;
        if common.recurrent.stateful {
            let after = out.carry.iter().map(Tensor::detach).collect::<Result<Vec<_>>>()?;
            after.iter().for_each(|state| cx.also_compute(state.clone()));
            self.kept.put(Some(after));
        }
        let rows = out.rows.first().map(|rows| rows.permute([1, 0, 2])).transpose()?;
        Ok((rows, out.carry))
    }

    /// Adds the penalty on an output to the loss of the pass.
    pub(super) fn penalize(&self, output: &Tensor, cx: &Context) -> Result<()> {
        self.layer.common().weights.penalize(output, cx)
    }

    /// The state that a stateful layer has kept, unless its weights were moved since.
    fn kept_state(&self, weight: &Tensor) -> Result<Option<Vec<Tensor>>> {
        if !self.layer.common().recurrent.stateful {
            return Ok(None);
        }
        crate::variable::forbid(
            self.layer.kind(),
            "a stateful layer keeps its state; hand the state on by Recurrent::run",
        )?;
        let alike = |t: &Tensor| t.device() == weight.device() && t.dtype() == weight.dtype();
        Ok(self.kept.get().filter(|state| state.iter().all(alike)))
    }

    fn check_state(&self, state: &[Tensor], batch: usize) -> Result<()> {
        let (count, units) = (self.layer.states(), self.layer.common().units);
        if state.len() == count && state.iter().all(|t| t.shape() == [batch, units]) {
            return Ok(());
        }
        let shapes: Vec<String> = state.iter().map(|t| t.shape().to_string()).collect();
        let message = format!(
            "expects a state of {count} of shape [batch, units] = [{batch}, {units}], got {} of {}; hand on what run gave, \
             or None; batches of stateful layers have one size until reset_states is called",
            state.len(),
            shapes.join(", ")
        );
        Err(Error::shape("Recurrent::run", message))
    }
}

impl Module for Recurrent {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        Ok(self.run(x, None, None, cx)?.output)
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        let common = self.layer.common();
        if common.recurrent.stateful {
            parameters.kept(&self.kept);
        }
        let weights = common.weights;
        parameters.add(Parameter::new("weight", &self.weight).regularized(weights.kernel_regularizer));
        let recurrent = Parameter::new("recurrent_weight", &self.recurrent);
        parameters.add(recurrent.regularized(common.recurrent.regularizer));
        if let Some(bias) = &self.bias {
            parameters.add(Parameter::new("bias", bias).regularized(weights.bias_regularizer));
        }
    }
}

/// What a recurrent layer is to a model, and by itself.
macro_rules! built {
    ($($layer:ident)*) => {$(
        impl Layer for $layer {
            fn kind(&self) -> &'static str {
                stringify!($layer)
            }

            fn details(&self) -> String {
                format!("{}{}", self.units, self.recurrent.suffix())
            }

            fn config(&self) -> Result<Config> {
                Config::of(self)
            }

            fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
                let [time, _] = cx.sequence(input)?;
                let module = Recurrent::new(self.clone().into(), cx.features(input)?, cx)?;
                let output = module.sample_output(time)?;
                Ok(Built::new(module, output))
            }
        }

        impl $layer {
            /// The layer by itself, for batches `[batch, time, features]`: to be run with a state and a mask of one's own, in a
            /// [`Module`] or a loop.
            ///
            /// # Errors
            ///
            /// As [`Layer::build`]; or the device can't be used.
            pub fn module(self, features: usize, device: Device, seed: u64) -> Result<Recurrent> {
                device.check()?;
                Recurrent::new(self.into(), features, &mut Build::new(device, seed))
            }
        }
    )*};
}

built! { SimpleRnn Lstm Gru }

impl RecurrentLayer {
    /// How many vectors of `units` a step computes of input and state.
    fn gates(&self) -> usize {
        match self {
            RecurrentLayer::SimpleRnn(_) => 1,
            RecurrentLayer::Lstm(_) => 4,
            RecurrentLayer::Gru(_) => 3,
        }
    }

    /// How many tensors are handed on.
    fn states(&self) -> usize {
        if matches!(self, RecurrentLayer::Lstm(_)) { 2 } else { 1 }
    }
}

/// What every step uses.
struct Step<'a> {
    recurrent: &'a Tensor,
    /// What is added to the product of state and recurrent weight.
    bias: Option<&'a Tensor>,
    units: usize,
}

impl Step<'_> {
    /// `h U`, of `[gates * units]` columns from one on.
    fn product(&self, h: &Tensor, from: usize, gates: usize) -> Result<Tensor> {
        let all = self.recurrent.dims()[1] == gates * self.units;
        let weight = if all { self.recurrent.clone() } else { self.gate(self.recurrent, from, gates)? };
        h.matmul(weight)
    }

    /// Columns of `gates` gates from one on.
    fn gate(&self, x: &Tensor, from: usize, gates: usize) -> Result<Tensor> {
        x.slice(1, from * self.units, gates * self.units)
    }

    fn simple(&self, layer: &SimpleRnn, x: &Tensor, h: &Tensor) -> Result<Vec<Tensor>> {
        let sum = (x + self.product(h, 0, 1)?)?;
        Ok(vec![layer.activation.apply(&sum)?])
    }

    fn lstm(&self, layer: &Lstm, x: &Tensor, h: &Tensor, c: &Tensor) -> Result<Vec<Tensor>> {
        let sum = (x + self.product(h, 0, 4)?)?;
        let gate = |k: usize| layer.recurrent_activation.apply(&self.gate(&sum, k, 1)?);
        let new = layer.activation.apply(&self.gate(&sum, 2, 1)?)?;
        let c = ((gate(1)? * c)? + (gate(0)? * new)?)?;
        let h = (gate(3)? * layer.activation.apply(&c)?)?;
        Ok(vec![h, c])
    }

    /// `h` is `before` as it is multiplied by the recurrent weight: with some of it dropped.
    fn gru(&self, layer: &Gru, x: &Tensor, h: &Tensor, before: &Tensor) -> Result<Vec<Tensor>> {
        let gate = |x: &Tensor, k: usize| self.gate(x, k, 1);
        let gates = |product: &Tensor, k: usize| {
            layer.recurrent_activation.apply(&(gate(x, k)? + gate(product, k)?)?)
        };
        let (z, new) = if layer.reset_after {
            let mut product = self.product(h, 0, 3)?;
            if let Some(bias) = self.bias {
                product = (product + bias)?;
            }
            let (z, r) = (gates(&product, 0)?, gates(&product, 1)?);
            (z, (r * gate(&product, 2)?)?)
        } else {
            let product = self.product(h, 0, 2)?;
            let (z, r) = (gates(&product, 0)?, gates(&product, 1)?);
            (z, self.product(&(r * h)?, 2, 1)?)
        };
        let new = layer.activation.apply(&(gate(x, 2)? + new)?)?;
        // z h + (1 - z) new
        Ok(vec![(&new + (z * (before - &new)?)?)?])
    }
}
