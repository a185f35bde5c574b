//! What users hold: tensors and their methods.

mod arrangement;
mod bits;
mod build;
mod contraction;
mod create;
mod display;
mod division;
mod equation;
mod functions;
mod indexing;
mod leaf;
mod logic;
mod looped;
mod manipulation;
mod methods;
mod node;
mod operators;
mod padding;
mod pending;
mod pooling;
mod read;
mod sampling;
mod sorting;
mod statistics;

pub use crate::shape::Spec;
pub use arrangement::Sections;
pub use create::{FillValue, NestedArray};
pub(crate) use leaf::{Placeholder, not_known};
pub(crate) use looped::{Carry, Gradient, Leaf, Loop, Looped, Rows};
pub(crate) use node::{Grads, Operation, Pieces, Root, Slot, Value, Vjp, next_id, recording};
pub use node::{Tensor, no_grad};
pub use operators::IntoOperand;
pub use padding::PadMode;
pub(crate) use pending::{Dispatch, Entry, IdHasher, IdMap, Pending, inputs_first};
pub use sorting::Unique;
