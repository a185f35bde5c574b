//! Plans: compiled graphs, replayed against pooled buffers.
//!
//! A plan holds no memory but its kernels' sizes. Replaying it takes buffers from the pool, finds the bind groups made for
//! those buffers before (the pool hands out the same ones in a loop that repeats itself), writes the arguments (scalars
//! that change from step to step), and records one pass that is submitted at once. A plan that is about to take longer than a
//! driver may wait is recorded and submitted piece by piece (`pace.rs`).
//!
//! **Before a replay:** the graph's key is the one that the plan was compiled for. Positions in the graph then mean the same,
//! and a plan refers to values by nothing else: it holds no node and no buffer. All leaves have values on this device.
//!
//! **After it:** every value that somebody holds (`outputs`) is set on its node, although the device may not have begun: whoever
//! reads it queues behind. The plan's other buffers are back in the pool, although the kernels that use them may not have run:
//! whatever takes them next is queued behind as well. This is sound because there is one queue, it runs in order, and the
//! caller holds the lock of the device's evaluations from taking buffers to submitting, all pieces.
//!
//! Sizes are written once, when the plan is made; arguments before every replay, into one buffer: `write_buffer` is queued
//! too, before the first piece, after the kernels that read the old ones and before those that read the new ones.
//!
//! A bind group keeps its buffers alive. Sets of them are therefore few ([`MAX_BOUND`]), and go when the pool lets their buffers
//! go ([`Plan::forget_bound_to`]); otherwise memory that nothing uses would stay for as long as a plan.

use super::array::GpuArray;
use super::context::Gpu;
use super::faults;
use super::memory::GpuBuffer;
use super::pace::{Cost, piece};
use super::profile;
use super::step::{Bind, PlanStep, Where};
use super::transfer::settle;
use crate::error::{Error, Result};
use crate::ops::Lowering;
use crate::profile::Timings;
use crate::tensor::{Pending, Value};
use std::collections::{HashSet, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A value that somebody holds: where it is after the plan has run.
pub(super) struct Output {
    pub entry: u32,
    pub source: Where,
    pub offset: u64,
    /// Whether the plan writes over what is there.
    pub changed: bool,
}

/// The scalars of a plan: word position, graph position of the scalar, word of the scalar; and the bytes of all.
pub(super) struct Arguments {
    pub words: Vec<(u32, u32, u8)>,
    pub bytes: u64,
}

/// A compiled graph.
pub(crate) struct Plan {
    steps: Vec<PlanStep>,
    /// What all of them are about to take.
    cost: Cost,
    /// Bytes of the buffers that a run needs.
    buffers: Vec<u64>,
    outputs: Vec<Output>,
    /// Graph positions of the values that are read.
    leaves: Vec<u32>,
    uniforms: Option<wgpu::Buffer>,
    args: Option<wgpu::Buffer>,
    /// Word position, graph position of the scalar, word of the scalar.
    arg_words: Vec<(u32, u32, u8)>,
    /// The arguments of the run under way.
    arg_values: Vec<u32>,
    /// Graph positions of the operations that may record a fault, ascending.
    recording: Vec<u32>,
    /// Bind groups by the buffers that they were made for, latest last.
    bound: VecDeque<(Vec<u64>, Arc<Vec<wgpu::BindGroup>>)>,
    /// The buffers of the run under way.
    ids: Vec<u64>,
    /// Bytes that it holds beside its bind groups, and those of one set of bind groups.
    own_bytes: u64,
    set_bytes: u64,
}

/// Sets of bind groups kept for each plan. A loop alternates between two.
const MAX_BOUND: usize = 12;
/// Beyond two of them, what they take at most: loops of many turns have many bind groups.
const MAX_BOUND_BYTES: u64 = 16 << 20;

/// Pieces of a plan that may be under way before the host waits for the oldest: their recordings take memory. The device has
/// the others to go on with meanwhile.
const MAX_PIECES: usize = 4;

/// What a bind group and each of its bindings take, about: what wgpu keeps of them and the driver's descriptors.
const GROUP_BYTES: usize = 1536;
const BINDING_BYTES: usize = 128;
/// What a buffer of the plan takes beside its contents: what wgpu keeps of it, and the driver's object.
const BUFFER_BYTES: u64 = 1024;

impl Plan {
    pub fn new(
        gpu: &Gpu,
        steps: Vec<PlanStep>,
        buffers: Vec<u64>,
        outputs: Vec<Output>,
        recording: Vec<u32>,
        uniforms: &[u8],
        arguments: Arguments,
    ) -> Result<Plan> {
        let Arguments { words: arg_words, bytes: arg_bytes } = arguments;
        let buffer = |label, size: u64| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let sizes = (!uniforms.is_empty()).then(|| buffer("sizes", uniforms.len() as u64));
        if let Some(sizes) = &sizes {
            gpu.queue.write_buffer(sizes, 0, uniforms);
        }
        let args = (arg_bytes > 0).then(|| buffer("arguments", arg_bytes));
        let mut leaves: Vec<u32> = Vec::new();
        let sources = steps.iter().flat_map(|s| &s.bindings).filter_map(|(_, b)| match b {
            Bind::Data { source: Where::Leaf(v), .. } => Some(*v),
            _ => None,
        });
        for v in sources {
            if !leaves.contains(&v) {
                leaves.push(v);
            }
        }
        let mut plan = Plan {
            recording,
            cost: steps.iter().map(|s| s.cost).sum(),
            steps,
            buffers,
            outputs,
            leaves,
            uniforms: sizes,
            args,
            arg_words,
            arg_values: vec![0; (arg_bytes / 4) as usize],
            bound: VecDeque::new(),
            ids: Vec::new(),
            own_bytes: 0,
            set_bytes: 0,
        };
        (plan.own_bytes, plan.set_bytes) = plan.estimate();
        Ok(plan)
    }

    /// Bytes of the plan beside its bind groups, and of one set of bind groups. Buffers of the pool are none of them.
    fn estimate(&self) -> (u64, u64) {
        let lists = self.steps.iter().map(PlanStep::bytes).sum::<usize>()
            + size_of_val(&self.buffers[..])
            + size_of_val(&self.outputs[..])
            + size_of_val(&self.leaves[..])
            + size_of_val(&self.recording[..])
            + size_of_val(&self.arg_words[..])
            + size_of_val(&self.arg_values[..]);
        let buffers = [&self.uniforms, &self.args].into_iter().flatten();
        let own = lists as u64 + buffers.map(|b| b.size() + BUFFER_BYTES).sum::<u64>();
        let group = |s: &PlanStep| GROUP_BYTES + s.bindings.len() * BINDING_BYTES;
        // Of each leaf the buffer and the offset, of each buffer the number.
        let ids = (self.buffers.len() + 2 * self.leaves.len()) * size_of::<u64>();
        (own, (ids + self.steps.iter().map(group).sum::<usize>()) as u64)
    }

    /// About how many bytes the plan holds, on the host and on the device, beside what its bind groups are made for.
    pub fn bytes(&self) -> u64 {
        self.own_bytes + self.bound.len() as u64 * self.set_bytes
    }

    /// The steps, and the bind groups that it ran with last.
    #[cfg(test)]
    pub fn any_bound(&self) -> Option<(&[PlanStep], &[wgpu::BindGroup])> {
        Some((&self.steps[..], &self.bound.back()?.1[..]))
    }

    /// The buffers that its bind groups keep alive.
    #[cfg(test)]
    pub fn bound_buffers(&self) -> impl Iterator<Item = u64> + '_ {
        self.bound.iter().flat_map(|(ids, _)| buffers_among(ids, self.buffers.len()))
    }

    /// Lets go of all bind groups, which keep the memory that they were made for.
    pub fn forget_bound(&mut self) {
        self.bound.clear();
    }

    /// Lets go of bind groups of these buffers.
    pub fn forget_bound_to(&mut self, gone: &HashSet<u64>) {
        let own = self.buffers.len();
        self.bound.retain(|(ids, _)| !buffers_among(ids, own).any(|id| gone.contains(&id)));
    }

    /// Records and submits the plan, and hands the values to the nodes. `None` where nothing had to be computed, else the last of
    /// what was submitted.
    pub fn replay(
        &mut self,
        gpu: &Gpu,
        graph: &Pending,
        timings: Option<&mut Timings>,
    ) -> Result<Option<wgpu::SubmissionIndex>> {
        let begin = timings.is_some().then(Instant::now);
        let mut buffers: Vec<Arc<GpuBuffer>> = Vec::with_capacity(self.buffers.len());
        for &bytes in &self.buffers {
            buffers.push(gpu.pool.take(&gpu.device, bytes)?);
        }
        let mut submission = None;
        let evaluation = gpu.faults.begin(&gpu.queue, graph, &self.recording, || settle(gpu))?;
        let record = evaluation.place;
        if !self.steps.is_empty() {
            let groups = self.bind(gpu, graph, &buffers)?;
            self.write_args(gpu, graph);
            let (speed, most) = gpu.pace.bound(self.cost);
            let dispatches =
                self.steps.iter().zip(groups.iter()).map(|(s, group)| (speed.seconds(s.cost), (s, group)));
            let mut rest = dispatches.peekable();
            if let (Some(begin), Some(timings)) = (begin, timings) {
                // Recorded as always, to see how long that takes; what runs is recorded kernel by kernel.
                while rest.peek().is_some() {
                    drop(encode(gpu, &mut rest, most, record));
                }
                timings.encoding += begin.elapsed();
                profile::run(gpu, &self.steps, &groups, record, timings)?;
            } else {
                let start = Instant::now();
                let mut inside = Duration::ZERO;
                let mut under_way = VecDeque::new();
                while rest.peek().is_some() {
                    if under_way.len() >= MAX_PIECES
                        && let Some(oldest) = under_way.pop_front()
                    {
                        gpu.wait(Some(oldest))?;
                    }
                    let (commands, count) = encode(gpu, &mut rest, most, record);
                    let call = Instant::now();
                    under_way.extend(submission.replace(gpu.queue.submit([commands])));
                    if gpu.target.cpu_adapter {
                        // A software driver runs the kernels on the host's cores, partly inside of this very call.
                        let took = call.elapsed();
                        inside += took;
                        gpu.counters.device_ns.fetch_add(took.as_nanos() as u64, Relaxed);
                    }
                    gpu.counters.submits.fetch_add(1, Relaxed);
                    gpu.counters.dispatches.fetch_add(count, Relaxed);
                }
                gpu.pace.submitted(&gpu.queue, speed, self.cost, start, inside);
            }
        }
        for output in &self.outputs {
            let node = &graph.entries[output.entry as usize].tensor.0;
            let (buffer, start, largest) = match output.source {
                Where::Buffer(b) => (buffers[b as usize].clone(), 0, None),
                Where::Leaf(v) => {
                    let leaf = leaf(graph, v)?;
                    leaf.buffer.check(&gpu.pool)?;
                    (
                        leaf.buffer,
                        leaf.offset,
                        leaf.largest.filter(|_| leaf.dtype == node.spec.dtype && !output.changed),
                    )
                }
            };
            let (shape, dtype) = (node.spec.shape, node.spec.dtype);
            let (offset, lineage) = (start + output.offset, evaluation.of(output.entry));
            node.set_value(Value::Gpu(GpuArray { buffer, offset, shape, dtype, largest, lineage }));
        }
        Ok(submission)
    }

    fn bind(
        &mut self,
        gpu: &Gpu,
        graph: &Pending,
        buffers: &[Arc<GpuBuffer>],
    ) -> Result<Arc<Vec<wgpu::BindGroup>>> {
        self.ids.clear();
        self.ids.extend(buffers.iter().map(|b| b.id));
        for &v in &self.leaves {
            let (id, offset) = graph.entries[v as usize].tensor.0.with_value(|value| match value {
                Some(Value::Gpu(array)) => {
                    array.buffer.check(&gpu.pool)?;
                    Ok((array.buffer.id, array.offset))
                }
                _ => Err(no_value()),
            })?;
            self.ids.extend([id, offset]);
        }
        // The same buffers and offsets in the same order are the same bind groups: nothing else goes into them. Buffers have ids
        // that are never used again, so a buffer that came later is never taken for one that is gone.
        if let Some(at) = self.bound.iter().position(|b| b.0 == self.ids) {
            let groups = self.bound[at].1.clone();
            if let Some(entry) = self.bound.remove(at) {
                self.bound.push_back(entry);
            }
            return Ok(groups);
        }
        let mut leaves: Vec<(u32, GpuArray)> = Vec::with_capacity(self.leaves.len());
        for &v in &self.leaves {
            leaves.push((v, leaf(graph, v)?));
        }
        let find = |v: u32| leaves.iter().find(|l| l.0 == v).map(|l| &l.1);
        let mut groups = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let mut entries = Vec::with_capacity(step.bindings.len());
            for &(binding, bind) in &step.bindings {
                let (buffer, offset, bytes) = match bind {
                    Bind::Uniform { offset, bytes } => (self.uniforms.as_ref(), offset, bytes),
                    Bind::Args { offset, bytes } => (self.args.as_ref(), offset, bytes),
                    Bind::Faults => (Some(&gpu.faults.buffer), 0, faults::BYTES),
                    Bind::Data { source: Where::Buffer(b), offset, bytes } => {
                        (Some(&buffers[b as usize].raw), offset, bytes)
                    }
                    Bind::Data { source: Where::Leaf(v), offset, bytes } => {
                        let leaf = find(v);
                        (leaf.map(|l| &l.buffer.raw), leaf.map_or(0, |l| l.offset) + offset, bytes)
                    }
                };
                let Some(buffer) = buffer else {
                    return Err(Error::internal("a plan's buffer is missing"));
                };
                entries.push(wgpu::BindGroupEntry {
                    binding,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer,
                        offset,
                        size: std::num::NonZeroU64::new(bytes),
                    }),
                });
            }
            groups.push(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &step.pipeline.layout,
                entries: &entries,
            }));
        }
        let groups = Arc::new(groups);
        let full = |n: usize| n >= MAX_BOUND || n >= 2 && (n as u64 + 1) * self.set_bytes > MAX_BOUND_BYTES;
        while full(self.bound.len()) {
            self.bound.pop_front();
        }
        self.bound.push_back((self.ids.clone(), groups.clone()));
        Ok(groups)
    }

    /// Writes the scalars; queued before the submission that reads them, after those that read the old ones.
    fn write_args(&mut self, gpu: &Gpu, graph: &Pending) {
        let Some(buffer) = &self.args else { return };
        for &(at, entry, word) in &self.arg_words {
            let node = &graph.entries[entry as usize].tensor.0;
            if let Lowering::Scalar(bits) = node.op.gpu(&[], &node.spec) {
                self.arg_values[at as usize] = bits[word as usize];
            }
        }
        gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&self.arg_values));
    }
}

/// Records the next dispatches, each with its estimated seconds, as many as take `most` seconds together; at least one. Gives how
/// many these are.
fn encode<'a>(
    gpu: &Gpu,
    rest: &mut Peekable<impl Iterator<Item = (f32, (&'a PlanStep, &'a wgpu::BindGroup))>>,
    most: f32,
    record: u32,
) -> (wgpu::CommandBuffer, u64) {
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    let mut pass = encoder.begin_compute_pass(&Default::default());
    let mut count = 0;
    for (step, group) in piece(rest, most) {
        step.dispatch(&mut pass, group, record);
        count += 1;
    }
    drop(pass);
    (encoder.finish(), count)
}

/// The buffers that bind groups were made for: so many of the plan's own, then those of leaves, each followed by an offset.
fn buffers_among(ids: &[u64], own: usize) -> impl Iterator<Item = u64> + '_ {
    let (own, leaves) = ids.split_at(own);
    own.iter().chain(leaves.iter().step_by(2)).copied()
}

fn no_value() -> Error {
    Error::internal("a tensor of this device has no value")
}

fn leaf(graph: &Pending, v: u32) -> Result<GpuArray> {
    match graph.entries[v as usize].tensor.0.value() {
        Some(Value::Gpu(array)) => Ok(array),
        _ => Err(no_value()),
    }
}
