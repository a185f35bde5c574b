//! Which file of a crate names what of which other: `use` lines and paths in code, followed through re-exports to the file that
//! defines the name. Code for tests only is left out.

use super::tokens::tokens;
use std::collections::{BTreeMap, BTreeSet};

/// From a file to the files it names something of, with these names.
pub type Arrows = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// A module: a file, or a `mod name { .. }` inside one.
#[derive(Default)]
struct Module {
    file: String,
    /// Items that stand here.
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in code, names alone among them.
    paths: BTreeSet<Vec<String>>,
}

#[derive(Clone)]
struct Import {
    /// The name it has here; `*` for all of them.
    name: String,
    path: Vec<String>,
    public: bool,
}

/// What a path may lead to.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(Vec<String>),
    /// A name that this file defines.
    Item(String),
}

/// The modules of a crate by their paths; the root's is empty.
pub struct Tree(BTreeMap<Vec<String>, Module>);

const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

impl Tree {
    /// Reads a crate: its files by their paths below `src/`.
    pub fn new(files: &BTreeMap<String, String>) -> Tree {
        let mut tree = Tree(BTreeMap::new());
        tree.read_file(files, &[], "lib.rs");
        tree
    }

    /// The files that belong to the crate outside of its tests.
    pub fn files(&self) -> BTreeSet<&str> {
        self.0.values().map(|module| module.file.as_str()).collect()
    }

    /// What a file defines itself.
    pub fn defined(&self, file: &str) -> BTreeSet<&str> {
        let of_file = self.0.values().filter(|module| module.file == file);
        of_file.flat_map(|module| module.defined.iter().map(String::as_str)).collect()
    }

    pub fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (at, module) in &self.0 {
            let mut add = |path: &[String], is_import: bool| {
                let targets = self.find(at, path, &mut BTreeSet::new());
                // A module that is imported is an arrow where something of it is named.
                let of_module = is_import && targets.iter().any(|target| matches!(target, Target::Module(_)));
                for target in targets {
                    let Target::Item(to) = target else { continue };
                    if to != module.file && !of_module {
                        let names = arrows.entry(module.file.clone()).or_default().entry(to).or_default();
                        names.insert(path.join("::"));
                    }
                }
            };
            let hands_on = |import: &Import| {
                let used = module.paths.iter().any(|path| path[0] == import.name);
                import.public && !used && (module.defined.is_empty() || self.is_below(at, &import.path))
            };
            module
                .imports
                .iter()
                .filter(|import| !hands_on(import))
                .for_each(|import| add(&import.path, true));
            module.paths.iter().for_each(|path| add(path, false));
        }
        arrows
    }

    /// Whether a path begins with a module declared at `at`.
    fn is_below(&self, at: &[String], path: &[String]) -> bool {
        let first = path.iter().find(|part| *part != "self");
        first.is_some_and(|first| self.0.contains_key(&[at, std::slice::from_ref(first)].concat()))
    }

    fn read_file(&mut self, files: &BTreeMap<String, String>, at: &[String], file: &str) {
        let words = tokens(&files[file]);
        self.read(files, at, file, &words);
    }

    /// Reads the content of a module.
    fn read(&mut self, files: &BTreeMap<String, String>, at: &[String], file: &str, words: &[String]) {
        let mut module = Module { file: file.into(), ..Module::default() };
        let word = |i: usize| words.get(i).map_or("", String::as_str);
        let (mut i, mut depth) = (0, 0);
        let mut public = false;
        while i < words.len() {
            let (previous, here, next) = (if i > 0 { word(i - 1) } else { "" }, word(i), word(i + 1));
            match here {
                "#" => {
                    let end = closing(words, if next == "!" { i + 2 } else { i + 1 });
                    i = end + 1;
                    let only_for_tests = {
                        let attribute = &words[..i][words[..i].iter().rposition(|w| w == "#").unwrap_or(0)..];
                        is_test(attribute)
                    };
                    if only_for_tests {
                        i = end_of_item(words, i);
                    }
                    continue;
                }
                "pub" => {
                    public = true;
                    i = if next == "(" { closing(words, i + 1) } else { i } + 1;
                    continue;
                }
                "use" => {
                    let end = i + words[i..].iter().take_while(|w| *w != ";").count();
                    read_use(&words[i + 1..end], &[], public, &mut module.imports);
                    i = end;
                }
                "mod" if depth == 0 && word(i + 2) == "{" => {
                    let end = closing(words, i + 2);
                    let inner = [at, &[next.to_string()]].concat();
                    self.read(files, &inner, file, &words[i + 3..end]);
                    i = end;
                }
                "mod" if depth == 0 && word(i + 2) == ";" => {
                    let inner = [at, &[next.to_string()]].concat();
                    let stem = inner.join("/");
                    let candidates = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
                    let found = candidates.iter().find(|name| files.contains_key(*name));
                    let found = found
                        .unwrap_or_else(|| panic!("{file} declares mod {next}, of which there is no file"));
                    self.read_file(files, &inner, found);
                    i += 2;
                }
                "macro_rules" if depth == 0 => {
                    module.defined.insert(word(i + 2).into());
                    i += 2;
                }
                _ if depth == 0 && ITEMS.contains(&here) && is_name(next) && !ITEMS.contains(&next) => {
                    module.defined.insert(next.into());
                    i += 1;
                }
                "impl" if depth == 0 => {
                    module.defined.insert(here.into());
                }
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ if is_name(here) && previous != "." && previous != "::" => {
                    let mut path = vec![here.to_string()];
                    while word(i + 1) == "::" && is_name(word(i + 2)) {
                        path.push(word(i + 2).into());
                        i += 2;
                    }
                    module.paths.insert(path);
                }
                _ => {}
            }
            public = false;
            i += 1;
        }
        self.0.insert(at.to_vec(), module);
    }

    /// What `path` means in the module `at`.
    fn find(
        &self,
        at: &[String],
        path: &[String],
        seen: &mut BTreeSet<(Vec<String>, String)>,
    ) -> BTreeSet<Target> {
        let [first, rest @ ..] = path else { return BTreeSet::from([Target::Module(at.to_vec())]) };
        match first.as_str() {
            "crate" => self.find_in(&[], rest, seen),
            "self" => self.find_in(at, rest, seen),
            "super" => {
                let above = &at[..at.len().saturating_sub(1)];
                // Out of a module that a macro makes in this file.
                let own = rest.first().is_some_and(|name| {
                    self.knows_strictly(at, name) && name != "super" && !self.knows(above, name, seen)
                });
                self.find_in(if own { at } else { above }, rest, seen)
            }
            _ if self.knows(at, first, seen) => self.find_in(at, path, seen),
            _ => BTreeSet::new(), // another crate's, or a local name
        }
    }

    fn knows(&self, at: &[String], name: &str, seen: &BTreeSet<(Vec<String>, String)>) -> bool {
        let module = &self.0[at];
        module.defined.contains(name)
            || module.imports.iter().any(|import| import.name == name && import.path[0] != name)
            || self.0.contains_key(&[at, &[name.to_string()]].concat())
            || self.globs(at, seen).iter().any(|inside| self.knows_strictly(inside, name))
    }

    fn knows_strictly(&self, at: &[String], name: &str) -> bool {
        let module = &self.0[at];
        module.defined.contains(name)
            || module.imports.iter().any(|import| import.name == name)
            || self.0.contains_key(&[at, &[name.to_string()]].concat())
    }

    /// The modules all of whose names are imported.
    fn globs(&self, at: &[String], seen: &BTreeSet<(Vec<String>, String)>) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        for import in self.0[at].imports.iter().filter(|import| import.name == "*") {
            let mut seen = seen.clone();
            if seen.insert((at.to_vec(), format!("*{}", import.path.join("::")))) {
                for target in self.find(at, &import.path, &mut seen) {
                    if let Target::Module(inside) = target {
                        found.push(inside);
                    }
                }
            }
        }
        found
    }

    /// What `path` means inside the module `at`, whose file it falls back on: macros make names, too.
    fn find_in(
        &self,
        at: &[String],
        path: &[String],
        seen: &mut BTreeSet<(Vec<String>, String)>,
    ) -> BTreeSet<Target> {
        let [name, rest @ ..] = path else { return BTreeSet::from([Target::Module(at.to_vec())]) };
        if name == "super" || name == "self" {
            return self.find(at, path, seen);
        }
        if !seen.insert((at.to_vec(), path.join("::"))) {
            return BTreeSet::new();
        }
        let module = &self.0[at];
        let mut found = BTreeSet::new();
        let inner = [at, std::slice::from_ref(name)].concat();
        let is_module = self.0.contains_key(&inner);
        // `name::more` of a function and a module of one name is the module's.
        if module.defined.contains(name) && (rest.is_empty() || !is_module) {
            found.insert(Target::Item(module.file.clone()));
        }
        for import in module.imports.iter().filter(|import| import.name == *name) {
            let targets = self.find(at, &import.path, &mut seen.clone());
            // Of a function and a module of one name, what goes on is the module.
            let through =
                !rest.is_empty() && targets.iter().any(|target| matches!(target, Target::Module(_)));
            for target in targets {
                match target {
                    Target::Item(_) if through => {}
                    Target::Module(inside) => found.extend(self.find_in(&inside, rest, &mut seen.clone())),
                    item => drop(found.insert(item)),
                }
            }
        }
        if is_module {
            found.extend(self.find_in(&inner, rest, seen));
        }
        if found.is_empty() {
            for inside in self.globs(at, seen) {
                if self.knows_strictly(&inside, name) {
                    found.extend(self.find_in(&inside, path, &mut seen.clone()));
                }
            }
        }
        if found.is_empty() {
            found.insert(Target::Item(module.file.clone()));
        }
        found
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Whether an attribute says that what follows is for tests only.
fn is_test(attribute: &[String]) -> bool {
    let has = |name: &str| attribute.iter().any(|word| word == name);
    has("cfg") && (has("test") || has("doctest")) && !has("not") && !has("any")
}

/// Where the bracket closes that opens at `at`.
fn closing(words: &[String], at: usize) -> usize {
    let mut depth = 0;
    for (i, word) in words.iter().enumerate().skip(at) {
        match word.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    words.len() - 1
}

/// The first word after the item that begins at `at`.
fn end_of_item(words: &[String], mut at: usize) -> usize {
    while words.get(at).is_some_and(|word| word == "#") {
        at = closing(words, at + 1) + 1;
    }
    let mut first = at;
    if words.get(first).is_some_and(|word| word == "pub") {
        first = if words.get(first + 1).is_some_and(|word| word == "(") {
            closing(words, first + 1)
        } else {
            first
        } + 1;
    }
    let is_use = words.get(first).is_some_and(|word| word == "use");
    while at < words.len() {
        match words[at].as_str() {
            ";" | "," => return at + 1,
            "{" if !is_use => return closing(words, at) + 1,
            "(" | "[" | "{" => at = closing(words, at),
            "}" => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The imports of a tree such as `a::{self, b::c as d, e::*}`.
fn read_use(words: &[String], prefix: &[String], public: bool, imports: &mut Vec<Import>) {
    let mut path = prefix.to_vec();
    let mut i = 0;
    while let Some(word) = words.get(i) {
        match word.as_str() {
            "{" => {
                let inside = &words[i + 1..closing(words, i)];
                let mut start = 0;
                while start < inside.len() {
                    let mut end = start;
                    while end < inside.len() && inside[end] != "," {
                        end = if inside[end] == "{" { closing(inside, end) } else { end } + 1;
                    }
                    read_use(&inside[start..end], &path, public, imports);
                    start = end + 1;
                }
                return;
            }
            "*" => {
                imports.push(Import { name: "*".into(), path, public });
                return;
            }
            "as" => {
                let name = words[i + 1].clone();
                imports.push(Import { name, path, public });
                return;
            }
            "self" if !path.is_empty() => {}
            name if is_name(name) => path.push(name.into()),
            _ => {}
        }
        i += 1;
    }
    if let Some(name) = path.last().cloned() {
        imports.push(Import { name, path, public });
    }
}
