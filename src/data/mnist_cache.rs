//! Where data sets in MNIST's format come from when nobody says: the user's cache, and the mirrors that fill it.

use std::path::{Path, PathBuf};

#[cfg(feature = "download")]
use super::download::Downloader;
use super::idx_files::{CLASSES, Digests, MNIST_SHA256, RawDataset, load_dir_checked};
#[cfg(feature = "download")]
use super::idx_files::{FILES, FileKind, Part, assemble};
use crate::environment::variable;
use crate::files::cache_folder;
#[cfg(feature = "download")]
use crate::files::write_whole;
use crate::{Error, Result};

/// The environment variable that names a folder to load instead of the user's cache.
pub const DATA_FOLDER_VARIABLE: &str = "WGRAD_DATA";

/// A data set in MNIST's format that is known, and where to find it.
pub(super) struct Family {
    /// For people.
    pub name: &'static str,
    /// Its folder in the user's cache.
    pub folder: &'static str,
    /// The environment variable that names a folder to load instead.
    pub variable: &'static str,
    /// Folders with its files, tried in this order. What comes from them is verified.
    #[cfg_attr(not(feature = "download"), allow(dead_code))]
    pub mirrors: &'static [&'static str],
    /// Size of its largest file.
    #[cfg_attr(not(feature = "download"), allow(dead_code))]
    pub largest: u64,
    pub digests: Digests<'static>,
}

pub(super) const MNIST: Family = Family {
    name: "MNIST",
    folder: "mnist",
    variable: DATA_FOLDER_VARIABLE,
    mirrors: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    largest: 9_912_422,
    digests: Digests::Content(MNIST_SHA256),
};

/// Finds MNIST: in the folder that the environment variable `WGRAD_DATA` names, if it is set; otherwise
/// in the user's cache (`wgrad/mnist` in `$XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`,
/// on Windows `%LOCALAPPDATA%`), into which the files that are missing or damaged are downloaded
/// (11 MB in all, feature `download`) and verified by their SHA-256.
///
/// What `WGRAD_DATA` names is loaded by [`load_dir`](super::mnist::load_dir) and may be another data set; see
/// [`RawDataset::is_real_mnist`].
///
/// # Errors
///
/// The folder named by `WGRAD_DATA` doesn't hold a data set (nothing else is tried then), no mirror
/// delivers a file that passes the check, or the cache can't be written.
pub fn load_or_download() -> Result<RawDataset> {
    MNIST.load()
}

/// The folder that the environment variable names, or else the user's cache.
pub(super) enum Place {
    Named(PathBuf),
    Cache(PathBuf),
}

/// Where to look for a data set.
pub(super) fn place(name: &str, folder: &str, folder_variable: &str) -> Result<Place> {
    if let Some(dir) = variable(folder_variable) {
        return Ok(Place::Named(dir.into()));
    }
    cache_folder(folder).map(Place::Cache).ok_or_else(|| {
        let message = format!(
            "the environment names neither a cache nor a home folder to keep the files in; \
             set {folder_variable} to a folder with the files"
        );
        Error::data(name, message)
    })
}

impl Family {
    /// From the folder that the environment names, or else from the user's cache, into which what is missing is downloaded.
    pub fn load(&self) -> Result<RawDataset> {
        match place(self.name, self.folder, self.variable)? {
            Place::Named(dir) => self.load_dir(&dir),
            Place::Cache(cache) => self.load_cache(&cache),
        }
    }

    pub fn load_dir(&self, dir: &Path) -> Result<RawDataset> {
        load_dir_checked(dir, CLASSES, self.name, self.is_mnist(), self.digests)
    }

    fn is_mnist(&self) -> bool {
        self.name == MNIST.name
    }

    #[cfg(feature = "download")]
    fn load_cache(&self, cache: &Path) -> Result<RawDataset> {
        self.load_cached_or_download(cache, &Downloader::for_files_of(self.mirrors, self.largest))
    }

    /// What was unpacked into the cache by hand; it can't be verified, and its name doesn't say what it should be.
    #[cfg(not(feature = "download"))]
    fn load_cache(&self, cache: &Path) -> Result<RawDataset> {
        self.load_dir(cache).map_err(|error| {
            let message = format!(
                "not in the cache, and this build of wgrad can't download: {error}\n\
                 build with the feature `download`, or set {} to a folder with the four unpacked files",
                self.variable
            );
            Error::data(self.name, message)
        })
    }

    #[cfg(feature = "download")]
    pub fn load_cached_or_download(&self, cache: &Path, downloader: &Downloader) -> Result<RawDataset> {
        let part = |i: usize| self.cached_or_downloaded(cache, downloader, i);
        let parts = [part(0)?, part(1)?, part(2)?, part(3)?];
        assemble(self.name.to_string(), self.is_mnist(), CLASSES, parts)
    }

    #[cfg(feature = "download")]
    fn cached_or_downloaded(&self, cache: &Path, downloader: &Downloader, i: usize) -> Result<Part> {
        let mut reasons = Vec::new();
        let (file, digests) = (&FILES[i], self.digests);
        // Every name is tried: a damaged file under one of them must not hide a good one under another.
        for path in file.find(cache) {
            match Part::read(&path, digests).and_then(|part| part.verified(digests, i)) {
                Ok(part) => return Ok(part),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        // Before the download, so that a folder that can't be written is found out before the wait.
        std::fs::create_dir_all(cache).map_err(|e| Error::io(cache, e))?;
        let name = file.gzipped_name();
        let accept =
            |url: &str, bytes: &[u8]| Part::parse(url.to_string(), bytes, digests)?.verified(digests, i);
        match downloader.download(&name, accept) {
            Ok((bytes, part)) => write_whole(&cache.join(&name), &bytes).map(|()| part),
            Err(failures) => {
                reasons.extend(failures);
                let (how, instead) = match self.is_mnist() {
                    true => ("--data DIR", ", or use the synthetic digits, which need no files"),
                    false => ("load_from(DIR)", ""),
                };
                let message = format!(
                    "could not be downloaded from any mirror:\n  {}\n\
                     download the four files of {} by hand ({}) and name their folder ({how}, or {}=DIR){instead}",
                    reasons.join("\n  "),
                    self.name,
                    FILES.each_ref().map(FileKind::gzipped_name).join(", "),
                    self.variable,
                );
                Err(Error::data(name, message))
            }
        }
    }
}

#[cfg(all(test, feature = "download"))]
mod download_tests {
    use super::super::digest::sha256_hex;
    use super::super::download::testing::{Answer, Server, dead_mirror, downloader};
    use super::super::idx_files::testing::{assert_fails, contents, folder_with, idx};
    use super::super::mnist::load_dir;
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
        let digests: [&'static str; 4] = digests().map(|digest| &*digest.leak());
        let family = Family { digests: Digests::Content(digests), ..MNIST };
        family.load_cached_or_download(cache, &downloader(mirrors))
    }

    /// As Fashion-MNIST and KMNIST have it: their published sums are of the gzipped files.
    #[test]
    fn sums_of_gzipped_files_are_checked_too() {
        let digests: [&'static str; 4] =
            contents().map(|content| &*sha256_hex(&[&gzip(&content)]).unwrap().leak());
        let family = Family { name: "Clothes", digests: Digests::Gzipped(digests), ..MNIST };
        let cache = tempfile::tempdir().unwrap();
        let load = |mirror: &str| family.load_cached_or_download(cache.path(), &downloader(&[mirror]));
        let server = mirror_with(None);
        for _ in 0..2 {
            let raw = load(&server.url).unwrap();
            assert_eq!((raw.name.as_str(), raw.is_real_mnist, raw.train.count), ("Clothes", false, 5));
            assert_eq!(server.requests.load(Ordering::Relaxed), 4);
        }
        assert_eq!(family.load_dir(cache.path()).unwrap().name, "Clothes");
        // The same content, packed otherwise: it can't be verified, so it is fetched anew.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        encoder.write_all(&contents()[2]).unwrap();
        fs::write(cache.path().join(FILES[2].gzipped_name()), encoder.finish().unwrap()).unwrap();
        assert!(family.load_dir(cache.path()).unwrap().name.contains("other t10k-images"));
        assert_fails(load(&dead_mirror()), &["the gzipped file", "Clothes", "load_from(DIR)", digests[2]]);
        load(&server.url).unwrap();
        assert_eq!(server.requests.load(Ordering::Relaxed), 5);
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
