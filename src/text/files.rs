//! Vocabularies and settings in files.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::io::budget::{self, Budget};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// With the kind beside the settings, so that a file of something else says what it is.
pub(super) fn save(kind: &str, settings: &impl Serialize, path: &Path) -> Result<()> {
    let config = Config::default().with("kind", kind)?.with("settings", settings)?;
    write_whole(path, config.to_string().as_bytes())
}

pub(super) fn load<T: DeserializeOwned>(
    kind: &str,
    path: &Path,
    check: impl FnOnce(&T) -> Result<()>,
) -> Result<T> {
    let (text, budget) = text(path)?;
    let wrong = |message: String| Error::data(budget.name(), message);
    let config: Config = text.parse().map_err(|e: Error| e.of_file(budget.name()))?;
    match config.get::<String>("kind") {
        Some(found) if found == kind => {}
        Some(found) => return Err(wrong(format!("holds a {found}, not a {kind}"))),
        None => return Err(wrong(format!("holds no {kind}: expected what {kind}::save writes"))),
    }
    let settings = config.get::<Config>("settings").unwrap_or_default();
    let made: T = settings.read().map_err(|e| e.of_file(budget.name()))?;
    check(&made).map_err(|e| e.of_file(budget.name()))?;
    Ok(made)
}

fn text(path: &Path) -> Result<(String, Budget)> {
    let (content, budget) = budget::read_file(path)?;
    match String::from_utf8(content) {
        Ok(text) => Ok((text, budget)),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            Err(Error::data(budget.name(), format!("is no UTF-8 (at byte {at}); save it as UTF-8")))
        }
    }
}

pub(super) fn save_lines(op: &str, words: &[String], path: &Path) -> Result<()> {
    if let Some(word) = words.iter().find(|word| word.contains(['\n', '\r'])) {
        let message =
            format!("the word {word:?} has a line's end in it, so that lines can't hold the words; use save");
        return Err(Error::argument(op, message));
    }
    let mut lines = words.join("\n");
    lines.push('\n');
    write_whole(path, lines.as_bytes())
}

/// One word a line, of whatever system's lines; empty lines at the end are none.
pub(super) fn load_lines(path: &Path) -> Result<Vec<String>> {
    let (text, _) = text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut words: Vec<String> = text.lines().map(String::from).collect();
    while words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    Ok(words)
}
