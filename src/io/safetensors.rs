//! Tensors by name in a safetensors file, the format that Hugging Face's tools, PyTorch and MLX read.

use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::nn::Parameter;
use crate::shape::Shape;
use crate::tensor::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

fn format_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::U32 => Dtype::U32,
        DType::U8 => Dtype::U8,
    }
}

fn own_dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        Dtype::I32 => Some(DType::I32),
        Dtype::U32 => Some(DType::U32),
        Dtype::U8 => Some(DType::U8),
        _ => None,
    }
}

/// The elements of a tensor, little-endian as the format has them.
pub(super) fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    let array = tensor.detach()?.to_host()?.contiguous()?;
    Ok(match tensor.dtype() {
        DType::F32 => array.slice::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => array.slice::<f64>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I32 => array.slice::<i32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => array.slice::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U8 => array.slice::<u8>()?.to_vec(),
    })
}

fn array_of(bytes: &[u8], shape: Shape, dtype: DType) -> Array {
    // The format's lengths were checked when it was parsed: whole elements, as many as the shape needs.
    fn words<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&w| f(w)).collect()
    }
    match dtype {
        DType::F32 => Array::from_vec(words(bytes, f32::from_le_bytes), shape),
        DType::F64 => Array::from_vec(words(bytes, f64::from_le_bytes), shape),
        DType::I32 => Array::from_vec(words(bytes, i32::from_le_bytes), shape),
        DType::U32 => Array::from_vec(words(bytes, u32::from_le_bytes), shape),
        DType::U8 => Array::from_vec(bytes.to_vec(), shape),
    }
}

/// Writes named tensors into a file, which appears whole or not at all: it is written under another name first.
///
/// # Errors
///
/// A tensor can't be computed, two have one name, or the file can't be written.
pub fn save_tensors(path: impl AsRef<Path>, tensors: &[(String, Tensor)]) -> Result<()> {
    save_tensors_with(path, tensors, &Metadata::new())
}

/// What a file says about itself: text by name.
pub type Metadata = BTreeMap<String, String>;

/// As [`save_tensors`], with metadata.
pub fn save_tensors_with(
    path: impl AsRef<Path>,
    tensors: &[(String, Tensor)],
    metadata: &Metadata,
) -> Result<()> {
    let path = path.as_ref();
    let name = || path.display().to_string();
    let mut parts = BTreeMap::new();
    for (key, tensor) in tensors {
        if parts.insert(key.as_str(), (bytes_of(tensor)?, tensor)).is_some() {
            return Err(Error::data(name(), format!("two tensors are named {key}; names must be unique")));
        }
    }
    let mut views = Vec::new();
    for (&key, (bytes, tensor)) in &parts {
        let view = TensorView::new(format_dtype(tensor.dtype()), tensor.dims().to_vec(), bytes);
        views.push((key, view.map_err(|e| Error::data(name(), format!("{key}: {e}")))?));
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let content = safetensors::serialize(views, metadata).map_err(|e| Error::data(name(), e.to_string()))?;
    write_whole(path, &content)
}

/// The metadata of a file; empty where it has none.
///
/// # Errors
///
/// The file can't be read, or is not a safetensors file.
pub fn load_metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    let path = path.as_ref();
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let (_, header) = SafeTensors::read_metadata(&content).map_err(|e| {
        let message = format!("is not a safetensors file, or is damaged: {e}");
        Error::data(path.display().to_string(), message)
    })?;
    Ok(header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// All tensors of a file with their names, sorted by name, on a device.
///
/// # Errors
///
/// The file can't be read, is not a safetensors file or is damaged, or holds an element type that wgrad lacks.
pub fn load_tensors(path: impl AsRef<Path>, device: Device) -> Result<Vec<(String, Tensor)>> {
    let path = path.as_ref();
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let name = || path.display().to_string();
    let file = SafeTensors::deserialize(&content)
        .map_err(|e| Error::data(name(), format!("is not a safetensors file, or is damaged: {e}")))?;
    let mut tensors = Vec::new();
    for (key, view) in file.tensors() {
        let Some(dtype) = own_dtype(view.dtype()) else {
            let message = format!("{key} holds {:?}; f32, f64, i32, u32 and u8 are supported", view.dtype());
            return Err(Error::data(name(), message));
        };
        let array = array_of(view.data(), Shape::new(view.shape())?, dtype);
        tensors.push((key, Tensor::place(array, Device::Cpu)?.to_device(device)?));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// Writes parameters by name; see [`save_tensors`].
pub fn save_parameters(path: impl AsRef<Path>, parameters: &[Parameter]) -> Result<()> {
    let named: Vec<_> = parameters.iter().map(|p| (p.name.clone(), p.variable.value())).collect();
    save_tensors(path, &named)
}

/// Sets parameters by name from a file. Nothing is changed unless everything agrees.
///
/// # Errors
///
/// As [`load_tensors`]; or names, shapes or types of file and parameters differ: the error lists every difference.
pub fn load_parameters(path: impl AsRef<Path>, parameters: &[Parameter]) -> Result<()> {
    let path = path.as_ref();
    let tensors = load_tensors(path, Device::Cpu)?;
    for (parameter, tensor) in match_parameters(&path.display().to_string(), tensors, parameters)? {
        parameter.variable.set(tensor)?;
    }
    Ok(())
}

/// Each parameter with its tensor of a file, on its device; or one error that lists every difference.
pub(super) fn match_parameters<'a>(
    file: &str,
    tensors: Vec<(String, Tensor)>,
    parameters: &'a [Parameter],
) -> Result<Vec<(&'a Parameter, Tensor)>> {
    let mut tensors: BTreeMap<String, Tensor> = tensors.into_iter().collect();
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for parameter in parameters {
        let name = &parameter.name;
        let value = parameter.variable.value();
        let Some(tensor) = tensors.remove(name) else {
            problems.push(format!("{name} {} is not in the file", value.shape()));
            continue;
        };
        if tensor.shape() != value.shape() {
            problems.push(format!(
                "{name} is {} in the file, {} in the model",
                tensor.shape(),
                value.shape()
            ));
        } else if tensor.dtype() != value.dtype() {
            problems.push(format!(
                "{name} is {} in the file, {} in the model",
                tensor.dtype(),
                value.dtype()
            ));
        } else {
            found.push((parameter, tensor.to_device(value.device())?));
        }
    }
    problems.extend(
        tensors.iter().map(|(name, t)| format!("the file's {name} {} is not in the model", t.shape())),
    );
    if !problems.is_empty() {
        let message = format!(
            "does not fit the model; {} difference{}:\n  {}",
            problems.len(),
            if problems.len() == 1 { "" } else { "s" },
            problems.join("\n  ")
        );
        return Err(Error::data(file, message));
    }
    Ok(found)
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
        assert_eq!(loaded.len(), tensors.len());
        for ((name, before), (other, after)) in tensors.iter().zip(&loaded) {
            assert_eq!((name, before.shape(), before.dtype()), (other, after.shape(), after.dtype()));
            assert_eq!(super::bytes_of(before).unwrap(), super::bytes_of(after).unwrap());
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
