//! Fashion-MNIST (Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
//! algorithms", 2017): 60,000 training and 10,000 test images of clothes, 28x28 grey levels, in MNIST's format.

use super::Dataset;
use super::idx_files::Digests;
use super::mnist_cache::Family;
use crate::error::Result;
use std::path::Path;

/// The names of the classes.
pub const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The environment variable that names a folder to load instead of the user's cache.
pub const FOLDER_VARIABLE: &str = "WGRAD_FASHION_MNIST";

/// The sums are those that TensorFlow Datasets publishes for the gzipped files.
const FAMILY: Family = Family {
    name: "Fashion-MNIST",
    folder: "fashion_mnist",
    variable: FOLDER_VARIABLE,
    mirrors: &[
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ],
    largest: 26_421_880,
    digests: Digests::Gzipped([
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ]),
};

/// The training and the test set: images `[28, 28, 1]` in 0 to 1, labels 0 to 9, with the names of the classes.
///
/// Looked for in the folder that the environment variable `WGRAD_FASHION_MNIST` names, if it is set; otherwise in the
/// user's cache (see [`mnist::load_or_download`](super::mnist::load_or_download)), into which the files that are missing
/// or damaged are downloaded (31 MB in all, feature `download`) and verified by their SHA-256.
///
/// ```no_run
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// let (train, test) = data::fashion_mnist::load()?;
/// assert_eq!((train.len(), test.len()), (60_000, 10_000));
/// println!("class 9 is {}", train.classes()[9]); // Ankle boot
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The folder that was named doesn't hold a data set, no mirror delivers a file that passes the check, or the cache can't
/// be written.
pub fn load() -> Result<(Dataset, Dataset)> {
    FAMILY.load()?.into_named_datasets(&CLASSES)
}

/// The training and test set in a folder with the four files: see [`mnist::load_dir`](super::mnist::load_dir). The data
/// sets are called Fashion-MNIST where the files pass the check.
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
        let folder = folder_with(&contents());
        let (train, test) = super::load_from(folder.path()).unwrap();
        assert_eq!((train.len(), test.len(), train.classes().len()), (5, 3, 10));
        assert_eq!((test.classes()[9].as_str(), train.sample_shape()), ("Ankle boot", &[4, 2, 1][..]));
        assert!(train.name().contains(&folder.path().display().to_string()), "{}", train.name());
    }
}
