//! Tokenizers of Hugging Face.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result, words_of_panic};
use crate::io::budget;
use crate::tensor::Tensor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tokenizers::{EncodeInput, Encoding, PaddingParams, PaddingStrategy, PostProcessor, TruncationParams};

const OP: &str = "Tokenizer";
/// What files that say nothing of padding have for it, by the models that they come from: BERT, T5 and LLaMA, others.
const PADDINGS: [&str; 3] = ["[PAD]", "<pad>", "<|pad|>"];

/// Texts as numbers of their tokens and back, by a file of Hugging Face's `tokenizers` (`tokenizer.json`): byte pairs, WordPiece, Unigram,
/// with all that the file says of normalising, splitting, special tokens and padding. The numbers are those of Python's
/// `AutoTokenizer`, so that weights of a model that was trained with them keep their meaning. On the host, in parallel. Needs the feature
/// `tokenizers`, which takes the crate of this name.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::text::Tokenizer;
/// # fn main() -> Result<()> {
/// # let folder = tempfile::tempdir().map_err(|e| Error::io("/tmp", e))?;
/// # let file = folder.path().join("tokenizer.json");
/// # std::fs::write(&file, r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
/// #     "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
/// #     "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4, "!": 5},
/// #         "unk_token": "[UNK]"}}"#).map_err(|e| Error::io(&file, e))?;
/// let words = Tokenizer::load(&file)?;
/// let batch = words.vectorize(["A good film!", "good"])?; // [2, 4]: as long as the longest
/// assert_eq!(batch.ids.to_vec::<u32>()?, [2, 3, 4, 5, 3, 0, 0, 0]);
/// assert_eq!(batch.mask.to_vec::<u8>()?, [1, 1, 1, 1, 1, 0, 0, 0]);
/// assert_eq!(words.decode(&words.encode("a good film")?)?, "a good film");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Tokenizer {
    /// Without padding, which is done here: only then is it known whether it is needed.
    inner: tokenizers::Tokenizer,
    padding: Option<PaddingParams>,
    special: bool,
}

/// Texts as rows of numbers: what [`Tokenizer::vectorize`] gives. On the CPU.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// Numbers of tokens, u32, `[texts, length]`.
    pub ids: Tensor,
    /// 1 where a token is, 0 where padding: u8, `[texts, length]`, Hugging Face's `attention_mask`. For scores of attention make it
    /// `[texts, 1, 1, length]`.
    pub mask: Tensor,
    /// 0 for tokens of the first text, 1 for those of the second one of a pair: u32, `[texts, length]`, Hugging Face's
    /// `token_type_ids`.
    pub types: Tensor,
}

/// What others' code does with others' files. The crate checks less than it should: a file can make it panic.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(panic) => Err(format!("the tokenizer panicked: {}", words_of_panic(&*panic))),
    }
}

impl Tokenizer {
    /// The tokenizer of a file `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// The file can't be read, or holds no tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Tokenizer> {
        let (content, budget) = budget::read_file(path.as_ref())?;
        Tokenizer::parsed(&content).map_err(|e| Error::data(budget.name(), e))
    }

    /// The tokenizer of a file's content, which may be a part of the program (`include_str!`).
    ///
    /// # Errors
    ///
    /// It is no tokenizer.
    pub fn from_json(text: &str) -> Result<Tokenizer> {
        Tokenizer::parsed(text.as_bytes()).map_err(|e| Error::argument(OP, e))
    }

    fn parsed(content: &[u8]) -> Result<Tokenizer, String> {
        let wrong =
            |e| format!("holds no tokenizer as Hugging Face's `tokenizers` writes it (tokenizer.json): {e}");
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(content)).map_err(wrong)?;
        let padding = inner.get_padding().cloned();
        inner.with_padding(None);
        Ok(Tokenizer { inner, padding, special: true })
    }

    /// Whether the special tokens that the file puts around a text (`[CLS]`, `<s>` ...) are added: yes, where nothing is said.
    pub fn special_tokens(self, add: bool) -> Tokenizer {
        Tokenizer { special: add, ..self }
    }

    /// The token that fills rows that are shorter than others: for files that name none, such as GPT-2's.
    ///
    /// # Errors
    ///
    /// The vocabulary doesn't have it.
    pub fn padding(mut self, token: &str) -> Result<Tokenizer> {
        let id = self.number(token).ok_or_else(|| {
            Error::argument(OP, format!("padding {token:?} is none of the {} tokens", self.vocabulary_size()))
        })?;
        let padding = self.padding.take().unwrap_or_default();
        self.padding = Some(PaddingParams { pad_id: id, pad_token: token.into(), ..padding });
        Ok(self)
    }

    /// Texts are cut to so many tokens, special ones included; of a pair the longer one.
    ///
    /// # Errors
    ///
    /// The special tokens alone are as many.
    pub fn max_length(mut self, length: usize) -> Result<Tokenizer> {
        self.check_length(length, false)?;
        let direction = self.inner.get_truncation().map(|t| t.direction).unwrap_or_default();
        let cut = TruncationParams { max_length: length, direction, ..Default::default() };
        self.inner.with_truncation(Some(cut)).map_err(|e| Error::argument(OP, e.to_string()))?;
        Ok(self)
    }

    /// That special tokens leave a place: the crate subtracts their number without a look.
    fn check_length(&self, length: usize, pairs: bool) -> Result<()> {
        let added = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(pairs));
        if length > if self.special { added } else { 0 } {
            return Ok(());
        }
        let of = if pairs { "a pair of texts" } else { "a text" };
        let message = format!(
            "a length of {length} leaves no place for {of} beside {added} special tokens; give at least {}",
            added + 1
        );
        Err(Error::argument(OP, message))
    }

    /// Every row has so many numbers: what is longer is cut, what is shorter padded. Where nothing is said, rows are as long as the file
    /// says, or the longest of those that are given together.
    ///
    /// # Errors
    ///
    /// As [`max_length`](Self::max_length); or there is no token to pad with.
    pub fn sequence_length(self, length: usize) -> Result<Tokenizer> {
        let mut cut = self.max_length(length)?;
        let padding = cut.filling()?;
        let strategy = PaddingStrategy::Fixed(length);
        cut.padding = Some(PaddingParams { strategy, pad_to_multiple_of: None, ..padding });
        Ok(cut)
    }

    /// How rows are padded.
    fn filling(&self) -> Result<PaddingParams> {
        if let Some(padding) = &self.padding {
            return Ok(padding.clone());
        }
        for token in PADDINGS {
            if let Some(pad_id) = self.number(token) {
                return Ok(PaddingParams { pad_id, pad_token: token.into(), ..Default::default() });
            }
        }
        let message = "rows of different lengths need a token to pad with, and the file names none: choose one with \
                       padding(\"<|endoftext|>\"), or whatever the model was trained with";
        Err(Error::argument(OP, message))
    }

    /// How many numbers there are, those of added tokens included: what an [`Embedding`](crate::nn::Embedding) needs to know. One more
    /// than the largest, for vocabularies with gaps.
    pub fn vocabulary_size(&self) -> usize {
        let largest = self.inner.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// The number of a token, if there is such a one.
    pub fn number(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of a number, as the vocabulary has it: a part of a word may have a mark before it.
    pub fn token(&self, number: u32) -> Option<String> {
        self.inner.id_to_token(number)
    }

    fn encoded<'a>(
        &self,
        texts: Vec<impl Into<EncodeInput<'a>> + Send>,
        pairs: bool,
    ) -> Result<Vec<Encoding>> {
        if let Some(cut) = self.inner.get_truncation() {
            self.check_length(cut.max_length, pairs)?;
        }
        let encoded = guarded(|| self.inner.encode_batch_fast(texts, self.special));
        encoded.map_err(|e| Error::argument(OP, e))
    }

    /// The numbers of a text's tokens, special ones included, unpadded.
    ///
    /// # Errors
    ///
    /// A token is unknown and the file says of no other what to take for it, or its rules can't be followed.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoded(vec![text], false)?.first().map_or(Vec::new(), |e| e.get_ids().to_vec()))
    }

    /// Texts as one row each.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode); or rows differ in length and there is no token to pad with.
    pub fn vectorize(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Tokens> {
        let texts: Vec<String> = texts.into_iter().map(|text| text.as_ref().to_string()).collect();
        self.rows(self.encoded(texts, false)?)
    }

    /// Pairs of texts (a question and its context, a sentence and what may follow from it) as one row each, with the special tokens that
    /// the file puts between.
    ///
    /// # Errors
    ///
    /// As [`vectorize`](Self::vectorize).
    pub fn vectorize_pairs<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Tokens> {
        let pair = |(a, b): (A, B)| (a.as_ref().to_string(), b.as_ref().to_string());
        self.rows(self.encoded(pairs.into_iter().map(pair).collect(), true)?)
    }

    fn rows(&self, mut rows: Vec<Encoding>) -> Result<Tokens> {
        let first = rows.first().map_or(0, Encoding::len);
        if self.padding.is_some() || rows.iter().any(|row| row.len() != first) {
            let padding = self.filling()?;
            guarded(|| tokenizers::pad_encodings(&mut rows, &padding)).map_err(|e| Error::argument(OP, e))?;
        }
        let shape = [rows.len(), rows.first().map_or(0, Encoding::len)];
        // A fixed length of the file pads, but cuts nothing: that is said elsewhere in it, or not at all.
        if let Some(row) = rows.iter().find(|row| row.len() != shape[1]) {
            let message = format!(
                "the file pads to fewer tokens than a text has: rows of {} and {}; cut them with sequence_length",
                shape[1],
                row.len()
            );
            return Err(Error::argument(OP, message));
        }
        let tensor = |of: fn(&Encoding) -> &[u32]| {
            Tensor::from_vec(rows.iter().flat_map(of).copied().collect::<Vec<u32>>(), shape, Device::Cpu)
        };
        Ok(Tokens {
            ids: tensor(Encoding::get_ids)?,
            mask: tensor(Encoding::get_attention_mask)?.cast(DType::U8)?,
            types: tensor(Encoding::get_type_ids)?,
        })
    }

    /// The text of numbers; special tokens are left out.
    ///
    /// # Errors
    ///
    /// The file's rules can't be followed. A number that no token has is left out.
    pub fn decode(&self, numbers: &[u32]) -> Result<String> {
        guarded(|| self.inner.decode(numbers, true)).map_err(|e| Error::argument(OP, e))
    }

    /// The texts of `[n, length]` numbers (or of those of one, `[length]`), which are computed and read; special tokens, padding among
    /// them, are left out.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode); a tensor of floats or of other dimensions; within a function that is being traced there are no values
    /// to read.
    pub fn detokenize(&self, numbers: &Tensor) -> Result<Vec<String>> {
        super::output::read_rows(OP, numbers)?.iter().map(|row| self.decode(row)).collect()
    }
}
