//! Files: weights as safetensors, whole models, checkpoints of a training, NumPy's arrays, weights of PyTorch and Keras.
//!
//! | What | Write | Read |
//! | --- | --- | --- |
//! | A model's weights (`.safetensors`) | [`Module::save`](crate::nn::Module::save) | [`Module::load`](crate::nn::Module::load) |
//! | A whole model, loaded without its code (`.safetensors`) | [`Model::save_model`](crate::nn::Model::save_model) | [`Model::load_model`](crate::nn::Model::load_model) |
//! | A training under way | [`Trainer::save_checkpoint`](crate::train::Trainer::save_checkpoint) | [`Trainer::resume`](crate::train::Trainer::resume) |
//! | Named tensors (`.safetensors`) | [`save_tensors`] | [`load_tensors`] |
//! | One tensor (`.npy`) | [`Tensor::save_npy`](crate::Tensor::save_npy) | [`Tensor::load_npy`](crate::Tensor::load_npy) |
//! | Named tensors (`.npz`) | `npz::save` | `npz::load` |
//! | PyTorch's weights (`.pt`, `.pth`, `.safetensors`) | [`Model::export_pytorch`](crate::nn::Model::export_pytorch) | [`import::pytorch`], [`Model::import_weights`](crate::nn::Model::import_weights) |
//! | Keras's weights (`.weights.h5`, `.keras`, `.h5`, `.npz`) | | `import::keras`, [`Model::import_weights`](crate::nn::Model::import_weights) |
//!
//! Zip archives (`.npz`, `.pt`, `.keras`) and HDF5 files (`.h5`) need the feature `import`. Every file that is written appears
//! whole or not at all.
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("wgrad-doc-io-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).ok();
//! # let file = |name: &str| folder.join(name);
//! let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
//! let x = Tensor::ones([1, 3], Device::Cpu)?;
//! x.save_npy(file("x.npy"))?; // np.load("x.npy") in Python
//! model.save_model(file("model.safetensors"))?;
//! let again = Model::load_model(file("model.safetensors"), Device::Cpu)?;
//! let x = Tensor::load_npy(file("x.npy"), Device::Cpu)?;
//! assert_eq!(again.infer(&x)?.to_vec::<f32>()?, model.infer(&x)?.to_vec::<f32>()?);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok(()) }
//! ```

// Each feature that reads files asks for some of it.
#[cfg_attr(not(feature = "app"), allow(dead_code))]
pub(crate) mod budget;
mod bytes;
mod elements;
pub mod import;
mod npy;
#[cfg(feature = "import")]
pub mod npz;
pub(crate) mod safetensors;
#[cfg(feature = "import")]
mod zip;

pub use self::safetensors::{Metadata, load_metadata, load_tensors, save_tensors, save_tensors_with};
pub use crate::nn::weights_file::{load_parameters, save_parameters};
pub use crate::train::checkpoint_file::Checkpoint;
pub(crate) use bytes::Elements;
