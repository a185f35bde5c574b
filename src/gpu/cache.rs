//! The plans of a device, kept by the structure of the graph that they compute.

use super::compile::compile;
use super::context::Gpu;
use super::pipeline::Pipelines;
use super::plan::Plan;
#[cfg(test)]
use super::step::PlanStep;
use crate::error::{Error, Result};
use crate::ops::key::Key;
use crate::profile::Timings;
use crate::tensor::Pending;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

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
    pub timings: Option<Timings>,
}

struct Cached {
    key: Key,
    used: u64,
    plan: Plan,
}

/// What makes two graphs the same: operations, their parameters, shapes, types, wiring, which values are kept, and which may be
/// written over others.
fn fill_key(graph: &Pending, key: &mut Key) {
    key.clear();
    for entry in &graph.entries {
        let node = &entry.tensor.0;
        let spec = &node.spec;
        let state = (entry.ready as u64) | (entry.keep as u64) << 1;
        let head = state | (spec.dtype as u64) << 2 | (spec.shape.rank() as u64) << 8;
        key.push(head | (entry.inputs.len() as u64) << 16 | (entry.in_place as u64) << 63);
        spec.shape.iter().for_each(|&n| key.push(n as u64));
        if !entry.ready {
            entry.inputs.iter().for_each(|&i| key.push(i as u64));
            node.op.identify(key);
        }
    }
}

/// Computes a graph: replays its plan, or compiles it first. `start`: when the evaluation began, for a profile.
pub(super) fn run(
    gpu: &Gpu,
    pipelines: &Pipelines,
    cache: &mut PlanCache,
    graph: &Pending,
    start: Option<Instant>,
) -> Result<()> {
    let mut key = std::mem::take(&mut cache.scratch);
    fill_key(graph, &mut key);
    let hash = key.finish();
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
            let plan = compile(gpu, pipelines, graph)?;
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
        return Err(Error::internal("a plan was lost"));
    };
    cached.used = clock;
    if let (Some(start), Some(timings)) = (start, &mut cache.timings) {
        timings.planning += start.elapsed();
    }
    let submission = match cached.plan.replay(gpu, graph, cache.timings.as_mut()) {
        Err(Error::OutOfMemory { .. }) => {
            // Once more, when what lies unused has been given back.
            cache.trim(gpu);
            gpu.wait(None)?;
            let Some(cached) = cache.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else {
                return Err(Error::internal("a plan was lost"));
            };
            cached.plan.replay(gpu, graph, cache.timings.as_mut())?
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
        plans.find_map(Plan::any_bound)
    }

    /// Lets go of all memory that nothing uses.
    pub fn trim(&mut self, gpu: &Gpu) {
        for cached in self.plans.values_mut().flatten() {
            cached.plan.forget_bound();
        }
        gpu.pool.clear();
    }

    /// Lets go of bind groups of these buffers, which would keep their memory.
    fn forget_bound(&mut self, gone: &[u64]) {
        if gone.is_empty() {
            return;
        }
        for cached in self.plans.values_mut().flatten() {
            cached.plan.forget_bound_to(gone);
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
