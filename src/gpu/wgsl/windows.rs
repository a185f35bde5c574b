//! One buffer bound in several windows, among which loads and stores choose.

use super::accesses::{Accesses, Behind};
use super::words::{alias, has_block_comments};
use std::fmt::Write;

/// A module without line comments whose buffer at `bindings[0]` is bound in windows of so many bytes at all of them; `None`
/// where the buffer is used otherwise than by loads and stores of elements.
pub(crate) fn in_windows(text: &str, bindings: &[u32], window: u64) -> Option<String> {
    if has_block_comments(text) {
        return None;
    }
    let head = format!("@binding({})", bindings[0]);
    let (at, line) = lines(text).find(|(_, l)| l.contains(&head) && l.contains("var<storage"))?;
    let (access, declared) = line.split_once("var<")?.1.split_once('>')?;
    let (name, ty) = declared.trim().strip_suffix(';')?.split_once(':')?;
    let (name, element) = (name.trim(), ty.trim().strip_prefix("array<")?.strip_suffix('>')?);
    let elements = window / stride(text, element)?;
    let mut declarations = String::with_capacity(512);
    for (w, binding) in bindings.iter().enumerate() {
        let _ = writeln!(
            declarations,
            "@group(0) @binding({binding}) var<{access}> {name}_window{w}: array<{element}>;"
        );
    }
    let last = bindings.len() - 1;
    let choose = |act: &dyn Fn(usize, String) -> String| {
        let mut body = String::new();
        for w in 0..=last {
            let i = if w == 0 { "i".to_string() } else { format!("i - {}u", w as u64 * elements) };
            let act = act(w, i);
            let _ = match w < last {
                true => writeln!(body, "    if (i < {}u) {{ {act} }}", (w as u64 + 1) * elements),
                false => writeln!(body, "    {act}"),
            };
        }
        body
    };
    let load = choose(&|w, i| format!("return {name}_window{w}[{i}];"));
    let _ = write!(declarations, "fn {name}_load(i: u32) -> {element} {{\n{load}}}\n");
    if access.contains("read_write") {
        let store = choose(&|w, i| format!("{name}_window{w}[{i}] = v; return;"));
        let _ = write!(declarations, "fn {name}_store(i: u32, v: {element}) {{\n{store}}}\n");
    }
    let accesses = Accesses {
        name,
        load: &|index| format!("{name}_load(u32({index}))"),
        store: &|index, value| format!("{name}_store(u32({index}), {value})"),
        typed: &|before, rest| {
            let kept = match hides(before)? {
                Hides::Nothing => 0,
                Hides::InFunction => function_end(rest)?,
            };
            Some(Behind { text: rest[..kept].to_string(), bytes: kept })
        },
    };
    let before = accesses.rewrite(&text[..at])?;
    let after = accesses.rewrite(&text[at + line.len()..])?;
    Some(before + &declarations + &after)
}

/// The lines with their positions, each with its end.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// Bytes of an array's element.
fn stride<'a>(text: &'a str, mut element: &'a str) -> Option<u64> {
    // Aliases of aliases, and no circle of them: a kernel from outside comes here before the driver has looked at it.
    for _ in 0..8 {
        return Some(match element {
            "f32" | "u32" | "i32" => 4,
            "vec2<f32>" | "vec2<u32>" | "vec2<i32>" | "u64" => 8,
            "vec4<f32>" | "vec4<u32>" | "vec4<i32>" | "vec2<u64>" => 16,
            "vec4<u64>" => 32,
            _ => {
                element = alias(text, element)?;
                continue;
            }
        });
    }
    None
}

/// Where something else of the buffer's name means itself.
enum Hides {
    /// A member of a structure: nowhere but behind a dot.
    Nothing,
    /// A parameter: in the whole function.
    InFunction,
}

/// What a name is that stands, with a type, at the end of this text; `None` where it is a variable's or not known.
fn hides(before: &str) -> Option<Hides> {
    let mut depth = 0;
    let (at, bracket) = before.char_indices().rev().find(|(_, c)| {
        match c {
            ')' | '}' => depth += 1,
            '(' | '{' if depth == 0 => return true,
            '(' | '{' => depth -= 1,
            _ => {}
        }
        false
    })?;
    let head = before[..at].rsplit(['}', ';']).next().unwrap_or_default().trim_start();
    match bracket {
        '{' if head.starts_with("struct ") => Some(Hides::Nothing),
        '(' if head.starts_with("fn ") => Some(Hides::InFunction),
        _ => None,
    }
}

/// Where a function ends in whose parameters the text begins.
fn function_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(i, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => return None,
        }
        (depth == 0).then_some(i + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_valid;
    use super::*;

    const KERNEL: &str = "alias F = vec4<f32>;
@group(0) @binding(0) var<uniform> sizes: vec4<u32>;
@group(0) @binding(1) var<storage, read> x: array<F>;
@group(0) @binding(2) var<storage, read> n: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let max_x = x[n[id.x]] + x[id.x];
    if x[0u].y == x[1u].z { y[id.x] = max(max_x, x[n[n[id.y]]]); }
}
";

    #[test]
    fn a_buffer_in_windows() {
        let mut text = KERNEL.to_string();
        for bindings in [&[1, 48, 49][..], &[2, 50], &[3, 51]] {
            text = in_windows(&text, bindings, 1024).unwrap();
            assert_valid("windows", &text);
        }
        assert!(text.contains("if (i < 64u) { return x_window0[i]; }"), "{text}");
        assert!(text.contains("if (i < 128u) { return x_window1[i - 64u]; }"), "{text}");
        assert!(text.contains("return n_window1[i - 256u];"), "{text}");
        assert!(text.contains("y_store(u32(id.x), max(max_x, x_load(u32(n_load(u32(n_load(u32(id.y))))))))"));
    }

    #[test]
    fn other_uses_are_refused() {
        for other in ["y[0] += F(1.0);", "y[0].x = 1.0;", "let p = &y[0];", "let c = arrayLength(&y);"] {
            let text = KERNEL.replace("let max_x", &format!("{other} let max_x"));
            assert_eq!(in_windows(&text, &[3, 48], 256), None);
        }
        assert_eq!(in_windows(&KERNEL.replace("array<F>", "array<mat2x2<f32>>"), &[1, 48], 256), None);
        let circle = format!("alias A = B;\nalias B = A;\n{}", KERNEL.replace("array<F>", "array<A>"));
        assert_eq!(in_windows(&circle, &[1, 48], 256), None);
        let member = KERNEL.replace("@compute", "struct S { y: u32, x: u32 }\n@compute");
        assert_valid("member", &in_windows(&member, &[1, 48], 256).unwrap());
        let parameter = "fn f(x: F, i: u32) -> f32 { if x[i] > 0.0 { return x[0]; } return 1.0; }\n@compute";
        let text = in_windows(&KERNEL.replace("@compute", parameter), &[1, 48], 256).unwrap();
        assert!(text.contains(parameter), "{text}");
        assert_valid("parameter", &text);
        let variable = KERNEL.replace("let max_x", "var x: F; let max_x");
        assert_eq!(in_windows(&variable, &[1, 48], 256), None);
    }
}
