//! Pooled GPU buffers. A buffer goes back to the pool when the last handle is dropped; work already queued on it is not
//! disturbed, because the queue runs in order.

use crate::device::Stats;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
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
type Free = HashMap<u64, BTreeMap<u64, (wgpu::Buffer, u64)>>;

/// Free bytes that are kept however long they lie unused.
const KEPT: u64 = 64 << 20;
/// Evaluations after which a buffer that none of them used goes, and how often that is looked after.
const IDLE: u64 = 64;
const LOOK_EVERY: u64 = 32;

#[derive(Debug)]
pub(crate) struct Pool {
    device: String,
    /// Bytes that a buffer has at most.
    largest: u64,
    free: Mutex<Free>,
    /// Evaluations so far.
    evaluations: AtomicU64,
    next_id: AtomicU64,
    live: AtomicU64,
    pooled: AtomicU64,
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
            free: Mutex::default(),
            evaluations: AtomicU64::new(0),
            next_id: AtomicU64::new(1),
            live: AtomicU64::new(0),
            pooled: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
        }
    }

    /// A buffer of at least `bytes`, with unspecified contents.
    pub fn take(self: &Arc<Self>, device: &wgpu::Device, bytes: u64) -> Result<Arc<GpuBuffer>> {
        // Rounding up must not make what fits too large.
        let size = if bytes <= self.largest { size_class(bytes).min(self.largest) } else { bytes };
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.get_mut(&size).and_then(BTreeMap::pop_first)
        };
        let (id, raw) = match found {
            Some((id, (raw, _))) => {
                self.pooled.fetch_sub(size, Relaxed);
                (id, raw)
            }
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
            // Give the driver back what lies unused, once, before giving up.
            self.clear();
            let _ = device.poll(wgpu::PollType::wait_indefinitely());
            create().map_err(|reason| Error::OutOfMemory {
                device: self.device.clone(),
                message: format!("no room for {size} bytes ({reason}); use a smaller batch or drop tensors"),
            })
        })
    }

    fn give(&self, size: u64, id: u64, raw: wgpu::Buffer) {
        self.live.fetch_sub(size, Relaxed);
        self.pooled.fetch_add(size, Relaxed);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(size).or_default().insert(id, (raw, self.evaluations.load(Relaxed)));
    }

    /// Counts an evaluation, and now and then frees what the latest ones have not used. Gives the ids of the buffers freed.
    pub fn evaluated(&self) -> Vec<u64> {
        let now = self.evaluations.fetch_add(1, Relaxed) + 1;
        let mut gone = Vec::new();
        if !now.is_multiple_of(LOOK_EVERY) || self.pooled.load(Relaxed) <= KEPT {
            return gone;
        }
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        for (size, buffers) in free.iter_mut() {
            buffers.retain(|id, (_, given)| {
                let keep = *given + IDLE > now || self.pooled.load(Relaxed) <= KEPT;
                if !keep {
                    self.pooled.fetch_sub(*size, Relaxed);
                    gone.push(*id);
                }
                keep
            });
        }
        gone
    }

    /// Frees the buffers that nothing uses.
    pub fn clear(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        for (size, buffers) in free.drain() {
            self.pooled.fetch_sub(size * buffers.len() as u64, Relaxed);
        }
    }

    pub fn fill_stats(&self, stats: &mut Stats) {
        stats.allocations = self.allocations.load(Relaxed);
        stats.bytes_live = self.live.load(Relaxed);
        stats.bytes_pooled = self.pooled.load(Relaxed);
        stats.bytes_peak = self.peak.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

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
