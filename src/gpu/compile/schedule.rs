//! The kernels of a plan, in order, before buffers are assigned.
//!
//! **Before:** [`Values`] has decided which values are stored; all others are expressions of whoever uses them. Positions in the
//! graph are an order of computation: what a value is made of has smaller positions.
//!
//! **After:** every stored value that is not there yet is written by exactly one step (of a packed vector every part is; a part
//! of another value is written with that), and each step comes after those that write what it reads. A step that reads one part
//! of a buffer and writes another binds both as what is written. None binds more than the device allows (windows and the record of faults counted in), none computes more
//! than [`MAX_EXPRESSIONS`].
//!
//! **How:** two walks in the order of the graph. The first finds *hosts*: a kernel whose only user is one pointwise root takes
//! that root along, as its epilogue, and runs at the root's position, later than its own. That is never too late: its values go
//! nowhere but into the root. The second walk makes an [`Item`] of every stored value in turn; an expression may instead be
//! taken into an item that is there already ([`join`]), earlier than its own position, if all that it reads is made before that.
//!
//! **Why it ends:** where something can't be had (too many buffers, too large an expression) the attempt gives `None`, and
//! [`Constraints`] hold one more value that is to be stored. That set never shrinks and there are finitely many values; an attempt
//! that can't add to it is an error ([`cut`]).
// Over 500 lines in one file: each decision looks at the same state, which no other file sees.

use super::expr::Bindings;
use super::forms::{Compiled, choose};
use super::kernel::{ARGS_BINDING, EXTRA_BINDING, Epilogue, Generated, PointwiseKernel, WORDS_BINDING};
use super::library::FAULTS;
use super::reduction::ReductionKernel;
use super::step::{Owner, Place, Step, Steps, is_loop, memory_of, placeholder, resolve};
use super::tasks::{MAX_EXPRESSIONS, task};
use super::values::{Constraints, Stored, Users, Values};
use super::windows::{self, further};
use super::written::Written;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::context::Gpu;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::Operand;
use crate::gpu::source::{BindingKind, KernelSource};
use crate::gpu::step::Task;
use crate::gpu::wgsl::Text;
use crate::ops::Lowering;

/// Something that a kernel computes.
enum Item {
    Pointwise {
        outputs: Vec<usize>,
        code: Box<PointwiseKernel>,
    },
    /// A part of a packed vector, or of a concatenation of many, that has to be copied there: the value, and its place.
    Copy {
        from: usize,
        to: Stored,
        code: Box<PointwiseKernel>,
    },
    /// A part of a value, written over what is in memory.
    Write {
        output: usize,
        code: Box<PointwiseKernel>,
    },
    Reduction {
        output: usize,
        code: Box<ReductionKernel>,
    },
    Hand {
        kernel: usize,
        output: usize,
        epilogue: Option<Box<Epilogue>>,
    },
}

/// Schedules the graph; an error in the inner result says what has to be decided otherwise first.
pub(super) fn schedule(
    gpu: &Gpu,
    values: &mut Values<'_>,
    constraints: &mut Constraints,
    compiled: Compiled<'_>,
) -> Result<Option<Steps>> {
    let limit = gpu.max_storage_buffers;
    // First walk: which kernel hosts which root. A root has one host at most (its epilogue has one value coming in), and what
    // finds no root is stored, so that the second walk meets every kernel exactly once: hosted, or stored.
    let mut host_of: Vec<Option<(usize, Box<Epilogue>)>> = (0..values.len()).map(|_| None).collect();
    let mut reduction_of: Vec<Option<Box<ReductionKernel>>> = (0..values.len()).map(|_| None).collect();
    let mut hosted = vec![false; values.len()];
    for k in 0..values.len() {
        if values.is_ready(k) || !values.is_kernel(k) || values.stored[k] {
            continue;
        }
        let Users::One(root) = values.users[k] else { continue };
        let fits = values.is_root(root)
            && host_of[root].is_none()
            && reduction_of[root].is_none()
            && values.spec(root).shape.numel() == values.spec(k).shape.numel()
            && values.spec(root).dtype != DType::U8;
        let fused = fits && {
            match (&values.hand[k], values.spec(root).dtype) {
                (Some(hand), DType::F32) if hand.launches.list.last().is_some_and(|l| l.epilogue) => {
                    let inputs = hand.launches.list.last().map_or(0, |l| l.inputs.len());
                    match Epilogue::new(values, k, root, &Bindings::default()) {
                        Some(e)
                            if inputs + 1 + e.storage() + further(values, &e.bindings.buffers) <= limit =>
                        {
                            host_of[root] = Some((k, Box::new(e)));
                            true
                        }
                        _ => false,
                    }
                }
                (None, _) => match reduction(gpu, values, k, Some(root)) {
                    Some(r) if r.storage() + further(values, &r.bindings.buffers) < limit => {
                        reduction_of[root] = Some(Box::new(r));
                        true
                    }
                    _ => false,
                },
                _ => false,
            }
        };
        if fused {
            hosted[k] = true;
        } else {
            values.stored[k] = true;
        }
    }
    // Nothing is decided about values from here on.
    let values = &*values;
    let mut items: Vec<Item> = Vec::new();
    // which item computes a value
    let mut producer: Vec<Option<usize>> = vec![None; values.len()];
    for v in 0..values.len() {
        if values.is_ready(v) || hosted[v] || values.spec(v).shape.numel() == 0 {
            continue;
        }
        if let Lowering::Pack { offsets } = &values.lower[v] {
            for (i, &at) in offsets.iter().enumerate() {
                let input = values.input(v, i);
                let to = Stored { value: v, offset: 4 * at as u64 };
                // A tensor may be packed twice: it is computed in one place, and copied to the other.
                if values.place[values.base(input)] == Some(to) || values.spec(input).shape.numel() == 0 {
                    continue;
                }
                items.push(Item::Copy {
                    from: input,
                    to,
                    code: Box::new(PointwiseKernel::copy(values, input)),
                });
            }
            producer[v] = items.len().checked_sub(1);
            continue;
        }
        if let Lowering::Assemble { axis } = values.lower[v] {
            let mut start = 0;
            for &input in values.inputs(v) {
                let (input, at) = (input as usize, start);
                start += values.spec(input).shape[axis];
                if values.spec(input).shape.numel() > 0 {
                    let code = PointwiseKernel::copy_into(values, input, v, [axis, at]);
                    let to = Stored { value: v, offset: 0 };
                    items.push(Item::Copy { from: input, to, code: Box::new(code) });
                }
            }
            producer[v] = items.len().checked_sub(1);
            continue;
        }
        if let (true, Lowering::Update { axis }) = (values.written[v], &values.lower[v]) {
            let code = PointwiseKernel::write(values, v, *axis);
            let further = further(values, &code.bindings.buffers) + further(values, &[v]);
            if code.storage() + further >= limit || code.size() > MAX_EXPRESSIONS {
                return cut(gpu, values, constraints, v, limit, code.size());
            }
            items.push(Item::Write { output: v, code: Box::new(code) });
        } else if values.is_kernel(v) && values.stored[v] {
            match &values.lower[v] {
                Lowering::Reduce { .. } => {
                    let Some(code) = reduction(gpu, values, v, None) else {
                        return Err(Error::internal("a reduction could not be compiled"));
                    };
                    let further = further(values, &code.bindings.buffers) + further(values, &[v]);
                    if code.storage() + further >= limit || code.size() > MAX_EXPRESSIONS {
                        return cut(gpu, values, constraints, v, limit, code.size());
                    }
                    items.push(Item::Reduction { output: v, code: Box::new(code) });
                }
                _ => items.push(Item::Hand { kernel: v, output: v, epilogue: None }),
            }
        } else if values.is_root(v) {
            if let Some((kernel, epilogue)) = host_of[v].take() {
                items.push(Item::Hand { kernel, output: v, epilogue: Some(epilogue) });
            } else if let Some(code) = reduction_of[v].take() {
                items.push(Item::Reduction { output: v, code });
            } else {
                let Some(code) = PointwiseKernel::new(values, &[v]) else {
                    return Err(Error::internal("an expression could not be compiled"));
                };
                let further = further(values, &code.bindings.buffers) + further(values, &[v]);
                if code.storage() + further >= limit || code.size() > MAX_EXPRESSIONS {
                    return cut(gpu, values, constraints, v, limit, code.size());
                }
                if let Some(at) = join(values, &mut items, &producer, v, &code, limit) {
                    producer[v] = Some(at);
                    continue;
                }
                items.push(Item::Pointwise { outputs: vec![v], code: Box::new(code) });
            }
        } else {
            continue;
        }
        producer[v] = Some(items.len() - 1);
    }
    let mut out = Steps::default();
    let mut written = Written::new(&gpu.target);
    for item in &items {
        item.steps(values, compiled, &mut written, &mut out);
    }
    for step in out.steps.iter_mut().filter(|step| !is_loop(step)) {
        windows::split(gpu, values, &out.temps, step)?;
        read_writable(values, &step.reads, &step.writes, &mut step.source);
    }
    Ok(Some(out))
}

fn reduction(gpu: &Gpu, values: &Values<'_>, k: usize, root: Option<usize>) -> Option<ReductionKernel> {
    let Lowering::Reduce { kind, axes } = &values.lower[k] else { return None };
    ReductionKernel::new(values, k, root, *kind, axes, &gpu.target)
}

/// Makes the next attempt store something inside an expression that needs too many buffers or is too large.
fn cut(
    gpu: &Gpu,
    values: &Values<'_>,
    constraints: &mut Constraints,
    root: usize,
    limit: usize,
    size: usize,
) -> Result<Option<Steps>> {
    if size <= MAX_EXPRESSIONS
        && let Some(v) = values.cut(root, limit - 2)
        && constraints.stored.insert(v)
    {
        return Ok(None);
    }
    let known = constraints.stored.len();
    constraints.stored.extend(values.split(root, limit - 2, MAX_EXPRESSIONS / 3));
    if constraints.stored.len() == known {
        let spec = values.spec(root);
        let message = format!(
            "an expression of {} {} reads more than a kernel can bind ({limit} bindings of {} bytes); use a smaller batch, or \
             work on parts of the tensor",
            spec.dtype, spec.shape, values.max_binding
        );
        return Err(Error::OutOfMemory { device: gpu.name.clone(), message });
    }
    Ok(None)
}

/// Has parts of a buffer that the kernel reads bound as what it writes is, where it writes other parts of the same buffer: a device
/// allows no other mixture. The parts don't overlap: each value has its own.
fn read_writable(
    values: &Values<'_>,
    reads: &[(u32, Place)],
    writes: &[(u32, Place)],
    source: &mut KernelSource,
) {
    let memory = |place: Place| memory_of(values, resolve(values, place).0);
    let written: Vec<Owner> = writes.iter().map(|w| memory(w.1)).collect();
    for &(binding, place) in reads {
        if written.contains(&memory(place)) {
            let access = |kind: &str| format!("@binding({binding}) var<storage, {kind}>");
            source.wgsl = source.wgsl.replace(&access("read"), &access("read_write")).into();
            let kinds = source.bindings.iter_mut().filter(|b| b.0 == binding);
            kinds.for_each(|b| b.1 = BindingKind::ReadWrite);
        }
    }
}

/// Adds an expression to a kernel over the same elements that is scheduled already, if none of what it reads comes
/// later; gives that kernel's position.
fn join(
    values: &Values<'_>,
    items: &mut [Item],
    producer: &[Option<usize>],
    v: usize,
    alone: &PointwiseKernel,
    limit: usize,
) -> Option<usize> {
    let made_by = |b: usize| {
        let mut b = b;
        while producer[b].is_none()
            && let Some(next) = values.alias[b]
        {
            b = values.base(next.value);
        }
        producer[b]
    };
    let spec = values.spec(v);
    for at in (0..items.len()).rev().take(12) {
        // Everything else that it reads must be there before.
        // Once one item is too early, all before it are.
        let late = alone.bindings.buffers.iter().filter_map(|&b| made_by(b)).any(|p| p > at);
        if late {
            return None;
        }
        let Item::Pointwise { outputs, code } = &mut items[at] else { continue };
        let first = values.spec(outputs[0]);
        if first.shape.numel() != spec.shape.numel() || outputs.len() >= 4 {
            continue;
        }
        let shares =
            alone.bindings.buffers.iter().any(|b| code.bindings.buffers.contains(b) || outputs.contains(b));
        if !shares {
            continue;
        }
        let mut all = outputs.clone();
        all.push(v);
        let Some(joined) = PointwiseKernel::new(values, &all) else { continue };
        let buffers =
            joined.storage() + all.len() + further(values, &joined.bindings.buffers) + further(values, &all);
        let narrower = (code.is_wide() || alone.is_wide()) && !joined.is_wide();
        // A part of what the kernel writes, under another name: only its own invocation's values are there in time.
        let unwritten = joined.bindings.buffers.iter().any(|&b| made_by(b) == Some(at));
        if buffers > limit || narrower || unwritten || joined.size() > MAX_EXPRESSIONS {
            continue;
        }
        *outputs = all;
        **code = joined;
        return Some(at);
    }
    None
}

impl Item {
    fn steps(&self, values: &Values<'_>, compiled: Compiled<'_>, written: &mut Written<'_>, out: &mut Steps) {
        let at = |v: usize| Place::Value(Stored { value: v, offset: 0 });
        match self {
            Item::Pointwise { outputs, code } => {
                let g = written.pointwise(values, code);
                let writes: Vec<Place> = outputs.iter().map(|&o| at(o)).collect();
                let task = task(values, outputs, "", &code.bindings.buffers);
                out.push_generated("pointwise", task, g, &code.bindings, &writes);
            }
            Item::Copy { from, to, code } => {
                let g = written.pointwise(values, code);
                let bytes = 2 * values.spec(*from).bytes() as u64;
                let nodes = vec![to.value as u32];
                let task =
                    Task { name: "copy".into(), shape: values.spec(*from).shape, flops: 0, bytes, nodes };
                out.push_generated("copy", task, g, &code.bindings, &[Place::Value(*to)]);
            }
            Item::Write { output, code } => {
                let g = written.pointwise(values, code);
                let bytes = 2 * values.spec(values.input(*output, 1)).bytes() as u64;
                let task = Task { bytes, ..task(values, &[*output], "", &code.bindings.buffers) };
                out.push_generated("write", task, g, &code.bindings, &[at(*output)]);
            }
            Item::Reduction { output, code } => {
                let kernels = written.reduction(values, code);
                let task = |pass| task(values, &[*output], pass, &code.bindings.buffers);
                let mut further = kernels.further.into_iter().peekable();
                let mut temp = |bytes: usize| {
                    out.temps.push(bytes as u64);
                    Place::Temp(out.temps.len() - 1)
                };
                let Some(&(bytes, _)) = further.peek() else {
                    return out.push_generated(
                        "reduce",
                        task(""),
                        kernels.first,
                        &code.bindings,
                        &[at(*output)],
                    );
                };
                let mut results = temp(bytes);
                let mut steps = Vec::new();
                let first = results;
                while let Some((bytes, kernel)) = further.next() {
                    let mut reads = vec![(1, results)];
                    let mut part = Task { flops: 0, bytes: bytes as u64, ..task(", of the pieces") };
                    let (write, args): (_, &[_]) = match further.peek() {
                        Some(&(next, _)) => {
                            part.nodes.clear();
                            results = temp(next);
                            (results, &[])
                        }
                        None => {
                            let extra = code.combine_loads().into_iter();
                            reads.extend(
                                extra.map(|b| (EXTRA_BINDING + b as u32, at(code.bindings.buffers[b]))),
                            );
                            (at(*output), &code.bindings.args)
                        }
                    };
                    steps.push((part, kernel, reads, write, args));
                }
                let pieces = Task { nodes: Vec::new(), ..task(", in pieces") };
                let own = code.first_bindings();
                out.push_generated("reduce pieces", pieces, kernels.first, &own, &[first]);
                for (part, kernel, reads, write, args) in steps {
                    out.push("reduce", part, kernel, reads, &[(2, write)], args);
                }
            }
            Item::Hand { kernel, output, epilogue } => {
                let Some(hand) = &values.hand[*kernel] else { return };
                if matches!(values.lower[*kernel], Lowering::Loop) {
                    let task = Task { bytes: 0, ..task(values, &[*output], "", &[]) };
                    out.steps.push(placeholder(task, &hand.inputs, at(*output)));
                    return;
                }
                let temps = out.temps.len();
                out.temps.extend(hand.launches.temps.iter().map(|&b| b as u64));
                let count = hand.launches.list.len();
                let extra = epilogue.as_ref().map_or(&[][..], |e| &e.bindings.buffers);
                for (i, launch) in hand.launches.list.iter().enumerate() {
                    let place = |o: &Operand| match *o {
                        Operand::Input(i) => Place::Value(hand.inputs[i]),
                        Operand::Temp(t) => Place::Temp(temps + t),
                        Operand::Output => at(*output),
                    };
                    let mut reads: Vec<(u32, Place)> =
                        launch.inputs.iter().enumerate().map(|(b, o)| (1 + b as u32, place(o))).collect();
                    let write = (1 + reads.len() as u32, place(&launch.output));
                    let epilogue = epilogue.as_ref().filter(|_| i + 1 == count);
                    let mut args = Vec::new();
                    if let Some(e) = epilogue {
                        let extra = e.bindings.buffers.iter().enumerate();
                        reads.extend(extra.map(|(k, &b)| (EXTRA_BINDING + k as u32, at(b))));
                        args = e.bindings.args.clone();
                    }
                    let mut task = task(values, &[*output], "", extra);
                    // `matmul/subgroup`: the operation is in the name already
                    if let Some((_, variant)) = launch.label.split_once('/') {
                        task.name = format!("{} /{variant}", task.name);
                    }
                    if i > 0 {
                        task.flops = 0;
                    }
                    if i + 1 < count {
                        task.nodes.clear();
                    }
                    if count > 1 {
                        task.bytes = 0;
                    }
                    let finish = |text: &std::borrow::Cow<'static, str>| {
                        let text = Text::from(text.clone());
                        let (wgsl, words) = match epilogue {
                            Some(e) => written.spliced(values, &text, e),
                            None => (text, Vec::new()),
                        };
                        let constants = launch.constants.iter().map(|&(n, v)| (n, v.to_bits())).collect();
                        let mut source =
                            source(launch.label, wgsl, constants, &reads, &[write], !args.is_empty());
                        if !words.is_empty() {
                            source.bindings.push((WORDS_BINDING, BindingKind::Uniform));
                        }
                        source.checked = values.graph.entries[*kernel].tensor.0.op.foreign();
                        read_writable(values, &reads, &[write], &mut source);
                        (source, words)
                    };
                    let form = choose(launch, finish, compiled, out);
                    out.steps.push(Step {
                        source: form.source,
                        tasks: vec![task],
                        uniform: form.uniform,
                        words: form.words,
                        args: args.into_iter().map(Some).collect(),
                        reads,
                        writes: vec![write],
                        workgroups: form.workgroups,
                        turns: form.turns,
                        windows: Vec::new(),
                        repeated: None,
                    });
                }
            }
        }
    }
}

fn source(
    label: &'static str,
    wgsl: Text,
    constants: Vec<(&'static str, u64)>,
    reads: &[(u32, Place)],
    writes: &[(u32, Place)],
    args: bool,
) -> KernelSource {
    let mut bindings = vec![(0, BindingKind::Uniform)];
    bindings.extend(reads.iter().map(|&(b, _)| (b, BindingKind::Read)));
    bindings.extend(writes.iter().map(|&(b, _)| (b, BindingKind::ReadWrite)));
    if args {
        bindings.push((ARGS_BINDING, BindingKind::Uniform));
    }
    if wgsl.mentions(FAULTS) {
        bindings.push((FAULTS_BINDING, BindingKind::ReadWrite));
    }
    KernelSource { label, wgsl, constants, bindings, checked: false }
}

impl Steps {
    /// A generated kernel whose buffers are bound in their order, then its outputs.
    fn push_generated(
        &mut self,
        label: &'static str,
        task: Task,
        g: Generated,
        bindings: &Bindings,
        writes: &[Place],
    ) {
        let reads: Vec<(u32, Place)> = bindings
            .buffers
            .iter()
            .enumerate()
            .map(|(k, &b)| (1 + k as u32, Place::Value(Stored { value: b, offset: 0 })))
            .collect();
        let first = 1 + reads.len() as u32;
        let writes: Vec<(u32, Place)> =
            writes.iter().enumerate().map(|(k, &w)| (first + k as u32, w)).collect();
        self.push(label, task, g, reads, &writes, &bindings.args);
    }

    fn push(
        &mut self,
        label: &'static str,
        task: Task,
        g: Generated,
        reads: Vec<(u32, Place)>,
        writes: &[(u32, Place)],
        args: &[(usize, usize)],
    ) {
        self.steps.push(Step {
            source: source(label, g.wgsl, Vec::new(), &reads, writes, !args.is_empty()),
            tasks: vec![task],
            uniform: g.words,
            words: Vec::new(),
            args: args.iter().copied().map(Some).collect(),
            reads,
            writes: writes.to_vec(),
            workgroups: g.workgroups,
            turns: g.turns,
            windows: Vec::new(),
            repeated: None,
        });
    }
}
