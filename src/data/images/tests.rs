//! Folders of images, and images that are bombs, turned, or cut off.

use super::*;
use crate::data::{Pass, Source};
use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, Luma, Rgb, RgbImage, codecs::jpeg::JpegEncoder,
};
use std::time::{Duration, Instant};

/// Two classes: `b` has red images, `a` has blue ones, 4x6.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (class, colour, names) in
        [("b", [255, 0, 0], &["1.png", "2.PNG"][..]), ("a", [0, 0, 255], &["x.png", "deep/y.png", "z.jpg"])]
    {
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

/// A folder of one class with one file.
fn single(name: &str, content: &[u8]) -> (tempfile::TempDir, ImageFolder) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("class").join(name);
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let images = image_folder(folder.path()).unwrap();
    (folder, images)
}

/// Red, green, blue and white quarters: left to right, top to bottom.
const QUARTERS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];
const HEIGHT: usize = 32;
const WIDTH: usize = 64;

fn quarter(row: usize, column: usize) -> [u8; 3] {
    QUARTERS[2 * (row / (HEIGHT / 2)) + column / (WIDTH / 2)]
}

/// The four quarters are where they should be.
fn upright(images: &ImageFolder, what: &str) {
    let set = images.load().unwrap();
    assert_eq!(set.sample_shape(), [HEIGHT, WIDTH, 3], "{what}");
    let pixels = set.features().to_vec::<u8>().unwrap();
    for (row, column) in [(8, 16), (8, 48), (24, 16), (24, 48), (4, 60), (28, 4)] {
        let found = &pixels[3 * (row * WIDTH + column)..][..3];
        let near = found.iter().zip(quarter(row, column)).all(|(a, b)| a.abs_diff(b) < 12);
        assert!(near, "{what}: {found:?} in row {row}, column {column}");
    }
}

#[test]
fn photographs_lay_on_their_side() {
    // By the definition of the tag: the visual place of the stored row and column.
    let (h, w) = (HEIGHT, WIDTH);
    type Place = fn(usize, usize, usize, usize) -> (usize, usize);
    let places: [Place; 8] = [
        |r, c, _, _| (r, c),
        |r, c, _, w| (r, w - 1 - c),
        |r, c, h, w| (h - 1 - r, w - 1 - c),
        |r, c, h, _| (h - 1 - r, c),
        |r, c, _, _| (c, r),
        |r, c, _, w| (c, w - 1 - r),
        |r, c, h, w| (h - 1 - c, w - 1 - r),
        |r, c, h, _| (h - 1 - c, r),
    ];
    for (tag, place) in (1u8..).zip(places) {
        let (rows, columns) = if tag > 4 { (w, h) } else { (h, w) };
        let stored = RgbImage::from_fn(columns as u32, rows as u32, |c, r| {
            let (row, column) = place(r as usize, c as usize, h, w);
            Rgb(quarter(row, column))
        });
        let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[tag, 0, 0, 0, 0, 0, 0, 0]]
            .concat();
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.set_exif_metadata(exif.clone()).unwrap();
        encoder.encode_image(&DynamicImage::ImageRgb8(stored)).unwrap();
        upright(&single("photo.jpg", &jpeg).1, &format!("orientation {tag}"));
        // Damaged EXIF data turn nothing.
        let at = jpeg.windows(exif.len()).position(|part| part == exif).unwrap();
        jpeg[at..at + 8].fill(0xff);
        if tag == 1 {
            upright(&single("photo.jpg", &jpeg).1, "damaged EXIF data");
        } else if tag == 6 {
            assert_eq!(single("photo.jpg", &jpeg).1.load().unwrap().sample_shape(), [w, h, 3]);
        }
    }
}

#[test]
fn bmp_and_gif_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("class")).unwrap();
    let image = RgbImage::from_fn(WIDTH as u32, HEIGHT as u32, |c, r| Rgb(quarter(r as usize, c as usize)));
    for name in ["a.bmp", "b.gif", "c.BMP", "d.png"] {
        image.save(folder.path().join("class").join(name)).unwrap();
    }
    let images = image_folder(folder.path()).unwrap();
    assert_eq!(images.len(), 4);
    for i in 0..4 {
        let one = ImageFolder { files: Arc::new(vec![images.files()[i].clone()]), ..images.clone() };
        upright(&one, &images.files()[i].0.display().to_string());
    }
    // Of an animation the first image.
    let path = folder.path().join("class/b.gif");
    let mut encoder = image::codecs::gif::GifEncoder::new(fs::File::create(&path).unwrap());
    for image in [image, RgbImage::new(WIDTH as u32, HEIGHT as u32)] {
        encoder.encode_frame(image::Frame::new(DynamicImage::ImageRgb8(image).into_rgba8())).unwrap();
    }
    drop(encoder);
    let one = ImageFolder { files: Arc::new(vec![(path, 0)]), ..images };
    upright(&one, "an animation");
}

/// That a file is refused, before any memory is taken for it.
fn refused(images: &ImageFolder, words: &[&str]) {
    let began = Instant::now();
    let message = images.load().unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn images_that_are_bombs_took_a_gigabyte_a_core() {
    const WORDS: &str = "more memory than its size explains";
    let small = RgbImage::from_pixel(8, 8, Rgb([1, 2, 3]));
    let encode = |format| {
        let mut content = std::io::Cursor::new(Vec::new());
        small.write_to(&mut content, format).unwrap();
        content.into_inner()
    };
    // Height and width in the frame's header.
    let mut jpeg = encode(image::ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for side in [20_000u16, 65_000] {
        jpeg[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
        refused(&single("bomb.jpg", &jpeg).1, &["bomb.jpg"]);
    }
    // All coefficients of a progressive one are kept: 5500x5500 takes 180 MB for the pixels twice, and 242 MB for these.
    jpeg[frame + 1] = 0xc2;
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x15, 0x7c, 0x15, 0x7c]);
    refused(&single("bomb.jpg", &jpeg).1, &["bomb.jpg", WORDS]);
    let mut png = encode(image::ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    refused(&single("bomb.png", &png).1, &["bomb.png"]);
    let mut bmp = encode(image::ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&30_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&30_000u32.to_le_bytes());
    refused(&single("bomb.bmp", &bmp).1, &["bomb.bmp"]);
    let mut gif = encode(image::ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    refused(&single("bomb.gif", &gif).1, &["bomb.gif"]);
    // An image that is honest about its size, and would take 18 GB while it is resized.
    let mut line = std::io::Cursor::new(Vec::new());
    RgbImage::new(5_000_000, 1).write_to(&mut line, image::ImageFormat::Png).unwrap();
    let (_folder, images) = single("line.png", line.get_ref());
    refused(&images.size([224, 224]), &["line.png", WORDS]);
    let (_folder, images) = single("small.png", &encode(image::ImageFormat::Png));
    let message = images.clone().size([usize::MAX, 2]).load().unwrap_err().to_string();
    assert!(message.contains("2^32 - 1"), "{message}");
    drop(images.load().unwrap());
}

#[test]
fn a_photograph_that_was_cut_off_was_filled_up_with_grey() {
    let noise = |c: u32, r: u32| [(c * 37 + r * 91) as u8, (c * 11 + r * r) as u8, (c * r) as u8];
    let image = RgbImage::from_fn(64, 64, |c, r| Rgb(noise(c, r)));
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new(&mut jpeg);
    encoder.write_image(image.as_raw(), 64, 64, ExtendedColorType::Rgb8).unwrap();
    assert!(single("whole.jpg", &jpeg).1.load().is_ok());
    // Bytes after the end are nobody's business.
    assert!(single("whole.jpg", &[&jpeg[..], b"and more"].concat()).1.load().is_ok());
    for cut in [jpeg.len() - 1, jpeg.len() - 2, jpeg.len() / 2, 700, 100, 20, 4, 2] {
        refused(&single("cut.jpg", &jpeg[..cut]).1, &["cut.jpg", "can't be decoded"]);
    }
    for format in [image::ImageFormat::Png, image::ImageFormat::Bmp, image::ImageFormat::Gif] {
        let mut content = std::io::Cursor::new(Vec::new());
        image.write_to(&mut content, format).unwrap();
        let content = content.into_inner();
        assert!(single("whole.png", &content).1.load().is_ok());
        refused(&single("cut.png", &content[..content.len() / 2]).1, &["cut.png", "can't be decoded"]);
    }
}
