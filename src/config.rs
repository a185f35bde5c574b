//! Settings as JSON.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Settings of a layer, a model, an optimizer or a schedule: JSON, whose text is what [`Display`](fmt::Display) writes and
/// [`parse`](str::parse) reads.
///
/// ```
/// use wgrad::Config;
/// use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Adam::new(1e-3).betas(0.8, 0.9).config();
/// assert_eq!((config.get("name"), config.get("beta1")), (Some("Adam".to_string()), Some(0.8)));
/// let again: Config = config.to_string().parse()?;
/// assert_eq!(wgrad::optim::from_config(&again)?.config(), config);
/// # Ok(()) }
/// ```
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
#[must_use]
pub struct Config(pub(crate) Value);

impl Config {
    /// The settings that a type is written down as; fields that are private, too.
    ///
    /// # Errors
    ///
    /// JSON can't hold the value: keys of a map that are no text, say.
    pub fn of(settings: &(impl Serialize + ?Sized)) -> Result<Config> {
        serde_json::to_value(settings).map(Config).map_err(|e| Error::argument("Config::of", e.to_string()))
    }

    /// The type that was written down.
    ///
    /// # Errors
    ///
    /// The settings are of something else; the error says what differs.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.0).map_err(|e| Error::argument("Config::read", format!("{e}, in {self}")))
    }

    /// One of the settings; `None` where there is none of this name and type. `get::<Config>` gives it as it is.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }

    /// The same settings with another one, or with one of them changed.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of); or these are no settings by name, but a list, say.
    pub fn with(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<Config> {
        if self.0.is_null() {
            self.0 = Value::Object(Default::default());
        }
        let value = Config::of(value)?.0;
        match &mut self.0 {
            Value::Object(settings) => drop(settings.insert(name.into(), value)),
            other => {
                let message = format!("{other} has no settings by name; expected a JSON object");
                return Err(Error::argument("Config::with", message));
            }
        }
        Ok(self)
    }
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(text: &str) -> Result<Config> {
        serde_json::from_str(text).map(Config).map_err(|e| Error::argument("Config", format!("no JSON: {e}")))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_changed_and_refused() -> Result<()> {
        let config = Config::default().with("units", &10)?.with("name", "dense")?;
        assert_eq!(config.to_string(), r#"{"name":"dense","units":10}"#);
        assert_eq!(format!("{config:?}"), config.to_string());
        assert_eq!(config.to_string().parse::<Config>()?, config);
        assert_eq!(config.get::<usize>("units"), Some(10));
        assert_eq!((config.get::<usize>("name"), config.get::<usize>("depth")), (None, None));
        assert_eq!(config.get::<Config>("units").map(|c| c.read::<u8>()).transpose()?, Some(10));
        assert_eq!(config.clone().with("units", &[1, 2])?.get("units"), Some(vec![1, 2]));
        let message = |e: Result<Config>| e.unwrap_err().to_string();
        assert!(message(Config::of(&[1])?.with("units", &1)).contains("[1] has no settings by name"));
        assert!(message("{".parse()).contains("no JSON"));
        assert!(config.read::<Vec<u8>>().unwrap_err().to_string().contains(r#"in {"name":"dense""#));
        Ok(())
    }
}
