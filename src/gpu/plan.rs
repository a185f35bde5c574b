//! Plans: compiled graphs, kept by the structure of the graph and replayed against pooled buffers.
//!
//! A plan holds no memory but its kernels' sizes. Replaying it takes buffers from the pool, finds the bind groups made for
//! those buffers before (the pool hands out the same ones in a loop that repeats itself), writes the arguments (scalars
//! that change from step to step), and records one pass that is submitted at once.

use super::compile::compile;
use super::faults;
use super::memory::GpuBuffer;
use super::pipeline::Pipeline;
use super::profile;
use super::transfer::settle;
use super::{Gpu, GpuArray};
use crate::error::{Error, Result};
use crate::ops::{Key, Lowering};
use crate::profile::Recorder;
use crate::shape::Shape;
use crate::tensor::{Pending, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// A place that a kernel reads or writes, or that a value is found in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Where {
    /// A value that was computed before: a graph position.
    Leaf(u32),
    /// A buffer of the plan.
    Buffer(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bind {
    Uniform {
        offset: u64,
        bytes: u64,
    },
    Args {
        offset: u64,
        bytes: u64,
    },
    /// The device's record of faults.
    Faults,
    Data {
        source: Where,
        offset: u64,
        bytes: u64,
    },
}

/// What a kernel computes, for people who read profiles.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The operations, inputs before users.
    pub name: String,
    /// Shape of (the first of) what is stored.
    pub shape: Shape,
    /// Floating-point operations of matrix products and convolutions; 0 for all else.
    pub flops: u64,
    /// Bytes that have to be read and written at least; 0 where that is not known.
    pub bytes: u64,
    /// Graph positions of the values that are computed, and of the expressions inside; none for all passes but the last.
    pub nodes: Vec<u32>,
}

pub(super) struct PlanStep {
    pub pipeline: Arc<Pipeline>,
    pub bindings: Vec<(u32, Bind)>,
    pub workgroups: [u32; 3],
    /// What it computes; several where small kernels were joined.
    pub tasks: Vec<Task>,
    /// Whether it may record a fault.
    pub records: bool,
}

impl PlanStep {
    /// The dynamic offsets of its bind group: where the evaluation records faults.
    pub fn offsets<'a>(&self, record: &'a u32) -> &'a [u32] {
        if self.records { std::slice::from_ref(record) } else { &[] }
    }
}

/// A value that somebody holds: where it is after the plan has run.
pub(super) struct Output {
    pub entry: u32,
    pub source: Where,
    pub offset: u64,
}

/// The scalars of a plan: word position, graph position of the scalar, word of the scalar; and the bytes of all.
pub(super) struct Arguments {
    pub words: Vec<(u32, u32, u8)>,
    pub bytes: u64,
}

/// A compiled graph.
pub(crate) struct Plan {
    steps: Vec<PlanStep>,
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
}

/// Sets of bind groups kept for each plan. A loop alternates between two.
const MAX_BOUND: usize = 12;
/// Submissions that may be under way before the host waits for the oldest.
const MAX_IN_FLIGHT: usize = 2;
/// Plans that are kept; beyond, the least recently used goes.
const MAX_PLANS: usize = 512;

/// The plans of a device.
#[derive(Default)]
pub(crate) struct PlanCache {
    plans: HashMap<u64, Vec<Cached>>,
    count: usize,
    clock: u64,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    scratch: Key,
    /// While the device is being profiled.
    pub recorder: Option<Recorder>,
}

struct Cached {
    key: Key,
    used: u64,
    plan: Plan,
}

/// What makes two graphs the same: operations, their parameters, shapes, types, wiring, and which values are kept.
fn fill_key(graph: &Pending, key: &mut Key) {
    key.0.clear();
    for entry in &graph.entries {
        let node = &entry.tensor.0;
        let spec = &node.spec;
        let state = (entry.ready as u64) | (entry.keep as u64) << 1;
        let head = state | (spec.dtype as u64) << 2 | (spec.shape.rank() as u64) << 8;
        key.0.push(head | (entry.inputs.len() as u64) << 16);
        key.0.extend(spec.shape.iter().map(|&n| n as u64));
        if !entry.ready {
            key.0.push(node.op.name().as_ptr() as u64);
            key.0.extend(entry.inputs.iter().map(|&i| i as u64));
            node.op.key(key);
        }
    }
}

fn hash(key: &Key) -> u64 {
    let mix = |h: u64, &w: &u64| (h ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    key.0.iter().fold(key.0.len() as u64, mix)
}

/// Computes a graph: replays its plan, or compiles it first. `start`: when the evaluation began, for a profile.
pub(super) fn run(gpu: &Gpu, cache: &mut PlanCache, graph: &Pending, start: Option<Instant>) -> Result<()> {
    let mut key = std::mem::take(&mut cache.scratch);
    fill_key(graph, &mut key);
    let hash = hash(&key);
    cache.clock += 1;
    let clock = cache.clock;
    let same = |c: &Cached| c.key == key;
    let found = cache.plans.get(&hash).and_then(|list| list.iter().position(same));
    let position = match found {
        Some(position) => {
            gpu.counters.plan_hits.fetch_add(1, Relaxed);
            cache.scratch = key;
            position
        }
        None => {
            gpu.counters.plan_misses.fetch_add(1, Relaxed);
            let plan = compile(gpu, graph)?;
            if cache.count >= MAX_PLANS {
                cache.forget_oldest();
            }
            cache.count += 1;
            let list = cache.plans.entry(hash).or_default();
            list.push(Cached { key, used: clock, plan });
            list.len() - 1
        }
    };
    let Some(cached) = cache.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else {
        return Err(Error::Gpu("a plan was lost".into()));
    };
    cached.used = clock;
    if let (Some(start), Some(recorder)) = (start, &mut cache.recorder) {
        recorder.planning += start.elapsed();
    }
    let submission = match cached.plan.replay(gpu, graph, cache.recorder.as_mut()) {
        Err(Error::OutOfMemory { .. }) => {
            // Once more, when what lies unused has been given back.
            cache.trim(gpu);
            gpu.wait(None)?;
            let Some(cached) = cache.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else {
                return Err(Error::Gpu("a plan was lost".into()));
            };
            cached.plan.replay(gpu, graph, cache.recorder.as_mut())?
        }
        result => result?,
    };
    cache.forget_bound(&gpu.pool.evaluated());
    if let Some(submission) = submission {
        cache.in_flight.push_back(submission);
        if cache.in_flight.len() > MAX_IN_FLIGHT
            && let Some(oldest) = cache.in_flight.pop_front()
        {
            gpu.wait(Some(oldest))?;
        }
    }
    gpu.check()
}

impl PlanCache {
    /// The steps of a plan that has run, and its bind groups.
    #[cfg(test)]
    pub(super) fn any_bound(&self) -> Option<(&[PlanStep], &[wgpu::BindGroup])> {
        let mut plans = self.plans.values().flatten().map(|c| &c.plan);
        plans.find_map(|p| Some((&p.steps[..], &p.bound.back()?.1[..])))
    }

    /// Lets go of all memory that nothing uses.
    pub fn trim(&mut self, gpu: &Gpu) {
        for cached in self.plans.values_mut().flatten() {
            cached.plan.bound.clear();
        }
        gpu.pool.clear();
    }

    /// Lets go of bind groups of these buffers, which would keep their memory.
    fn forget_bound(&mut self, gone: &[u64]) {
        if gone.is_empty() {
            return;
        }
        for cached in self.plans.values_mut().flatten() {
            cached.plan.bound.retain(|(ids, _)| !ids.iter().any(|id| gone.contains(id)));
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.plans.values().flatten().map(|c| c.used).min();
        for list in self.plans.values_mut() {
            list.retain(|c| Some(c.used) != oldest);
        }
        self.plans.retain(|_, list| !list.is_empty());
        self.count = self.plans.values().map(Vec::len).sum();
    }
}

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
        Ok(Plan {
            recording,
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
        })
    }

    /// Records and submits the plan, and hands the values to the nodes. `None` where nothing had to be computed.
    fn replay(
        &mut self,
        gpu: &Gpu,
        graph: &Pending,
        recorder: Option<&mut Recorder>,
    ) -> Result<Option<wgpu::SubmissionIndex>> {
        let begin = recorder.is_some().then(Instant::now);
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
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for (step, group) in self.steps.iter().zip(groups.iter()) {
                    pass.set_pipeline(&step.pipeline.raw);
                    pass.set_bind_group(0, group, step.offsets(&record));
                    let [x, y, z] = step.workgroups;
                    pass.dispatch_workgroups(x, y, z);
                }
            }
            let commands = encoder.finish();
            if let (Some(begin), Some(recorder)) = (begin, recorder) {
                // Recorded as always, to see how long that takes; what runs is recorded kernel by kernel.
                recorder.encoding += begin.elapsed();
                drop(commands);
                profile::run(gpu, &self.steps, &groups, record, recorder)?;
            } else {
                let start = Instant::now();
                submission = Some(gpu.queue.submit([commands]));
                if gpu.target.cpu_adapter {
                    // A software driver runs the kernels on the host's cores, partly inside of this very call.
                    gpu.counters.device_ns.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
                }
                gpu.counters.submits.fetch_add(1, Relaxed);
                gpu.counters.dispatches.fetch_add(self.steps.len() as u64, Relaxed);
            }
        }
        for output in &self.outputs {
            let node = &graph.entries[output.entry as usize].tensor.0;
            let (buffer, start, largest) = match output.source {
                Where::Buffer(b) => (buffers[b as usize].clone(), 0, None),
                Where::Leaf(v) => {
                    let leaf = leaf(graph, v)?;
                    leaf.buffer.check(&gpu.pool)?;
                    (leaf.buffer, leaf.offset, leaf.largest.filter(|_| leaf.dtype == node.spec.dtype))
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
                    return Err(Error::Gpu("a plan's buffer is missing".into()));
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
        if self.bound.len() >= MAX_BOUND {
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

fn no_value() -> Error {
    Error::Gpu("a tensor of this device has no value".into())
}

fn leaf(graph: &Pending, v: u32) -> Result<GpuArray> {
    match graph.entries[v as usize].tensor.0.value() {
        Some(Value::Gpu(array)) => Ok(array),
        _ => Err(no_value()),
    }
}
