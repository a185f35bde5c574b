//! Kuzushiji-MNIST (Clanuwat and others, "Deep learning for classical Japanese literature", 2018): 60,000 training and 10,000
//! test images of ten cursive hiragana, 28x28 grey levels, in MNIST's format.

use super::Dataset;
use super::idx_files::Digests;
use super::mnist_cache::Family;
use crate::error::Result;
use std::path::Path;

/// The names of the classes: how the characters are read.
pub const CLASSES: [&str; 10] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];

/// The environment variable that names a folder to load instead of the user's cache.
pub const FOLDER_VARIABLE: &str = "WGRAD_KMNIST";

/// The sums are those that TensorFlow Datasets publishes for the gzipped files.
const FAMILY: Family = Family {
    name: "KMNIST",
    folder: "kmnist",
    variable: FOLDER_VARIABLE,
    mirrors: &[
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ],
    largest: 18_165_135,
    digests: Digests::Gzipped([
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ]),
};

/// The training and the test set: images `[28, 28, 1]` in 0 to 1, labels 0 to 9, with the names of the classes.
///
/// Looked for in the folder that the environment variable `WGRAD_KMNIST` names, if it is set; otherwise in the user's cache
/// (see [`mnist::load_or_download`](super::mnist::load_or_download)), into which the files that are missing or damaged are
/// downloaded (21 MB in all, feature `download`) and verified by their SHA-256.
///
/// # Errors
///
/// The folder that was named doesn't hold a data set, no mirror delivers a file that passes the check, or the cache can't
/// be written.
pub fn load() -> Result<(Dataset, Dataset)> {
    FAMILY.load()?.into_named_datasets(&CLASSES)
}

/// The training and test set in a folder with the four files: see [`mnist::load_dir`](super::mnist::load_dir). The data
/// sets are called KMNIST where the files pass the check.
///
/// # Errors
///
/// As [`mnist::load_dir`](super::mnist::load_dir).
pub fn load_from(dir: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    FAMILY.load_dir(dir.as_ref())?.into_named_datasets(&CLASSES)
}

#[cfg(test)]
mod tests {
    use super::super::idx_files::testing::{contents, folder_with};

    #[test]
    fn a_folder_is_loaded_with_the_names_of_the_classes() {
        let (train, _) = super::load_from(folder_with(&contents()).path()).unwrap();
        assert_eq!((train.len(), train.classes()[3].as_str()), (5, "tsu"));
    }
}
