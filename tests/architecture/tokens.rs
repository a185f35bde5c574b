//! A Rust file as a list of words: identifiers, `::`, and single signs. Comments, lifetimes and the content of literals are left out.

/// One word of the source. A literal is `"`.
pub fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        if c == '/' && next == Some('/') {
            at = end_of_line(&chars, at);
        } else if c == '/' && next == Some('*') {
            at = end_of_block(&chars, at);
        } else if c == '"' {
            at = end_of_string(&chars, at);
            words.push("\"".into());
        } else if c == '\'' {
            at = end_of_quote(&chars, at);
        } else if c.is_alphanumeric() || c == '_' {
            let end = at + chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            let word: String = chars[at..end].iter().collect();
            at = end;
            if let Some(end) = end_of_raw(&chars, at, &word) {
                at = end;
                words.push("\"".into());
            } else if c.is_ascii_digit() {
                words.push("\"".into());
            } else if word == "r" && chars.get(at) == Some(&'#') {
                at += 1; // a raw identifier: the name follows
            } else if !(matches!(word.as_str(), "b" | "c") && matches!(chars.get(at), Some('"' | '\''))) {
                words.push(word);
            }
        } else if c == ':' && next == Some(':') {
            words.push("::".into());
            at += 2;
        } else {
            if !c.is_whitespace() {
                words.push(c.into());
            }
            at += 1;
        }
    }
    words
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| **c != '\n').count()
}

fn end_of_block(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `r"…"`, `r#"…"#` and their kin, whose prefix `word` ends before `at`.
fn end_of_raw(chars: &[char], at: usize, word: &str) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let start = at + hashes + 1;
    let ends = |end: &usize| {
        chars[*end] == '"' && chars[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    Some((start..chars.len()).find(ends).map_or(chars.len(), |end| end + 1 + hashes))
}

/// The end of a character or of a lifetime.
fn end_of_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        return at + 3 + chars[(at + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count() + 1;
    }
    if chars.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    at + 1 + chars[at + 1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count()
}

#[test]
fn words_of_a_file() {
    let text = r##"
        //! use crate::a;
        /* use /* crate::b */ c; */
        fn r#type<'a>(x: &'a str) -> char { let s = "use crate::d; \" {"; let r = r#"use "crate::e"; {"#; 'x' }
        const Q: [u8; 2] = [b'\'', '{' as u8]; b"crate::f {"
    "##;
    let expected = "fn type < > ( x : & str ) -  > char { let s = \" ; let r = \" ; } \
                    const Q : [ u8 ; \" ] = [ , as u8 ] ; \"";
    assert_eq!(tokens(text), expected.split_whitespace().collect::<Vec<_>>());
}
