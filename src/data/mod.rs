//! Data sets, pipelines, augmentation, and loaders.
//!
//! What training reads from is a [`Source`]. There are two of them:
//!
//! - A [`Dataset`] is in memory, and on the device once it is needed there. Batches are shuffled and gathered on the device
//!   as part of the step that uses them: nothing is faster, and it is what the loaders give.
//! - A [`Pipeline`] is a lazy sequence on the host, for everything else: files decoded as they are read, samples made by
//!   code, data that doesn't fit into memory. [`Dataset::pipeline`] and [`Pipeline::to_dataset`] lead from one to the other.
//!
//! | tf.data and Keras | wgrad |
//! | --- | --- |
//! | `Dataset.from_tensor_slices((x, y))` | [`Dataset::from_tensors`], [`Dataset::from_tensor_slices`] (several inputs, several targets) |
//! | `Dataset.from_tensor_slices(x)`, to predict | [`Dataset::unlabeled`], [`Sample::unlabeled`], [`Batch::unlabeled`] |
//! | `dataset.map(lambda x, y: (f(x), y))` in memory | [`Dataset::map_features`], [`Dataset::map_inputs`], [`Dataset::map_labels`] |
//! | `(x, y, sample_weight)` | [`Dataset::with_weights`], [`Sample::weighted`], triples `(x, y, weight)` |
//! | `Dataset.from_tensor_slices(list)`, `range(n)` | `list.into_iter().collect::<Pipeline<_>>()`, `(0..n).collect()` |
//! | `Dataset.from_generator(f)` | [`Pipeline::generate`]; in memory [`Dataset::from_samples`] |
//! | `map(f)` | [`Pipeline::map`] |
//! | `map(f, num_parallel_calls=n)`, `AUTOTUNE` | [`Pipeline::par_map`]`(n, f)`, `par_map(0, f)` |
//! | `filter`, `flat_map`, `enumerate`, `take`, `skip`, `zip` | the same: [`Pipeline::filter`], [`Pipeline::flat_map`], [`Pipeline::enumerate`], [`Pipeline::take`], [`Pipeline::skip`], [`Pipeline::zip`] |
//! | `concatenate` | [`Pipeline::chain`], [`Dataset::concat`] |
//! | `shuffle(buffer, seed)` | [`Pipeline::shuffle`]; a `Dataset` is shuffled by `fit` |
//! | `shuffle(.., reshuffle_each_iteration=False)` | [`Pipeline::shuffle_once`], [`Dataset::shuffled`] |
//! | `repeat(n)`, `repeat()` | [`Pipeline::repeat`], [`Pipeline::repeat_forever`] |
//! | `batch(n)`, `batch(n, drop_remainder=True)` | [`Pipeline::batch`], [`Pipeline::batch_exact`] |
//! | `unbatch()` | [`Pipeline::unbatch`] |
//! | `cache()` | [`Pipeline::cache`] |
//! | `prefetch(n)` | [`Pipeline::prefetch`] |
//! | `cardinality()`, `assert_cardinality(n)` | [`Pipeline::cardinality`], [`Pipeline::with_len`] |
//! | `ignore_errors()` | [`Pipeline::ignore_errors`] |
//! | `fit(validation_split=0.2)` | [`Dataset::validation_split`] |
//! | `image_dataset_from_directory(path)` | `image_folder(path)` (feature `images`) |
//! | `experimental.make_csv_dataset(path)` | `csv(path)` (feature `csv`) |
//! | `RandomFlip`, `RandomRotation`, `RandomZoom`, `RandomTranslation`, `RandomCrop`, `RandomBrightness`, `RandomContrast`, `Normalization` | [`Augment`]: a layer, or [`Source::augmented`] |
//! | `keras.datasets.mnist.load_data()` | [`mnist::load`], [`fashion_mnist::load`], [`kmnist::load`], [`cifar10::load`] |
//!
//! ```
//! use wgrad::data::{Augment, Source};
//! use wgrad::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let (digits, test) = data::synthetic::digits(100, 20, 1).into_datasets()?;
//! let (train, validation) = digits.validation_split(0.2)?;
//! let train = train.augmented(Augment::new().shift(0.1, 0.1).rotate(10.0));
//!
//! let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], Device::Cpu)?;
//! let loss = SparseCategoricalCrossentropy::from_logits();
//! let mut trainer = Trainer::new(model, Adam::new(1e-3), loss).metric(Accuracy::new()).build()?;
//! trainer.fit(&train, Fit::epochs(1).validation(&validation).verbose(false))?;
//! println!("{}", trainer.evaluate(&test)?);
//! # Ok(()) }
//! ```

mod batches;
pub mod cifar10;
mod conversion;
#[cfg(feature = "csv")]
mod csv;
mod dataset;
mod digest;
#[cfg(feature = "download")]
mod download;
pub mod fashion_mnist;
pub mod idx;
mod idx_files;
#[cfg(feature = "images")]
mod images;
pub mod kmnist;
pub mod mnist;
mod mnist_cache;
mod pipeline;
mod sample;
mod source;
pub mod synthetic;

#[cfg(feature = "csv")]
pub use self::csv::{Column, Csv, csv};
pub use batches::Batches;
pub use dataset::Dataset;
#[cfg(feature = "images")]
pub use images::{ImageFolder, image_folder};
pub use pipeline::{Cardinality, Items, Pipeline};
pub use sample::{HostValue, IntoSample, Sample};
pub(crate) use source::with_samples;
pub use source::{Augmented, Batch, BatchIter, Pass, Source};

pub use crate::nn::augment::{Augment, Fill};
