//! What a model gets wrong.

use super::color::{GREY, INK, ORANGE};
use super::confusion::samples;
use super::picture::{Anchor, MARGIN, Picture, TEXT_SIZE};
use super::sheet::{Tile, Values, grid, levels};
use super::text;
use crate::backend::eval;
use crate::data::{Batch, Pass, Source};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Module, fed_to, grouped};
use crate::tensor::{Tensor, no_grad};
use crate::train::{are_probabilities, is_yes_or_no};

const NAME: &str = "plot::misclassified";
const BATCH_SIZE: usize = 128;
/// Letters of a class's name that are shown.
const MOST_LETTERS: usize = 16;
/// More on a sheet nobody looks at.
const MOST: usize = 1000;
/// How far from 1 the sum of probabilities may be.
const SUM_TOLERANCE: f64 = 1e-3;

/// A sample that the model takes for something else.
struct Mistake {
    /// Its place in the data set.
    index: usize,
    /// `[height, width, channels]`, as the model saw it. On the host: a part of a tensor would keep its whole batch.
    image: Vec<f32>,
    target: usize,
    guess: usize,
    probability: f64,
}

/// The images that a model gets wrong: each with its true class, the model's guess, the probability that the model gives it,
/// and its number in the data set. The mistakes that the model is surest of come first, `most` of them at most (1000 where
/// that is more).
///
/// The model has one input, images `[n, height, width, channels]` with 1 channel or 3, and one output `[n, classes]`, logits
/// or probabilities: rows that are probabilities (not negative, with a sum of 1) are taken as such, others go through
/// softmax. Targets are integers `[n]`, or one-hot rows; samples whose target is none of the classes are left out. Classes
/// are called as `classes` says, [`Model::classes`](crate::nn::Model::classes), say; where that is empty, as the data set says
/// ([`Dataset::classes`](crate::data::Dataset::classes)), if it has a name for each; else by their numbers.
///
/// A model with one output, `[n, 1]`, has two classes, no and yes, and targets `[n, 1]` or integers `[n]`. If its outputs for the whole
/// data set are from 0 to 1 they are taken for probabilities, else for logits.
///
/// Where nothing is wrong, the picture says so.
///
/// # Errors
///
/// The data set is empty or doesn't fit the model, there are neither no names nor one for each class, or the device fails.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::plot;
/// # fn main() -> Result<()> {
/// let (_, test) = data::synthetic::digits(1, 50, 1).into_datasets()?;
/// let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
/// let picture = plot::misclassified(&model, &test, model.classes(), 20)?;
/// assert_eq!(picture.to_svg().matches("<image").count(), 20);
/// # Ok(()) }
/// ```
pub fn misclassified(
    model: &(impl Module + ?Sized),
    set: &dyn Source,
    classes: &[String],
    most: usize,
) -> Result<Picture> {
    let most = most.clamp(1, MOST);
    let (mut seen, mut counted, mut wrong, mut shape) = (0, 0, 0, Vec::new());
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut classes = classes;
    // Of a model with one output, once it is known to be one.
    let mut probabilities = None;
    for batch in set.pass(&Pass { batch_size: BATCH_SIZE, shuffle: None, device: model.device() })? {
        let found = check(model, batch?, seen, &mut |outputs| {
            let binary = is_yes_or_no(outputs);
            if binary && probabilities.is_none() {
                probabilities = Some(are_probabilities(model, set, BATCH_SIZE)?);
            }
            Ok(if binary { probabilities } else { None })
        })?;
        if classes.is_empty() && set.classes().len() == found.classes {
            classes = set.classes();
        }
        if !classes.is_empty() && classes.len() != found.classes {
            let message = format!("{} names for {} classes", classes.len(), found.classes);
            return Err(Error::argument(NAME, message));
        }
        seen += found.seen;
        shape = found.shape;
        counted += found.counted;
        wrong += found.mistakes.len();
        mistakes.extend(found.mistakes);
        // Only the surest are kept, else the images of a bad model would all be.
        mistakes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
        mistakes.truncate(most);
    }
    if counted == 0 {
        return Err(Error::data(set.name(), "has no samples to classify"));
    }
    if mistakes.is_empty() {
        return Ok(nothing_wrong(counted, set.name()));
    }
    let share = 100.0 * wrong as f64 / counted as f64;
    let title =
        format!("{} of {} misclassified ({share:.2} %)", grouped(wrong as u64), samples(counted as u64));
    let more = match wrong > mistakes.len() {
        true => format!("the {} that the model is surest of: true class → guess", mistakes.len()),
        false => "true class → guess, the surest first".to_string(),
    };
    Ok(sheet(&mistakes, &shape, classes)?.headed(&title, &more))
}

struct Found {
    seen: usize,
    classes: usize,
    /// `[height, width, channels]`, where there are mistakes.
    shape: Vec<usize>,
    /// Samples with a target that is a class.
    counted: usize,
    mistakes: Vec<Mistake>,
}

/// Outputs and targets of no and yes as those of two classes.
fn as_two_classes(outputs: &Tensor, y: &Tensor, probabilities: bool) -> Result<(Tensor, Tensor)> {
    let n = outputs.dims().first().copied().unwrap_or(0);
    if y.numel() != n || y.dims().first() != Some(&n) {
        let message =
            format!("targets are {} for outputs {}; expected one for each", y.shape(), outputs.shape());
        return Err(Error::shape(NAME, message));
    }
    let yes = outputs.reshape([n, 1])?;
    let yes = if probabilities { yes } else { yes.sigmoid()? };
    let targets = if y.dtype().is_float() { y.gt(0.5)? } else { y.clone() };
    Ok((Tensor::concat(&[&(1.0 - &yes)?, &yes], 1)?, targets.cast(DType::I32)?.reshape([n])?))
}

/// `binary` says of a model with one output whether that is a probability.
fn check(
    model: &(impl Module + ?Sized),
    batch: Batch,
    first: usize,
    binary: &mut dyn FnMut(&Tensor) -> Result<Option<bool>>,
) -> Result<Found> {
    let ([x], [y]) = (&batch.inputs[..], &batch.targets[..]) else {
        let (inputs, targets) = (batch.inputs.len(), batch.targets.len());
        let message = format!("expects one input and one target, got {inputs} and {targets}");
        return Err(Error::argument(NAME, message));
    };
    let outputs = model.infer(&fed_to(model, std::slice::from_ref(x))?[0])?;
    let (outputs, y) = match binary(&outputs)? {
        Some(probabilities) => &no_grad(|| as_two_classes(&outputs, y, probabilities))?,
        None => &(outputs, y.clone()),
    };
    let &[n, count @ 1..=usize::MAX] = outputs.dims() else {
        let message = format!("the model's output is {}; expected [n, classes]", outputs.shape());
        return Err(Error::shape(NAME, message));
    };
    let (pixels, targets, rows, scores) = no_grad(|| {
        let targets = match y.dims() {
            [rows] if *rows == n => y.cast(DType::I32)?,
            [rows, 1] if *rows == n => y.reshape([n])?.cast(DType::I32)?,
            dims if dims == [n, count] => y.argmax(-1, false)?.cast(DType::I32)?,
            _ => {
                let message = format!(
                    "targets are {} for outputs {}; expected [{n}], or one-hot rows",
                    y.shape(),
                    outputs.shape()
                );
                return Err(Error::shape(NAME, message));
            }
        };
        let scores = outputs.softmax(-1)?.cast(DType::F32)?;
        Ok((x.detach()?.cast(DType::F32)?, targets, outputs.cast(DType::F32)?, scores))
    })?;
    eval(&[&pixels, &targets, &rows, &scores])?;
    if x.dims().first() != Some(&n) {
        let message =
            format!("the model makes {} of {}; expected an output per image", outputs.shape(), x.shape());
        return Err(Error::shape(NAME, message));
    }
    let targets = targets.to_vec::<i32>()?;
    let (rows, scores) = (rows.to_vec::<f32>()?, scores.to_vec::<f32>()?);
    let mut found =
        Found { seen: n, classes: count, shape: x.dims()[1..].to_vec(), counted: 0, mistakes: Vec::new() };
    for (k, &target) in targets.iter().enumerate() {
        let Some(target) = usize::try_from(target).ok().filter(|&t| t < count) else { continue };
        found.counted += 1;
        let (row, softmax) = (&rows[k * count..(k + 1) * count], &scores[k * count..(k + 1) * count]);
        // The first of the largest, as argmax has it.
        let guess = (1..count).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        if guess == target {
            continue;
        }
        let sum: f64 = row.iter().map(|&v| f64::from(v)).sum();
        let probabilities = row.iter().all(|&v| v >= 0.0) && (sum - 1.0).abs() < SUM_TOLERANCE;
        let probability = f64::from(if probabilities { row[guess] } else { softmax[guess] });
        found.mistakes.push(Mistake { index: first + k, image: Vec::new(), target, guess, probability });
    }
    if !found.mistakes.is_empty() {
        let pixels = pixels.to_vec::<f32>()?;
        let numel: usize = found.shape.iter().product();
        for mistake in &mut found.mistakes {
            let start = (mistake.index - first) * numel;
            mistake.image = pixels[start..start + numel].to_vec();
        }
    }
    Ok(found)
}

fn sheet(mistakes: &[Mistake], shape: &[usize], classes: &[String]) -> Result<Picture> {
    let pixels: Vec<f32> = mistakes.iter().flat_map(|m| &m.image).copied().collect();
    let images = Tensor::from_vec(pixels, [&[mistakes.len()], shape].concat(), Device::Cpu)?;
    let values = Values::read(NAME, &images)?;
    let name = |class: usize| match classes.get(class) {
        Some(name) => text::shortened(name, MOST_LETTERS),
        None => class.to_string(),
    };
    // Short names side by side, long ones below each other.
    let short = (0..classes.len()).all(|class| name(class).chars().count() <= 4);
    let tiles = values.pixels(levels(&[&values])).into_iter().zip(mistakes).map(|(pixels, m)| {
        let (target, guess) = (name(m.target), name(m.guess));
        let mut caption = match short {
            true => vec![(format!("{target} → {guess}"), INK)],
            false => vec![(target, INK), (format!("→ {guess}"), ORANGE)],
        };
        caption.push((format!("{:.1} %", 100.0 * m.probability), if short { ORANGE } else { GREY }));
        caption.push((format!("#{}", m.index), GREY));
        Tile { pixels, caption }
    });
    Ok(grid(tiles.collect(), 10))
}

fn nothing_wrong(counted: usize, name: &str) -> Picture {
    let words = format!("None of {} of {name} is misclassified.", samples(counted as u64));
    let mut picture = Picture::new(text::width(&words, TEXT_SIZE) + 2.0 * MARGIN, 2.0 * MARGIN + TEXT_SIZE);
    picture.text(words, [MARGIN, MARGIN + TEXT_SIZE / 2.0], TEXT_SIZE, INK, Anchor::Start);
    picture
}
