//! Weights that PyTorch or Keras saved, for the same architecture built here; and the way back to PyTorch.
//!
//! | In Python | Here |
//! | --- | --- |
//! | `torch.save(model.state_dict(), "w.pt")` | [`import::pytorch("w.pt")`](pytorch) |
//! | `safetensors.torch.save_file(model.state_dict(), "w.safetensors")` | [`import::pytorch("w.safetensors")`](pytorch) |
//! | `model.save_weights("w.weights.h5")`, `model.save("m.keras")`, `model.save("m.h5")` | [`import::keras("w.weights.h5")`](keras) and so on |
//! | `np.savez("w.npz", **{w.path: w.numpy() for w in model.weights})` | [`import::keras("w.npz")`](keras) |
//! | `model.load_state_dict(safetensors.torch.load_file("w.safetensors"))` | [`Model::export_pytorch("w.safetensors")`](crate::nn::Model::export_pytorch) before it |
//!
//! ```no_run
//! use wgrad::nn::BatchNorm;
//! # use wgrad::prelude::*;
//! use wgrad::io::import::{self, Mapping};
//! # fn main() -> Result<()> {
//! let model = Sequential::new()
//!     .add(Conv2d::new(8, [3, 3]))
//!     .add(BatchNorm::new().epsilon(1e-5)) // PyTorch's epsilon
//!     .add(Activation::Relu)
//!     .add(MaxPool2d::new([2, 2]))
//!     .add(Flatten::new())
//!     .add(Dense::new(10))
//!     .build([28, 28, 1], Device::Gpu)?;
//! model.import_weights(&import::pytorch("digits.pt")?, &Mapping::pytorch())?;
//! # Ok(()) }
//! ```
//!
//! A module of one's own (`#[derive(Module)]`) takes them by [`Weights::import_into`].
//!
//! # What is converted
//!
//! Keras's arrays stand as they do here; a depthwise kernel gets its other shape. PyTorch's are permuted: kernels from
//! `[out, in, kh, kw]`, dense weights from `[out, in]`. PyTorch keeps images as channels, height, width, so the rows of a
//! [`Dense`](crate::nn::Dense) after a [`Flatten`](crate::nn::Flatten), and the columns of one before a
//! [`Reshape`](crate::nn::Reshape) to an image, are put into the order in which PyTorch has them; so is what stands between
//! them, as a BatchNorm of the vector.
//!
//! Sequences are `[time, features]` on both sides (`batch_first=True`), but where PyTorch's convolutions have them as channels, length. Its
//! stacked recurrent layers are layers one after the other here: `rnn.0`, `rnn.1`, .. of `nn.LSTM(.., num_layers=2)` called `rnn`. Their two
//! biases are added up, but for a GRU, which needs them apart; the projections of `nn.MultiheadAttention` are taken apart. Exported, each
//! layer is a module of its own, whose second bias is 0.
//!
//! Covered are Dense, Conv2d (with groups), DepthwiseConv2d, ConvTranspose2d, the same for sequences, BatchNorm, LayerNorm, GroupNorm,
//! Embedding, PRelu, SimpleRnn, Lstm, Gru, Bidirectional, for PyTorch MultiHeadAttention, RmsNorm and InstanceNorm, and for Keras
//! SeparableConv2d, SeparableConv1d and a TimeDistributed of these. A layer with other parameters is an error; so is one after a Reshape or Permute
//! behind which it isn't known what PyTorch has where. Floats of another size become the model's type.
//!
//! What a file can't say must agree by itself: activations, padding and strides, and the epsilon of normalisations (Keras
//! and wgrad have 1e-3, PyTorch 1e-5).
//!
//! # Which layer is which
//!
//! If file and model have the same names of layers, these decide. If not, layers of one kind and equal shapes follow each
//! other as in the model. Where that isn't certain (branches with equal layers, a safetensors file, which keeps no order, with
//! names that have no numbers) it is an error, and [`Mapping::rename`] says which is which. An error lists everything that
//! doesn't fit, and nothing is changed then.

mod convert;
#[cfg(feature = "import")]
mod hdf5;
mod layout;
mod matching;
mod packed;
#[cfg(feature = "import")]
mod pickle;
mod read;
mod slots;
#[cfg(feature = "import")]
mod torch;
mod weights;

pub use convert::Mapping;
#[cfg(feature = "import")]
pub use read::keras;
pub use read::{pytorch, pytorch_bytes};
pub use weights::Weights;
