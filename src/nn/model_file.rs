//! A whole model in one file: a safetensors file of its weights, with the architecture in the metadata.

use super::weights_file::restore_parameters;
use super::{Layers, Model, Module};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::budget;
use crate::io::safetensors::{metadata_of, parse, tensors_of};
use crate::io::{Metadata, save_tensors_with};
use std::path::Path;

const ARCHITECTURE: &str = "wgrad.architecture";
const CLASSES: &str = "wgrad.classes";
const VERSION: &str = "wgrad.version";

impl Model {
    /// Writes architecture, weights and class names into one file, from which [`load_model`](Self::load_model) makes the
    /// model without its code: Keras's `model.save`. The file is a safetensors file that other tools read the weights
    /// from; it appears whole or not at all.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = std::env::temp_dir().join(format!("wgrad-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).ok();
    /// # let path = folder.join("model.safetensors");
    /// let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?.with_classes(["cat", "dog"]);
    /// model.save_model(&path)?;
    /// let again = Model::load_model(&path, Device::Cpu)?;
    /// assert_eq!(again.classes(), ["cat", "dog"]);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A layer of one's own has no [`config`](crate::nn::Layer::config), or the file can't be written.
    pub fn save_model(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut metadata = Metadata::new();
        metadata.insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
        metadata.insert(ARCHITECTURE.into(), self.config()?.to_string());
        if !self.classes().is_empty() {
            metadata.insert(CLASSES.into(), serde_json::Value::from(self.classes()).to_string());
        }
        let named: Vec<_> = self.parameters().into_iter().map(|p| (p.name, p.variable.value())).collect();
        save_tensors_with(path, &named, &metadata)
    }

    /// The model of a file that [`save_model`](Self::save_model) wrote, on a device; its weights are of the type that they had.
    ///
    /// # Errors
    ///
    /// The file can't be read, holds weights only (then build the model and use [`Module::load`]), or has layers of
    /// one's own (then use [`load_model_with`](Self::load_model_with)); a model in f64 on a GPU.
    pub fn load_model(path: impl AsRef<Path>, device: Device) -> Result<Model> {
        Self::load_model_with(path, device, &Layers::default())
    }

    /// As [`load_model`](Self::load_model), for models with layers of one's own, which [`Layers::with`] makes known.
    ///
    /// # Errors
    ///
    /// As [`load_model`](Self::load_model); or a layer is of none of the kinds in `layers`.
    pub fn load_model_with(path: impl AsRef<Path>, device: Device, layers: &Layers) -> Result<Model> {
        let path = path.as_ref();
        // Read once: what is saved under the name meanwhile is another model.
        let (content, budget) = budget::read_file(path)?;
        let wrong = |message: String| Error::data(budget.name(), message);
        let metadata = metadata_of(&content).map_err(wrong)?;
        let Some(text) = metadata.get(ARCHITECTURE) else {
            return Err(wrong(
                "holds no architecture, only weights; build the model and load them with Module::load".into(),
            ));
        };
        let config = parse(text, "architecture", &budget)?;
        let unset = Model::from_config_unset(&config, layers, device);
        let model = unset.map_err(|e| e.of_file(budget.name()))?;
        restore_parameters(budget.name(), tensors_of(&content, &budget)?, &model.parameters())?;
        let Some(text) = metadata.get(CLASSES) else { return Ok(model) };
        let classes: Vec<String> = serde_json::from_value(parse(text, "list of class names", &budget)?)
            .map_err(|e| wrong(format!("its list of class names is damaged: {e}")))?;
        Ok(model.with_classes(classes))
    }
}
