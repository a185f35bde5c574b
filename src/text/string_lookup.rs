//! Words by their numbers, and numbers by their words.

use super::farmhash::fingerprint;
use super::{OutputMode, Vocabulary};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

const OP: &str = "StringLookup";

/// Words to numbers by a vocabulary, and back: Keras's `StringLookup`. Unknown words have the first place, or several (by their hash),
/// then come the words, the most frequent first. With a [`mask`](Self::mask) that has place 0.
///
/// It runs on the host: use it before a [`Dataset`](crate::data::Dataset) is made, or in the `map` of a
/// [`Pipeline`](crate::data::Pipeline). [`save`](Self::save) keeps it beside the model.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::text::StringLookup;
/// # fn main() -> Result<()> {
/// let lookup = StringLookup::new().adapt(["a", "c", "d", "d", "c", "c"])?;
/// assert_eq!(lookup.vocabulary()?, ["[UNK]", "c", "d", "a"]);
/// let numbers = lookup.lookup(["c", "z", "a"])?;
/// assert_eq!(numbers.to_vec::<u32>()?, [1, 0, 3]);
/// assert_eq!(lookup.decode(&numbers)?, ["c", "[UNK]", "a"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct StringLookup {
    words: Vocabulary<String>,
    unknown: String,
}

impl Default for StringLookup {
    fn default() -> StringLookup {
        StringLookup::new()
    }
}

impl StringLookup {
    /// One place for unknown words, no mask, numbers come out.
    pub fn new() -> StringLookup {
        StringLookup { words: Vocabulary::new(None), unknown: "[UNK]".into() }
    }

    /// At most so many places, those of padding and unknown words included.
    pub fn max_tokens(mut self, tokens: usize) -> StringLookup {
        self.words.max_tokens = Some(tokens);
        self
    }

    /// So many places for unknown words; with 0 an unknown word is an error.
    pub fn oov_indices(mut self, places: usize) -> StringLookup {
        self.words.oov = places;
        self
    }

    /// What stands for an unknown word when numbers become words: `[UNK]`, where nothing else is said.
    pub fn oov_token(mut self, token: impl Into<String>) -> StringLookup {
        self.unknown = token.into();
        self
    }

    /// The word that is padding: it has place 0, and is left out where vectors come out.
    pub fn mask(mut self, token: impl Into<String>) -> StringLookup {
        self.words.mask = Some(token.into());
        self
    }

    /// What words become.
    pub fn output(mut self, mode: OutputMode) -> StringLookup {
        self.words.output = mode;
        self
    }

    /// Vectors have `max_tokens` places, however few words there are.
    pub fn pad_to_max_tokens(mut self, pad: bool) -> StringLookup {
        self.words.pad = pad;
        self
    }

    /// The vocabulary of some words: the most frequent first, of equally frequent ones the last in alphabetical order. Each word is a
    /// document of its own.
    ///
    /// # Errors
    ///
    /// There are no words, or `max_tokens` leaves no place for them.
    pub fn adapt(self, words: impl IntoIterator<Item = impl AsRef<str>>) -> Result<StringLookup> {
        self.adapt_rows(words.into_iter().map(|word| [word]))
    }

    /// As [`adapt`](Self::adapt), where each row of words is a document.
    ///
    /// # Errors
    ///
    /// As [`adapt`](Self::adapt).
    pub fn adapt_rows<R>(mut self, rows: impl IntoIterator<Item = R>) -> Result<StringLookup>
    where
        R: IntoIterator<Item: AsRef<str>>,
    {
        let mut counts = self.words.counts();
        for row in rows {
            counts.document(row.into_iter().map(|word| word.as_ref().to_string()));
        }
        self.words = self.words.adapted(OP, counts, &self.unknown)?;
        Ok(self)
    }

    /// With this vocabulary, the words of which are different; it may begin with mask and unknown words, or not.
    ///
    /// # Errors
    ///
    /// A word is there twice, or the mask among them; there are none, or more than `max_tokens`. The mode is `TfIdf`, which needs
    /// [weights](Self::with_vocabulary_and_weights).
    pub fn with_vocabulary(
        mut self,
        words: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<StringLookup> {
        let words = words.into_iter().map(Into::into).collect();
        self.words = self.words.with_tokens(OP, words, &self.unknown, None)?;
        Ok(self)
    }

    /// As [`with_vocabulary`](Self::with_vocabulary), with the weight of each word for the mode `TfIdf`.
    ///
    /// # Errors
    ///
    /// As [`with_vocabulary`](Self::with_vocabulary); or there is not one finite weight for each word.
    pub fn with_vocabulary_and_weights<W: Into<String>>(
        mut self,
        words: impl IntoIterator<Item = (W, f64)>,
    ) -> Result<StringLookup> {
        let (words, weights) = words.into_iter().map(|(w, weight)| (w.into(), weight)).unzip();
        self.words = self.words.with_tokens(OP, words, &self.unknown, Some(weights))?;
        Ok(self)
    }

    /// All words by their numbers, padding and unknown words included.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary(&self) -> Result<Vec<String>> {
        self.words.all(OP, &self.unknown)
    }

    /// How many numbers there are: what an [`Embedding`](crate::nn::Embedding) needs to know.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary_size(&self) -> Result<usize> {
        self.words.size(OP)
    }

    /// A word for each sample: `[n]` numbers, u32, or `[n, depth]`, f32, on the CPU.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet, or not one that goes with the settings (`TfIdf` set after [`adapt`](Self::adapt), which then has not
    /// counted documents); an unknown word that has no place.
    pub fn lookup(&self, words: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Tensor> {
        self.words.check(OP)?;
        let depth = self.words.depth(OP)?;
        let numbers = self.numbers(words, depth)?;
        let n = numbers.len();
        self.words.encoded(OP, numbers, &[n], false, depth)
    }

    /// A row of words for each sample: `[n, k]` numbers or `[n, k, depth]`, which rows of one length give, or `[n, depth]` by the modes
    /// that say what is in a row, of any lengths.
    ///
    /// # Errors
    ///
    /// As [`lookup`](Self::lookup); or rows of different lengths in the modes `Int` and `OneHot`.
    pub fn lookup_rows<R>(&self, rows: impl IntoIterator<Item = R>) -> Result<Tensor>
    where
        R: IntoIterator<Item: AsRef<str>>,
    {
        self.words.check(OP)?;
        let depth = self.words.depth(OP)?;
        let rows = rows.into_iter().map(|row| self.numbers(row, depth)).collect::<Result<Vec<_>>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let padded = matches!(self.words.output, OutputMode::Int | OutputMode::OneHot);
        if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| padded && row.len() != longest) {
            let message = format!(
                "row {i} has {} words, another {longest}; rows of one length are needed, or a mode that says what is in each",
                row.len()
            );
            return Err(Error::shape(OP, message));
        }
        let n = rows.len();
        let numbers = self.words.padded(rows, longest, depth)?;
        self.words.encoded(OP, numbers, &[n, longest], longest == 1, depth)
    }

    fn numbers(&self, words: impl IntoIterator<Item = impl AsRef<str>>, depth: usize) -> Result<Vec<u32>> {
        let number = |word: &str| {
            self.words.number(OP, word, depth, |bins| (fingerprint(word.as_bytes()) % bins as u64) as usize)
        };
        words.into_iter().map(|word| number(word.as_ref())).collect()
    }

    /// The words of numbers, in the order of memory: Keras's `invert=True`. They are computed and read.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet; the numbers are floats; within a function that is being traced there are no values to read.
    pub fn decode(&self, numbers: &Tensor) -> Result<Vec<String>> {
        self.words.tokens(OP)?;
        if numbers.dtype().is_float() {
            let message =
                format!("expects numbers of words (integers), got {}; use argmax of scores", numbers.dtype());
            return Err(Error::dtype(OP, message));
        }
        let numbers = numbers.cast(DType::U32)?.to_vec::<u32>().map_err(|e| e.context(OP))?;
        let word = |n: u32| self.words.token(n as usize).unwrap_or(&self.unknown).clone();
        Ok(numbers.into_iter().map(word).collect())
    }

    /// Settings and vocabulary as a JSON file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        super::files::save(OP, self, path.as_ref())
    }

    /// What [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// The file can't be read, or holds something else.
    pub fn load(path: impl AsRef<Path>) -> Result<StringLookup> {
        super::files::load(OP, path.as_ref(), |lookup: &StringLookup| lookup.words.check(OP))
    }

    /// The words, one a line, without padding and unknown words, as Keras reads them: a file that appears whole or not at all.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet; a word has a line's end in it (then use [`save`](Self::save)); the file can't be written.
    pub fn save_vocabulary(&self, path: impl AsRef<Path>) -> Result<()> {
        super::files::save_lines(OP, self.words.tokens(OP)?, path.as_ref())
    }

    /// With the vocabulary of a file, one word a line: [`with_vocabulary`](Self::with_vocabulary).
    ///
    /// # Errors
    ///
    /// The file can't be read or is no UTF-8; as [`with_vocabulary`](Self::with_vocabulary).
    pub fn load_vocabulary(self, path: impl AsRef<Path>) -> Result<StringLookup> {
        let path = path.as_ref();
        let words = super::files::load_lines(path)?;
        self.with_vocabulary(words).map_err(|e| e.of_file(&path.display().to_string()))
    }
}
