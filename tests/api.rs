//! The public interface, item by item, is docs/api.txt: whoever changes it sees it there, and so does who reads the change.
//!
//! It is taken out of the documentation, so that has to be built first:
//!
//!     cargo doc --no-deps --all-features
//!     WGRAD_API=check cargo test --all-features --test api     # does docs/api.txt say what is?
//!     WGRAD_API=write cargo test --all-features --test api     # has it say so
//!
//! `./test.sh` checks. How rustdoc writes signatures down may change from release to release of Rust: then the file is written
//! anew with the change of the toolchain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where documentation is built.
fn documentation() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("doc/wgrad")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Text without tags, on one line.
fn text(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        out += before;
        let (name, after) = tag.split_once('>').unwrap_or((tag, ""));
        // Elements that stand on lines of their own.
        if ["div", "/div", "br", "summary", "details"].iter().any(|&n| name.split(' ').next() == Some(n)) {
            out.push(' ');
        }
        // "Show 13 fields", where there are so many that they are folded away
        rest = match name.split(' ').next() {
            Some("summary") => after.split_once("</summary>").map_or(after, |(_, after)| after),
            _ => after,
        };
    }
    out += rest;
    for (code, sign) in
        [("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")]
    {
        out = out.replace(code, sign);
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between the first `start` and the next `end`.
fn between<'a>(html: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(start)?;
    Some(rest.split_once(end).map_or(rest, |(inside, _)| inside))
}

/// The part of a page below a heading, up to the next.
fn part<'a>(page: &'a str, heading: &str) -> &'a str {
    between(page, &format!("<h2 id=\"{heading}\""), "<h2 id=").unwrap_or_default()
}

/// The signatures in a part of a page: those of implementations (`h3`) or of what is in them (`h4`).
fn signatures(part: &str, level: &str) -> Vec<String> {
    let (start, end) = (format!("<{level} class=\"code-header\">"), format!("</{level}>"));
    part.split(&start).skip(1).map(|rest| text(rest.split(&end).next().unwrap_or(rest))).collect()
}

/// A line for the item, and one for each method, each implementation of a trait, and whether it may go to other threads.
fn item(path: &str, page: &str, lines: &mut BTreeSet<String>) {
    let declaration = between(page, "<pre class=\"rust item-decl\"><code>", "</code></pre>").map(text);
    lines.insert(format!("{path}: {}", declaration.unwrap_or_else(|| panic!("no declaration of {path}"))));
    let of_types = signatures(part(page, "implementations"), "h4");
    let of_traits = signatures(part(page, "trait-implementations"), "h3");
    let elsewhere = signatures(part(page, "foreign-impls"), "h3");
    // A marker of the compiler's, beside PartialEq.
    let of_traits = of_traits.into_iter().filter(|line| !line.contains("StructuralPartialEq"));
    for line in of_types.into_iter().chain(of_traits).chain(elsewhere) {
        lines.insert(format!("{path}: {line}"));
    }
    for line in signatures(part(page, "synthetic-implementations"), "h3") {
        if line.contains("Send for ") || line.contains("Sync for ") {
            lines.insert(format!("{path}: {line}"));
        }
    }
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; build the documentation first", path.display()))
}

/// What a module and those in it only hand on.
fn reexports(folder: &Path, module: &str, lines: &mut BTreeSet<String>) {
    let page = read(folder.join("index.html"));
    for name in part(&page, "reexports").split("<code>").skip(1) {
        let name = text(name.split("</code>").next().unwrap_or(name));
        lines.insert(format!("{module}: {name}"));
    }
    for link in part(&page, "modules").split("href=\"").skip(1) {
        if let Some((name, _)) =
            link.split_once("/index.html\"").filter(|(name, _)| !name.contains(['"', '/']))
        {
            reexports(&folder.join(name), &format!("{module}::{name}"), lines);
        }
    }
}

/// The listing of a folder of documentation.
fn listing(folder: &Path) -> String {
    let mut lines = BTreeSet::new();
    let all = read(folder.join("all.html"));
    let content = between(&all, "<section id=\"main-content\"", "</section>").unwrap_or_default();
    for link in content.split("<li><a href=\"").skip(1) {
        let file = link.split('"').next().unwrap_or_default();
        // module/kind.Name.html
        let (module, page) = file.rsplit_once('/').unwrap_or(("", file));
        let name = page.split('.').nth(1).unwrap_or_default();
        let module = if module.is_empty() { String::new() } else { module.replace('/', "::") + "::" };
        item(&format!("wgrad::{module}{name}"), &read(folder.join(file)), &mut lines);
    }
    reexports(folder, "wgrad", &mut lines);
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn the_public_interface_is_the_one_that_is_written_down() {
    let Ok(wanted) = std::env::var("WGRAD_API") else { return };
    let path = root().join("docs/api.txt");
    let found = listing(&documentation());
    assert!(found.lines().count() > 1000, "the documentation has another form than is read here");
    if wanted == "write" {
        return std::fs::write(path, found).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    let (found, written): (BTreeSet<&str>, BTreeSet<&str>) =
        (found.lines().collect(), written.lines().collect());
    let lines = |sign: char, a: &BTreeSet<&str>, b: &BTreeSet<&str>| {
        a.difference(b).map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let (gone, new) = (lines('-', &written, &found), lines('+', &found, &written));
    assert!(
        gone.is_empty() && new.is_empty(),
        "the public interface is not that of docs/api.txt:\n{gone}{new}\
         if that is meant: WGRAD_API=write cargo test --all-features --test api, and a line in CHANGELOG.md"
    );
}

#[test]
fn pages_of_documentation_are_read() {
    let page = "<pre class=\"rust item-decl\"><code>pub struct <a href=\"x\">A</a>&lt;T&gt; {\n    pub b: &amp;'static str,\n}</code></pre>\
        <h2 id=\"implementations\" class=\"x\">Implementations</h2><h3 class=\"code-header\">impl A</h3>\
        <h4 class=\"code-header\">pub fn <a>new</a>() -&gt; A<div class=\"where\">where T: B</div></h4>\
        <h2 id=\"trait-implementations\">Trait</h2><h3 class=\"code-header\">impl Clone for A</h3><h4 class=\"code-header\">fn clone</h4>\
        <h2 id=\"synthetic-implementations\">Auto</h2><h3 class=\"code-header\">impl !Send for A</h3>\
        <h3 class=\"code-header\">impl Unpin for A</h3>";
    let mut lines = BTreeSet::new();
    item("wgrad::A", page, &mut lines);
    let expected = [
        "wgrad::A: impl !Send for A",
        "wgrad::A: impl Clone for A",
        "wgrad::A: pub fn new() -> A where T: B",
        "wgrad::A: pub struct A<T> { pub b: &'static str, }",
    ];
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), expected);
}
