//! Functions of arrays that are made of other operations: arrangement, contraction, statistics, logic. Against NumPy, with
//! gradients against finite differences, on both devices.

mod common;

#[path = "arrays/edges.rs"]
mod edges;
#[path = "arrays/errors.rs"]
mod errors;
#[path = "arrays/golden.rs"]
mod golden;
#[path = "arrays/gradients.rs"]
mod gradients;
#[path = "arrays/indexing.rs"]
mod indexing;
