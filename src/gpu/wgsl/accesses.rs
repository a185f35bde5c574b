//! Every use of one buffer in a module, as long as all of them are loads and stores of whole elements.

use super::words::find_name;

/// What becomes of the uses of a buffer.
pub(super) struct Accesses<'a> {
    /// The buffer's name.
    pub name: &'a str,
    /// What a load becomes, from its index.
    pub load: &'a dyn Fn(&str) -> String,
    /// What `name[index] = value` becomes, without the semicolon, from index and value.
    pub store: &'a dyn Fn(&str, &str) -> String,
    /// What happens where the name has a type: it is declared there, or something else is that has the same name. Given what
    /// is before the name, already rewritten, and what is behind it; `None` where it can't be known what the name means.
    pub typed: &'a dyn Fn(&str, &str) -> Option<Behind>,
}

/// What takes the place of so many bytes behind a name.
pub(super) struct Behind {
    pub text: String,
    pub bytes: usize,
}

impl Accesses<'_> {
    /// The text with the uses rewritten, those inside of indices and values too; `None` where the buffer is used in any other
    /// way: a member or a component is stored to, `+=`, a pointer is taken, its length is asked for, it is hidden by a variable.
    ///
    /// `text` has no comments. It ends because each turn goes past one place where the name stands.
    pub fn rewrite(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len() + 64);
        let mut at = 0;
        while let Some(found) = find_name(&text[at..], self.name) {
            let end = at + found.end;
            out.push_str(&text[at..at + found.start]);
            let rest = &text[end..];
            if rest.starts_with(':') {
                let behind = (self.typed)(&out, rest)?;
                out.push_str(self.name);
                out.push_str(&behind.text);
                at = end + behind.bytes;
                continue;
            }
            if !rest.starts_with('[') {
                return None;
            }
            let close = end + closing(rest)?;
            let index = self.rewrite(&text[end + 1..close])?;
            let after = &text[close + 1..];
            at = close + 1;
            if let Some(value) = assigned(after) {
                let length = value.find(';')?;
                let value = self.rewrite(&value[..length])?;
                out.push_str(&(self.store)(&index, value.trim()));
                at += after.find(';')?;
                continue;
            }
            // Neither `x[i] += v` nor `x[i].y = v` nor `x[i][j] = v` nor `&x[i]`.
            let place = after.split([';', '(', '{', ',']).next().unwrap_or_default();
            let stores = place.match_indices('=').any(|(i, _)| {
                let before = place[..i].chars().next_back().unwrap_or(' ');
                !place[i + 1..].starts_with('=') && !matches!(before, '=' | '!' | '<' | '>')
            });
            let before = out.trim_end();
            if stores || (before.ends_with('&') && !before.ends_with("&&")) {
                return None;
            }
            out.push_str(&(self.load)(&index));
        }
        out.push_str(&text[at..]);
        Some(out)
    }
}

/// Position of the bracket that closes the one at the beginning.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(i, c)| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(i)
    })
}

/// What is assigned, where an assignment follows.
fn assigned(after: &str) -> Option<&str> {
    let value = after.trim_start().strip_prefix('=')?;
    (!value.starts_with('=')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(text: &str) -> Option<String> {
        Accesses {
            name: "x",
            load: &|i| format!("load({i})"),
            store: &|i, v| format!("store({i}, {v})"),
            typed: &|_, rest| rest.starts_with(": F").then(|| Behind { text: ": G".into(), bytes: 3 }),
        }
        .rewrite(text)
    }

    #[test]
    fn loads_and_stores_at_any_depth() {
        assert_eq!(rewrite("x: F; x[x[i]] = x[2] == y.x;").unwrap(), "x: G; store(load(i), load(2) == y.x);");
        assert_eq!(rewrite("a && x[0].y <= x[1]").unwrap(), "a && load(0).y <= load(1)");
        assert_eq!(rewrite("xx[0] = x1 + p.x;").unwrap(), "xx[0] = x1 + p.x;");
    }

    #[test]
    fn other_uses_are_refused() {
        for text in
            ["x[0] += 1;", "x[0].y = 1;", "x[0][1] = 1;", "let p = &x[0];", "len(&x)", "f(x)", "x: H", "x[0"]
        {
            assert_eq!(rewrite(text), None, "{text}");
        }
    }
}
