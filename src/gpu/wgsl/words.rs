//! Words of WGSL, and what stands between them.

use std::ops::Range;

/// Whether a character can be part of a name.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii() && c.is_alphanumeric()
}

/// The text with every name replaced that `with` gives another text for; numbers, whatever follows their digits, are no names.
///
/// What takes a name's place is not looked at again.
pub(crate) fn rename(text: &str, mut with: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    // up to where the text was copied, and where the word at hand begins
    let (mut copied, mut begin) = (0, None);
    // a number's exponent or suffix is no identifier
    let mut number = false;
    for (at, c) in text.char_indices().chain([(text.len(), '\0')]) {
        if is_word(c) || (number && c == '.') {
            if begin.is_none() {
                begin = Some(at);
                number = c.is_ascii_digit();
            }
            continue;
        }
        if let Some(start) = begin.take()
            && !std::mem::take(&mut number)
            && let Some(replaced) = with(&text[start..at])
        {
            out.push_str(&text[copied..start]);
            out.push_str(&replaced);
            copied = at;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Where a name stands next, by itself and not as a member.
pub(super) fn find_name(text: &str, name: &str) -> Option<Range<usize>> {
    text.match_indices(name).map(|(i, _)| i..i + name.len()).find(|r| {
        !text[..r.start].ends_with(|c| is_word(c) || c == '.') && !text[r.end..].starts_with(is_word)
    })
}

/// The text without line comments, line by line. WGSL has no strings, so `//` always begins one; it also has comments between
/// `/*` and `*/`, which no operation of this room understands: see [`has_block_comments`].
pub(crate) fn without_comments(text: &str) -> String {
    text.lines().flat_map(|l| [l.split("//").next().unwrap_or(""), "\n"]).collect()
}

/// Whether there is a comment that may reach over several lines: text like this is left as it is.
pub(super) fn has_block_comments(text: &str) -> bool {
    text.contains("/*")
}

/// The type that an alias stands for.
pub(super) fn alias<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    Some(text.split_once(&format!("alias {name} = "))?.1.split_once(';')?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renaming_leaves_numbers_and_other_words() {
        let out = rename("max(x, T(1.0e-3)) + xx", |w| match w {
            "x" => Some("e1".into()),
            "T" => Some("f32".into()),
            _ => None,
        });
        assert_eq!(out, "max(e1, f32(1.0e-3)) + xx");
    }

    #[test]
    fn names_stand_by_themselves() {
        assert_eq!(find_name("xx + p.x + x_ + x[0]", "x"), Some(16..17));
        assert_eq!(find_name("xx + p.x", "x"), None);
    }

    #[test]
    fn comments_go_and_lines_stay() {
        assert_eq!(without_comments("a; // b\n// c\nd;"), "a; \n\nd;\n");
        assert!(has_block_comments("a /* b */") && !has_block_comments("a / b * c // d"));
    }

    #[test]
    fn aliases_are_looked_up() {
        let text = "alias F = vec4<f32>;\nalias Value = f32;\n";
        assert_eq!(
            (alias(text, "F"), alias(text, "Value"), alias(text, "U")),
            (Some("vec4<f32>"), Some("f32"), None)
        );
    }
}
