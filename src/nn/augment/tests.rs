//! Augmentation against a plain loop over pixels.

use super::*;
use crate::device::Device;

const SEED: u64 = 5;

fn images(dims: [usize; 4]) -> Tensor {
    Tensor::rand(dims, Device::Cpu, 99).unwrap()
}

/// The same in f64, from the same draws, pixel by pixel.
fn reference(a: &Augment, x: &Tensor, seed: u64) -> Vec<f64> {
    let [n, h, w, c] = *x.dims() else { panic!("rank") };
    let [oh, ow] = a.crop.unwrap_or([h, w]);
    let values: Vec<f64> = x.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    let draws = Tensor::rand([n, DRAWS], Device::Cpu, seed::derive(a.seed, seed)).unwrap();
    let draws: Vec<f64> = draws.to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
    let mut out = Vec::new();
    for i in 0..n {
        let u = &draws[i * DRAWS..(i + 1) * DRAWS];
        let either = |k: usize, by: f64| (2.0 * u[k] - 1.0) * by;
        let at = |y: f64, x: f64, ch: usize| {
            let inside = y >= 0.0 && x >= 0.0 && y <= h as f64 - 1.0 && x <= w as f64 - 1.0;
            match a.fill {
                Fill::Constant(value) if !inside => value,
                _ => {
                    let (y, x) =
                        (y.clamp(0.0, h as f64 - 1.0) as usize, x.clamp(0.0, w as f64 - 1.0) as usize);
                    values[((i * h + y) * w + x) * c + ch]
                }
            }
        };
        let (sin, cos) = either(ANGLE, a.rotate.to_radians()).sin_cos();
        let zoom = 1.0 + either(ZOOM, a.zoom);
        let flip = |on: bool, k: usize| if on && u[k] < 0.5 { -1.0 } else { 1.0 };
        let first = |k: usize, whole: usize, part: usize| (u[k] * (whole - part + 1) as f64).floor();
        let mut image = vec![0.0; oh * ow * c];
        for row in 0..oh {
            for column in 0..ow {
                let oy = (row as f64 - (oh as f64 - 1.0) / 2.0) * flip(a.flip_vertical, FLIP[0]);
                let ox = (column as f64 - (ow as f64 - 1.0) / 2.0) * flip(a.flip_horizontal, FLIP[1]);
                let y = zoom * (cos * oy - sin * ox) + first(CROP[0], h, oh) + (oh as f64 - 1.0) / 2.0;
                let x = zoom * (sin * oy + cos * ox) + first(CROP[1], w, ow) + (ow as f64 - 1.0) / 2.0;
                let (y, x) = (
                    y + either(SHIFT[0], a.shift[0]) * h as f64,
                    x + either(SHIFT[1], a.shift[1]) * w as f64,
                );
                for ch in 0..c {
                    image[(row * ow + column) * c + ch] = match a.interpolation {
                        Interpolation::Nearest => at((y + 0.5).floor(), (x + 0.5).floor(), ch),
                        Interpolation::Bilinear => {
                            let (y0, x0) = (y.floor(), x.floor());
                            let (fy, fx) = (y - y0, x - x0);
                            let top = at(y0, x0, ch) * (1.0 - fx) + at(y0, x0 + 1.0, ch) * fx;
                            let bottom = at(y0 + 1.0, x0, ch) * (1.0 - fx) + at(y0 + 1.0, x0 + 1.0, ch) * fx;
                            top * (1.0 - fy) + bottom * fy
                        }
                    };
                }
            }
        }
        for ch in 0..c {
            let pixels = (0..oh * ow).map(|p| p * c + ch);
            let mean = pixels.clone().map(|p| image[p]).sum::<f64>() / (oh * ow) as f64;
            for p in pixels {
                image[p] = (image[p] - mean) * (1.0 + either(CONTRAST, a.contrast)) + mean;
                image[p] += either(BRIGHTNESS, a.brightness);
                if !a.mean.is_empty() {
                    image[p] = (image[p] - a.mean[ch % a.mean.len()]) / a.std[ch % a.std.len()];
                }
            }
        }
        out.extend(image);
    }
    out
}

/// The places differ by rounding, about 1e-6 pixels of images that change by less than 1 from pixel to pixel.
fn agrees(augment: &Augment, dims: [usize; 4]) {
    let x = images(dims);
    let y = augment.apply(&x, SEED).unwrap();
    let [oh, ow] = augment.crop.unwrap_or([dims[1], dims[2]]);
    assert_eq!(y.shape(), [dims[0], oh, ow, dims[3]]);
    for (i, (a, b)) in y.to_vec::<f32>().unwrap().into_iter().zip(reference(augment, &x, SEED)).enumerate() {
        assert!((f64::from(a) - b).abs() < 2e-5, "element {i}: {a}, expected {b}, by {augment:?}");
    }
}

#[test]
fn each_change_and_all_together_agree_with_a_loop_over_pixels() {
    let new = Augment::new;
    let each = [
        new().shift(0.3, 0.0),
        new().shift(0.0, 0.2).fill(Fill::Nearest),
        new().rotate(40.0),
        new().zoom(0.4).fill(Fill::Constant(0.7)),
        new().flip_horizontal(),
        new().flip_vertical().flip_horizontal(),
        new().crop([4, 5]),
        new().crop([3, 7]).flip_vertical().seed(8),
        new().contrast(0.5),
        new().brightness(0.3),
        new().normalise(&[0.5], &[0.25]),
    ];
    for augment in &each {
        agrees(augment, [9, 6, 7, 1]);
        agrees(augment, [4, 7, 7, 3]);
    }
    let all = new().shift(0.1, 0.2).rotate(20.0).zoom(0.2).flip_horizontal().flip_vertical().crop([5, 4]);
    let all = all.contrast(0.3).brightness(0.1).normalise(&[0.1, 0.2, 0.3], &[1.0, 0.5, 2.0]);
    agrees(&all, [6, 8, 7, 3]);
    agrees(&all.fill(Fill::Nearest).interpolation(Interpolation::Nearest), [6, 8, 7, 3]);
}

#[test]
fn the_seed_decides_and_images_differ() {
    let augment = Augment::new().flip_horizontal().rotate(10.0);
    let x = images([1, 5, 5, 1]).broadcast_to([64, 5, 5, 1]).unwrap();
    let bits = |a: &Augment, seed| a.apply(&x, seed).unwrap().to_vec::<f32>().unwrap();
    let first = bits(&augment, 1);
    assert_eq!(first, bits(&augment, 1));
    assert_ne!(first, bits(&augment, 2));
    assert_ne!(first, bits(&augment.clone().seed(1), 1));
    let mut distinct: Vec<Vec<u32>> =
        first.chunks(25).map(|image| image.iter().map(|v| v.to_bits()).collect()).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 64);
}

#[test]
fn flips_and_crops_move_pixels_without_touching_them() {
    let x = images([200, 4, 4, 1]);
    let flipped = Augment::new().flip_horizontal().apply(&x, 3).unwrap().to_vec::<f32>().unwrap();
    let (whole, mirrored) = (x.to_vec::<f32>().unwrap(), x.flip(2).unwrap().to_vec::<f32>().unwrap());
    let mut turned = 0;
    for (i, image) in flipped.chunks(16).enumerate() {
        let of = |v: &[f32]| v[16 * i..16 * (i + 1)].to_vec();
        turned += usize::from(image == of(&mirrored));
        assert!(image == of(&mirrored) || image == of(&whole));
    }
    // 200 coins, four standard deviations
    assert!((72..=128).contains(&turned), "{turned}");
    // Every place of a crop occurs.
    let cropped = Augment::new().crop([2, 3]).apply(&x, 3).unwrap().to_vec::<f32>().unwrap();
    let mut places = std::collections::BTreeSet::new();
    for (i, crop) in cropped.chunks(6).enumerate() {
        let found = (0..3)
            .flat_map(|r| (0..2).map(move |c| (r, c)))
            .find(|(r, c)| (0..6).all(|k| crop[k] == whole[16 * i + (r + k / 3) * 4 + c + k % 3]));
        places.insert(found.expect("a piece of the image"));
    }
    assert_eq!(places.len(), 6);
}

#[test]
fn as_a_layer_it_is_random_in_training_only() {
    use crate::nn::{Layers, Sequential};
    let augment = Augment::new().crop([2, 2]).flip_horizontal().normalise(&[0.5], &[0.5]);
    let config = augment.config().unwrap();
    let again = Layers::default().make("Augment", &config).unwrap();
    assert_eq!(again.details(), "flip horizontal, crop [2, 2], normalise");
    let model = Sequential::new().add(again).build([4, 4, 1], Device::Cpu).unwrap();
    let x = images([50, 4, 4, 1]);
    let y = model.infer(&x).unwrap();
    let centre = x.slice(1, 1, 2).unwrap().slice(2, 1, 2).unwrap();
    let expected = (((centre - 0.5).unwrap() / 0.5).unwrap()).to_vec::<f32>().unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), expected);
    let train = |seed| model.forward(&x, &Context::train(seed)).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
    assert_ne!(train(1), expected);
}

#[test]
fn bytes_and_empty_batches_are_taken_and_f64_stays() {
    let bytes = Tensor::full([2, 3, 3, 1], 7u8, Device::Cpu).unwrap();
    let augment = Augment::new().shift(0.2, 0.2).fill(Fill::Nearest);
    let y = augment.apply(&bytes, 1).unwrap();
    assert!(y.to_vec::<f32>().unwrap().iter().all(|v| (v - 7.0).abs() < 1e-5));
    let y = augment.clone().contrast(0.1).apply(&images([2, 3, 3, 1]).cast(DType::F64).unwrap(), 1).unwrap();
    assert_eq!(y.to_vec::<f64>().unwrap().len(), 18);
    let none = Tensor::zeros([0, 3, 3, 1], Device::Cpu).unwrap();
    assert_eq!(augment.crop([2, 1]).apply(&none, 1).unwrap().shape(), [0, 2, 1, 1]);
}

#[test]
fn settings_out_of_range_are_errors() {
    let fails = |augment: Augment, expected: &str| {
        let message = augment.apply(&images([1, 4, 4, 3]), 1).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
    };
    fails(Augment::new().crop([5, 4]), "can't crop [5, 4] from images of [4, 4]");
    fails(Augment::new().zoom(1.0), "zoom is 1");
    fails(Augment::new().rotate(f64::NAN), "rotate is NaN");
    fails(Augment::new().shift(0.1, -0.1), "shift is -0.1");
    fails(Augment::new().normalise(&[0.5, 0.5], &[1.0, 1.0]), "2 means");
    fails(Augment::new().normalise(&[0.5], &[0.0]), "deviation of 0");
    let flat = Augment::new().apply(&images([1, 4, 4, 3]).reshape([4, 12]).unwrap(), 1).unwrap_err();
    assert!(flat.to_string().contains("[n, height, width, channels]"));
}
