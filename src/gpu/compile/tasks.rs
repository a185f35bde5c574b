//! What a kernel computes, for people who read profiles.

use super::Values;
use crate::gpu::step::Task;
use crate::ops::Lowering;
use crate::tensor::Spec;

/// The largest expression that goes into one kernel.
pub(super) const MAX_EXPRESSIONS: usize = 300;

/// Operations named in full in a task; more are counted.
const MAX_NAMES: usize = 8;

/// What a kernel with these outputs computes, from the `read` buffers of generated code and the operands of a hand-written
/// kernel.
pub(super) fn task(values: &Values<'_>, outputs: &[usize], pass: &str, read: &[usize]) -> Task {
    let mut inside: Vec<usize> = Vec::new();
    let mut stack = outputs.to_vec();
    let mut bytes: usize = outputs.iter().chain(read).map(|&v| values.spec(v).bytes()).sum();
    let mut flops = 0;
    while let Some(v) = stack.pop() {
        let fresh = outputs.contains(&v) || !values.is_stored(v);
        if !fresh || inside.len() > MAX_EXPRESSIONS || inside.contains(&v) {
            continue;
        }
        inside.push(v);
        let inputs = values.inputs(v).iter().map(|&i| i as usize);
        match &values.hand[v] {
            None => stack.extend(inputs),
            Some(hand) => {
                bytes += hand.inputs.iter().map(|i| values.spec(i.value).bytes()).sum::<usize>();
                let specs: Vec<Spec> = inputs.map(|i| *values.spec(i)).collect();
                flops += values.graph.entries[v].tensor.0.op.flops(&specs, values.spec(v));
            }
        }
    }
    inside.sort_unstable();
    let nodes = inside.iter().map(|&v| v as u32).collect();
    // Inputs before users, neighbours of one name counted.
    let mut names: Vec<(&str, usize)> = Vec::new();
    for v in inside {
        if matches!(values.lower[v], Lowering::View(_) | Lowering::Scalar(_) | Lowering::Index(_)) {
            continue;
        }
        let name = values.graph.entries[v].tensor.0.op.name();
        match names.last_mut().filter(|last| last.0 == name) {
            Some(last) => last.1 += 1,
            None => names.push((name, 1)),
        }
    }
    let more = names.len().saturating_sub(MAX_NAMES);
    let counted = |&(name, n): &(&str, usize)| if n == 1 { name.to_string() } else { format!("{n} {name}") };
    let mut name = names.iter().take(MAX_NAMES).map(counted).collect::<Vec<_>>().join(" + ");
    if name.is_empty() {
        name.push_str("fill");
    }
    if more > 0 {
        name.push_str(&format!(" + {more} more"));
    }
    name.push_str(pass);
    Task { name, shape: values.spec(outputs[0]).shape, flops, bytes: bytes as u64, nodes }
}
