//! The reader of `use` lines, tried on small trees.

use super::rooms::{Rooms, circles};
use super::tree::Tree;
use std::collections::BTreeMap;

/// The arrows of made-up files, as lines `from -> to`.
fn arrows(files: &[(&str, &str)]) -> Vec<String> {
    let files: BTreeMap<_, _> =
        files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let arrows = Tree::new(&files).arrows();
    arrows.iter().flat_map(|(from, to)| to.keys().map(move |to| format!("{from} -> {to}"))).collect()
}

#[test]
fn groups_self_super_and_aliases() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        (
            "a.rs",
            "use crate::{b::{self, inner::{Deep as D, Other}}, c as sea}; fn f(_: D) { sea::g(); b::top() }",
        ),
        ("b/mod.rs", "pub mod inner; pub fn top() {}"),
        (
            "b/inner.rs",
            "use super::super::c::*; use super::top; pub struct Deep; pub struct Other; fn f() { g() }",
        ),
        ("c.rs", "pub fn g() {}"),
    ]);
    let expected = [
        "a.rs -> b/inner.rs",
        "a.rs -> b/mod.rs",
        "a.rs -> c.rs",
        "b/inner.rs -> b/mod.rs",
        "b/inner.rs -> c.rs",
    ];
    assert_eq!(found, expected);
}

#[test]
fn re_exports_lead_to_the_file_that_defines() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; pub use b::Thing;"),
        (
            "a.rs",
            "use crate::Thing; use crate::b::renamed; macro_rules! m { () => { $crate::b::Made::new() } }",
        ),
        ("b/mod.rs", "mod c; mod d; pub use self::c::{Thing, thing as renamed}; pub use d::*;"),
        ("b/c.rs", "pub struct Thing; pub fn thing() {}"),
        ("b/d.rs", "pub struct Made;"),
    ]);
    assert_eq!(found, ["a.rs -> b/c.rs", "a.rs -> b/d.rs"]);
}

#[test]
fn a_file_that_hands_on_and_uses_what_it_hands_on() {
    let found = arrows(&[
        ("lib.rs", "mod b;"),
        ("b/mod.rs", "mod c; mod d; pub use c::Thing; pub use d::Made; pub fn f() -> Thing { Thing }"),
        ("b/c.rs", "use super::f; pub struct Thing;"),
        ("b/d.rs", "pub struct Made;"),
    ]);
    assert_eq!(found, ["b/c.rs -> b/mod.rs", "b/mod.rs -> b/c.rs"]);
}

#[test]
fn paths_in_code_count_and_tests_do_not() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; mod c; mod d; #[cfg(test)] mod only_tests;"),
        (
            "a.rs",
            "fn f() -> crate::b::B { x.c::<u8>(); let s = \"crate::c::C\"; /* crate::c::C */ }
            #[cfg(test)] use crate::{c::C, d};
            #[cfg(test)] #[allow(dead_code)] fn g() { crate::c::C }
            #[cfg(all(test, unix))] mod tests { use crate::c::C; }
            #[cfg(not(test))] fn h() { crate::d::D }",
        ),
        ("b.rs", "pub struct B;"),
        ("c.rs", "pub struct C;"),
        ("d.rs", "macro_rules! made { ($n:ident) => { pub struct $n; } } made!(D);"),
        ("only_tests.rs", "use crate::c::C;"),
    ]);
    assert_eq!(found, ["a.rs -> b.rs", "a.rs -> d.rs"]);
}

#[test]
fn modules_inside_a_file_are_the_file() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; pub mod prelude { pub use crate::b::B; }"),
        ("a.rs", "mod inner { use super::super::b; pub fn f() { b::B; } } fn g() { inner::f() }"),
        ("b.rs", "use crate::a::inner::f; pub struct B;"),
    ]);
    assert_eq!(found, ["a.rs -> b.rs", "b.rs -> a.rs"]);
}

#[test]
fn a_circle_is_found_and_rooms_are_read() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; use crate::d::D; pub struct C;"),
        ("d.rs", "pub struct D;"),
    ];
    let files: BTreeMap<_, _> =
        files.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
    let found = circles(&Tree::new(&files).arrows());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].iter().collect::<Vec<_>>(), ["a.rs", "b.rs", "c.rs"]);

    let rooms = Rooms::read(
        "# A\n\n## The rooms\n\nFrom the top:\n\n1. `x/`, `a.rs`: say `b/`\n2. `x/low.rs`: this\n\n## Next\n1. `c/`\n",
    );
    assert_eq!([rooms.of("x/high.rs"), rooms.of("x/low.rs"), rooms.of("a.rs")], [Some(0), Some(1), Some(0)]);
    assert_eq!([rooms.of("b/y.rs"), rooms.of("c/y.rs")], [None, None]);
}
