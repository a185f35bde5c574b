//! The CPU kernels: plain functions over slices, in f32 and f64 (reductions and gathers in integers too).
//!
//! Every output slice is overwritten completely; what it held before is never read. Results don't depend on the number of
//! threads or on who runs what: work is cut into pieces by the sizes of the problem alone, each element of an output has one
//! writer, and partial sums are combined in a fixed order.

pub mod attention;
pub mod conv2d;
mod depthwise;
mod direct;
pub mod float;
pub mod gemm;
pub mod index;
pub mod layout;
pub mod lines;
mod matrix;
mod panels;
mod parallel;
pub mod pool2d;
mod range;
pub mod reduce;
pub mod scan;
mod shallow;
pub mod softmax;
pub mod sort;
mod thin;
mod window_sums;

pub use parallel::PARALLEL_WORK;
use parallel::{CHAIN, CHAIN_OF_SUMS, PARALLEL_FLOPS, finish_all, pairwise, units_per_task};
pub use parallel::{Finish, for_each_chunk};
pub use range::{OutOfRange, check_range};
