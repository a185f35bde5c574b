//! What can be computed. One operation, one place: each file holds an operation's shape rule and the error a user sees,
//! its gradient, its CPU kernel, and which GPU kernel it asks for.

pub(crate) mod attention;
pub(crate) mod check_index;
pub(crate) mod constant;
pub(crate) mod conv2d;
pub(crate) mod conv2d_transpose;
pub(crate) mod cross_entropy;
pub(crate) mod custom;
pub(crate) mod fault;
pub(crate) mod float;
pub(crate) mod index;
pub(crate) mod join;
pub(crate) mod key;
mod lowering;
pub(crate) mod map;
pub(crate) mod masked;
pub(crate) mod matmul;
pub(crate) mod moments;
mod operands;
pub(crate) mod philox;
pub(crate) mod pieces;
pub(crate) mod pointwise;
mod polynomial;
pub(crate) mod pool2d;
pub(crate) mod random;
pub(crate) mod recurrence;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod scan;
pub(crate) mod scatter;
pub(crate) mod search;
pub(crate) mod softmax;
pub(crate) mod sort;
pub(crate) mod table;
pub(crate) mod update;
pub(crate) mod view;
pub(crate) mod windows;

pub(crate) use crate::tensor::{Grads, Operation, Pieces, Vjp};
pub(crate) use lowering::{IndexFn, Lowering, Pointwise, ReduceKind, View};
pub(crate) use operands::{require_float, same_device, same_dtype};
