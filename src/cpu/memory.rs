//! Pooled host memory: a training step allocates nothing, because it finds the buffers of the step before last.

use super::kernels::lines::slack;
use crate::error::{Error, Result};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Vectors shorter than this are left to the allocator, which is quick for them.
const SMALL: usize = 1024;
/// Free bytes kept at most. Beyond, what the latest runs ([`RECENT`]) have not used goes back to the system, oldest first, so far
/// that there is room for a while ([`MADE_ROOM`]); what then finds no room goes at once. What a loop uses again and again thus
/// stays even where all of it is more than the bound.
const MAX_POOLED: u64 = 1 << 30;
const MADE_ROOM: u64 = MAX_POOLED / 4 * 3;
const RECENT: u64 = 8;

/// Free bytes that are kept however long they lie unused, and the runs after which a vector beyond goes that none of them
/// used.
const KEPT: u64 = 64 << 20;
const IDLE: u64 = 64;
const LOOK_EVERY: u64 = 32;

/// A free vector, and after which run it was given back.
struct Free {
    vector: Box<dyn Any + Send>,
    bytes: u64,
    given: u64,
}

type Shelf = HashMap<(TypeId, usize), Vec<Free>>;

static SHELF: Mutex<Option<Shelf>> = Mutex::new(None);
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
static POOLED: AtomicU64 = AtomicU64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// The run after which room was looked for last.
static LOOKED: AtomicU64 = AtomicU64::new(u64::MAX);
static RUNS: AtomicU64 = AtomicU64::new(0);
static BUSY_NS: AtomicU64 = AtomicU64::new(0);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// Rounds up to one of eight sizes per octave.
fn size_class(len: usize) -> usize {
    if len <= SMALL {
        return len;
    }
    let step = 1usize << (usize::BITS - 1 - len.leading_zeros()).saturating_sub(3);
    len.div_ceil(step) * step
}

/// A vector of at least `len` elements, whatever they are; the large ones have room for as many that begin a line.
pub(crate) fn take<T: Copy + Default + Send + 'static>(len: usize) -> Result<Vec<T>> {
    let class = size_class(len);
    let all = if class > SMALL { class + slack::<T>() } else { class };
    let bytes = (all * size_of::<T>()) as u64;
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
    if class > SMALL {
        let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shelf.get_or_insert_default().get_mut(&(TypeId::of::<T>(), class)).and_then(Vec::pop);
        drop(shelf);
        if let Some(v) = found.and_then(|free| free.vector.downcast::<Vec<T>>().ok()) {
            POOLED.fetch_sub(bytes, Relaxed);
            return Ok(*v);
        }
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
    match reserve(all) {
        Ok(mut v) => {
            v.resize(all, T::default());
            Ok(v)
        }
        Err(e) => {
            LIVE.fetch_sub(bytes, Relaxed);
            Err(e)
        }
    }
}

/// An empty vector with room for so many elements. Where sizes are a caller's or a file's, memory is asked for here: Rust's
/// own vectors end the process where there is none.
pub(crate) fn reserve<T>(len: usize) -> Result<Vec<T>> {
    let mut v = Vec::new();
    match v.try_reserve_exact(len) {
        Ok(()) => Ok(v),
        Err(_) => {
            let bytes = len.saturating_mul(size_of::<T>());
            let message = format!("no room for {bytes} bytes; use a smaller batch, or drop tensors");
            Err(Error::OutOfMemory { device: "cpu".into(), message })
        }
    }
}

/// A vector of the same elements.
pub(crate) fn copy<T: Copy>(elements: &[T]) -> Result<Vec<T>> {
    let mut v = reserve(elements.len())?;
    v.extend_from_slice(elements);
    Ok(v)
}

/// Gives a vector of [`take`] back.
pub(crate) fn give<T: Copy + Default + Send + 'static>(v: Vec<T>) {
    let class = v.len().saturating_sub(slack::<T>());
    let bytes = size_of_val(&v[..]) as u64;
    LIVE.fetch_sub(bytes, Relaxed);
    if class <= SMALL || class != size_class(class) {
        return;
    }
    let now = RUNS.load(Relaxed);
    if POOLED.load(Relaxed) + bytes > MAX_POOLED && LOOKED.swap(now, Relaxed) != now {
        release(MADE_ROOM, RECENT);
    }
    if POOLED.load(Relaxed) + bytes <= MAX_POOLED {
        POOLED.fetch_add(bytes, Relaxed);
        let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
        let free = Free { vector: Box::new(v), bytes, given: now };
        shelf.get_or_insert_default().entry((TypeId::of::<T>(), class)).or_default().push(free);
    }
}

/// Gives free vectors that the latest runs, so many, did not use back to the system, oldest first, until no more than `kept`
/// bytes are left.
fn release(kept: u64, runs: u64) {
    let mut shelf = SHELF.lock().unwrap_or_else(PoisonError::into_inner);
    let beyond = POOLED.load(Relaxed).saturating_sub(kept);
    let gone = oldest(shelf.get_or_insert_default(), RUNS.load(Relaxed), runs, beyond);
    POOLED.fetch_sub(gone.iter().map(|free| free.bytes).sum(), Relaxed);
    // The system takes its time: not under the lock.
    drop(shelf);
    drop(gone);
}

/// Takes the oldest vectors, at least `beyond` bytes if there are so many, but none that the latest runs used.
fn oldest(shelf: &mut Shelf, now: u64, runs: u64, beyond: u64) -> Vec<Free> {
    // By the run after which they were given back: how many bytes of those may go.
    let mut ages: BTreeMap<u64, u64> = BTreeMap::new();
    for free in shelf.values().flatten().filter(|free| free.given + runs <= now) {
        *ages.entry(free.given).or_default() += free.bytes;
    }
    // The latest age that is needed, and how many bytes of it.
    let (mut last, mut left) = (None, beyond);
    for (given, bytes) in ages {
        if left == 0 {
            break;
        }
        last = Some((given, left));
        left = left.saturating_sub(bytes);
    }
    let mut gone = Vec::new();
    let Some((last, mut wanted)) = last else { return gone };
    for vectors in shelf.values_mut() {
        gone.extend(vectors.extract_if(.., |free| {
            let of_last = free.given == last && wanted > 0;
            if of_last {
                wanted = wanted.saturating_sub(free.bytes);
            }
            free.given < last || of_last
        }));
    }
    gone
}

/// Gives all memory that nothing uses back to the system.
pub(crate) fn trim() {
    release(0, 0);
}

/// Counts a vector that came from outside as live.
pub(crate) fn adopt<T>(v: &[T]) {
    let bytes = size_of_val(v) as u64;
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

pub(crate) fn count_run(operations: usize, time: std::time::Duration) {
    let runs = RUNS.fetch_add(1, Relaxed) + 1;
    if runs.is_multiple_of(LOOK_EVERY) && POOLED.load(Relaxed) > KEPT {
        release(KEPT, IDLE);
    }
    BUSY_NS.fetch_add(time.as_nanos() as u64, Relaxed);
    OPERATIONS.fetch_add(operations as u64, Relaxed);
}

/// Counters of the CPU backend since the process began.
pub(crate) fn stats() -> crate::device::Stats {
    crate::device::Stats {
        dispatches: OPERATIONS.load(Relaxed),
        submits: RUNS.load(Relaxed),
        allocations: ALLOCATIONS.load(Relaxed),
        bytes_live: LIVE.load(Relaxed),
        bytes_pooled: POOLED.load(Relaxed),
        bytes_peak: PEAK.load(Relaxed),
        device_ns: BUSY_NS.load(Relaxed),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::lines::aligned;
    use super::*;

    #[test]
    fn large_vectors_have_room_for_as_much_that_begins_a_line() {
        fn check<T: Copy + Default + Send + 'static>() {
            for len in [1025, 2000, 4096, 100_000, 1 << 20] {
                let v = take::<T>(len).unwrap();
                let at = aligned(&v, len);
                assert!(v[at..][..len].as_ptr().addr().is_multiple_of(64), "{len} of {}", size_of::<T>());
                give(v);
            }
        }
        check::<u8>();
        check::<f32>();
        check::<f64>();
        // One that has no room begins where it is.
        let v = vec![0f32; 77];
        assert!([0, v.as_ptr().align_offset(64)].contains(&aligned(&v, 61)));
        assert_eq!(aligned(&v, 77), 0);
    }

    #[test]
    fn the_oldest_go_first_and_as_far_as_need_be() {
        let ten = || {
            let mut shelf = Shelf::new();
            for given in 0..10 {
                let free = Free { vector: Box::new(Vec::<f32>::new()), bytes: 100, given };
                // On two shelves, and two of each age.
                shelf.entry((TypeId::of::<f32>(), given as usize % 2)).or_default().push(free);
                let free = Free { vector: Box::new(Vec::<u8>::new()), bytes: 50, given };
                shelf.entry((TypeId::of::<u8>(), 0)).or_default().push(free);
            }
            shelf
        };
        let ages = |now, runs, beyond| -> Vec<u64> {
            let mut shelf = ten();
            let gone = oldest(&mut shelf, now, runs, beyond);
            let left = shelf.values().map(Vec::len).sum::<usize>();
            assert_eq!(gone.len() + left, 20);
            let mut ages: Vec<u64> = gone.iter().map(|free| free.given).collect();
            ages.sort_unstable();
            ages
        };
        assert!(ages(10, 0, 0).is_empty());
        assert_eq!(ages(10, 0, 450), [0, 0, 1, 1, 2, 2]);
        assert_eq!(ages(10, 0, 451).last(), Some(&3));
        assert!((5..=6).contains(&ages(10, 0, 340).len()), "of the last age as many as it takes");
        // Those of the latest runs stay, however much is asked for.
        assert_eq!(ages(10, 8, 10_000), [0, 0, 1, 1, 2, 2]);
        assert!(ages(10, 11, 10_000).is_empty());
        assert_eq!(ages(10, 0, u64::MAX).len(), 20);
    }
}
