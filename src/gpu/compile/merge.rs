//! Small kernels that don't depend on each other become one dispatch.
//!
//! A dispatch costs the host one to two microseconds and the device a start and an end, whatever it computes; a training
//! step has many that compute next to nothing (gradients of biases, second passes of split sums, losses, metrics). Here
//! the schedule is reordered so that such kernels come together, and those that come together are joined: one WGSL module
//! with a function per part, and a `main` that goes by the number of the workgroup. What each part computes, and in which
//! order, stays as it was, to the bit.
//!
//! **Before:** steps in an order in which each follows those that write what it reads. **After:** the same, for the same steps
//! in another order, some of them joined. Three kinds of order are kept ([`Dependencies`]): a read follows the writes before it,
//! a write follows the reads before it, and a write of a temporary follows the writes before it. Buffers are not shared yet, so
//! there are no other conflicts: sharing comes afterwards, by the new order (`assign.rs`).
//!
//! **Why parts may run at once:** a dispatch's parts are taken from those steps that wait for nothing ([`arrange`]). If one of
//! them needed another, it would be waiting.
//!
//! **Why bits stay:** a part is told the number of its workgroup, and how many there are, counted from its own first one; all
//! else that it reads is its own. Names of its module get a mark, bindings other numbers, uniform blocks become members of one.
//!
//! **Why it ends:** every turn takes at least one step that waits for nothing. While steps are left there is one, since they came
//! in an order.
//!
//! Waiting for company keeps values alive for longer. The order that waits longest is taken if it needs no more memory than the
//! order that was given (but for a thirty-second and 256 KiB), else the order that does not wait at all, else the given one.

use super::joined::{Joined, made_of};
use super::kernel::{ARGS_BINDING, WORDS_BINDING};
use super::library::FAULT;
use super::step::{Owner, OwnerMap, Place, Step, Steps, memory_of, resolve};
use super::values::Values;
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::{Turns, fold};
use crate::gpu::source::{BindingKind, KernelSource};
use crate::gpu::wgsl::{Module, Text, UniformDeclaration, rename, renumber};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// Kernels with more workgroups than this are left alone: they fill any device, and a dispatch more costs them nothing.
const MAX_WORKGROUPS: u32 = 512;
/// Longer sources are left alone: joining them would save little and compile long.
const MAX_SOURCE: usize = 8_000;
/// Kernels in one dispatch.
const MAX_PARTS: usize = 8;
/// A text that so many steps of a plan have comes from a loop that was written out; a model has fewer layers of a kind.
const LOOPED: usize = 32;
/// A set that has one of these among its parts must occur so often.
const RECURS: usize = 3;
/// Marks the names of a part.
const MARK: &str = "_wgpart";

/// Which steps wait for which.
struct Dependencies {
    /// Per step, the steps that have to wait for it.
    users: Vec<Vec<usize>>,
    /// Per step, for how many others it waits.
    waits: Vec<usize>,
}

impl Dependencies {
    fn of(values: &Values<'_>, steps: &[Step]) -> Dependencies {
        let mut writers: OwnerMap<Vec<usize>> = OwnerMap::default();
        let mut readers: OwnerMap<Vec<usize>> = OwnerMap::default();
        let mut all = Dependencies { users: vec![Vec::new(); steps.len()], waits: vec![0; steps.len()] };
        for (k, step) in steps.iter().enumerate() {
            let mut before: BTreeSet<usize> = BTreeSet::new();
            for &(_, place) in &step.reads {
                let o = memory_of(values, resolve(values, place).0);
                before.extend(writers.get(&o).into_iter().flatten());
                readers.entry(o).or_default().push(k);
            }
            for &(_, place) in &step.writes {
                let o = memory_of(values, resolve(values, place).0);
                before.extend(readers.get(&o).into_iter().flatten().filter(|&&r| r != k));
                // Parts of what is put together are written once each, in any order; a temporary may be written again (two passes
                // that take turns), and so may what others are written over.
                if !matches!(o, Owner::Value(v) if values.is_copied_to(v)) {
                    before.extend(writers.get(&o).into_iter().flatten().filter(|&&w| w != k));
                }
                writers.entry(o).or_default().push(k);
            }
            all.waits[k] = before.len();
            for b in before {
                all.users[b].push(k);
            }
        }
        all
    }
}

/// What may still go into a dispatch.
struct Room {
    parts: usize,
    storage: usize,
}

impl Room {
    /// Takes the step in, where there is room.
    fn take(&mut self, step: &Step) -> bool {
        let storage = step.reads.len() + step.writes.len() + step.records() as usize;
        if self.parts == 0 || storage > self.storage {
            return false;
        }
        self.parts -= 1;
        self.storage -= storage;
        true
    }
}

/// How long a kernel that can be joined is kept waiting for others.
#[derive(Clone, Copy, PartialEq)]
enum Patience {
    /// Until nothing else can be done.
    Long,
    /// Not at all: those that could follow are done earlier.
    None,
}

/// The dispatches, each with its parts, in an order that respects the dependencies.
fn arrange(
    gpu: &Gpu,
    steps: &[Step],
    dependencies: &Dependencies,
    joinable: &[bool],
    patience: Patience,
) -> Vec<Vec<usize>> {
    let mut waits = dependencies.waits.clone();
    let mut ready: [BTreeSet<usize>; 2] = Default::default(); // those that stay alone, those that can be joined
    for (k, _) in waits.iter().enumerate().filter(|w| *w.1 == 0) {
        ready[joinable[k] as usize].insert(k);
    }
    let mut dispatches = Vec::new();
    loop {
        let (alone, small) = (ready[0].first().copied(), ready[1].first().copied());
        let group: Vec<usize> = match (alone, small) {
            (None, None) => return dispatches,
            (Some(k), None) => vec![k],
            (Some(k), Some(_)) if patience == Patience::Long => vec![k],
            (Some(k), Some(s)) if k < s => vec![k],
            _ => {
                let mut room = Room { parts: MAX_PARTS, storage: gpu.max_storage_buffers };
                ready[1].iter().copied().take_while(|&k| room.take(&steps[k])).collect()
            }
        };
        // A step that alone has more bindings than a joined one may have: it goes alone, or nothing would go.
        let group = if group.is_empty() { small.into_iter().collect() } else { group };
        for &k in &group {
            ready[joinable[k] as usize].remove(&k);
            for &user in &dependencies.users[k] {
                waits[user] -= 1;
                if waits[user] == 0 {
                    ready[joinable[user] as usize].insert(user);
                }
            }
        }
        dispatches.push(group);
    }
}

/// The most bytes that are in use at once.
fn peak_bytes(values: &Values<'_>, schedule: &Steps, dispatches: &[Vec<usize>]) -> u64 {
    let mut lives: OwnerMap<(usize, usize)> = OwnerMap::default();
    for (at, group) in dispatches.iter().enumerate() {
        for step in group.iter().map(|&k| &schedule.steps[k]) {
            for &(_, place) in step.writes.iter().chain(&step.reads) {
                lives.entry(resolve(values, place).0).or_insert((at, at)).1 = at;
            }
        }
    }
    let mut change = vec![0i64; dispatches.len() + 1];
    for (o, (first, last)) in lives {
        let (bytes, end) = match o {
            Owner::Value(v) if values.is_ready(v) => continue,
            Owner::Value(v) if values.graph.entries[v].keep => (storage_bytes(values.spec(v)), None),
            Owner::Value(v) => (storage_bytes(values.spec(v)), Some(last)),
            Owner::Temp(t) => (schedule.temps[t], Some(last)),
            Owner::Home(_) => continue,
        };
        change[first] += bytes as i64;
        if let Some(end) = end {
            change[end + 1] -= bytes as i64;
        }
    }
    let running = change.iter().scan(0, |sum, c| {
        *sum += c;
        Some(*sum)
    });
    running.max().unwrap_or(0) as u64
}

/// Reorders the schedule and joins small kernels, where that costs no memory worth speaking of.
pub(super) fn merge(gpu: &Gpu, values: &Values<'_>, mut schedule: Steps) -> Steps {
    let texts = Texts::of(&schedule.steps);
    let joinable: Vec<bool> = schedule
        .steps
        .iter()
        .zip(&texts.of_step)
        .map(|(step, &t)| small(step) && texts.part(t).is_some())
        .collect();
    if joinable.iter().filter(|&&j| j).count() < 2 {
        return schedule;
    }
    let dependencies = Dependencies::of(values, &schedule.steps);
    let as_it_is: Vec<Vec<usize>> = (0..schedule.steps.len()).map(|k| vec![k]).collect();
    let before = peak_bytes(values, &schedule, &as_it_is);
    let found = [Patience::Long, Patience::None].into_iter().find_map(|patience| {
        let dispatches = arrange(gpu, &schedule.steps, &dependencies, &joinable, patience);
        (peak_bytes(values, &schedule, &dispatches) <= before + before / 32 + (1 << 18)).then_some(dispatches)
    });
    let Some(mut dispatches) = found else { return schedule };
    keep_what_recurs(&texts, &mut dispatches);
    let mut steps: Vec<Option<Step>> = schedule.steps.into_iter().map(Some).collect();
    schedule.steps = Vec::new();
    for group in dispatches {
        let parts: Vec<Step> = group.iter().filter_map(|&k| steps[k].take()).collect();
        if parts.len() == 1 {
            schedule.steps.extend(parts);
            continue;
        }
        // All of them can be parts.
        let modules: Vec<&Module> = group.iter().filter_map(|&k| texts.part(texts.of_step[k])).collect();
        schedule.steps.push(join(gpu, parts, &modules));
    }
    schedule
}

/// The different texts of a schedule. Where a loop was written out, hundreds of steps have few of them: each is counted and read
/// once.
struct Texts {
    /// Per step, the number of its text. Numbers ascend as the texts do, whatever the order of the steps.
    of_step: Vec<usize>,
    /// Per text, how many steps have it.
    counts: Vec<usize>,
    /// Per text, itself.
    texts: Vec<Text>,
}

impl Texts {
    // A text is compared by its letters, which never change.
    #[allow(clippy::mutable_key_type)]
    fn of(steps: &[Step]) -> Texts {
        let mut known: HashMap<&Text, usize> = HashMap::new();
        let mut texts: Vec<&Text> = Vec::new();
        let mut of_step = Vec::with_capacity(steps.len());
        for step in steps {
            of_step.push(*known.entry(&step.source.wgsl).or_insert_with(|| {
                texts.push(&step.source.wgsl);
                texts.len() - 1
            }));
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&t| &**texts[t]);
        let mut rank = vec![0; order.len()];
        order.iter().enumerate().for_each(|(r, &t)| rank[t] = r);
        of_step.iter_mut().for_each(|t| *t = rank[*t]);
        let mut counts = vec![0; order.len()];
        of_step.iter().for_each(|&t| counts[t] += 1);
        let texts = order.iter().map(|&t| texts[t].clone()).collect();
        Texts { of_step, counts, texts }
    }

    /// What a text is as a part of another.
    fn part(&self, text: usize) -> Option<&Module> {
        self.texts[text].part(part)
    }
}

/// Takes sets apart that a loop of another length would not have. Which steps meet where a loop was written out, at its ends, and
/// how many are left of those that go together by eights, depends on the length; only sets that occur again and again are worth
/// a pipeline. Parts are put in the order of their texts, so that a set is the same wherever it occurs.
fn keep_what_recurs(texts: &Texts, dispatches: &mut Vec<Vec<usize>>) {
    let set = |group: &[usize]| -> Vec<usize> { group.iter().map(|&k| texts.of_step[k]).collect() };
    let mut sets: HashMap<Vec<usize>, usize> = HashMap::new();
    for group in dispatches.iter_mut().filter(|group| group.len() > 1) {
        group.sort_by_key(|&k| texts.of_step[k]);
        *sets.entry(set(group)).or_default() += 1;
    }
    let stays = |group: &[usize]| {
        let set = set(group);
        let looped = set.iter().any(|&t| texts.counts[t] >= LOOPED);
        !looped || sets.get(&set).is_none_or(|&n| n >= RECURS)
    };
    let apart = |group: Vec<usize>| match stays(&group) {
        true => vec![group],
        false => group.into_iter().map(|k| vec![k]).collect(),
    };
    *dispatches = std::mem::take(dispatches).into_iter().flat_map(apart).collect();
}

/// Whether the step is small, and has nothing that a part can't have. Kernels from outside, which may take long, stay alone.
fn small(step: &Step) -> bool {
    let [x, y, z] = step.workgroups;
    let one_line = x <= MAX_WORKGROUPS && y == 1 && z == 1;
    one_line
        && !step.source.checked
        && step.source.constants.is_empty()
        && step.windows.is_empty()
        && step.repeated.is_none()
}

/// A kernel's text as a part of another; `None` where it is too large to be worth it, or does something that can't be done in a
/// part: then it stays as it is.
fn part(text: &str) -> Option<Module> {
    // The parts of a joined kernel have one record of faults.
    let text = Module::compact(text).replacen(FAULT, "", 1);
    if text.len() > MAX_SOURCE || text.contains(MARK) {
        return None;
    }
    let module = Module::parse(&text)?;
    let known = module.uniforms.iter().all(|u| [0, ARGS_BINDING, WORDS_BINDING].contains(&u.binding));
    known.then_some(module)
}

/// A uniform block that holds those of all parts, each from a multiple of 16 bytes: what WGSL asks of a structure in a uniform
/// block. `words` is what is uploaded, `members` what the module declares; [`add`](Self::add) keeps them in step.
struct UniformBlock<T> {
    members: String,
    words: Vec<T>,
}

impl<T: Clone> UniformBlock<T> {
    /// `member`: name and type, where the text is wanted.
    fn add(&mut self, member: Option<(String, String)>, words: &[T], padding: T) {
        let size = words.len().next_multiple_of(4).max(4);
        if let Some((name, ty)) = member {
            let _ = writeln!(self.members, "    @align(16) @size({}) {name}: {ty},", 4 * size);
        }
        let end = self.words.len() + size;
        self.words.extend_from_slice(words);
        self.words.resize(end, padding);
    }
}

/// Names of the common blocks.
const BLOCKS: [(&str, u32); 2] = [("part_sizes", 0), ("part_args", ARGS_BINDING)];

/// One step of several; `modules` are their sources.
///
/// It has two uniform blocks, whatever the number of parts: lavapipe (Mesa 22.3) corrupts its memory where a shader's
/// conditions depend on more than four.
fn join(gpu: &Gpu, parts: Vec<Step>, modules: &[&Module]) -> Step {
    static WRITTEN: Mutex<Option<Joined>> = Mutex::new(None);
    let written = || WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = made_of(&parts);
    let texts: Vec<Text> = parts.iter().map(|p| p.source.wgsl.clone()).collect();
    let known = written().as_ref().and_then(|joined| joined.find(&key));
    let unknown = known.is_none();
    let mut sizes: UniformBlock<u32> = UniformBlock { members: String::new(), words: Vec::new() };
    let mut args: UniformBlock<Option<(usize, usize)>> =
        UniformBlock { members: String::new(), words: Vec::new() };
    let vectors = parts.len().div_ceil(4);
    // The workgroups of part k are those from ends[k - 1] on, before ends[k]. They are uniform values and not constants, so that
    // a batch of another size needs no other module.
    let mut ends = vec![0u32; 4 * vectors];
    let mut total = 0;
    for (k, part) in parts.iter().enumerate() {
        total += part.workgroups[0];
        ends[k] = total;
    }
    sizes.add(unknown.then(|| ("ends".into(), format!("array<vec4<u32>, {vectors}>"))), &ends, 0);
    let mut wgsl = String::new();
    let mut body = String::new();
    let mut joined = Step {
        source: KernelSource {
            label: "joined",
            wgsl: "".into(),
            constants: Vec::new(),
            bindings: Vec::new(),
            checked: false,
        },
        tasks: Vec::new(),
        uniform: Vec::new(),
        words: Vec::new(),
        args: Vec::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        workgroups: fold(total as usize, gpu.target.max_workgroups_per_dimension),
        // A workgroup goes through one part; the loops of the others end at once, see `Turns::LIMIT`.
        turns: parts.iter().fold(Turns::NONE, |turns, part| turns.or(part.turns)),
        windows: Vec::new(),
        repeated: None,
    };
    let mut records = false;
    let mut binding = 1;
    let mut start = "0u".to_string();
    for (k, (part, &module)) in parts.into_iter().zip(modules).enumerate() {
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        records |= part.records();
        let own = |b: &&(u32, BindingKind)| b.1 != BindingKind::Uniform && b.0 != FAULTS_BINDING;
        for &(old, kind) in part.source.bindings.iter().filter(own) {
            numbers.insert(old, binding);
            joined.source.bindings.push((binding, kind));
            binding += 1;
        }
        let new = |old: u32| numbers.get(&old).copied();
        let mine = |name: &str| format!("{name}{MARK}{k}");
        let renamed = |list: Vec<(u32, Place)>| list.into_iter().filter_map(|(b, p)| Some((new(b)?, p)));
        joined.reads.extend(renamed(part.reads));
        joined.writes.extend(renamed(part.writes));
        joined.tasks.extend(part.tasks);
        let in_part = |text: &str| {
            rename(text, |word| {
                if let Some(u) = module.uniforms.iter().find(|u| u.name == word) {
                    let block = if u.binding == ARGS_BINDING { BLOCKS[1].0 } else { BLOCKS[0].0 };
                    return Some(format!("{block}.{}", mine(word)));
                }
                module.names.contains(word).then(|| mine(word))
            })
        };
        for UniformDeclaration { binding, name, ty } in &module.uniforms {
            let member = unknown.then(|| (mine(name), in_part(ty)));
            match binding {
                0 => sizes.add(member, &part.uniform, 0),
                &WORDS_BINDING => sizes.add(member, &part.words, 0),
                _ => args.add(member, &part.args, None),
            }
        }
        if !unknown {
            continue;
        }
        wgsl.push_str(&renumber(&in_part(&module.text), new));
        let end = format!("part_sizes.ends[{}u].{}", k / 4, ["x", "y", "z", "w"][k % 4]);
        let arguments: Vec<String> = module
            .parameters
            .iter()
            .map(|&p| match p {
                0 => format!("vec3<u32>(group - {start}, 0u, 0u)"),
                1 => format!("vec3<u32>({end} - {start}, 1u, 1u)"),
                _ => "local".to_string(),
            })
            .collect();
        let _ = writeln!(
            body,
            "    if (group < {end}) {{\n        {}({});\n        return;\n    }}",
            mine("main"),
            arguments.join(", ")
        );
        start = end;
    }
    joined.source.bindings.insert(0, (0, BindingKind::Uniform));
    if records {
        joined.source.bindings.push((FAULTS_BINDING, BindingKind::ReadWrite));
        wgsl.insert_str(0, FAULT);
    }
    if !args.words.is_empty() {
        joined.source.bindings.push((ARGS_BINDING, BindingKind::Uniform));
    }
    joined.uniform = sizes.words;
    joined.args = args.words;
    if let Some(known) = known {
        joined.source.wgsl = known;
        return joined;
    }
    for ((name, binding), members) in BLOCKS.iter().zip([&sizes.members, &args.members]) {
        if !members.is_empty() {
            let _ = write!(
                wgsl,
                "struct PartBlock{binding} {{\n{members}}}\n@group(0) @binding({binding}) var<uniform> {name}: \
                 PartBlock{binding};\n"
            );
        }
    }
    let _ = write!(
        wgsl,
        "@compute @workgroup_size(64)\nfn main(@builtin(workgroup_id) w: vec3<u32>, @builtin(num_workgroups) n: \
         vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n    let group = w.y * n.x + w.x;\n{body}}}\n"
    );
    joined.source.wgsl = wgsl.into();
    written().get_or_insert_default().insert(key, texts, joined.source.wgsl.clone());
    joined
}
