//! Values from the host to the device and back.

use super::{Gpu, GpuArray, context, storage_bytes};
use crate::cpu::{Array, CpuElement, dispatch};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Spec, Tensor, Value};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Uploads of at least this many bytes are handed over at once: wgpu stages them in memory until the next submission.
const FLUSH: usize = 8 << 20;

/// Copies host values to a device.
pub(crate) fn upload(device: Device, array: &Array) -> Result<GpuArray> {
    let gpu = context(device)?;
    gpu.check()?;
    let spec = crate::cpu::spec_of(array);
    if spec.dtype == DType::F64 {
        return Err(Error::dtype("to_device", "f64 exists on Device::Cpu only (WGSL has no 64-bit floats)"));
    }
    let array = array.contiguous()?;
    let buffer = gpu.pool.take(&gpu.device, storage_bytes(&spec))?;
    dispatch!(spec.dtype, T => write(&gpu, &buffer.raw, bytemuck::cast_slice(array.slice::<T>()?)));
    Ok(GpuArray { buffer, offset: 0, shape: spec.shape, dtype: spec.dtype })
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
    gpu: Arc<Gpu>,
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    spec: Spec,
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
    fn begin(tensor: &Tensor) -> Result<Option<Reading>> {
        crate::eval::eval(&[tensor])?;
        let gpu = context(tensor.device())?;
        let Some(Value::Gpu(array)) = tensor.0.value() else {
            return Err(Error::Gpu("a GPU tensor has no GPU value".into()));
        };
        let spec = Spec::new(array.shape, array.dtype);
        if spec.shape.numel() == 0 {
            return Ok(None);
        }
        let bytes = (spec.bytes() as u64).next_multiple_of(4);
        let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&array.buffer.raw, array.offset, &staging, 0, bytes);
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.counters.submits.fetch_add(1, Relaxed);
        let done = Arc::new(Done::default());
        let signal = done.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |r| signal.set(r.map_err(|e| e.to_string())));
        Ok(Some(Reading { gpu, staging, submission, spec, done }))
    }

    fn finish(self) -> Result<Array> {
        self.gpu.check()?;
        let result = self.done.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match result {
            Some(Ok(())) => {}
            Some(Err(e)) => return Err(Error::Gpu(format!("{}: reading a value back: {e}", self.gpu.name))),
            None => return Err(Error::Gpu(format!("{}: reading a value back never ended", self.gpu.name))),
        }
        let view = self
            .staging
            .get_mapped_range(..)
            .map_err(|e| Error::Gpu(format!("{}: reading a value back: {e}", self.gpu.name)))?;
        fn read<T: CpuElement>(bytes: &[u8], spec: &Spec) -> Result<Array> {
            Array::build::<T>(spec.shape, |dst| {
                bytemuck::cast_slice_mut::<T, u8>(dst).copy_from_slice(&bytes[..spec.bytes()]);
                Ok(())
            })
        }
        dispatch!(self.spec.dtype, T => read::<T>(&view, &self.spec))
    }
}

/// The value of a tensor, waited for.
pub(crate) fn download(tensor: &Tensor) -> Result<Array> {
    match Reading::begin(tensor)? {
        None => Ok(crate::tensor::empty(&tensor.0.spec)),
        Some(reading) => {
            reading.gpu.wait(Some(reading.submission.clone()))?;
            // Another thread's wait may have taken the callback over, and be about to call it.
            pollster::block_on(Mapped(reading.done.clone()));
            reading.finish()
        }
    }
}

/// The value of a tensor; a thread of its own waits for the device.
pub(crate) async fn download_async(tensor: &Tensor) -> Result<Array> {
    let Some(reading) = Reading::begin(tensor)? else {
        return Ok(crate::tensor::empty(&tensor.0.spec));
    };
    let (gpu, submission, done) = (reading.gpu.clone(), reading.submission.clone(), reading.done.clone());
    std::thread::spawn(move || {
        if let Err(e) = gpu.wait(Some(submission)) {
            done.set(Err(e.to_string()));
        }
    });
    Mapped(reading.done.clone()).await;
    reading.finish()
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
