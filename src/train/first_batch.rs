//! What most often goes wrong without an error, by a look at the first batch.

use super::outputs::Output;
use crate::data::{Batch, Source};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Module, Outputs, layers_in_words};
use crate::tensor::{Tensor, no_grad};

/// More elements than these say nothing new.
const MOST: usize = 1 << 18;
/// A side of an image is at least so long; channels are fewer.
const SIDE: usize = 8;
/// Layers that take numbers of any size, or make them small.
const ANY_SCALE: [&str; 11] = [
    "Rescaling",
    "Normalization",
    "Discretization",
    "CategoryEncoding",
    "IntegerLookup",
    "Embedding",
    "BatchNorm",
    "LayerNorm",
    "GroupNorm",
    "InstanceNorm",
    "RmsNorm",
];

/// What looks wrong, in sentences.
pub(super) fn look(
    model: &impl Module,
    outputs: &[Output],
    source: &dyn Source,
    batch: &Batch,
) -> Result<Vec<String>> {
    let layers = layers_in_words(model);
    let mut found = Vec::new();
    found.extend(other_samples(batch));
    if let ([output], Some(last)) = (outputs, layers.last()) {
        found.extend(other_outputs(output, last));
    }
    let peeked = source.peek().transpose()?;
    for x in &peeked.as_ref().unwrap_or(batch).inputs {
        found.extend(channels_first(x, &layers));
        found.extend(pixels(x, &layers)?);
    }
    Ok(found)
}

/// The first dimension counts samples.
fn other_samples(batch: &Batch) -> Option<String> {
    let samples = batch.samples();
    let targets = batch.targets.iter().map(|t| ("a target", t));
    let inputs = batch.inputs.iter().map(|t| ("an input", t));
    let weights = batch.weights.iter().map(|t| ("weights", t));
    let (what, other) =
        inputs.chain(targets).chain(weights).find(|(_, t)| t.dims().first() != Some(&samples))?;
    Some(format!(
        "the first batch has {samples} samples by its input {}, but {what} of {}: the first dimension counts samples, of all alike",
        batch.inputs.first().map(|x| x.shape().to_string()).unwrap_or_default(),
        other.shape()
    ))
}

fn kind(layer: &str) -> &str {
    layer.split(' ').next().unwrap_or_default()
}

/// What a last layer gives, `Dense 10, softmax` say, where that is known.
fn gives(layer: &str) -> Option<Outputs> {
    match (kind(layer), layer.rsplit(' ').next().unwrap_or_default()) {
        ("Softmax", _) | (_, "softmax" | "sigmoid" | "hard_sigmoid") => Some(Outputs::Probabilities),
        ("Dense", last) if last.parse::<usize>().is_ok() => Some(Outputs::Logits),
        _ => None,
    }
}

fn other_outputs(output: &Output, last: &str) -> Option<String> {
    match (output.loss.as_ref()?.outputs()?, gives(last)?) {
        (Outputs::Logits, Outputs::Probabilities) => Some(format!(
            "the loss takes logits, but the last layer ({last}) gives probabilities: leave its activation out (a metric or a \
             picture takes either), or make the loss by from_probabilities()"
        )),
        (Outputs::Probabilities, Outputs::Logits) => Some(format!(
            "the loss takes probabilities, but the last layer ({last}) has no activation: make the loss by from_logits(), which is \
             exact, or end the model in softmax or sigmoid"
        )),
        _ => None,
    }
}

fn channels_first(x: &Tensor, layers: &[String]) -> Option<String> {
    let &[_, channels @ (1 | 3 | 4), height, width] = x.dims() else { return None };
    let moved = layers.first().is_some_and(|layer| kind(layer) == "Permute");
    if height < SIDE || width < SIDE || moved {
        return None;
    }
    Some(format!(
        "the input {} looks like images with their channels first; layers take [n, height, width, channels]: \
         x.permute([0, 2, 3, 1])? makes [n, {height}, {width}, {channels}]",
        x.shape()
    ))
}

/// Whether an input is images of whole numbers up to 255, which nothing makes small.
fn pixels(x: &Tensor, layers: &[String]) -> Result<Option<String>> {
    let sides = match *x.dims() {
        [_, h, w] | [_, h, w, 1 | 3 | 4] | [_, 1 | 3 | 4, h, w] => [h, w],
        _ => return Ok(None),
    };
    let any_scale = |layer: &String| {
        ANY_SCALE.contains(&kind(layer)) || (kind(layer) == "Augment" && layer.contains("normalise"))
    };
    if sides.iter().any(|&side| side < SIDE) || layers.iter().take(3).any(any_scale) {
        return Ok(None);
    }
    let sample: usize = x.dims()[1..].iter().product();
    let rows = (MOST / sample.max(1)).clamp(1, x.dims()[0].max(1)).min(x.dims()[0]);
    let values = no_grad(|| x.to_device(Device::Cpu)?.slice(0, 0, rows)?.cast(DType::F32)?.to_vec::<f32>())?;
    let most = values.iter().copied().fold(0.0, f32::max);
    let bytes = values.iter().all(|&v| (0.0..=255.0).contains(&v) && v.fract() == 0.0);
    if !bytes || most < 17.0 {
        return Ok(None);
    }
    Ok(Some(format!(
        "the input {} has whole numbers up to {most}, as unscaled pixels are: unless the model scales them itself, use \
         Dataset::scaled(1.0 / 255.0), or begin it with Rescaling::new(1.0 / 255.0)",
        x.shape()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Pass};
    use crate::nn::{BinaryCrossentropy, GlobalAvgPool2d, Loss, Rescaling, Softmax};
    use crate::prelude::*;

    fn warnings(model: Sequential, loss: impl Loss + 'static, x: &Tensor, y: &Tensor) -> Vec<String> {
        let set = Dataset::from_tensors("test", x, y).unwrap();
        let model = model.build(&x.dims()[1..], Device::Cpu).unwrap();
        let mut output = Output::new("output".into());
        output.set_loss(Box::new(loss));
        let batch = set.pass_first();
        look(&model, &[output], &set, &batch).unwrap()
    }

    impl Dataset {
        fn pass_first(&self) -> Batch {
            self.pass(&Pass::new(4, Device::Cpu)).unwrap().next().unwrap().unwrap()
        }
    }

    fn images(shape: [usize; 4], scale: f64) -> Tensor {
        let n = shape.iter().product::<usize>();
        let levels = (Tensor::arange(0, n as i64, Device::Cpu).unwrap().remainder(256).unwrap())
            .cast(DType::F32)
            .unwrap();
        (levels * scale).unwrap().reshape(shape).unwrap()
    }

    fn head() -> Sequential {
        Sequential::new().add(GlobalAvgPool2d::new()).add(Dense::new(3))
    }

    #[test]
    fn what_is_right_is_not_warned_of() {
        let labels = Tensor::zeros([5], Device::Cpu).unwrap().cast(DType::U32).unwrap();
        let loss = SparseCategoricalCrossentropy::from_logits();
        assert!(warnings(head(), loss.clone(), &images([5, 16, 16, 3], 1.0 / 255.0), &labels).is_empty());
        let scaled =
            Sequential::new().add(Rescaling::new(1.0 / 255.0)).add(Flatten::new()).add(Dense::new(3));
        assert!(warnings(scaled, loss.clone(), &images([5, 16, 16, 3], 1.0), &labels).is_empty());
        // Counts in a table are no pixels, and few grey levels none of 255.
        let table = Sequential::new().add(Dense::new(3));
        let counts = images([5, 1, 1, 9], 1.0).reshape([5, 9]).unwrap();
        assert!(warnings(table, loss.clone(), &counts, &labels).is_empty());
        let classes = images([5, 16, 16, 1], 1.0).remainder(10.0).unwrap();
        assert!(warnings(head(), loss, &classes, &labels).is_empty());
    }

    #[test]
    fn channels_first_and_pixels_are_told_of() {
        let labels = Tensor::zeros([5], Device::Cpu).unwrap().cast(DType::U32).unwrap();
        let loss = SparseCategoricalCrossentropy::from_logits();
        let found = warnings(head(), loss.clone(), &images([5, 3, 16, 16], 1.0), &labels);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("permute([0, 2, 3, 1])") && found[0].contains("[n, 16, 16, 3]"),
            "{found:?}"
        );
        assert!(found[1].contains("up to 255") && found[1].contains("Rescaling"), "{found:?}");
        let bytes = images([5, 16, 16, 1], 1.0).cast(DType::U8).unwrap();
        assert_eq!(warnings(head(), loss, &bytes, &labels).len(), 1);
    }

    #[test]
    fn logits_and_probabilities_are_told_apart() {
        let (x, y) =
            (Tensor::zeros([5, 4], Device::Cpu).unwrap(), Tensor::zeros([5, 1], Device::Cpu).unwrap());
        let labels = Tensor::zeros([5], Device::Cpu).unwrap().cast(DType::U32).unwrap();
        let raw = || Sequential::new().add(Dense::new(3));
        let soft = || raw().add(Softmax::new());
        let one = |activation| Sequential::new().add(Dense::new(1).activation(activation));
        let sparse = SparseCategoricalCrossentropy::from_logits;
        let likely = SparseCategoricalCrossentropy::from_probabilities;
        assert!(warnings(soft(), sparse(), &x, &labels)[0].contains("takes logits"));
        assert!(warnings(raw(), likely(), &x, &labels)[0].contains("takes probabilities"));
        assert!(warnings(raw(), sparse(), &x, &labels).is_empty());
        assert!(warnings(soft(), likely(), &x, &labels).is_empty());
        let sigmoid = one(Activation::Sigmoid);
        assert!(warnings(sigmoid, BinaryCrossentropy::from_logits(), &x, &y)[0].contains("sigmoid"));
        let linear = one(Activation::Linear);
        assert!(
            warnings(linear, BinaryCrossentropy::from_probabilities(), &x, &y)[0].contains("from_logits()")
        );
        assert!(warnings(one(Activation::Sigmoid), MeanSquaredError::new(), &x, &y).is_empty());
        assert!(warnings(one(Activation::LogSoftmax), BinaryCrossentropy::from_logits(), &x, &y).is_empty());
    }

    #[test]
    fn other_numbers_of_samples_are_told_of() {
        let batch = Batch::new(
            Tensor::zeros([4, 8], Device::Cpu).unwrap(),
            Tensor::zeros([8, 1], Device::Cpu).unwrap(),
        );
        let told = other_samples(&batch).unwrap();
        assert!(told.contains("4 samples") && told.contains("a target of [8, 1]"), "{told}");
        assert!(other_samples(&Batch::unlabeled(Tensor::zeros([4, 8], Device::Cpu).unwrap())).is_none());
    }
}
