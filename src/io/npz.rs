//! NumPy's `.npz` files: several arrays by name (feature `import`).
//!
//! ```
//! # use wgrad::prelude::*;
//! use wgrad::io::npz;
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("wgrad-doc-npz-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).ok();
//! # let path = folder.join("data.npz");
//! let (x, y) = (Tensor::ones([2, 3], Device::Cpu)?, Tensor::new([0u8, 1], Device::Cpu)?);
//! npz::save(&path, &[("x".into(), x), ("y".into(), y)])?; // np.savez(path, x=x, y=y)
//! let arrays = npz::load(&path, Device::Cpu)?; // np.load(path)
//! assert_eq!((arrays[0].0.as_str(), arrays[1].1.to_vec::<u8>()?), ("x", vec![0, 1]));
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok(()) }
//! ```

use super::budget::{self, Budget};
use super::{npy, zip};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::write_whole_with;
use crate::tensor::Tensor;
use std::collections::HashSet;
use std::path::Path;

/// Writes named tensors as `np.savez` does, in their order. The file appears whole or not at all.
///
/// # Errors
///
/// A tensor can't be computed, two have one name, or the file can't be written.
pub fn save(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    let path = path.as_ref();
    let wrong = |message: String| Error::data(path.display().to_string(), message);
    let mut names = HashSet::new();
    let mut files = Vec::new();
    for (name, tensor) in tensors {
        if name.is_empty() || !names.insert(name) {
            return Err(wrong(format!("{name:?} can't be a name here: names must be unique and not empty")));
        }
        files.push((format!("{name}.npy"), npy::Encoded::of(tensor)?));
    }
    write_whole_with(path, |file| zip::pack(&files, file))
}

/// All arrays of a file that `np.savez` or `np.savez_compressed` wrote, by name and in its order, on a device. For element
/// types see [`Tensor::load_npy`]. What that doesn't take, such as text beside the numbers, is left out; [`read`] says what
/// and why.
///
/// # Errors
///
/// The file can't be read, is no `.npz` file or is damaged, or holds nothing that [`Tensor::load_npy`] takes.
pub fn load(path: impl AsRef<Path>, device: Device) -> Result<Vec<(String, Tensor)>> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    usable(&content, device, &budget)
}

/// The arrays of a file's content that can be read; an error where all can't.
pub(super) fn usable(content: &[u8], device: Device, budget: &Budget) -> Result<Vec<(String, Tensor)>> {
    let arrays = decode(content, device, budget)?;
    if arrays.tensors.is_empty() && !arrays.unusable.is_empty() {
        let list: Vec<String> =
            arrays.unusable.iter().map(|(name, why)| format!("\n  {name} {why}")).collect();
        return Err(Error::data(arrays.source, format!("holds no array that can be read:{}", list.concat())));
    }
    Ok(arrays.tensors)
}

/// What a `.npz` file holds: see [`read`], where there is an example.
#[derive(Clone, Debug)]
pub struct Arrays {
    source: String,
    tensors: Vec<(String, Tensor)>,
    unusable: Vec<(String, String)>,
}

impl Arrays {
    /// The arrays by name, in the file's order.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// The names of what can't be read, each with the reason.
    pub fn unusable(&self) -> &[(String, String)] {
        &self.unusable
    }

    /// An array by its name.
    ///
    /// # Errors
    ///
    /// The file has none of that name, or one that can't be read: the error says why.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        if let Some((_, tensor)) = self.tensors.iter().find(|(n, _)| n == name) {
            return Ok(tensor);
        }
        let message = match self.unusable.iter().find(|(n, _)| n == name) {
            Some((_, why)) => format!("{name} {why}"),
            None => {
                let names: Vec<&str> = self.tensors.iter().map(|(n, _)| n.as_str()).collect();
                format!("has no array {name:?}; it has {}", names.join(", "))
            }
        };
        Err(Error::data(&self.source, message))
    }
}

/// As [`load`], with what can't be read beside what can: one array of text does not keep the numbers from being read.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::io::npz;
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-npz-read-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).ok();
/// # let path = folder.join("data.npz");
/// npz::save(&path, &[("x".into(), Tensor::ones([2, 3], Device::Cpu)?)])?;
/// let arrays = npz::read(&path, Device::Cpu)?;
/// assert_eq!(arrays.get("x")?.dims(), [2, 3]);
/// assert!(arrays.unusable().is_empty() && arrays.get("y").is_err());
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The file can't be read, or is no `.npz` file or is damaged.
pub fn read(path: impl AsRef<Path>, device: Device) -> Result<Arrays> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    decode(&content, device, &budget)
}

/// The arrays of a file's content.
pub(super) fn decode(content: &[u8], device: Device, budget: &Budget) -> Result<Arrays> {
    let wrong = |message: String| Error::data(budget.name(), message);
    let mut archive = zip::Archive::open(content, budget).map_err(wrong)?;
    let mut arrays = Arrays { source: budget.name().into(), tensors: Vec::new(), unusable: Vec::new() };
    for file in archive.names().map_err(wrong)? {
        let Some(name) = file.strip_suffix(".npy") else {
            arrays.unusable.push((file, "is no .npy file".into()));
            continue;
        };
        match npy::decode(&archive.read(&file).map_err(wrong)?, budget) {
            Ok(array) => {
                let tensor = Tensor::place(array, Device::Cpu)?.to_device(device)?;
                arrays.tensors.push((name.to_string(), tensor));
            }
            // One array's form is its own matter; memory is that of all.
            Err(why) if budget.exceeded() => return Err(wrong(format!("{name} {why}"))),
            Err(why) => arrays.unusable.push((name.to_string(), why)),
        }
    }
    Ok(arrays)
}
