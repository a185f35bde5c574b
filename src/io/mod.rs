//! Files: weights as safetensors, whole models, checkpoints of a training.

mod checkpoint;
mod model;
mod safetensors;

pub use self::checkpoint::Checkpoint;
pub(crate) use self::safetensors::write_whole;
pub use self::safetensors::{
    Metadata, load_metadata, load_parameters, load_tensors, save_parameters, save_tensors, save_tensors_with,
};
