//! What most often goes wrong without an error, by a look at the first batch.

use super::outputs::Output;
use crate::data::{Batch, Source};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Model, Module, Outputs, Shown, layers_shown};
use crate::tensor::{Tensor, no_grad};
use std::any::type_name;
use std::sync::Arc;

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

/// Layers that leave the form of images as it is, or say nothing about it: what follows them says what the data are.
const ANY_FORM: [&str; 8] = [
    "Sequential",
    "Rescaling",
    "Normalization",
    "BatchNorm",
    "Dropout",
    "AlphaDropout",
    "GaussianNoise",
    "Activation",
];

/// What looks wrong, in sentences.
pub(super) fn look<M: Module>(
    model: &M,
    outputs: &[Output],
    source: &dyn Source,
    batch: &Batch,
) -> Result<Vec<String>> {
    let layers = layers_shown(model);
    let wired = is_model::<M>();
    let mut found = Vec::new();
    found.extend(other_samples(batch));
    if let ([output], true) = (outputs, wired) {
        found.extend(last_layer(&layers).and_then(|last| other_outputs(output, last)));
    }
    let peeked = source.peek().transpose()?;
    // Of several inputs nobody says which layers take which.
    if let [x] = &*peeked.as_ref().unwrap_or(batch).inputs {
        let layers: Vec<&str> = layers.iter().map(|layer| &*layer.what).collect();
        if wired {
            found.extend(channels_first(x, &layers));
        }
        found.extend(pixels(x, &layers, wired)?);
    }
    Ok(found)
}

/// Whether a module is a built model, whose layers are called in the order in which they are shown and with nothing between. What the
/// `forward` of others does nobody knows.
fn is_model<M: ?Sized>() -> bool {
    let name = type_name::<M>();
    name == type_name::<Model>() || name == type_name::<Box<Model>>() || name == type_name::<Arc<Model>>()
}

/// The layer that a model's one output comes from, within a stack the stack's; `None` where that is no layer, but a merge.
fn last_layer(layers: &[Shown]) -> Option<&str> {
    let mut within = "";
    loop {
        let direct = |path: &str| {
            path.strip_prefix(within).is_some_and(|rest| rest.find('.').map(|at| at + 1) == Some(rest.len()))
        };
        let last = layers.iter().find(|layer| layer.ends && direct(&layer.path))?;
        if kind(&last.what) != "Sequential" {
            return Some(&last.what);
        }
        within = &last.path;
    }
}

/// The first dimension counts samples.
fn other_samples(batch: &Batch) -> Option<String> {
    let samples = batch.samples();
    let (what, other) = batch.of_other_rows()?;
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

/// The layer that says what form the data have: the first that does not take any.
fn forming<'a>(layers: &[&'a str]) -> Option<&'a str> {
    let layer = layers.iter().find(|layer| !ANY_FORM.contains(&kind(layer)))?;
    Some(layer.strip_prefix("SpectralNorm ").unwrap_or(layer))
}

/// Whether a layer takes images, `[height, width, channels]`.
fn takes_images(layer: &str) -> bool {
    kind(layer).ends_with("2d") || kind(layer) == "Augment"
}

/// Height and width of what looks like images with their channels first. A map of few rows has channels behind them: then the last
/// axis is a number of channels as they are chosen, and no side of a square.
fn sides_after_channels(x: &Tensor) -> Option<[usize; 2]> {
    let &[_, 1 | 3 | 4, height, width] = x.dims() else { return None };
    let images = height >= SIDE && width >= SIDE && (height == width || !width.is_multiple_of(8));
    images.then_some([height, width])
}

fn channels_first(x: &Tensor, layers: &[&str]) -> Option<String> {
    let [height, width] = sides_after_channels(x)?;
    let channels = x.dims()[1];
    if !forming(layers).is_some_and(takes_images) {
        return None;
    }
    Some(format!(
        "the input {} looks like images with their channels first; layers take [n, height, width, channels]: \
         x.permute([0, 2, 3, 1])? makes [n, {height}, {width}, {channels}]",
        x.shape()
    ))
}

/// Whether an input is images of whole numbers up to 255, which nothing makes small. `wired`: whether layers stand in the order in which
/// they are called.
fn pixels(x: &Tensor, layers: &[&str], wired: bool) -> Result<Option<String>> {
    // Sequences have the same form as images without channels: what is made of them says which they are.
    let form = forming(layers).unwrap_or_default();
    let looks = match *x.dims() {
        [_, h, w, 1 | 3 | 4] => h >= SIDE && w >= SIDE,
        [_, h, w] => h >= SIDE && w >= SIDE && (kind(form) != "Flatten" || h == w),
        _ => sides_after_channels(x).is_some(),
    };
    let images = match kind(form) {
        "Flatten" => looks,
        "Permute" | "Reshape" => looks && layers.iter().any(|layer| takes_images(layer)),
        _ => looks && takes_images(form),
    };
    let first = if wired { 3 } else { layers.len() };
    let stacks = |layer: &&&str| kind(layer) != "Sequential";
    let any_scale = |layer: &&str| {
        ANY_SCALE.contains(&kind(layer)) || (kind(layer) == "Augment" && layer.contains("normalise"))
    };
    if !images || layers.iter().filter(stacks).take(first).any(any_scale) {
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
    use crate::data::{Augment, Dataset, Pass};
    use crate::nn::{
        BinaryCrossentropy, Build, Built, Context, Conv1d, Functional, GlobalAvgPool1d, GlobalAvgPool2d,
        Loss, Lstm, Merge, Parameters, Permute, Rescaling, Softmax,
    };
    use crate::prelude::*;

    fn warnings(model: Sequential, loss: impl Loss + 'static, x: &Tensor, y: &Tensor) -> Vec<String> {
        warnings_of(&model.build(&x.dims()[1..], Device::Cpu).unwrap(), loss, x, y)
    }

    fn warnings_of<M: Module>(model: &M, loss: impl Loss + 'static, x: &Tensor, y: &Tensor) -> Vec<String> {
        let set = Dataset::from_tensors("test", x, y).unwrap();
        let mut output = Output::new("output".into());
        output.set_loss(Box::new(loss));
        look(model, &[output], &set, &set.pass_first()).unwrap()
    }

    /// Layers in an order that is not that of its forward, which does more than they do.
    struct Own {
        layers: Vec<Built>,
        sigmoid: bool,
    }

    impl Module for Own {
        fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
            let y = self.layers.iter().rev().try_fold(x.clone(), |x, layer| layer.forward(&x, cx))?;
            if self.sigmoid { y.sigmoid() } else { Ok(y) }
        }
        fn visit(&self, parameters: &mut Parameters<'_>) {
            parameters.describe("Own", None);
            self.layers.iter().enumerate().for_each(|(i, layer)| parameters.module(&i.to_string(), layer));
        }
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

    /// What a model of one's own does with its layers, and what comes of a merge, nobody knows.
    #[test]
    fn outputs_are_judged_by_the_layer_they_come_from() {
        let (x, y) =
            (Tensor::zeros([5, 4], Device::Cpu).unwrap(), Tensor::zeros([5, 1], Device::Cpu).unwrap());
        let mut cx = Build::new(Device::Cpu, 0);
        let mut dense =
            |activation, input: usize| cx.layer(Dense::new(1).activation(activation), [input]).unwrap();
        let hidden = vec![dense(Activation::Linear, 4), dense(Activation::Relu, 4)];
        let ends_in_forward = Own { layers: hidden, sigmoid: true };
        assert!(warnings_of(&ends_in_forward, BinaryCrossentropy::from_probabilities(), &x, &y).is_empty());
        let gate = vec![dense(Activation::Linear, 4), dense(Activation::Sigmoid, 4)];
        let gate_last = Own { layers: gate, sigmoid: false };
        assert!(warnings_of(&gate_last, BinaryCrossentropy::from_logits(), &x, &y).is_empty());

        let wired = |merged: bool| {
            let mut net = Functional::new(Device::Cpu);
            let input = net.input("x", [4]).unwrap();
            let score = net.layer(Dense::new(1), input).unwrap();
            let gate = net.layer(Dense::new(1).activation(Activation::Sigmoid), input).unwrap();
            let product = net.merge(Merge::Multiply, &[score, gate]).unwrap();
            let end = if merged { product } else { net.layer(Dense::new(1), product).unwrap() };
            net.build(&[("y", end)]).unwrap()
        };
        let (logits, likely) = (BinaryCrossentropy::from_logits, BinaryCrossentropy::from_probabilities);
        assert!(warnings_of(&wired(true), logits(), &x, &y).is_empty());
        assert!(warnings_of(&wired(true), likely(), &x, &y).is_empty());
        assert!(warnings_of(&wired(false), logits(), &x, &y).is_empty());
        assert!(warnings_of(&wired(false), likely(), &x, &y)[0].contains("takes probabilities"));
        // A stack in a stack ends in its last layer.
        let stacked = Sequential::new()
            .add(Dense::new(2))
            .add(Sequential::new().add(Dense::new(1).activation(Activation::Sigmoid)));
        assert!(warnings(stacked, logits(), &x, &y)[0].contains("takes logits"));
    }

    #[test]
    fn sequences_maps_and_scaled_images_are_no_pixels() {
        let labels = Tensor::zeros([5], Device::Cpu).unwrap().cast(DType::U32).unwrap();
        let loss = SparseCategoricalCrossentropy::from_logits;
        let sequences = images([5, 16, 16, 1], 1.0).reshape([5, 16, 16]).unwrap();
        let recurrent = Sequential::new().add(Lstm::new(4)).add(Dense::new(3));
        assert!(warnings(recurrent, loss(), &sequences, &labels).is_empty());
        let conv = Sequential::new().add(Conv1d::new(4, 3)).add(GlobalAvgPool1d::new()).add(Dense::new(3));
        assert!(warnings(conv, loss(), &sequences, &labels).is_empty());
        let flat = || Sequential::new().add(Flatten::new()).add(Dense::new(3));
        assert_eq!(warnings(flat(), loss(), &sequences, &labels).len(), 1);
        for map in [[5, 4, 8, 512], [5, 1, 32, 64]] {
            assert!(warnings(head(), loss(), &images(map, 1.0), &labels).is_empty(), "{map:?}");
        }

        // What turns and scales them may stand anywhere in a model of one's own.
        let mut cx = Build::new(Device::Cpu, 0);
        let turned = images([5, 3, 16, 16], 1.0);
        let own = Own {
            layers: vec![
                cx.layer(Dense::new(3), [3]).unwrap(),
                cx.layer(GlobalAvgPool2d::new(), [16, 16, 3]).unwrap(),
                cx.layer(Permute::new([1, 2, 0]), [3, 16, 16]).unwrap(),
                cx.layer(Rescaling::new(1.0 / 255.0), [3, 16, 16]).unwrap(),
            ],
            sigmoid: false,
        };
        assert!(warnings_of(&own, loss(), &turned, &labels).is_empty());

        let bytes = images([5, 16, 16, 3], 1.0);
        let set = Dataset::from_tensors("test", &bytes, &labels).unwrap();
        let model = head().build([16, 16, 3], Device::Cpu).unwrap();
        let found = |augment: Augment| {
            let set = set.clone().augmented(augment);
            let batch = set.pass(&Pass::new(4, Device::Cpu)).unwrap().next().unwrap().unwrap();
            look(&model, &[], &set, &batch).unwrap()
        };
        assert!(found(Augment::new().normalise(&[127.5], &[127.5])).is_empty());
        assert_eq!(found(Augment::new().flip_horizontal()).len(), 1);
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
