//! Loops: the kernels of one turn, found as those of any graph are, and where each turn finds what they read and write.
//!
//! The schedule has one step for a loop, without a kernel. When the order of the steps is final, [`Compiled::of`] compiles the loop's
//! graph for itself and puts what comes out into that step. Kernels bind whole values at offsets that are multiples of what a
//! device asks for; so a turn differs from another in nothing but the offsets of rows and in which of two buffers holds what is
//! handed on. No text and no number of a kernel depends on the turn, nor on how many there are.

use super::forms::Compiled;
use super::lifetimes::{self, Lifetimes, share};
use super::merge::merge;
use super::schedule::schedule;
use super::step::{
    Handed, Home, Owner, OwnerMap, Place, Repeated, Spot, Step, Steps, Window, is_loop, resolve,
};
use super::values::{Constraints, Stored, Values};
use super::windows;
use crate::error::{Error, Result};
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::kernels::{Turns, fold};
use crate::gpu::memory::ALIGNMENT;
use crate::gpu::source::{BindingKind, KernelSource};
use crate::gpu::step::Task;
use crate::tensor::{Leaf, Loop, Looped, Pending};

/// Schedules a graph until the schedule stands, loops and all. Each attempt that does not adds to `constraints`, which can't go on
/// for ever: see `schedule.rs`. What is `together` will be in one buffer.
pub(super) fn scheduled<R>(
    gpu: &Gpu,
    graph: &Pending,
    together: &[usize],
    compiled: Compiled<'_>,
    finish: impl FnOnce(&Values<'_>, Steps) -> Result<R>,
) -> Result<R> {
    let mut constraints = Constraints::default();
    loop {
        let mut values = Values::new(graph, &gpu.target, gpu.max_binding, &constraints, together.to_vec())?;
        if let Some(schedule) = schedule(gpu, &mut values, &mut constraints, compiled)? {
            let steps = with_turns(gpu, &values, compiled, merge(gpu, &values, schedule))?;
            return finish(&values, steps);
        }
    }
}

/// Puts their kernels into the steps that are loops.
fn with_turns(gpu: &Gpu, values: &Values<'_>, compiled: Compiled<'_>, mut schedule: Steps) -> Result<Steps> {
    let mut steps = Vec::with_capacity(schedule.steps.len());
    for mut step in std::mem::take(&mut schedule.steps) {
        let Some(v) = loop_of(&step) else {
            steps.push(step);
            continue;
        };
        let Some(looped) = Looped::of(&*values.graph.entries[v].tensor.0.op) else {
            return Err(Error::internal("a loop without turns"));
        };
        let mut parts = Parts { gpu, v, temps: &mut schedule.temps, written: Vec::new(), ends: Vec::new() };
        let inputs: Vec<Place> = step.reads.iter().map(|r| r.1).collect();
        let together: Vec<usize> = looped.rows.iter().map(|r| r.result).collect();
        let repeated = scheduled(gpu, &looped.graph, &together, compiled, |inner, steps| {
            schedule.stand_ins |= steps.stand_ins;
            parts.turn(looped, &inputs, values.spec(v).dtype.size(), inner, steps)
        })?;
        step.writes.extend(parts.written.iter().map(|&t| (0, Place::Temp(t))));
        for task in &mut step.tasks {
            task.name = format!("scan, {} turns of {} kernels", repeated.turns, repeated.steps.len());
        }
        step.repeated = Some(Box::new(repeated));
        let ends = parts.ends;
        steps.push(step);
        steps.extend(ends);
    }
    schedule.steps = steps;
    Ok(schedule)
}

/// The value that a step's loop computes.
fn loop_of(step: &Step) -> Option<usize> {
    match step.writes.first() {
        Some(&(_, Place::Value(Stored { value, .. }))) if is_loop(step) => Some(value),
        _ => None,
    }
}

/// What is gathered while a loop's step is made.
struct Parts<'p> {
    gpu: &'p Gpu,
    /// The loop's value.
    v: usize,
    /// Temporary buffers of the schedule around the loop.
    temps: &'p mut Vec<u64>,
    /// Those that the loop uses.
    written: Vec<usize>,
    /// Steps that follow the loop.
    ends: Vec<Step>,
}

impl Parts<'_> {
    fn temp(&mut self, bytes: u64) -> Spot {
        self.temps.push(bytes);
        self.written.push(self.temps.len() - 1);
        Spot { place: Place::Temp(self.temps.len() - 1), offset: 0 }
    }

    /// The steps of a turn, taken from those of the loop's graph. `size`: bytes of an element of the output.
    fn turn(
        &mut self,
        looped: &Loop,
        inputs: &[Place],
        size: usize,
        inner: &Values<'_>,
        schedule: Steps,
    ) -> Result<Repeated> {
        let output = Place::Value(Stored { value: self.v, offset: 0 });
        let mut homes: Vec<Home> = Vec::new();
        let mut home_of: OwnerMap<usize> = OwnerMap::default();
        let mut add = |owner: Owner, home: Home| {
            home_of.insert(owner, homes.len());
            homes.push(home);
        };
        let mut carries = Vec::with_capacity(looped.carries.len());
        for carry in &looped.carries {
            let bytes = storage_bytes(inner.spec(carry.next));
            let between = [self.temp(bytes), self.temp(bytes)];
            let handed = Handed { before: Spot { place: inputs[carry.input], offset: 0 }, between };
            add(Owner::Value(carry.next), Home::Next(carries.len()));
            carries.push(handed);
            if carry.kept {
                let last = handed.between[(looped.turns - 1) % 2];
                let to = Spot { place: output, offset: 0 };
                let bytes = inner.spec(carry.next).bytes() as u64;
                self.ends.extend(copies(self.gpu, last.place, to, bytes, self.v));
            }
        }
        for rows in &looped.rows {
            let first = Spot { place: output, offset: (rows.offset * size) as u64 };
            let stride = inner.spec(rows.result).bytes() as u64;
            add(Owner::Value(rows.result), Home::Row { first, stride });
        }
        for (position, leaf) in looped.leaves.iter().enumerate() {
            let size = inner.spec(position).dtype.size() as u64;
            let home = match *leaf {
                Leaf::Whole { input } => Home::Fixed(Spot { place: inputs[input], offset: 0 }),
                Leaf::Row { input, offset, stride } => Home::Row {
                    first: Spot { place: inputs[input], offset: offset as u64 * size },
                    stride: stride as u64 * size,
                },
                Leaf::Carried(c) => Home::Carried(c),
            };
            add(Owner::Value(position), home);
        }
        // What is needed within a turn only.
        let mut lifetimes = Lifetimes::default();
        for (k, step) in schedule.steps.iter().enumerate() {
            for &(_, place) in step.writes.iter().chain(&step.reads) {
                let owner = resolve(inner, place).0;
                if !home_of.contains_key(&owner) {
                    lifetimes.need(owner, k, lifetimes::bytes(inner, &schedule.temps, owner));
                }
            }
        }
        let (buffers, buffer_of) = share(&lifetimes.list);
        let first_buffer = homes.len();
        homes.extend(buffers.into_iter().map(|bytes| Home::Fixed(self.temp(bytes))));
        home_of.extend(lifetimes.of.into_iter().map(|(owner, l)| (owner, first_buffer + buffer_of[l])));
        let at_home = |place: Place| -> Result<Spot> {
            let (owner, offset) = resolve(inner, place);
            let home = home_of.get(&owner).ok_or_else(|| Error::internal("a loop's value has no place"))?;
            Ok(Spot { place: Place::Home(*home), offset })
        };
        let mut steps = Vec::with_capacity(schedule.steps.len());
        for mut step in schedule.steps {
            if !step.args.is_empty() {
                return Err(Error::internal("a loop's kernel reads a number from the host"));
            }
            let mut bound = Vec::with_capacity(step.reads.len() + step.writes.len());
            for (binding, place) in step.reads.iter_mut().chain(&mut step.writes) {
                let home = at_home(*place)?;
                let window = step.windows.iter().find(|w| w.binding == *binding);
                let (offset, bytes) = match window {
                    Some(w) => (w.offset, w.bytes),
                    None => (0, windows::bytes(inner, &schedule.temps, *place)),
                };
                bound.push(Window { binding: *binding, offset: home.offset + offset, bytes });
                *place = home.place;
            }
            step.windows = bound;
            step.tasks.iter_mut().for_each(|task| task.nodes = vec![self.v as u32]);
            if let Some(repeated) = &mut step.repeated {
                repeated.enclose(|spot| {
                    let home = at_home(spot.place)?;
                    Ok(Spot { offset: home.offset + spot.offset, ..home })
                })?;
            }
            steps.push(step);
        }
        Ok(Repeated { turns: looped.turns, reverse: looped.reverse, homes, carries, steps })
    }
}

impl Repeated {
    /// Changes the places around the loop, which is inside another.
    fn enclose(&mut self, change: impl Fn(Spot) -> Result<Spot>) -> Result<()> {
        for home in &mut self.homes {
            match home {
                Home::Fixed(spot) | Home::Row { first: spot, .. } => *spot = change(*spot)?,
                Home::Carried(_) | Home::Next(_) => {}
            }
        }
        for Handed { before, between } in &mut self.carries {
            for spot in between.iter_mut().chain([before]) {
                *spot = change(*spot)?;
            }
        }
        Ok(())
    }
}

/// Copies words.
const COPY: &str = "\
@group(0) @binding(0) var<uniform> sizes: vec4<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) w: vec3<u32>, @builtin(num_workgroups) n: vec3<u32>, @builtin(local_invocation_index) l: u32) {
    let i = (w.y * n.x + w.x) * 64u + l;
    if (i < sizes.x) { y[i] = x[i]; }
}
";

/// The steps that copy so many bytes, as many at once as can be bound.
fn copies(gpu: &Gpu, from: Place, to: Spot, bytes: u64, v: usize) -> Vec<Step> {
    let most = (gpu.max_binding / ALIGNMENT * ALIGNMENT).max(ALIGNMENT);
    let part = |k: u64| {
        let (at, len) = (k * most, most.min(bytes - k * most));
        copy(gpu, Spot { place: from, offset: at }, Spot { offset: to.offset + at, ..to }, len, v)
    };
    (0..bytes.div_ceil(most)).map(part).collect()
}

fn copy(gpu: &Gpu, from: Spot, to: Spot, bytes: u64, v: usize) -> Step {
    let words = (bytes / 4) as usize;
    let shape = crate::shape::Shape::from_dims(&[words]);
    let task =
        Task { name: "scan, what is left".into(), shape, flops: 0, bytes: 2 * bytes, nodes: vec![v as u32] };
    let kinds = [BindingKind::Uniform, BindingKind::Read, BindingKind::ReadWrite];
    let size = bytes.next_multiple_of(16).max(16);
    Step {
        source: KernelSource {
            label: "copy words",
            wgsl: COPY.into(),
            constants: Vec::new(),
            bindings: (0..).zip(kinds).collect(),
            checked: false,
        },
        tasks: vec![task],
        uniform: vec![words as u32, 0, 0, 0],
        words: Vec::new(),
        args: Vec::new(),
        reads: vec![(1, from.place)],
        writes: vec![(2, to.place)],
        workgroups: fold(words.div_ceil(64), gpu.target.max_workgroups_per_dimension),
        turns: Turns::NONE,
        windows: vec![
            Window { binding: 1, offset: from.offset, bytes: size },
            Window { binding: 2, offset: to.offset, bytes: size },
        ],
        repeated: None,
    }
}
