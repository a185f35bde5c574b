//! Words and categories as numbers.
//!
//! Text never reaches a device: what is here runs on the host, before a [`Dataset`](crate::data::Dataset) or in the `map` of a
//! [`Pipeline`](crate::data::Pipeline), and gives tensors. Columns of numbers have layers instead: [`nn::Normalization`](crate::nn::Normalization),
//! [`nn::Discretization`](crate::nn::Discretization), [`nn::CategoryEncoding`](crate::nn::CategoryEncoding),
//! [`nn::IntegerLookup`](crate::nn::IntegerLookup).
//!
//! | Keras | wgrad |
//! | --- | --- |
//! | `StringLookup(max_tokens=1000)`, `adapt`, `get_vocabulary` | [`StringLookup::new()`](StringLookup)`.max_tokens(1000)`, [`adapt`](StringLookup::adapt), [`vocabulary`](StringLookup::vocabulary) |
//! | `StringLookup(invert=True)` | [`StringLookup::decode`] |
//! | `TextVectorization(max_tokens=1000, output_sequence_length=250)` | [`TextVectorization::new()`](TextVectorization)`.max_tokens(1000).sequence_length(250)` |
//! | `standardize="lower"`, `split="character"`, `ngrams=2`, `output_mode="tf_idf"` | `.standardize(`[`Standardize::Lower`]`)`, `.split(`[`Split::Characters`]`)`, `.ngrams(2)`, `.output(`[`OutputMode::TfIdf`]`)` |
//! | `Hashing(64, salt=7)` | [`Hashing::new(64)`](Hashing)`.salt([7, 7])` |
//!
//! With the feature `tokenizers` there is a `Tokenizer`, too: files `tokenizer.json` of Hugging Face, for models that were trained with
//! them.

mod farmhash;
mod files;
mod hashing;
mod output;
mod string_lookup;
#[cfg(feature = "tokenizers")]
mod tokenizer;
mod vectorization;
mod vocabulary;

pub use hashing::Hashing;
pub use output::OutputMode;
pub(crate) use output::{encode, encoded_shape};
pub use string_lookup::StringLookup;
#[cfg(feature = "tokenizers")]
pub use tokenizer::{Tokenizer, Tokens};
pub use vectorization::{Split, Standardize, TextVectorization};
pub(crate) use vocabulary::Vocabulary;
