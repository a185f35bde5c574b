//! Buffers by lifetime, and the finished plan.
//!
//! Up to here every stored value and every temporary has a buffer of its own ([`Owner`]). Now the order of the dispatches is
//! final, and with it from which step to which each is needed: those whose times don't overlap share one ([`share`]). What is
//! held after the plan has run shares with nothing that comes later; what was there before (a leaf) is bound where it is.

use super::kernel::{ARGS_BINDING, WORDS_BINDING};
use super::merge::merge;
use super::schedule::schedule;
use super::step::{Owner, Place, Step, Steps, locate, resolve};
use super::values::{Constraints, Stored, Values};
use super::windows;
use crate::error::Result;
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::memory::ALIGNMENT;
use crate::gpu::pipeline::Pipelines;
use crate::gpu::plan::{Arguments, Output, Plan};
use crate::gpu::step::{Bind, PlanStep, Where};
use crate::tensor::{Dispatch, Pending};
use std::collections::{HashMap, HashSet};

/// Compiles a graph.
pub(in crate::gpu) fn compile(gpu: &Gpu, pipelines: &Pipelines, graph: &Pending) -> Result<Plan> {
    scheduled(gpu, graph, |values, schedule| assign(gpu, pipelines, values, schedule))
}

/// The dispatches that the graph's plan would have, without making it.
pub(in crate::gpu) fn dissect(gpu: &Gpu, graph: &Pending) -> Result<Vec<Dispatch>> {
    scheduled(gpu, graph, |_, schedule| {
        let dispatch = |step: Step| {
            let names: Vec<&str> = step.tasks.iter().map(|t| t.name.as_str()).collect();
            let name = names.join(" | ");
            Dispatch {
                name,
                grid: step.workgroups,
                nodes: step.tasks.into_iter().flat_map(|t| t.nodes).collect(),
            }
        };
        Ok(schedule.steps.into_iter().map(dispatch).collect())
    })
}

/// Schedules a graph until the schedule stands. Each attempt that does not adds to `constraints`, which can't go on for ever:
/// see `schedule.rs`.
fn scheduled<R>(
    gpu: &Gpu,
    graph: &Pending,
    finish: impl FnOnce(&Values<'_>, Steps) -> Result<R>,
) -> Result<R> {
    let mut constraints = Constraints::default();
    loop {
        let mut values = Values::new(graph, &gpu.target, gpu.max_binding, &constraints)?;
        if let Some(schedule) = schedule(gpu, &mut values, &mut constraints)? {
            return finish(&values, merge(gpu, &values, schedule));
        }
    }
}

/// A buffer before buffers are shared: its size, and when it is needed.
struct Lifetime {
    bytes: u64,
    first: usize,
    last: usize,
    /// Held after the plan has run.
    kept: bool,
}

fn assign(gpu: &Gpu, pipelines: &Pipelines, values: &Values<'_>, schedule: Steps) -> Result<Plan> {
    let mut lifetimes: Vec<Lifetime> = Vec::new();
    let mut lifetime_of: HashMap<Owner, usize> = HashMap::new();
    let bytes_of = |owner: Owner| match owner {
        Owner::Value(v) => storage_bytes(values.spec(v)),
        Owner::Temp(t) => schedule.temps[t].next_multiple_of(16).max(16),
    };
    let is_leaf = |owner: Owner| matches!(owner, Owner::Value(v) if values.is_ready(v));
    for (k, step) in schedule.steps.iter().enumerate() {
        for &(_, place) in step.writes.iter().chain(&step.reads) {
            let (owner, _) = resolve(values, place);
            if is_leaf(owner) {
                continue;
            }
            let lifetime = *lifetime_of.entry(owner).or_insert_with(|| {
                lifetimes.push(Lifetime { bytes: bytes_of(owner), first: k, last: k, kept: false });
                lifetimes.len() - 1
            });
            lifetimes[lifetime].last = k;
        }
    }
    // What is held becomes an output: a leaf's part, or a buffer of its own.
    let mut held = Vec::new();
    for (v, entry) in values.graph.entries.iter().enumerate() {
        if !entry.keep {
            continue;
        }
        let s = locate(values, Stored { value: v, offset: 0 });
        let owner = Owner::Value(s.value);
        if !is_leaf(owner) {
            let lifetime = *lifetime_of.entry(owner).or_insert_with(|| {
                lifetimes.push(Lifetime { bytes: bytes_of(owner), first: 0, last: 0, kept: false });
                lifetimes.len() - 1
            });
            lifetimes[lifetime].kept = true;
        }
        held.push((v, owner, s.offset));
    }
    let (buffers, buffer_of) = share(&lifetimes);
    let find = |owner: Owner| match owner {
        Owner::Value(v) if values.is_ready(v) => Where::Leaf(v as u32),
        _ => Where::Buffer(lifetime_of.get(&owner).map_or(0, |&s| buffer_of[s] as u32)),
    };
    let written = |&v: &usize| values.written[v];
    let changed: HashSet<Owner> = (0..values.len())
        .filter(written)
        .map(|v| resolve(values, Place::Value(Stored { value: v, offset: 0 })).0)
        .collect();
    let outputs = held
        .into_iter()
        .map(|(v, owner, offset)| {
            let changed = changed.contains(&owner);
            Output { entry: v as u32, source: find(owner), offset, changed }
        })
        .collect();
    let mut uniforms: Vec<u8> = Vec::new();
    let mut args: Vec<(u32, u32, u8)> = Vec::new(); // word position, entry, word of the scalar
    let mut args_bytes = 0u64;
    let mut steps = Vec::new();
    let sources: Vec<_> = schedule.steps.iter().map(|s| s.source.clone()).collect();
    let pipelines = pipelines.get(gpu, &sources)?;
    for step in &schedule.steps {
        let named = || step.tasks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(" | ");
        step.turns.check(&gpu.name, step.source.label, named)?;
    }
    for (step, pipeline) in schedule.steps.into_iter().zip(pipelines) {
        let bind = |binding: u32, place: Place| {
            let (owner, offset) = resolve(values, place);
            let source = find(owner);
            match step.windows.iter().find(|w| w.binding == binding) {
                Some(w) => Bind::Data { source, offset: offset + w.offset, bytes: w.bytes },
                None => Bind::Data { source, offset, bytes: windows::bytes(values, &schedule.temps, place) },
            }
        };
        let mut bindings = Vec::new();
        let blocks = [(0, &step.uniform), (WORDS_BINDING, &step.words)];
        for (binding, words) in blocks.into_iter().filter(|b| b.0 == 0 || !b.1.is_empty()) {
            let at = push_uniform(&mut uniforms, words);
            bindings.push((binding, Bind::Uniform { offset: at, bytes: uniforms.len() as u64 - at }));
        }
        bindings.extend(step.reads.iter().chain(&step.writes).map(|&(b, place)| (b, bind(b, place))));
        if step.records() {
            bindings.push((FAULTS_BINDING, Bind::Faults));
        }
        if !step.args.is_empty() {
            let start = args_bytes.next_multiple_of(ALIGNMENT);
            push_args(&mut args, start, &step.args);
            let bytes = (4 * step.args.len() as u64).next_multiple_of(16);
            args_bytes = start + bytes;
            bindings.push((ARGS_BINDING, Bind::Args { offset: start, bytes }));
        }
        let (workgroups, records) = (step.workgroups, step.records());
        steps.push(PlanStep { pipeline, bindings, workgroups, tasks: step.tasks, records });
    }
    let records = |&v: &u32| values.lower[v as usize].records(values.spec(v as usize).dtype);
    let recording = (0..values.len() as u32).filter(records).collect();
    Plan::new(
        gpu,
        steps,
        buffers,
        outputs,
        recording,
        &uniforms,
        Arguments { words: args, bytes: args_bytes },
    )
}

fn push_uniform(uniforms: &mut Vec<u8>, words: &[u32]) -> u64 {
    uniforms.resize(uniforms.len().next_multiple_of(ALIGNMENT as usize), 0);
    let at = uniforms.len();
    uniforms.extend_from_slice(bytemuck::cast_slice(words));
    uniforms.resize(uniforms.len().next_multiple_of(16).max(at + 16), 0);
    at as u64
}

fn push_args(args: &mut Vec<(u32, u32, u8)>, start: u64, words: &[Option<(usize, usize)>]) {
    for (k, (entry, word)) in words.iter().enumerate().filter_map(|(k, w)| Some((k, (*w)?))) {
        args.push(((start / 4) as u32 + k as u32, entry as u32, word as u8));
    }
}

/// Lets values whose lifetimes don't overlap share buffers. Gives the buffers' sizes, and the buffer of each lifetime.
fn share(lifetimes: &[Lifetime]) -> (Vec<u64>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&s| lifetimes[s].first);
    let mut buffers: Vec<u64> = Vec::new();
    // step after which a buffer is free again; never for what is kept
    let mut busy_until: Vec<Option<usize>> = Vec::new();
    let mut buffer_of = vec![0; lifetimes.len()];
    for s in order {
        let lifetime = &lifetimes[s];
        let free = |b: &usize| busy_until[*b].is_some_and(|end| end < lifetime.first);
        // the smallest that is large enough, unless it would waste more than half of it
        let fit = (0..buffers.len())
            .filter(free)
            .filter(|&b| buffers[b] >= lifetime.bytes && buffers[b] / 2 <= lifetime.bytes)
            .min_by_key(|&b| buffers[b]);
        let b = match fit.filter(|_| !lifetime.kept) {
            Some(b) => b,
            None => {
                buffers.push(lifetime.bytes);
                busy_until.push(None);
                buffers.len() - 1
            }
        };
        busy_until[b] = if lifetime.kept { None } else { Some(lifetime.last) };
        buffer_of[s] = b;
    }
    (buffers, buffer_of)
}
