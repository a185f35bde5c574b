//! The plans of a device, kept by the structure of the graph that they compute.

use super::background::{self, Progress};
use super::compile::{compile, wanted};
use super::context::Gpu;
use super::pipeline::Pipelines;
use super::plan::Plan;
#[cfg(test)]
use super::step::PlanStep;
use crate::error::{Error, Result};
use crate::ops::key::Key;
use crate::profile::Timings;
use crate::tensor::Pending;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Submissions that may be under way before the host waits for the oldest.
const MAX_IN_FLIGHT: usize = 2;

/// Plans that are kept, and the bytes that they hold, on the host and on the device together ([`Plan::bytes`] and their keys);
/// beyond, the least recently used goes. A training step's plan holds some 100 KB, that of a few operations less than 10.
const MAX_PLANS: usize = 4096;
const MAX_BYTES: u64 = 64 << 20;

/// Runs of a plan after which better kernels for it are worth compiling.
const OFTEN: u32 = 8;

/// The plans of a device.
#[derive(Default)]
pub(crate) struct PlanCache {
    plans: HashMap<u64, Vec<Cached>>,
    /// The hashes of all plans by when they were used last: the oldest is found without a look at the others.
    order: BTreeMap<u64, u64>,
    /// What all plans hold.
    bytes: u64,
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
    better: Better,
}

/// Whether a better plan for the same graph, with the same bits, is to come.
enum Better {
    No,
    /// Kernels stand in for better ones, which are asked for after so many more runs.
    After(u32),
    Asked(Progress),
}

impl Better {
    fn of(stand_ins: bool) -> Better {
        if stand_ins { Better::After(OFTEN) } else { Better::No }
    }
}

impl Cached {
    fn bytes(&self) -> u64 {
        (size_of::<Cached>() + self.key.bytes()) as u64 + self.plan.bytes()
    }
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
    gpu: &Arc<Gpu>,
    pipelines: &Arc<Pipelines>,
    cache: &mut PlanCache,
    graph: &Pending,
    start: Option<Instant>,
) -> Result<()> {
    let mut key = std::mem::take(&mut cache.scratch);
    fill_key(graph, &mut key);
    let hash = key.finish();
    let found = cache.plans.get(&hash).and_then(|list| list.iter().position(|c| c.key == key));
    let position = match found {
        Some(position) => {
            gpu.counters.plan_hits.fetch_add(1, Relaxed);
            cache.scratch = key;
            cache.improve(gpu, pipelines, graph, hash, position);
            position
        }
        None => {
            gpu.counters.plan_misses.fetch_add(1, Relaxed);
            let (plan, stand_ins) = compile(gpu, pipelines, graph)?;
            // A copy: the key at hand has room for the largest graph so far.
            let position = cache.add(hash, key.clone(), plan, Better::of(stand_ins));
            cache.scratch = key;
            position
        }
    };
    cache.clock += 1;
    let clock = cache.clock;
    let Some(cached) = cache.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else {
        return Err(Error::internal("a plan was lost"));
    };
    cache.order.remove(&cached.used);
    cache.order.insert(clock, hash);
    cached.used = clock;
    if let (Some(start), Some(timings)) = (start, &mut cache.timings) {
        timings.planning += start.elapsed();
    }
    let mut result = cache.replay(gpu, graph, hash, position);
    if matches!(result, Err(Error::OutOfMemory { .. })) {
        // Once more, when what lies unused has been given back.
        cache.trim(gpu);
        result = gpu.wait(None).and_then(|()| cache.replay(gpu, graph, hash, position));
    }
    // Also where it failed: what holds memory is bounded in any case.
    cache.forget_oldest();
    gpu.counters.plans.store(cache.order.len() as u64, Relaxed);
    gpu.counters.plan_bytes.store(cache.bytes, Relaxed);
    cache.forget_bound(gpu, &gpu.pool.evaluated());
    if let Some(submission) = result? {
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

    /// Replays the plan at a place among those of a hash.
    fn replay(
        &mut self,
        gpu: &Gpu,
        graph: &Pending,
        hash: u64,
        position: usize,
    ) -> Result<Option<wgpu::SubmissionIndex>> {
        let Some(cached) = self.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else {
            return Err(Error::internal("a plan was lost"));
        };
        let before = cached.bytes();
        let result = cached.plan.replay(gpu, graph, self.timings.as_mut());
        // Bind groups may have come.
        self.bytes = self.bytes + cached.bytes() - before;
        result
    }

    /// Asks for better kernels where a plan has run often, and exchanges the plan when they are there. Waits for nothing, and what
    /// fails leaves everything as it is.
    fn improve(
        &mut self,
        gpu: &Arc<Gpu>,
        pipelines: &Arc<Pipelines>,
        graph: &Pending,
        hash: u64,
        position: usize,
    ) {
        let Some(cached) = self.plans.get_mut(&hash).and_then(|list| list.get_mut(position)) else { return };
        let outcome = match &mut cached.better {
            Better::No => return,
            Better::After(0) => match wanted(gpu, pipelines, graph) {
                // Others have asked for them before.
                Ok(sources) if sources.is_empty() => Some(true),
                Ok(sources) => {
                    cached.better = Better::Asked(background::compile(gpu, pipelines, sources));
                    return;
                }
                Err(_) => Some(false),
            },
            Better::After(runs) => {
                *runs -= 1;
                return;
            }
            Better::Asked(progress) => progress.outcome(),
        };
        let Some(all) = outcome else { return };
        cached.better = Better::No;
        if all && let Ok((plan, _)) = compile(gpu, pipelines, graph) {
            let before = cached.bytes();
            cached.plan = plan;
            self.bytes = self.bytes + cached.bytes() - before;
        }
    }

    /// Lets go of all memory that nothing uses.
    pub fn trim(&mut self, gpu: &Gpu) {
        for cached in self.plans.values_mut().flatten() {
            cached.plan.forget_bound();
        }
        gpu.pool.clear();
        self.count_bytes(gpu);
    }

    /// Lets go of bind groups of these buffers, which would keep their memory.
    fn forget_bound(&mut self, gpu: &Gpu, gone: &[u64]) {
        if gone.is_empty() {
            return;
        }
        let gone: HashSet<u64> = gone.iter().copied().collect();
        for cached in self.plans.values_mut().flatten() {
            cached.plan.forget_bound_to(&gone);
        }
        self.count_bytes(gpu);
    }

    fn count_bytes(&mut self, gpu: &Gpu) {
        self.bytes = self.plans.values().flatten().map(Cached::bytes).sum();
        gpu.counters.plan_bytes.store(self.bytes, Relaxed);
    }

    /// Adds a plan that is about to be used, and gives its place among those of the same hash.
    fn add(&mut self, hash: u64, key: Key, plan: Plan, better: Better) -> usize {
        let cached = Cached { key, used: 0, plan, better };
        self.bytes += cached.bytes();
        let list = self.plans.entry(hash).or_default();
        list.push(cached);
        list.len() - 1
    }

    /// Forgets the least recently used plans, as far as there are too many or they hold too much; never the latest one.
    fn forget_oldest(&mut self) {
        while self.order.len() > MAX_PLANS || (self.bytes > MAX_BYTES && self.order.len() > 1) {
            let Some((used, hash)) = self.order.pop_first() else { return };
            let Some(list) = self.plans.get_mut(&hash) else { continue };
            for gone in list.extract_if(.., |c| c.used == used) {
                self.bytes -= gone.bytes();
            }
            if list.is_empty() {
                self.plans.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::engine;
    use super::*;
    use crate::{Device, Tensor};

    #[test]
    fn buffers_that_were_freed_are_kept_by_no_bind_group() -> Result<()> {
        let d = Device::Gpu;
        let random = |n: usize| (Tensor::rand([n], d, n as u64)? * 2.0)?.eval();
        let engine = engine(d)?;
        let before = engine.gpu.pool.told().len();
        // Another test may free what lies unused at any time: then once more.
        for _ in 0..10 {
            // From 4 MiB to 28 in turn, 112 in all: more than the pool keeps for long.
            (1..8).try_for_each(|k| random(k << 20))?;
            (0..100).try_for_each(|_| random(64))?;
            if engine.gpu.pool.told().len() > before {
                break;
            }
        }
        let plans = engine.plans();
        let told = engine.gpu.pool.told();
        assert!(told.len() > before, "nothing was freed");
        let mut bound = plans.plans.values().flatten().flat_map(|c| c.plan.bound_buffers());
        assert_eq!(bound.find(|id| told.contains(id)), None);
        let held = plans.plans.values().flatten().map(Cached::bytes).sum::<u64>();
        assert_eq!(plans.bytes, held);
        assert_eq!(plans.order.len(), plans.plans.values().flatten().count());
        Ok(())
    }
}
