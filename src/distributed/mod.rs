//! Training on several processes and machines: data-parallel, with the same bits on any number of them.
//!
//! Each step's batch is cut into shards ([`Fit::shards`](crate::train::Fit::shards)), each rank computes the gradients of some of
//! them, and these are added in an order that depends on the number of shards alone: with 4 shards, 1, 2 and 4 ranks (and one process
//! without MPI) train the same weights, bit by bit, on devices that compute the same bits. docs/distributed.md has measured times, a model of
//! what other networks cost, and how to install MPI.
//!
//! ```no_run
//! # #[cfg(feature = "mpi")]
//! # mod example {
//! # use wgrad::prelude::*;
//! use wgrad::distributed::Mpi;
//! # fn main() -> Result<()> {
//! # let (digits, _) = data::synthetic::digits(64, 1, 1).into_datasets()?;
//! let world = Mpi::world()?; // mpirun -n 4 target/release/my_program
//! let device = world.device("best")?;
//! # let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], device)?;
//! let mut trainer = Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits()).build()?;
//! trainer.distributed(world);
//! trainer.fit(&digits, Fit::epochs(5).batch_size(128))?;
//! # Ok(()) }
//! # }
//! ```
//!
//! Layers that look at a batch see a shard; [`BatchNorm::synchronized`](crate::nn::BatchNorm::synchronized) has one see all of it.
//!
//! Data, models and settings must be the same on all ranks; each checks that at the first step. The
//! feature `mpi` brings [`Mpi`]; another engine is an implementation of [`Collective`].

mod agree;
mod collective;
mod gradients;
#[cfg(feature = "mpi")]
mod mpi;
mod pick;
mod shared_batch;
mod statistics;
mod sum;

pub use agree::agree;
pub(crate) use collective::telling;
pub use collective::{Alone, Collective};
pub(crate) use gradients::{Layout, Numbers};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use pick::pick as device;
pub(crate) use shared_batch::SharedBatch;
pub(crate) use sum::shards_of;
