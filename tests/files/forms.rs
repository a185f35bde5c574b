//! All forms that files of PyTorch, HDF5 and safetensors have, written by tests/golden/forms.py and hdf5.py.

use super::*;
use wgrad::io::import::{self, Weights};
use wgrad::io::{load_tensors, npz};

/// That a file holds just the arrays that a JSON object describes: all values, or one for all and those that differ.
fn check_arrays(file: &str, weights: &Weights, expected: &Value) {
    let expected = expected.as_object().unwrap();
    for (name, want) in expected {
        let got = weights.get(name).unwrap_or_else(|| panic!("{file} has no {name}"));
        let dims: Vec<usize> = numbers(&want["dims"]).iter().map(|&d| d as usize).collect();
        let wanted = if want["values"].is_array() {
            numbers(&want["values"])
        } else {
            let mut all = vec![want["all"].as_f64().unwrap(); dims.iter().product()];
            for pair in want["except"].as_array().unwrap() {
                all[pair[0].as_u64().unwrap() as usize] = pair[1].as_f64().unwrap();
            }
            all
        };
        assert_eq!(got.dims(), dims, "{file}: {name}");
        let different = values(got).iter().zip(&wanted).position(|(a, b)| a != b);
        assert_eq!(different, None, "{file}: {name}");
    }
    let more: Vec<&str> = weights.tensors().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(more.len(), expected.len(), "{file} has {more:?}");
}

#[test]
fn tensors_behind_rebuild_from_type_and_parameters_with_state_vanished() {
    // In every protocol of pickle, in both forms of torch.save, among sets, bytes, long numbers and objects.
    for (file, expected) in json("forms.json").as_object().unwrap() {
        let path = weights_file("forms").join(file);
        check_arrays(file, &import::pytorch(&path).unwrap(), expected);
        // A file that is part of the program is read as one on a disk.
        let content = std::fs::read(&path).unwrap();
        check_arrays(file, &import::pytorch_bytes(file.as_str(), &content).unwrap(), expected);
        let cut = message(import::pytorch_bytes(file.as_str(), &content[..content.len() / 2]));
        assert!(cut.starts_with(&format!("{file}: ")), "{cut}");
    }
}

#[test]
fn tensors_that_cannot_be_read_are_errors_by_name() {
    for (file, expected) in [
        ("complex.pt", "complex.pt: wave holds torch.ComplexFloatStorage, an element type that wgrad lacks"),
        ("sparse.pt", "sparse.pt: graph is a tensor of a kind that wgrad lacks (sparse)"),
        ("negative.pt", "negative.pt: view is a view that negates or conjugates"),
    ] {
        let message = message(import::pytorch(weights_file("forms").join(file)));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn hdf5_in_chunks_compressed_and_of_the_newer_form_was_refused() {
    for (file, expected) in json("hdf5.json").as_object().unwrap() {
        let weights = import::keras(weights_file("hdf5").join(file)).unwrap();
        check_arrays(file, &weights, expected);
    }
}

/// A safetensors file of vectors: name, type, count, bytes.
fn safetensors(tensors: &[(&str, &str, usize, &[u8])]) -> Vec<u8> {
    let (mut header, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, count, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        header.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":[{count}],"data_offsets":[{begin},{}]}}"#,
            data.len()
        ));
    }
    let header = format!("{{{}}}", header.join(","));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// Name and type in the file, elements, bytes, type and values when read.
type Kind<'a> = (&'a str, &'a str, usize, &'a [u8], DType, &'a [f64]);

#[test]
fn safetensors_of_half_precision_and_wide_integers_were_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let wide = [-3i64, 2_147_483_647].map(i64::to_le_bytes).concat();
    // 1.5 and -65504; 1.5 and -2; 448 and -2^-9; 57344 and -2: by the definitions of these formats.
    let kinds: [Kind; 12] = [
        ("f16", "F16", 2, &[0x00, 0x3e, 0xff, 0xfb], DType::F32, &[1.5, -65504.0]),
        ("bf16", "BF16", 2, &[0xc0, 0x3f, 0x00, 0xc0], DType::F32, &[1.5, -2.0]),
        ("e4m3", "F8_E4M3", 2, &[0x7e, 0x81], DType::F32, &[448.0, -0.001953125]),
        ("e5m2", "F8_E5M2", 2, &[0x7b, 0xc0], DType::F32, &[57344.0, -2.0]),
        ("i64", "I64", 2, &wide, DType::I32, &[-3.0, 2_147_483_647.0]),
        ("u64", "U64", 1, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], DType::U32, &[4_294_967_295.0]),
        ("i16", "I16", 1, &[0xd4, 0xfe], DType::I32, &[-300.0]),
        ("u16", "U16", 1, &[0xff, 0xff], DType::I32, &[65535.0]),
        ("i8", "I8", 2, &[0x80, 0x7f], DType::I32, &[-128.0, 127.0]),
        ("u8", "U8", 2, &[0x80, 0x7f], DType::U8, &[128.0, 127.0]),
        ("bool", "BOOL", 2, &[1, 0], DType::U8, &[1.0, 0.0]),
        ("f32", "F32", 1, &[0, 0, 0xc0, 0x3f], DType::F32, &[1.5]),
    ];
    let tensors: Vec<_> = kinds.iter().map(|k| (k.0, k.1, k.2, k.3)).collect();
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    for device in DEVICES {
        let loaded = load_tensors(&path, device).unwrap();
        assert_eq!(loaded.len(), kinds.len());
        for (name, _, _, _, dtype, expected) in &kinds {
            let (_, tensor) = loaded.iter().find(|(n, _)| n == name).unwrap();
            assert_eq!(tensor.dtype(), *dtype, "{name}");
            assert_eq!(values(&tensor.to_device(Device::Cpu).unwrap()), *expected, "{name}");
        }
    }
    let refused = |tensors: &[(&str, &str, usize, &[u8])]| {
        std::fs::write(&path, safetensors(tensors)).unwrap();
        let (own, torch) = (message(load_tensors(&path, Device::Cpu)), message(import::pytorch(&path)));
        assert!(torch.starts_with(&own), "{own}, {torch}");
        own
    };
    let far = refused(&[("far", "I64", 1, &(1i64 << 40).to_le_bytes())]);
    assert!(far.contains("x.safetensors: far holds 64-bit integers that fit neither i32 nor u32"), "{far}");
    let complex = refused(&[("wave", "C64", 1, &[0; 8])]);
    assert!(complex.contains("x.safetensors: wave holds C64"), "{complex}");
}

#[test]
fn safetensors_files_with_a_name_twice_were_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let twice = safetensors(&[("a", "F32", 1, &[0; 4]), ("a", "F32", 1, &[0; 4])]);
    std::fs::write(&path, twice).unwrap();
    let message = message(load_tensors(&path, Device::Cpu));
    assert!(message.contains("x.safetensors: "), "{message}");
    // Of one piece of data, so that nothing else is wrong; and in the metadata.
    for header in [
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"__metadata__":{"x":"1","x":"2"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
    ] {
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
        std::fs::write(&path, file).unwrap();
        for message in [
            super::message(load_tensors(&path, Device::Cpu)),
            super::message(import::pytorch(&path)),
            super::message(wgrad::io::load_metadata(&path)),
        ] {
            assert!(message.contains("x.safetensors: ") && message.contains("stands twice"), "{message}");
        }
    }
}

#[test]
fn one_unusable_array_refused_a_whole_npz_file() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    let array = |descr: &str, count: usize, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count},), }}\n");
        [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    };
    let write = |files: &[(&str, Vec<u8>)]| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        std::fs::write(&path, writer.finish().unwrap().into_inner()).unwrap();
    };
    let text = || ("names.npy", array("<U3", 1, &[0; 12]));
    let wave = || ("wave.npy", array("<c16", 1, &[0; 16]));
    write(&[text(), ("x.npy", array("<i2", 2, &[1, 0, 2, 0])), wave(), ("README", b"hello".to_vec())]);
    for device in DEVICES {
        let loaded = npz::load(&path, device).unwrap();
        assert_eq!(loaded.len(), 1);
        let x = loaded[0].1.to_device(Device::Cpu).unwrap();
        assert_eq!((loaded[0].0.as_str(), values(&x)), ("x", vec![1.0, 2.0]));
    }
    let arrays = npz::read(&path, Device::Cpu).unwrap();
    assert_eq!(values(arrays.get("x").unwrap()), [1.0, 2.0]);
    let names: Vec<&str> = arrays.unusable().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["names", "wave", "README"]);
    for (name, expected) in [
        ("names", "names holds elements of type \"<U3\""),
        ("wave", "<c16"),
        ("none", "has no array \"none\"; it has x"),
    ] {
        let message = message(arrays.get(name));
        assert!(message.contains("x.npz: ") && message.contains(expected), "{message}");
    }
    // Nothing at all is an error.
    write(&[text(), wave()]);
    let message = message(npz::load(&path, Device::Cpu));
    assert!(
        message.contains("x.npz: holds no array that can be read") && message.contains("wave"),
        "{message}"
    );
}
