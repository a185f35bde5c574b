//! An allocator that knows how much memory the process has, and had at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static NOW: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);
/// Beyond this nothing is given: a reader without bounds ends the test and not the machine.
const MOST: u64 = 6 << 30;

pub struct Counting;

fn grow(bytes: usize) -> bool {
    let now = NOW.fetch_add(bytes as u64, Relaxed) + bytes as u64;
    PEAK.fetch_max(now, Relaxed);
    now <= MOST
}

fn shrink(bytes: usize) {
    NOW.fetch_sub(bytes as u64, Relaxed);
}

// SAFETY: all work is done by the system's allocator; here is only counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            shrink(layout.size());
            return std::ptr::null_mut();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            shrink(layout.size());
            return std::ptr::null_mut();
        }
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist while one is copied into the other.
        if !grow(size) {
            shrink(size);
            return std::ptr::null_mut();
        }
        let moved = unsafe { System.realloc(pointer, layout, size) };
        shrink(if moved.is_null() { size } else { layout.size() });
        moved
    }
}

/// Forgets what the most was; what there is now.
pub fn reset_peak() -> u64 {
    let now = NOW.load(Relaxed);
    PEAK.store(now, Relaxed);
    now
}

pub fn peak() -> u64 {
    PEAK.load(Relaxed)
}
