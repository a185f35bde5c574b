//! Optimizers by name: from the settings in a file to an optimizer.

use super::lookahead::Lookahead;
use super::optimizer::Optimizer;
use super::swa::Swa;
use super::{adadelta, adagrad, adam, adamax, ftrl, fused, lamb, lion, nadam, rmsprop, sgd};
use crate::config::Config;
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

const OP: &str = "optim::from_config";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfLookahead {
    #[serde(rename = "name")]
    _name: String,
    optimizer: Value,
    period: u64,
    slow_step: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfSwa {
    #[serde(rename = "name")]
    _name: String,
    optimizer: Value,
    start: u64,
    every: u64,
}

/// An optimizer with the settings that [`Optimizer::config`] gave, or with some of them: `name` and `learning_rate` are
/// needed, all others have defaults.
///
/// ```
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let config = Adam::new(1e-3).betas(0.8, 0.9).clip_norm(1.0).config();
/// let again = wgrad::optim::from_config(&config)?;
/// assert_eq!(again.config(), config);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// There is no optimizer of this name, or no such setting; or the settings are of a schedule of one's own, or of groups of
/// variables, neither of which can be made of JSON.
pub fn from_config(config: &Config) -> Result<Box<dyn Optimizer>> {
    match config.0["name"].as_str().unwrap_or_default() {
        "Sgd" => fused::from_config::<sgd::SgdRule>(config),
        "Adam" => fused::from_config::<adam::AdamRule>(config),
        "AdamW" => fused::from_config::<adam::AdamWRule>(config),
        "RmsProp" => fused::from_config::<rmsprop::RmsPropRule>(config),
        "Adagrad" => fused::from_config::<adagrad::AdagradRule>(config),
        "Adadelta" => fused::from_config::<adadelta::AdadeltaRule>(config),
        "Adamax" => fused::from_config::<adamax::AdamaxRule>(config),
        "Ftrl" => fused::from_config::<ftrl::FtrlRule>(config),
        "Lamb" => fused::from_config::<lamb::LambRule>(config),
        "Nadam" => fused::from_config::<nadam::NadamRule>(config),
        "Lion" => fused::from_config::<lion::LionRule>(config),
        "Lookahead" => {
            let of: OfLookahead = config.read().map_err(|e| e.named(OP))?;
            let inner = from_config(&Config(of.optimizer))?;
            Ok(Box::new(Lookahead::new(inner).period(of.period).slow_step(of.slow_step)))
        }
        "Swa" => {
            let of: OfSwa = config.read().map_err(|e| e.named(OP))?;
            Ok(Box::new(Swa::new(from_config(&Config(of.optimizer))?).start(of.start).every(of.every)))
        }
        _ => {
            let message = format!(
                "{config} names no optimizer of wgrad's; its `name` may be Sgd, Adam, AdamW, RmsProp, Adagrad, Adadelta, Adamax, Ftrl, Lamb, Nadam, Lion, Lookahead or Swa"
            );
            Err(Error::argument(OP, message))
        }
    }
}
