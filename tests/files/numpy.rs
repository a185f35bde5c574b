//! NumPy's arrays.

use super::*;
use wgrad::io::npz;

#[test]
fn npy_files_of_numpy_are_read_and_written_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let files = json("numpy.json");
    for (name, file) in files["files"].as_object().unwrap() {
        let content = bytes(&file["hex"]);
        std::fs::write(&path, &content).unwrap();
        let loaded = Tensor::load_npy(&path, Device::Cpu);
        if let Some(error) = file["error"].as_str() {
            let message = message(loaded);
            assert!(message.contains("x.npy: ") && message.contains(error), "{name}: {message:?}");
            continue;
        }
        let x = loaded.unwrap_or_else(|e| panic!("{name}: {e}"));
        let dims: Vec<usize> = numbers(&file["dims"]).iter().map(|&d| d as usize).collect();
        assert_eq!((x.dims(), values(&x)), (&dims[..], numbers(&file["values"])), "{name}");
        if file["exact"] == true {
            x.save_npy(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content, "{name}");
            if x.dtype() != DType::F64 {
                Tensor::load_npy(&path, Device::Gpu).unwrap().save_npy(&path).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), content, "{name} by way of the GPU");
            }
        }
    }
    let dtype = |name: &str| {
        std::fs::write(&path, bytes(&files["files"][name]["hex"])).unwrap();
        Tensor::load_npy(&path, Device::Cpu).unwrap().dtype()
    };
    assert_eq!(
        ["other >f8", "other <f2", "other <i8", "big u8", "other |b1", "other >u2"].map(dtype),
        [DType::F64, DType::F32, DType::I32, DType::U32, DType::U8, DType::I32]
    );
    // Written from a view, and no temporary file stays.
    let t = inputs(&[2, 3], Device::Cpu).transpose().unwrap();
    t.save_npy(&path).unwrap();
    assert_eq!(values(&Tensor::load_npy(&path, Device::Cpu).unwrap()), values(&t));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(Tensor::load_npy(folder.path().join("none"), Device::Cpu), Err(Error::Io { .. })));
}

#[test]
fn damaged_npy_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let load = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        message(Tensor::load_npy(&path, Device::Cpu))
    };
    let header = |text: &str| {
        let mut content = b"\x93NUMPY\x01\x00".to_vec();
        content.extend((text.len() as u16).to_le_bytes());
        content.extend(text.as_bytes());
        content
    };
    let of = |shape: &str| header(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"));
    let cases: [(Vec<u8>, &str); 11] = [
        (b"PK\x03\x04".to_vec(), "no .npy file"),
        (Vec::new(), "no .npy file"),
        (b"\x93NUMPY\x01".to_vec(), "cut off within its header"),
        (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version 9.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "header of 4294967295 bytes"),
        // No memory is asked for before the file's size is known to agree.
        (of("(4000000000,)"), "32000000000 bytes, and 0 follow"),
        (of("(99999999999999999999,)"), "no number of a size"),
        (of("(1000000, 1000000)"), "more than 2^32 - 1"),
        (of("(3"), "a dimension is no number"),
        (header("{'descr': '<f8'}"), "descr, fortran_order and shape are needed"),
        (header("{'descr': '<f8', 'fortran_order': 1, 'shape': ()}"), "expected \"False\""),
    ];
    for (content, expected) in cases {
        let message = load(&content);
        assert!(message.contains(expected), "{message:?}, expected {expected}");
    }
    let mut whole = of("(2,)");
    whole.extend([0; 16]);
    assert_eq!(load(&whole), "");
    for cut in 0..whole.len() {
        assert_ne!(load(&whole[..cut]), "", "{cut}");
    }
}

#[test]
fn npz_files_of_numpy_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    let archives = &json("numpy.json")["archives"];
    for kind in ["savez", "savez_compressed"] {
        std::fs::write(&path, bytes(&archives[kind])).unwrap();
        let arrays = npz::load(&path, Device::Cpu).unwrap();
        let names: Vec<&str> = arrays.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["b", "a", "x/y"], "{kind}");
        assert_eq!(arrays[0].1.dims(), [3, 100]);
        assert_eq!(values(&arrays[0].1), (0..300).map(f64::from).collect::<Vec<_>>());
        assert_eq!((values(&arrays[1].1), values(&arrays[2].1)), (vec![1.0, 2.0], vec![1.5]));
    }
    let named = |names: &[&str]| -> Vec<(String, Tensor)> {
        names.iter().map(|n| (n.to_string(), inputs(&[2, 2], Device::Gpu))).collect()
    };
    npz::save(&path, &named(&["second", "first"])).unwrap();
    let again = npz::load(&path, Device::Gpu).unwrap();
    assert_eq!((again[0].0.as_str(), again[1].0.as_str()), ("second", "first"));
    assert_eq!(values(&again[1].1.to_device(Device::Cpu).unwrap()), values(&inputs(&[2, 2], Device::Cpu)));
    assert!(message(npz::save(&path, &named(&["a", "a"]))).contains("names must be unique"));
    std::fs::write(&path, b"no archive").unwrap();
    assert!(message(npz::load(&path, Device::Cpu)).contains("no zip archive"));
}
