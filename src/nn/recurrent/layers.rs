//! The descriptions of recurrent layers.

use super::settings::{RecurrentSettings, recurrent_methods};
use crate::nn::weights::{WeightSettings, weight_methods};
use crate::nn::{Activation, Initializer, Regularizer};
use serde::{Deserialize, Serialize};

/// The builder methods that all have, and the layer as any of them.
macro_rules! recurrent_layer {
    ($layer:ident) => {
        recurrent_methods!($layer);
        weight_methods!($layer);

        impl From<$layer> for RecurrentLayer {
            fn from(layer: $layer) -> RecurrentLayer {
                RecurrentLayer::$layer(layer)
            }
        }
    };
}

/// The simplest recurrent layer (Elman, 1990): `h = tanh(x W + h U + b)` for one step after the other. `[time, features]` to
/// `[units]`, or to `[time, units]` with [`return_sequences`](Self::return_sequences). Weights `weight` `[features, units]`, Glorot
/// uniform, and `recurrent_weight` `[units, units]`, orthogonal; `bias` zero.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::SimpleRnn;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SimpleRnn::new(8)).build((None, 3), Device::Cpu)?; // sequences of any length
/// assert_eq!(model.infer(&Tensor::zeros([2, 20, 3], Device::Cpu)?)?.shape(), [2, 8]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](crate::nn::Layer::build) refuses a sample that is no `[time, features]`, 0 units, and a dropout below 0 or from 1 on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct SimpleRnn {
    pub(super) units: usize,
    pub(super) activation: Activation,
    pub(super) weights: WeightSettings,
    pub(super) recurrent: RecurrentSettings,
}

impl SimpleRnn {
    /// A layer with a state of this many numbers; tanh, with bias.
    pub fn new(units: usize) -> SimpleRnn {
        SimpleRnn {
            units,
            activation: Activation::Tanh,
            weights: WeightSettings::default(),
            recurrent: RecurrentSettings::default(),
        }
    }
}

recurrent_layer!(SimpleRnn);

/// Long short-term memory (Hochreiter and Schmidhuber, 1997; with a forget gate, Gers et al., 2000). With the state `h`, `c` and
/// `[i, f, g, o] = x W + h U + b`: `c = sigmoid(f) c + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(c)`.
///
/// `[time, features]` to `[units]`, or to `[time, units]` with [`return_sequences`](Self::return_sequences). Weights as Keras has
/// them: `weight` `[features, 4 * units]`, Glorot uniform, `recurrent_weight` `[units, 4 * units]`, orthogonal, gates in the order
/// input, forget, cell, output; `bias` `[4 * units]`, 1 for the forget gate (Jozefowicz et al., 2015) and else 0.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Lstm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new()
///     .add(Lstm::new(16).return_sequences(true))
///     .add(Lstm::new(8))
///     .add(Dense::new(1))
///     .build((None, 3), Device::Cpu)?;
/// assert_eq!(model.infer(&Tensor::zeros([2, 20, 3], Device::Cpu)?)?.shape(), [2, 1]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`SimpleRnn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Lstm {
    pub(super) units: usize,
    pub(super) activation: Activation,
    pub(super) recurrent_activation: Activation,
    pub(super) weights: WeightSettings,
    pub(super) recurrent: RecurrentSettings,
    pub(super) unit_forget_bias: bool,
}

impl Lstm {
    /// A layer with a state of two times this many numbers; tanh and sigmoid, with bias.
    pub fn new(units: usize) -> Lstm {
        Lstm {
            units,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
            weights: WeightSettings::default(),
            recurrent: RecurrentSettings::default(),
            unit_forget_bias: true,
        }
    }

    /// The function of the gates.
    pub fn recurrent_activation(mut self, activation: Activation) -> Lstm {
        self.recurrent_activation = activation;
        self
    }

    /// Whether the forget gate's bias is 1 at first, whatever the bias's initialiser gives.
    pub fn unit_forget_bias(mut self, one: bool) -> Lstm {
        self.unit_forget_bias = one;
        self
    }
}

recurrent_layer!(Lstm);

/// The gated recurrent unit (Cho et al., 2014). With `[xz, xr, xh] = x W + b` and `[hz, hr, hh] = h U + b'`: `z = sigmoid(xz + hz)`,
/// `r = sigmoid(xr + hr)`, `h = z h + (1 - z) tanh(xh + r hh)`.
///
/// `[time, features]` to `[units]`, or to `[time, units]` with [`return_sequences`](Self::return_sequences). Weights as Keras has
/// them: `weight` `[features, 3 * units]`, Glorot uniform, `recurrent_weight` `[units, 3 * units]`, orthogonal, gates in the order
/// update, reset, new; `bias` `[2, 3 * units]`, b and b', zero. Without [`reset_after`](Self::reset_after) it is `[3 * units]`.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Gru;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(Gru::new(8).dropout(0.2)).build((None, 3), Device::Cpu)?;
/// assert_eq!(model.parameter("gru.bias")?.variable.shape(), [2, 24]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`SimpleRnn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct Gru {
    pub(super) units: usize,
    pub(super) activation: Activation,
    pub(super) recurrent_activation: Activation,
    pub(super) weights: WeightSettings,
    pub(super) recurrent: RecurrentSettings,
    pub(super) reset_after: bool,
}

impl Gru {
    /// A layer with a state of this many numbers; tanh and sigmoid, with bias.
    pub fn new(units: usize) -> Gru {
        Gru {
            units,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
            weights: WeightSettings::default(),
            recurrent: RecurrentSettings::default(),
            reset_after: true,
        }
    }

    /// The function of the gates.
    pub fn recurrent_activation(mut self, activation: Activation) -> Gru {
        self.recurrent_activation = activation;
        self
    }

    /// Whether the reset gate is applied after the product of state and recurrent weight, one product for all gates, or before it,
    /// as Cho et al. had it: `tanh(xh + (r h) U)`.
    pub fn reset_after(mut self, after: bool) -> Gru {
        self.reset_after = after;
        self
    }
}

recurrent_layer!(Gru);

/// Any of the recurrent layers: what [`Bidirectional`](super::Bidirectional) runs in both directions.
///
/// ```
/// use wgrad::nn::{Gru, RecurrentLayer};
/// let layer: RecurrentLayer = Gru::new(8).into();
/// assert!(matches!(layer, RecurrentLayer::Gru(_)));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use]
pub enum RecurrentLayer {
    /// See [`SimpleRnn`].
    SimpleRnn(SimpleRnn),
    /// See [`Lstm`].
    Lstm(Lstm),
    /// See [`Gru`].
    Gru(Gru),
}

/// What the three have in common.
pub(super) struct Common<'a> {
    pub units: usize,
    pub weights: &'a WeightSettings,
    pub recurrent: &'a RecurrentSettings,
}

impl RecurrentLayer {
    pub(super) fn common(&self) -> Common<'_> {
        macro_rules! of {
            ($layer:expr) => {
                Common { units: $layer.units, weights: &$layer.weights, recurrent: &$layer.recurrent }
            };
        }
        match self {
            RecurrentLayer::SimpleRnn(layer) => of!(layer),
            RecurrentLayer::Lstm(layer) => of!(layer),
            RecurrentLayer::Gru(layer) => of!(layer),
        }
    }

    pub(super) fn recurrent_mut(&mut self) -> &mut RecurrentSettings {
        match self {
            RecurrentLayer::SimpleRnn(layer) => &mut layer.recurrent,
            RecurrentLayer::Lstm(layer) => &mut layer.recurrent,
            RecurrentLayer::Gru(layer) => &mut layer.recurrent,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            RecurrentLayer::SimpleRnn(_) => "SimpleRnn",
            RecurrentLayer::Lstm(_) => "Lstm",
            RecurrentLayer::Gru(_) => "Gru",
        }
    }
}
