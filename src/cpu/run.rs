//! Computing a graph: node after node, those that fuse together.

use super::array::Array;
use super::element::{Element, dispatch};
use super::fuse::{self, Role};
use super::kernels::PARALLEL_WORK;
use super::memory;
use super::turns::{self, Plan, Prepared, Source, Turns};
use crate::error::{Error, Result};
use crate::profile::{KernelCall, Timings};
use crate::shape::{Shape, Spec};
use crate::tensor::{Dispatch, Entry, Loop, Looped, Pending, Tensor, Value};
use crate::threads::on_threads;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One computation at a time: what is pending when a graph is collected stays pending until it is computed. Inside,
/// what is noted while the device is being profiled.
static LOCK: Mutex<Option<Timings>> = Mutex::new(None);

pub(crate) fn start_timing() -> Result<()> {
    let mut timings = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if timings.is_some() {
        return Err(Error::argument("Device::profile", "the CPU is being profiled already"));
    }
    *timings = Some(Timings::default());
    Ok(())
}

pub(crate) fn stop_timing() -> Timings {
    LOCK.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

/// Computes the values of `roots` and of what they need.
pub(crate) fn run(roots: &[&Tensor]) -> Result<()> {
    let mut timings = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = timings.is_some().then(Instant::now);
    let graph = Pending::collect(roots);
    let start = Instant::now();
    if let (Some(timings), Some(begin)) = (&mut *timings, begin) {
        timings.planning += start - begin;
    }
    let work = Work::of(&graph, []);
    let leaf = |entry: &Entry| match entry.tensor.0.value() {
        Some(Value::Cpu(array)) => Some(array),
        _ => None,
    };
    let leaves = graph.entries.iter().map(|e| if e.ready { leaf(e) } else { None }).collect();
    if is_large(&graph) {
        // They take turns at all of it, rather than be asked for each of its kernels.
        let (mut leaves, mut done) = (leaves, Ok(Vec::new()));
        let timings = &mut *timings;
        on_threads(&mut || done = work.run(&graph, std::mem::take(&mut leaves), timings));
        done?;
    } else {
        work.run(&graph, leaves, &mut timings)?;
    }
    // Nodes that were computed together are one operation.
    let computed =
        graph.entries.iter().zip(&work.roles).filter(|(e, role)| !e.ready && **role != Role::Deferred);
    memory::count_run(computed.count(), start.elapsed());
    if let (Some(timings), Some(begin)) = (&mut *timings, begin) {
        timings.evaluations += 1;
        timings.inside += begin.elapsed();
    }
    Ok(())
}

/// Whether threads will share much of a graph.
fn is_large(graph: &Pending) -> bool {
    let mut elements = 0;
    graph.entries.iter().filter(|entry| !entry.ready).any(|entry| {
        elements += entry.tensor.0.spec.shape.numel();
        elements >= PARALLEL_WORK || Looped::of(&*entry.tensor.0.op).is_some()
    })
}

/// How a graph is computed, whatever its leaves are.
struct Work {
    roles: Vec<Role>,
    groups: Vec<fuse::Group>,
    /// Who uses each entry, `results` once more.
    uses: Vec<u32>,
    /// Of a loop: products that are computed by a matrix packed for all turns, and whether by all threads.
    prepared: Vec<Option<Prepared>>,
    parallel: bool,
}

impl Work {
    fn of(graph: &Pending, results: impl IntoIterator<Item = usize>) -> Work {
        let mut uses = count_uses(graph);
        results.into_iter().for_each(|r| uses[r] += 1);
        let (roles, groups) = fuse::groups(graph, &uses);
        Work { roles, groups, uses, prepared: Vec::new(), parallel: true }
    }

    /// Computes a graph from the values of its leaves; what somebody holds gets its value. Gives the values that are left: those of
    /// `results` are.
    fn run(
        &self,
        graph: &Pending,
        leaves: Vec<Option<Array>>,
        timings: &mut Option<Timings>,
    ) -> Result<Vec<Option<Array>>> {
        let mut values = leaves;
        let mut uses = self.uses.clone();
        for (position, entry) in graph.entries.iter().enumerate().filter(|(_, e)| !e.ready) {
            let node = &entry.tensor.0;
            // The last user takes the value, so that its memory is free as early as can be.
            let mut take = |i: usize| {
                uses[i] -= 1;
                if uses[i] == 0 { values[i].take() } else { values[i].clone() }
            };
            let began = timings.is_some().then(Instant::now);
            let computed = match self.roles[position] {
                Role::Deferred => continue,
                Role::Alone => {
                    let mut inputs: Vec<Array> =
                        entry.inputs.iter().filter_map(|&i| take(i as usize)).collect();
                    let array = if let (Some(Some(product)), Some(left)) =
                        (self.prepared.get(position), inputs.first())
                    {
                        product(left, &node.spec, self.parallel)?
                    } else if let Some(looped) = Looped::of(&*node.op) {
                        turns(looped, &inputs, &node.spec)?
                    } else if node.op.overwrites() {
                        // Whatever can fail is done before the first input is let go of.
                        for input in inputs.iter_mut().skip(1) {
                            *input = input.contiguous()?;
                        }
                        release(graph, entry);
                        node.op.cpu_owned(inputs, &node.spec)?
                    } else {
                        node.op.cpu(&inputs, &node.spec)?
                    };
                    vec![(position, array)]
                }
                Role::Last(group) => self.groups[group].run(graph, &self.uses, &mut take)?,
            };
            if let (Some(timings), Some(began)) = (&mut *timings, began) {
                let time = began.elapsed();
                match self.roles[position] {
                    Role::Last(group) => note(timings, graph, &self.groups[group].nodes(), time),
                    _ => note(timings, graph, &[position], time),
                }
            }
            for (position, array) in computed {
                let Entry { tensor, keep, .. } = &graph.entries[position];
                let node = &tensor.0;
                debug_assert_eq!(array.shape, node.spec.shape, "{}", node.op.name());
                debug_assert_eq!(array.dtype(), node.spec.dtype, "{}", node.op.name());
                if *keep {
                    node.set_value(Value::Cpu(array.clone()));
                }
                values[position] = Some(array);
            }
        }
        Ok(values)
    }
}

/// Computes a loop, turn after turn.
fn turns(looped: &Loop, inputs: &[Array], out: &Spec) -> Result<Array> {
    let inputs = inputs.iter().map(Array::contiguous).collect::<Result<Vec<_>>>()?;
    let Plan { turns, parts } = turns::plan(looped, &inputs)?;
    // Where there are more threads than parts, they share products.
    let parallel = parts.len() < rayon::current_num_threads();
    let work = |t: &Turns| {
        let prepared = t.prepared.clone();
        Work { prepared, parallel, ..Work::of(&t.graph, t.results()) }
    };
    let graphs: Vec<(&Turns, Work)> = turns.iter().map(|t| (t, work(t))).collect();
    dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
        let places = turns::places(looped, &turns, &parts, dst)?;
        let mut tasks: Vec<_> = parts.iter().zip(places).collect();
        let run = |((rows, graph), places): &mut (&(Range<usize>, usize), Vec<&mut [T]>)| {
            let (turns, work) = &graphs[*graph];
            run_turns::<T>(looped, &inputs, turns, work, rows.clone(), places)
        };
        // Of several errors always that of the first rows.
        let done: Vec<Result<()>> = tasks.par_iter_mut().with_max_len(1).map(run).collect();
        done.into_iter().collect()
    }))
}

/// Computes a loop for some rows of its batch; `places` are those of its results in the order in which they are computed.
fn run_turns<T: Element>(
    looped: &Loop,
    inputs: &[Array],
    turns: &Turns,
    work: &Work,
    rows: Range<usize>,
    places: &mut [&mut [T]],
) -> Result<()> {
    let missing = || Error::internal("a loop has no such value");
    let Turns { graph, sources, fields, columns, .. } = turns;
    // Rows of the batch at hand, of a contiguous array that begins with its first row.
    let part = |array: &Array, shape: Shape, offset: usize, by_rows: bool| {
        let row = shape.numel() / shape.first().map_or(1, |&rows| rows.max(1));
        let skipped = if by_rows { rows.start * row } else { 0 };
        array.with_layout(shape, shape.strides().map(|s| s as isize), array.offset + offset + skipped)
    };
    let mut places = places.iter_mut();
    let mut keep = |array: &Array| {
        let src = array.slice::<T>()?;
        places.next().ok_or_else(missing)?.copy_from_slice(src);
        Ok::<(), Error>(())
    };
    let spec = |at: usize| graph.entries[at].tensor.0.spec;
    let mut carried: Vec<Array> =
        fields.iter().map(|f| part(&f.first, spec(f.next).shape, 0, true)).collect();
    for turn in 0..looped.turns {
        let row = looped.row(turn);
        let mut values = vec![None; graph.entries.len()];
        for ((value, source), at) in values.iter_mut().zip(sources).zip(0..) {
            let shape = spec(at).shape;
            *value = match source {
                None => continue,
                Some(Source::Constant { array, by_rows: false }) => Some(array.clone()),
                Some(Source::Constant { array, by_rows: true }) => {
                    let first = array.offset.saturating_add_signed(rows.start as isize * array.strides[0]);
                    Some(array.with_layout(shape, array.strides, first))
                }
                &Some(Source::Row { input, offset, stride, by_rows }) => {
                    inputs.get(input).map(|array| part(array, shape, offset + row * stride, by_rows))
                }
                // Nothing else refers to what is read for the last time, so that the next one may be computed in its memory.
                &Some(Source::Carried(field)) => carried.get(field).map(|array| part(array, shape, 0, false)),
            };
        }
        carried.clear();
        let values = work.run(graph, values, &mut None)?;
        let result = |at: usize| values.get(at).and_then(Option::as_ref).ok_or_else(missing)?.contiguous();
        for column in columns {
            keep(&result(column.result)?)?;
        }
        for field in fields {
            carried.push(result(field.next)?);
        }
    }
    for (array, _) in carried.iter().zip(fields).filter(|(_, f)| f.kept.is_some()) {
        keep(array)?;
    }
    Ok(())
}

/// Has a value from before this run, in whose memory an entry is computed, be referred to by nothing but that entry. Only for what
/// is kept: that has its value at once, so if the run fails later, nobody asks for the old one.
fn release(graph: &Pending, entry: &Entry) {
    let first = entry.inputs.first().map(|&i| &graph.entries[i as usize]);
    if let Some(first) = first.filter(|first| entry.in_place && entry.keep && first.ready) {
        first.tensor.0.forget_value();
    }
}

fn count_uses(graph: &Pending) -> Vec<u32> {
    let mut uses = vec![0u32; graph.entries.len()];
    for &i in graph.entries.iter().flat_map(|e| &e.inputs) {
        uses[i as usize] += 1;
    }
    uses
}

/// What `roots` need, as [`run`] would compute it now.
pub(crate) fn collect(roots: &[&Tensor]) -> Pending {
    let _alone = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    Pending::collect(roots)
}

/// The operations that computing a graph takes, those that are computed together as one.
pub(crate) fn dissect(graph: &Pending) -> Vec<Dispatch> {
    let (roles, groups) = fuse::groups(graph, &count_uses(graph));
    let mut dispatches = Vec::new();
    for (position, entry) in graph.entries.iter().enumerate() {
        let nodes = match roles[position] {
            _ if entry.ready => continue,
            Role::Deferred => continue,
            Role::Alone => vec![position],
            Role::Last(group) => groups[group].nodes(),
        };
        let names: Vec<&str> = nodes.iter().map(|&i| graph.entries[i].tensor.0.op.name()).collect();
        let nodes = nodes.iter().map(|&i| i as u32).collect();
        dispatches.push(Dispatch { name: names.join(" + "), grid: [0; 3], nodes });
    }
    dispatches
}

/// Notes how long nodes that were computed together took.
fn note(timings: &mut Timings, graph: &Pending, nodes: &[usize], time: Duration) {
    let spec = |i: usize| graph.entries[i].tensor.0.spec;
    let mut names = Vec::with_capacity(nodes.len());
    let mut read: Vec<usize> = Vec::new();
    let mut flops = 0;
    for &i in nodes {
        let entry = &graph.entries[i];
        let inputs: Vec<Spec> = entry.inputs.iter().map(|&x| spec(x as usize)).collect();
        names.push(entry.tensor.0.op.name());
        flops += entry.tensor.0.op.flops(&inputs, &spec(i));
        read.extend(entry.inputs.iter().map(|&x| x as usize).filter(|x| !nodes.contains(x)));
    }
    read.sort_unstable();
    read.dedup();
    let Some(&last) = nodes.last() else { return };
    // A view reads and writes nothing.
    let copies = time.as_nanos() > 1000;
    let bytes: usize = read.into_iter().chain([last]).map(|i| spec(i).bytes()).sum();
    timings.add(KernelCall {
        name: &names.join(" + "),
        shape: spec(last).shape,
        grid: [0; 3],
        time,
        flops,
        bytes: if copies { bytes as u64 } else { 0 },
    });
}
