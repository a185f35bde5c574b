//! What users hold: tensors and their methods.

pub(crate) use create::empty;
mod create;
mod display;
mod methods;
mod node;
mod operators;
mod read;

pub(crate) use node::{Node, Root, Value, next_id};
pub use node::{Spec, Tensor};
pub use operators::IntoOperand;
