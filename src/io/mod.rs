//! Files: weights as safetensors, whole models, checkpoints of a training.

mod checkpoint;
mod elements;
pub mod import;
mod model;
mod npy;
#[cfg(feature = "app")]
pub mod npz;
mod safetensors;
#[cfg(feature = "app")]
mod zip;

pub use self::checkpoint::Checkpoint;
pub(crate) use self::safetensors::write_whole;
pub use self::safetensors::{
    Metadata, load_metadata, load_parameters, load_tensors, save_parameters, save_tensors, save_tensors_with,
};
