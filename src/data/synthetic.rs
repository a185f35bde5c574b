//! Synthetic handwritten digits, for when MNIST isn't at hand: same format, made in a second, never the
//! same twice.
//!
//! A digit is drawn as a person would: a way of writing it is chosen (a seven with or without a bar),
//! its control points are moved a little, the strokes are slanted, turned, stretched and shifted, and a
//! pen of some width and softness runs along them. The pen is a signed distance field: a pixel's ink
//! depends on its distance to the nearest stroke, which gives anti-aliased edges without oversampling.
//!
//! Only `+ - * /` and `sqrt` are used on floats, which IEEE 754 defines to the last bit, and the random
//! numbers are those of a generator that stays as it is. So a seed gives the same bytes on every platform,
//! and each image depends on its own index only, not on how threads share the work.

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{Rng as _, RngExt};
use rayon::prelude::*;

use super::idx_files::{RawDataset, RawSplit};
use crate::seed;

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
const CLASSES: usize = 10;

/// Makes a data set of synthetic digits in MNIST's format: 28x28 pixels, ten classes (each ten images in
/// a row, counted from the first, have one of each, in random order), about as legible as handwriting.
///
/// The same arguments give the same bytes everywhere. Images depend on `seed` and their position only:
/// a smaller data set is the start of a larger one. The training and test images never coincide.
///
/// It is not MNIST and results on it say nothing about MNIST: `is_real_mnist` is false and the name says so.
///
/// Where there is no memory for so many, a split has no images, and
/// [`into_datasets`](RawDataset::into_datasets) gives the error.
pub fn digits(train: usize, test: usize, seed: u64) -> RawDataset {
    // Two streams, so that the test set doesn't depend on how many training images there are.
    RawDataset {
        name: "synthetic digits (not MNIST)".to_string(),
        train: split(train, seed::derive(seed, 0)),
        test: split(test, seed::derive(seed, 1)),
        is_real_mnist: false,
    }
}

fn split(count: usize, seed: u64) -> RawSplit {
    let raw =
        |images, labels| RawSplit { images, labels, count, height: SIDE, width: SIDE, classes: CLASSES };
    let mut images = Vec::new();
    let room = images.try_reserve_exact(count.saturating_mul(PIXELS)).is_ok();
    let Some(labels) = labels(count, seed).filter(|_| room) else { return raw(Vec::new(), Vec::new()) };
    images.resize(count * PIXELS, 0);
    images.par_chunks_exact_mut(PIXELS).zip(&labels).enumerate().for_each(|(index, (image, &label))| {
        draw(label, &mut Rng::derive(seed, index as u64), image);
    });
    raw(images, labels)
}

/// `None` where there is no memory for them.
fn labels(count: usize, seed: u64) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    labels.try_reserve_exact(count.checked_next_multiple_of(CLASSES)?).ok()?;
    while labels.len() < count {
        // From the other end of the indices than the images take theirs.
        let mut rng = Rng::derive(seed, u64::MAX - labels.len() as u64);
        let mut block: [u8; CLASSES] = std::array::from_fn(|class| class as u8);
        block.shuffle(&mut rng.0);
        labels.extend(block);
    }
    labels.truncate(count);
    Some(labels)
}

/// What drawing needs of a generator.
struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The generator of one of the streams of a seed.
    fn derive(seed: u64, stream: u64) -> Rng {
        Rng(seed::generator(seed::derive(seed, stream)))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.random::<f32>()
    }

    /// Nearly normal with mean 0 and variance 1, and never beyond 3.5: the sum of four uniform numbers
    /// (16 bits each), so that no logarithm is needed and no image is hit by a freak value.
    fn bell(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: i32 = (0..4).map(|i| (bits >> (16 * i) & 0xffff) as i32).sum();
        // The variance of one is 1/12 of its squared range, that of the sum 1/3.
        (sum - 2 * 0xffff) as f32 * (1.732_050_8 / 65_536.0)
    }
}

type Point = [f32; 2];

/// A way to write a digit, in a unit square with y pointing down.
struct Glyph {
    points: &'static [Point],
    /// Strokes name points by index, so that those that share a point still meet after it has moved.
    strokes: &'static [Stroke],
}

enum Stroke {
    Lines(&'static [u8]),
    /// A Catmull-Rom spline through the points; closed if it ends where it began.
    Curve(&'static [u8]),
}

use Stroke::{Curve, Lines};

const LOOP: &[Stroke] = &[Curve(&[0, 1, 2, 3, 4, 5, 6, 7, 0])];

#[rustfmt::skip]
const GLYPHS: [&[Glyph]; CLASSES] = [
    // 0: round; narrow and slanted.
    &[
        Glyph { points: &[[0.50, 0.06], [0.72, 0.17], [0.80, 0.50], [0.72, 0.83], [0.50, 0.94], [0.28, 0.83], [0.20, 0.50], [0.28, 0.17]], strokes: LOOP },
        Glyph { points: &[[0.60, 0.06], [0.73, 0.20], [0.70, 0.52], [0.58, 0.82], [0.42, 0.94], [0.29, 0.80], [0.32, 0.46], [0.44, 0.18]], strokes: LOOP },
    ],
    // 1: a bar; with a flag; with flag and foot.
    &[
        Glyph { points: &[[0.52, 0.06], [0.48, 0.94]], strokes: &[Lines(&[0, 1])] },
        Glyph { points: &[[0.34, 0.24], [0.55, 0.06], [0.53, 0.94]], strokes: &[Lines(&[0, 1, 2])] },
        Glyph { points: &[[0.32, 0.24], [0.52, 0.06], [0.52, 0.93], [0.30, 0.94], [0.74, 0.93]], strokes: &[Lines(&[0, 1, 2]), Lines(&[3, 4])] },
    ],
    // 2: with a straight base; with a loop.
    &[
        Glyph { points: &[[0.23, 0.26], [0.34, 0.11], [0.54, 0.06], [0.73, 0.15], [0.75, 0.34], [0.61, 0.56], [0.40, 0.76], [0.21, 0.93], [0.81, 0.92]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 6, 7]), Lines(&[7, 8])] },
        Glyph { points: &[[0.24, 0.24], [0.42, 0.08], [0.66, 0.11], [0.72, 0.32], [0.58, 0.60], [0.36, 0.86], [0.21, 0.88], [0.24, 0.75], [0.44, 0.80], [0.62, 0.92], [0.83, 0.87]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])] },
    ],
    // 3: round; with a flat top.
    &[
        Glyph { points: &[[0.23, 0.17], [0.46, 0.06], [0.71, 0.14], [0.70, 0.35], [0.44, 0.47], [0.74, 0.56], [0.80, 0.76], [0.61, 0.92], [0.37, 0.94], [0.19, 0.82]], strokes: &[Curve(&[0, 1, 2, 3, 4]), Curve(&[4, 5, 6, 7, 8, 9])] },
        Glyph { points: &[[0.24, 0.08], [0.75, 0.08], [0.45, 0.41], [0.74, 0.52], [0.78, 0.74], [0.59, 0.92], [0.36, 0.94], [0.20, 0.83]], strokes: &[Lines(&[0, 1, 2]), Curve(&[2, 3, 4, 5, 6, 7])] },
    ],
    // 4: open; closed.
    &[
        Glyph { points: &[[0.28, 0.08], [0.20, 0.55], [0.84, 0.53], [0.70, 0.14], [0.65, 0.94]], strokes: &[Lines(&[0, 1, 2]), Lines(&[3, 4])] },
        Glyph { points: &[[0.61, 0.06], [0.17, 0.64], [0.85, 0.63], [0.62, 0.94]], strokes: &[Lines(&[2, 1, 0, 3])] },
    ],
    // 5: angular; with a slanted neck.
    &[
        Glyph { points: &[[0.77, 0.08], [0.32, 0.08], [0.28, 0.44], [0.52, 0.37], [0.75, 0.49], [0.78, 0.73], [0.59, 0.92], [0.37, 0.94], [0.20, 0.83]], strokes: &[Lines(&[0, 1, 2]), Curve(&[2, 3, 4, 5, 6, 7, 8])] },
        Glyph { points: &[[0.80, 0.07], [0.45, 0.10], [0.33, 0.40], [0.57, 0.44], [0.70, 0.60], [0.64, 0.82], [0.44, 0.94], [0.21, 0.88]], strokes: &[Lines(&[0, 1]), Curve(&[1, 2, 3, 4, 5, 6, 7])] },
    ],
    // 6: with a curved stem; a straight one.
    &[
        Glyph { points: &[[0.70, 0.08], [0.45, 0.22], [0.27, 0.50], [0.24, 0.76], [0.41, 0.93], [0.64, 0.91], [0.75, 0.74], [0.65, 0.57], [0.45, 0.55], [0.27, 0.68]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])] },
        Glyph { points: &[[0.56, 0.06], [0.30, 0.58], [0.28, 0.80], [0.47, 0.94], [0.68, 0.84], [0.68, 0.64], [0.48, 0.55]], strokes: &[Lines(&[0, 1]), Curve(&[1, 2, 3, 4, 5, 6, 1])] },
    ],
    // 7: plain; with a bar; with a curved stem.
    &[
        Glyph { points: &[[0.20, 0.09], [0.80, 0.08], [0.42, 0.94]], strokes: &[Lines(&[0, 1, 2])] },
        Glyph { points: &[[0.20, 0.09], [0.79, 0.08], [0.41, 0.94], [0.36, 0.50], [0.76, 0.48]], strokes: &[Lines(&[0, 1, 2]), Lines(&[3, 4])] },
        Glyph { points: &[[0.19, 0.22], [0.21, 0.09], [0.80, 0.09], [0.62, 0.36], [0.49, 0.64], [0.45, 0.94]], strokes: &[Lines(&[0, 1, 2]), Curve(&[2, 3, 4, 5])] },
    ],
    // 8: one stroke that crosses itself; two circles.
    &[
        Glyph { points: &[[0.71, 0.17], [0.51, 0.06], [0.29, 0.17], [0.33, 0.34], [0.51, 0.47], [0.70, 0.62], [0.75, 0.80], [0.50, 0.94], [0.25, 0.80], [0.31, 0.62], [0.51, 0.47], [0.69, 0.33]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0])] },
        Glyph { points: &[[0.50, 0.06], [0.70, 0.25], [0.50, 0.46], [0.30, 0.25], [0.76, 0.70], [0.50, 0.94], [0.24, 0.70]], strokes: &[Curve(&[2, 3, 0, 1, 2]), Curve(&[2, 4, 5, 6, 2])] },
    ],
    // 9: with a straight stem; a curved tail.
    &[
        Glyph { points: &[[0.74, 0.17], [0.51, 0.06], [0.28, 0.19], [0.28, 0.40], [0.48, 0.50], [0.70, 0.38], [0.68, 0.94]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 0]), Lines(&[0, 6])] },
        Glyph { points: &[[0.75, 0.24], [0.57, 0.06], [0.32, 0.14], [0.26, 0.35], [0.45, 0.49], [0.69, 0.41], [0.76, 0.56], [0.63, 0.83], [0.34, 0.94]], strokes: &[Curve(&[0, 1, 2, 3, 4, 5, 0]), Curve(&[0, 6, 7, 8])] },
    ],
];

/// How far control points stray, in units of the digit's height (standard deviation).
const JITTER: f32 = 0.04;
/// Tangent of half the largest rotation, 15 degrees. (The half-angle, because sine and cosine then are
/// quotients of polynomials.)
const MAX_HALF_TURN: f32 = 0.131_652_5;
const MAX_SHEAR: f32 = 0.25;
/// The height of a digit in pixels, and how much narrower or wider than the glyph it may be.
const HEIGHT: (f32, f32) = (17.0, 21.0);
const ASPECT: (f32, f32) = (0.8, 1.1);
/// How far the centre strays from the image's, in pixels.
const MAX_SHIFT: f32 = 1.2;
/// Half the width of the pen in pixels, and over how many pixels its edge fades.
const PEN: (f32, f32) = (0.6, 1.6);
const EDGE: (f32, f32) = (0.9, 2.0);
const INK: (f32, f32) = (0.65, 1.0);
/// Standard deviation of the noise, for ink of 1.
const NOISE: (f32, f32) = (0.0, 0.10);
/// Straight pieces for each span of a curve; at this size, more can't be seen.
const PIECES: usize = 5;

fn draw(label: u8, rng: &mut Rng, image: &mut [u8]) {
    let ways = GLYPHS[usize::from(label)];
    let glyph = &ways[rng.below(ways.len())];
    let to_image = Affine::random(rng);
    let points: Vec<Point> = glyph
        .points
        .iter()
        .map(|&[x, y]| to_image.apply([x + JITTER * rng.bell(), y + JITTER * rng.bell()]))
        .collect();
    let pen = Pen {
        radius: rng.uniform(PEN.0, PEN.1),
        edge: rng.uniform(EDGE.0, EDGE.1),
        ink: rng.uniform(INK.0, INK.1),
    };
    let mut distances = Distances::beyond(pen.reach());
    for stroke in glyph.strokes {
        match stroke {
            Lines(path) => {
                for ends in path.windows(2) {
                    distances.add_segment(points[usize::from(ends[0])], points[usize::from(ends[1])]);
                }
            }
            Curve(path) => distances.add_curve(&points, path),
        }
    }
    let noise = rng.uniform(NOISE.0, NOISE.1);
    for (pixel, &squared) in image.iter_mut().zip(&distances.squared) {
        let value = pen.ink_at(squared.sqrt()) + noise * rng.bell();
        // The cast saturates; the half rounds.
        *pixel = (value * 255.0 + 0.5) as u8;
    }
}

/// From the unit square of a glyph to pixels.
struct Affine {
    linear: [[f32; 2]; 2],
    centre: Point,
}

impl Affine {
    fn random(rng: &mut Rng) -> Affine {
        let half = rng.uniform(-MAX_HALF_TURN, MAX_HALF_TURN);
        let (cos, sin) = ((1.0 - half * half) / (1.0 + half * half), 2.0 * half / (1.0 + half * half));
        let shear = rng.uniform(-MAX_SHEAR, MAX_SHEAR);
        let height = rng.uniform(HEIGHT.0, HEIGHT.1);
        let width = height * rng.uniform(ASPECT.0, ASPECT.1);
        let middle = SIDE as f32 / 2.0;
        let centre = [0; 2].map(|_| middle + rng.uniform(-MAX_SHIFT, MAX_SHIFT));
        // Rotation after shear after scale.
        let linear =
            [[cos * width, (cos * shear - sin) * height], [sin * width, (sin * shear + cos) * height]];
        Affine { linear, centre }
    }

    fn apply(&self, [x, y]: Point) -> Point {
        let (x, y) = (x - 0.5, y - 0.5);
        [0, 1].map(|i| self.centre[i] + self.linear[i][0] * x + self.linear[i][1] * y)
    }
}

struct Pen {
    radius: f32,
    edge: f32,
    ink: f32,
}

impl Pen {
    /// From this distance on, there is no ink.
    fn reach(&self) -> f32 {
        self.radius + self.edge / 2.0
    }

    fn ink_at(&self, distance: f32) -> f32 {
        let t = ((self.reach() - distance) / self.edge).clamp(0.0, 1.0);
        // A smooth step, as a blurred edge has.
        self.ink * t * t * (3.0 - 2.0 * t)
    }
}

/// For each pixel, the squared distance of its centre to the nearest stroke, as far as it matters.
struct Distances {
    squared: [f32; PIXELS],
    reach: f32,
}

impl Distances {
    fn beyond(reach: f32) -> Distances {
        Distances { squared: [reach * reach; PIXELS], reach }
    }

    fn add_segment(&mut self, [ax, ay]: Point, [bx, by]: Point) {
        // Only the pixels that the pen can reach; the casts saturate outside of the image.
        let span = |a: f32, b: f32| {
            let first = (a.min(b) - self.reach) as usize;
            let end = (a.max(b) + self.reach + 1.0) as usize;
            first.min(SIDE)..end.min(SIDE)
        };
        let (columns, rows) = (span(ax, bx), span(ay, by));
        let (dx, dy) = (bx - ax, by - ay);
        // Two points may coincide after they have moved.
        let per_length = 1.0 / (dx * dx + dy * dy).max(1e-12);
        for row in rows {
            for column in columns.clone() {
                let (px, py) = (column as f32 + 0.5 - ax, row as f32 + 0.5 - ay);
                let along = ((px * dx + py * dy) * per_length).clamp(0.0, 1.0);
                let (qx, qy) = (px - along * dx, py - along * dy);
                let squared = &mut self.squared[row * SIDE + column];
                *squared = squared.min(qx * qx + qy * qy);
            }
        }
    }

    fn add_curve(&mut self, points: &[Point], path: &[u8]) {
        let last = path.len() - 1;
        let closed = path[0] == path[last];
        // A neighbour beyond the end is the one across the seam, or else the end itself.
        let at = |i: usize| points[usize::from(path[i])];
        for i in 0..last {
            let before = if i > 0 { at(i - 1) } else { at(if closed { last - 1 } else { 0 }) };
            let after = if i + 2 <= last { at(i + 2) } else { at(if closed { 1 } else { last }) };
            let span = [before, at(i), at(i + 1), after];
            let mut from = span[1];
            for piece in 1..=PIECES {
                let to = catmull_rom(&span, piece as f32 / PIECES as f32);
                self.add_segment(from, to);
                from = to;
            }
        }
    }
}

/// The uniform Catmull-Rom spline from `p[1]` (t = 0) to `p[2]` (t = 1).
fn catmull_rom(p: &[Point; 4], t: f32) -> Point {
    [0, 1].map(|i| {
        let [p0, p1, p2, p3] = [p[0][i], p[1][i], p[2][i], p[3][i]];
        let linear = p2 - p0;
        let quadratic = 2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3;
        let cubic = 3.0 * (p1 - p2) + p3 - p0;
        p1 + 0.5 * t * (linear + t * (quadratic + t * cubic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a, to compare with a number written down here.
    fn hash(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn shapes_labels_and_name_are_as_documented() {
        let RawDataset { name, train, test, is_real_mnist } = digits(103, 20, 1);
        assert!(!is_real_mnist && name == "synthetic digits (not MNIST)");
        for (split, count) in [(train, 103), (test, 20)] {
            assert_eq!((split.count, split.labels.len(), split.images.len()), (count, count, count * 784));
            assert_eq!((split.height, split.width, split.classes), (28, 28, 10));
            for block in split.labels.chunks_exact(10) {
                let mut block = block.to_vec();
                block.sort();
                assert_eq!(block, (0..10).collect::<Vec<u8>>());
            }
        }
        assert!(digits(0, 0, 1).train.images.is_empty());
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_on_every_platform() {
        let RawDataset { train, test, .. } = digits(50, 50, 42);
        let hashes = [&train.images, &train.labels, &test.images, &test.labels].map(|b| hash(b));
        let expected = [927296874652195222, 16297222213113647364, 10140424094074158417, 5239069845012825604];
        assert_eq!(hashes, expected);
    }

    #[test]
    fn images_do_not_depend_on_threads_or_on_how_many_there_are() {
        let many = digits(200, 30, 7);
        let few = digits(20, 30, 7);
        assert_eq!(many.train.images[..20 * PIXELS], few.train.images);
        assert_eq!(many.train.labels[..20], few.train.labels);
        assert_eq!(many.test, few.test);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| digits(200, 30, 7)), many);
    }

    #[test]
    fn seeds_splits_and_images_differ() {
        let (a, b) = (digits(100, 100, 1), digits(100, 100, 2));
        assert_ne!(a.train, b.train);
        assert_ne!(a.train, a.test);
        let images: std::collections::HashSet<_> = [&a, &b]
            .iter()
            .flat_map(|d| d.train.images.chunks(PIXELS).chain(d.test.images.chunks(PIXELS)))
            .collect();
        assert_eq!(images.len(), 400);
    }

    #[test]
    fn every_image_has_ink_and_keeps_off_the_border() {
        let images = digits(2000, 0, 3).train.images;
        let mut border = 0_u64;
        for image in images.chunks(PIXELS) {
            let ink = image.iter().filter(|&&pixel| pixel > 100).count();
            assert!((15..400).contains(&ink), "{ink} dark pixels");
            border += image[..SIDE].iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
        }
        // Noise leaves about 4 per pixel; a digit that ran off the top would leave far more.
        let mean = border as f64 / (2000 * SIDE) as f64;
        assert!(mean < 10.0, "{mean}");
    }

    /// A nearest-mean classifier, the plainest there is, must be far above chance and far from perfect.
    #[test]
    fn the_task_is_learnable_and_not_trivial() {
        let RawDataset { train, test, .. } = digits(2000, 500, 5);
        let mut means = vec![[0.0_f64; PIXELS]; CLASSES];
        for (image, &label) in train.images.chunks(PIXELS).zip(&train.labels) {
            for (mean, &pixel) in means[usize::from(label)].iter_mut().zip(image) {
                *mean += f64::from(pixel) / 200.0;
            }
        }
        let distance = |mean: &[f64; PIXELS], image: &[u8]| {
            mean.iter().zip(image).map(|(m, &p)| (m - f64::from(p)).powi(2)).sum::<f64>()
        };
        let correct = test.images.chunks(PIXELS).zip(&test.labels).filter(|(image, label)| {
            let nearest = (0..CLASSES)
                .min_by(|&a, &b| distance(&means[a], image).total_cmp(&distance(&means[b], image)));
            nearest == Some(usize::from(**label))
        });
        let correct = correct.count();

        assert!((300..450).contains(&correct), "{correct} of 500");
    }
}
