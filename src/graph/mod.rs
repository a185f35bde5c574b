//! Functions that are traced once and called many times (TensorFlow's `tf.function`, `tf.Graph`, `Session.run`), and
//! pictures of graphs.
//!
//! [`Graph::trace`] runs a closure with arguments that have no values, notes the operations, and makes a function of them.
//! [`Graph::of`] looks at what a tensor that is not computed yet will compute. Both can be printed and drawn, see
//! [`Diagram`].

mod diagram;
mod function;
mod layout;
mod scan;
mod spec;
mod svg;
mod trace;

pub use diagram::{Diagram, GraphKernel, GraphNode, NodeKind};
pub use function::Graph;
pub use scan::{ScanMemory, ScanOptions, Scanned, scan};
pub use spec::TensorSpec;
