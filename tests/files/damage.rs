//! Files that were damaged.

use super::*;
use proptest::prelude::*;
use wgrad::io::import::{self, Mapping};
use wgrad::io::npz;

/// Reads a damaged file in every way; a panic fails the test, an error doesn't.
fn read(name: &str, content: &[u8], folder: &Path) {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu).unwrap();
    if let Ok(weights) = import::pytorch(&path) {
        let _ = model.import_weights(&weights, &Mapping::pytorch());
    }
    if let Ok(weights) = import::keras(&path) {
        let _ = model.import_weights(&weights, &Mapping::keras());
    }
    let _ = Tensor::load_npy(&path, Device::Cpu);
    let _ = npz::load(&path, Device::Cpu);
}

fn find(content: &[u8], part: &[u8], from: usize) -> usize {
    from + content[from..].windows(part.len()).position(|w| w == part).unwrap()
}

/// Zip's check sum.
fn crc32(content: &[u8]) -> [u8; 4] {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = content.iter().fold(!0, |crc: u32, &b| (0..8).fold(crc ^ u32::from(b), step));
    (!crc).to_le_bytes()
}

/// A file of torch.save with another pickle of the same length, and its check sum set right: else nobody would look at it.
fn with_pickle(whole: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let start = find(whole, b"\x80\x02", find(whole, b"data.pkl", 0));
    let end = find(whole, b"PK\x07\x08", start);
    let before = crc32(&whole[start..end]);
    let mut content = whole.to_vec();
    change(&mut content[start..end]);
    let after = crc32(&content[start..end]);
    let mut from = end;
    while let Some(at) = content[from..].windows(4).position(|w| w == before) {
        content[from + at..from + at + 4].copy_from_slice(&after);
        from += at + 4;
    }
    content
}

#[test]
fn a_pickle_that_was_changed_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pt");
    let whole = std::fs::read(weights_file("words.pt")).unwrap();
    let renamed = with_pickle(&whole, |pickle| {
        let at = find(pickle, b"words", 0);
        pickle[at] = b'W';
    });
    std::fs::write(&path, renamed).unwrap();
    assert!(import::pytorch(&path).unwrap().get("Words.weight").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_a_reader_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["branched.weights.h5", "older.h5", "words.pt", "kinds.pt", "stack.npz", "branched.safetensors"] {
            let whole = std::fs::read(weights_file(name)).unwrap();
            let mut content = whole.clone();
            for (at, byte) in &changes {
                let at = at.index(content.len());
                content[at] = *byte;
            }
            read(name, &content, folder.path());
            // Within what comes first stand the headers; within zip archives what comes last.
            let mut content = whole.clone();
            for (at, byte) in &changes {
                let n = content.len();
                let near = at.index(n.min(2000));
                content[near] = *byte;
                content[n - 1 - near] = byte.wrapping_mul(3);
            }
            read(name, &content, folder.path());
            read(name, &whole[..cut.index(whole.len())], folder.path());
        }
        for name in ["words.pt", "kinds.pt"] {
            let whole = std::fs::read(weights_file(name)).unwrap();
            let changed = with_pickle(&whole, |pickle| {
                for (at, byte) in &changes {
                    let at = at.index(pickle.len());
                    pickle[at] = *byte;
                }
            });
            read(name, &changed, folder.path());
        }
        let mut array = b"\x93NUMPY\x01\x00\x46\x00{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }".to_vec();
        array.resize(80 + 12, b' ');
        for (at, byte) in &changes {
            let at = at.index(array.len());
            array[at] = *byte;
        }
        read("x.npy", &array, folder.path());
        for start in [&b"\x93NUMPY\x01\x00"[..], b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b""] {
            read("noise", &[start, &noise].concat(), folder.path());
        }
    }
}
