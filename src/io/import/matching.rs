//! Which layer of a file is which layer of a model.

use super::layout::{Layout, flattened, layouts};
use super::packed;
use super::slots::{Change, Format, Slot, fits, kind_of, slots};
use super::weights::Weights;
use crate::cpu::Array;
use crate::error::{Error, Result};
use crate::nn::{Leaf, Parameter};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A layer of a model with parameters.
pub(super) struct Target<'a> {
    pub leaf: &'a Leaf,
    at: usize,
    pub slots: Vec<Slot>,
}

/// A layer of a file.
struct Source<'a> {
    /// What all its arrays' names begin with.
    path: String,
    /// What the layer is called by its users.
    label: String,
    /// What kind of layer it is, where the file says so.
    kind: Option<&'static str>,
    /// What each array is, its whole name, and itself.
    arrays: Vec<(String, &'a str, &'a Tensor)>,
}

/// The layers of a model with parameters as another framework has them.
///
/// # Errors
///
/// One error that lists all layers that have no counterpart.
pub(super) fn targets<'a>(format: Format, leaves: &'a [Leaf]) -> Result<Vec<Target<'a>>, Vec<String>> {
    let layouts = layouts(leaves);
    let mut problems = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    let input = |leaf: &Leaf| leaf.inputs.first().map_or(&Layout::Plain, |&i| &layouts[i]);
    for (at, leaf) in leaves.iter().enumerate() {
        let first = leaf.again.unwrap_or(at);
        let parameters: &[Parameter] = &leaves[first].parameters;
        if parameters.is_empty() {
            continue;
        }
        match slots(format, leaf, parameters, input(leaf), &layouts[at]) {
            Err(problem) => problems.push(problem),
            Ok(slots) if leaf.again.is_none() => targets.push(Target { leaf, at, slots }),
            Ok(slots) => {
                let before =
                    targets.binary_search_by_key(&first, |t| t.at).ok().map(|place| &targets[place].slots);
                let same = before.is_some_and(|b| b.iter().zip(&slots).all(|(a, b)| a.change == b.change));
                if before.is_some() && !same {
                    problems.push(format!(
                        "{}: it is used twice, on elements that PyTorch has in different orders",
                        leaf.path
                    ));
                }
            }
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(problems) }
}

/// The layers of a file, in its order or in that of the numbers in their names.
fn sources(format: Format, weights: &Weights) -> Vec<Source<'_>> {
    let mut list: Vec<Source> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (name, tensor) in &weights.tensors {
        let (path, way, role) = match format {
            Format::PyTorch => {
                let (path, role) = name.rsplit_once('.').unwrap_or(("", name));
                (path, "", role)
            }
            Format::Keras => {
                let (path, role) = name.rsplit_once(['/', '.']).unwrap_or(("", name));
                let path = path.strip_suffix("/vars").unwrap_or(path);
                // A recurrent layer's weights are in its cell: `lstm/lstm_cell`.
                let path = match path.rsplit_once('/') {
                    Some((layer, "cell" | "lstm_cell" | "gru_cell" | "simple_rnn_cell")) => layer,
                    _ => path,
                };
                let (path, back) = unwrapped(path);
                (path, if back { "backward" } else { "" }, role.strip_suffix(":0").unwrap_or(role))
            }
        };
        let ignored = match format {
            // A counter that nothing is computed with.
            Format::PyTorch => role == "num_batches_tracked",
            // The state of training, and that of random layers.
            Format::Keras => {
                let mut parts = path.split(['/', '.']);
                let training = parts.next().is_some_and(|p| p == "optimizer" || p == "optimizer_weights");
                training
                    || parts.any(|p| p.starts_with("seed_generator"))
                    || role.starts_with("seed_generator")
            }
        };
        if ignored {
            continue;
        }
        let role = if way.is_empty() { role.to_string() } else { format!("{way}_{role}") };
        let entry = (role, name.as_str(), tensor);
        if let Some(&place) = places.get(path) {
            list[place].arrays.push(entry);
            continue;
        }
        places.insert(path, list.len());
        let last = path.rsplit(['/', '.']).next().unwrap_or(path);
        let (label, kind) = match format {
            Format::PyTorch => (path.to_string(), None),
            Format::Keras => (weights.label(path).unwrap_or_else(|| last.to_string()), kind_of(last)),
        };
        list.push(Source { path: path.to_string(), label, kind, arrays: vec![entry] });
    }
    if !weights.ordered {
        list.sort_by_cached_key(|s| parts(&s.path));
    }
    list
}

/// The path of the layer around a layer that goes both ways or over every step, and whether it is the way back.
fn unwrapped(path: &str) -> (&str, bool) {
    let Some((outer, inner)) = path.rsplit_once('/') else { return (path, false) };
    match kind_of(outer.rsplit('/').next().unwrap_or(outer)) {
        Some("Bidirectional") if inner.starts_with("forward_") => (outer, false),
        Some("Bidirectional") if inner.starts_with("backward_") => (outer, true),
        Some("TimeDistributed") => (outer, false),
        _ => (path, false),
    }
}

/// A name's parts as words and numbers: `features.10` comes after `features.9`, `conv2d_1` after `conv2d`.
fn parts(path: &str) -> Vec<(String, Option<u64>)> {
    let part = |part: &str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = part[word.len()..].parse().ok();
        let word = if number.is_some() { word.strip_suffix('_').unwrap_or(word) } else { part };
        (word.to_string(), number)
    };
    path.split(['.', '/']).map(part).collect()
}

/// Whether numbers alone say that `a` comes before `b`.
fn numbered(a: &str, b: &str) -> bool {
    let (a, b) = (parts(a), parts(b));
    let differ = a.iter().zip(&b).find(|(a, b)| a != b);
    differ.is_some_and(|(a, b)| a.0 == b.0)
}

/// What a layer is recognised by: what its arrays are, and their shapes.
fn signature<'a>(kind: Option<&str>, arrays: impl Iterator<Item = (&'a str, crate::shape::Shape)>) -> String {
    let mut list: Vec<String> = arrays.map(|(role, shape)| format!("{role}{shape}")).collect();
    list.sort();
    format!("{} {}", kind.unwrap_or_default(), list.join(" "))
}

impl Target<'_> {
    /// What a file calls the array of a slot; in a file with numbers for names its place.
    fn role(&self, slot: usize, numbers: bool) -> String {
        if !numbers {
            return self.slots[slot].names[0].to_string();
        }
        let half = self.slots.len() / 2;
        match slot.checked_sub(half) {
            Some(back) if self.leaf.kind == "Bidirectional" => format!("backward_{back}"),
            _ => slot.to_string(),
        }
    }

    /// What only layers that could be meant have in common.
    fn family(&self, by_kind: bool) -> String {
        let largest = self.slots.iter().map(|s| s.shape.rank()).max().unwrap_or(0);
        if by_kind { self.leaf.kind.clone() } else { format!("{largest} {}", self.slots.len() > 2) }
    }
}

impl Source<'_> {
    fn numbers(&self) -> bool {
        let number = |role: &str| role.trim_start_matches("backward_").bytes().all(|b| b.is_ascii_digit());
        self.arrays.iter().all(|(role, ..)| number(role))
    }

    fn family(&self, by_kind: bool) -> String {
        let largest = self.arrays.iter().map(|(_, _, t)| t.rank()).max().unwrap_or(0);
        match self.kind {
            Some(kind) if by_kind => kind.to_string(),
            _ => format!("{largest} {}", self.arrays.len() > 2),
        }
    }

    fn signature(&self, by_kind: bool) -> String {
        let kind = self.kind.filter(|_| by_kind);
        // A depthwise kernel alone has another name in Keras 2.
        let alone = !self.arrays.iter().any(|(role, ..)| role == "pointwise_kernel");
        let arrays = self.arrays.iter().map(|(role, _, t)| {
            let old = alone && role == "depthwise_kernel";
            (if old { "kernel" } else { role.as_str() }, t.shape())
        });
        signature(kind, arrays)
    }
}

type Pairs = Vec<(usize, usize)>;

/// Pairs of targets and sources, and for which pairs that isn't certain. Layers of one kind and shape follow each other in the
/// order of the model.
fn by_order(leaves: &[Leaf], targets: &[Target], sources: &[Source], ordered: bool) -> (Pairs, Vec<String>) {
    let by_kind = sources.iter().all(|s| s.kind.is_some());
    let numbers = sources.iter().all(Source::numbers);
    let mut groups: BTreeMap<String, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (i, target) in targets.iter().enumerate() {
        let roles: Vec<String> = (0..target.slots.len()).map(|s| target.role(s, numbers)).collect();
        let arrays = roles.iter().zip(&target.slots).map(|(role, s)| (role.as_str(), s.shape));
        let kind = by_kind.then_some(target.leaf.kind.as_str());
        groups.entry(signature(kind, arrays)).or_default().0.push(i);
    }
    for (i, source) in sources.iter().enumerate() {
        groups.entry(source.signature(by_kind)).or_default().1.push(i);
    }
    let mut pairs = Vec::new();
    let mut unsure = Vec::new();
    let mut left: (Vec<usize>, Vec<usize>) = Default::default();
    for (ours, theirs) in groups.values() {
        pairs.extend(ours.iter().copied().zip(theirs.iter().copied()));
        left.0.extend(ours.iter().skip(theirs.len()));
        left.1.extend(theirs.iter().skip(ours.len()));
        let chain = ours.windows(2).all(|w| reaches(leaves, targets[w[1]].at, targets[w[0]].at));
        let told = ordered || theirs.windows(2).all(|w| numbered(&sources[w[0]].path, &sources[w[1]].path));
        if !chain || !told {
            let names = |list: Vec<&str>| list.join(", ");
            unsure.push(format!(
                "{} could be any of the file's {}: their shapes are equal and {}",
                names(ours.iter().map(|&i| targets[i].leaf.path.as_str()).collect()),
                names(theirs.iter().map(|&i| sources[i].path.as_str()).collect()),
                if chain {
                    "the file's names don't say which comes first"
                } else {
                    "they stand side by side"
                }
            ));
        }
    }
    // What doesn't fit exactly is compared with the next of its family, so that the error says how it differs.
    left.0.sort_unstable();
    left.1.sort_unstable();
    let mut families: HashMap<String, VecDeque<usize>> = HashMap::new();
    for &j in &left.1 {
        families.entry(sources[j].family(by_kind)).or_default().push_back(j);
    }
    let mut differing = Vec::new();
    for &i in &left.0 {
        let family = families.get_mut(&targets[i].family(by_kind));
        if let Some(j) = family.and_then(VecDeque::pop_front) {
            differing.push((i, j));
        }
    }
    for &(i, j) in &differing {
        unsure.push(format!("{} may be the file's {}", targets[i].leaf.path, sources[j].path));
    }
    pairs.extend(differing);
    (pairs, unsure)
}

/// Whether `to` is computed from `from`.
fn reaches(leaves: &[Leaf], to: usize, from: usize) -> bool {
    // Only what lies between them: long models have many such pairs.
    let mut found = vec![false; to - from + 1];
    found[to - from] = true;
    for i in (from..=to).rev() {
        if found[i - from] {
            leaves[i].inputs.iter().filter(|&&x| x >= from).for_each(|&x| found[x - from] = true);
        }
    }
    found[0]
}

/// The values of parameters that are no layer's, each that of the array with its name, and the other arrays.
pub(super) fn by_name(
    own: Vec<Parameter>,
    weights: &Weights,
    rename: Option<&dyn Fn(&str) -> String>,
) -> Result<(Vec<(Parameter, Array)>, Weights)> {
    let mut rest = weights.clone();
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for parameter in own {
        let (within, name) = parameter.name.rsplit_once('.').unwrap_or(("", &parameter.name));
        let within = rename.map_or_else(|| within.to_string(), |rename| rename(within));
        let wanted = if within.is_empty() { name.to_string() } else { format!("{within}.{name}") };
        let value = parameter.variable.value();
        let place = rest.tensors.iter().position(|(stored, _)| stored.replace('/', ".") == wanted);
        match place.map(|place| rest.tensors.remove(place).1) {
            Some(found) if found.shape() == value.shape() && fits(found.dtype(), value.dtype()) => {
                let array = Change::default().import(&found, &value)?;
                values.push((parameter, array));
            }
            Some(found) => problems.push(format!(
                "{} is {} {}; the file's {wanted} is {} {}",
                parameter.name,
                value.dtype(),
                value.shape(),
                found.dtype(),
                found.shape()
            )),
            None => problems.push(format!("{} {}: the file has no {wanted}", parameter.name, value.shape())),
        }
    }
    if problems.is_empty() { Ok((values, rest)) } else { Err(differences(weights, &problems)) }
}

/// That no layer with a vector for its input, of which nobody knows where it is from, may be given an image of another that was
/// flattened on the way.
pub(super) fn refuse_flattened(leaves: &[Leaf], weights: &Weights) -> Result<()> {
    let mut problems = Vec::new();
    for (at, input) in leaves.iter().enumerate() {
        if input.kind != "Input" || input.output.rank() != 1 {
            continue;
        }
        // What is computed from the input itself is in its own model, which says how.
        let same = |&(i, leaf): &(usize, &Leaf)| {
            flattened(leaf.output).is_some_and(|order| Some(order.len()) == input.output[0])
                && (i < at || !reaches(leaves, i, at))
        };
        if let Some((_, image)) = leaves.iter().enumerate().find(same) {
            problems.push(format!(
                "{0} reads {1}, as many numbers as the image {2} of {3}. If it reads that one flattened, put Flatten and it into one \
                 Sequential: PyTorch has them in another order. If not, import it alone, by Weights::under and import_into",
                input.path.trim_end_matches(".input"),
                input.output,
                image.output,
                image.path
            ));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(differences(weights, &problems)) }
}

/// That file and model differ.
fn differences(weights: &Weights, problems: &[String]) -> Error {
    let n = problems.len();
    let s = if n == 1 { "" } else { "s" };
    let message = format!("does not fit the model; {n} difference{s}:\n  {}", problems.join("\n  "));
    Error::data(&weights.source, message)
}

/// The value of every parameter of these layers, of its own shape and type, on the CPU.
pub(super) fn values(
    leaves: &[Leaf],
    weights: &Weights,
    format: Format,
    rename: Option<&dyn Fn(&str) -> String>,
) -> Result<Vec<(Parameter, Array)>> {
    let fail = |problems: Vec<String>| differences(weights, &problems);
    let targets = targets(format, leaves).map_err(fail)?;
    let apart = match format {
        Format::PyTorch => packed::apart(weights)?,
        Format::Keras => weights.clone(),
    };
    let weights = &apart;
    let sources = sources(format, weights);
    let (mut problems, mut unsure) = (Vec::new(), Vec::new());
    let labels: BTreeSet<&str> = sources.iter().map(|s| s.label.as_str()).collect();
    let paths: BTreeSet<&str> = targets.iter().map(|t| t.leaf.path.as_str()).collect();
    // The first of a name counts.
    let mut by_label: HashMap<&str, usize> = HashMap::new();
    let mut by_path: HashMap<&str, usize> = HashMap::new();
    for (j, source) in sources.iter().enumerate() {
        by_label.entry(&source.label).or_insert(j);
        by_path.entry(&source.path).or_insert(j);
    }
    let pairs: Pairs = if let Some(rename) = rename {
        let mut pairs = Vec::new();
        for (i, target) in targets.iter().enumerate() {
            let wanted = rename(&target.leaf.path);
            let found = by_path.get(wanted.as_str()).into_iter().chain(by_label.get(wanted.as_str())).min();
            match found {
                Some(&j) => pairs.push((i, j)),
                None => problems.push(format!("{}: the file has no layer {wanted:?}", target.leaf.path)),
            }
        }
        pairs
    } else if labels == paths && labels.len() == sources.len() {
        let find = |path: &str| by_label.get(path).copied();
        targets.iter().enumerate().filter_map(|(i, t)| Some((i, find(&t.leaf.path)?))).collect()
    } else {
        let (pairs, doubts) = by_order(leaves, &targets, &sources, weights.ordered);
        unsure = doubts;
        pairs
    };
    let chosen: HashMap<usize, usize> = pairs.into_iter().collect();
    let mut values = Vec::new();
    let mut used = BTreeSet::new();
    for (i, target) in targets.iter().enumerate() {
        let source = chosen.get(&i).map(|&j| &sources[j]);
        for (place, slot) in target.slots.iter().enumerate() {
            let name = packed::joined(&target.leaf.path, &slot.parameter.name);
            let value = slot.parameter.variable.value();
            let Some(source) = source else {
                // A name that was asked for and isn't there has been listed already.
                if rename.is_none() {
                    problems.push(format!("{name} {} is not in the file", value.shape()));
                }
                continue;
            };
            let numbers = source.numbers();
            let found = source.arrays.iter().find(|(role, ..)| {
                if numbers { *role == target.role(place, true) } else { slot.names.contains(&role.as_str()) }
            });
            let Some((_, stored, tensor)) = found else {
                problems.push(format!(
                    "{name} {} is not in the file, whose layer {} has {}",
                    value.shape(),
                    source.path,
                    source
                        .arrays
                        .iter()
                        .map(|(r, _, t)| format!("{r} {}", t.shape()))
                        .collect::<Vec<_>>()
                        .join(", ")
                ));
                continue;
            };
            used.insert(*stored);
            if tensor.shape() != slot.shape {
                let other = if slot.shape == value.shape() {
                    String::new()
                } else {
                    format!(", which is {} there", slot.shape)
                };
                problems.push(format!(
                    "{name} is {}{other}; the file's {stored} is {}",
                    value.shape(),
                    tensor.shape()
                ));
            } else if !fits(tensor.dtype(), value.dtype()) {
                problems.push(format!(
                    "{name} is {}; the file's {stored} is {}",
                    value.dtype(),
                    tensor.dtype()
                ));
            } else if problems.is_empty() {
                values.push((slot.parameter.clone(), slot.change.import(tensor, &value)?));
            }
        }
    }
    for source in &sources {
        for (_, stored, tensor) in source.arrays.iter().filter(|a| !used.contains(a.1)) {
            problems.push(format!("the file's {stored} {} is not in the model", tensor.shape()));
        }
    }
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    if !unsure.is_empty() {
        let message = format!(
            "doesn't say which layer is which; say it with Mapping::rename, or give the model's layers the file's names:\n  {}",
            unsure.join("\n  ")
        );
        return Err(Error::data(&weights.source, message));
    }
    Ok(values)
}
