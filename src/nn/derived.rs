//! What `#[derive(Module)]` calls: not for others, and may change.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// The output of a module with these, where there is one.
pub fn one_of(mut outputs: Vec<Tensor>, names: &[String]) -> Result<Tensor> {
    match (outputs.pop(), outputs.is_empty()) {
        (Some(y), true) => Ok(y),
        _ => {
            let message = format!("the model has the outputs {}; use forward_all", names.join(", "));
            Err(Error::argument("Module::forward", message))
        }
    }
}

/// The error of a module that is a collection of others.
pub fn no_forward(name: &str) -> Error {
    let message = format!("{name} has no forward (#[module(no_forward)]); call the modules in it");
    Error::argument("Module::forward", message)
}
