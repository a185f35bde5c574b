//! Folders of images, and images that are bombs, turned, or cut off.

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
