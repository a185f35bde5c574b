//! Which number each word or category has: what lookups of text and of integers have in common.

use super::{OutputMode, encode};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::OnceLock;

/// A number beyond the places is that of what is dropped, and one more that of what is refused: all of them u32.
const MOST_PLACES: usize = u32::MAX as usize - 1;

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Padding.
    Mask,
    /// In the vocabulary: its number.
    Known(u32),
    Unknown,
}

/// Keras's `IndexLookup`: in order the mask (in the mode `Int`), places for unknown words, the words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vocabulary<K: Eq + Hash> {
    pub max_tokens: Option<usize>,
    pub oov: usize,
    pub mask: Option<K>,
    pub output: OutputMode,
    pub pad: bool,
    tokens: Option<Vec<K>>,
    /// Of each token, in the mode `TfIdf`.
    idf: Option<Vec<f64>>,
    #[serde(skip)]
    places: Places<K>,
}

/// Which of the tokens each is, from 0; made when the first is looked up. The places before them, which settings change, are none of it.
#[derive(Clone, Debug)]
struct Places<K>(OnceLock<HashMap<K, u32>>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Places(OnceLock::new())
    }
}

/// It follows from the tokens.
impl<K> PartialEq for Places<K> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How often each token was met, and in how many documents.
pub(crate) struct Counts<K> {
    tokens: HashMap<K, u64>,
    documents_with: HashMap<K, u64>,
    documents: u64,
    /// Whether the second is wanted.
    by_document: bool,
}

impl<K: Eq + Hash + Clone + Ord + Debug> Counts<K> {
    pub fn document(&mut self, tokens: impl IntoIterator<Item = K>) {
        let mut seen = std::collections::HashSet::new();
        self.documents += 1;
        for token in tokens {
            if self.by_document && seen.insert(token.clone()) {
                *self.documents_with.entry(token.clone()).or_default() += 1;
            }
            *self.tokens.entry(token).or_default() += 1;
        }
    }
}

impl<K: Eq + Hash + Clone + Ord + Debug> Vocabulary<K> {
    pub fn new(mask: Option<K>) -> Self {
        Vocabulary {
            max_tokens: None,
            oov: 1,
            mask,
            output: OutputMode::Int,
            pad: false,
            tokens: None,
            idf: None,
            places: Places::default(),
        }
    }

    /// Places before those of unknown words.
    pub fn oov_start(&self) -> usize {
        usize::from(self.mask.is_some() && self.output == OutputMode::Int)
    }

    /// Places before those of the words.
    pub fn start(&self) -> usize {
        self.oov_start().saturating_add(self.oov)
    }

    pub fn tokens(&self, op: &str) -> Result<&[K]> {
        self.tokens.as_deref().ok_or_else(|| {
            let message = "has no vocabulary yet; call adapt with data, or with_vocabulary";
            Error::argument(op, message)
        })
    }

    /// Words and all places before them.
    pub fn size(&self, op: &str) -> Result<usize> {
        let (words, start) = (self.tokens(op)?.len(), self.start());
        let size = start.checked_add(words).filter(|&n| n <= MOST_PLACES);
        size.ok_or_else(|| {
            Error::argument(op, format!("{start} places and {words} words are too many for u32"))
        })
    }

    /// How long a vector is that has a place for each.
    pub fn depth(&self, op: &str) -> Result<usize> {
        let size = self.size(op)?;
        match (self.pad, self.max_tokens) {
            (true, Some(most)) if most > MOST_PLACES => {
                let message = format!("max_tokens({most}) is more than {MOST_PLACES}, the most places");
                Err(Error::argument(op, message))
            }
            (true, Some(most)) => Ok(most.max(size)),
            (true, None) => Err(Error::argument(op, "pad_to_max_tokens needs max_tokens(n)")),
            (false, _) => Ok(size),
        }
    }

    fn room(&self, op: &str) -> Result<usize> {
        /// More would be memory for nothing.
        const MOST_UNKNOWN: usize = 1 << 20;
        if self.oov > MOST_UNKNOWN {
            let message = format!(
                "oov_indices({}) is more than the {MOST_UNKNOWN} places that unknown words may have",
                self.oov
            );
            return Err(Error::argument(op, message));
        }
        let start = self.start();
        match self.max_tokens {
            None => Ok(usize::MAX),
            Some(most) if most > start => Ok(most - start),
            Some(most) => {
                let message = format!(
                    "max_tokens({most}) leaves no place for words: {start} are taken by padding and unknown words"
                );
                Err(Error::argument(op, message))
            }
        }
    }

    pub fn counts(&self) -> Counts<K> {
        Counts {
            tokens: HashMap::new(),
            documents_with: HashMap::new(),
            documents: 0,
            by_document: self.output == OutputMode::TfIdf,
        }
    }

    /// The most frequent first, of equally frequent ones the last in alphabetical order, as Keras sorts them.
    pub fn adapted(mut self, op: &str, counts: Counts<K>, unknown: &K) -> Result<Self> {
        let room = self.room(op)?;
        let special = |k: &K| self.mask.as_ref() == Some(k) || unknown == k;
        let mut found: Vec<(K, u64)> = counts.tokens.into_iter().filter(|(k, _)| !special(k)).collect();
        if found.is_empty() {
            return Err(Error::argument(op, "found no words in what it was to adapt to"));
        }
        found.sort_unstable_by(|a, b| (b.1, &b.0).cmp(&(a.1, &a.0)));
        found.truncate(room);
        let tokens: Vec<K> = found.into_iter().map(|(k, _)| k).collect();
        self.idf = (self.output == OutputMode::TfIdf).then(|| {
            let with = |k: &K| counts.documents_with.get(k).copied().unwrap_or(0);
            tokens.iter().map(|k| (1.0 + counts.documents as f64 / (1 + with(k)) as f64).ln()).collect()
        });
        (self.tokens, self.places) = (Some(tokens), Places::default());
        Ok(self)
    }

    /// With these words, before which there may be the special ones.
    pub fn with_tokens(
        mut self,
        op: &str,
        tokens: Vec<K>,
        unknown: &K,
        idf: Option<Vec<f64>>,
    ) -> Result<Self> {
        let special: Vec<&K> = self
            .mask
            .iter()
            .take(self.oov_start())
            .chain(std::iter::repeat_n(unknown, self.oov.min(tokens.len())))
            .collect();
        let given = !special.is_empty()
            && tokens.len() >= special.len()
            && special.iter().zip(&tokens).all(|(a, b)| *a == b);
        let skipped = if given { special.len() } else { 0 };
        let idf = idf.map(|idf| idf.into_iter().skip(skipped).collect());
        (self.tokens, self.idf) = (Some(tokens.into_iter().skip(skipped).collect()), idf);
        self.places = Places::default();
        self.check(op)?;
        Ok(self)
    }

    /// What a file or a caller may have wrong.
    pub fn check(&self, op: &str) -> Result<()> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let wrong = |message: String| Err(Error::argument(op, message));
        if tokens.is_empty() {
            return wrong("the vocabulary is empty; expected at least one word".into());
        }
        if tokens.len() > self.room(op)? {
            return wrong(format!(
                "{} words, with {} places before them, are more than max_tokens({})",
                tokens.len(),
                self.start(),
                self.max_tokens.unwrap_or_default()
            ));
        }
        self.depth(op)?;
        // Every look-up checks: the table is made once, the double is searched for only where there is one.
        let places = self.places();
        if places.len() != tokens.len() {
            let mut seen = std::collections::HashSet::new();
            let twice = tokens.iter().find(|&k| !seen.insert(k));
            return wrong(twice.map(|k| format!("{k:?} is twice in the vocabulary")).unwrap_or_default());
        }
        if let Some(mask) = self.mask.as_ref().filter(|&mask| places.contains_key(mask)) {
            return wrong(format!("the mask {mask:?} is among the words; leave it out, or put it first"));
        }
        match (&self.idf, self.output) {
            (None, OutputMode::TfIdf) => wrong(
                "tf_idf needs a weight for each word; call adapt, or with_vocabulary_and_weights".into(),
            ),
            (Some(idf), OutputMode::TfIdf)
                if idf.len() != tokens.len() || idf.iter().any(|w| !w.is_finite()) =>
            {
                wrong(format!(
                    "{} weights for {} words; expected a finite one for each",
                    idf.len(),
                    tokens.len()
                ))
            }
            _ => Ok(()),
        }
    }

    fn places(&self) -> &HashMap<K, u32> {
        self.places.0.get_or_init(|| self.tokens.iter().flatten().cloned().zip(0..).collect())
    }

    pub fn place<Q: Eq + Hash + ?Sized>(&self, token: &Q) -> Place
    where
        K: Borrow<Q>,
    {
        if self.mask.as_ref().is_some_and(|mask| mask.borrow() == token) {
            return Place::Mask;
        }
        let start = self.start() as u32;
        self.places().get(token).map_or(Place::Unknown, |&n| Place::Known(start.saturating_add(n)))
    }

    /// The number of a word of which `bin(n)` says which of n places for unknown words it has. What is masked and gets no number
    /// has `depth`.
    pub fn number<Q: Eq + Hash + Debug + ?Sized>(
        &self,
        op: &str,
        token: &Q,
        depth: usize,
        bin: impl FnOnce(usize) -> usize,
    ) -> Result<u32>
    where
        K: Borrow<Q>,
    {
        match self.place(token) {
            Place::Known(n) => Ok(n),
            Place::Mask => Ok(self.masked(depth)),
            Place::Unknown if self.oov == 0 => {
                let message = format!(
                    "{token:?} is not in the vocabulary; give unknown words a place with oov_indices(1)"
                );
                Err(Error::argument(op, message))
            }
            Place::Unknown => Ok((self.oov_start() + bin(self.oov)) as u32),
        }
    }

    /// The number of padding: that of the mask, or one that vectors have no place for.
    pub fn masked(&self, depth: usize) -> u32 {
        if self.output == OutputMode::Int { 0 } else { depth as u32 }
    }

    /// Rows of numbers, none longer than `length`, one behind the other and each filled with padding.
    pub fn padded(&self, rows: Vec<Vec<u32>>, length: usize, depth: usize) -> Result<Vec<u32>> {
        let mut numbers = crate::cpu::memory::reserve(rows.len().saturating_mul(length))?;
        for row in rows {
            let end = numbers.len() + length;
            numbers.extend(row);
            numbers.resize(end, self.masked(depth));
        }
        Ok(numbers)
    }

    /// What numbers of a shape become, on the CPU: [`encode`], each place with its weight where there are such.
    pub fn encoded(
        &self,
        op: &str,
        numbers: Vec<u32>,
        shape: &[usize],
        alone: bool,
        depth: usize,
    ) -> Result<Tensor> {
        let numbers = Tensor::from_vec(numbers, shape, Device::Cpu)?;
        let y = encode(&numbers, alone, self.output, depth, None)?;
        let y = match self.weights(op)? {
            Some(weights) => (y * Tensor::from_vec(weights, [depth], Device::Cpu)?)?,
            None => y,
        };
        y.eval()?;
        Ok(y)
    }

    /// All, the special ones too, by number.
    pub fn all(&self, op: &str, unknown: &K) -> Result<Vec<K>> {
        let tokens = self.tokens(op)?;
        self.size(op)?;
        let mask = self.mask.iter().take(self.oov_start()).cloned();
        Ok(mask.chain(std::iter::repeat_n(unknown.clone(), self.oov)).chain(tokens.iter().cloned()).collect())
    }

    /// The word of a number; `None` where it is a place of unknown ones, or none.
    pub fn token(&self, number: usize) -> Option<&K> {
        match number.checked_sub(self.start()) {
            Some(at) => self.tokens.as_ref()?.get(at),
            None if number < self.oov_start() => self.mask.as_ref(),
            None => None,
        }
    }

    /// Of every place, in the mode `TfIdf`: unknown words have the mean, and what is filled up to `max_tokens` 0.
    pub fn weights(&self, op: &str) -> Result<Option<Vec<f32>>> {
        let Some(idf) = self.idf.as_ref().filter(|_| self.output == OutputMode::TfIdf) else {
            return Ok(None);
        };
        let mean = idf.iter().sum::<f64>() / idf.len().max(1) as f64;
        let depth = self.depth(op)?;
        let mut weights: Vec<f32> = Vec::new();
        let no_room =
            |_| Error::OutOfMemory { device: "cpu".into(), message: format!("no room for {depth} weights") };
        weights.try_reserve_exact(depth).map_err(no_room)?;
        weights.extend(std::iter::repeat_n(mean as f32, self.start()).chain(idf.iter().map(|&w| w as f32)));
        weights.resize(depth, 0.0);
        Ok(Some(weights))
    }
}

#[cfg(test)]
mod tests {
    use crate::error::Result;
    use crate::text::{OutputMode, StringLookup, TextVectorization};

    /// A vocabulary outlives settings that move its words to other places.
    #[test]
    fn settings_after_a_look_up_move_the_words() -> Result<()> {
        let texts = ["b b a", "a b"];
        let words = TextVectorization::new().adapt(texts)?;
        assert_eq!(words.vectorize(texts)?.to_vec::<u32>()?, [2, 2, 3, 3, 2, 0]);
        let multi = words.clone().output(OutputMode::MultiHot);
        let fresh = TextVectorization::new().output(OutputMode::MultiHot).adapt(texts)?;
        for text in ["a", "b", "z", "a b"] {
            let found = multi.vectorize([text])?.to_vec::<f32>()?;
            assert_eq!(found, fresh.vectorize([text])?.to_vec::<f32>()?, "{text}");
        }
        assert_eq!(multi.vectorize(["a"])?.to_vec::<f32>()?, [0.0, 0.0, 1.0]);

        let lookup = StringLookup::new().with_vocabulary(["red", "blue"])?;
        assert_eq!(lookup.lookup(["blue", "red", "z"])?.to_vec::<u32>()?, [2, 1, 0]);
        for (lookup, expected) in [(lookup.clone().mask("-"), [3, 2]), (lookup.oov_indices(3), [4, 3])] {
            assert_eq!(lookup.lookup(["blue", "red"])?.to_vec::<u32>()?, expected);
            assert_eq!(lookup.decode(&lookup.lookup(["blue", "red"])?)?, ["blue", "red"]);
        }
        Ok(())
    }

    #[test]
    fn weights_that_were_not_counted_are_an_error() -> Result<()> {
        let lookup = StringLookup::new().adapt(["a", "b", "b"])?.output(OutputMode::TfIdf);
        for found in [lookup.lookup(["a"]), lookup.lookup_rows([["a", "b"]])] {
            assert!(found.is_err_and(|e| e.to_string().contains("tf_idf needs a weight for each word")));
        }
        Ok(())
    }
}
