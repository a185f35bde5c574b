//! Small files that claim to be large: each is an error that names the file, within the memory and time that files of its size
//! may take.

use super::{SLACK, SLOWEST, budget, memory, turn};
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::Instant;
use wgrad::io::{import, load_tensors, npz};
use wgrad::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// That reading a file is an error with a text.
fn fails<T>(name: &str, content: &[u8], read: impl Fn(&Path) -> Result<T>, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let before = memory::reset_peak();
    let began = Instant::now();
    let message = read(&path).err().map(|e| e.to_string()).unwrap_or_default();
    let took = began.elapsed();
    let peak = memory::peak() - before;
    assert!(
        message.contains(name) && message.contains(expected),
        "{name}: {message:?}, expected {expected:?}"
    );
    let limit = budget(content.len()) + SLACK;
    assert!(peak <= limit, "{name}: {} bytes take {peak} of memory; {limit} are allowed", content.len());
    assert!(took < SLOWEST, "{name} takes {took:?}");
}

const SPENT: &str = "would take more memory than its size explains";

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in files {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn torch(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    zipped(&[("a/data.pkl", pickle), ("a/data/0", storage)])
}

/// A pickle's number.
fn int(n: usize) -> Vec<u8> {
    [b"J", &(n as i32).to_le_bytes()[..]].concat()
}

/// The instructions of a text.
fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Those of a vector of `FloatStorage` "0": the function, storage, offset, shape, stride.
fn tensor(length: usize, stride: usize) -> Vec<u8> {
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(1), b"tQ"]
            .concat();
    let call = [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage[..], &int(0)].concat();
    [&call[..], &int(length), b"\x85", &int(stride), b"\x85\x89}tR"].concat()
}

#[test]
fn pickles_that_repeat_themselves_are_errors() {
    let _turn = turn();
    let pt = |code: &[u8], storage: &[u8], expected: &str| {
        fails(
            "x.pt",
            &torch(&[b"\x80\x02", code, b"."].concat(), storage),
            |path| import::pytorch(path),
            expected,
        );
    };
    // One storage of 40 MB behind a hundred tensors.
    let zeros = vec![0; 40_000_000];
    let many: Vec<u8> = (0..100)
        .flat_map(|i| [text(&i.to_string()), tensor(10_000_000, 1), b"s".to_vec()].concat())
        .collect();
    pt(&[b"}", &many[..]].concat(), &zeros, SPENT);
    // One number as two thousand million.
    pt(&[b"}", &text("x")[..], &tensor(i32::MAX as usize, 0), b"s"].concat(), &[0; 4], SPENT);
    // A long name before ten thousand tensors.
    let long = text(&"n".repeat(1 << 20));
    let again = [&b"h\x01"[..]; 10_000].concat();
    let list = [b"](", &tensor(1, 1)[..], b"q\x01", &again, b"e"].concat();
    pt(&[b"}", &long[..], &list, b"s"].concat(), &[0; 4], SPENT);
    // Each of thirty dictionaries holds the one before twice.
    let mut nested = [b"}", &text("x")[..], &tensor(1, 1), b"s"].concat();
    for i in 0..30u8 {
        nested.extend(
            [b"q", &[i][..], b"0}", &text("a"), b"h", &[i], b"s", &text("b"), b"h", &[i], b"s"].concat(),
        );
    }
    pt(&nested, &[0; 4], "repeats itself");
    // Hundreds of millions of empty tuples, and of marks; a megabyte when compressed.
    let tuples = vec![b')'; 60_000_000];
    fails("x.pt", &torch(&tuples, &[]), |path| import::pytorch(path), SPENT);
    fails("x.pt", &torch(&vec![b'('; 60_000_000], &[]), |path| import::pytorch(path), SPENT);
    // A thousand dictionaries in each other.
    let mut deep = [b"}", &text("x")[..], &tensor(1, 1), b"s"].concat();
    (0..1000).for_each(|_| deep = [b"}", &text("a")[..], &deep, b"s"].concat());
    pt(&deep, &[0; 4], "deep");
    // Calls in calls.
    let again = b"ctorch._tensor\n_rebuild_from_type_v2\n";
    let mut arguments = b"(ctorch._utils\n_rebuild_tensor_v2\nNN}t".to_vec();
    (0..1000).for_each(|_| arguments = [b"(", &again[..], b"N", &arguments, b"}t"].concat());
    pt(&[&again[..], &arguments, b"R"].concat(), &[0; 4], "damaged");
}

/// An archive whose directory names one file many times.
fn overlapping(content: &[u8]) -> Vec<u8> {
    let whole = zipped(&[("a000.npy", content)]);
    let directory = whole.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = whole.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let entry = &whole[directory..end];
    let name = entry.windows(8).position(|w| w == b"a000.npy").unwrap();
    let mut out = whole[..directory].to_vec();
    for i in 0..200 {
        let mut entry = entry.to_vec();
        entry[name + 1..name + 4].copy_from_slice(format!("{i:03}").as_bytes());
        out.extend(entry);
    }
    let mut last = whole[end..].to_vec();
    let count = 200u16.to_le_bytes();
    last[8..10].copy_from_slice(&count);
    last[10..12].copy_from_slice(&count);
    last[12..16].copy_from_slice(&((200 * entry.len()) as u32).to_le_bytes());
    out.extend(last);
    out
}

#[test]
fn archives_that_become_large_are_errors() {
    let _turn = turn();
    let array = |n: usize| {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({n},), }}\n");
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.bytes());
        out.resize(out.len() + n, 0);
        out
    };
    let load = |path: &Path| npz::load(path, Device::Cpu);
    fails("x.npz", &overlapping(&array(1_000_000)), load, "overlap");
    fails("x.npz", &zipped(&[("a.npy", &array(300_000_000))]), load, SPENT);
    let five = ["a.npy", "b.npy", "c.npy", "d.npy", "e.npy"].map(|name| (name, array(60_000_000)));
    fails("x.npz", &zipped(&five.each_ref().map(|(name, bytes)| (*name, &bytes[..]))), load, SPENT);
    // A size that its bytes can't have.
    let mut lying = zipped(&[("a.npy", &array(100))]);
    for (signature, at) in [(b"PK\x01\x02", 24), (b"PK\x03\x04", 22)] {
        let begin = lying.windows(4).position(|w| w == signature).unwrap();
        lying[begin + at..begin + at + 4].copy_from_slice(&0xf000_0000u32.to_le_bytes());
    }
    fails("x.npz", &lying, load, "can't become");
    // What fits the budget is read.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fine.npz");
    std::fs::write(&path, zipped(&[("a.npy", &array(50_000_000))])).unwrap();
    assert_eq!(npz::load(&path, Device::Cpu).unwrap()[0].1.dims(), [50_000_000]);
}

#[test]
fn hdf5_files_that_become_large_or_never_end_are_errors() {
    let _turn = turn();
    let file = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights/hdf5");
        std::fs::read(folder.join(name)).unwrap()
    };
    let keras = |path: &Path| import::keras(path);
    // Half a gigabyte of what was never written; groups that have each other twice, to a depth of 24; a group in itself.
    fails("fill.h5", &file("bomb-fill.h5"), keras, SPENT);
    fails("links.h5", &file("bomb-links.h5"), keras, "refers to itself");
    fails("circle.h5", &file("circle.h5"), keras, "inside of itself");
    let packed = zipped(&[("model.weights.h5", &file("bomb-fill.h5"))]);
    fails("fill.keras", &packed, keras, SPENT);
}

#[test]
fn headers_of_safetensors_files_that_lie_are_errors() {
    let _turn = turn();
    let file = |header: &str, data: usize| {
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header.bytes());
        out.resize(out.len() + data, 0);
        out
    };
    let load = |path: &Path| load_tensors(path, Device::Cpu);
    let header = r#"{"a":{"dtype":"F32","shape":[4000000000],"data_offsets":[0,16]}}"#;
    fails("x.safetensors", &file(header, 16), load, "damaged");
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    fails("x.safetensors", &file(header, 4), load, "damaged");
    let mut long = file("{}", 0);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fails("x.safetensors", &long, load, "damaged");
    fails("x.safetensors", &file(&"[".repeat(100_000), 0), load, "damaged");
}
