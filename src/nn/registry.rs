//! Layers by kind: from the settings in a file to a layer.

use super::{Activation, AvgPool2d, Conv2d, Dense, Dropout, Flatten, Layer, MaxPool2d, Reshape};
use crate::data::Augment;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

type Make = fn(&Value) -> serde_json::Result<Box<dyn Layer>>;

/// The kinds of layers that a model can be loaded with: all of wgrad's, and those that were added.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Layer, Layers};
/// # fn main() -> Result<()> {
/// let config = Dense::new(10).config()?;
/// let again = Layers::default().make("Dense", &config)?;
/// assert_eq!(again.details(), "10");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Layers {
    makers: BTreeMap<&'static str, Make>,
}

impl Layers {
    /// As well layers of a kind of one's own, whose [`Layer::config`] gives what `Deserialize` reads.
    pub fn with<L: Layer + DeserializeOwned + 'static>(mut self, kind: &'static str) -> Layers {
        self.makers.insert(kind, |value| Ok(Box::new(L::deserialize(value)?)));
        self
    }

    /// A layer of a kind with these settings.
    ///
    /// # Errors
    ///
    /// The kind is unknown, or its settings are others.
    pub fn make(&self, kind: &str, config: &Value) -> Result<Box<dyn Layer>> {
        let Some(make) = self.makers.get(kind) else {
            let known: Vec<&str> = self.makers.keys().copied().collect();
            let message = format!(
                "no layer of kind {kind} is known; add it with Layers::with. Known are {}",
                known.join(", ")
            );
            return Err(Error::argument("Layers::make", message));
        };
        make(config).map_err(|e| Error::argument("Layers::make", format!("settings of a {kind}: {e}")))
    }
}

impl Default for Layers {
    fn default() -> Layers {
        Layers { makers: BTreeMap::new() }
            .with::<Activation>("Activation")
            .with::<Augment>("Augment")
            .with::<AvgPool2d>("AvgPool2d")
            .with::<Conv2d>("Conv2d")
            .with::<Dense>("Dense")
            .with::<Dropout>("Dropout")
            .with::<Flatten>("Flatten")
            .with::<MaxPool2d>("MaxPool2d")
            .with::<Reshape>("Reshape")
    }
}
