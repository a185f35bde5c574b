//! Kernels of a graph that were written before: where a loop was written out, hundreds are the same but for what they bind.
//!
//! The same means: the same expressions, with the same numbers. What is compared is all that a kernel's fields feed to a hash, by a
//! [`Key`], which keeps it; only which buffers are bound is left out, and their types are put in.

use super::Values;
use super::expr::Bindings;
use super::kernel::{Epilogue, Generated, PointwiseKernel};
use super::reduction::{ReductionKernel, ReductionKernels};
use crate::gpu::kernels::KernelTarget;
use crate::gpu::wgsl::Text;
use crate::ops::key::Key;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// What was written for keys.
struct Known<T> {
    by_key: HashMap<u64, Vec<(Key, T)>>,
    /// The key at hand.
    key: Key,
}

impl<T: Clone> Known<T> {
    fn new() -> Known<T> {
        Known { by_key: HashMap::new(), key: Key::default() }
    }

    /// What was written for a kernel, or is now.
    fn get(
        &mut self,
        values: &Values<'_>,
        kernel: &impl Hash,
        bindings: &Bindings,
        write: impl FnOnce() -> T,
    ) -> T {
        let key = &mut self.key;
        key.clear();
        kernel.hash(key);
        bindings.buffers.iter().for_each(|&b| values.spec(b).dtype.hash(key));
        let list = self.by_key.entry(key.finish()).or_default();
        if let Some(known) = list.iter().find(|k| k.0 == *key) {
            return known.1.clone();
        }
        list.push((key.clone(), write()));
        list[list.len() - 1].1.clone()
    }
}

/// What was written of a graph.
pub(super) struct Written<'t> {
    target: &'t KernelTarget,
    pointwise: Known<Generated>,
    reductions: Known<ReductionKernels>,
    /// Hand-written kernels with their epilogues; first without, for its address to be no other's.
    spliced: Known<(Text, Text, Vec<u32>)>,
}

impl Written<'_> {
    pub fn new(target: &KernelTarget) -> Written<'_> {
        Written { target, pointwise: Known::new(), reductions: Known::new(), spliced: Known::new() }
    }

    pub fn pointwise(&mut self, values: &Values<'_>, code: &PointwiseKernel) -> Generated {
        let target = self.target;
        self.pointwise.get(values, code, &code.bindings, || code.generate(values, target))
    }

    pub fn reduction(&mut self, values: &Values<'_>, code: &ReductionKernel) -> ReductionKernels {
        let target = self.target;
        self.reductions.get(values, code, &code.bindings, || code.generate(values, target))
    }

    /// A hand-written kernel with an epilogue, and the words that this reads.
    pub fn spliced(&mut self, values: &Values<'_>, source: &Text, epilogue: &Epilogue) -> (Text, Vec<u32>) {
        let (_, text, words) =
            self.spliced.get(values, &(source.address(), epilogue), &epilogue.bindings, || {
                let (text, words) = epilogue.splice(values, source);
                (source.clone(), text, words)
            });
        (text, words)
    }
}
