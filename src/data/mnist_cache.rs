//! Where MNIST comes from when nobody says: the user's cache, and the mirrors that fill it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(feature = "app")]
use super::download::{Downloader, save};
#[cfg(feature = "app")]
use super::idx::IdxArray;
#[cfg(feature = "app")]
use super::mnist::{CLASSES, FILES, FileKind, MNIST_SHA256, Part, assemble};
use super::mnist::{RawDataset, load_dir};
use crate::{Error, Result};

/// The environment variable that names a folder to load instead of the user's cache.
pub const DATA_FOLDER_VARIABLE: &str = "WGRAD_DATA";

#[cfg(feature = "app")]
const MIRRORS: [&str; 2] =
    ["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"];

/// Finds MNIST: in the folder that the environment variable `WGRAD_DATA` names, if it is set; otherwise
/// in the user's cache (`wgrad/mnist` in `$XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`,
/// on Windows `%LOCALAPPDATA%`), into which the files that are missing or damaged are downloaded
/// (11 MB in all, feature `app`) and verified by their SHA-256.
///
/// What `WGRAD_DATA` names is loaded by [`load_dir`] and may be another data set; see
/// [`RawDataset::is_real_mnist`].
///
/// # Errors
///
/// The folder named by `WGRAD_DATA` doesn't hold a data set (nothing else is tried then), no mirror
/// delivers a file that passes the check, or the cache can't be written.
pub fn load_or_download() -> Result<RawDataset> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = variable(DATA_FOLDER_VARIABLE) {
        return load_dir(Path::new(&dir));
    }
    let cache = cache_folder(std::env::consts::OS, variable).ok_or_else(|| {
        let message = format!(
            "the environment names neither a cache nor a home folder to keep the files in; \
             set {DATA_FOLDER_VARIABLE} to a folder with the four files"
        );
        Error::data("MNIST", message)
    })?;
    load_cache(&cache)
}

#[cfg(feature = "app")]
fn load_cache(cache: &Path) -> Result<RawDataset> {
    load_cached_or_download(cache, &Downloader::new(&MIRRORS), &MNIST_SHA256)
}

/// What was unpacked into the cache by hand; it can't be verified, and its name doesn't say MNIST.
#[cfg(not(feature = "app"))]
fn load_cache(cache: &Path) -> Result<RawDataset> {
    load_dir(cache).map_err(|error| {
        let message = format!(
            "not in the cache, and this build of wgrad can't download: {error}\n\
             build with the feature `app`, or set {DATA_FOLDER_VARIABLE} to a folder with the four unpacked files"
        );
        Error::data("MNIST", message)
    })
}

/// The folder under the user's cache that pipelines are kept in, if the environment names one.
pub(crate) fn pipeline_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    Some(cache_folder(std::env::consts::OS, variable)?.with_file_name("pipelines"))
}

/// Where this user's programs on `os` keep what they can fetch again.
fn cache_folder(os: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification has relative paths ignored; elsewhere they make as little sense.
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = match os {
        "windows" => folder("LOCALAPPDATA")?,
        "macos" => folder("HOME")?.join("Library/Caches"),
        _ => folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?,
    };
    Some(caches.join("wgrad").join("mnist"))
}

#[cfg(feature = "app")]
fn load_cached_or_download(cache: &Path, downloader: &Downloader, digests: &[&str; 4]) -> Result<RawDataset> {
    let part = |i: usize| cached_or_downloaded(cache, downloader, &FILES[i], digests[i]);
    let parts = [part(0)?, part(1)?, part(2)?, part(3)?];
    assemble("MNIST".to_string(), true, CLASSES, parts)
}

#[cfg(feature = "app")]
fn cached_or_downloaded(
    cache: &Path,
    downloader: &Downloader,
    file: &FileKind,
    sha256: &str,
) -> Result<Part> {
    let mut reasons = Vec::new();
    // Every name is tried: a damaged file under one of them must not hide a good one under another.
    for path in file.find(cache) {
        match Part::read(&path).and_then(|part| part.verified(sha256)) {
            Ok(part) => return Ok(part),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    // Before the download, so that a folder that can't be written is found out before the wait.
    std::fs::create_dir_all(cache).map_err(|e| Error::io(cache, e))?;
    let name = file.gzipped_name();
    let accept = |url: &str, bytes: &[u8]| {
        let part = Part { source: url.to_string(), array: IdxArray::parse(url, bytes)? };
        part.verified(sha256)
    };
    match downloader.download(&name, accept) {
        Ok((bytes, part)) => save(cache, &name, &bytes).map(|()| part),
        Err(failures) => {
            reasons.extend(failures);
            let message = format!(
                "could not be downloaded from any mirror:\n  {}\n\
                 download the four files by hand ({}) and name their folder (--data DIR, or {DATA_FOLDER_VARIABLE}=DIR), \
                 or use the synthetic digits, which need no files",
                reasons.join("\n  "),
                FILES.each_ref().map(FileKind::gzipped_name).join(", "),
            );
            Err(Error::data(name, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_folders_follow_each_system() {
        let with = |os, variables: &[(&str, &str)]| {
            let root = if cfg!(windows) { "C:" } else { "" };
            let find = |name: &str| variables.iter().find(|(n, _)| *n == name);
            let folder = cache_folder(os, |name| {
                find(name).map(|(_, value)| {
                    let absolute = value.starts_with('/');
                    if absolute { format!("{root}{value}") } else { value.to_string() }.into()
                })
            });
            folder.map(|path| path.display().to_string().replace('\\', "/").replace("C:", ""))
        };
        let home = ("HOME", "/home/x");
        assert_eq!(with("linux", &[home]).unwrap(), "/home/x/.cache/wgrad/mnist");
        assert_eq!(with("linux", &[home, ("XDG_CACHE_HOME", "/c")]).unwrap(), "/c/wgrad/mnist");
        assert_eq!(with("linux", &[home, ("XDG_CACHE_HOME", "c")]).unwrap(), "/home/x/.cache/wgrad/mnist");
        assert_eq!(with("macos", &[home]).unwrap(), "/home/x/Library/Caches/wgrad/mnist");
        assert_eq!(with("windows", &[("LOCALAPPDATA", "/local")]).unwrap(), "/local/wgrad/mnist");
        assert_eq!(with("linux", &[]), None);
    }
}

#[cfg(all(test, feature = "app"))]
mod download_tests {
    use super::super::digest::sha256_hex;
    use super::super::download::testing::{Answer, Server, dead_mirror, downloader};
    use super::super::mnist::testing::{assert_fails, contents, folder_with, idx};
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::sync::atomic::Ordering;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn digests() -> [String; 4] {
        contents().map(|content| sha256_hex(&[&content]).unwrap())
    }

    /// A mirror of the test's data set in which one file is replaced.
    fn mirror_with(replaced: Option<(usize, Answer)>) -> Server {
        let whole = contents().map(|content| Answer::Whole(gzip(&content)));
        let names = FILES.each_ref().map(FileKind::gzipped_name);
        let mut answers: std::collections::HashMap<_, _> = names.clone().into_iter().zip(whole).collect();
        if let Some((i, answer)) = replaced {
            answers.insert(names[i].clone(), answer);
        }
        Server::start(answers)
    }

    fn load(cache: &Path, mirrors: &[&str]) -> Result<RawDataset> {
        let digests = digests();
        load_cached_or_download(cache, &downloader(mirrors), &digests.each_ref().map(String::as_str))
    }

    fn expected() -> RawDataset {
        let local = load_dir(folder_with(&contents()).path()).unwrap();
        RawDataset { name: "MNIST".into(), is_real_mnist: true, ..local }
    }

    #[test]
    fn downloads_once_then_reads_the_cache() {
        let temporary = tempfile::tempdir().unwrap();
        let cache = temporary.path().join("not/yet/there");
        let server = mirror_with(None);
        for _ in 0..2 {
            assert_eq!(load(&cache, &[&server.url]).unwrap(), expected());
            assert_eq!(server.requests.load(Ordering::Relaxed), 4);
        }
        assert_eq!(fs::read_dir(cache).unwrap().count(), 4);
    }

    #[test]
    fn each_fault_of_a_mirror_leads_to_the_next() {
        let gzipped = gzip(&contents()[0]);
        let other = gzip(&idx(&[5, 4, 2], 1));
        let faults = [
            Answer::Whole(other),
            Answer::Whole(b"<html>sign in to this network</html>".to_vec()),
            Answer::CutOff(gzipped.clone()),
            Answer::CutOffSilently(gzipped),
        ];
        let good = mirror_with(None);
        for fault in faults {
            let cache = tempfile::tempdir().unwrap();
            let bad = mirror_with(Some((0, fault)));
            assert_eq!(load(cache.path(), &[&bad.url, &good.url]).unwrap(), expected());
            assert_eq!(bad.requests.load(Ordering::Relaxed), 4);
        }
        assert_eq!(good.requests.load(Ordering::Relaxed), 4);
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(load(cache.path(), &[&dead_mirror(), &good.url]).unwrap(), expected());
    }

    #[test]
    fn when_every_mirror_fails_the_error_says_why_and_what_to_do() {
        let cache = tempfile::tempdir().unwrap();
        let dead = dead_mirror();
        let other = mirror_with(Some((1, Answer::Whole(gzip(&idx(&[5], 4))))));
        let sha256 = &digests()[1];
        assert_fails(
            load(cache.path(), &[&dead, &other.url]),
            &[&dead, &other.url, "refused", "SHA-256", sha256, "--data DIR", "WGRAD_DATA", "synthetic"],
        );
        // The first file was good and is kept; of the bad one, nothing is.
        let kept: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(kept, ["train-images-idx3-ubyte.gz"]);
    }

    #[test]
    fn a_damaged_cache_is_never_used() {
        let cache = tempfile::tempdir().unwrap();
        let server = mirror_with(None);
        load(cache.path(), &[&server.url]).unwrap();
        let labels = cache.path().join(FILES[1].gzipped_name());
        // Well-formed, but one label differs.
        let mut changed = contents()[1].clone();
        changed[10] ^= 1;
        fs::write(&labels, gzip(&changed)).unwrap();
        // Under a name that comes before it, so that it would win if the first match were taken.
        fs::write(cache.path().join(&FILES[1].names()[0]), &changed).unwrap();
        assert_fails(load(cache.path(), &[&dead_mirror()]), &["damaged", "SHA-256", "train-labels"]);
        for _ in 0..2 {
            assert_eq!(load(cache.path(), &[&server.url]).unwrap(), expected());
            assert_eq!(server.requests.load(Ordering::Relaxed), 5);
        }
        // Cut off.
        fs::write(&labels, &gzip(&contents()[1])[..20]).unwrap();
        assert_eq!(load(cache.path(), &[&server.url]).unwrap(), expected());
        assert_eq!(server.requests.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        assert_fails(load(&file.join("cache"), &[]), &["file"]);
    }
}
