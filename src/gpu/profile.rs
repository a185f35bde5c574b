//! The time of every kernel of a plan.

use super::context::Gpu;
use super::pace::piece;
use super::step::PlanStep;
use crate::error::{Error, Result};
use crate::profile::{KernelCall, Timing, Timings};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Kernels timed with one set of queries, in one submission: WebGPU allows 4096 queries, and each takes two.
const CHUNK: usize = 2048;

/// How kernels are timed.
pub(super) fn timing_of(gpu: &Gpu) -> Timing {
    match gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
        true => Timing::Timestamps,
        false => Timing::OneByOne,
    }
}

/// Runs the kernels, and notes how long each took.
pub(super) fn run(
    gpu: &Gpu,
    steps: &[PlanStep],
    groups: &[wgpu::BindGroup],
    record: u32,
    timings: &mut Timings,
) -> Result<()> {
    let times = match timing_of(gpu) {
        Timing::Timestamps => by_timestamps(gpu, steps, groups, record)?,
        _ => one_by_one(gpu, steps, groups, record)?,
    };
    gpu.counters.dispatches.fetch_add(steps.len() as u64, Relaxed);
    for (step, time) in steps.iter().zip(times) {
        let names: Vec<&str> = step.tasks.iter().map(|t| t.name.as_str()).collect();
        let Some(first) = step.tasks.first() else { continue };
        // A joined kernel's bytes are known where all of its parts' are.
        let known = step.tasks.iter().all(|t| t.bytes > 0);
        timings.add(KernelCall {
            name: &names.join(" | "),
            shape: first.shape,
            grid: step.workgroups,
            time,
            flops: step.tasks.iter().map(|t| t.flops).sum(),
            bytes: if known { step.tasks.iter().map(|t| t.bytes).sum() } else { 0 },
        });
    }
    Ok(())
}

fn submit(gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<()> {
    let submission = gpu.queue.submit([encoder.finish()]);
    gpu.counters.submits.fetch_add(1, Relaxed);
    gpu.wait(Some(submission))
}

fn one_by_one(
    gpu: &Gpu,
    steps: &[PlanStep],
    groups: &[wgpu::BindGroup],
    record: u32,
) -> Result<Vec<Duration>> {
    let time = |step: Option<(&PlanStep, &wgpu::BindGroup)>| -> Result<Duration> {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        if let Some((step, group)) = step {
            step.dispatch(&mut pass, group, record);
        }
        drop(pass);
        let start = Instant::now();
        submit(gpu, encoder)?;
        Ok(start.elapsed())
    };
    // What came before (uploads, and what this evaluation's arguments are written with) is not the first kernel's.
    let mut empty = time(None)?;
    for _ in 0..2 {
        empty = empty.min(time(None)?);
    }
    steps.iter().zip(groups).map(|s| Ok(time(Some(s))?.saturating_sub(empty))).collect()
}

fn by_timestamps(
    gpu: &Gpu,
    steps: &[PlanStep],
    groups: &[wgpu::BindGroup],
    record: u32,
) -> Result<Vec<Duration>> {
    let period = f64::from(gpu.queue.get_timestamp_period());
    let mut times = Vec::with_capacity(steps.len());
    let (speed, most) = gpu.pace.bound(steps.iter().map(|s| s.cost).sum());
    let mut rest = steps.iter().zip(groups).map(|(s, group)| (speed.seconds(s.cost), (s, group))).peekable();
    while rest.peek().is_some() {
        let chunk: Vec<_> = piece(&mut rest, most).take(CHUNK).collect();
        let count = 2 * chunk.len() as u32;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let buffer = |usage| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("profile"),
                size: 8 * u64::from(count),
                usage,
                mapped_at_creation: false,
            })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for (k, (step, group)) in chunk.into_iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * k as u32),
                    end_of_pass_write_index: Some(2 * k as u32 + 1),
                }),
            });
            step.dispatch(&mut pass, group, record);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, 8 * u64::from(count));
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.counters.submits.fetch_add(1, Relaxed);
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |r| {
            let _ = sender.send(r);
        });
        gpu.wait(Some(submission))?;
        let failed = |e: String| Error::gpu(&gpu.name, format!("reading timestamps back: {e}"));
        receiver.recv().map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&view[..]);
        for pair in ticks.chunks_exact(2) {
            times.push(Duration::from_nanos((pair[1].saturating_sub(pair[0]) as f64 * period) as u64));
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    /// What can be said of times without trusting a busy machine: each kernel has one, and none is longer by the GPU's clock
    /// than it took by the host's to submit it and to wait for it.
    #[test]
    fn no_kernel_takes_longer_than_the_wait_for_it() -> Result<()> {
        let engine = crate::gpu::engine(Device::Gpu)?;
        let gpu = &engine.gpu;
        let x = Tensor::ones([300, 300], Device::Gpu)?;
        let y = x.matmul(&x)?.sum(.., false)?;
        assert_eq!(y.item::<f32>()?, 300.0 * 300.0 * 300.0);
        let plans = engine.plans();
        let (steps, groups) = plans.any_bound().expect("a plan has run");
        let began = Instant::now();
        let alone = one_by_one(gpu, steps, groups, 0)?;
        assert_eq!(alone.len(), steps.len());
        assert!(alone.iter().sum::<Duration>() <= began.elapsed(), "{alone:?}");
        if timing_of(gpu) == Timing::Timestamps {
            let began = Instant::now();
            let stamped = by_timestamps(gpu, steps, groups, 0)?;
            let wall = began.elapsed();
            assert_eq!(stamped.len(), steps.len());
            assert!(stamped.iter().all(|&time| time <= wall), "{stamped:?} within {wall:?}");
            assert!(stamped.iter().any(|time| !time.is_zero()), "{stamped:?}");
        }
        gpu.check()?;
        Ok(())
    }
}
