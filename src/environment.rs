//! What the process's environment asks for.

use crate::error::{Error, Result};
use std::ffi::OsString;

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The whole number that a variable holds; `None` where it is not set or is empty. `expected`: its unit, and an example.
///
/// # Errors
///
/// It holds no such number.
pub(crate) fn number(name: &str, expected: &str) -> Result<Option<u64>> {
    let Some(given) = variable(name) else { return Ok(None) };
    given.to_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| {
        let message = format!(
            "'{}' is no number: expected a whole number of {expected}; or unset the variable",
            given.to_string_lossy()
        );
        Error::argument(name, message)
    })
}

/// Names that a variable may hold, with what each means.
pub(crate) type Choices = [(&'static str, &'static str)];

/// Which of the choices a variable holds; `None` where it is not set or is empty.
///
/// # Errors
///
/// It holds none of them.
pub(crate) fn choice(name: &str, what: &str, choices: &Choices) -> Result<Option<&'static str>> {
    let Some(given) = variable(name) else { return Ok(None) };
    match choices.iter().find(|(choice, _)| given == *choice) {
        Some((choice, _)) => Ok(Some(choice)),
        None => Err(unknown(name, what, &given.to_string_lossy(), choices)),
    }
}

/// The error of a variable that holds none of its choices.
pub(crate) fn unknown(name: &str, what: &str, given: &str, choices: &Choices) -> Error {
    let list: Vec<String> = choices.iter().map(|(choice, means)| format!("{choice} ({means})")).collect();
    Error::argument(
        name,
        format!("'{given}' names no {what}: use {}, or unset the variable", list.join(", ")),
    )
}
