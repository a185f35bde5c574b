//! NumPy's `.npz` files: several arrays by name.
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

use super::{npy, zip};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::tensor::Tensor;
use std::path::Path;

/// Writes named tensors as `np.savez` does, in their order. The file appears whole or not at all.
///
/// # Errors
///
/// A tensor can't be computed, two have one name, or the file can't be written.
pub fn save(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    let path = path.as_ref();
    let wrong = |message: String| Error::data(path.display().to_string(), message);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, tensor) in tensors {
        let file = format!("{name}.npy");
        if name.is_empty() || files.iter().any(|(other, _)| *other == file) {
            return Err(wrong(format!("{name:?} can't be a name here: names must be unique and not empty")));
        }
        files.push((file, npy::encode(tensor)?));
    }
    write_whole(path, &zip::pack(&files).map_err(|e| wrong(e.to_string()))?)
}

/// All arrays of a file that `np.savez` or `np.savez_compressed` wrote, by name and in its order, on a device. For element
/// types see [`Tensor::load_npy`].
///
/// # Errors
///
/// The file can't be read, is no `.npz` file or is damaged, or holds something that [`Tensor::load_npy`] doesn't take.
pub fn load(path: impl AsRef<Path>, device: Device) -> Result<Vec<(String, Tensor)>> {
    let path = path.as_ref();
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let wrong = |message: String| Error::data(path.display().to_string(), message);
    let mut archive = zip::Archive::open(&content).map_err(wrong)?;
    let mut tensors = Vec::new();
    for file in archive.names().map_err(wrong)? {
        let Some(name) = file.strip_suffix(".npy") else {
            return Err(wrong(format!("holds {file}, which is no .npy file")));
        };
        let array = npy::decode(&archive.read(&file).map_err(wrong)?);
        let array = array.map_err(|e| wrong(format!("{name} {e}")))?;
        tensors.push((name.to_string(), Tensor::place(array, Device::Cpu)?.to_device(device)?));
    }
    Ok(tensors)
}
