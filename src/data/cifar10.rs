//! CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009): 50,000 training and 10,000 test
//! images of ten kinds of things, 32x32 pixels in red, green and blue.
//!
//! Read is the binary version, which <https://www.cs.toronto.edu/~kriz/cifar.html> describes: files of records, each one
//! byte for the label, then 1024 bytes each of red, green and blue, row by row.

use super::Dataset;
#[cfg(feature = "cifar10")]
use super::digest::sha256_hex;
#[cfg(feature = "cifar10")]
use super::download::Downloader;
use super::mnist_cache::{Place, place};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::budget::read_file;
use crate::tensor::Tensor;
use std::path::Path;

/// The names of the classes.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The environment variable that names a folder to load instead of the user's cache.
pub const FOLDER_VARIABLE: &str = "WGRAD_CIFAR10";

const NAME: &str = "CIFAR-10";
const ARCHIVE: &str = "cifar-10-binary.tar.gz";
/// The folder in the archive.
const FOLDER: &str = "cifar-10-batches-bin";
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const RECORD: usize = 1 + 3 * PIXELS;

#[cfg(feature = "cifar10")]
mod archive {
    /// What comes from them is verified.
    pub const MIRRORS: [&str; 2] = [
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ];
    /// Size and sum of the archive as TensorFlow Datasets publishes them.
    pub const BYTES: u64 = 170_052_171;
    pub const SHA256: &str = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";
}

/// The training and the test set: images `[32, 32, 3]` in 0 to 1, labels 0 to 9, with the names of the classes.
///
/// Looked for in the folder that the environment variable `WGRAD_CIFAR10` names, if it is set; otherwise in the user's
/// cache (see [`mnist::load_or_download`](super::mnist::load_or_download)), into which the archive is downloaded if it is
/// missing or damaged (170 MB, feature `cifar10`) and verified by its SHA-256.
///
/// ```no_run
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (train, test) = data::cifar10::load()?;
/// assert_eq!((train.len(), test.len(), train.sample_shape()), (50_000, 10_000, &[32, 32, 3][..]));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The folder that was named doesn't hold the files, no mirror delivers an archive that passes the check, or the cache
/// can't be written.
pub fn load() -> Result<(Dataset, Dataset)> {
    match place(NAME, "cifar10", FOLDER_VARIABLE)? {
        Place::Named(dir) => load_from(dir),
        Place::Cache(cache) => load_cache(&cache),
    }
}

/// The training and test set in a folder with the six files `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`,
/// or with a folder `cifar-10-batches-bin` of them, or (feature `cifar10`) with the archive `cifar-10-binary.tar.gz`. Nothing
/// is verified but the format: the files may have fewer or more records.
///
/// # Errors
///
/// Files are missing or can't be read, are no whole number of records, or have a label above 9.
pub fn load_from(dir: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    let dir = dir.as_ref();
    for folder in [dir.to_path_buf(), dir.join(FOLDER)] {
        if folder.join(TEST[0]).is_file() || folder.join(TRAIN[0]).is_file() {
            return datasets(|name| {
                let path = folder.join(name);
                Ok((path.display().to_string(), read_file(&path)?.0))
            });
        }
    }
    #[cfg(feature = "cifar10")]
    {
        let path = dir.join(ARCHIVE);
        if path.is_file() {
            let (bytes, _) = read_file(&path)?;
            return unpack(&path.display().to_string(), &bytes);
        }
    }
    let message = format!(
        "has none of the files of {NAME}; expected {}, {} and others, a folder {FOLDER} with them, or (feature `cifar10`) {ARCHIVE}",
        TRAIN[0], TEST[0]
    );
    Err(Error::data(dir.display().to_string(), message))
}

#[cfg(feature = "cifar10")]
fn load_cache(cache: &Path) -> Result<(Dataset, Dataset)> {
    let downloader = Downloader::for_files_of(&archive::MIRRORS, archive::BYTES);
    load_cached_or_download(cache, &downloader, archive::SHA256)
}

/// What was unpacked into the cache by hand.
#[cfg(not(feature = "cifar10"))]
fn load_cache(cache: &Path) -> Result<(Dataset, Dataset)> {
    load_from(cache).map_err(|error| {
        let message = format!(
            "not in the cache, and this build of wgrad can't download: {error}\n\
             build with the feature `cifar10`, or set {FOLDER_VARIABLE} to a folder with the unpacked files"
        );
        Error::data(NAME, message)
    })
}

#[cfg(feature = "cifar10")]
fn load_cached_or_download(
    cache: &Path,
    downloader: &Downloader,
    sha256: &str,
) -> Result<(Dataset, Dataset)> {
    let accept = |source: &str, bytes: &[u8]| match sha256_hex(&[bytes]) {
        Some(digest) if digest == sha256 => unpack(source, bytes),
        digest => {
            let digest = digest.as_deref().unwrap_or("unknown");
            let message = format!("is damaged or another file: its SHA-256 is {digest}, expected {sha256}");
            Err(Error::data(source, message))
        }
    };
    let mut reasons = Vec::new();
    let path = cache.join(ARCHIVE);
    if path.is_file() {
        let (bytes, _) = read_file(&path)?;
        match accept(&path.display().to_string(), &bytes) {
            Ok(sets) => return Ok(sets),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    // Before the download, so that a folder that can't be written is found out before the wait.
    std::fs::create_dir_all(cache).map_err(|e| Error::io(cache, e))?;
    match downloader.download(ARCHIVE, accept) {
        Ok((bytes, sets)) => crate::files::write_whole(&path, &bytes).map(|()| sets),
        Err(failures) => {
            reasons.extend(failures);
            let message = format!(
                "could not be downloaded from any mirror:\n  {}\n\
                 download it by hand and name its folder (load_from(DIR), or {FOLDER_VARIABLE}=DIR)",
                reasons.join("\n  ")
            );
            Err(Error::data(ARCHIVE, message))
        }
    }
}

/// The data sets in the bytes of the archive.
#[cfg(feature = "cifar10")]
fn unpack(source: &str, bytes: &[u8]) -> Result<(Dataset, Dataset)> {
    use crate::io::budget::Budget;
    use std::collections::HashMap;
    use std::io::Read;
    let damaged = |e: std::io::Error| Error::data(source, format!("is a damaged archive: {e}"));
    let budget = Budget::of(source, bytes.len());
    let most = Budget::limit(bytes.len() as u64);
    let unpacked = Bounded { reader: flate2::read::GzDecoder::new(bytes), left: most, most };
    let mut archive = tar::Archive::new(unpacked);
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
        let Some(name) = name.filter(|name| TRAIN.iter().chain(&TEST).any(|known| name == known)) else {
            continue;
        };
        // A sparse file is as large as it says, with hardly anything behind it.
        budget.charge(usize::try_from(entry.size()).unwrap_or(usize::MAX))?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(damaged)?;
        files.insert(name, content);
    }
    // To the end, where the check sum stands.
    std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(damaged)?;
    datasets(|name| {
        let content = files.remove(name).ok_or_else(|| Error::data(source, format!("has no file {name}")))?;
        Ok((format!("{name} in {source}"), content))
    })
}

/// A reader of so many bytes at most: what an archive unpacks to and is passed over takes no memory, but time.
#[cfg(feature = "cifar10")]
struct Bounded<R> {
    reader: R,
    left: u64,
    most: u64,
}

#[cfg(feature = "cifar10")]
impl<R: std::io::Read> std::io::Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!(
                "it unpacks to more than {} bytes, which its size doesn't explain; download it again",
                self.most
            ))
        })?;
        Ok(read)
    }
}

/// The data sets in files of records, which `read` gives with what to call them in errors.
fn datasets(mut read: impl FnMut(&str) -> Result<(String, Vec<u8>)>) -> Result<(Dataset, Dataset)> {
    let mut set = |names: &[&str]| {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            let (source, bytes) = read(name)?;
            records(&source, &bytes, &mut images, &mut labels)?;
        }
        let n = labels.len();
        let images = Tensor::from_vec(images, [n, SIDE, SIDE, 3], Device::Cpu)?;
        let labels = Tensor::from_vec(labels, [n], Device::Cpu)?;
        Ok(Dataset::from_tensors(NAME, &images, &labels)?.scaled(1.0 / 255.0).with_classes(&CLASSES))
    };
    Ok((set(&TRAIN)?, set(&TEST)?))
}

/// Adds the records of a file: planes of colours become pixels.
fn records(source: &str, bytes: &[u8], images: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let message = format!(
            "has {} bytes; expected records of {RECORD} bytes: it is truncated, or isn't of the binary version of {NAME}",
            bytes.len()
        );
        return Err(Error::data(source, message));
    }
    for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
        let (label, planes) = (record[0], &record[1..]);
        if usize::from(label) >= CLASSES.len() {
            let message =
                format!("has the label {label} in record {i}; expected labels below {}", CLASSES.len());
            return Err(Error::data(source, message));
        }
        labels.push(label);
        let (red, rest) = planes.split_at(PIXELS);
        let (green, blue) = rest.split_at(PIXELS);
        images.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A record whose red counts up by columns, green by rows, and blue is the label.
    fn record(label: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        bytes.extend((0..PIXELS).map(|i| (i % SIDE) as u8));
        bytes.extend((0..PIXELS).map(|i| (i / SIDE) as u8));
        bytes.extend([label; PIXELS]);
        bytes
    }

    /// Two records in each training file, one in the test file.
    fn files() -> Vec<(&'static str, Vec<u8>)> {
        let train = TRAIN.iter().zip(0u8..).map(|(&name, i)| (name, [record(i), record(i + 5)].concat()));
        train.chain([(TEST[0], record(7))]).collect()
    }

    fn check((train, test): (Dataset, Dataset)) {
        assert_eq!((train.len(), test.len(), train.sample_shape()), (10, 1, &[32, 32, 3][..]));
        assert_eq!(train.labels().to_vec::<u8>().unwrap(), [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]);
        let pixels = test.features().to_vec::<u8>().unwrap();
        let at = |row: usize, column: usize| &pixels[3 * (row * SIDE + column)..][..3];
        assert_eq!((at(0, 0), at(3, 20), at(31, 31)), (&[0, 0, 7][..], &[20, 3, 7][..], &[31, 31, 7][..]));
        assert_eq!((test.classes()[7].as_str(), test.name()), ("horse", "CIFAR-10"));
    }

    fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    fn fails(result: Result<(Dataset, Dataset)>, expected: &[&str]) {
        let message = result.unwrap_err().to_string();
        for word in expected {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }

    #[test]
    fn records_are_read_from_a_folder_or_one_below() {
        let folder = tempfile::tempdir().unwrap();
        fails(load_from(folder.path()), &["none of the files", "data_batch_1.bin", ARCHIVE]);
        write(&folder.path().join(FOLDER), &files());
        check(load_from(folder.path()).unwrap());
        check(load_from(folder.path().join(FOLDER)).unwrap());
        fs::remove_file(folder.path().join(FOLDER).join(TRAIN[3])).unwrap();
        fails(load_from(folder.path()), &["data_batch_4.bin"]);
    }

    #[test]
    fn files_of_another_format_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let with = |bytes: Vec<u8>| {
            write(folder.path(), &files());
            fs::write(folder.path().join(TRAIN[1]), bytes).unwrap();
            load_from(folder.path())
        };
        fails(with(record(3)[..3000].to_vec()), &["data_batch_2.bin", "3000 bytes", "3073"]);
        fails(with(Vec::new()), &["data_batch_2.bin", "0 bytes"]);
        fails(with([record(3), record(10)].concat()), &["data_batch_2.bin", "label 10 in record 1"]);
    }

    #[cfg(feature = "cifar10")]
    mod archives {
        use super::super::super::download::testing::{Answer, Server, dead_mirror, downloader};
        use super::*;
        use std::sync::atomic::Ordering;

        fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
            let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let mut builder = tar::Builder::new(gz);
            for (name, bytes) in files {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                builder.append_data(&mut header, format!("{FOLDER}/{name}"), bytes.as_slice()).unwrap();
            }
            builder.into_inner().unwrap().finish().unwrap()
        }

        fn server(bytes: &[u8]) -> Server {
            Server::start([(ARCHIVE.to_string(), Answer::Whole(bytes.to_vec()))].into())
        }

        #[test]
        fn the_archive_is_downloaded_once_verified_and_read_again() {
            let temporary = tempfile::tempdir().unwrap();
            let cache = temporary.path().join("cifar10");
            let good = archive(&[files(), vec![("batches.meta.txt", b"airplane".to_vec())]].concat());
            let sha256 = sha256_hex(&[&good]).unwrap();
            let load = |mirrors: &[&str]| load_cached_or_download(&cache, &downloader(mirrors), &sha256);
            let (bad, server) = (server(&archive(&files()[..5])), server(&good));
            fails(load(&[&bad.url, &dead_mirror()]), &["SHA-256", &sha256, FOLDER_VARIABLE, "refused"]);
            for _ in 0..2 {
                check(load(&[&bad.url, &server.url]).unwrap());
                assert_eq!(server.requests.load(Ordering::Relaxed), 1);
            }
            check(load_from(&cache).unwrap());
            // what is damaged is fetched anew
            fs::write(cache.join(ARCHIVE), &good[..good.len() / 2]).unwrap();
            check(load(&[&server.url]).unwrap());
            assert_eq!(server.requests.load(Ordering::Relaxed), 2);
        }

        #[test]
        fn archives_that_are_incomplete_say_so() {
            fails(unpack("a.tar.gz", &archive(&files()[1..])), &["a.tar.gz", "no file data_batch_1.bin"]);
            let whole = archive(&files());
            fails(unpack("a.tar.gz", &whole[..whole.len() / 2]), &["a.tar.gz"]);
            fails(unpack("a.tar.gz", b"<html>"), &["damaged archive"]);
        }
    }
}
