//! Arrows run one way: no files of src/ import each other in a circle, and none imports a file of a room above its own, by the
//! list of rooms in ARCHITECTURE.md.

#[path = "architecture/rooms.rs"]
mod rooms;
#[path = "architecture/small_trees.rs"]
mod small_trees;
#[path = "architecture/tokens.rs"]
mod tokens;
#[path = "architecture/tree.rs"]
mod tree;

use rooms::{Rooms, circles};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tree::Tree;

/// All files below src/, by their paths in it.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), files);
            } else if name.ends_with(".rs") {
                files.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    files
}

#[test]
fn no_circles() {
    let arrows = Tree::new(&sources()).arrows();
    let mut wrong = String::new();
    for circle in circles(&arrows) {
        wrong += &format!("{} files import each other:\n", circle.len());
        for from in &circle {
            for (to, names) in arrows[from].iter().filter(|(to, _)| circle.contains(*to)) {
                wrong += &format!("  {from} -> {to}: {}\n", list(names));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_arrow_upward() {
    let tree = Tree::new(&sources());
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let rooms = Rooms::read(&text);
    let arrows = tree.arrows();
    let mut wrong = rooms.unused(&tree.files());
    for file in tree.files() {
        let Some(room) = rooms.of(file) else {
            wrong.push(format!("src/{file} has no room in ARCHITECTURE.md"));
            continue;
        };
        for (to, names) in arrows.get(file).into_iter().flatten() {
            if rooms.of(to).is_some_and(|above| above < room) {
                wrong.push(format!("upward: {file} -> {to}: {}", list(names)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_mod_rs_only_hands_names_on() {
    let tree = Tree::new(&sources());
    for file in tree.files().into_iter().filter(|file| file.ends_with("mod.rs")) {
        let defined = tree.defined(file);
        assert!(defined.is_empty(), "{file} defines {defined:?}; put it into a file beside");
    }
}

#[test]
fn files_have_few_lines() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 600, "src/{file} has {lines} lines; split it where it reads better in two");
        let reason = text.contains("\n// Over 500 lines in one file: ");
        assert!(lines <= 500 || reason, "src/{file} has {lines} lines and doesn't say why it is one file");
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
