//! Texts as numbers of their words.

use super::{OutputMode, Vocabulary};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::Path;

const OP: &str = "TextVectorization";
/// What Keras has in the vocabulary for padding and for unknown words.
const PADDING: &str = "";
const UNKNOWN: &str = "[UNK]";

/// What is done to a text before it is split.
///
/// ```
/// use wgrad::text::{Standardize, TextVectorization};
/// let words = |how| TextVectorization::new().standardize(how).tokens("Übers Meer, 'übers' Meer!");
/// assert_eq!(words(Standardize::LowerAndStripPunctuation), ["übers", "meer", "übers", "meer"]);
/// assert_eq!(words(Standardize::Lower), ["übers", "meer,", "'übers'", "meer!"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Standardize {
    /// Nothing.
    Keep,
    /// Lower case, of all scripts. (Keras, on TensorFlow, lowers the letters of ASCII alone.)
    Lower,
    /// Without the punctuation of ASCII.
    StripPunctuation,
    /// Both.
    LowerAndStripPunctuation,
}

/// How a text is split.
///
/// ```
/// use wgrad::text::{Split, TextVectorization};
/// let letters = TextVectorization::new().split(Split::Characters).tokens("Aß!");
/// assert_eq!(letters, ["a", "ß"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Split {
    /// At white space, of which several count as one.
    Whitespace,
    /// Into characters (Unicode's scalar values).
    Characters,
    /// Not at all: each text is one word.
    Never,
}

/// Texts to numbers of their words, by a vocabulary, and back: Keras's `TextVectorization`. Texts are standardised, split into words or
/// characters, joined to n-grams if that is asked for; the vocabulary has the most frequent of these. Place 0 is padding, 1 what is
/// unknown; in vectors there is no padding, and place 0 is what is unknown.
///
/// It runs on the host: use it before a [`Dataset`](crate::data::Dataset) is made, or in the `map` of a
/// [`Pipeline`](crate::data::Pipeline). [`save`](Self::save) keeps it beside the model.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Dataset;
/// use wgrad::nn::{Embedding, GlobalAvgPool1d};
/// use wgrad::text::TextVectorization;
/// # fn main() -> Result<()> {
/// let texts = ["A good film!", "A bad, bad film.", "good"];
/// let words = TextVectorization::new().max_tokens(1000).sequence_length(6).adapt(texts)?;
/// assert_eq!(words.vocabulary()?, ["", "[UNK]", "good", "film", "bad", "a"]);
/// let x = words.vectorize(texts)?;
/// assert_eq!(x.to_vec::<u32>()?[..6], [5, 2, 3, 0, 0, 0]);
/// assert_eq!(words.detokenize(&x)?[1], "a bad bad film");
///
/// let reviews = Dataset::from_tensors("reviews", &x, &Tensor::new([[1.0f32], [0.0], [1.0]], Device::Cpu)?)?;
/// let model = Sequential::new()
///     .add(Embedding::new(words.vocabulary_size()?, 8))
///     .add(GlobalAvgPool1d::new())
///     .add(Dense::new(1))
///     .build((None,), Device::Cpu)?;
/// let mut trainer = Trainer::new(model, Adam::new(1e-2), wgrad::nn::BinaryCrossentropy::from_logits()).build()?;
/// trainer.fit(&reviews, Fit::epochs(1).verbose(false))?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct TextVectorization {
    words: Vocabulary<String>,
    standardize: Standardize,
    split: Split,
    /// Lengths of n-grams; none: the words themselves.
    ngrams: Vec<usize>,
    length: Option<usize>,
}

impl Default for TextVectorization {
    fn default() -> TextVectorization {
        TextVectorization::new()
    }
}

impl TextVectorization {
    /// Words in lower case without punctuation, as numbers, of any number of words.
    pub fn new() -> TextVectorization {
        TextVectorization {
            words: Vocabulary::new(Some(PADDING.into())),
            standardize: Standardize::LowerAndStripPunctuation,
            split: Split::Whitespace,
            ngrams: Vec::new(),
            length: None,
        }
    }

    /// At most so many places, those of padding and unknown words included.
    pub fn max_tokens(mut self, tokens: usize) -> TextVectorization {
        self.words.max_tokens = Some(tokens);
        self
    }

    /// What is done to a text first.
    pub fn standardize(mut self, standardize: Standardize) -> TextVectorization {
        self.standardize = standardize;
        self
    }

    /// How a text is split.
    pub fn split(mut self, split: Split) -> TextVectorization {
        self.split = split;
        self
    }

    /// Words, and up to `n` words in a row with a space between.
    pub fn ngrams(self, n: usize) -> TextVectorization {
        self.ngram_lengths(1..=n)
    }

    /// So many words in a row, for each of these lengths, and no others.
    pub fn ngram_lengths(mut self, lengths: impl IntoIterator<Item = usize>) -> TextVectorization {
        self.ngrams = lengths.into_iter().collect();
        self
    }

    /// What a text becomes: numbers, where nothing else is said.
    pub fn output(mut self, mode: OutputMode) -> TextVectorization {
        self.words.output = mode;
        self
    }

    /// Every text has so many numbers: what is longer is cut, what is shorter filled with 0. Where nothing is said, all are as long as
    /// the longest of those that are given together.
    pub fn sequence_length(mut self, length: usize) -> TextVectorization {
        self.length = Some(length);
        self
    }

    /// Vectors have `max_tokens` places, however few words there are.
    pub fn pad_to_max_tokens(mut self, pad: bool) -> TextVectorization {
        self.words.pad = pad;
        self
    }

    /// The words of a text.
    pub fn tokens(&self, text: &str) -> Vec<String> {
        use Standardize::{Keep, Lower, LowerAndStripPunctuation, StripPunctuation};
        let mut text = match self.standardize {
            Lower | LowerAndStripPunctuation => text.to_lowercase(),
            Keep | StripPunctuation => text.to_string(),
        };
        if matches!(self.standardize, StripPunctuation | LowerAndStripPunctuation) {
            text.retain(|c| !c.is_ascii_punctuation());
        }
        let words: Vec<String> = match self.split {
            Split::Whitespace => text.split_whitespace().map(String::from).collect(),
            Split::Characters => text.chars().map(String::from).collect(),
            Split::Never => vec![text],
        };
        if self.ngrams.is_empty() {
            return words;
        }
        let lengths = self.ngrams.iter().filter(|&&n| n > 0);
        lengths.flat_map(|&n| words.windows(n).map(|words| words.join(" "))).collect()
    }

    fn check(&self) -> Result<()> {
        if self.ngrams.contains(&0) {
            return Err(Error::argument(OP, "n-grams of 0 words; expected lengths of at least 1"));
        }
        match (self.length, self.words.output) {
            (None, _) | (Some(_), OutputMode::Int | OutputMode::OneHot) => self.words.check(OP),
            (Some(n), other) => {
                let message = format!(
                    "sequence_length({n}) is of numbers; the mode {} gives a vector for each text",
                    other.name()
                );
                Err(Error::argument(OP, message))
            }
        }
    }

    /// The vocabulary of some texts: the most frequent words first, of equally frequent ones the last in alphabetical order. Texts are
    /// taken one by one: an iterator over the lines of a file needs memory for different words alone.
    ///
    /// # Errors
    ///
    /// There are no words, `max_tokens` leaves no place for them, or an n-gram has no words.
    pub fn adapt(mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<TextVectorization> {
        self.check()?;
        let mut counts = self.words.counts();
        for text in texts {
            counts.document(self.tokens(text.as_ref()));
        }
        self.words = self.words.adapted(OP, counts, &UNKNOWN.into())?;
        Ok(self)
    }

    /// With this vocabulary, the words of which are different; it may begin with `""` and `"[UNK]"`, or not.
    ///
    /// # Errors
    ///
    /// A word is there twice, or padding among them; there are none, or more than `max_tokens`. The mode is `TfIdf`, which needs
    /// [weights](Self::with_vocabulary_and_weights).
    pub fn with_vocabulary(
        mut self,
        words: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<TextVectorization> {
        let words = words.into_iter().map(Into::into).collect();
        self.words = self.words.with_tokens(OP, words, &UNKNOWN.into(), None)?;
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
    ) -> Result<TextVectorization> {
        let (words, weights) = words.into_iter().map(|(w, weight)| (w.into(), weight)).unzip();
        self.words = self.words.with_tokens(OP, words, &UNKNOWN.into(), Some(weights))?;
        Ok(self)
    }

    /// All words by their numbers, padding (`""`) and unknown words (`"[UNK]"`) included.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary(&self) -> Result<Vec<String>> {
        self.words.all(OP, &UNKNOWN.into())
    }

    /// How many numbers there are: what an [`Embedding`](crate::nn::Embedding) needs to know.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet.
    pub fn vocabulary_size(&self) -> Result<usize> {
        self.words.size(OP)
    }

    /// The numbers of each text's words, as many as it has (or as `sequence_length` leaves): Keras's `ragged=True`. The mode must be
    /// `Int`.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet, or the mode is another.
    pub fn ragged(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<Vec<u32>>> {
        if self.words.output != OutputMode::Int {
            let message = format!("numbers are those of the mode int, not {}", self.words.output.name());
            return Err(Error::argument(OP, message));
        }
        self.numbers(texts, self.words.depth(OP)?)
    }

    fn numbers(
        &self,
        texts: impl IntoIterator<Item = impl AsRef<str>>,
        depth: usize,
    ) -> Result<Vec<Vec<u32>>> {
        self.check()?;
        let most = self.length.unwrap_or(usize::MAX);
        let number = |word: &String| self.words.number(OP, word.as_str(), depth, |_| 0);
        let row = |text: &str| self.tokens(text).iter().take(most).map(number).collect();
        texts.into_iter().map(|text| row(text.as_ref())).collect()
    }

    /// Texts to `[n, words]` numbers, u32, padded with 0; or `[n, depth]`, f32, by the modes that give a vector for each text. On the CPU.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet; a length of numbers was set in a mode of vectors.
    pub fn vectorize(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Tensor> {
        let depth = self.words.depth(OP)?;
        let rows = self.numbers(texts, depth)?;
        let length = self.length.unwrap_or_else(|| rows.iter().map(Vec::len).max().unwrap_or(0));
        let n = rows.len();
        let numbers = self.words.padded(rows, length, depth)?;
        self.words.encoded(OP, numbers, &[n, length], false, depth)
    }

    /// Texts of `[n, words]` numbers (or of the words of one, `[words]`), which are computed and read: words with a space between,
    /// characters with nothing, padding left out. What standardising took away is not to be had again.
    ///
    /// # Errors
    ///
    /// There is no vocabulary yet; n-grams, which overlap; a tensor of floats or of other dimensions; within a function that is being
    /// traced there are no values to read.
    pub fn detokenize(&self, numbers: &Tensor) -> Result<Vec<String>> {
        self.words.tokens(OP)?;
        if self.words.output != OutputMode::Int || self.ngrams.iter().any(|&n| n != 1) {
            let message = "there is no way back from vectors and n-grams to a text";
            return Err(Error::argument(OP, message));
        }
        let rows = super::output::read_rows(OP, numbers)?;
        let between = if self.split == Split::Characters { "" } else { " " };
        let text = |row: Vec<u32>| {
            let words = row.iter().filter(|&&n| n != 0);
            let words = words.map(|&n| self.words.token(n as usize).map_or(UNKNOWN, String::as_str));
            words.collect::<Vec<_>>().join(between)
        };
        Ok(rows.into_iter().map(text).collect())
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
    pub fn load(path: impl AsRef<Path>) -> Result<TextVectorization> {
        super::files::load(OP, path.as_ref(), TextVectorization::check)
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
    pub fn load_vocabulary(self, path: impl AsRef<Path>) -> Result<TextVectorization> {
        let path = path.as_ref();
        let words = super::files::load_lines(path)?;
        self.with_vocabulary(words).map_err(|e| e.of_file(&path.display().to_string()))
    }
}
