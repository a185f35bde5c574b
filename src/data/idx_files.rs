//! The format of MNIST and its relatives: four IDX files with the images and labels of a training and a test set.

use std::fmt;
use std::path::{Path, PathBuf};

use super::digest::sha256_hex;
use super::idx::IdxArray;
use crate::io::budget::read_file;
use crate::{Error, Result};

/// Classes in MNIST and most of its relatives.
pub(super) const CLASSES: usize = 10;

/// One of the four files, under the names it goes by.
pub(super) struct FileKind {
    pub stem: &'static str,
    format: &'static str,
}

pub(super) const FILES: [FileKind; 4] = [
    FileKind { stem: "train-images", format: "idx3-ubyte" },
    FileKind { stem: "train-labels", format: "idx1-ubyte" },
    FileKind { stem: "t10k-images", format: "idx3-ubyte" },
    FileKind { stem: "t10k-labels", format: "idx1-ubyte" },
];

/// SHA-256 of the uncompressed `FILES` of MNIST. Not of the gzipped files, because repacked copies are
/// common and as good.
pub(super) const MNIST_SHA256: [&str; 4] = [
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
];

impl FileKind {
    pub fn gzipped_name(&self) -> String {
        format!("{}-{}.gz", self.stem, self.format)
    }

    /// The names to look for, in this order. Some archives have a dot for the second hyphen.
    pub fn names(&self) -> [String; 4] {
        let FileKind { stem, format } = self;
        [
            format!("{stem}-{format}"),
            self.gzipped_name(),
            format!("{stem}.{format}"),
            format!("{stem}.{format}.gz"),
        ]
    }

    /// Every file in `folder` that has one of the names. Folders don't count: one archive in
    /// circulation has the file in a folder of the same name.
    pub fn find(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        self.names().map(|name| folder.join(name)).into_iter().filter(|path| path.is_file())
    }
}

/// The training or the test half of a data set, as plain bytes. [`RawDataset::new`] has an example.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawSplit {
    /// Grey levels, `[count, height, width]` in row-major order; 0 is the background, 255 full ink.
    pub images: Vec<u8>,
    /// The class of each image, below `classes`.
    pub labels: Vec<u8>,
    /// How many images there are.
    pub count: usize,
    /// The height of an image in pixels.
    pub height: usize,
    /// The width of an image in pixels.
    pub width: usize,
    /// How many classes there are (not: how many occur).
    pub classes: usize,
}

impl RawSplit {
    /// Images of `[height, width]` grey levels each, one after the other, and a label below `classes` for each.
    ///
    /// # Errors
    ///
    /// There are more or fewer images than labels, images have no pixels, or a label is no class.
    pub fn new(
        images: Vec<u8>,
        labels: Vec<u8>,
        [height, width]: [usize; 2],
        classes: usize,
    ) -> Result<RawSplit> {
        const OP: &str = "RawSplit::new";
        let count = labels.len();
        if height == 0 || width == 0 {
            return Err(Error::argument(OP, format!("images of {height}x{width} have no pixels")));
        }
        if images.len() != count.saturating_mul(height).saturating_mul(width) {
            let message = format!(
                "{} bytes are not {count} images of {height}x{width}, as there are labels",
                images.len()
            );
            return Err(Error::argument(OP, message));
        }
        if let Some(label) = labels.iter().find(|&&label| usize::from(label) >= classes) {
            return Err(Error::argument(OP, format!("label {label} is no class: there are {classes}")));
        }
        Ok(RawSplit { images, labels, count, height, width, classes })
    }
}

// The derived form would print every pixel.
impl fmt::Debug for RawSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawSplit { count, height, width, classes, .. } = self;
        write!(f, "RawSplit {{ {count} images of {height}x{width}, {classes} classes }}")
    }
}

/// A data set of labelled images, as plain bytes; [`into_datasets`](RawDataset::into_datasets) makes data sets of tensors of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawDataset {
    /// What this is, for people: "MNIST", or where it came from.
    pub name: String,
    /// What to train on.
    pub train: RawSplit,
    /// What to test on.
    pub test: RawSplit,
    /// All four files are MNIST, byte for byte, by their SHA-256. Never true in a build without the
    /// feature `download`, which has no SHA-256.
    pub is_real_mnist: bool,
}

impl RawDataset {
    /// A data set of your own, to be [made into data sets](Self::into_datasets) of tensors.
    ///
    /// ```
    /// use wgrad::data::mnist::{RawDataset, RawSplit};
    /// # fn main() -> wgrad::Result<()> {
    /// let train = RawSplit::new(vec![0; 2 * 4], vec![1, 0], [2, 2], 2)?;
    /// let test = RawSplit::new(vec![255; 4], vec![1], [2, 2], 2)?;
    /// let (train, test) = RawDataset::new("mine", train, test).into_datasets()?;
    /// assert_eq!((train.len(), test.len()), (2, 1));
    /// # Ok(()) }
    /// ```
    pub fn new(name: impl Into<String>, train: RawSplit, test: RawSplit) -> RawDataset {
        RawDataset { name: name.into(), train, test, is_real_mnist: false }
    }
}

/// SHA-256 of the `FILES` of a data set.
#[derive(Clone, Copy)]
pub(super) enum Digests<'a> {
    /// Of what is in them. Repacked copies are as good.
    Content([&'a str; 4]),
    /// Of the gzipped files as they are published.
    Gzipped([&'a str; 4]),
}

impl<'a> Digests<'a> {
    pub fn get(&self, i: usize) -> &'a str {
        match self {
            Digests::Content(digests) | Digests::Gzipped(digests) => digests[i],
        }
    }
}

/// The content of one of the four files, and where it came from, for whoever has to repair it.
pub(super) struct Part {
    /// A path or an address.
    source: String,
    array: IdxArray,
    /// SHA-256 of what the digests are of; `None` where the build can't tell.
    digest: Option<String>,
}

impl Part {
    pub fn read(path: &Path, digests: Digests<'_>) -> Result<Part> {
        match digests {
            Digests::Content(_) => Ok(Part::of_content(path.display().to_string(), IdxArray::read(path)?)),
            Digests::Gzipped(_) => {
                let (bytes, _) = read_file(path)?;
                Part::parse(path.display().to_string(), &bytes, digests)
            }
        }
    }

    /// A part from the bytes of its file, gzipped or not.
    pub fn parse(source: String, bytes: &[u8], digests: Digests<'_>) -> Result<Part> {
        let array = IdxArray::parse(&source, bytes)?;
        Ok(match digests {
            Digests::Content(_) => Part::of_content(source, array),
            Digests::Gzipped(_) => Part { source, array, digest: sha256_hex(&[bytes]) },
        })
    }

    fn of_content(source: String, array: IdxArray) -> Part {
        let digest = sha256_hex(&[&array.header(), &array.data]);
        Part { source, array, digest }
    }

    #[cfg(feature = "download")]
    pub fn verified(self, digests: Digests<'_>, i: usize) -> Result<Part> {
        let expected = digests.get(i);
        let of = match digests {
            Digests::Content(_) => "its uncompressed content",
            Digests::Gzipped(_) => "the gzipped file",
        };
        match &self.digest {
            Some(digest) if digest == expected => Ok(self),
            digest => Err(self.error(format!(
                "is damaged or another file: the SHA-256 of {of} is {}, expected {expected}",
                digest.as_deref().unwrap_or("unknown")
            ))),
        }
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::data(&self.source, message)
    }
}

pub(super) fn load_dir_checked(
    dir: &Path,
    classes: usize,
    known: &str,
    is_mnist: bool,
    digests: Digests<'_>,
) -> Result<RawDataset> {
    let shown = dir.display();
    if !dir.is_dir() {
        let what = if dir.exists() { "is not a folder" } else { "there is no such folder" };
        let message = format!("{what}; expected a folder with {}, ...", FILES[0].gzipped_name());
        return Err(Error::data(shown.to_string(), message));
    }
    let (mut paths, mut missing) = (Vec::new(), Vec::new());
    for file in &FILES {
        match file.find(dir).next() {
            Some(path) => paths.push(path),
            None => missing.push(file.names().join(" or ")),
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "{} of the 4 files of the data set are missing; looked for\n  {}\n\
             copy them into this folder, or name the folder that has all four",
            missing.len(),
            missing.join("\n  ")
        );
        return Err(Error::data(shown.to_string(), message));
    }
    let part = |i: usize| Part::read(&paths[i], digests);
    let parts = [part(0)?, part(1)?, part(2)?, part(3)?];

    let differ: Vec<usize> = (0..4).filter(|&i| parts[i].digest.as_deref() != Some(digests.get(i))).collect();
    let name = match differ.len() {
        0 => known.to_string(),
        // Worth telling: a damaged file looks like this.
        1..4 => {
            let stems: Vec<_> = differ.iter().map(|&i| FILES[i].stem).collect();
            format!("{known} with other {}, from {shown}", stems.join(" and "))
        }
        _ => format!("data set from {shown}"),
    };
    assemble(name, differ.is_empty() && is_mnist, classes, parts)
}

pub(super) fn assemble(
    name: String,
    is_real_mnist: bool,
    classes: usize,
    parts: [Part; 4],
) -> Result<RawDataset> {
    let [train_images, train_labels, test_images, test_labels] = parts;
    let (train_source, test_source) = (train_images.source.clone(), test_images.source.clone());
    let train = split(train_images, train_labels, classes)?;
    let test = split(test_images, test_labels, classes)?;
    if (train.height, train.width) != (test.height, test.width) {
        let message = format!(
            "has images of {}x{}, but the training images ({train_source}) are {}x{}; \
             these files are from two data sets",
            test.height, test.width, train.height, train.width
        );
        return Err(Error::data(test_source, message));
    }
    Ok(RawDataset { name, train, test, is_real_mnist })
}

fn split(images: Part, labels: Part, classes: usize) -> Result<RawSplit> {
    const SWAPPED: &str = "were images and labels swapped?";
    let &[count, height, width] = images.array.dims.as_slice() else {
        return Err(images.error(format!(
            "has dimensions {:?}; expected three, [images, height, width]; {SWAPPED}",
            images.array.dims
        )));
    };
    let &[label_count] = labels.array.dims.as_slice() else {
        return Err(labels
            .error(format!("has dimensions {:?}; expected one, [labels]; {SWAPPED}", labels.array.dims)));
    };
    if count != label_count {
        return Err(labels.error(format!(
            "has {label_count} labels, but there are {count} images ({}); \
             these files don't belong together: take both from the same archive",
            images.source
        )));
    }
    if images.array.data.is_empty() {
        return Err(images.error(format!("has no pixels: its dimensions are {:?}", images.array.dims)));
    }
    if let Some(at) = labels.array.data.iter().position(|&label| usize::from(label) >= classes) {
        return Err(labels.error(format!(
            "has the label {} at position {at}; expected labels below {classes}, the number of classes; \
             if the data set has more classes, load it with that number",
            labels.array.data[at]
        )));
    }
    let (images, labels) = (images.array.data, labels.array.data);
    Ok(RawSplit { images, labels, count, height, width, classes })
}

/// A small data set on disk, for the tests of this module and of the cache.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::fs;

    /// The content of an IDX file whose bytes count up from `first`, modulo 10.
    pub fn idx(dims: &[usize], first: usize) -> Vec<u8> {
        let data = (first..first + dims.iter().product::<usize>()).map(|i| (i % 10) as u8).collect();
        let array = IdxArray { dims: dims.to_vec(), data };
        [array.header(), array.data].concat()
    }

    /// In the order of `FILES`: 5 training and 3 test images of 4x2.
    pub fn contents() -> [Vec<u8>; 4] {
        [idx(&[5, 4, 2], 0), idx(&[5], 3), idx(&[3, 4, 2], 7), idx(&[3], 1)]
    }

    pub fn folder_with(contents: &[Vec<u8>; 4]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in FILES.iter().zip(contents) {
            fs::write(folder.path().join(&file.names()[0]), content).unwrap();
        }
        folder
    }

    pub fn assert_fails(result: Result<RawDataset>, expected: &[&str]) {
        let message = result.unwrap_err().to_string();
        for word in expected {
            assert!(message.contains(word), "no {word:?} in: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mnist::{load_dir, load_dir_with_classes};
    use super::testing::{assert_fails, contents, folder_with, idx};
    use super::*;
    use std::fs;

    #[test]
    fn loads_a_folder_under_each_of_the_names() {
        for spelling in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            for (file, content) in FILES.iter().zip(contents()) {
                // Content that isn't gzipped under names that end in .gz too: the name doesn't matter.
                fs::write(folder.path().join(&file.names()[spelling]), content).unwrap();
            }
            let RawDataset { name, train, test, is_real_mnist } = load_dir(folder.path()).unwrap();
            assert!(!is_real_mnist && name.contains(&folder.path().display().to_string()), "{name}");
            assert_eq!((train.count, train.height, train.width, train.classes), (5, 4, 2, 10));
            assert_eq!((test.count, test.height, test.width, test.classes), (3, 4, 2, 10));
            assert_eq!(train.labels, [3, 4, 5, 6, 7]);
            assert_eq!(test.labels, [1, 2, 3]);
            assert_eq!((train.images.len(), &train.images[..3]), (40, &[0, 1, 2][..]));
            assert_eq!((test.images.len(), &test.images[..3]), (24, &[7, 8, 9][..]));
        }
    }

    #[test]
    fn a_folder_named_like_the_file_is_passed_over() {
        let folder = folder_with(&contents());
        let [plain, _, dotted, _] = FILES[0].names().map(|name| folder.path().join(name));
        fs::rename(&plain, dotted).unwrap();
        fs::create_dir(&plain).unwrap();
        load_dir(folder.path()).unwrap();
    }

    #[test]
    fn missing_files_are_listed_with_every_name() {
        let folder = folder_with(&contents());
        for file in &FILES[1..3] {
            fs::remove_file(folder.path().join(&file.names()[0])).unwrap();
        }
        let result = load_dir(folder.path());
        assert!(!result.as_ref().unwrap_err().to_string().contains("train-images"));
        let names: Vec<_> = FILES[1..3].iter().flat_map(FileKind::names).collect();
        let mut expected: Vec<_> = names.iter().map(String::as_str).collect();
        expected.push("2 of the 4 files");
        assert_fails(result, &expected);

        assert_fails(load_dir(&folder.path().join("nowhere")), &["nowhere", "no such folder"]);
        let file = folder.path().join(&FILES[0].names()[0]);
        assert_fails(load_dir(&file), &["train-images", "is not a folder"]);
    }

    #[test]
    fn files_that_do_not_belong_together_are_rejected() {
        let cases: [(usize, Vec<u8>, &[&str]); 8] = [
            (1, idx(&[6], 0), &["train-labels", "6 labels", "5 images", "train-images"]),
            (3, idx(&[2], 0), &["t10k-labels", "2 labels", "3 images"]),
            (2, idx(&[3, 2, 4], 0), &["t10k-images", "2x4", "4x2", "train-images"]),
            (0, idx(&[5], 0), &["train-images", "[5]", "expected three", "swapped"]),
            (1, idx(&[5, 1], 0), &["train-labels", "[5, 1]", "expected one", "swapped"]),
            (0, idx(&[5, 0, 2], 0), &["train-images", "no pixels", "[5, 0, 2]"]),
            (
                1,
                vec![0, 0, 8, 1, 0, 0, 0, 5, 0, 9, 10, 0, 0],
                &["train-labels", "label 10 at position 2", "below 10"],
            ),
            (2, idx(&[3, 4, 2], 0)[..30].to_vec(), &["t10k-images", "truncated"]),
        ];
        for (i, content, expected) in cases {
            let mut contents = contents();
            contents[i] = content;
            assert_fails(load_dir(folder_with(&contents).path()), expected);
        }
    }

    #[test]
    fn an_empty_data_set_is_rejected() {
        let mut contents = contents();
        (contents[0], contents[1]) = (idx(&[0, 4, 2], 0), idx(&[0], 0));
        assert_fails(load_dir(folder_with(&contents).path()), &["no pixels"]);
    }

    #[test]
    fn the_number_of_classes_bounds_the_labels() {
        let folder = folder_with(&contents());
        assert_fails(load_dir_with_classes(folder.path(), 7), &["label 7 at position 4", "below 7"]);
        let dataset = load_dir_with_classes(folder.path(), 47).unwrap();
        assert_eq!((dataset.train.classes, dataset.test.classes), (47, 47));
    }

    #[cfg(feature = "download")]
    #[test]
    fn a_mixture_of_right_and_wrong_files_is_named() {
        let digests = contents().map(|content| sha256_hex(&[&content]).unwrap());
        let digests = digests.each_ref().map(String::as_str);
        let mut contents = contents();
        let load = |contents: &_| {
            load_dir_checked(folder_with(contents).path(), 10, "MNIST", true, Digests::Content(digests))
                .unwrap()
        };
        let same = load(&contents);
        assert!(same.is_real_mnist && same.name == "MNIST", "{}", same.name);
        contents[3][8] ^= 1;
        let mixed = load(&contents);
        assert!(!mixed.is_real_mnist && mixed.name.contains("other t10k-labels"), "{}", mixed.name);
    }

    /// Loads MNIST itself where the environment says it is.
    #[test]
    fn real_mnist_is_recognised() {
        let Some(dir) = std::env::var_os("WGRAD_MNIST_DIR") else { return };
        let loaded = load_dir(Path::new(&dir));
        if cfg!(not(feature = "download")) {
            return assert!(loaded.is_ok() || loaded.unwrap_err().to_string().contains("gunzip"));
        }
        let RawDataset { name, train, test, is_real_mnist } = loaded.unwrap();
        assert!(is_real_mnist);
        assert_eq!(name, "MNIST");
        assert_eq!((train.count, test.count), (60_000, 10_000));
        assert_eq!((train.height, train.width), (28, 28));
        assert_eq!(train.labels[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
        assert_eq!(test.labels[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
        // The mean grey level that everyone normalises with.
        let sum: u64 = train.images.iter().map(|&pixel| u64::from(pixel)).sum();
        let mean = sum as f64 / train.images.len() as f64 / 255.0;
        assert!((mean - 0.1307).abs() < 1e-4, "{mean}");
    }
}
