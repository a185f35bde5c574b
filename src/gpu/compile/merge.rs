//! Small kernels that don't depend on each other become one dispatch.
//!
//! A dispatch costs the host one to two microseconds and the device a start and an end, whatever it computes; a training
//! step has many that compute next to nothing (gradients of biases, second passes of split sums, losses, metrics). Here
//! the schedule is reordered so that such kernels come together, and those that come together are joined: one WGSL module
//! with a function per part, and a `main` that goes by the number of the workgroup. What each part computes, and in which
//! order, stays as it was, to the bit.

use super::emit::rewrite;
use super::kernel::ARGS_BINDING;
use super::library::FAULT;
use super::step::{Owner, Place, Step, Steps, resolve};
use super::values::Values;
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::faults::FAULTS_BINDING;
use crate::gpu::kernels::{Turns, fold};
use crate::gpu::pipeline::{BindingKind, KernelSource};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;

/// Kernels with more workgroups than this are left alone: they fill any device, and a dispatch more costs them nothing.
const MAX_WORKGROUPS: u32 = 512;
/// Longer sources are left alone: joining them would save little and compile long.
const MAX_SOURCE: usize = 8_000;
/// Kernels in one dispatch.
const MAX_PARTS: usize = 8;
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
        let mut writers: HashMap<Owner, Vec<usize>> = HashMap::new();
        let mut readers: HashMap<Owner, Vec<usize>> = HashMap::new();
        let mut all = Dependencies { users: vec![Vec::new(); steps.len()], waits: vec![0; steps.len()] };
        for (k, step) in steps.iter().enumerate() {
            let mut before: BTreeSet<usize> = BTreeSet::new();
            for &(_, place) in &step.reads {
                let o = resolve(values, place).0;
                before.extend(writers.get(&o).into_iter().flatten());
                readers.entry(o).or_default().push(k);
            }
            for &(_, place) in &step.writes {
                let o = resolve(values, place).0;
                before.extend(readers.get(&o).into_iter().flatten().filter(|&&r| r != k));
                // The parts of a packed vector are written once each, in any order; a temporary may be written again.
                if matches!(o, Owner::Temp(_)) {
                    before.extend(writers.get(&o).into_iter().flatten());
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
        // A step that alone has more bindings than a joined one may have
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
    let mut lives: HashMap<Owner, (usize, usize)> = HashMap::new();
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
    let modules: Vec<Option<PartModule>> = schedule.steps.iter().map(PartModule::of).collect();
    let joinable: Vec<bool> = modules.iter().map(Option::is_some).collect();
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
    let Some(dispatches) = found else { return schedule };
    let mut steps: Vec<Option<Step>> = schedule.steps.into_iter().map(Some).collect();
    schedule.steps = Vec::new();
    for group in dispatches {
        let parts: Vec<Step> = group.iter().filter_map(|&k| steps[k].take()).collect();
        let sources: Vec<&PartModule> = group.iter().filter_map(|&k| modules[k].as_ref()).collect();
        if parts.len() > 1 && sources.len() == parts.len() {
            schedule.steps.push(join(gpu, parts, &sources));
        } else {
            schedule.steps.extend(parts);
        }
    }
    schedule
}

/// A kernel's source taken apart, as far as joining needs it.
struct PartModule {
    /// Without comments and without the entry point's attributes.
    text: String,
    /// Names of module scope.
    names: HashSet<String>,
    /// The entry point's parameters in order, as [`BUILTINS`].
    parameters: Vec<usize>,
    /// The uniform blocks, which become members of common ones.
    uniforms: Vec<Uniform>,
}

/// A uniform block's declaration.
#[derive(Debug, PartialEq)]
struct Uniform {
    binding: u32,
    name: String,
    ty: String,
}

/// What a joined entry point hands on.
const BUILTINS: [&str; 3] = ["workgroup_id", "num_workgroups", "local_invocation_index"];
const ENTRY: [&str; 2] =
    ["@compute @workgroup_size(64)\nfn main(", "@compute @workgroup_size(GROUP)\nfn main("];

impl PartModule {
    /// `None` where the kernel is too large to be worth it, or does something that can't be done in a part: then it stays
    /// as it is.
    fn of(step: &Step) -> Option<PartModule> {
        let source = &step.source;
        let [x, y, z] = step.workgroups;
        let plain = source.constants.is_empty() && step.windows.is_empty();
        if x > MAX_WORKGROUPS || y != 1 || z != 1 || !plain {
            return None;
        }
        let text: String = source
            .wgsl
            .lines()
            .map(|l| l.split_once("//").map_or(l, |(code, _)| code).trim_end())
            .filter(|l| !l.is_empty())
            .flat_map(|l| [l, "\n"])
            .collect();
        // The parts of a joined kernel have one record of faults.
        let text = text.replacen(FAULT, "", 1);
        let unfit = ["workgroup>", "subgroup", "Barrier", "/*", MARK];
        if text.len() > MAX_SOURCE || unfit.iter().any(|w| text.contains(w)) {
            return None;
        }
        let (before, after) = ENTRY.iter().find_map(|entry| text.split_once(entry))?;
        if text.contains("(GROUP)") && !text.contains("const GROUP = 64u;") {
            return None;
        }
        // The parameters, without their attributes.
        let (list, body) = after.split_once(") {")?;
        let mut parameters = Vec::new();
        let mut plain = Vec::new();
        for parameter in list.split(",").map(str::trim).filter(|p| !p.is_empty()) {
            let (builtin, rest) = parameter.strip_prefix("@builtin(")?.split_once(')')?;
            parameters.push(BUILTINS.iter().position(|b| *b == builtin)?);
            plain.push(rest.trim());
        }
        let text = format!("{before}fn main({}) {{{body}", plain.join(", "));
        let (text, uniforms) = take_uniforms(&text)?;
        if !uniforms.iter().all(|u| [0, ARGS_BINDING].contains(&u.binding)) {
            return None;
        }
        let names = module_names(&text)?;
        // A name after a dot is a member, not what is declared in the module.
        let member = |name: &String| {
            text.match_indices(&format!(".{name}")).any(|(at, found)| {
                !text[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            })
        };
        let taken = |name: &String| names.contains(name) || member(name) || declares(&text, name);
        let fits = !names.iter().any(member) && !uniforms.iter().any(|u| taken(&u.name));
        fits.then_some(PartModule { text, names, parameters, uniforms })
    }
}

/// Whether a function has a parameter or a variable of this name.
fn declares(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let whole = !before.ends_with(word) && !after.starts_with(word);
        whole
            && (["let ", "var ", "const "].iter().any(|d| before.ends_with(d))
                || after.trim_start().starts_with(':'))
    })
}

/// Takes the uniform blocks out of a module: what is left, and the blocks.
fn take_uniforms(text: &str) -> Option<(String, Vec<Uniform>)> {
    const MARKER: &str = "var<uniform>";
    let mut left = String::new();
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let Some((attributes, declaration)) = line.split_once(MARKER) else {
            left.push_str(line);
            continue;
        };
        let binding = attributes.trim().strip_prefix("@group(0) @binding(")?.strip_suffix(')')?;
        let (name, ty) = declaration.trim().strip_suffix(';')?.split_once(':')?;
        let binding = binding.trim().parse().ok()?;
        found.push(Uniform { binding, name: name.trim().to_string(), ty: ty.trim().to_string() });
    }
    Some((left, found))
}

/// The names that a module without comments declares; `None` where it holds anything but functions, structures, aliases,
/// constants and variables.
fn module_names(text: &str) -> Option<HashSet<String>> {
    let mut names = HashSet::new();
    let (mut depth, mut rest) = (0usize, text);
    // `true` where a declaration begins
    let mut start = true;
    while let Some(c) = rest.chars().next() {
        let word_end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if word_end == 0 {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.checked_sub(1)?;
                    start |= depth == 0;
                }
                ';' => start |= depth == 0,
                '@' if depth == 0 => {
                    // an attribute and its arguments
                    let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))? + 1;
                    let skip = match rest[end..].starts_with('(') {
                        true => end + rest[end..].find(')')? + 1,
                        false => end,
                    };
                    rest = &rest[skip..];
                    continue;
                }
                _ => {}
            }
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let word = &rest[..word_end];
        rest = &rest[word_end..];
        if depth > 0 || !start {
            continue;
        }
        start = false;
        if word == "var" {
            rest = rest.split_once('>')?.1;
        } else if !["fn", "struct", "alias", "const"].contains(&word) {
            return None;
        }
        let name = rest.trim_start();
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        names.insert(name[..end].to_string());
        rest = &name[end..];
    }
    (depth == 0).then_some(names)
}

/// Replaces the numbers of bindings.
fn renumber(text: &str, number: impl Fn(u32) -> Option<u32>) -> String {
    const BINDING: &str = "@binding(";
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(BINDING) {
        let digits = after.find(')').unwrap_or(0);
        let new = after[..digits].trim().parse().ok().and_then(&number);
        out.push_str(before);
        out.push_str(BINDING);
        match new {
            Some(n) => {
                let _ = write!(out, "{n}");
            }
            None => out.push_str(&after[..digits]),
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

/// A uniform block that holds those of all parts, each from a multiple of 16 bytes.
struct UniformBlock<T> {
    members: String,
    words: Vec<T>,
}

impl<T: Clone> UniformBlock<T> {
    fn add(&mut self, name: &str, ty: &str, words: &[T], padding: T) {
        let size = words.len().next_multiple_of(4).max(4);
        let _ = writeln!(self.members, "    @align(16) @size({}) {name}: {ty},", 4 * size);
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
fn join(gpu: &Gpu, parts: Vec<Step>, modules: &[&PartModule]) -> Step {
    let mut sizes: UniformBlock<u32> = UniformBlock { members: String::new(), words: Vec::new() };
    let mut args: UniformBlock<Option<(usize, usize)>> =
        UniformBlock { members: String::new(), words: Vec::new() };
    let vectors = parts.len().div_ceil(4);
    let mut ends = vec![0u32; 4 * vectors];
    let mut total = 0;
    for (k, part) in parts.iter().enumerate() {
        total += part.workgroups[0];
        ends[k] = total;
    }
    sizes.add("ends", &format!("array<vec4<u32>, {vectors}>"), &ends, 0);
    let mut wgsl = String::new();
    let mut body = String::new();
    let mut joined = Step {
        source: KernelSource {
            label: "joined",
            wgsl: "".into(),
            constants: Vec::new(),
            bindings: Vec::new(),
            checked: parts.iter().any(|p| p.source.checked),
        },
        tasks: Vec::new(),
        uniform: Vec::new(),
        args: Vec::new(),
        reads: Vec::new(),
        writes: Vec::new(),
        workgroups: fold(total as usize, gpu.target.max_workgroups_per_dimension),
        // A workgroup goes through one part; the loops of the others end at once, see `Turns::LIMIT`.
        turns: parts.iter().map(|p| p.turns).max().unwrap_or(Turns::NONE),
        windows: Vec::new(),
    };
    let mut records = false;
    let mut binding = 1;
    let mut start = "0u".to_string();
    for (k, (part, module)) in parts.into_iter().zip(modules).enumerate() {
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
        let rename = |text: &str| {
            rewrite(text, |word| {
                if let Some(u) = module.uniforms.iter().find(|u| u.name == word) {
                    let block = if u.binding == 0 { BLOCKS[0].0 } else { BLOCKS[1].0 };
                    return Some(format!("{block}.{}", mine(word)));
                }
                module.names.contains(word).then(|| mine(word))
            })
        };
        for Uniform { binding, name, ty } in &module.uniforms {
            match binding {
                0 => sizes.add(&mine(name), &rename(ty), &part.uniform, 0),
                _ => args.add(&mine(name), &rename(ty), &part.args, None),
            }
        }
        wgsl.push_str(&renumber(&rename(&module.text), new));
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
    joined.uniform = sizes.words;
    joined.args = args.words;
    joined
}

#[cfg(test)]
mod tests {
    use super::{Uniform, declares, module_names, renumber, take_uniforms};

    fn names(text: &str) -> Option<Vec<String>> {
        module_names(text).map(|set| {
            let mut list: Vec<String> = set.into_iter().collect();
            list.sort();
            list
        })
    }

    #[test]
    fn names_of_a_module() {
        let text = "alias F = vec4<f32>;\nconst N = 4u;\nstruct Sizes {\n    rows: u32,\n}\n\
                    @group(0) @binding(0) var<uniform> sizes: Sizes;\n\
                    @group(0) @binding(1) var<storage, read_write> out: array<F>;\n\
                    fn f(x: u32) -> u32 { var y = x; return y; }\nfn main(local: u32) { out[local] = F(1.0); }\n";
        assert_eq!(names(text).unwrap(), ["F", "N", "Sizes", "f", "main", "out", "sizes"]);
        assert_eq!(names("enable f16;\nfn main() {}\n"), None);
        assert_eq!(names("override A: u32 = 1;\nfn main() {}\n"), None);
        assert_eq!(names("fn main() {}}\n"), None);
    }

    #[test]
    fn bindings_get_new_numbers() {
        let text = "@group(0) @binding(3) var<uniform> a: u32; @group(0) @binding( 16 ) var<uniform> b: u32;";
        let new = renumber(text, |n| Some(n + 1));
        assert_eq!(new, text.replace("(3)", "(4)").replace("( 16 )", "(17)"));
    }

    #[test]
    fn uniform_blocks_are_taken_out() {
        let text = "struct S {\n    n: u32,\n}\n@group(0) @binding(0) var<uniform> sizes: S;\nfn main() {}\n";
        let (left, found) = take_uniforms(text).unwrap();
        assert_eq!(left, "struct S {\n    n: u32,\n}\nfn main() {}\n");
        assert_eq!(found, [Uniform { binding: 0, name: "sizes".into(), ty: "S".into() }]);
        let text = "fn f(sizes: u32) -> u32 { let p = p0.sizes; return p; }";
        assert!(declares(text, "sizes") && declares(text, "p") && !declares(text, "p0"));
        assert_eq!(take_uniforms("@group(1) @binding(0) var<uniform> a: u32;\n"), None);
        assert_eq!(take_uniforms("@group(0) @binding(0) var<uniform> a: u32; fn main() {}\n"), None);
    }
}
