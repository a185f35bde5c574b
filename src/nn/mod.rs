//! Layers, models and losses.
//!
//! A [`Layer`] is a description: sizes that follow from the input are left out. [`Sequential::build`] works them out,
//! checks that the shapes fit, and gives a [`Model`], which is a [`Module`]: something with named parameters that maps a
//! batch to a batch.
//!
//! ```
//! # use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! let model = Sequential::new()
//!     .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
//!     .add(Flatten::new())
//!     .add(Dropout::new(0.5))
//!     .add(Dense::new(10))
//!     .seed(7)
//!     .build([28, 28, 1], Device::Cpu)?;
//! let images = Tensor::zeros([2, 28, 28, 1], Device::Cpu)?;
//! assert_eq!(model.infer(&images)?.shape(), [2, 10]);
//! # Ok(()) }
//! ```
//!
//! A model of one's own is a struct with `#[derive(Module)]` and a function `forward`, of layers that [`Build::layer`] makes and of
//! variables: see [`Module`].
//!
//! The shape of a sample may have open dimensions, `None`, which are other sizes in other batches: see [`SampleShape`]. What
//! has weights for each feature needs the number of features, the last dimension, and nothing else.
//!
//! # Layers by their Keras names
//!
//! Images are `[height, width, channels]`, volumes `[depth, height, width, channels]`, and weights stand as Keras has them. Axes count within a sample: the first after
//! the batch is 0 (Keras counts the batch), the last is -1.
//!
//! | Keras | wgrad |
//! | --- | --- |
//! | `Input(shape=(28, 28, 1))`, `Input(shape=(None, 64))` | [`.build([28, 28, 1], device)`](Sequential::build), `.build((None, 64), device)`; [`net.input("x", (None, 64))`](Functional::input) |
//! | `Dense(64, activation="relu")` | [`Dense::new(64)`](Dense)`.activation(Activation::Relu)` |
//! | `Conv2D(32, 3, strides=2, padding="same", dilation_rate=.., groups=..)` | [`Conv2d::new(32, [3, 3])`](Conv2d)`.stride([2, 2]).padding(Padding::Same).dilation(..).groups(..)` |
//! | `DepthwiseConv2D(3, depth_multiplier=2)` | [`DepthwiseConv2d::new([3, 3])`](DepthwiseConv2d)`.depth_multiplier(2)` |
//! | `SeparableConv2D(64, 3)` | [`SeparableConv2d::new(64, [3, 3])`](SeparableConv2d) |
//! | `Conv2DTranspose(8, 3, strides=2, output_padding=1)` | [`ConvTranspose2d::new(8, [3, 3])`](ConvTranspose2d)`.stride([2, 2]).output_padding([1, 1])` |
//! | `MaxPooling2D(2)`, `AveragePooling2D(2)` | [`MaxPool2d::new([2, 2])`](MaxPool2d), [`AvgPool2d::new([2, 2])`](AvgPool2d) |
//! | `GlobalAveragePooling2D()`, `GlobalMaxPooling2D(keepdims=True)` | [`GlobalAvgPool2d::new()`](GlobalAvgPool2d), [`GlobalMaxPool2d::new()`](GlobalMaxPool2d)`.keep_dims(true)` |
//! | `AdaptiveAveragePooling2D(2)`, `AdaptiveMaxPooling2D((2, 3))` | [`AdaptiveAvgPool2d::new([2, 2])`](AdaptiveAvgPool2d), [`AdaptiveMaxPool2d::new([2, 3])`](AdaptiveMaxPool2d) |
//! | `ZeroPadding2D(((t, b), (l, r)))`, `Cropping2D(..)` | [`ZeroPad2d::new([t, b, l, r])`](ZeroPad2d), [`Cropping2d::new([t, b, l, r])`](Cropping2d) |
//! | `UpSampling2D(2, interpolation="bilinear")` | [`UpSample2d::new([2, 2])`](UpSample2d)`.interpolation(Interpolation::Bilinear)` |
//! | `Conv1D(64, 9, padding="causal", dilation_rate=2)`, `Conv1DTranspose(8, 4)` | [`Conv1d::new(64, 9)`](Conv1d)`.padding(Padding1d::Causal).dilation(2)`, [`ConvTranspose1d::new(8, 4)`](ConvTranspose1d) |
//! | `DepthwiseConv1D(3)`, `SeparableConv1D(64, 3)` | [`DepthwiseConv1d::new(3)`](DepthwiseConv1d), [`SeparableConv1d::new(64, 3)`](SeparableConv1d) |
//! | `MaxPooling1D(2)`, `AveragePooling1D(2)`, `GlobalAveragePooling1D()`, `GlobalMaxPooling1D()` | [`MaxPool1d::new(2)`](MaxPool1d), [`AvgPool1d::new(2)`](AvgPool1d), [`GlobalAvgPool1d::new()`](GlobalAvgPool1d), [`GlobalMaxPool1d::new()`](GlobalMaxPool1d) |
//! | `ZeroPadding1D((1, 2))`, `Cropping1D((1, 2))`, `UpSampling1D(2)` | [`ZeroPad1d::new([1, 2])`](ZeroPad1d), [`Cropping1d::new([1, 2])`](Cropping1d), [`UpSample1d::new(2)`](UpSample1d) |
//! | `Conv3D(32, 3, padding="same")`, `Conv3DTranspose(8, 3, strides=2)` | [`Conv3d::new(32, [3, 3, 3])`](Conv3d)`.padding(Padding3d::Same)`, [`ConvTranspose3d::new(8, [3, 3, 3])`](ConvTranspose3d)`.stride([2, 2, 2])` |
//! | `MaxPooling3D((1, 2, 2))`, `AveragePooling3D(2)`, `GlobalAveragePooling3D()`, `GlobalMaxPooling3D()` | [`MaxPool3d::new([1, 2, 2])`](MaxPool3d), [`AvgPool3d::new([2, 2, 2])`](AvgPool3d), [`GlobalAvgPool3d::new()`](GlobalAvgPool3d), [`GlobalMaxPool3d::new()`](GlobalMaxPool3d) |
//! | `ZeroPadding3D(1)`, `Cropping3D(..)`, `UpSampling3D((1, 2, 2))` | [`ZeroPad3d::new([1; 6])`](ZeroPad3d), [`Cropping3d::new([0, 1, 0, 0, 2, 2])`](Cropping3d), [`UpSample3d::new([1, 2, 2])`](UpSample3d) |
//! | `Flatten()`, `Reshape((-1, 4))`, `Permute((3, 1, 2))` | [`Flatten::new()`](Flatten), [`Reshape::new([INFER, 4])`](Reshape), [`Permute::new([2, 0, 1])`](Permute) |
//! | `BatchNormalization(momentum=0.99, epsilon=1e-3)` | [`BatchNorm::new()`](BatchNorm)`.momentum(0.99).epsilon(1e-3)` |
//! | `BatchNormalization(synchronized=True)`, PyTorch's `SyncBatchNorm` | [`BatchNorm::new().synchronized(true)`](BatchNorm::synchronized) |
//! | `LayerNormalization(axis=-1)`, `GroupNormalization(8)` | [`LayerNorm::new()`](LayerNorm)`.axes([-1])`, [`GroupNorm::new(8)`](GroupNorm) |
//! | `RMSNormalization()`, `UnitNormalization()` | [`RmsNorm::new()`](RmsNorm), [`UnitNorm::new()`](UnitNorm); PyTorch's `InstanceNorm2d` is [`InstanceNorm::new()`](InstanceNorm) |
//! | `Rescaling(1 / 255)`, `Normalization()`, `layer.adapt(train)` | [`Rescaling::new(1.0 / 255.0)`](Rescaling), [`Normalization::new().adapt(&train)?`](Normalization) |
//! | `Discretization(num_bins=4)`, `Discretization([0., 1.])` | [`Discretization::new(4).adapt(&train)?`](Discretization), [`Discretization::with_boundaries(&[0.0, 1.0])`](Discretization::with_boundaries) |
//! | `CategoryEncoding(10, output_mode="one_hot")`, `IntegerLookup(max_tokens=100)` | [`CategoryEncoding::new(10)`](CategoryEncoding)`.output(OutputMode::OneHot)`, [`IntegerLookup::new().max_tokens(100)`](IntegerLookup); of text [`text`](crate::text) |
//! | `Embedding(1000, 16)` | [`Embedding::new(1000, 16)`](Embedding) |
//! | `SimpleRNN(8)`, `LSTM(64, return_sequences=True)`, `GRU(64, dropout=0.2)` | [`SimpleRnn::new(8)`](SimpleRnn), [`Lstm::new(64)`](Lstm)`.return_sequences(true)`, [`Gru::new(64)`](Gru)`.dropout(0.2)` |
//! | `LSTM(64, stateful=True)`, `model.reset_states()` | [`Lstm::new(64).stateful(true)`](Lstm::stateful), [`Module::reset_states`] |
//! | `return_state=True`, `initial_state=..`, `mask=tf.sequence_mask(lengths)` | [`Lstm::new(64).module(features, device, seed)`](Lstm::module), [`Recurrent::run`], [`sequence_mask`] |
//! | `Bidirectional(LSTM(64), merge_mode="sum")`, `TimeDistributed(Conv2D(..))` | [`Bidirectional::new(Lstm::new(64))`](Bidirectional)`.merge(BidirectionalMerge::Sum)`, [`TimeDistributed::new(..)`](TimeDistributed) |
//! | `MultiHeadAttention(8, 64)`, `layer(q, v, use_causal_mask=True)` | [`MultiHeadAttention::new(8, 64)`](MultiHeadAttention)`.causal(true)`; [`net.layer_all(layer, &[q, v])`](Functional::layer_all) |
//! | KerasHub's `PositionEmbedding(128)`, `SinePositionEncoding()` | [`PositionEmbedding::new(128)`](PositionEmbedding), [`SinePositionEncoding::new()`](SinePositionEncoding), which add to their input |
//! | KerasHub's `TransformerEncoder(256, 8)`, `TransformerDecoder(256, 8)` | [`TransformerEncoder::new(256, 8)`](TransformerEncoder), [`TransformerDecoder::new(256, 8)`](TransformerDecoder) |
//! | `Dropout(0.5)`, `SpatialDropout2D(0.5)`, `GaussianNoise(0.1)` | [`Dropout::new(0.5)`](Dropout), [`SpatialDropout2d::new(0.5)`](SpatialDropout2d), [`GaussianNoise::new(0.1)`](GaussianNoise) |
//! | `AlphaDropout(0.1)`, `SpectralNormalization(Dense(8))` | [`AlphaDropout::new(0.1)`](AlphaDropout), [`SpectralNorm::new(Dense::new(8))`](SpectralNorm) |
//! | `Activation("gelu")`, `ReLU()`, `LeakyReLU(0.3)`, `ELU()` | [`Activation::Gelu`], [`Activation::Relu`], [`Activation::LeakyRelu(0.3)`](Activation::LeakyRelu), [`Activation::Elu`]: each is a layer, too |
//! | `Softmax(axis=-1)`, `PReLU(shared_axes=[1, 2])` | [`Softmax::new()`](Softmax), [`PRelu::new()`](PRelu)`.shared_axes([0, 1])` |
//! | `kernel_initializer="he_normal"` | `.kernel_initializer(`[`Initializer::HeNormal`]`)` |
//! | `kernel_regularizer=L1L2(1e-5, 1e-4)` | `.kernel_regularizer(`[`Regularizer::l1_l2(1e-5, 1e-4)`](Regularizer::l1_l2)`)` |
//! | `activity_regularizer=L2(1e-4)`, `ActivityRegularization(l1=1e-4)` | `.activity_regularizer(Regularizer::l2(1e-4))`, [`ActivityRegularization::new(Regularizer::l1(1e-4))`](ActivityRegularization) |
//! | `kernel_constraint=MaxNorm(2)`, `UnitNorm(axis=[0, 1, 2])`, `NonNeg()`, `MinMaxNorm()` | `.kernel_constraint(`[`Constraint::max_norm(2.0)`](Constraint::max_norm)`)`, `Constraint::unit_norm().axes([0, 1, 2])`, `::non_neg()`, `::min_max_norm(0.0, 1.0)` |
//! | `layer.trainable = False` | `.trainable(false)`; later [`Module::set_trainable`] |
//!
//! What is not set has Keras's default. The kernel's settings are called so in all layers; Keras says
//! `depthwise_initializer` in `DepthwiseConv2D`, for example.

mod activation;
mod activity;
mod affine;
mod attention;
pub(crate) mod augment;
mod cache;
mod constraint;
mod context;
mod conv;
mod conv1d;
mod conv3d;
mod dense;
#[doc(hidden)]
pub mod derived;
mod dropout;
mod element_type;
mod embedding;
mod field;
mod finite;
mod frozen;
mod functional;
mod generation;
mod initializer;
mod kept;
mod layer;
mod leaf;
mod leaves;
mod loss;
mod merge;
mod model;
mod model_file;
mod module;
mod network;
mod normalization;
mod parameter;
mod parts;
mod past;
mod pool;
mod pool1d;
mod preprocessing;
mod recurrent;
mod registry;
mod regularizer;
mod reshape;
mod resize;
mod rms_norm;
mod sample_shape;
mod sequential;
mod spectral_norm;
mod summary;
mod table;
mod volumes;
mod weights;
pub(crate) mod weights_file;

pub use activation::{Activation, PRelu, Softmax};
pub use activity::ActivityRegularization;
pub use attention::{
    Attention, AttentionOptions, MultiHeadAttention, PositionEmbedding, SinePositionEncoding,
    TransformerDecoder, TransformerEncoder, rotary,
};
pub use cache::{Cache, KvCache};
pub use constraint::Constraint;
pub use context::Context;
pub use conv::{Conv2d, ConvTranspose2d, DepthwiseConv2d, SeparableConv2d};
pub use conv1d::{Conv1d, ConvTranspose1d, DepthwiseConv1d, SeparableConv1d};
pub use conv3d::{Conv3d, ConvTranspose3d};
pub use dense::Dense;
pub use dropout::{AlphaDropout, Dropout, GaussianNoise, SpatialDropout2d};
pub(crate) use element_type::floats_as;
pub use embedding::Embedding;
pub use field::Field;
pub use frozen::Frozen;
pub use functional::{Functional, Symbol};
pub use generation::Generation;
pub use initializer::{Distribution, Fan, Initializer};
pub use layer::{Build, Built, Layer};
pub(crate) use leaf::Leaf;
pub(crate) use leaves::leaves_of;
pub use loss::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalHinge, Contrastive, CosineEmbedding, CosineSimilarity, Ctc, Dice, Hinge, Huber, InfoNce,
    KLDivergence, LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, NtXent, Outputs, Poisson, SparseCategoricalCrossentropy, SquaredHinge,
    TripletHard, TripletMargin, TripletSemiHard, Tversky,
};
pub use merge::Merge;
pub use model::Model;
pub use module::{Module, Parameters};
pub(crate) use module::{fed_to, is_stateful, layers_shown};
pub use normalization::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm};
pub use parameter::Parameter;
pub use pool::{
    AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d,
};
pub use pool1d::{AvgPool1d, Cropping1d, GlobalAvgPool1d, GlobalMaxPool1d, MaxPool1d, UpSample1d, ZeroPad1d};
pub use preprocessing::{
    CategoryEncoding, Discretization, FeatureBatches, IntegerLookup, Normalization, Rescaling,
};
pub use recurrent::{
    Bidirectional, BidirectionalMerge, Gru, Lstm, Recurrence, Recurrent, RecurrentLayer, SimpleRnn,
    TimeDistributed, sequence_mask,
};
pub use registry::Layers;
pub use regularizer::Regularizer;
pub use reshape::{Flatten, Permute, Reshape};
pub use resize::{Cropping2d, UpSample2d, ZeroPad2d};
pub use rms_norm::{RmsNorm, UnitNorm};
pub use sample_shape::{IntoSampleShape, SampleShape};
pub use sequential::Sequential;
pub use spectral_norm::SpectralNorm;
pub(crate) use table::Shown;
#[cfg(feature = "plot")]
pub(crate) use table::grouped;
pub use volumes::{
    AvgPool3d, Cropping3d, GlobalAvgPool3d, GlobalMaxPool3d, MaxPool3d, UpSample3d, ZeroPad3d,
};
pub use wgrad_derive::Module;
