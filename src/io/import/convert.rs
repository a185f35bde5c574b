//! From another framework's weights to a model's, and back.

use super::matching;
use super::packed;
use super::slots::Format;
use super::weights::Weights;
use crate::cpu::Array;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::save_tensors_with;
use crate::nn::{Model, Module, Parameter, leaves_of};
use crate::tensor::Tensor;
use std::path::Path;

/// From the name of a model's layer to that of the file's.
type Rename<'a> = Box<dyn Fn(&str) -> String + 'a>;

/// How another framework's weights become a model's: what it calls parameters, how it lays them out, which layer is which. See
/// [`rename`](Mapping::rename) for an example.
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

/// Gives parameters their values, all of which are on the device first.
fn set(values: Vec<(Parameter, Array)>, device: Device) -> Result<()> {
    let place = |(parameter, array)| Ok((parameter, Tensor::place(array, device)?));
    let values = values.into_iter().map(place).collect::<Result<Vec<(Parameter, Tensor)>>>()?;
    values.into_iter().try_for_each(|(parameter, value)| parameter.variable.set(value))
}

impl Weights {
    /// Sets all weights of a module of one's own to these, as [`Model::import_weights`] does those of a model: each of its models and
    /// layers ([`Build::layer`](crate::nn::Build::layer)) by the names that [`summary`](Module::summary) shows. How these read each other
    /// is the business of its `forward`: which layer is which has to follow from names ([`Mapping::rename`]) or shapes. A parameter of
    /// its own, a field `scale: Variable`, takes the array of its name and shape.
    ///
    /// What each model or layer reads is taken to stand there as it does here. A [`Dense`](crate::nn::Dense) that reads an image which
    /// `forward` flattens does not: put both into one [`Sequential`](crate::nn::Sequential), as PyTorch has the rows of such a weight in
    /// another order. Where a layer gives an image of as many numbers as such a `Dense` reads, that is an error; one that is pooled and
    /// flattened by `forward` can't be seen.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::io::import::{Mapping, Weights};
    /// use wgrad::nn::{Build, Built, Context};
    ///
    /// #[derive(Module)]
    /// struct Net {
    ///     fc: Built,
    ///     scale: Variable,
    /// }
    ///
    /// impl Net {
    ///     fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
    ///         self.fc.forward(x, cx)? * &self.scale
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let mut cx = Build::new(Device::Cpu, 1);
    /// let net = Net { fc: cx.layer(Dense::new(2), [3])?, scale: cx.full([1], 1.0)? };
    /// let weights = Weights::new(
    ///     "by hand", // or import::pytorch("net.pt")?
    ///     vec![
    ///         ("fc.weight".into(), Tensor::ones([2, 3], Device::Cpu)?),
    ///         ("fc.bias".into(), Tensor::zeros([2], Device::Cpu)?),
    ///         ("scale".into(), Tensor::full([1], 5.0f32, Device::Cpu)?),
    ///     ],
    /// );
    /// weights.import_into(&net, &Mapping::pytorch())?;
    /// assert_eq!(net.infer(&Tensor::ones([1, 3], Device::Cpu)?)?.to_vec::<f32>()?, [15.0, 15.0]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Model::import_weights`].
    pub fn import_into(&self, module: &(impl Module + ?Sized), mapping: &Mapping) -> Result<()> {
        let (leaves, own) = leaves_of(module)?;
        if mapping.format == Format::PyTorch {
            matching::refuse_flattened(&leaves, self)?;
        }
        let rename = mapping.rename.as_deref();
        let (mut values, rest) = matching::by_name(own, self, rename)?;
        values.extend(matching::values(&leaves, &rest, mapping.format, rename)?);
        set(values, module.device())
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
        let leaves = self.leaves()?;
        set(matching::values(&leaves, weights, mapping.format, mapping.rename.as_deref())?, self.device())
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
        let mut arrays = Vec::new();
        for target in &targets {
            let layer = rename(&target.leaf.path);
            for slot in &target.slots {
                let value = slot.parameter.variable.value().to_device(Device::Cpu)?;
                let name = slot.names.first().copied().unwrap_or_default();
                arrays.push((layer.clone(), name, slot.change.export(&value)?));
            }
        }
        let tensors = packed::together(arrays)?;
        let metadata = [("format".to_string(), "pt".to_string())].into();
        save_tensors_with(path, &tensors, &metadata)
    }
}
