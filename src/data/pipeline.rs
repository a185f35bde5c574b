//! Lazy sequences of samples, batches or anything else, on the host.
// Over 500 lines in one file: each stage is a short method of one type, and what runs is in `stages.rs` and `threads.rs`.

mod items;
mod source;
mod stages;
mod threads;

use super::sample::collate;
use super::{Batch, IntoSample};
use crate::error::{Error, Result};
use crate::seed;
pub use items::Items;
use items::{LONGEST_WAIT, guard};
use stages::{Cached, Chunks, Repeat, Shuffle, Sifted};
use std::fmt;
use std::sync::{Arc, Mutex};
use threads::{Parallel, Prefetch};

/// Threads cost memory: a system has room for a few thousand.
const MOST_THREADS: usize = 256;

/// More made ahead gain nothing, and hold memory.
const MOST_AHEAD: usize = 1 << 16;

/// How many elements a [`Pipeline`] has.
///
/// ```
/// use wgrad::data::{Cardinality, Pipeline};
/// let ten = (0..10).collect::<Pipeline<i32>>();
/// assert_eq!(ten.clone().skip(3).cardinality(), Cardinality::Finite(7));
/// assert_eq!(ten.clone().repeat_forever().cardinality(), Cardinality::Infinite);
/// assert_eq!(ten.filter(|i| Ok(i % 2 == 0)).cardinality(), Cardinality::Unknown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cardinality {
    /// So many.
    Finite(usize),
    /// It never ends.
    Infinite,
    /// Not known before a pass is over: a filter or a generator is in it.
    Unknown,
}

impl Cardinality {
    fn map(self, f: impl FnOnce(usize) -> usize) -> Cardinality {
        match self {
            Cardinality::Finite(n) => Cardinality::Finite(f(n)),
            other => other,
        }
    }
}

/// A lazy sequence: a description of where elements come from and what is done to each, which every pass runs anew.
///
/// Elements are of any type; those that are [`IntoSample`] (a [`Sample`](crate::data::Sample), or a pair of input and target) can be
/// [batched](Pipeline::batch). A pipeline of samples or of batches is a [`Source`](crate::data::Source): a
/// [`Trainer`](crate::train::Trainer) fits and evaluates on it.
///
/// Each pass is told a number, from which what is random derives: [`shuffle`](Pipeline::shuffle) gives each number another
/// order, and the same number the same order. `fit` gives each epoch a number of its own, unless it is told not to shuffle.
/// Nothing else is remembered between passes (but what [`cache`](Pipeline::cache) keeps), so a training that is resumed
/// sees the orders that it would have seen.
///
/// Closures give a `Result`; their errors, and panics as errors, come out in the place of the element. Threads
/// ([`par_map`](Pipeline::par_map), [`prefetch`](Pipeline::prefetch)) end when the iterator is dropped.
///
/// ```
/// use wgrad::data::Pipeline;
/// use wgrad::prelude::*;
///
/// # fn main() -> Result<()> {
/// // y = 2 x + 1 for the even numbers below 200, in another order in each epoch
/// let line = (0..200)
///     .collect::<Pipeline<i32>>()
///     .filter(|i| Ok(i % 2 == 0))
///     .shuffle(100, 42)
///     .map(|i| Ok(([i as f32 / 100.0], [i as f32 / 50.0 + 1.0])))
///     .batch(10)
///     .prefetch(2);
/// let model = Sequential::new().add(Dense::new(1)).build([1], Device::Cpu)?;
/// let mut trainer = Trainer::new(model, Sgd::new(0.2), MeanSquaredError::new()).build()?;
/// let history = trainer.fit(&line, Fit::epochs(20).verbose(false))?;
/// assert!(history.epochs[19].train.loss < 0.01);
/// # Ok(()) }
/// ```
#[must_use]
pub struct Pipeline<T> {
    name: Arc<str>,
    cardinality: Cardinality,
    start: Arc<dyn Fn(u64) -> Items<T> + Send + Sync>,
}

impl<T> Clone for Pipeline<T> {
    fn clone(&self) -> Self {
        Pipeline { name: self.name.clone(), cardinality: self.cardinality, start: self.start.clone() }
    }
}

impl<T> fmt::Debug for Pipeline<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({}: {:?})", self.name, self.cardinality)
    }
}

fn only_error<T: Send + 'static>(stage: &'static str, message: impl Into<String>) -> Items<T> {
    let message = message.into();
    Box::new(std::iter::once_with(move || Err(Error::argument(format!("Pipeline::{stage}"), message))))
}

/// What is as large as no list, but is to be filled by a pipeline that never ends.
fn never_full(what: &str, n: usize) -> String {
    format!(
        "the {what} has {n} elements, which a pipeline that never ends would fill for ever; expected at most \
         {LONGEST_WAIT}, or a number of elements taken before"
    )
}

/// Ends an iterator after a panic in it: nobody knows what state it is in.
struct Guarded<I> {
    inner: Option<I>,
}

impl<T, I: Iterator<Item = Result<T>>> Iterator for Guarded<I> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let inner = self.inner.as_mut()?;
        match guard("generate", || Ok(inner.next())) {
            Ok(Some(item)) => Some(item),
            Ok(None) => {
                self.inner = None;
                None
            }
            Err(error) => {
                self.inner = None;
                Some(Err(error))
            }
        }
    }
}

/// The pipeline of a list; every pass clones its elements. tf.data's `from_tensor_slices` for anything that is in memory.
impl<T: Clone + Send + Sync + 'static> FromIterator<T> for Pipeline<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items: Arc<Vec<T>> = Arc::new(items.into_iter().collect());
        Pipeline::indexed("list", items.len(), move |i| {
            items.get(i).cloned().ok_or_else(|| Error::argument("Pipeline", format!("no element {i}")))
        })
    }
}

impl<T: Send + 'static> Pipeline<T> {
    /// What an iterator gives that is made anew for each pass: files read line by line, numbers drawn, a simulation.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::data::Pipeline;
    /// # fn main() -> Result<()> {
    /// let squares = Pipeline::generate("squares", || (0u32..4).map(|i| Ok((i, i * i))));
    /// assert_eq!(squares.iter().collect::<Result<Vec<_>>>()?[3], (3, 9));
    /// # Ok(()) }
    /// ```
    pub fn generate<I>(name: &str, make: impl Fn() -> I + Send + Sync + 'static) -> Pipeline<T>
    where
        I: IntoIterator<Item = Result<T>>,
        I::IntoIter: Send + 'static,
    {
        Pipeline {
            name: name.into(),
            cardinality: Cardinality::Unknown,
            start: Arc::new(move |_| match guard("generate", || Ok(make().into_iter())) {
                Ok(inner) => Box::new(Guarded { inner: Some(inner) }),
                Err(error) => Box::new(std::iter::once(Err(error))),
            }),
        }
    }

    /// `get(0), get(1), .., get(len - 1)`.
    pub(super) fn indexed(
        name: &str,
        len: usize,
        get: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
    ) -> Pipeline<T> {
        let get = Arc::new(get);
        Pipeline {
            name: name.into(),
            cardinality: Cardinality::Finite(len),
            start: Arc::new(move |_| {
                let get = get.clone();
                Box::new((0..len).map(move |i| get(i)))
            }),
        }
    }

    /// A stage on top, which is told the number of the pass.
    fn then<U>(
        self,
        cardinality: Cardinality,
        stage: impl Fn(Items<T>, u64) -> Items<U> + Send + Sync + 'static,
    ) -> Pipeline<U> {
        let start = self.start;
        Pipeline { name: self.name, cardinality, start: Arc::new(move |pass| stage(start(pass), pass)) }
    }

    /// The same pipeline under another name, for people.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// What this is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many elements a pass has.
    pub fn cardinality(&self) -> Cardinality {
        self.cardinality
    }

    /// States how many elements there are where the pipeline can't know it, so that progress can be shown. A pass that
    /// has more or fewer ends with an error.
    pub fn with_len(self, len: usize) -> Self {
        self.then(Cardinality::Finite(len), move |mut items, _| {
            let (mut seen, mut over) = (0usize, false);
            Box::new(std::iter::from_fn(move || {
                if over {
                    return None;
                }
                let item = items.next();
                seen += usize::from(matches!(item, Some(Ok(_))));
                over = seen > len || item.is_none();
                if seen > len || (item.is_none() && seen < len) {
                    let found = if seen > len { "more".into() } else { seen.to_string() };
                    let message = format!("{len} elements were promised, {found} came");
                    return Some(Err(Error::argument("Pipeline::with_len", message)));
                }
                item
            }))
        })
    }

    /// The elements of pass 0.
    pub fn iter(&self) -> Items<T> {
        self.epoch(0)
    }

    /// The elements of a pass: the same number gives the same elements in the same order.
    pub fn epoch(&self, number: u64) -> Items<T> {
        (self.start)(number)
    }

    /// `f` of each element.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let (train, _) = data::synthetic::digits(20, 1, 1).into_datasets()?;
    /// let inverted = train.pipeline()?.map(|sample| sample.map_input(|x| 1.0 - x));
    /// let first = inverted.iter().next().transpose()?.unwrap();
    /// assert_eq!(first.input()?.shape(), [28, 28, 1]);
    /// # Ok(()) }
    /// ```
    pub fn map<U: Send + 'static>(self, f: impl Fn(T) -> Result<U> + Send + Sync + 'static) -> Pipeline<U> {
        let (cardinality, f) = (self.cardinality, Arc::new(f));
        self.then(cardinality, move |items, _| {
            let f = f.clone();
            Box::new(items.map(move |item| item.and_then(|x| guard("map", || f(x)))))
        })
    }

    /// As [`map`](Self::map) on several threads; 0 is one for each core. The order stays. Tensors in what `f` gives are
    /// computed on these threads where `U` is a tensor, a pair of tensors, a [`Sample`](crate::data::Sample) or a [`Batch`]. There
    /// are no more than
    /// 256 threads, nor more than there are elements, or than the system allows.
    ///
    /// Tensor operations on the CPU take turns, whatever the number of threads (each is parallel in itself): what gains
    /// is other work, such as reading and decoding files.
    pub fn par_map<U: Send + 'static>(
        self,
        threads: usize,
        f: impl Fn(T) -> Result<U> + Send + Sync + 'static,
    ) -> Pipeline<U> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n.min(MOST_THREADS),
        };
        let cardinality = self.cardinality;
        let f: threads::Work<T, U> = Arc::new(move |x| guard("par_map", || f(x)));
        self.then(cardinality, move |items, _| Box::new(Parallel::new(items, threads, f.clone())))
    }

    /// The elements for which `keep` is true. Where an endless pipeline has none among 4,194,304 in a row, that is an error.
    pub fn filter(self, keep: impl Fn(&T) -> Result<bool> + Send + Sync + 'static) -> Self {
        let cardinality = match self.cardinality {
            Cardinality::Finite(0) => Cardinality::Finite(0),
            _ => Cardinality::Unknown,
        };
        let (keep, endless) = (Arc::new(keep), self.is_endless());
        self.then(cardinality, move |items, _| {
            let keep = keep.clone();
            let kept = move |item: Result<T>| match item {
                Ok(x) => match guard("filter", || keep(&x)) {
                    Ok(true) => Some(Ok(x)),
                    Ok(false) => None,
                    Err(error) => Some(Err(error)),
                },
                Err(error) => Some(Err(error)),
            };
            Box::new(Sifted::new(items, kept, endless.then_some("filter")))
        })
    }

    /// Whether a stage on top could wait for ever.
    fn is_endless(&self) -> bool {
        self.cardinality == Cardinality::Infinite
    }

    /// The elements of the lists that `f` makes of each element, one after the other. Where an endless pipeline gives
    /// 4,194,304 empty lists in a row, that is an error.
    pub fn flat_map<U: Send + 'static>(
        self,
        f: impl Fn(T) -> Result<Vec<U>> + Send + Sync + 'static,
    ) -> Pipeline<U> {
        let cardinality = match self.cardinality {
            Cardinality::Finite(0) => Cardinality::Finite(0),
            _ => Cardinality::Unknown,
        };
        let (f, endless) = (Arc::new(f), self.is_endless());
        self.then(cardinality, move |items, _| {
            let f = f.clone();
            let list = move |item: Result<T>| match item.and_then(|x| guard("flat_map", || f(x))) {
                Ok(list) if list.is_empty() => None,
                other => Some(other),
            };
            let lists = Sifted::new(items, list, endless.then_some("flat_map"));
            Box::new(lists.flat_map(|list| -> Items<U> {
                match list {
                    Ok(list) => Box::new(list.into_iter().map(Ok)),
                    Err(error) => Box::new(std::iter::once(Err(error))),
                }
            }))
        })
    }

    /// Drops errors: what remains are the elements that could be made. Where an endless pipeline has 4,194,304 errors in a row,
    /// that is one.
    pub fn ignore_errors(self) -> Self {
        let endless = self.is_endless();
        self.then(Cardinality::Unknown, move |items, _| {
            let made = |item: Result<T>| item.ok().map(Ok);
            Box::new(Sifted::new(items, made, endless.then_some("ignore_errors")))
        })
    }

    /// In random order: each element is drawn from a buffer of `buffer` elements, which is refilled from the rest, in
    /// every pass in another order. A buffer as large as the data gives every order with equal probability.
    ///
    /// ```
    /// use wgrad::data::Pipeline;
    /// # fn main() -> wgrad::Result<()> {
    /// let numbers = (0..100).collect::<Pipeline<i32>>().shuffle(100, 7);
    /// let pass = |number| numbers.epoch(number).collect::<wgrad::Result<Vec<i32>>>();
    /// assert_ne!(pass(0)?, pass(1)?);
    /// assert_eq!(pass(1)?, pass(1)?);
    /// # Ok(()) }
    /// ```
    pub fn shuffle(self, buffer: usize, seed: u64) -> Self {
        self.shuffled(buffer, move |pass| seed::derive(seed, pass))
    }

    /// As [`shuffle`](Self::shuffle), in the same order in every pass.
    pub fn shuffle_once(self, buffer: usize, seed: u64) -> Self {
        self.shuffled(buffer, move |_| seed)
    }

    fn shuffled(self, buffer: usize, seed: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Self {
        let (cardinality, endless) = (self.cardinality, self.is_endless());
        self.then(cardinality, move |items, pass| match buffer {
            0 => only_error("shuffle", "the buffer has 0 elements; it must have at least 1"),
            n if endless && n > LONGEST_WAIT => only_error("shuffle", never_full("buffer", n)),
            _ => Box::new(Shuffle::new(items, buffer, seed(pass))),
        })
    }

    /// The whole sequence `times` times; what is random in it is drawn anew each time.
    pub fn repeat(self, times: usize) -> Self {
        let cardinality = match self.cardinality {
            Cardinality::Infinite if times == 0 => Cardinality::Finite(0),
            // Nobody sees the end of what can't be counted.
            Cardinality::Finite(n) => n.checked_mul(times).map_or(Cardinality::Infinite, Cardinality::Finite),
            other => other,
        };
        self.repeated(cardinality, Some(times))
    }

    /// The whole sequence again and again. Such a pipeline needs somebody who says when to stop: [`take`](Self::take).
    pub fn repeat_forever(self) -> Self {
        let cardinality = match self.cardinality {
            Cardinality::Finite(0) => Cardinality::Finite(0),
            _ => Cardinality::Infinite,
        };
        self.repeated(cardinality, None)
    }

    fn repeated(self, cardinality: Cardinality, times: Option<usize>) -> Self {
        let start = self.start;
        Pipeline {
            name: self.name,
            cardinality,
            start: Arc::new(move |pass| Box::new(Repeat::new(start.clone(), pass, times))),
        }
    }

    /// The first `n` elements.
    pub fn take(self, n: usize) -> Self {
        let cardinality = match self.cardinality {
            Cardinality::Infinite => Cardinality::Finite(n),
            known => known.map(|len| len.min(n)),
        };
        self.then(cardinality, move |items, _| Box::new(items.take(n)))
    }

    /// All but the first `n` elements.
    pub fn skip(self, n: usize) -> Self {
        let (cardinality, endless) = (self.cardinality.map(|len| len.saturating_sub(n)), self.is_endless());
        self.then(cardinality, move |items, _| {
            if endless && n > LONGEST_WAIT {
                let message = format!("{n} elements of a pipeline that never ends are not passed by; expected at most {LONGEST_WAIT}");
                return only_error("skip", message);
            }
            let mut left = n;
            // an error among what is skipped is still an error
            Box::new(items.filter(move |item| {
                let skipped = left > 0 && item.is_ok();
                left -= usize::from(skipped);
                !skipped
            }))
        })
    }

    /// Pairs of the elements of both, as long as both have some.
    pub fn zip<U: Send + 'static>(self, other: Pipeline<U>) -> Pipeline<(T, U)> {
        let cardinality = match (self.cardinality, other.cardinality) {
            (Cardinality::Finite(a), Cardinality::Finite(b)) => Cardinality::Finite(a.min(b)),
            (known, Cardinality::Infinite) | (Cardinality::Infinite, known) => known,
            _ => Cardinality::Unknown,
        };
        let second = other.start;
        self.then(cardinality, move |items, pass| {
            Box::new(items.zip(second(pass)).map(|(a, b)| Ok((a?, b?))))
        })
    }

    /// The elements of this one, then those of the other.
    pub fn chain(self, other: Pipeline<T>) -> Self {
        let cardinality = match (self.cardinality, other.cardinality) {
            (Cardinality::Finite(a), Cardinality::Finite(b)) => {
                a.checked_add(b).map_or(Cardinality::Infinite, Cardinality::Finite)
            }
            (Cardinality::Infinite, _) | (_, Cardinality::Infinite) => Cardinality::Infinite,
            _ => Cardinality::Unknown,
        };
        let second = other.start;
        self.then(cardinality, move |items, pass| {
            let second = second.clone();
            // made only when the first is through: until then its threads would only wait
            Box::new(items.chain(std::iter::once_with(move || second(pass)).flatten()))
        })
    }

    /// Each element with its number, counted from 0.
    pub fn enumerate(self) -> Pipeline<(usize, T)> {
        let cardinality = self.cardinality;
        self.then(cardinality, |items, _| {
            let mut next = 0;
            Box::new(items.map(move |item| {
                item.map(|x| {
                    next += 1;
                    (next - 1, x)
                })
            }))
        })
    }

    /// Keeps the elements of the first pass that comes to its end in memory; later passes repeat them. Everything before
    /// this stage then runs once: put what is cheap and random (shuffling, augmentation) after it.
    pub fn cache(self) -> Self
    where
        T: Clone + Sync,
    {
        let (cardinality, start) = (self.cardinality, self.start);
        let kept: Arc<Mutex<Option<Arc<Vec<T>>>>> = Arc::default();
        Pipeline {
            name: self.name,
            cardinality,
            start: Arc::new(move |pass| Cached::pass(&kept, || start(pass))),
        }
    }

    /// Makes up to `n` elements ahead on a thread of its own, while whoever takes them is busy; 65,536 at most.
    pub fn prefetch(self, n: usize) -> Self {
        let cardinality = self.cardinality;
        self.then(cardinality, move |items, _| match n.min(MOST_AHEAD) {
            0 => items,
            n => Box::new(Prefetch::new(items, n)),
        })
    }

    /// Lists of `n` consecutive elements; the last may have fewer.
    pub fn chunks(self, n: usize) -> Pipeline<Vec<T>> {
        let cardinality = self.cardinality.map(|len| len.div_ceil(n.max(1)));
        self.chunked(n, cardinality, false)
    }

    /// Lists of exactly `n` consecutive elements; fewer that remain at the end are dropped.
    pub fn chunks_exact(self, n: usize) -> Pipeline<Vec<T>> {
        let cardinality = self.cardinality.map(|len| len / n.max(1));
        self.chunked(n, cardinality, true)
    }

    fn chunked(self, n: usize, cardinality: Cardinality, exact: bool) -> Pipeline<Vec<T>> {
        let endless = self.is_endless();
        self.then(cardinality, move |items, _| match n {
            0 => only_error("batch", "the batch size is 0; it must be at least 1"),
            n if endless && n > LONGEST_WAIT => only_error("batch", never_full("batch", n)),
            _ => Box::new(Chunks::new(items, n, exact)),
        })
    }

    /// Batches of `n` samples; the last may have fewer.
    ///
    /// ```
    /// use wgrad::data::Pipeline;
    /// # fn main() -> wgrad::Result<()> {
    /// let pairs = Pipeline::generate("pairs", || (0..10).map(|i| Ok(([i as f32], [2.0 * i as f32]))));
    /// let sizes: Vec<usize> = pairs.batch(4).iter().map(|b| Ok(b?.samples())).collect::<wgrad::Result<_>>()?;
    /// assert_eq!(sizes, [4, 4, 2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// In the place of a batch: its samples differ in shape or element type.
    pub fn batch(self, n: usize) -> Pipeline<Batch>
    where
        T: IntoSample,
    {
        self.chunks(n).map(collate)
    }

    /// Batches of exactly `n` samples; fewer that remain at the end are dropped: tf.data's `drop_remainder`.
    pub fn batch_exact(self, n: usize) -> Pipeline<Batch>
    where
        T: IntoSample,
    {
        self.chunks_exact(n).map(collate)
    }
}

impl<T: Send + 'static> IntoIterator for &Pipeline<T> {
    type Item = Result<T>;
    type IntoIter = Items<T>;

    fn into_iter(self) -> Items<T> {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
