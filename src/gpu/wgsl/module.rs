//! A kernel taken apart, as far as it takes to make it a function among others in one module.

use super::words::{find_name, has_block_comments, is_word, without_comments};
use std::collections::HashSet;
use std::fmt::Write;

/// A kernel's source as the part of another module: its names can be told from those of other parts, its entry point is a
/// plain function.
pub(crate) struct Module {
    /// Without comments, empty lines, uniform blocks and the entry point's attributes.
    pub text: String,
    /// Names of module scope. None of them is also the name of a member, so that words alone tell what has to be renamed.
    pub names: HashSet<String>,
    /// The entry point's parameters in order, as positions in [`BUILTINS`](Self::BUILTINS).
    pub parameters: Vec<usize>,
    /// The uniform blocks, which were taken out.
    pub uniforms: Vec<UniformDeclaration>,
}

/// A uniform block's declaration.
#[derive(Debug, PartialEq)]
pub(crate) struct UniformDeclaration {
    pub binding: u32,
    pub name: String,
    pub ty: String,
}

const ENTRY: [&str; 2] =
    ["@compute @workgroup_size(64)\nfn main(", "@compute @workgroup_size(GROUP)\nfn main("];

impl Module {
    /// What an entry point may ask for.
    pub const BUILTINS: [&str; 3] = ["workgroup_id", "num_workgroups", "local_invocation_index"];

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        let names = self.names.iter().map(|n| n.capacity() + 2 * size_of::<String>());
        let uniforms = self.uniforms.iter().map(|u| u.name.capacity() + u.ty.capacity() + size_of_val(u));
        self.text.capacity() + names.chain(uniforms).sum::<usize>()
    }

    /// The text that is taken apart: without comments, blanks at the ends of lines, and empty lines.
    pub fn compact(source: &str) -> String {
        let text = without_comments(source);
        text.lines().map(str::trim_end).filter(|l| !l.is_empty()).flat_map(|l| [l, "\n"]).collect()
    }

    /// Takes a compact text apart; `None` where the kernel does something that can't be done in a part (workgroup memory,
    /// barriers, subgroups, workgroups of other than 64 invocations), or is written so that names can't be told apart.
    pub fn parse(text: &str) -> Option<Module> {
        let unfit = ["workgroup>", "subgroup", "Barrier"];
        if has_block_comments(text) || unfit.iter().any(|w| text.contains(w)) {
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
            parameters.push(Self::BUILTINS.iter().position(|b| *b == builtin)?);
            plain.push(rest.trim());
        }
        let text = format!("{before}fn main({}) {{{body}", plain.join(", "));
        let (text, uniforms) = take_uniforms(&text)?;
        let names = module_names(&text)?;
        // A name after a dot is a member, not what is declared in the module.
        let member = |name: &String| {
            text.match_indices(&format!(".{name}"))
                .any(|(at, found)| !text[at + found.len()..].starts_with(is_word))
        };
        let taken = |name: &String| names.contains(name) || member(name) || declares(&text, name);
        let fits = !names.iter().any(member) && !uniforms.iter().any(|u| taken(&u.name));
        fits.then_some(Module { text, names, parameters, uniforms })
    }
}

/// Whether a function has a parameter or a variable of this name.
fn declares(text: &str, name: &str) -> bool {
    let mut from = 0;
    while let Some(found) = find_name(&text[from..], name) {
        let (before, after) = (&text[..from + found.start], &text[from + found.end..]);
        if ["let ", "var ", "const "].iter().any(|d| before.ends_with(d))
            || after.trim_start().starts_with(':')
        {
            return true;
        }
        from += found.end;
    }
    false
}

/// Takes the uniform blocks out of a module: what is left, and the blocks. `None` where one is not declared on a line of its
/// own, or in another group than 0.
fn take_uniforms(text: &str) -> Option<(String, Vec<UniformDeclaration>)> {
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
        found.push(UniformDeclaration { binding, name: name.trim().to_string(), ty: ty.trim().to_string() });
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
        let word_end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
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
                    let end = rest[1..].find(|c: char| !is_word(c))? + 1;
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
        let end = name.find(|c: char| !is_word(c))?;
        names.insert(name[..end].to_string());
        rest = &name[end..];
    }
    (depth == 0).then_some(names)
}

/// Gives bindings other numbers; those that `number` gives none for keep theirs.
pub(crate) fn renumber(text: &str, number: impl Fn(u32) -> Option<u32>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(renumber(text, |_| None), text);
    }

    #[test]
    fn uniform_blocks_are_taken_out() {
        let text = "struct S {\n    n: u32,\n}\n@group(0) @binding(0) var<uniform> sizes: S;\nfn main() {}\n";
        let (left, found) = take_uniforms(text).unwrap();
        assert_eq!(left, "struct S {\n    n: u32,\n}\nfn main() {}\n");
        assert_eq!(found, [UniformDeclaration { binding: 0, name: "sizes".into(), ty: "S".into() }]);
        let text = "fn f(sizes: u32) -> u32 { let p = p0.sizes; return p; }";
        assert!(declares(text, "sizes") && declares(text, "p") && !declares(text, "p0"));
        assert_eq!(take_uniforms("@group(1) @binding(0) var<uniform> a: u32;\n"), None);
        assert_eq!(take_uniforms("@group(0) @binding(0) var<uniform> a: u32; fn main() {}\n"), None);
    }

    const KERNEL: &str = "// a kernel
struct Sizes { n: u32 }
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
    out[local] = sizes.n; // as it says
}
";

    #[test]
    fn a_kernel_becomes_a_function() {
        let module = Module::parse(&Module::compact(KERNEL)).unwrap();
        let expected = "struct Sizes { n: u32 }
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
fn main(local: u32, group: vec3<u32>) {
    out[local] = sizes.n;
}
";
        assert_eq!(module.text, expected);
        assert_eq!(module.parameters, [2, 0]);
        assert_eq!(module.names, ["Sizes", "out", "main"].map(String::from).into());
        assert_eq!(module.uniforms.len(), 1);
    }

    #[test]
    fn kernels_that_cannot_be_a_part_are_left_alone() {
        for (what, by) in [
            ("workgroup_size(64)", "workgroup_size(32)"),
            ("sizes.n;", "subgroupAdd(sizes.n);"),
            ("sizes.n;", "sizes.n; workgroupBarrier();"),
            ("// a kernel", "/* a kernel */"),
            ("// a kernel", "var<workgroup> shared: u32;"),
            ("local_invocation_index", "local_invocation_id"),
            ("// a kernel", "fn n() {}"),
            ("local: u32", "sizes: u32"),
        ] {
            assert!(Module::parse(&Module::compact(&KERNEL.replace(what, by))).is_none(), "{by}");
        }
    }
}
