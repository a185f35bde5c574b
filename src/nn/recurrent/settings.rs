//! What recurrent layers have in common beside a kernel and a bias.

use crate::error::{Error, Result};
use crate::nn::dropout::check_rate;
use crate::nn::{Constraint, Initializer, Regularizer};
use serde::{Deserialize, Serialize};

/// Settings of all recurrent layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RecurrentSettings {
    pub initializer: Initializer,
    pub regularizer: Option<Regularizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    pub dropout: f64,
    pub recurrent_dropout: f64,
    pub return_sequences: bool,
    pub go_backwards: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stateful: bool,
}

impl Default for RecurrentSettings {
    /// Keras's.
    fn default() -> RecurrentSettings {
        RecurrentSettings {
            initializer: Initializer::Orthogonal { gain: 1.0 },
            regularizer: None,
            constraint: None,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            return_sequences: false,
            go_backwards: false,
            stateful: false,
        }
    }
}

impl RecurrentSettings {
    pub fn check(&self, units: usize) -> Result<()> {
        if units == 0 {
            return Err(Error::argument("build", "expects at least one unit, got 0"));
        }
        for (what, rate) in [("dropout", self.dropout), ("recurrent dropout", self.recurrent_dropout)] {
            check_rate("build", what, rate)?;
        }
        Ok(())
    }

    /// What a summary says of them, after the number of units.
    pub fn suffix(&self) -> String {
        let sequences = if self.return_sequences { ", sequences" } else { "" };
        let backwards = if self.go_backwards { ", backwards" } else { "" };
        let stateful = if self.stateful { ", stateful" } else { "" };
        format!("{sequences}{backwards}{stateful}")
    }
}

/// The builder methods of [`RecurrentSettings`], for a layer with such a field `recurrent`.
macro_rules! recurrent_methods {
    ($layer:ident) => {
        impl $layer {
            /// How the first values of the recurrent weight, which multiplies the state, are drawn: orthogonal where nothing else
            /// is said.
            pub fn recurrent_initializer(mut self, initializer: Initializer) -> $layer {
                self.recurrent.initializer = initializer;
                self
            }

            /// A penalty on the size of the recurrent weight, added to the loss.
            pub fn recurrent_regularizer(mut self, regularizer: Regularizer) -> $layer {
                self.recurrent.regularizer = Some(regularizer);
                self
            }

            /// What the recurrent weight is changed to after each update.
            pub fn recurrent_constraint(mut self, constraint: $crate::nn::Constraint) -> $layer {
                self.recurrent.constraint = Some(constraint);
                self
            }

            /// While training, drops each feature of a sample's input with this probability, the same ones at all steps (Gal and
            /// Ghahramani, 2016), and divides the others by `1 - rate`.
            pub fn dropout(mut self, rate: f64) -> $layer {
                self.recurrent.dropout = rate;
                self
            }

            /// The same of the state, where it is multiplied by the recurrent weight.
            pub fn recurrent_dropout(mut self, rate: f64) -> $layer {
                self.recurrent.recurrent_dropout = rate;
                self
            }

            /// Whether the output is that of every step, `[time, units]`, rather than of the last one, `[units]`.
            pub fn return_sequences(mut self, sequences: bool) -> $layer {
                self.recurrent.return_sequences = sequences;
                self
            }

            /// Whether the last step comes first. The sequence of outputs is then in the order in which they are computed, as in
            /// Keras.
            pub fn go_backwards(mut self, backwards: bool) -> $layer {
                self.recurrent.go_backwards = backwards;
                self
            }

            /// Whether the state after a batch is that before the next one, in training and in prediction: sequence i of a batch then
            /// goes on where sequence i of the batch before ended (Keras's `stateful`). Gradients stay within a batch. Batches have
            /// one size until [`reset_states`](crate::nn::Module::reset_states) begins with zeros again. States are not saved,
            /// neither with weights nor in a [checkpoint](crate::train::Trainer::save_checkpoint); functions that
            /// [`Graph::trace`](crate::Graph::trace) records can't have them, and runs whose batches are cut into
            /// [shards](crate::train::Fit::shards) neither.
            pub fn stateful(mut self, stateful: bool) -> $layer {
                self.recurrent.stateful = stateful;
                self
            }
        }
    };
}
pub(super) use recurrent_methods;
