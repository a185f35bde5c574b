//! The rooms of ARCHITECTURE.md, and circles among files.

use super::tree::Arrows;
use std::collections::BTreeSet;

/// From top to bottom, the names in each room: files, or folders with a `/` at the end.
pub struct Rooms(Vec<Vec<String>>);

impl Rooms {
    /// Reads the numbered list under the heading "The rooms": names in backticks up to the first colon.
    pub fn read(text: &str) -> Rooms {
        let (_, section) = text.split_once("\n## The rooms\n").expect("a section \"The rooms\"");
        let section = section.split("\n## ").next().unwrap_or_default();
        let is_numbered = |line: &&str| {
            line.split_once(". ")
                .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        };
        let names = |line: &str| {
            let (names, _) = line.split_once(':').expect("the names of a room stand on one line");
            names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        Rooms(section.lines().filter(is_numbered).map(names).collect())
    }

    /// The number of a file's room: the longest name that fits counts.
    pub fn of(&self, file: &str) -> Option<usize> {
        let fits = |name: &&String| *name == file || name.ends_with('/') && file.starts_with(name.as_str());
        let named = self.0.iter().enumerate();
        let named =
            named.filter_map(|(room, names)| Some((names.iter().filter(fits).map(String::len).max()?, room)));
        named.max().map(|(_, room)| room)
    }

    /// Complaints about names that no file needs.
    pub fn unused(&self, files: &BTreeSet<&str>) -> Vec<String> {
        let all = self.0.iter().flatten();
        let fits = |name: &str, file: &str| name == file || name.ends_with('/') && file.starts_with(name);
        let unused = all.filter(|name| !files.iter().any(|file| fits(name, file)));
        unused.map(|name| format!("ARCHITECTURE.md has a room for {name}, which is not there")).collect()
    }
}

/// The sets of files that reach each other.
pub fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut stack = vec![from];
        while let Some(file) = stack.pop() {
            for to in arrows.get(file).into_iter().flat_map(|to| to.keys()) {
                if seen.insert(to.as_str()) {
                    stack.push(to);
                }
            }
        }
        seen
    };
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for file in arrows.keys() {
        if circles.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        let below = reached(file);
        if below.contains(file.as_str()) {
            let circle = below.into_iter().filter(|other| reached(other).contains(file.as_str()));
            circles.push(circle.map(str::to_owned).collect());
        }
    }
    circles
}
