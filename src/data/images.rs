//! Folders of image files.

use super::{Dataset, Pipeline, Sample};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::seed::permutation;
use crate::tensor::Tensor;
use image::{DynamicImage, ImageReader, imageops::FilterType};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder with one folder for each class, and in these (at any depth) image files: PNG or JPEG, by the ending of their
/// names, in whatever case. Classes are counted in the order of their names. Keras's `image_dataset_from_directory`.
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
/// # let mut trainer = Trainer::new(model, Adam::new(1e-3), loss);
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
            n => format!("has {n} folders in it, but no file that ends in .png, .jpg or .jpeg"),
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
        if matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg")) {
            files.push((entry, class));
        }
    }
    Ok(())
}

/// The image files of [`image_folder`], and how they are to be read.
#[derive(Clone, Debug)]
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
                _ => Ok((size, None)),
            };
        }
        let mut failed = None;
        for (path, _) in self.files.iter() {
            match open(path) {
                Ok(image) => {
                    return Ok(([image.height() as usize, image.width() as usize], Some(path.clone())));
                }
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
            if [image.height() as usize, image.width() as usize] != [h, w] {
                if !resize {
                    let message = format!(
                        "is {}x{} (height x width), but {} is {h}x{w}; name a size for all: .size([{h}, {w}])",
                        image.height(),
                        image.width(),
                        like.as_deref().unwrap_or(Path::new("the first file")).display()
                    );
                    return Err(Error::data(path.display().to_string(), message));
                }
                image = image.resize_exact(w as u32, h as u32, FilterType::Triangle);
            }
            let bytes = if grey { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
            Ok(Pixels { bytes, class })
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
            pixels.extend(bytes);
            labels.push(class);
        }
        if labels.is_empty() {
            return Err(Error::data(&self.name, "has no image that can be decoded"));
        }
        let n = labels.len();
        let pixels = Tensor::from_vec(pixels, [n, h, w, c], Device::Cpu)?;
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

fn open(path: &Path) -> Result<DynamicImage> {
    let reader = ImageReader::open(path).map_err(|e| Error::io(path, e))?;
    // By what is in the file: a JPEG that is called .png is still a picture.
    let reader = reader.with_guessed_format().map_err(|e| Error::io(path, e))?;
    reader.decode().map_err(|e| {
        let message = format!(
            "can't be decoded as PNG or JPEG: {e}; remove the file, or leave such files out with skip_bad"
        );
        Error::data(path.display().to_string(), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Pass, Source};
    use image::{GrayImage, Luma, Rgb, RgbImage};

    /// Two classes: `b` has red images, `a` has blue ones, 4x6.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (class, colour, names) in [
            ("b", [255, 0, 0], &["1.png", "2.PNG"][..]),
            ("a", [0, 0, 255], &["x.png", "deep/y.png", "z.jpg"]),
        ] {
            for name in names {
                let path = folder.path().join(class).join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                RgbImage::from_pixel(6, 4, Rgb(colour)).save(&path).unwrap();
            }
        }
        fs::write(folder.path().join("a/notes.txt"), "no image").unwrap();
        fs::create_dir(folder.path().join(".hidden")).unwrap();
        fs::write(folder.path().join(".hidden/x.png"), "no image").unwrap();
        folder
    }

    #[test]
    fn classes_are_folders_and_files_are_sorted() {
        let folder = folder();
        let images = image_folder(folder.path()).unwrap();
        assert_eq!(images.classes(), ["a", "b"]);
        let names: Vec<_> = images
            .files()
            .iter()
            .map(|(p, class)| (p.strip_prefix(folder.path()).unwrap().display().to_string(), *class))
            .collect();
        let expected = [("a/deep/y.png", 0), ("a/x.png", 0), ("a/z.jpg", 0), ("b/1.png", 1), ("b/2.PNG", 1)];
        assert_eq!(names, expected.map(|(n, c)| (n.replace('/', std::path::MAIN_SEPARATOR_STR), c)));
    }

    #[test]
    fn memory_and_pipeline_have_the_same_samples() {
        let folder = folder();
        for images in [
            image_folder(folder.path()).unwrap(),
            image_folder(folder.path()).unwrap().size([2, 3]),
            image_folder(folder.path()).unwrap().size([5, 5]).grey().threads(3),
        ] {
            let set = images.load().unwrap();
            assert_eq!((set.len(), set.classes().len()), (5, 2));
            let pass = Pass { batch_size: 3, shuffle: None, device: Device::Cpu };
            let all = |source: &dyn Source| {
                let mut found = (Vec::new(), Vec::new());
                for batch in source.pass(&pass).unwrap() {
                    let batch = batch.unwrap();
                    found.0.extend(batch.inputs[0].to_vec::<f32>().unwrap());
                    found.1.extend(batch.targets[0].to_vec::<u32>().unwrap());
                }
                found
            };
            let pipeline = images.pipeline().unwrap();
            let (pixels, labels) = all(&pipeline);
            assert_eq!((&pixels, &labels), (&all(&set).0, &all(&set).1));
            assert_eq!(labels, [0, 0, 0, 1, 1]);
            // in other orders the same images
            let shuffled = images.clone().shuffled(1).pipeline().unwrap();
            let mut sorted = all(&shuffled).1;
            sorted.sort_unstable();
            assert_eq!(sorted, labels);
        }
        let rgb = image_folder(folder.path()).unwrap().load().unwrap();
        assert_eq!(rgb.sample_shape(), [4, 6, 3]);
        let bytes = rgb.features().to_vec::<u8>().unwrap();
        assert_eq!((&bytes[..3], &bytes[bytes.len() - 3..]), (&[0, 0, 255][..], &[255, 0, 0][..]));
    }

    #[test]
    fn the_file_that_is_bad_is_named_or_left_out() {
        let folder = folder();
        let bad = folder.path().join("a/w.png");
        fs::write(&bad, "this is no image").unwrap();
        let images = image_folder(folder.path()).unwrap();
        for error in [
            images.load().unwrap_err(),
            images.clone().size([4, 4]).pipeline().unwrap().iter().collect::<Result<Vec<_>>>().unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.contains("w.png") && message.contains("skip_bad"), "{message}");
        }
        assert_eq!(images.clone().skip_bad().load().unwrap().len(), 5);
        // the first file of all is bad, and no size was given
        fs::write(folder.path().join("a/0.png"), "").unwrap();
        let images = image_folder(folder.path()).unwrap();
        assert!(images.pipeline().unwrap_err().to_string().contains("0.png"));
        assert_eq!(images.skip_bad().load().unwrap().len(), 5);
    }

    #[test]
    fn sizes_that_differ_need_a_size() {
        let folder = folder();
        let other = folder.path().join("b/3.png");
        GrayImage::from_pixel(5, 7, Luma([9])).save(&other).unwrap();
        let images = image_folder(folder.path()).unwrap();
        let message = images.load().unwrap_err().to_string();
        assert!(
            message.contains("3.png") && message.contains("7x5") && message.contains(".size([4, 6])"),
            "{message}"
        );
        assert_eq!(images.size([4, 6]).load().unwrap().len(), 6);
    }

    #[test]
    fn files_are_split_without_overlap() {
        let folder = folder();
        let images = image_folder(folder.path()).unwrap();
        let (train, validation) = images.split(0.4, 3).unwrap();
        assert_eq!((train.len(), validation.len()), (3, 2));
        let mut all = [train.files(), validation.files()].concat();
        all.sort();
        assert_eq!(all, images.files());
        assert!(images.split(1.0, 3).is_err() && images.split(0.0, 3).is_err());
    }

    #[test]
    fn folders_without_images_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| image_folder(path).unwrap_err().to_string();
        assert!(message(folder.path()).contains("one for each class"));
        fs::create_dir(folder.path().join("cats")).unwrap();
        assert!(message(folder.path()).contains("no file that ends in .png"));
        assert!(message(&folder.path().join("nowhere")).contains("nowhere"));
    }
}
