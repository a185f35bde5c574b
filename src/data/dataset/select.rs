//! Samples that were chosen: by place, by class; and all of them as a model sees them.

use super::{Dataset, label_type};
use crate::data::Batch;
use crate::data::batches::decode;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use std::collections::{HashMap, HashSet};

/// More classes than this nobody chooses from; an open range (`5..`) would never end.
const MOST_CLASSES: usize = 1 << 16;

impl Dataset {
    /// The samples at these places, in this order; one that is named twice is there twice: PyTorch's `Subset`. Everything else stays:
    /// scale, names of classes, weights.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Dataset;
    /// # fn main() -> Result<()> {
    /// let (x, y) = (Tensor::arange(10, 14, Device::Cpu)?, Tensor::arange(0, 4, Device::Cpu)?);
    /// let set = Dataset::from_tensors("numbers", &x, &y)?.select(&[3, 0, 3])?;
    /// assert_eq!(set.features().to_vec::<i32>()?, [13, 10, 13]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A place is none of the data set's, or there is no memory for the copy.
    pub fn select(&self, places: &[usize]) -> Result<Dataset> {
        if let Some(place) = places.iter().find(|&&place| place >= self.len()) {
            let message = format!("select: there is no sample {place}; it has {} samples", self.len());
            return Err(Error::data(self.name(), message));
        }
        let rows = places.iter().map(|&place| place as u32).collect();
        let rows = Tensor::from_vec(rows, [places.len()], Device::Cpu)?;
        self.each(places.len(), |t| t.index_select(0, &rows))
    }

    /// The samples of these classes, in the order in which they stand. Labels keep their numbers, as after a filter in tf.data or with
    /// PyTorch's `Subset`, and so do the names of classes: a model of all classes still fits. For a model of these classes alone there is
    /// [`of_classes_renumbered`](Self::of_classes_renumbered).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let large = digits.of_classes(5..10)?;
    /// assert!(large.labels().to_vec::<u8>()?.iter().all(|label| (5..10).contains(label)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The labels are not integers `[samples]`, the data set has names for fewer classes, more than 65,536 are given, or there is no
    /// memory for the copy.
    pub fn of_classes(&self, classes: impl IntoIterator<Item = usize>) -> Result<Dataset> {
        let classes = classes.into_iter().take(MOST_CLASSES + 1).collect();
        self.chosen("of_classes", classes).map(|(set, _)| set)
    }

    /// As [`of_classes`](Self::of_classes), and the classes are counted anew: the first of those given becomes 0. Their names follow;
    /// where they had none, they are called by the numbers that they had. So that a new head of as many outputs can be trained. Labels keep
    /// their type, but for bytes, which become u32 where more than 256 classes are given.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let large = digits.of_classes_renumbered(5..10)?;
    /// assert!(large.labels().to_vec::<u8>()?.iter().all(|label| (0..5).contains(label)));
    /// assert_eq!(large.classes(), ["5", "6", "7", "8", "9"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`of_classes`](Self::of_classes); or a class is given twice.
    pub fn of_classes_renumbered(&self, classes: impl IntoIterator<Item = usize>) -> Result<Dataset> {
        const NAME: &str = "of_classes_renumbered";
        let classes: Vec<usize> = classes.into_iter().take(MOST_CLASSES + 1).collect();
        let mut seen = HashSet::new();
        if let Some(class) = classes.iter().find(|class| !seen.insert(**class)) {
            return Err(Error::data(self.name(), format!("{NAME}: class {class} is given twice")));
        }
        let names: Vec<String> = classes
            .iter()
            .map(|&class| self.classes().get(class).cloned().unwrap_or_else(|| class.to_string()))
            .collect();
        let (set, numbers) = self.chosen(NAME, classes)?;
        let labels = Tensor::from_vec(numbers, [set.len()], Device::Cpu)?;
        // Bytes that stood for some classes of many don't hold all numbers of these.
        let holds_all = |dtype| dtype != DType::U8 || names.len() <= 1 << u8::BITS;
        let renumbered =
            |old: &Tensor| if holds_all(old.dtype()) { labels.cast(old.dtype()) } else { Ok(labels.clone()) };
        set.map_labels(renumbered).map(|set| set.with_classes(&names))
    }

    /// The samples of some classes, and for each which of those that were given.
    fn chosen(&self, op: &str, classes: Vec<usize>) -> Result<(Dataset, Vec<u32>)> {
        let wrong = |message: String| Err(Error::data(self.name(), format!("{op}: {message}")));
        let named = self.classes().len();
        if classes.len() > MOST_CLASSES {
            return wrong(format!("got more than {MOST_CLASSES} classes; of a range say where it ends"));
        }
        if let Some(class) = classes.iter().find(|&&class| named > 0 && class >= named) {
            return wrong(format!("there is no class {class}; it has {named} classes"));
        }
        let labels = self.labels();
        if labels.dtype().is_float() || labels.dims() != [self.len()] {
            return wrong(format!(
                "the labels are {} {}; expected integers [{}] (of one-hot rows first map_labels(|y| y.argmax(-1, false)))",
                labels.dtype(),
                labels.shape(),
                self.len()
            ));
        }
        // What is no class, below 0 or beyond i32, is none of those given either.
        let labels = labels.cast(DType::I32)?.to_vec::<i32>()?;
        let mut numbers: HashMap<usize, u32> = HashMap::new();
        for (number, &class) in (0..).zip(&classes) {
            numbers.entry(class).or_insert(number);
        }
        let found = labels
            .iter()
            .enumerate()
            .filter_map(|(place, &label)| Some((place, *numbers.get(&usize::try_from(label).ok()?)?)));
        let (places, numbers): (Vec<usize>, Vec<u32>) = found.unzip();
        Ok((self.select(&places)?, numbers))
    }

    /// All samples as one batch on a device, as training and evaluation see batches: inputs [scaled](Self::scaled), integer targets as
    /// u32 (as i32 where one is negative). Of some samples: [`take`](Self::take) or [`select`](Self::select) them first.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let batch = digits.select(&[7, 1])?.to_batch(Device::Cpu)?;
    /// assert_eq!((batch.inputs[0].dims(), batch.targets[0].dims()), (&[2, 28, 28, 1][..], &[2][..]));
    /// assert!(batch.inputs[0].max(.., false)?.item::<f32>()? <= 1.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The device has no room for the samples.
    pub fn to_batch(&self, device: Device) -> Result<Batch> {
        no_grad(|| {
            let seen = |(t, scale): &(Tensor, Option<f64>)| decode(t.to_device(device)?, *scale);
            Ok(Batch {
                inputs: self.inputs.iter().map(seen).collect::<Result<_>>()?,
                targets: self
                    .targets
                    .iter()
                    .map(|t| label_type(t)?.to_device(device))
                    .collect::<Result<_>>()?,
                weights: self.weights.as_ref().map(|w| w.to_device(device)).transpose()?,
            })
        })
    }

    /// All features (of the first input) on a device, [scaled](Self::scaled), as a model sees them: `[samples, ..]`. As they are stored
    /// gives [`features`](Self::features).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (digits, _) = data::synthetic::digits(100, 1, 1).into_datasets()?;
    /// let images = digits.take(24)?.scaled_features(Device::Cpu)?;
    /// assert_eq!((images.dtype(), images.dims()), (DType::F32, &[24, 28, 28, 1][..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`to_batch`](Self::to_batch).
    pub fn scaled_features(&self, device: Device) -> Result<Tensor> {
        let (features, scale) = &self.inputs[0];
        no_grad(|| decode(features.to_device(device)?, *scale))
    }
}
