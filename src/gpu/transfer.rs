//! Values from the host to the device and back.

use super::array::{GpuArray, storage_bytes};
use super::context::Gpu;
use super::faults::{self, Faults, Look};
use crate::cpu::{Array, dispatch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Uploads of at least this many bytes are handed over at once: wgpu stages them in memory until the next submission.
const FLUSH: usize = 8 << 20;

/// Copies host values to a device.
pub(super) fn upload(gpu: &Gpu, array: &Array) -> Result<GpuArray> {
    gpu.check()?;
    let spec = array.spec();
    if spec.dtype == DType::F64 {
        return Err(Error::dtype("to_device", "f64 exists on Device::Cpu only (WGSL has no 64-bit floats)"));
    }
    let array = array.contiguous()?;
    let buffer = gpu.pool.take(&gpu.device, storage_bytes(&spec))?;
    dispatch!(spec.dtype, T => write(gpu, &buffer.raw, bytemuck::cast_slice(array.slice::<T>()?)));
    // Labels and indices that are known to be within their axis need no check in the kernels that use them.
    let largest = match spec.dtype {
        DType::U32 => array.slice::<u32>()?.iter().copied().max(),
        _ => None,
    };
    Ok(GpuArray { buffer, offset: 0, shape: spec.shape, dtype: spec.dtype, largest, lineage: None })
}

fn write(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: &[u8]) {
    let mut at = 0;
    for chunk in bytes.chunks(FLUSH) {
        if chunk.len().is_multiple_of(4) {
            gpu.queue.write_buffer(buffer, at, chunk);
        } else {
            // copies go by words: fill the last one up
            let mut padded = chunk.to_vec();
            padded.resize(chunk.len().next_multiple_of(4), 0);
            gpu.queue.write_buffer(buffer, at, &padded);
        }
        at += chunk.len() as u64;
        if chunk.len() == FLUSH {
            gpu.queue.submit([]);
        }
    }
}

/// A copy under way to memory that the host can read.
struct Reading {
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    /// Bytes of the value; the records of faults follow where they are looked at.
    bytes: u64,
    look: Option<Look>,
    done: Arc<Done>,
}

#[derive(Default)]
struct Done {
    result: Mutex<Option<Result<(), String>>>,
    waker: Mutex<Option<Waker>>,
}

impl Done {
    fn set(&self, result: Result<(), String>) {
        self.result.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(result);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

impl Reading {
    /// Queues the copy of a value, and of the records of faults: then the caller holds the lock of the device's evaluations.
    fn queue(gpu: &Gpu, array: Option<&GpuArray>, look: bool) -> Result<Reading> {
        let bytes = array.map_or(0, |a| (a.spec().bytes() as u64).next_multiple_of(4));
        let size = bytes + if look { faults::LOOK_BYTES } else { 0 };
        let memory = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        if let Some(e) = pollster::block_on(memory.pop()) {
            let message = format!("no room to read {size} bytes back ({e}); read a slice at a time");
            return Err(Error::OutOfMemory { device: gpu.name.clone(), message });
        }
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        if let Some(array) = array {
            encoder.copy_buffer_to_buffer(&array.buffer.raw, array.offset, &staging, 0, bytes);
        }
        let look = look.then(|| gpu.faults.look(&mut encoder, &staging, bytes));
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.counters.submits.fetch_add(1, Relaxed);
        let done = Arc::new(Done::default());
        let signal = done.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |r| signal.set(r.map_err(|e| e.to_string())));
        Ok(Reading { staging, submission, bytes, look, done })
    }

    /// Blocks until the copy is there.
    fn wait(&self, gpu: &Gpu) -> Result<()> {
        gpu.wait(Some(self.submission.clone()))?;
        // Another thread's wait may have taken the callback over, and be about to call it.
        pollster::block_on(Mapped(self.done.clone()));
        Ok(())
    }

    /// Notes what the records say, and hands the bytes of the value over.
    fn finish<R>(self, gpu: &Gpu, read: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        gpu.check()?;
        let failed = |e: String| gpu.failed(format!("reading a value back: {e}"));
        let result = self.done.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| failed("it never ended".into()))?.map_err(failed)?;
        let view = self.staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        let (value, records) = view.split_at(self.bytes as usize);
        if let Some(look) = self.look {
            look.settle(records)?;
        }
        read(value)
    }
}

/// A value that is being read.
struct Download {
    gpu: Arc<Gpu>,
    array: GpuArray,
    /// The value of a variable: it is to be had again once somebody was told of what went wrong with it.
    state: bool,
    reading: Reading,
}

impl Download {
    /// Queues the copy of a value; `None` where there is nothing to copy. `alone` takes the lock of the device's evaluations.
    fn begin<L>(
        gpu: &Arc<Gpu>,
        array: &GpuArray,
        state: bool,
        alone: impl FnOnce() -> L,
    ) -> Result<Option<Download>> {
        if array.shape.numel() == 0 {
            return Ok(None);
        }
        array.buffer.check(&gpu.pool)?;
        Faults::check(&array.lineage, state)?;
        let look = Faults::open(&array.lineage);
        let alone = look.then(alone);
        let reading = Reading::queue(gpu, Some(array), look)?;
        drop(alone);
        Ok(Some(Download { gpu: gpu.clone(), array: array.clone(), state, reading }))
    }

    /// The value, once it is there, unless what it was computed from is wrong.
    fn finish(self) -> Result<Array> {
        let Download { gpu, array, state, reading } = self;
        reading.finish(&gpu, |bytes| {
            Faults::check(&array.lineage, state)?;
            let spec = array.spec();
            dispatch!(spec.dtype, T => Array::build::<T>(spec.shape, |dst| {
                bytemuck::cast_slice_mut::<T, u8>(dst).copy_from_slice(&bytes[..spec.bytes()]);
                Ok(())
            }))
        })
    }
}

/// Waits until all queued work is done, and returns what went wrong with it. `alone` takes the lock of the device's evaluations.
pub(super) fn synchronize<L>(gpu: &Gpu, alone: impl FnOnce() -> L) -> Result<()> {
    if gpu.faults.unsettled() {
        let alone = alone();
        let reading = Reading::queue(gpu, None, true)?;
        drop(alone);
        reading.wait(gpu)?;
        reading.finish(gpu, |_| Ok(()))?;
    }
    gpu.wait(None)?;
    gpu.check()?;
    gpu.faults.check_all()
}

/// Waits for all records of faults. The caller holds the lock of the device's evaluations.
pub(super) fn settle(gpu: &Gpu) -> Result<()> {
    let reading = Reading::queue(gpu, None, true)?;
    reading.wait(gpu)?;
    reading.finish(gpu, |_| Ok(()))
}

/// A value on the host, waited for. `state`: whether it is that of a variable, which is to be had again once somebody was told
/// of what went wrong with it. `alone` takes the lock of the device's evaluations.
pub(super) fn download<L>(
    gpu: &Arc<Gpu>,
    array: &GpuArray,
    state: bool,
    alone: impl FnOnce() -> L,
) -> Result<Array> {
    match Download::begin(gpu, array, state, alone)? {
        None => Ok(Array::empty(&array.spec())),
        Some(download) => {
            download.reading.wait(&download.gpu)?;
            download.finish()
        }
    }
}

/// As [`download`]; a thread of its own waits for the device.
pub(super) async fn download_async<L>(
    gpu: &Arc<Gpu>,
    array: &GpuArray,
    state: bool,
    alone: impl FnOnce() -> L,
) -> Result<Array> {
    let Some(download) = Download::begin(gpu, array, state, alone)? else {
        return Ok(Array::empty(&array.spec()));
    };
    let (gpu, submission, done) =
        (download.gpu.clone(), download.reading.submission.clone(), download.reading.done.clone());
    std::thread::spawn(move || {
        if let Err(e) = gpu.wait(Some(submission)) {
            done.set(Err(e.to_string()));
        }
    });
    Mapped(download.reading.done.clone()).await;
    download.finish()
}

/// Ready when the buffer is mapped (or never will be).
struct Mapped(Arc<Done>);

impl Future for Mapped {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.0.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.result.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Poll::Ready(());
        }
        *waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
