//! The iterators behind the stages of a pipeline that keep something from element to element.

use super::items::{Items, LONGEST_WAIT};
use crate::error::{Error, Result};
use crate::seed;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use std::sync::{Arc, Mutex, PoisonError};

/// Draws from a buffer.
pub(super) struct Shuffle<T> {
    items: Items<T>,
    buffer: Vec<T>,
    capacity: usize,
    rng: Xoshiro256PlusPlus,
    exhausted: bool,
}

impl<T> Shuffle<T> {
    pub fn new(items: Items<T>, capacity: usize, seed: u64) -> Self {
        Shuffle { items, buffer: Vec::new(), capacity, rng: seed::generator(seed), exhausted: false }
    }
}

impl<T> Iterator for Shuffle<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        while !self.exhausted && self.buffer.len() < self.capacity {
            match self.items.next() {
                Some(Ok(item)) => self.buffer.push(item),
                Some(Err(error)) => return Some(Err(error)),
                None => self.exhausted = true,
            }
        }
        if self.buffer.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..self.buffer.len());
        Some(Ok(self.buffer.swap_remove(at)))
    }
}

/// What a function makes of the elements, where it makes something of them.
pub(super) struct Sifted<T, F> {
    items: Items<T>,
    f: F,
    /// The stage, where it might wait for ever: of a pipeline that never ends.
    endless: Option<&'static str>,
}

impl<T, F> Sifted<T, F> {
    pub fn new(items: Items<T>, f: F, endless: Option<&'static str>) -> Self {
        Sifted { items, f, endless }
    }
}

impl<T, U, F: FnMut(Result<T>) -> Option<Result<U>>> Iterator for Sifted<T, F> {
    type Item = Result<U>;

    fn next(&mut self) -> Option<Result<U>> {
        let mut dropped = 0;
        loop {
            if let Some(found) = (self.f)(self.items.next()?) {
                return Some(found);
            }
            dropped += 1;
            if let Some(stage) = self.endless
                && dropped == LONGEST_WAIT
            {
                let message = format!(
                    "dropped {dropped} elements in a row of a pipeline that never ends; is there one to keep?"
                );
                return Some(Err(Error::argument(format!("Pipeline::{stage}"), message)));
            }
        }
    }
}

/// Starts over at the end.
pub(super) struct Repeat<T> {
    start: Arc<dyn Fn(u64) -> Items<T> + Send + Sync>,
    pass: u64,
    times: Option<usize>,
    round: usize,
    current: Option<Items<T>>,
    found_any: bool,
}

impl<T> Repeat<T> {
    pub fn new(start: Arc<dyn Fn(u64) -> Items<T> + Send + Sync>, pass: u64, times: Option<usize>) -> Self {
        Repeat { start, pass, times, round: 0, current: None, found_any: true }
    }
}

impl<T> Iterator for Repeat<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(items) = &mut self.current {
                if let Some(item) = items.next() {
                    self.found_any = true;
                    return Some(item);
                }
                self.current = None;
            }
            // A round without elements would be followed by another such.
            if self.times.is_some_and(|times| self.round >= times) || !self.found_any {
                return None;
            }
            // The first round is the pass itself: repeating once changes nothing.
            let pass = if self.round == 0 { self.pass } else { seed::derive(self.pass, self.round as u64) };
            self.round += 1;
            self.found_any = false;
            self.current = Some((self.start)(pass));
        }
    }
}

/// Collects lists.
pub(super) struct Chunks<T> {
    items: Items<T>,
    size: usize,
    exact: bool,
    gathered: Vec<T>,
}

impl<T> Chunks<T> {
    pub fn new(items: Items<T>, size: usize, exact: bool) -> Self {
        Chunks { items, size, exact, gathered: Vec::new() }
    }
}

impl<T> Iterator for Chunks<T> {
    type Item = Result<Vec<T>>;

    fn next(&mut self) -> Option<Result<Vec<T>>> {
        while self.gathered.len() < self.size {
            match self.items.next() {
                Some(Ok(item)) => self.gathered.push(item),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    let rest = std::mem::take(&mut self.gathered);
                    return (!rest.is_empty() && !self.exact).then_some(Ok(rest));
                }
            }
        }
        Some(Ok(std::mem::take(&mut self.gathered)))
    }
}

/// Passes elements on and keeps a copy of each, until the end is reached without an error.
pub(super) struct Cached<T> {
    items: Items<T>,
    gathered: Option<Vec<T>>,
    kept: Kept<T>,
}

type Kept<T> = Arc<Mutex<Option<Arc<Vec<T>>>>>;

impl<T: Clone + Send + Sync + 'static> Cached<T> {
    /// The elements that are kept, or else those that `start` gives.
    pub fn pass(kept: &Kept<T>, start: impl FnOnce() -> Items<T>) -> Items<T> {
        let found = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match found {
            Some(list) => Box::new((0..list.len()).filter_map(move |i| list.get(i).cloned().map(Ok))),
            None => Box::new(Cached { items: start(), gathered: Some(Vec::new()), kept: kept.clone() }),
        }
    }
}

impl<T: Clone> Iterator for Cached<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let item = self.items.next();
        match &item {
            Some(Ok(x)) => {
                if let Some(gathered) = &mut self.gathered {
                    gathered.push(x.clone());
                }
            }
            // what is incomplete is not kept
            Some(Err(_)) => self.gathered = None,
            None => {
                if let Some(gathered) = self.gathered.take() {
                    let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.get_or_insert_with(|| Arc::new(gathered));
                }
            }
        }
        item
    }
}
