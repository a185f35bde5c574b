//! Tensors by name in a safetensors file, the format that Hugging Face's tools, PyTorch and MLX read.

use super::budget::{self, Budget};
use super::bytes::Elements;
use super::elements::Stored;
use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::write_whole_with;
use crate::shape::Shape;
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

/// Bytes before the header, which say how long it is.
const LENGTH: usize = 8;
/// As the format's own readers have it.
const LONGEST_HEADER: usize = 100_000_000;

fn format_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

fn stored(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::F8_E4M3 => Stored::F8E4M3,
        Dtype::F8_E5M2 => Stored::F8E5M2,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::F32 => Stored::F32,
        Dtype::F64 => Stored::F64,
        Dtype::I8 => Stored::I8,
        Dtype::I16 => Stored::I16,
        Dtype::I32 => Stored::I32,
        Dtype::I64 => Stored::I64,
        Dtype::U8 => Stored::U8,
        Dtype::U16 => Stored::U16,
        Dtype::U32 => Stored::U32,
        Dtype::U64 => Stored::U64,
        Dtype::BOOL => Stored::Bool,
        _ => return None,
    })
}

/// Writes named tensors into a file, which appears whole or not at all: it is written under another name first.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::io::{load_tensors, save_tensors};
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-tensors-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).ok();
/// # let path = folder.join("tensors.safetensors");
/// save_tensors(&path, &[("mean".into(), Tensor::ones([3], Device::Cpu)?)])?;
/// let tensors = load_tensors(&path, Device::Cpu)?;
/// assert_eq!((tensors[0].0.as_str(), tensors[0].1.to_vec::<f32>()?), ("mean", vec![1.0; 3]));
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// A tensor can't be computed, two have one name, or the file can't be written.
pub fn save_tensors(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    save_tensors_with(path, tensors, &Metadata::new())
}

/// What a file says about itself: text by name.
pub type Metadata = BTreeMap<String, String>;

/// As [`save_tensors`], with metadata, which [`load_metadata`] reads.
///
/// # Errors
///
/// As [`save_tensors`].
pub fn save_tensors_with(
    path: impl AsRef<Path>,
    tensors: &[(String, Tensor)],
    metadata: &Metadata,
) -> Result<()> {
    let path = path.as_ref();
    let wrong = |message: String| Error::data(path.display().to_string(), message);
    let mut parts = BTreeMap::new();
    for (name, tensor) in tensors {
        if parts.insert(name.as_str(), (tensor, Elements::of(tensor)?)).is_some() {
            return Err(wrong(format!("two tensors are named {name}; names must be unique")));
        }
    }
    // Wide types first, so that each begins at a multiple of its size.
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(_, (tensor, _))| std::cmp::Reverse(format_dtype(tensor.dtype())));
    let mut end = 0;
    let mut info = Vec::with_capacity(parts.len());
    for (name, (tensor, elements)) in &parts {
        let (dtype, shape) = (format_dtype(tensor.dtype()), tensor.dims().to_vec());
        info.push((name.to_string(), TensorInfo { dtype, shape, data_offsets: (end, end + elements.len()) }));
        end += elements.len();
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let header = safetensors::tensor::Metadata::new(metadata, info).map_err(|e| wrong(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| wrong(e.to_string()))?;
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    if header.len() > LONGEST_HEADER {
        return Err(wrong(format!(
            "names and metadata take {} bytes, at most {LONGEST_HEADER} can be read",
            header.len()
        )));
    }
    write_whole_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        parts.iter().try_for_each(|(_, (_, elements))| elements.write(file))
    })
}

/// The metadata of a file; empty where it has none.
///
/// # Errors
///
/// The file can't be read, or is not a safetensors file.
pub fn load_metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    metadata_of(&content).map_err(|e| Error::data(budget.name(), e))
}

pub(crate) fn metadata_of(content: &[u8]) -> Result<Metadata, String> {
    let (length, header) = SafeTensors::read_metadata(content).map_err(damaged)?;
    unique(content, length)?;
    Ok(header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// JSON in a file's metadata, within the file's budget.
pub(crate) fn parse(text: &str, what: &str, budget: &Budget) -> Result<serde_json::Value> {
    /// What a map takes, however small: room for eleven entries.
    const MAP: usize = 700;
    /// What any other value takes, for each character that it is written with.
    const VALUE: usize = 16;
    let maps = text.bytes().filter(|b| *b == b'{').count();
    budget.charge(maps.saturating_mul(MAP).saturating_add(text.len().saturating_mul(VALUE)))?;
    serde_json::from_str(text).map_err(|e| Error::data(budget.name(), format!("its {what} is damaged: {e}")))
}

fn damaged(e: impl std::fmt::Display) -> String {
    format!("is not a safetensors file, or is damaged: {e}")
}

/// That no name stands twice in the header, whose length is known: of two tensors of one name, which is meant?
fn unique(content: &[u8], length: usize) -> Result<(), String> {
    let header = content.get(LENGTH..).and_then(|rest| rest.get(..length)).unwrap_or_default();
    serde_json::from_slice::<Unique>(header).map(drop).map_err(damaged)
}

/// Any JSON in which no object has one name twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        struct UniqueVisitor;
        impl<'de> Visitor<'de> for UniqueVisitor {
            type Value = Unique;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut names = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    map.next_value::<Unique>()?;
                    if names.contains(&name) {
                        return Err(A::Error::custom(format!(
                            "the name {name:?} stands twice in its header"
                        )));
                    }
                    names.insert(name);
                }
                Ok(Unique)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
                while list.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique)
            }
        }
        deserializer.deserialize_any(UniqueVisitor)
    }
}

/// All tensors of a file with their names, sorted by name, on a device. f32, f64, i32, u32 and u8 keep their type; what fits
/// one of them exactly becomes it: floats of 8 and 16 bits f32; i8, i16 and u16 i32; bool u8; i64 and u64 i32, or u32 where
/// all values fit that.
///
/// # Errors
///
/// The file can't be read, is not a safetensors file or is damaged, has a name twice, or holds an element type that wgrad
/// lacks or a 64-bit integer that doesn't fit.
pub fn load_tensors(path: impl AsRef<Path>, device: Device) -> Result<Vec<(String, Tensor)>> {
    let (content, budget) = budget::read_file(path.as_ref())?;
    let to_device = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(device)?));
    tensors_of(&content, &budget)?.into_iter().map(to_device).collect()
}

/// As [`arrays_of`], as tensors on the CPU.
pub(crate) fn tensors_of(content: &[u8], budget: &Budget) -> Result<Vec<(String, Tensor)>> {
    let arrays = arrays_of(content, budget).map_err(|e| Error::data(budget.name(), e))?;
    arrays.into_iter().map(|(name, array)| Ok((name, Tensor::place(array, Device::Cpu)?))).collect()
}

/// The arrays of a safetensors file's content, sorted by name.
pub(super) fn arrays_of(content: &[u8], budget: &Budget) -> Result<Vec<(String, Array)>, String> {
    let (length, _) = SafeTensors::read_metadata(content).map_err(damaged)?;
    unique(content, length)?;
    let file = SafeTensors::deserialize(content).map_err(damaged)?;
    let mut arrays = Vec::new();
    for (name, view) in file.tensors() {
        let Some(stored) = stored(view.dtype()) else {
            return Err(format!(
                "{name} holds {:?}; floats of 8 to 64 bits, integers and bool are supported",
                view.dtype()
            ));
        };
        let shape = Shape::new(view.shape()).map_err(|e| format!("{name}: {e}"))?;
        let array = stored.decode(view.data(), false, shape, budget).map_err(|e| format!("{name} {e}"))?;
        arrays.push((name, array));
    }
    arrays.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    fn model(hidden: usize, seed: u64) -> crate::nn::Model {
        Sequential::new()
            .add(Dense::new(hidden))
            .add(Dense::new(2))
            .seed(seed)
            .build([3], Device::Cpu)
            .unwrap()
    }

    fn values(model: &crate::nn::Model) -> Vec<Vec<f32>> {
        model.parameters().iter().map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect()
    }

    #[test]
    fn weights_come_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let (saved, other) = (model(4, 1), model(4, 2));
        saved.save(&path).unwrap();
        assert_ne!(values(&saved), values(&other));
        other.load(&path).unwrap();
        assert_eq!(values(&saved), values(&other));
        // Saving again replaces the file, and no temporary one stays.
        other.save(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_type_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.safetensors");
        let d = Device::Cpu;
        let tensors = vec![
            (
                "a".to_string(),
                Tensor::new([[1.5f32, f32::NAN], [-0.0, f32::INFINITY]], d).unwrap().transpose().unwrap(),
            ),
            ("b".to_string(), Tensor::new([1.0f64 / 3.0], d).unwrap()),
            ("c".to_string(), Tensor::new([i32::MIN, 7], d).unwrap()),
            ("d".to_string(), Tensor::new([u32::MAX], d).unwrap()),
            ("e".to_string(), Tensor::new([0u8, 255], d).unwrap()),
            ("f".to_string(), Tensor::zeros([0, 3], d).unwrap()),
        ];
        crate::io::save_tensors(&path, &tensors).unwrap();
        let loaded = crate::io::load_tensors(&path, d).unwrap();
        let bytes = |tensor: &Tensor| {
            let mut bytes = Vec::new();
            super::Elements::of(tensor).unwrap().write(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(loaded.len(), tensors.len());
        for ((name, before), (other, after)) in tensors.iter().zip(&loaded) {
            assert_eq!((name, before.shape(), before.dtype()), (other, after.shape(), after.dtype()));
            assert_eq!(bytes(before), bytes(after));
        }
        let twice = [tensors[0].clone(), tensors[0].clone()];
        assert!(
            crate::io::save_tensors(&path, &twice)
                .unwrap_err()
                .to_string()
                .contains("two tensors are named a")
        );
    }

    #[test]
    fn one_error_lists_every_difference_and_nothing_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let mut tensors: Vec<(String, Tensor)> =
            model(5, 1).parameters().into_iter().map(|p| (p.name, p.variable.value())).collect();
        tensors[3] = ("extra".into(), Tensor::zeros([7], Device::Cpu).unwrap());
        crate::io::save_tensors(&path, &tensors).unwrap();
        let target = model(4, 2);
        let before = values(&target);
        let message = target.load(&path).unwrap_err().to_string();
        for part in [
            "weights.safetensors: does not fit the model; 5 differences:",
            "dense.weight is [3, 5] in the file, [3, 4] in the model",
            "dense.bias is [5] in the file, [4] in the model",
            "dense_1.weight is [5, 2] in the file, [4, 2] in the model",
            "dense_1.bias [2] is not in the file",
            "the file's extra [7] is not in the model",
        ] {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
        assert_eq!(before, values(&target));
    }

    #[test]
    fn missing_and_damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        assert!(matches!(model(4, 1).load(&path), Err(Error::Io { .. })));
        model(4, 1).save(&path).unwrap();
        let content = std::fs::read(&path).unwrap();
        std::fs::write(&path, &content[..content.len() - 3]).unwrap();
        assert!(model(4, 1).load(&path).unwrap_err().to_string().contains("damaged"));
        assert!(matches!(model(4, 1).save(folder.path().join("no/such/folder")), Err(Error::Io { .. })));
    }
}
