//! Pictures of a training and of what came of it (feature `plot`).
//!
//! Each function makes a [`Picture`], which is saved as SVG or PNG, whichever the file's name ends in. Nothing needs to be
//! installed for it: what is written in a PNG is drawn with a font that comes along.
//!
//! | what | how |
//! | --- | --- |
//! | curves of loss and metrics | [`history`], or [`History::plot`](crate::train::History::plot) at once |
//! | the loss over learning rates | [`learning_rates`], or [`RateCurve::plot`](crate::train::RateCurve::plot) |
//! | series of numbers, a forecast beside what came | [`lines`] |
//! | curves over values along an axis | [`Curves`] |
//! | a field, a number for each place of a plane | [`Field`], colours by [`ColorMap`] |
//! | several pictures side by side | [`panels`] |
//! | which class is taken for which | [`confusion_matrix`] |
//! | what a model gets wrong | [`misclassified`] |
//! | what a first layer looks for | [`filters`] |
//! | images of a batch, with or without words below | [`images`], [`captioned_images`]; [`Sheet`] with chosen columns and size |
//! | images beside what became of them (reconstruction, augmentation) | [`image_rows`] |
//!
//! ```
//! use wgrad::plot;
//! use wgrad::prelude::*;
//! # fn main() -> Result<()> {
//! # let folder = std::env::temp_dir().join(format!("wgrad-doc-plot-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
//! let (train, test) = data::synthetic::digits(200, 50, 1).into_datasets()?;
//! let model = Sequential::new()
//!     .add_named("first", Conv2d::new(8, [3, 3]).activation(Activation::Relu))
//!     .add(Flatten::new())
//!     .add(Dense::new(10))
//!     .build([28, 28, 1], Device::Cpu)?;
//! let loss = SparseCategoricalCrossentropy::from_logits();
//! let mut trainer = Trainer::new(model, Adam::new(1e-3), loss).metric(Accuracy::new()).build()?;
//! let history = trainer.fit(&train, Fit::epochs(2).validation(&test).verbose(false))?;
//! let model = trainer.model();
//!
//! history.plot(folder.join("history.svg"))?;
//! let matrix = wgrad::train::confusion_matrix(model, &test, 128)?;
//! plot::confusion_matrix(&matrix)?.save(folder.join("confusion.png"))?;
//! plot::misclassified(model, &test, model.classes(), 40)?.save(folder.join("misclassified.png"))?;
//! let weight = model.parameter("first.weight")?.variable.value();
//! plot::filters(&weight)?.save(folder.join("filters.png"))?;
//! # std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
//! # Ok(()) }
//! ```

mod axes;
mod color;
mod color_map;
mod confusion;
mod curves;
mod field;
mod filters;
mod font;
mod glyph;
mod history;
mod lines;
mod numbers;
mod panel;
mod panels;
mod picture;
mod png;
mod raster;
mod rate;
mod save;
mod sheet;
mod svg;
mod text;
mod wrong;

pub use color_map::ColorMap;
pub use confusion::confusion_matrix;
pub use curves::Curves;
pub use field::Field;
pub use filters::filters;
pub use history::history;
pub use lines::lines;
pub use numbers::Numbers;
pub use panels::panels;
pub use picture::Picture;
pub use rate::learning_rates;
pub use sheet::{Sheet, captioned_images, image_rows, images};
pub use wrong::misclassified;
