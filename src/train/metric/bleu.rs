//! How much of what was written is what should have been.

use crate::error::{Error, Result};
use std::collections::HashMap;
use std::hash::Hash;

/// What [`Bleu`] takes in place of a precision of 0, which a single short sentence easily has.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::{Bleu, BleuSmoothing};
/// # fn main() -> Result<()> {
/// let (written, right) = (["a", "b", "c", "d"], [["a", "b", "x", "d"]]); // no three in a row
/// assert_eq!(Bleu::new().sentence(&written, &right)?, 0.0);
/// assert!(Bleu::new().smoothing(BleuSmoothing::Exponential).sentence(&written, &right)? > 0.2);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum BleuSmoothing {
    /// Nothing: the score is 0.
    #[default]
    None,
    /// So many matches where there are none (sacreBLEU's `floor`, there 0.1; NLTK's `method1`).
    Floor(f64),
    /// So many more matches and n-grams of two and more tokens (sacreBLEU's `add-k`, there 1; NLTK's `method2`; Lin and Och, 2004).
    Add(f64),
    /// Half a match, a quarter for the next order, and so on (sacreBLEU's `exp`, NLTK's `method3`).
    Exponential,
}

/// BLEU (Papineni et al., 2002): the geometric mean of the shares of n-grams of 1 to 4 tokens that a reference has, times a penalty for
/// being short. 0 to 1 (sacreBLEU says 0 to 100). Matches, n-grams and lengths are added up over a whole corpus, as sacreBLEU and NLTK do
/// it.
///
/// Tokens are words, numbers, or bytes: whatever can be compared. How text is cut into them changes the score; sacreBLEU's numbers need
/// its own tokens.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::Bleu;
/// # fn main() -> Result<()> {
/// let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
/// let written = [words("the cat sat on the mat"), words("it was a sunny day")];
/// let right = [
///     vec![words("the cat sat on the mat"), words("a cat was on the mat")],
///     vec![words("it was a very sunny day")],
/// ];
/// let score = Bleu::new().corpus(&written, &right)?;
/// assert!((score - 0.7174).abs() < 1e-4);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// An order of 0, a smoothing that is negative or not finite, not as many lists of references as sentences, and a sentence without a
/// reference.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Bleu {
    order: usize,
    smoothing: BleuSmoothing,
    effective_order: bool,
}

impl Default for Bleu {
    fn default() -> Bleu {
        Bleu::new()
    }
}

/// What is added up over a corpus.
struct Counts {
    /// Of each order: n-grams that a reference has, and all.
    matches: Vec<(f64, f64)>,
    written: usize,
    references: usize,
}

impl Bleu {
    const NAME: &str = "Bleu";

    /// N-grams of up to four tokens, nothing smoothed.
    pub fn new() -> Bleu {
        Bleu { order: 4, smoothing: BleuSmoothing::None, effective_order: false }
    }

    /// The length of the longest n-grams.
    pub fn max_order(mut self, order: usize) -> Bleu {
        self.order = order;
        self
    }

    /// What is done about precisions of 0.
    pub fn smoothing(mut self, smoothing: BleuSmoothing) -> Bleu {
        self.smoothing = smoothing;
        self
    }

    /// Whether orders that nothing is long enough for are left out of the mean, rather than making the score 0: for single sentences
    /// (sacreBLEU's `effective_order`).
    pub fn effective_order(mut self, effective: bool) -> Bleu {
        self.effective_order = effective;
        self
    }

    /// The score of many sentences, each of which has one reference or several.
    ///
    /// # Errors
    ///
    /// Those of the type.
    pub fn corpus<T: Eq + Hash, S: AsRef<[T]>, R: AsRef<[T]>, L: AsRef<[R]>>(
        &self,
        written: &[S],
        references: &[L],
    ) -> Result<f64> {
        self.check()?;
        if written.len() != references.len() {
            let message = format!(
                "got {} sentences and {} lists of references; expected a list for each sentence",
                written.len(),
                references.len()
            );
            return Err(Error::argument(Self::NAME, message));
        }
        let mut counts = Counts { matches: vec![(0.0, 0.0); self.order], written: 0, references: 0 };
        for (i, (sentence, references)) in written.iter().zip(references).enumerate() {
            let references: Vec<&[T]> = references.as_ref().iter().map(AsRef::as_ref).collect();
            if references.is_empty() {
                let message = format!("sentence {i} has no reference; give at least one");
                return Err(Error::argument(Self::NAME, message));
            }
            counts.add(sentence.as_ref(), &references);
        }
        Ok(self.score(&counts))
    }

    /// The score of one sentence. Most short ones need [`smoothing`](Self::smoothing) or an [`effective_order`](Self::effective_order).
    ///
    /// # Errors
    ///
    /// Those of the type.
    pub fn sentence<T: Eq + Hash, R: AsRef<[T]>>(&self, written: &[T], references: &[R]) -> Result<f64> {
        self.corpus(&[written], &[references])
    }

    fn check(&self) -> Result<()> {
        if self.order == 0 {
            return Err(Error::argument(Self::NAME, "expects n-grams of at least one token, got 0"));
        }
        match self.smoothing {
            BleuSmoothing::Floor(by) | BleuSmoothing::Add(by) if !(by >= 0.0 && by.is_finite()) => {
                let message = format!("the smoothing is {by}; expected a finite number of at least 0");
                Err(Error::argument(Self::NAME, message))
            }
            _ => Ok(()),
        }
    }

    fn score(&self, counts: &Counts) -> f64 {
        if counts.matches.iter().all(|(matches, _)| *matches == 0.0) {
            return 0.0;
        }
        let (mut logarithms, mut orders, mut halved) = (0.0, self.order, 1.0);
        for (i, &(mut matches, mut all)) in counts.matches.iter().enumerate() {
            if let BleuSmoothing::Add(by) = self.smoothing
                && i > 0
            {
                matches += by;
                all += by;
            }
            if all == 0.0 {
                // What is longer than all that was written has no precision.
                match self.effective_order {
                    true => break,
                    false => return 0.0,
                }
            }
            if self.effective_order {
                orders = i + 1;
            }
            if matches == 0.0 {
                matches = match self.smoothing {
                    BleuSmoothing::Floor(by) => by,
                    BleuSmoothing::Exponential => {
                        halved /= 2.0;
                        halved
                    }
                    BleuSmoothing::None | BleuSmoothing::Add(_) => 0.0,
                };
            }
            logarithms += (matches / all).ln();
        }
        let short = match counts.written < counts.references {
            true => 1.0 - counts.references as f64 / counts.written as f64,
            false => 0.0,
        };
        (short + logarithms / orders as f64).exp()
    }
}

/// How often each n-gram occurs.
fn occurrences<T: Eq + Hash>(tokens: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(n) {
        *counts.entry(gram).or_insert(0) += 1;
    }
    counts
}

impl Counts {
    fn add<T: Eq + Hash>(&mut self, written: &[T], references: &[&[T]]) {
        for (i, (matches, all)) in self.matches.iter_mut().enumerate() {
            // As often as in the reference that has it most.
            let mut most: HashMap<&[T], usize> = HashMap::new();
            for reference in references {
                for (gram, count) in occurrences(reference, i + 1) {
                    let known = most.entry(gram).or_insert(0);
                    *known = count.max(*known);
                }
            }
            for (gram, count) in occurrences(written, i + 1) {
                *matches += count.min(most.get(gram).copied().unwrap_or(0)) as f64;
                *all += count as f64;
            }
        }
        // The reference whose length is nearest, the shorter of two.
        let nearest = references.iter().map(|r| r.len()).min_by_key(|&n| (n.abs_diff(written.len()), n));
        self.written += written.len();
        self.references += nearest.unwrap_or(0);
    }
}
