//! Integers of any size by their places in a vocabulary.

use super::FeatureBatches;
use super::discretization::encoded_sample;
use crate::config::Config;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Build, Built, Context, Layer, Module, Parameters, SampleShape};
use crate::ops::check_index::check_index;
use crate::ops::fault::FaultKind;
use crate::ops::index::select_within;
use crate::tensor::{Tensor, no_grad};
use crate::text::{OutputMode, Vocabulary, encode};
use serde::{Deserialize, Serialize};

const OP: &str = "IntegerLookup";

/// Stands for unknown integers in [`IntegerLookup::vocabulary`]: Keras's.
const UNKNOWN: i64 = -1;

/// Integers to places in a vocabulary, and back: Keras's `IntegerLookup`, on the device. Unknown integers have the first place, or
/// several (by the remainder), then come those of the vocabulary, the most frequent first. With a [`mask`](Self::mask) that has place 0.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Embedding, IntegerLookup};
/// # fn main() -> Result<()> {
/// let codes = Tensor::new([[12, 1138, 42], [42, 1000, 36]], Device::Cpu)?;
/// let lookup = IntegerLookup::new().adapt(&codes)?;
/// assert_eq!(lookup.vocabulary()?, [-1, 42, 1138, 1000, 36, 12]);
/// let embedding = Embedding::new(lookup.vocabulary_size()?, 8);
/// let model = Sequential::new().add(lookup.clone()).add(embedding).build((None,), Device::Cpu)?;
/// assert_eq!(model.infer(&codes)?.shape(), [2, 3, 8]);
/// let places = lookup.apply(&Tensor::new([36, 7], Device::Cpu)?)?;
/// assert_eq!(places.to_vec::<u32>()?, [4, 0]);
/// assert_eq!(lookup.decode(&places)?, [36, -1]);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a layer without a vocabulary, and a vocabulary that no tensor could have been given; a pass refuses
/// floats, and integers that are unknown where these have no place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct IntegerLookup {
    words: Vocabulary<i64>,
}

impl Default for IntegerLookup {
    fn default() -> IntegerLookup {
        IntegerLookup::new()
    }
}

impl IntegerLookup {
    /// One place for unknown integers, no mask, places come out.
    pub fn new() -> IntegerLookup {
        IntegerLookup { words: Vocabulary::new(None) }
    }

    /// At most so many places, those of padding and unknown integers included.
    pub fn max_tokens(mut self, tokens: usize) -> IntegerLookup {
        self.words.max_tokens = Some(tokens);
        self
    }

    /// So many places for unknown integers; with 0 one that is unknown is an error.
    pub fn oov_indices(mut self, places: usize) -> IntegerLookup {
        self.words.oov = places;
        self
    }

    /// The integer that is padding: it has place 0, and is left out where vectors come out.
    pub fn mask(mut self, integer: i64) -> IntegerLookup {
        self.words.mask = Some(integer);
        self
    }

    /// What integers become.
    pub fn output(mut self, mode: OutputMode) -> IntegerLookup {
        self.words.output = mode;
        self
    }

    /// Vectors have `max_tokens` places, however large the vocabulary is.
    pub fn pad_to_max_tokens(mut self, pad: bool) -> IntegerLookup {
        self.words.pad = pad;
        self
    }

    /// With the integers of this data, the most frequent first, of equally frequent ones the largest: a tensor `[samples, ..]`, or the
    /// first input of a [`Source`](crate::data::Source). Each sample is a document.
    ///
    /// # Errors
    ///
    /// The data are floats, or there are no samples; `max_tokens` leaves no place.
    pub fn adapt(mut self, data: &(impl FeatureBatches + ?Sized)) -> Result<IntegerLookup> {
        let mut counts = self.words.counts();
        no_grad(|| {
            data.each_batch(&mut |batch| {
                let integers = integers(batch)?;
                let samples = batch.dims().first().copied().unwrap_or(0);
                let size = integers.len().checked_div(samples).unwrap_or(0);
                if size > 0 {
                    integers.chunks_exact(size).for_each(|sample| counts.document(sample.iter().copied()));
                }
                Ok(())
            })
        })?;
        self.words = self.words.adapted(OP, counts, &UNKNOWN)?;
        Ok(self)
    }

    /// With this vocabulary, of different integers; it may begin with mask and unknown ones (-1), or not.
    ///
    /// # Errors
    ///
    /// An integer is there twice, or the mask among them; there are none, or more than `max_tokens`. The mode is `TfIdf`, which needs
    /// [weights](Self::with_vocabulary_and_weights).
    pub fn with_vocabulary(mut self, integers: impl IntoIterator<Item = i64>) -> Result<IntegerLookup> {
        self.words = self.words.with_tokens(OP, integers.into_iter().collect(), &UNKNOWN, None)?;
        Ok(self)
    }

    /// As [`with_vocabulary`](Self::with_vocabulary), with the weight of each integer for the mode `TfIdf`.
    ///
    /// # Errors
    ///
    /// As [`with_vocabulary`](Self::with_vocabulary); or there is not one finite weight for each.
    pub fn with_vocabulary_and_weights(
        mut self,
        integers: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<IntegerLookup> {
        let (integers, weights) = integers.into_iter().unzip();
        self.words = self.words.with_tokens(OP, integers, &UNKNOWN, Some(weights))?;
        Ok(self)
    }

    /// All integers by their places, padding and unknown ones (-1) included.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary(&self) -> Result<Vec<i64>> {
        self.words.all(OP, &UNKNOWN)
    }

    /// How many places there are: what an [`Embedding`](crate::nn::Embedding) needs to know.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary_size(&self) -> Result<usize> {
        self.words.size(OP)
    }

    /// The integers `[n, ..]` by themselves, without a model: what [`Dataset::map_features`](crate::data::Dataset::map_features) takes.
    ///
    /// # Errors
    ///
    /// As [`build`](Layer::build) and a pass.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let alone = x.rank() > 1 && x.dims().last() == Some(&1);
        let module = self.module(x.device(), alone).and_then(|module| module.forward(x, &Context::eval()));
        module.map_err(|e| e.named(OP))
    }

    /// The integers of places, in the order of memory, -1 for those of unknown ones: Keras's `invert=True`. They are computed and read.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet; the places are floats; within a function that is being traced there are no values to read.
    pub fn decode(&self, places: &Tensor) -> Result<Vec<i64>> {
        self.words.tokens(OP)?;
        let integer = |&n: &i64| usize::try_from(n).ok().and_then(|n| self.words.token(n)).copied();
        Ok(integers(places)?.iter().map(|n| integer(n).unwrap_or(UNKNOWN)).collect())
    }

    fn module(&self, device: Device, alone: bool) -> Result<LookupModule> {
        self.words.check("build")?;
        let tokens = self.words.tokens("build")?;
        let depth = self.words.depth("build")?;
        if let Some(far) = tokens.iter().chain(&self.words.mask).find(|&&k| i32::try_from(k).is_err()) {
            let message =
                format!("{far} is in the vocabulary, but tensors hold integers of 32 bits with a sign");
            return Err(Error::argument("build", message));
        }
        let first = self.words.start() as u32;
        let mut sorted: Vec<(i32, u32)> = tokens.iter().map(|&k| k as i32).zip(first..).collect();
        sorted.sort_unstable();
        let (keys, places): (Vec<i32>, Vec<u32>) = sorted.into_iter().unzip();
        let n = keys.len();
        Ok(LookupModule {
            keys: Tensor::from_vec(keys, [n], device)?,
            places: Tensor::from_vec(places, [n], device)?,
            weights: self
                .words
                .weights("build")?
                .map(|w| Tensor::from_vec(w, [depth], device))
                .transpose()?,
            depth,
            alone,
            output: self.words.output,
            mask: self.words.mask.map(|mask| (mask as i32, self.words.masked(depth))),
            unknown: self.words.oov_start(),
            bins: self.words.oov,
        })
    }
}

/// The elements, computed and read.
fn integers(x: &Tensor) -> Result<Vec<i64>> {
    let read = match x.dtype() {
        DType::U32 => x.to_vec::<u32>().map(|v| v.into_iter().map(i64::from).collect()),
        DType::I32 => x.to_vec::<i32>().map(|v| v.into_iter().map(i64::from).collect()),
        DType::U8 => x.to_vec::<u8>().map(|v| v.into_iter().map(i64::from).collect()),
        float => Err(not_integers(float)),
    };
    read.map_err(|e| e.named(OP))
}

fn not_integers(found: DType) -> Error {
    let message =
        format!("expects integers (u8, i32 or u32), got {found}; use .cast(DType::I32), or Discretization");
    Error::dtype(OP, message)
}

impl Layer for IntegerLookup {
    fn kind(&self) -> &'static str {
        OP
    }

    fn details(&self) -> String {
        format!("{} places, {}", self.words.size(OP).unwrap_or(0), self.words.output.name())
    }

    fn config(&self) -> Result<Config> {
        Config::of(self)
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        let alone = input.last() == Some(&Some(1));
        let module = self.module(cx.device(), alone)?;
        let output = encoded_sample(input, alone, self.words.output, module.depth)?;
        Ok(Built::new(module, output))
    }
}

struct LookupModule {
    /// The vocabulary in ascending order, i32, and the places of these.
    keys: Tensor,
    places: Tensor,
    weights: Option<Tensor>,
    depth: usize,
    alone: bool,
    output: OutputMode,
    /// The integer, and its place.
    mask: Option<(i32, u32)>,
    /// The first place of unknown integers, and how many they have.
    unknown: usize,
    bins: usize,
}

impl LookupModule {
    /// Places, u32, of integers of one dimension.
    fn numbers(&self, x: &Tensor) -> Result<Tensor> {
        // Of u32 the upper half is in no vocabulary, whatever it would be as i32.
        let within = match x.dtype() {
            DType::U32 => Some(x.le(i32::MAX as u32)?),
            _ => None,
        };
        let signed = x.cast(DType::I32)?;
        let at = self.keys.searchsorted(&signed, false)?.minimum(self.keys.numel() as u32 - 1)?;
        let mut known = select_within(&self.keys, 0, &at)?.eq(&signed)?;
        if let Some(within) = &within {
            known = known.logical_and(within)?;
        }
        let unknown = match self.bins {
            // Beyond the place of what is dropped: the check below refuses it. Such a u32 there is, as `Vocabulary::depth` sees to.
            0 => x.zeros_like()?.cast(DType::U32)? + (self.depth + 1) as u32,
            1 => x.zeros_like()?.cast(DType::U32)? + self.unknown as u32,
            n => {
                let wide = if x.dtype() == DType::U8 { signed.clone() } else { x.clone() };
                let bin = match wide.dtype() {
                    DType::U32 => wide.remainder(n as u32)?,
                    _ => wide.remainder(n as i32)?,
                };
                bin.cast(DType::U32)? + self.unknown as u32
            }
        };
        let mut numbers = known.select(&select_within(&self.places, 0, &at)?, &unknown?)?;
        if let Some((mask, place)) = self.mask {
            let mut masked = signed.eq(mask)?;
            if let Some(within) = &within {
                masked = masked.logical_and(within)?;
            }
            numbers = masked.select(place, &numbers)?;
        }
        match self.bins {
            0 => check_index(&numbers, FaultKind::IndexSelect, 0, self.depth + 1),
            _ => Ok(numbers),
        }
    }
}

impl Module for LookupModule {
    fn forward(&self, x: &Tensor, _cx: &Context) -> Result<Tensor> {
        if x.dtype().is_float() {
            return Err(not_integers(x.dtype()));
        }
        let flat = x.reshape([x.numel()])?;
        let numbers = if x.numel() == 0 { flat.cast(DType::U32)? } else { self.numbers(&flat)? };
        let y = encode(&numbers.reshape(x.shape())?, self.alone, self.output, self.depth, None)?;
        match &self.weights {
            Some(weights) => y * weights,
            None => Ok(y),
        }
    }

    fn takes_integers(&self) -> bool {
        true
    }

    fn visit(&self, _parameters: &mut Parameters<'_>) {}
}
