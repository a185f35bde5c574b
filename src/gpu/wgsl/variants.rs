//! Variants of a hand-written kernel: how many neighbours an invocation takes, blocks and lines that a launch exchanges.

use super::words::alias;
use std::borrow::Cow;

/// What kernels for four neighbours (`vec4`) say, and what those for single words say instead.
const WIDE_AND_NARROW: [(&str, &str); 10] = [
    ("alias F = vec4<f32>;", "alias F = f32;"),
    ("alias U = vec4<u32>;", "alias U = u32;"),
    ("alias I = vec4<i32>;", "alias I = i32;"),
    ("alias B = vec4<bool>;", "alias B = bool;"),
    ("{ return epilogue4(v, 4u * i); }", "{ return epilogue(v, i); }"),
    ("{ return max(max(v.x, v.y), max(v.z, v.w)); }", "{ return v; }"),
    ("{ return v.x + v.y + (v.z + v.w); }", "{ return v; }"),
    ("{ return v[k]; }", "{ return v; }"),
    ("{ return U(4u * j) + U(0u, 1u, 2u, 3u); }", "{ return j; }"),
    ("const WIDTH = 4u;", "const WIDTH = 1u;"),
];

/// How many neighbours an invocation takes where rows have `length` words, and the source for it, from one for four.
pub(crate) fn by_width(source: &'static str, length: usize) -> (usize, Cow<'static, str>) {
    if length.is_multiple_of(4) {
        return (4, source.into());
    }
    let narrow = |text: String, (wide, narrow): &(&str, &str)| text.replace(wide, narrow);
    (1, WIDE_AND_NARROW.iter().fold(source.to_owned(), narrow).into())
}

/// Gives an alias another type; the source as it is where it has no such alias.
pub(crate) fn set_alias(source: &str, name: &str, ty: &str) -> String {
    match alias(source, name) {
        Some(old) => source.replacen(&format!("alias {name} = {old};"), &format!("alias {name} = {ty};"), 1),
        None => source.to_string(),
    }
}

/// Another piece of text in every place of one that must be there.
pub(crate) fn exchange(source: &str, old: &str, new: &str) -> String {
    debug_assert!(source.contains(old), "no {old:?} in {source}");
    source.replace(old, new)
}

/// Another block in place of the one that stands between the lines `// NAME:` and `// end of NAME`, which go too; the source as
/// it is where it has none.
pub(crate) fn exchange_block<'a>(source: Cow<'a, str>, name: &str, block: &str) -> Cow<'a, str> {
    let (begin, end) = (format!("// {name}:\n"), format!("// end of {name}\n"));
    match (source.split_once(&begin), source.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}").into(),
        _ => source,
    }
}

/// What an operand file declares: everything above its plain kernel, which shows what is computed and is never run.
pub(crate) fn declarations(source: &str) -> &str {
    source.split("// ---- plain kernel ----").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_valid, shaders};
    use super::*;
    use crate::gpu::wgsl::without_comments;

    #[test]
    fn kernels_for_single_words_have_no_vectors_left() {
        let mut narrowed = 0;
        for (file, text) in shaders() {
            // Those that are written for four neighbours say so.
            if !text.contains("alias F = vec4<f32>;") {
                continue;
            }
            let (four, same) = by_width(text.clone().leak(), 12);
            assert!(four == 4 && same == text);
            let (one, narrow) = by_width(text.leak(), 10);
            assert_eq!(one, 1);
            assert_valid(&file, &narrow);
            for line in without_comments(&narrow).lines() {
                assert!(!line.contains("vec4<") || line.starts_with("fn epilogue4("), "{file}: {line}");
            }
            narrowed += 1;
        }
        assert_eq!(narrowed, 25);
    }

    #[test]
    fn aliases_and_lines_are_exchanged() {
        let text = "alias Value = f32;\nvar x: Value = Value();\n";
        assert_eq!(
            set_alias(text, "Value", "vec4<f32>"),
            "alias Value = vec4<f32>;\nvar x: Value = Value();\n"
        );
        assert_eq!(set_alias(text, "F", "vec4<f32>"), text);
        assert_eq!(exchange(text, "Value()", "Value(1)"), "alias Value = f32;\nvar x: Value = Value(1);\n");
    }

    #[test]
    fn blocks_go_with_their_marks() {
        let text = "a\n// team:\nb\n// end of team\nc\n";
        assert_eq!(exchange_block(text.into(), "team", "d\n"), "a\nd\nc\n");
        assert_eq!(exchange_block(text.into(), "statistics", "d\n"), text);
    }

    #[test]
    fn the_plain_kernel_is_left_out() {
        assert_eq!(declarations("a\n// ---- plain kernel ----\nb\n"), "a\n");
        assert_eq!(declarations("a\n"), "a\n");
    }
}
