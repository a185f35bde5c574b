//! The steps of a plan: a kernel, where it reads and writes, what it computes.

use super::pace::Cost;
use super::pipeline::Pipeline;
use crate::shape::Shape;
use std::sync::Arc;

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
    pub tasks: Arc<[Task]>,
    /// What it is about to take.
    pub cost: Cost,
    /// Whether it may record a fault.
    pub records: bool,
}

impl PlanStep {
    /// Bytes that it holds; its pipeline is there without it.
    pub fn bytes(&self) -> usize {
        let task = |t: &Task| size_of::<Task>() + t.name.capacity() + t.nodes.capacity() * size_of::<u32>();
        size_of::<PlanStep>()
            + self.bindings.capacity() * size_of::<(u32, Bind)>()
            + self.tasks.iter().map(task).sum::<usize>() / Arc::strong_count(&self.tasks)
    }

    /// Records its dispatch, which notes faults at `record`.
    pub fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, group: &wgpu::BindGroup, record: u32) {
        pass.set_pipeline(&self.pipeline.raw);
        // A dynamic offset tells where the evaluation records faults.
        pass.set_bind_group(0, group, if self.records { std::slice::from_ref(&record) } else { &[] });
        let [x, y, z] = self.workgroups;
        pass.dispatch_workgroups(x, y, z);
    }
}
