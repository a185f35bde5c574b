//! Curves of a training, as SVG.

use super::history::History;
use crate::error::{Error, Result};
use std::path::Path;
pub(super) fn plot(history: &History, path: &Path) -> Result<()> {
    let _ = (history, path);
    Err(Error::argument("History::plot", "not yet"))
}
