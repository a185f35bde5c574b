//! Files: weights as safetensors.

mod safetensors;

pub use self::safetensors::{load_parameters, load_tensors, save_parameters, save_tensors};
