//! Files of PyTorch and Keras, told by their content.

#[cfg(feature = "import")]
use super::hdf5;
#[cfg(feature = "import")]
use super::torch;
use super::weights::Weights;
use crate::cpu::Array;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::budget::{self, Budget};
use crate::io::safetensors;
#[cfg(feature = "import")]
use crate::io::{npz, zip};
use crate::tensor::Tensor;
use std::path::Path;

/// The weights of a file that PyTorch users write: a `.safetensors` file, or what `torch.save(model.state_dict(), path)`
/// writes (with the feature `import`). Nothing in the file is ever run. Dictionaries in dictionaries, as in checkpoints, give
/// names joined by dots; see [`Weights::under`].
///
/// # Errors
///
/// The file can't be read, is neither or is damaged, or holds an element type that wgrad lacks.
pub fn pytorch(path: impl AsRef<Path>) -> Result<Weights> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    pytorch_of(&content, &budget)
}

/// As [`pytorch`], of a file's content: one that is part of the program, by `include_bytes!`, or that came over a network. Errors call
/// it by this name.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::io::import::{self, Mapping};
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-bytes-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).ok();
/// # let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu)?;
/// # model.export_pytorch(folder.join("w.safetensors"))?;
/// # let content = std::fs::read(folder.join("w.safetensors")).map_err(|e| Error::io("w.safetensors", e))?;
/// // static CONTENT: &[u8] = include_bytes!("w.safetensors");
/// model.import_weights(&import::pytorch_bytes("w.safetensors", &content)?, &Mapping::pytorch())?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`pytorch`], but for those of reading a file.
pub fn pytorch_bytes(name: impl Into<String>, content: &[u8]) -> Result<Weights> {
    pytorch_of(content, &Budget::of(name, content.len()))
}

pub(super) fn pytorch_of(content: &[u8], budget: &Budget) -> Result<Weights> {
    let source = budget.name();
    let wrong = |message: String| Error::data(source, message);
    let zip = content.starts_with(b"PK");
    // A safetensors file may begin with any byte, but has a brace behind the eight bytes of a length.
    let pickle = matches!(content.first(), Some(b'L' | 0x80)) && content.get(8) != Some(&b'{');
    #[cfg(not(feature = "import"))]
    if zip || pickle {
        return Err(wrong(
            "is a file of torch.save, which the feature \"import\" reads; save it as .safetensors".into(),
        ));
    }
    #[cfg(feature = "import")]
    if zip || pickle {
        let arrays = if zip { torch::read(content, budget) } else { torch::read_older(content, budget) };
        return Ok(Weights::new(source, placed(arrays.map_err(wrong)?)?));
    }
    let arrays = safetensors::arrays_of(content, budget)
        .map_err(|e| wrong(format!("{e} (nor is it one of torch.save)")))?;
    Ok(Weights { ordered: false, ..Weights::new(source, placed(arrays)?) })
}

fn placed(arrays: Vec<(String, Array)>) -> Result<Vec<(String, Tensor)>> {
    arrays.into_iter().map(|(name, array)| Ok((name, Tensor::place(array, Device::Cpu)?))).collect()
}

/// The weights of a file that Keras users write: `.weights.h5`, `.keras`, `.h5` (of Keras 2 and 3), or a `.npz` of arrays
/// named by `w.path`. Needs the feature `import`.
///
/// # Errors
///
/// The file can't be read, is none of these or is damaged, or uses a part of HDF5 that neither Keras nor h5py do by
/// themselves.
#[cfg(feature = "import")]
pub fn keras(path: impl AsRef<Path>) -> Result<Weights> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    keras_of(&content, &budget)
}

#[cfg(feature = "import")]
pub(super) fn keras_of(content: &[u8], budget: &Budget) -> Result<Weights> {
    const WEIGHTS: &str = "model.weights.h5";
    let source = budget.name();
    let wrong = |message: String| Error::data(source, message);
    let inner;
    let hdf5 = if content.starts_with(b"PK") {
        let mut archive = zip::Archive::open(content, budget).map_err(wrong)?;
        let names = archive.names().map_err(wrong)?;
        if !names.iter().any(|n| n == WEIGHTS) {
            if names.iter().any(|n| n.ends_with(".npy")) {
                drop(archive);
                return Ok(Weights::new(source, npz::usable(content, Device::Cpu, budget)?));
            }
            return Err(wrong(format!("is a zip archive without {WEIGHTS} and without .npy files")));
        }
        inner = archive.read(WEIGHTS).map_err(wrong)?;
        &inner
    } else {
        content
    };
    let found = hdf5::read(hdf5, budget).map_err(wrong)?;
    // A whole model in the older form has the layer's name before the full name of the weight, which begins with the model's.
    let older = |name: String| match name.strip_prefix("model_weights/") {
        Some(rest) => match (rest.split_once('/'), rest.rsplit_once('/')) {
            (Some((layer, _)), Some((_, weight))) => format!("{layer}/{weight}"),
            _ => name,
        },
        None => name,
    };
    let arrays = found.arrays.into_iter().map(|(name, array)| (older(name), array)).collect();
    let label = |(path, name): (String, String)| Some((path.strip_suffix("/vars")?.to_string(), name));
    let labels = found.names.into_iter().filter_map(label).collect();
    Ok(Weights { ordered: false, labels, ..Weights::new(source, placed(arrays)?) })
}
