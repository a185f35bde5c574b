//! Pictures: what is in them, in which file, and what is refused.
//!
//! To look at them, name a folder: `WGRAD_TEST_PLOTS=target/pictures cargo test --test pictures`.

use image::RgbImage;
use std::path::{Path, PathBuf};
use wgrad::data::Dataset;
use wgrad::nn::{Context, Parameters};
use wgrad::plot::{self, ColorMap, Curves, Field, Picture, Sheet};
use wgrad::prelude::*;
use wgrad::train::{ConfusionMatrix, Epoch, Evaluation, History};

/// A temporary folder, or the one that was named to look at the pictures.
struct Folder {
    temporary: tempfile::TempDir,
    named: Option<PathBuf>,
}

impl Folder {
    fn new() -> Folder {
        let named = std::env::var_os("WGRAD_TEST_PLOTS").map(PathBuf::from);
        if let Some(folder) = &named {
            std::fs::create_dir_all(folder).unwrap();
        }
        Folder { temporary: tempfile::tempdir().unwrap(), named }
    }

    /// Saves as SVG and PNG, and reads both.
    fn save(&self, name: &str, picture: &Picture) -> (String, RgbImage) {
        let folder = self.named.as_deref().unwrap_or(self.temporary.path());
        let (svg, png) = (folder.join(format!("{name}.svg")), folder.join(format!("{name}.png")));
        picture.save(&svg).unwrap();
        picture.save(&png).unwrap();
        let pixels = image::open(&png).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (2 * picture.width(), 2 * picture.height()), "{name}");
        let svg = std::fs::read_to_string(svg).unwrap();
        well_formed(&svg);
        (svg, pixels)
    }
}

/// Every element that begins ends, in order; attributes are quoted; nothing is left unescaped.
fn well_formed(svg: &str) {
    let (mut open, mut rest) = (Vec::new(), svg);
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "{}", &rest[..start]);
        for reference in rest[..start].split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;"].iter().any(|r| reference.starts_with(r)), "{reference}");
        }
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => {
                assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
                let numbers = tag.split("base64").next().unwrap();
                assert!(!numbers.contains("NaN") && !numbers.contains("inf"), "{tag}");
                let name = tag.split_whitespace().next().unwrap();
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty() && svg.starts_with("<svg xmlns="), "{open:?} {rest}");
}

/// The words of a picture, in the order in which they were drawn.
fn words(svg: &str) -> Vec<&str> {
    svg.split("<text").skip(1).map(|t| &t[t.find('>').unwrap() + 1..t.find("</text>").unwrap()]).collect()
}

fn has(svg: &str, text: &str) -> bool {
    words(svg).contains(&text)
}

/// Whether a pixel of about this colour is somewhere.
fn contains(pixels: &RgbImage, color: [u8; 3]) -> bool {
    pixels.pixels().any(|p| p.0.iter().zip(color).all(|(&a, b)| a.abs_diff(b) < 8))
}

fn evaluation(loss: f64, metrics: &[(&str, f64)]) -> Evaluation {
    let metrics = metrics.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    Evaluation::new(loss, metrics)
}

fn run(epochs: usize, make: impl Fn(usize) -> (Evaluation, Option<Evaluation>, f64)) -> History {
    let epoch = |number| {
        let (train, validation, learning_rate) = make(number);
        let mut epoch = Epoch::new(number, train);
        (epoch.validation, epoch.learning_rate) = (validation, learning_rate);
        epoch
    };
    (1..=epochs).map(epoch).collect()
}

fn usual(epochs: usize, validation: bool) -> History {
    run(epochs, |n| {
        let x = n as f64;
        let of = |k: f64| evaluation(0.5 * k / x + 0.004 * x, &[("accuracy", 1.0 - 0.125 * k / x)]);
        (of(1.0), validation.then(|| of(0.7)), 1e-3)
    })
}

#[test]
fn a_history_of_any_length() {
    let folder = Folder::new();
    for (epochs, validation) in [(1, false), (1, true), (2, true), (5, true), (40, false), (200, true)] {
        let (svg, pixels) = folder.save(
            &format!("history{epochs}{validation}"),
            &plot::history(&usual(epochs, validation)).unwrap(),
        );
        for word in ["loss", "accuracy", "epoch"] {
            assert!(has(&svg, word), "{word} of {:?}", words(&svg));
        }
        assert_eq!((has(&svg, "training"), has(&svg, "validation")), (validation, validation));
        // One dot per epoch, quantity and set, unless they would hide the line.
        let dots = if epochs > 60 { 0 } else { epochs * 2 * (1 + usize::from(validation)) };
        assert_eq!(svg.matches("<circle").count(), dots);
        assert!(contains(&pixels, [0x1f, 0x6f, 0xb4]));
        assert_eq!(contains(&pixels, [0xd9, 0x5f, 0x02]), validation);
        // The rate never changed.
        assert!(!has(&svg, "learning rate"));
    }
}

/// Of a run of one epoch the losses of its steps are a curve.
#[test]
fn a_history_of_one_epoch_is_a_curve() {
    let folder = Folder::new();
    let (train, _) = data::synthetic::digits(80, 1, 1).into_datasets().unwrap();
    let model = Sequential::new().add(Flatten::new()).add(Dense::new(10));
    let model = model.build([28, 28, 1], Device::Cpu).unwrap();
    let loss = SparseCategoricalCrossentropy::from_logits();
    let mut trainer = Trainer::new(model, Adam::new(1e-2), loss).build().unwrap();
    let fit = |every| Fit::epochs(1).batch_size(4).record_every(every).verbose(false);
    let longest = |history: &History, name: &str| {
        let (svg, _) = folder.save(name, &plot::history(history).unwrap());
        let paths = svg.split("<path").chain(svg.split("<polyline"));
        paths.map(|path| path.split('>').next().unwrap_or_default().len()).max().unwrap()
    };
    let (none, some) = (trainer.fit(&train, fit(0)).unwrap(), trainer.fit(&train, fit(1)).unwrap());
    assert_eq!((none.steps.len(), some.steps.len()), (0, 20));
    let (short, long) = (longest(&none, "history_epoch"), longest(&some, "history_steps"));
    assert!(long > short + 100, "{short} {long}");
}

#[test]
fn a_history_of_many_metrics_and_outputs() {
    let folder = Folder::new();
    let history = run(12, |n| {
        let x = n as f64;
        let of = |k: f64| {
            evaluation(
                1.5 * k / x,
                &[
                    ("digit_loss", 1.2 * k / x),
                    ("parity_loss", 0.3 * k / x),
                    ("digit_accuracy", 1.0 - 0.2 * k / x),
                    ("parity_binary_accuracy", 1.0 - 0.05 * k / x),
                    ("a_metric_with_a_name_that_is_longer_than_its_panel", 1e-7 * x * k),
                    ("mean_squared_error", 1e12 * k / x),
                ],
            )
        };
        (of(1.0), Some(of(0.8)), 1e-3 * 0.5f64.powf(x / 4.0))
    });
    let picture = plot::history(&history).unwrap().titled("Two heads & <more>");
    let (svg, _) = folder.save("history_many", &picture);
    for name in ["loss", "digit_loss", "parity_loss", "digit_accuracy", "mean_squared_error", "learning rate"]
    {
        assert!(has(&svg, name), "{name}");
    }
    assert!(has(&svg, "Two heads &amp; &lt;more&gt;") && svg.contains('…'));
    // Eight panels in three columns.
    assert_eq!((picture.width(), svg.matches(">epoch<").count()), (3 * 480 + 20, 8));
}

#[test]
fn a_history_with_values_that_are_not_finite() {
    let folder = Folder::new();
    let history = run(6, |n| {
        let loss = [0.9, 0.5, f64::NAN, 0.4, f64::INFINITY, 0.3][n - 1];
        (evaluation(loss, &[("never", f64::NAN), ("zero", 0.0)]), (n > 3).then(|| evaluation(0.6, &[])), 0.1)
    });
    let (svg, _) = folder.save("history_nan", &plot::history(&history).unwrap());
    for text in ["2 values are not finite", "6 values are not finite", "nothing to draw"] {
        assert!(has(&svg, text), "{text}");
    }
    // Loss: 4 and 3; never: none; zero: 6.
    assert_eq!(svg.matches("<circle").count(), 13);
    let huge = run(3, |n| (evaluation(f64::MAX / n as f64, &[("x", 1e299 * n as f64)]), None, 0.1));
    folder.save("history_huge", &plot::history(&huge).unwrap());
}

#[test]
fn a_history_is_saved_by_the_ending() {
    let folder = tempfile::tempdir().unwrap();
    let history = usual(3, true);
    history.plot(folder.path().join("a.svg")).unwrap();
    history.plot(folder.path().join("b.PNG")).unwrap();
    assert!(std::fs::read(folder.path().join("b.PNG")).unwrap().starts_with(b"\x89PNG"));
    for (name, said) in [("c.pdf", "c.pdf: expected a name that ends in .svg or .png"), ("d", ".svg or .png")]
    {
        let e = history.plot(folder.path().join(name)).unwrap_err().to_string();
        assert!(e.contains(said), "{e}");
    }
    let e = history.plot(folder.path().join("missing/a.svg")).unwrap_err().to_string();
    assert!(e.contains("missing"), "{e}");
    let e = History::default().plot(folder.path().join("e.svg")).unwrap_err().to_string();
    assert!(e.contains("there are no epochs to draw"), "{e}");
    // Nothing half written, nothing of what failed.
    assert_eq!(files(folder.path()), ["a.svg", "b.PNG"]);
}

/// Series over their places: one that begins late leaves a gap, and one without numbers has only its name.
#[test]
fn lines_of_series() {
    let folder = Folder::new();
    let truth: Vec<f32> = (0..100).map(|t| (t as f32 / 8.0).sin()).collect();
    let late: Vec<f32> =
        truth.iter().enumerate().map(|(t, v)| if t < 60 { f32::NAN } else { v * 0.5 }).collect();
    let picture =
        plot::lines(&[("truth", &truth), ("forecast <1>", &late), ("nothing", &[f32::INFINITY])]).unwrap();
    let (svg, pixels) = folder.save("lines", &picture.titled("A wave"));
    for text in ["truth", "nothing", "step", "A wave"] {
        assert!(has(&svg, text), "no {text:?}");
    }
    assert!(contains(&pixels, [0x26, 0x2b, 0x33]) && contains(&pixels, [0x1f, 0x6f, 0xb4]));
    folder.save("lines_short", &plot::lines(&[("one", &[1.0])]).unwrap());
    folder.save("lines_none", &plot::lines(&[("none", &[f32::NAN])]).unwrap());
    let nine: Vec<(&str, &[f32])> = vec![("x", &[1.0f32][..]); 9];
    for wrong in [&nine[..], &[], &[("empty", &[][..])]] {
        let e = plot::lines(wrong).unwrap_err().to_string();
        assert!(e.starts_with("plot::lines: expects one to 8 series"), "{e}");
    }
}

#[test]
fn curves_over_values() {
    let folder = Folder::new();
    let x = Tensor::linspace(-1.0, 1.0, 200, Device::Cpu).unwrap();
    let wave = |k: f64| (&x * k).unwrap().sin().unwrap();
    let mut curves = Curves::new("x <m>", "u").add("sine", &x, &wave(3.0)).unwrap();
    curves = curves.add_dashed("faster", &x, &wave(6.0)).unwrap();
    // Any number type, rows and columns; points that are no numbers leave gaps.
    curves = curves.add("three", &[-0.5f32, 0.0, 0.5], &vec![0.5, f64::NAN, -0.5]).unwrap();
    let column = Tensor::new([[-0.75f64], [0.75]], Device::Cpu).unwrap();
    let curves = curves.add("two", &column, &Tensor::new([[1i32, 1]], Device::Cpu).unwrap()).unwrap();
    let (svg, pixels) = folder.save("curves", &curves.draw().unwrap().titled("Waves"));
    for text in ["sine", "faster", "three", "x &lt;m&gt;", "u", "Waves", "-0.5", "1.0"] {
        assert!(has(&svg, text), "no {text:?} in {:?}", words(&svg));
    }
    assert_eq!(svg.matches("<circle").count(), 4); // two of three, and two
    for color in [[0x26, 0x2b, 0x33], [0x1f, 0x6f, 0xb4], [0xd9, 0x5f, 0x02]] {
        assert!(contains(&pixels, color), "{color:?}");
    }
    // Eight names take two lines; whole numbers along x are written as such.
    let epochs: Vec<f64> = (1..=12).map(f64::from).collect();
    let mut many = Curves::new("epoch", "accuracy").size(480, 300);
    for k in 0..8 {
        let values: Vec<f64> = epochs.iter().map(|e| 1.0 - 1.0 / (e + f64::from(k))).collect();
        many = many.add(&format!("training {k}"), &epochs, &values).unwrap();
    }
    let picture = many.draw().unwrap();
    let (svg, _) = folder.save("curves_many", &picture);
    assert!(has(&svg, "12") && picture.width() == 500);
    let one = Curves::new("t", "").size(1, 1).add("", &[2.5], &[7.0]).unwrap().draw().unwrap();
    folder.save("curves_one", &one);
    // Sizes that are none, and lines all to and fro.
    let vast =
        Curves::new("t", "").size(usize::MAX, usize::MAX).add_dashed("", &[0.0, 1.0], &[0.0, 1.0]).unwrap();
    assert_eq!(vast.draw().unwrap().width(), 10_020);
    assert!(Sheet::new(&steps(1, 1)).unwrap().zoom(usize::MAX).gap(usize::MAX).draw().to_png().is_err());

    let e = many.clone().add("ninth", &[0.0], &[0.0]).unwrap_err().to_string();
    assert!(e.contains("\"ninth\" is one curve more than 8"), "{e}");
    let e = Curves::new("x", "y").add("odd", &[0.0, 1.0], &[0.0]).unwrap_err().to_string();
    assert!(e.contains("\"odd\" has 2 numbers along x and 1 along y"), "{e}");
    let matrix = Tensor::zeros([2, 2], Device::Cpu).unwrap();
    let e = Curves::new("x", "y").add("matrix", &matrix, &matrix).unwrap_err().to_string();
    assert!(e.contains("the numbers are [2, 2]; expected them in a row"), "{e}");
    let none = Curves::new("x", "y").add("none", &[f64::NAN, 1.0], &[1.0, f64::INFINITY]).unwrap();
    for empty in [none, Curves::new("x", "y")] {
        let e = empty.draw().unwrap_err().to_string();
        assert!(e.contains("without a point that can be drawn"), "{e}");
    }
}

#[test]
fn fields_have_axes_and_a_scale() {
    let folder = Folder::new();
    // Two by three: from -2 to 3, and what is no number.
    let values = Tensor::new([[-2.0f64, 0.0, 1.0], [3.0, f64::NAN, f64::INFINITY]], Device::Cpu).unwrap();
    let field = Field::new(&values).unwrap().across("t", 0.0, 1.0).down("x", 1.0, -1.0);
    let picture = field.clone().range(-2.0, 2.0).draw().unwrap();
    let (svg, pixels) = folder.save("field", &picture);
    for text in ["t", "x", "0.0", "1.0", "-1", "2"] {
        assert!(has(&svg, text), "no {text:?} in {:?}", words(&svg));
    }
    // Pixels of 160: the colours of both ends, of the middle, and of what is none.
    let left =
        2 * (svg.split("<image x=\"").nth(1).unwrap().split('"').next().unwrap().parse::<u32>().unwrap());
    let at = |column: u32, row: u32| pixels.get_pixel(left + 320 * column + 100, 68 + 320 * row + 100).0;
    assert_eq!([at(0, 0), at(1, 0)], [[0x08, 0x40, 0x81], [0xf7, 0xf7, 0xf7]]);
    assert_eq!([at(0, 1), at(1, 1), at(2, 1)], [[0x9c, 0x2a, 0x03], [0xff, 0, 0xff], [0xff, 0, 0xff]]);
    // Without a range: as far below 0 as above, so that 0 stays white.
    let (svg, pixels) = folder.save("field_free", &field.draw().unwrap());
    assert!(contains(&pixels, [0xf7, 0xf7, 0xf7]) && has(&svg, "-2"), "{:?}", words(&svg));
    let ramp = Tensor::arange(0, 40 * 60, Device::Cpu).unwrap().reshape([40, 60]).unwrap();
    for (name, colors) in [
        ("viridis", ColorMap::Viridis),
        ("hot", ColorMap::Hot),
        ("grey", ColorMap::Grey),
        ("diverging", ColorMap::Diverging),
    ] {
        let field = Field::new(&ramp).unwrap().colors(colors);
        folder.save(&format!("field_{name}"), &field.draw().unwrap().titled(name));
    }
    // One number, one row, one column, more than are drawn; nothing but what is no number.
    for (name, shape) in [("one", [1, 1]), ("row", [1, 50]), ("column", [50, 1]), ("large", [1000, 700])] {
        let values = Tensor::full(shape, 2.5f32, Device::Cpu).unwrap();
        folder.save(&format!("field_{name}"), &Field::new(&values).unwrap().draw().unwrap());
    }
    let none = Tensor::full([3, 3], f32::NAN, Device::Cpu).unwrap();
    folder.save("field_none", &Field::new(&none).unwrap().draw().unwrap());

    let says = |result: Result<Picture>, said: &str| {
        let e = result.unwrap_err().to_string();
        assert!(e.contains(said), "{e}");
    };
    says(field.clone().range(1.0, 1.0).draw(), "the range is from 1 to 1");
    says(field.clone().range(f64::NAN, 1.0).draw(), "the range is from NaN to 1");
    says(field.clone().across("t", 2.0, 2.0).draw(), "the axis \"t\" goes from 2 to 2");
    says(field.clone().down("x", 0.0, f64::INFINITY).draw(), "expected two finite numbers");
    for shape in [&[3][..], &[3, 0], &[1, 3, 3]] {
        let e = Field::new(&Tensor::zeros(shape, Device::Cpu).unwrap()).unwrap_err().to_string();
        assert!(e.contains("expected [rows, columns]"), "{e}");
    }
}

#[test]
fn numbers_have_colours() {
    for device in [Device::Cpu, Device::Gpu] {
        let shares = Tensor::new([[0.0f32], [0.5], [1.0], [7.0], [f32::NAN]], device).unwrap();
        let colors = ColorMap::Grey.colors(&shares).unwrap();
        assert_eq!((colors.dims(), colors.device()), (&[5, 3][..], device));
        let levels = colors.to_vec::<f32>().unwrap();
        let half = 128.0 / 255.0;
        assert_eq!(levels[..12], [0.0, 0.0, 0.0, half, half, half, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(levels[12..], [1.0, 0.0, 1.0]);
    }
    let e = ColorMap::Hot.colors(&Tensor::zeros([2, 3], Device::Cpu).unwrap()).unwrap_err().to_string();
    assert!(e.starts_with("ColorMap::colors: got [2, 3]; expected [.., 1]"), "{e}");
}

#[test]
fn pictures_side_by_side() {
    let folder = Folder::new();
    let image = |size: usize| Sheet::new(&Tensor::zeros([1, 1, size, 1], Device::Cpu).unwrap()).unwrap();
    let part = |size: usize, zoom: usize| image(size).zoom(zoom).draw();
    // Widths are 40 for the margins and the image's.
    let three = plot::panels([part(1, 10), part(3, 10), part(2, 40)].map(Ok), 2).unwrap();
    assert_eq!((three.width(), three.height()), (120 + 70, 50 + 80));
    let (svg, _) = folder.save("panels", &three.titled("Three"));
    assert_eq!(svg.matches("<image").count(), 3);
    let wide = plot::panels([part(1, 10), part(1, 10)].map(Ok), 0).unwrap();
    assert_eq!((wide.width(), wide.height()), (50, 100));
    let e = plot::panels([], 3).unwrap_err().to_string();
    assert_eq!(e, "plot::panels: there are no pictures to put side by side");
    let failed = plot::panels([Ok(part(1, 1)), Err(Error::other("no paint"))], 2).unwrap_err();
    assert_eq!(failed.to_string(), "no paint");
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A good classifier's matrix: `right` of each 100 are.
fn matrix(classes: usize, samples: u64, right: u64) -> ConfusionMatrix {
    let row = |target: usize| {
        let mut row = vec![0; classes];
        row[target] = samples * right / 100;
        let mut left = samples - row[target];
        for k in 1.. {
            let other = (target * 7 + k * k) % classes;
            if left == 0 {
                break;
            }
            if other != target || classes == 1 {
                let count = left.div_ceil(2);
                row[other] += count;
                left -= count;
            }
        }
        row
    };
    ConfusionMatrix::new((0..classes).map(row).collect()).unwrap()
}

#[test]
fn a_confusion_matrix_of_any_size() {
    let folder = Folder::new();
    for (classes, samples) in [(1, 10), (2, 60_000), (10, 1000), (20, 500), (47, 400), (100, 100)] {
        let matrix = matrix(classes, samples, 92);
        let picture = plot::confusion_matrix(&matrix).unwrap();
        let (svg, pixels) = folder.save(&format!("confusion{classes}"), &picture);
        for word in ["true class", "predicted class", "right", "wrong"] {
            assert!(has(&svg, word), "{word}");
        }
        assert_eq!(has(&svg, "recall %"), classes <= 30);
        let right = matrix.count(0, 0).to_string();
        assert!(words(&svg).iter().filter(|w| **w == right).count() >= classes, "{right}");
        // Blue for what is right, the strongest of all.
        assert!(contains(&pixels, [0x0c, 0x45, 0x86]), "{classes}");
    }
}

#[test]
fn a_confusion_matrix_with_names() {
    let folder = Folder::new();
    let named = matrix(10, 1000, 90).with_classes(data::fashion_mnist::CLASSES).unwrap();
    let (svg, _) = folder.save("confusion_fashion", &plot::confusion_matrix(&named).unwrap());
    assert!(words(&svg).iter().filter(|w| **w == "Ankle boot").count() == 2);
    assert!(has(&svg, "Confusion matrix of 10,000 samples") && has(&svg, "accuracy 90.00 %, 1,000 wrong"));
    // As long as names get, with letters that are special in XML, and a class that never occurs.
    let mut odd = matrix(3, 70, 50);
    odd.counts[2] = vec![0; 3];
    let odd = odd.with_classes(["<Ährenfeld & Söhne GmbH, Köln>", "ночь", "b"]).unwrap();
    let (svg, _) = folder.save("confusion_names", &plot::confusion_matrix(&odd).unwrap());
    assert!(has(&svg, "&lt;Ährenfeld &amp; Söhne GmbH…") && has(&svg, "–"), "{:?}", words(&svg));

    let e = plot::confusion_matrix(&ConfusionMatrix::new(Vec::new()).unwrap()).unwrap_err().to_string();
    assert!(e.contains("no classes to draw"), "{e}");
    let mut crooked = ConfusionMatrix::new(vec![vec![1]]).unwrap();
    crooked.classes.clear();
    assert!(plot::confusion_matrix(&crooked).is_err());
    // Too many for a PNG, not for an SVG.
    let picture = plot::confusion_matrix(&matrix(600, 1000, 90)).unwrap();
    let e = picture.to_png().unwrap_err().to_string();
    assert!(e.contains("are too many for a PNG") && e.contains("save it as SVG"), "{e}");
}

/// Grey steps: pixel k of image i is (i + k) / 8.
fn steps(n: usize, channels: usize) -> Tensor {
    let values: Vec<f32> =
        (0..n).flat_map(|i| (0..4 * channels).map(move |k| ((i + k) % 9) as f32 / 8.0)).collect();
    Tensor::from_vec(values, [n, 2, 2, channels], Device::Cpu).unwrap()
}

#[test]
fn images_have_their_colours() {
    let folder = Folder::new();
    let (svg, pixels) = folder.save("images", &plot::images(&steps(3, 1)).unwrap());
    assert_eq!(svg.matches("<image").count(), 3);
    // The first image begins at (20, 20) and is 76 wide, 38 for each of its pixels; all of that twice.
    for (at, expected) in [((42, 42), 0), ((190, 42), 32), ((42, 190), 64), ((190, 190), 96)] {
        assert_eq!(pixels.get_pixel(at.0, at.1).0, [expected; 3], "{at:?}");
    }
    assert_eq!(pixels.get_pixel(36, 42).0, [255; 3]);
    let rgb = Tensor::new([[[[1.0f32, 0.5, 0.0]]]], Device::Cpu).unwrap();
    let (_, pixels) = folder.save("images_rgb", &plot::images(&rgb).unwrap());
    assert_eq!(pixels.get_pixel(100, 100).0, [255, 128, 0]);
    let bytes = Tensor::new([[[[51u8, 102, 255]]]], Device::Cpu).unwrap();
    let (_, pixels) = folder.save("images_bytes", &plot::images(&bytes).unwrap());
    assert_eq!(pixels.get_pixel(100, 100).0, [51, 102, 255]);
    // Beyond 0 and 1, the smallest is black and the largest white; what is no number can't be missed.
    let odd = Tensor::new([[[[-3.0f32], [1.0], [5.0], [f32::NAN]]]], Device::Cpu).unwrap();
    let (_, pixels) = folder.save("images_odd", &plot::images(&odd).unwrap());
    let row: Vec<[u8; 3]> = (0..4).map(|k| pixels.get_pixel(40 + 38 * k + 10, 50).0).collect();
    assert_eq!(row, [[0; 3], [128; 3], [255; 3], [255, 0, 255]]);
}

#[test]
fn the_embedded_image_of_an_svg_is_the_image() {
    let svg = plot::images(&steps(1, 1)).unwrap().to_svg();
    let start = svg.find("base64,").unwrap() + 7;
    let encoded = &svg[start..start + svg[start..].find('"').unwrap()];
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in encoded.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = (0..4).fold(0u32, |bits, k| bits << 6 | four.get(k).map_or(0, |&c| u32::from(digit(c))));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    let pixels = image::load_from_memory(&bytes).unwrap().into_rgb8();
    assert_eq!(pixels.into_raw(), [[0; 3], [32; 3], [64; 3], [96; 3]].concat());
}

#[test]
fn captions_and_rows() {
    let folder = Folder::new();
    let captions = ["zero", "a long caption", "2"];
    let (svg, _) = folder.save("captions", &plot::captioned_images(&steps(3, 3), captions).unwrap());
    assert_eq!(words(&svg), captions);
    let (a, b) = (steps(30, 1), (steps(30, 1) * 0.5).unwrap());
    let (svg, _) = folder.save("rows", &plot::image_rows(&[("input", &a), ("half of it", &b)]).unwrap());
    // 30 images of 12 a line: three blocks of two rows.
    assert_eq!((words(&svg).len(), svg.matches("<image").count()), (6, 60));
    let one = plot::image_rows(&[("grey", &steps(2, 1)), ("colour", &steps(2, 3))]).unwrap();
    folder.save("rows_mixed", &one);

    // 30 images in 6 columns, each pixel 3 by 3, that touch each other.
    let sheet = plot::Sheet::new(&a).unwrap().columns(6).gap(0).zoom(3).draw();
    assert_eq!((sheet.width(), sheet.height()), (6 * 6 + 40, 5 * 6 + 40));
    folder.save("sheet", &sheet);
    let named = Sheet::new(&a).unwrap().captions((0..30).map(|k| k.to_string())).unwrap();
    let (svg, _) = folder.save("sheet_named", &named.columns(100).zoom(0).gap(3).draw());
    assert_eq!((words(&svg).len(), svg.matches("<image").count()), (30, 30));
    assert!(Sheet::new(&a).unwrap().captions(["one"]).is_err());

    let refused = |result: Result<Picture>, said: &str| {
        let e = result.unwrap_err().to_string();
        assert!(e.contains(said), "{e}");
    };
    let shape = |dims: &[usize]| Tensor::zeros(dims, Device::Cpu).unwrap();
    refused(plot::images(&shape(&[4, 4, 1])), "expected [n, height, width, channels]");
    refused(plot::images(&shape(&[1, 4, 4, 2])), "1 channel or 3");
    refused(plot::images(&shape(&[5000, 1, 1, 1])), "5000 images are too many");
    refused(plot::captioned_images(&a, ["one"]), "1 captions for 30 images");
    refused(plot::image_rows(&[]), "no rows");
    refused(plot::image_rows(&[("a", &a), ("b", &shape(&[30, 2, 3, 1]))]), "row \"b\" is [30, 2, 3, 1]");
}

#[test]
fn filters_have_their_signs() {
    let folder = Folder::new();
    // Two filters of 1x2: (-2, 2), and (0, 0.5).
    let weight = Tensor::new([[[[-2.0f32, 0.0]], [[2.0, 0.5]]]], Device::Cpu).unwrap();
    let picture = plot::filters(&weight).unwrap();
    let (svg, pixels) = folder.save("filters_signs", &picture);
    assert!(has(&svg, "2 filters of 1x2") && has(&svg, "1"));
    for color in [[0x08, 0x40, 0x81], [0x9c, 0x2a, 0x03], [0xf7, 0xf7, 0xf7]] {
        assert!(contains(&pixels, color), "{color:?}");
    }
    let rgb = Tensor::randn([5, 5, 3, 20], Device::Cpu, 1).unwrap();
    folder.save("filters_rgb", &plot::filters(&rgb).unwrap());
    let many = Tensor::randn([3, 3, 1, 64], Device::Cpu, 1).unwrap();
    folder.save("filters_many", &plot::filters(&many).unwrap());
    let e = plot::filters(&Tensor::zeros([3, 3, 32, 64], Device::Cpu).unwrap()).unwrap_err().to_string();
    assert!(e.contains("[3, 3, 32, 64]") && e.contains("weight.slice(2, channel, 1)"), "{e}");
}

/// Answers with its input's first numbers.
struct Reader {
    classes: usize,
}

impl Module for Reader {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        x.flatten(1)?.slice(1, 0, self.classes)
    }
    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}

#[test]
fn what_is_misclassified() {
    let folder = Folder::new();
    // 300 images whose first pixels are probabilities; class 0 for all of them, surer and surer.
    let n = 300;
    let sure = |i: usize| 0.4 + 0.5 * i as f32 / n as f32;
    let values: Vec<f32> =
        (0..n).flat_map(|i| [sure(i), (1.0 - sure(i)) / 2.0, (1.0 - sure(i)) / 2.0, 0.25]).collect();
    let images = Tensor::from_vec(values, [n, 2, 2, 1], Device::Cpu).unwrap();
    // Every third is of another class, one is of none.
    let labels: Vec<u8> = (0..n).map(|i| if i == 299 { 9 } else { (i % 3 == 1) as u8 * 2 }).collect();
    let labels = Tensor::from_vec(labels, [n], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("steps", &images, &labels).unwrap();
    let model = Reader { classes: 3 };

    let picture = plot::misclassified(&model, &set, &[], 5).unwrap();
    let (svg, _) = folder.save("wrong", &picture);
    assert!(has(&svg, "100 of 299 samples misclassified (33.44 %)"), "{:?}", words(&svg));
    assert!(has(&svg, "the 5 that the model is surest of: true class → guess"));
    let captions: Vec<&str> = words(&svg).into_iter().take(6).collect();
    let percent = |i: usize| format!("{:.1} %", 100.0 * sure(i));
    assert_eq!(captions, ["2 → 0", &percent(298), "#298", "2 → 0", &percent(295), "#295"]);
    assert_eq!(svg.matches("<image").count(), 5);

    let names = ["Ankle boot".to_string(), "Bag".into(), "T-shirt/top".into()];
    let (svg, _) = folder.save("wrong_named", &plot::misclassified(&model, &set, &names, 7).unwrap());
    assert!(has(&svg, "T-shirt/top") && has(&svg, "→ Ankle boot"));

    let right = Dataset::from_tensors("zeros", &images, &Tensor::zeros([n], Device::Cpu).unwrap()).unwrap();
    let (svg, _) = folder.save("wrong_none", &plot::misclassified(&model, &right, &[], 5).unwrap());
    assert_eq!(words(&svg), ["None of 300 samples of zeros is misclassified."]);

    let e = plot::misclassified(&model, &set, &names[..2], 5).unwrap_err().to_string();
    assert!(e.contains("2 names for 3 classes"), "{e}");
    let e = plot::misclassified(&model, &set.take(0).unwrap(), &[], 5).unwrap_err().to_string();
    assert!(e.contains("has no samples"), "{e}");
}

#[test]
fn misclassified_colours_logits_and_one_hot_targets() {
    let folder = Folder::new();
    let images = (Tensor::rand([40, 8, 8, 3], Device::Cpu, 3).unwrap() * 3.0).unwrap();
    let labels = Tensor::randint(0, 10, [40], Device::Cpu, 4).unwrap();
    let model = Reader { classes: 10 };
    let sparse = Dataset::from_tensors("noise", &images, &labels).unwrap();
    let dense = Dataset::from_tensors("noise", &images, &labels.one_hot(10).unwrap()).unwrap();
    let picture = plot::misclassified(&model, &sparse, &[], 100).unwrap();
    let (svg, _) = folder.save("wrong_rgb", &picture);
    assert!(words(&svg).contains(&"true class → guess, the surest first"));
    assert_eq!(svg, plot::misclassified(&model, &dense, &[], 100).unwrap().to_svg());
}

#[test]
fn mistakes_of_a_model_of_no_and_yes_have_the_names_of_the_data() {
    let folder = Folder::new();
    // The first pixel is a logit: two of six are wrong.
    let logits = [2.0f32, -3.0, 0.5, -0.5, 4.0, -4.0];
    let values = logits.iter().flat_map(|&v| [v, 0.0, 0.5, 1.0]).collect();
    let images = Tensor::from_vec(values, [6, 2, 2, 1], Device::Cpu).unwrap();
    let targets = Tensor::new([[1.0f32], [0.0], [0.0], [0.0], [1.0], [1.0]], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("pets", &images, &targets).unwrap().with_classes(&["cat", "dog"]);
    let model = Reader { classes: 1 };
    let (svg, _) = folder.save("wrong_binary", &plot::misclassified(&model, &set, &[], 9).unwrap());
    let captions: Vec<&str> = words(&svg).into_iter().take(6).collect();
    assert_eq!(captions, ["dog → cat", "98.2 %", "#5", "cat → dog", "62.2 %", "#2"]);
    let whole = set.map_labels(|y| y.cast(DType::U32)?.flatten(0)).unwrap();
    assert_eq!(svg, plot::misclassified(&model, &whole, &[], 9).unwrap().to_svg());
    let likely = set.map_features(|x| x.sigmoid()).unwrap();
    let same = plot::misclassified(&model, &likely, &[], 9).unwrap().to_svg();
    assert_eq!(words(&same).into_iter().take(6).collect::<Vec<_>>(), captions);
    let matrix = wgrad::train::confusion_matrix(&model, &set, 4).unwrap();
    let (svg, _) = folder.save("confusion_binary", &plot::confusion_matrix(&matrix).unwrap());
    assert!(has(&svg, "cat") && has(&svg, "dog"));
}
