//! Pooled GPU buffers. A buffer goes back to the pool when the last handle is dropped; work already queued on it is not
//! disturbed, because the queue runs in order.

use crate::device::Stats;
use crate::error::{Error, Result};
#[cfg(test)]
use std::collections::HashSet;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wgpu::BufferUsages;

/// Every value begins at a multiple of this many bytes: WebGPU's default alignment of bindings.
pub(crate) const ALIGNMENT: u64 = 256;

/// A buffer of the pool.
#[derive(Debug)]
pub(crate) struct GpuBuffer {
    pub raw: wgpu::Buffer,
    /// Tells buffers apart for as long as the device lives.
    pub id: u64,
    size: u64,
    pool: Arc<Pool>,
}

// SAFETY: every field is Send and Sync, which `assert_threads` has the compiler check. Said here once, so that crates that
// use wgrad need not find it out by a walk through all of wgpu's types, which exceeds rustc's default recursion limit.
unsafe impl Send for GpuBuffer {}
unsafe impl Sync for GpuBuffer {}

const _: () = {
    const fn assert_threads<T: Send + Sync>() {}
    assert_threads::<wgpu::Buffer>();
    assert_threads::<Arc<Pool>>();
};

impl GpuBuffer {
    /// Whether the buffer is of this pool, and so of the device that has it.
    pub fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    /// An error where it is not: then its device was lost, and another one opened in its place.
    pub fn check(&self, pool: &Arc<Pool>) -> Result<()> {
        if self.is_of(pool) {
            return Ok(());
        }
        let reason = "the value was computed before that".into();
        Err(Error::DeviceLost { device: self.pool.device.clone(), reason })
    }
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.pool.give(self.size, self.id, self.raw.clone());
    }
}

/// Free buffers by size and id, each with the evaluation after which it was given back. The one with the smallest id is handed
/// out first, so that a loop that repeats itself finds the same buffers in the same places, and with them its bind groups.
#[derive(Debug)]
struct Free<B> {
    by_size: HashMap<u64, BTreeMap<u64, (B, u64)>>,
    bytes: u64,
    /// The ids of buffers that went, until somebody asks for them: bind groups keep them alive.
    gone: Vec<u64>,
    /// All that were asked for.
    #[cfg(test)]
    told: HashSet<u64>,
}

impl<B> Free<B> {
    fn new() -> Free<B> {
        Free {
            by_size: HashMap::new(),
            bytes: 0,
            gone: Vec::new(),
            #[cfg(test)]
            told: HashSet::new(),
        }
    }

    fn take(&mut self, size: u64) -> Option<(u64, B)> {
        let (id, (raw, _)) = self.by_size.get_mut(&size)?.pop_first()?;
        self.bytes -= size;
        Some((id, raw))
    }

    fn give(&mut self, size: u64, id: u64, raw: B, now: u64) {
        self.by_size.entry(size).or_default().insert(id, (raw, now));
        self.bytes += size;
    }

    /// Lets go of the buffers that were given back first: all that is beyond `most` bytes, and of what is beyond `kept` bytes
    /// that which lay unused for [`IDLE`] evaluations.
    fn shrink(&mut self, now: u64, kept: u64, most: u64) {
        if self.bytes <= kept {
            return;
        }
        let each =
            self.by_size.iter().flat_map(|(&size, list)| list.iter().map(move |(&id, b)| (b.1, id, size)));
        let mut oldest: Vec<(u64, u64, u64)> = each.collect();
        oldest.sort_unstable();
        for (given, id, size) in oldest {
            if self.bytes <= kept || (self.bytes <= most && given + IDLE > now) {
                break;
            }
            if self.by_size.get_mut(&size).and_then(|list| list.remove(&id)).is_some() {
                self.bytes -= size;
                self.gone.push(id);
            }
        }
    }

    fn clear(&mut self) {
        for (_, list) in self.by_size.drain() {
            self.gone.extend(list.keys());
        }
        self.bytes = 0;
    }
}

/// Free bytes that are kept however long they lie unused.
const KEPT: u64 = 64 << 20;
/// Evaluations after which a buffer that none of them used goes, and how often that is looked after.
const IDLE: u64 = 64;
const LOOK_EVERY: u64 = 32;
/// Free bytes after an evaluation are at most these, or the most that was ever in use at once where that is more: a loop that
/// repeats itself needs no more than it uses, but sizes that change from one evaluation to the next leave a buffer of each.
const MOST: u64 = 1 << 30;

#[derive(Debug)]
pub(crate) struct Pool {
    device: String,
    /// Bytes that a buffer has at most.
    largest: u64,
    free: Mutex<Free<wgpu::Buffer>>,
    /// Evaluations so far.
    evaluations: AtomicU64,
    next_id: AtomicU64,
    live: AtomicU64,
    peak: AtomicU64,
    allocations: AtomicU64,
}

/// Rounds up to one of eight sizes per octave, at least 256 bytes.
fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(256);
    let step = (1u64 << (63 - bytes.leading_zeros())) / 8;
    bytes.next_multiple_of(step.max(256))
}

impl Pool {
    pub fn new(device: String, largest: u64) -> Pool {
        Pool {
            device,
            largest: largest / ALIGNMENT * ALIGNMENT,
            free: Mutex::new(Free::new()),
            evaluations: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
        }
    }

    fn free(&self) -> MutexGuard<'_, Free<wgpu::Buffer>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `bytes`, with unspecified contents.
    pub fn take(self: &Arc<Self>, device: &wgpu::Device, bytes: u64) -> Result<Arc<GpuBuffer>> {
        // Rounding up must not make what fits too large.
        let size = if bytes <= self.largest { size_class(bytes).min(self.largest) } else { bytes };
        let found = self.free().take(size);
        let (id, raw) = match found {
            Some(found) => found,
            None => (self.next_id.fetch_add(1, Relaxed), self.allocate(device, size)?),
        };
        let live = self.live.fetch_add(size, Relaxed) + size;
        self.peak.fetch_max(live, Relaxed);
        Ok(Arc::new(GpuBuffer { raw, id, size, pool: self.clone() }))
    }

    fn allocate(&self, device: &wgpu::Device, size: u64) -> Result<wgpu::Buffer> {
        let limit = self.largest;
        if size > limit {
            let message =
                format!("{size} bytes asked for, buffers have at most {limit}; use a smaller batch");
            return Err(Error::OutOfMemory { device: self.device.clone(), message });
        }
        let create = || {
            let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
            let raw = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size,
                usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let internal = pollster::block_on(internal.pop());
            match pollster::block_on(memory.pop()).or(internal) {
                None => Ok(raw),
                Some(e) => Err(e.to_string()),
            }
        };
        self.allocations.fetch_add(1, Relaxed);
        create().or_else(|_| {
            // Give the driver back what lies unused, once, before giving up. What bind groups keep follows after the next
            // evaluation, or when this one is tried again.
            self.free().clear();
            let _ = device.poll(wgpu::PollType::wait_indefinitely());
            create().map_err(|reason| Error::OutOfMemory {
                device: self.device.clone(),
                message: format!("no room for {size} bytes ({reason}); use a smaller batch or drop tensors"),
            })
        })
    }

    fn give(&self, size: u64, id: u64, raw: wgpu::Buffer) {
        self.live.fetch_sub(size, Relaxed);
        self.free().give(size, id, raw, self.evaluations.load(Relaxed));
    }

    /// Counts an evaluation, and frees what is too much, or now and then what the latest ones have not used. Gives the ids of
    /// the buffers freed since the last time.
    pub fn evaluated(&self) -> Vec<u64> {
        let now = self.evaluations.fetch_add(1, Relaxed) + 1;
        let most = self.peak.load(Relaxed).max(MOST);
        let mut free = self.free();
        if now.is_multiple_of(LOOK_EVERY) || free.bytes > most {
            free.shrink(now, KEPT, most);
        }
        let gone = std::mem::take(&mut free.gone);
        #[cfg(test)]
        free.told.extend(&gone);
        gone
    }

    /// The ids of all buffers that it has told of as freed.
    #[cfg(test)]
    pub fn told(&self) -> HashSet<u64> {
        self.free().told.clone()
    }

    /// Frees the buffers that nothing uses. The caller lets go of all bind groups.
    pub fn clear(&self) {
        let mut free = self.free();
        free.clear();
        free.gone.clear();
    }

    pub fn fill_stats(&self, stats: &mut Stats) {
        stats.allocations = self.allocations.load(Relaxed);
        stats.bytes_live = self.live.load(Relaxed);
        stats.bytes_pooled = self.free().bytes;
        stats.bytes_peak = self.peak.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Free, IDLE, size_class};

    fn ids(free: &Free<()>) -> Vec<u64> {
        let mut ids: Vec<u64> = free.by_size.values().flat_map(|list| list.keys().copied()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_oldest_go_first_and_as_far_as_need_be() {
        // Buffer i of size 100 (i + 1) is given back after evaluation 10 - i.
        let filled = || {
            let mut free = Free::new();
            (0..10).for_each(|i| free.give(100 * (i + 1), i, (), 10 - i));
            assert_eq!(free.bytes, 5500);
            free
        };
        // None is idle yet, and they are not too many.
        let mut free = filled();
        free.shrink(11, 0, 5500);
        assert_eq!((free.bytes, &free.gone[..]), (5500, &[][..]));
        // Beyond the bound: 9 and 8, the oldest, are 1,900 bytes.
        free.shrink(11, 0, 3600);
        assert_eq!((free.bytes, &free.gone[..]), (3600, &[9, 8][..]));
        assert_eq!(ids(&free), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Idle: those given after evaluations 1 to 4, as far as they are beyond what is kept.
        let mut free = filled();
        free.shrink(4 + IDLE, 0, 5500);
        assert_eq!((ids(&free), free.bytes), (vec![0, 1, 2, 3, 4, 5], 2100));
        let mut free = filled();
        free.shrink(4 + IDLE, 4000, 5500);
        assert_eq!((ids(&free), free.bytes), ((0..8).collect(), 3600));
        // What is handed out and given back is as new.
        let mut free = filled();
        assert_eq!(free.take(1000), Some((9, ())));
        assert_eq!((free.take(1000), free.bytes), (None, 4500));
        free.give(1000, 9, (), 12);
        free.shrink(12, 0, 4600);
        assert_eq!(free.gone, [8]);
        // All are told of when they go.
        free.clear();
        free.gone.sort_unstable();
        assert_eq!((free.bytes, &free.gone[..]), (0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9][..]));
    }

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for bytes in [1, 255, 256, 257, 1000, 4096, 5000, 1 << 20, (1 << 20) + 1, 123_456_789] {
            let class = size_class(bytes);
            assert!(class >= bytes && class.is_multiple_of(256));
            assert!(class <= (bytes + bytes / 8).max(bytes + 256), "{bytes} -> {class}");
            assert_eq!(size_class(class), class);
        }
    }
}
