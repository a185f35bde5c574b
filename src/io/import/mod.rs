//! Weights that PyTorch or Keras saved, for the same architecture built here; and the way back to PyTorch.
//!
//! | In Python | Here |
//! | --- | --- |
//! | `torch.save(model.state_dict(), "w.pt")` | [`import::pytorch("w.pt")`](pytorch) |
//! | `safetensors.torch.save_file(model.state_dict(), "w.safetensors")` | [`import::pytorch("w.safetensors")`](pytorch) |
//! | `model.save_weights("w.weights.h5")`, `model.save("m.keras")`, `model.save("m.h5")` | [`import::keras("w.weights.h5")`](keras) and so on |
//! | `np.savez("w.npz", **{w.path: w.numpy() for w in model.weights})` | [`import::keras("w.npz")`](keras) |
//! | `model.load_state_dict(safetensors.torch.load_file("w.safetensors"))` | [`Model::export_pytorch("w.safetensors")`](Model::export_pytorch) before it |
//!
//! ```no_run
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
//! # What is converted
//!
//! Keras's arrays stand as they do here; a depthwise kernel gets its other shape. PyTorch's are permuted: kernels from
//! `[out, in, kh, kw]`, dense weights from `[out, in]`. PyTorch keeps images as channels, height, width, so the rows of a
//! [`Dense`](crate::nn::Dense) after a [`Flatten`](crate::nn::Flatten), and the columns of one before a
//! [`Reshape`](crate::nn::Reshape) to an image, are put into the order in which PyTorch has them; so is what stands between
//! them, as a BatchNorm of the vector.
//!
//! Covered are Dense, Conv2d (with groups), DepthwiseConv2d, ConvTranspose2d, BatchNorm, LayerNorm, GroupNorm, Embedding and
//! PRelu, and for Keras SeparableConv2d. A layer with other parameters is an error; so is one after a Reshape or Permute
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

#[cfg(feature = "import")]
mod hdf5;
mod layout;
mod matching;
#[cfg(feature = "import")]
mod pickle;
mod slots;
#[cfg(feature = "import")]
mod torch;

use super::budget::{self, Budget};
use crate::cpu::Array;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Model;
use crate::tensor::Tensor;
use slots::Format;
use std::collections::HashMap;
use std::path::Path;

/// Named arrays out of a file, on the CPU.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Where they come from, for errors.
    source: String,
    tensors: Vec<(String, Tensor)>,
    /// Whether the order of the arrays is that of the layers.
    ordered: bool,
    /// What users call layers, by their paths in the file.
    labels: HashMap<String, String>,
}

impl Weights {
    /// Arrays from elsewhere, in the order of the layers; `source` is what errors call them. Names end in what the array is:
    /// `fc1.weight` for PyTorch, `dense/kernel` for Keras.
    pub fn new(source: impl Into<String>, tensors: Vec<(String, Tensor)>) -> Weights {
        Weights { source: source.into(), tensors, ordered: true, labels: HashMap::new() }
    }

    /// All arrays with their names.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// An array by its name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }

    /// The arrays whose names begin with `prefix` and a dot, without these: `under("model")` of a checkpoint
    /// `{"model": model.state_dict(), "epoch": 3, ...}`.
    pub fn under(&self, prefix: &str) -> Weights {
        let inside = |name: &str| Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_string());
        let tensors = self.tensors.iter().filter_map(|(n, t)| Some((inside(n)?, t.clone()))).collect();
        Weights { tensors, ..self.clone() }
    }

    /// What users call the layer of a path in a Keras file.
    fn label(&self, path: &str) -> Option<String> {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        let parts: Vec<&str> =
            ends.filter_map(|end| self.labels.get(&path[..end])).map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join("."))
    }
}

/// From the name of a model's layer to that of the file's.
type Rename<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// How another framework's weights become a model's: what it calls parameters, how it lays them out, which layer is which.
pub struct Mapping<'a> {
    format: Format,
    rename: Option<Rename<'a>>,
}

impl<'a> Mapping<'a> {
    /// Weights of PyTorch.
    pub fn pytorch() -> Mapping<'a> {
        Mapping { format: Format::PyTorch, rename: None }
    }

    /// Weights of Keras, in its default layout (`channels_last`).
    pub fn keras() -> Mapping<'a> {
        Mapping { format: Format::Keras, rename: None }
    }

    /// Says which layer is which: the function gets the name of a layer of the model (such as `conv2d_1`, or
    /// `sequential.conv2d` inside another model) and gives that of the file's, what its parameters' names begin with
    /// (such as `features.3`).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::io::import::{Mapping, Weights};
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
    /// let weights = Weights::new(
    ///     "by hand",
    ///     vec![
    ///         ("head.fc.weight".into(), Tensor::ones([2, 3], Device::Cpu)?),
    ///         ("head.fc.bias".into(), Tensor::zeros([2], Device::Cpu)?),
    ///     ],
    /// );
    /// let mapping = Mapping::pytorch().rename(|layer| layer.replace("dense", "head.fc"));
    /// model.import_weights(&weights, &mapping)?;
    /// assert_eq!(model.infer(&Tensor::ones([1, 3], Device::Cpu)?)?.to_vec::<f32>()?, [3.0, 3.0]);
    /// # Ok(()) }
    /// ```
    pub fn rename(mut self, rename: impl Fn(&str) -> String + 'a) -> Mapping<'a> {
        self.rename = Some(Box::new(rename));
        self
    }
}

impl std::fmt::Debug for Mapping<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let renamed = if self.rename.is_some() { ", renamed" } else { "" };
        write!(f, "Mapping({:?}{renamed})", self.format)
    }
}

impl Model {
    /// Sets all weights to those of a file of PyTorch or Keras; see [the module](crate::io::import).
    ///
    /// # Errors
    ///
    /// A layer has no counterpart there, it isn't certain which layer is which, or something is missing, not needed, or of
    /// another shape: the error lists all of it, and nothing is changed.
    pub fn import_weights(&self, weights: &Weights, mapping: &Mapping) -> Result<()> {
        use crate::nn::Module;
        let values = matching::values(self, weights, mapping.format, mapping.rename.as_deref())?;
        let device = self.device();
        let place = |(parameter, array)| Ok((parameter, Tensor::place(array, device)?));
        let values =
            values.into_iter().map(place).collect::<Result<Vec<(crate::nn::Parameter, Tensor)>>>()?;
        values.into_iter().try_for_each(|(parameter, value)| parameter.variable.set(value))
    }

    /// Writes a safetensors file that PyTorch loads into the same architecture:
    /// `torch_model.load_state_dict(safetensors.torch.load_file(path))`. Layers have the model's names; to have PyTorch's,
    /// use [`export_pytorch_as`](Self::export_pytorch_as).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::io::import::{self, Mapping};
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-torch-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("w.safetensors");
    /// let model = Sequential::new().add_named("fc", Dense::new(2)).build([3], Device::Cpu)?;
    /// model.export_pytorch(&path)?;
    /// let weights = import::pytorch(&path)?;
    /// assert_eq!(weights.get("fc.weight").map(|w| w.dims().to_vec()), Some(vec![2, 3]));
    /// model.import_weights(&weights, &Mapping::pytorch())?;
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A layer has no counterpart in PyTorch (the error lists all of them), or the file can't be written.
    pub fn export_pytorch(&self, path: impl AsRef<Path>) -> Result<()> {
        self.export_pytorch_as(path, str::to_string)
    }

    /// As [`export_pytorch`](Self::export_pytorch), with names of layers that the function gives: from `conv2d` to
    /// `features.0`, for example.
    ///
    /// # Errors
    ///
    /// As [`export_pytorch`](Self::export_pytorch), or two layers get one name.
    pub fn export_pytorch_as(&self, path: impl AsRef<Path>, rename: impl Fn(&str) -> String) -> Result<()> {
        let path = path.as_ref();
        let leaves = self.leaves()?;
        let targets = matching::targets(Format::PyTorch, &leaves).map_err(|problems| {
            let message = format!("PyTorch has no counterpart for:\n  {}", problems.join("\n  "));
            Error::data(path.display().to_string(), message)
        })?;
        let mut tensors = Vec::new();
        for target in &targets {
            let layer = rename(&target.leaf.path);
            for slot in &target.slots {
                let value = slot.parameter.variable.value().to_device(Device::Cpu)?;
                let name = slot.names.first().copied().unwrap_or_default();
                let name = if layer.is_empty() { name.to_string() } else { format!("{layer}.{name}") };
                tensors.push((name, slot.change.export(&value)?));
            }
        }
        let metadata = [("format".to_string(), "pt".to_string())].into();
        super::save_tensors_with(path, &tensors, &metadata)
    }
}

/// The weights of a file that PyTorch users write: a `.safetensors` file, or what `torch.save(model.state_dict(), path)`
/// writes (with the feature `import`). Nothing in the file is ever run. Dictionaries in dictionaries, as in checkpoints, give
/// names joined by dots; see [`Weights::under`].
///
/// # Errors
///
/// The file can't be read, is neither or is damaged, or holds an element type that wgrad lacks.
pub fn pytorch(path: impl AsRef<Path>) -> Result<Weights> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    pytorch_of(&content, &budget)
}

pub(super) fn pytorch_of(content: &[u8], budget: &Budget) -> Result<Weights> {
    let source = budget.name();
    let wrong = |message: String| Error::data(source, message);
    let zip = content.starts_with(b"PK");
    // A safetensors file may begin with any byte, but has a brace behind the eight bytes of a length.
    let pickle = matches!(content.first(), Some(b'L' | 0x80)) && content.get(8) != Some(&b'{');
    #[cfg(not(feature = "import"))]
    if zip || pickle {
        return Err(wrong(
            "is a file of torch.save, which the feature \"import\" reads; save it as .safetensors".into(),
        ));
    }
    #[cfg(feature = "import")]
    if zip || pickle {
        let arrays = if zip { torch::read(content, budget) } else { torch::read_older(content, budget) };
        return Ok(Weights::new(source, placed(arrays.map_err(wrong)?)?));
    }
    let arrays = super::safetensors::arrays_of(content, budget)
        .map_err(|e| wrong(format!("{e} (nor is it one of torch.save)")))?;
    Ok(Weights { ordered: false, ..Weights::new(source, placed(arrays)?) })
}

fn placed(arrays: Vec<(String, Array)>) -> Result<Vec<(String, Tensor)>> {
    arrays.into_iter().map(|(name, array)| Ok((name, Tensor::place(array, Device::Cpu)?))).collect()
}

/// The weights of a file that Keras users write: `.weights.h5`, `.keras`, `.h5` (of Keras 2 and 3), or a `.npz` of arrays
/// named by `w.path`. Needs the feature `import`.
///
/// # Errors
///
/// The file can't be read, is none of these or is damaged, or uses a part of HDF5 that neither Keras nor h5py do by
/// themselves.
#[cfg(feature = "import")]
pub fn keras(path: impl AsRef<Path>) -> Result<Weights> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    keras_of(&content, &budget)
}

#[cfg(feature = "import")]
pub(super) fn keras_of(content: &[u8], budget: &Budget) -> Result<Weights> {
    const WEIGHTS: &str = "model.weights.h5";
    let source = budget.name();
    let wrong = |message: String| Error::data(source, message);
    let inner;
    let hdf5 = if content.starts_with(b"PK") {
        let mut archive = super::zip::Archive::open(content, budget).map_err(wrong)?;
        let names = archive.names().map_err(wrong)?;
        if !names.iter().any(|n| n == WEIGHTS) {
            if names.iter().any(|n| n.ends_with(".npy")) {
                drop(archive);
                return Ok(Weights::new(source, super::npz::usable(content, Device::Cpu, budget)?));
            }
            return Err(wrong(format!("is a zip archive without {WEIGHTS} and without .npy files")));
        }
        inner = archive.read(WEIGHTS).map_err(wrong)?;
        &inner
    } else {
        content
    };
    let found = hdf5::read(hdf5, budget).map_err(wrong)?;
    // A whole model in the older form has the layer's name before the full name of the weight, which begins with the model's.
    let older = |name: String| match name.strip_prefix("model_weights/") {
        Some(rest) => match (rest.split_once('/'), rest.rsplit_once('/')) {
            (Some((layer, _)), Some((_, weight))) => format!("{layer}/{weight}"),
            _ => name,
        },
        None => name,
    };
    let arrays = found.arrays.into_iter().map(|(name, array)| (older(name), array)).collect();
    let label = |(path, name): (String, String)| Some((path.strip_suffix("/vars")?.to_string(), name));
    let labels = found.names.into_iter().filter_map(label).collect();
    Ok(Weights { ordered: false, labels, ..Weights::new(source, placed(arrays)?) })
}
