//! Folders of image files.

mod decode;

use self::decode::open;
use super::{Dataset, Pipeline, Sample};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::seed::permutation;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder with one folder for each class, and in these (at any depth) image files: PNG, JPEG, BMP or GIF (of which the first
/// image counts), by the ending of their names, in whatever case. Classes are counted in the order of their names. Photographs
/// are turned as their EXIF data says. Keras's `image_dataset_from_directory`. Needs the feature `images`.
///
/// ```no_run
/// use wgrad::data::{self, Source};
/// use wgrad::prelude::*;
///
/// # fn main() -> Result<()> {
/// let images = data::image_folder("flowers")?.size([64, 64]);
/// println!("{} images of {}", images.len(), images.classes().join(", "));
/// let (train, validation) = images.split(0.2, 1)?;
/// // A small set goes into memory,
/// let validation = validation.load()?;
/// // and one that is larger is decoded as it is read, on all cores.
/// let train = train.shuffled(1).pipeline()?.batch(32).prefetch(2);
/// # let model = Sequential::new().add(Flatten::new()).add(Dense::new(3)).build([64, 64, 3], Device::Cpu)?;
/// # let loss = SparseCategoricalCrossentropy::from_logits();
/// # let mut trainer = Trainer::new(model, Adam::new(1e-3), loss).build()?;
/// trainer.fit(&train, Fit::epochs(10).validation(&validation))?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The folder can't be read, has no folders in it, or these have no images.
pub fn image_folder(path: impl AsRef<Path>) -> Result<ImageFolder> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let mut classes = Vec::new();
    for entry in entries(path)? {
        if entry.is_dir() && !hidden(&entry) {
            classes.push(entry);
        }
    }
    let mut files = Vec::new();
    for (class, folder) in (0u32..).zip(&classes) {
        find(folder, class, &mut files)?;
    }
    if files.is_empty() {
        let message = match classes.len() {
            0 => "has no folders in it; expected one for each class, with its images".to_string(),
            n => format!("has {n} folders in it, but no file that ends in .png, .jpg, .jpeg, .bmp or .gif"),
        };
        return Err(Error::data(name, message));
    }
    let class_name =
        |p: &PathBuf| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(ImageFolder {
        name,
        classes: classes.iter().map(class_name).collect(),
        files: Arc::new(files),
        size: None,
        grey: false,
        skip_bad: false,
        threads: 0,
        shuffle: None,
    })
}

/// What is in a folder, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut entries = read
        .map(|entry| entry.map(|e| e.path()).map_err(|e| Error::io(folder, e)))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn find(folder: &Path, class: u32, files: &mut Vec<(PathBuf, u32)>) -> Result<()> {
    for entry in entries(folder)? {
        if hidden(&entry) {
            continue;
        }
        // A link to a folder may lead in a circle; a link to a file is as good as the file.
        if entry.is_dir() {
            if !entry.is_symlink() {
                find(&entry, class, files)?;
            }
            continue;
        }
        let ending = entry.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg" | "bmp" | "gif")) {
            files.push((entry, class));
        }
    }
    Ok(())
}

/// The image files of [`image_folder`], where there is an example, and how they are to be read (feature `images`).
#[derive(Clone, Debug)]
#[must_use]
pub struct ImageFolder {
    name: String,
    classes: Vec<String>,
    files: Arc<Vec<(PathBuf, u32)>>,
    size: Option<[usize; 2]>,
    grey: bool,
    skip_bad: bool,
    threads: usize,
    shuffle: Option<u64>,
}

impl ImageFolder {
    /// Height and width that images are resized to (bilinear; what is to become smaller is averaged). Where nothing is said
    /// all must have the size of the first.
    pub fn size(mut self, size: [usize; 2]) -> ImageFolder {
        self.size = Some(size);
        self
    }

    /// One channel, the luminance, instead of red, green and blue. (Transparency is ignored.)
    pub fn grey(mut self) -> ImageFolder {
        self.grey = true;
        self
    }

    /// Leaves out files that can't be decoded, which are errors otherwise.
    pub fn skip_bad(mut self) -> ImageFolder {
        self.skip_bad = true;
        self
    }

    /// How many threads decode; 0, as where nothing is said, is one for each core.
    pub fn threads(mut self, threads: usize) -> ImageFolder {
        self.threads = threads;
        self
    }

    /// Each pass of the [`pipeline`](Self::pipeline) reads the files in another random order.
    pub fn shuffled(mut self, seed: u64) -> ImageFolder {
        self.shuffle = Some(seed);
        self
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The files with their classes.
    pub fn files(&self) -> &[(PathBuf, u32)] {
        &self.files
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What to train on, and a random `fraction` of the files to validate with.
    ///
    /// # Errors
    ///
    /// One of the two would be empty.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(ImageFolder, ImageFolder)> {
        let train = (self.len() as f64 * (1.0 - fraction)).floor();
        if !(train >= 1.0 && train < self.len() as f64) {
            let message = format!(
                "split({fraction}) of {} files leaves nothing for one side; expected a fraction between 0 and 1",
                self.len()
            );
            return Err(Error::data(&self.name, message));
        }
        let order = permutation(self.len() as u32, seed);
        let (first, second) = order.split_at(train as usize);
        let part = |order: &[u32]| {
            // in the order of the names, as all files are
            let mut order = order.to_vec();
            order.sort_unstable();
            let files = order.iter().filter_map(|&i| self.files.get(i as usize).cloned()).collect();
            ImageFolder { files: Arc::new(files), ..self.clone() }
        };
        Ok((part(first), part(second)))
    }

    fn no_room(&self, bytes: usize) -> Error {
        let message =
            format!("no room for {bytes} bytes of {}; use pipeline(), or a smaller size", self.name);
        Error::OutOfMemory { device: "cpu".into(), message }
    }

    fn channels(&self) -> usize {
        if self.grey { 1 } else { 3 }
    }

    /// The size that was asked for, or that of the first file that can be read.
    fn target_size(&self) -> Result<([usize; 2], Option<PathBuf>)> {
        if let Some(size) = self.size {
            return match size {
                [0, _] | [_, 0] => {
                    Err(Error::argument("image_folder", format!("the size is {size:?}; expected pixels")))
                }
                [h, w] => Shape::new(&[h, w, self.channels()]).map(|_| (size, None)),
            };
        }
        let mut failed = None;
        for (path, _) in self.files.iter() {
            match open(path) {
                Ok(image) => return Ok((image.size(), Some(path.clone()))),
                Err(error) if self.skip_bad => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or_else(|| Error::data(&self.name, "has no images")))
    }

    /// What is in each file, and the shape of all: `[height, width, channels]`.
    fn bytes(&self) -> Result<(Pipeline<Pixels>, [usize; 3])> {
        let ([h, w], like) = self.target_size()?;
        let files = self.files.clone();
        let mut paths = Pipeline::indexed(&self.name, self.len(), move |i| {
            files.get(i).cloned().ok_or_else(|| Error::argument("image_folder", format!("no file {i}")))
        });
        if let Some(seed) = self.shuffle {
            paths = paths.shuffle(self.len().max(1), seed);
        }
        let (grey, resize) = (self.grey, self.size.is_some());
        let images = paths.par_map(self.threads, move |(path, class)| {
            let mut image = open(&path)?;
            let [height, width] = image.size();
            if [height, width] != [h, w] {
                if !resize {
                    let message = format!(
                        "is {height}x{width} (height x width), but {} is {h}x{w}; name a size for all: .size([{h}, {w}])",
                        like.as_deref().unwrap_or(Path::new("the first file")).display()
                    );
                    return Err(Error::data(path.display().to_string(), message));
                }
                image = image.resized([h, w])?;
            }
            Ok(Pixels { bytes: image.bytes(grey), class })
        });
        let images = if self.skip_bad { images.ignore_errors() } else { images };
        Ok((images, [h, w, self.channels()]))
    }

    /// Images `[height, width, channels]`, f32 in 0 to 1, with their classes (u32), decoded as they are read.
    ///
    /// # Errors
    ///
    /// No size was given, and the first file can't be decoded. In the place of a sample: its file can't be decoded (the
    /// error names it), or it has another size.
    pub fn pipeline(&self) -> Result<Pipeline<Sample>> {
        let (images, shape) = self.bytes()?;
        Ok(images.map(move |Pixels { bytes, class }| {
            let values = bytes.into_iter().map(|v| f32::from(v) * SCALE as f32).collect();
            Sample::new(Tensor::from_vec(values, shape, Device::Cpu)?, class)
        }))
    }

    /// All images in memory, as bytes that are scaled to 0 to 1 as they are read; with the names of the classes.
    ///
    /// # Errors
    ///
    /// A file can't be decoded or has another size; or none is left.
    pub fn load(&self) -> Result<Dataset> {
        let (images, [h, w, c]) = self.bytes()?;
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for image in &images {
            let Pixels { bytes, class } = image?;
            pixels.try_reserve(bytes.len()).map_err(|_| self.no_room(pixels.len() + bytes.len()))?;
            pixels.extend(bytes);
            labels.push(class);
        }
        if labels.is_empty() {
            return Err(Error::data(&self.name, "has no image that can be decoded"));
        }
        let n = labels.len();
        let pixels =
            Tensor::from_vec(pixels, [n, h, w, c], Device::Cpu).map_err(|e| e.of_file(&self.name))?;
        let labels = Tensor::from_vec(labels, [n], Device::Cpu)?;
        Ok(Dataset::from_tensors(&self.name, &pixels, &labels)?.scaled(SCALE).with_classes(&self.classes))
    }
}

/// An image, decoded.
struct Pixels {
    bytes: Vec<u8>,
    class: u32,
}

const SCALE: f64 = 1.0 / 255.0;

#[cfg(test)]
mod tests;
