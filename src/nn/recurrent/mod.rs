//! Recurrent layers: one step's formula, repeated by [`graph::scan`](crate::graph::scan).

mod bidirectional;
mod layers;
mod mask;
mod module;
mod settings;
mod time_distributed;

pub use bidirectional::{Bidirectional, BidirectionalMerge};
pub use layers::{Gru, Lstm, RecurrentLayer, SimpleRnn};
pub use mask::sequence_mask;
pub use module::{Recurrence, Recurrent};
pub use time_distributed::TimeDistributed;
