//! Files: weights as safetensors, whole models.

mod model;
mod safetensors;

pub use self::safetensors::{
    Metadata, load_metadata, load_parameters, load_tensors, save_parameters, save_tensors, save_tensors_with,
};
