//! What users hold: tensors and their methods.

pub(crate) use create::{NestedArray, empty};
mod create;
mod display;
mod methods;
mod node;
mod operators;
mod read;
mod statistics;

pub(crate) use node::{Root, Value, next_id};
pub use node::{Spec, Tensor};
pub use operators::IntoOperand;
