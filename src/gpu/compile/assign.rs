//! Buffers by lifetime, and the finished plan.
//!
//! Up to here every stored value and every temporary has a buffer of its own ([`Owner`]). Now the order of the dispatches is
//! final, and with it from which step to which each is needed: those whose times don't overlap share one ([`share`]). What is
//! held after the plan has run shares with nothing that comes later; what was there before (a leaf) is bound where it is.

use super::kernel::{ARGS_BINDING, WORDS_BINDING};
use super::lifetimes::{self, Lifetimes, share};
use super::loops::scheduled;
use super::step::{Owner, Place, Spot, Step, Steps, locate, resolve};
use super::values::{Stored, Values};
use super::windows;
use crate::error::Result;
use crate::gpu::context::Gpu;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::Turns;
use crate::gpu::memory::ALIGNMENT;
use crate::gpu::pace::{Cost, Work};
use crate::gpu::pipeline::{Pipeline, Pipelines};
use crate::gpu::plan::{Arguments, Output, Plan};
use crate::gpu::source::KernelSource;
use crate::gpu::step::{Bind, PlanStep, Task, Where};
use crate::tensor::{Dispatch, Pending};
use std::collections::HashSet;
use std::sync::Arc;

/// Compiles a graph; also tells whether kernels in the plan stand in for better ones that are not compiled ([`wanted`]).
pub(in crate::gpu) fn compile(gpu: &Gpu, pipelines: &Pipelines, graph: &Pending) -> Result<(Plan, bool)> {
    let compiled = |source: &KernelSource| pipelines.has(source);
    scheduled(gpu, graph, &[], &compiled, |values, schedule| {
        let stand_ins = schedule.stand_ins;
        Ok((assign(gpu, pipelines, values, schedule)?, stand_ins))
    })
}

/// The kernels that the graph's plan would best have and that are not compiled.
pub(in crate::gpu) fn wanted(gpu: &Gpu, pipelines: &Pipelines, graph: &Pending) -> Result<Vec<KernelSource>> {
    scheduled(gpu, graph, &[], &|_| true, |_, schedule| {
        let mut kernels = Vec::new();
        list_kernels(&schedule.steps, &mut kernels);
        let sources = kernels.into_iter().map(|step| step.source.clone());
        Ok(sources.filter(|source| !pipelines.has(source)).collect())
    })
}

/// The dispatches that the graph's plan would have, without making it.
pub(in crate::gpu) fn dissect(gpu: &Gpu, graph: &Pending) -> Result<Vec<Dispatch>> {
    scheduled(gpu, graph, &[], &|_| true, |_, schedule| {
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

fn assign(gpu: &Gpu, pipelines: &Pipelines, values: &Values<'_>, schedule: Steps) -> Result<Plan> {
    let mut lifetimes = Lifetimes::default();
    let bytes_of = |owner: Owner| lifetimes::bytes(values, &schedule.temps, owner);
    let is_leaf = |owner: Owner| matches!(owner, Owner::Value(v) if values.is_ready(v));
    for (k, step) in schedule.steps.iter().enumerate() {
        for &(_, place) in step.writes.iter().chain(&step.reads) {
            let (owner, _) = resolve(values, place);
            if !is_leaf(owner) {
                lifetimes.need(owner, k, bytes_of(owner));
            }
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
            lifetimes.need(owner, 0, bytes_of(owner)).kept = true;
        }
        held.push((v, owner, s.offset));
    }
    let (buffers, buffer_of) = share(&lifetimes.list);
    let find = |owner: Owner| match owner {
        Owner::Value(v) if values.is_ready(v) => Where::Leaf(v as u32),
        _ => Where::Buffer(lifetimes.of.get(&owner).map_or(0, |&s| buffer_of[s] as u32)),
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
    let records: Vec<usize> = schedule
        .steps
        .iter()
        .filter(|step| step.repeated.is_some() && step.records())
        .flat_map(|step| step.tasks.iter().flat_map(|t| t.nodes.iter().map(|&n| n as usize)))
        .collect();
    let mut kernels: Vec<&Step> = Vec::new();
    list_kernels(&schedule.steps, &mut kernels);
    let sources: Vec<_> = kernels.iter().map(|s| s.source.clone()).collect();
    let pipelines = pipelines.get(gpu, &sources)?;
    let mut blocks = Blocks::default();
    let bytes = |place: Place| windows::bytes(values, &schedule.temps, place);
    let mut made = Vec::with_capacity(kernels.len());
    for (step, pipeline) in kernels.into_iter().zip(pipelines) {
        let named = || step.tasks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(" | ");
        step.turns.check(&gpu.name, step.source.label, named)?;
        let cost = gpu.pace.cost(work(step, &bytes));
        made.push(Kernel { pipeline, blocks: blocks.of(step), tasks: step.tasks.as_slice().into(), cost });
    }
    let mut steps = Vec::new();
    let spot = |spot: Spot| {
        let (owner, offset) = resolve(values, spot.place);
        (find(owner), offset + spot.offset)
    };
    unroll(&schedule.steps, &made, &spot, &bytes, &mut steps);
    let records = |&v: &u32| {
        let v = v as usize;
        values.lower[v].records(values.spec(v).dtype) || records.contains(&v)
    };
    let recording = (0..values.len() as u32).filter(records).collect();
    let Blocks { uniforms, args, args_bytes } = blocks;
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

/// All kernels of a schedule, those inside of loops once.
fn list_kernels<'s>(steps: &'s [Step], list: &mut Vec<&'s Step>) {
    for step in steps {
        match &step.repeated {
            Some(repeated) => list_kernels(&repeated.steps, list),
            None => list.push(step),
        }
    }
}

/// A kernel as all its dispatches have it.
struct Kernel {
    pipeline: Arc<Pipeline>,
    /// The blocks of numbers that it reads, and the record of faults.
    blocks: Vec<(u32, Bind)>,
    tasks: Arc<[Task]>,
    cost: Cost,
}

/// The least and the most that a dispatch has to do, as far as that is known. `bytes` tells how much of a place is bound where the
/// step does not say so.
fn work(step: &Step, bytes: &dyn Fn(Place) -> u64) -> [Work; 2] {
    // Of most kernels; those with others say how many operations they do.
    const GROUP: u64 = 64;
    // What an invocation loads and stores at a binding in a turn of its loops, at most: four elements of four bytes, a few times.
    const AT_ONCE: u64 = 64;
    let bound = |places: &[(u32, Place)]| -> u64 {
        let window = |binding: u32| step.windows.iter().find(|w| w.binding == binding);
        let bytes = |&(binding, place)| window(binding).map_or_else(|| bytes(place), |w| w.bytes);
        places.iter().map(bytes).sum()
    };
    if let Some(invocations) = step.turns.outside() {
        // It writes its output; at worst each invocation goes through all that there is.
        let (written, read) = (bound(&step.writes), bound(&step.reads));
        let turns = ((written + read) / 4).clamp(1, Turns::LIMIT as u64);
        let least = Work { flops: 0, bytes: written, invocations, turns: 0, longest: 0, uneven: false };
        return [least, Work { bytes: written + read, turns, longest: turns, ..least }];
    }
    let invocations = step.workgroups.iter().map(|&n| u64::from(n)).product::<u64>() * GROUP;
    let (turns, longest) = (step.turns.mean(), step.turns.count());
    let known = step.tasks.iter().all(|t| t.bytes > 0);
    let bytes = match known {
        true => step.tasks.iter().map(|t| t.bytes).sum(),
        false => bound(&step.reads) + bound(&step.writes),
    };
    // Of a large buffer, a small part may be used.
    let at_once = AT_ONCE * (step.reads.len() + step.writes.len()) as u64;
    let used = invocations.saturating_mul(longest.saturating_add(1)).saturating_mul(at_once);
    let flops = step.tasks.iter().map(|t| t.flops).sum();
    let uneven = step.tasks.len() > 1;
    let most = Work { flops, bytes: bytes.min(used), invocations, turns, longest, uneven };
    [Work { longest: turns, ..most }, most]
}

/// The dispatches of steps, turn after turn where one is a loop, from the kernels that [`list_kernels`] has found in them; gives
/// how many kernels these were.
///
/// `spot` tells where a place is, `bytes` how much of it is bound where the step does not say so.
fn unroll(
    steps: &[Step],
    kernels: &[Kernel],
    spot: &dyn Fn(Spot) -> (Where, u64),
    bytes: &dyn Fn(Place) -> u64,
    out: &mut Vec<PlanStep>,
) -> usize {
    let mut at = 0;
    for step in steps {
        if let Some(repeated) = &step.repeated {
            let mut count = 0;
            for turn in 0..repeated.turns {
                let inside = |inner: Spot| match inner.place {
                    Place::Home(home) => {
                        let home = repeated.spot(turn, home);
                        spot(Spot { offset: home.offset + inner.offset, ..home })
                    }
                    _ => spot(inner),
                };
                count = unroll(&repeated.steps, &kernels[at..], &inside, bytes, out);
            }
            at += count;
            continue;
        }
        let kernel = &kernels[at];
        at += 1;
        let bind = |binding: u32, place: Place| {
            let window = step.windows.iter().find(|w| w.binding == binding);
            let (source, offset) = spot(Spot { place, offset: window.map_or(0, |w| w.offset) });
            Bind::Data { source, offset, bytes: window.map_or_else(|| bytes(place), |w| w.bytes) }
        };
        let mut bindings = Vec::with_capacity(kernel.blocks.len() + step.reads.len() + step.writes.len());
        bindings.extend_from_slice(&kernel.blocks);
        bindings.extend(step.reads.iter().chain(&step.writes).map(|&(b, place)| (b, bind(b, place))));
        let (workgroups, records) = (step.workgroups, step.records());
        let (pipeline, tasks) = (kernel.pipeline.clone(), kernel.tasks.clone());
        out.push(PlanStep { pipeline, bindings, workgroups, tasks, cost: kernel.cost, records });
    }
    at
}

/// The numbers that kernels read: sizes, written once, and arguments.
#[derive(Default)]
struct Blocks {
    uniforms: Vec<u8>,
    /// Word position, entry, word of the scalar.
    args: Vec<(u32, u32, u8)>,
    args_bytes: u64,
}

impl Blocks {
    /// Adds the blocks of a kernel.
    fn of(&mut self, step: &Step) -> Vec<(u32, Bind)> {
        let mut bindings = Vec::new();
        let blocks = [(0, &step.uniform), (WORDS_BINDING, &step.words)];
        for (binding, words) in blocks.into_iter().filter(|b| b.0 == 0 || !b.1.is_empty()) {
            let at = push_uniform(&mut self.uniforms, words);
            bindings.push((binding, Bind::Uniform { offset: at, bytes: self.uniforms.len() as u64 - at }));
        }
        if step.records() {
            bindings.push((FAULTS_BINDING, Bind::Faults));
        }
        if !step.args.is_empty() {
            let start = self.args_bytes.next_multiple_of(ALIGNMENT);
            push_args(&mut self.args, start, &step.args);
            let bytes = (4 * step.args.len() as u64).next_multiple_of(16);
            self.args_bytes = start + bytes;
            bindings.push((ARGS_BINDING, Bind::Args { offset: start, bytes }));
        }
        bindings
    }
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
