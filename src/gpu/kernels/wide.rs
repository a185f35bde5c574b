//! Rewrites kernels to load and store 64-bit integers where they load and store `vec4<f32>`, for adapters that run on a CPU.
//!
//! lavapipe compiles a load or store into a loop over the lanes, with a test of the bounds and a masked move for every
//! component: two components of 64 bits cost two thirds of four of 32. The bits stay where they are.

use std::borrow::Cow;
use std::ops::Range;

const FUNCTIONS: &str = "
fn wgrad_quad(v: vec2<u64>) -> vec4<f32> {
    let even = bitcast<vec2<f32>>(vec2<u32>(v));
    let odd = bitcast<vec2<f32>>(vec2<u32>(v >> vec2<u32>(32u)));
    return vec4<f32>(even.x, odd.x, even.y, odd.y);
}
fn wgrad_pack(v: vec4<f32>) -> vec2<u64> {
    let even = vec2<u64>(bitcast<vec2<u32>>(v.xz));
    let odd = vec2<u64>(bitcast<vec2<u32>>(v.yw));
    return even | (odd << vec2<u32>(32u));
}
";

/// The same kernel, with every storage buffer of `vec4<f32>` that is only ever loaded from and stored to by whole elements
/// bound as `vec2<u64>`.
pub fn widen(source: &str) -> Cow<'_, str> {
    if source.contains("/*") {
        return source.into();
    }
    let mut text: String = source.lines().flat_map(|l| [l.split("//").next().unwrap_or(""), "\n"]).collect();
    let mut widened = false;
    for (name, element) in quad_buffers(&text) {
        // Whatever has the same name somewhere, or is used in another way, leaves the buffer as it is.
        if let Some(rewritten) = rewrite(&text, &name, &element) {
            text = rewritten;
            widened = true;
        }
    }
    if !widened {
        return source.into();
    }
    text.push_str(FUNCTIONS);
    text.into()
}

/// Names of the storage buffers of `vec4<f32>`, and how their elements' type is written.
fn quad_buffers(text: &str) -> Vec<(String, String)> {
    let alias = |ty: &str| text.contains(&format!("alias {ty} = vec4<f32>;"));
    let declarations = text.split("var<storage").skip(1);
    let parts = declarations.filter_map(|d| d.split(';').next()?.split_once('>')?.1.split_once(':'));
    parts
        .filter_map(|(name, ty)| {
            let element = ty.trim().strip_prefix("array<")?.strip_suffix('>')?;
            (element == "vec4<f32>" || alias(element)).then(|| (name.trim().into(), element.into()))
        })
        .collect()
}

/// The text with the accesses to one buffer rewritten; `None` where one is neither a load nor a store of a whole element.
fn rewrite(text: &str, name: &str, element: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    while let Some(found) = token(&text[at..], name) {
        let end = at + found.end;
        out.push_str(&text[at..at + found.start]);
        out.push_str(name);
        let rest = &text[end..];
        if let Some(ty) = rest.strip_prefix(": array<").and_then(|r| r.strip_prefix(element)) {
            out.push_str(": array<vec2<u64>");
            at = text.len() - ty.len();
            continue;
        }
        if !rest.starts_with('[') {
            return None;
        }
        let close = end + closing(rest)?;
        let index = rewrite(&text[end + 1..close], name, element)?;
        let after = &text[close + 1..];
        out.push_str(&format!("[{index}]"));
        at = close + 1;
        if let Some(value) = assigned(after) {
            let length = value.find(';')?;
            let value = rewrite(&value[..length], name, element)?;
            out.push_str(&format!(" = wgrad_pack({})", value.trim()));
            at += after.find(';')?;
        } else {
            // Neither `x[i] += v` nor `x[i].y = v` nor `x[i][j] = v`.
            let place = after.split([';', '(', '{', ',']).next().unwrap_or_default();
            let stores = place.match_indices('=').any(|(i, _)| {
                let before = place[..i].chars().next_back().unwrap_or(' ');
                !place[i + 1..].starts_with('=') && !matches!(before, '=' | '!' | '<' | '>')
            });
            if stores {
                return None;
            }
            let start = out.len() - index.len() - 2 - name.len();
            out.insert_str(start, "wgrad_quad(");
            out.push(')');
        }
    }
    out.push_str(&text[at..]);
    Some(out)
}

/// Where a name stands next, by itself and not as a member.
pub(in crate::gpu) fn token(text: &str, name: &str) -> Option<Range<usize>> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .map(|(i, _)| i..i + name.len())
        .find(|r| !text[..r.start].ends_with(|c| part(c) || c == '.') && !text[r.end..].starts_with(part))
}

/// Position of the bracket that closes the one at the beginning.
pub(in crate::gpu) fn closing(text: &str) -> Option<usize> {
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
pub(in crate::gpu) fn assigned(after: &str) -> Option<&str> {
    let value = after.trim_start().strip_prefix('=')?;
    (!value.starts_with('=')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "alias F = vec4<f32>;
@group(0) @binding(0) var<storage, read> x: array<F>; // the input
@group(0) @binding(1) var<storage, read> n: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let max_x = x[n[id.x]] + x[id.x];
    if x[0u].y == x[1u].z { y[id.x] = max(max_x, y[x_of(n[id.y])]); }
}
fn x_of(i: u32) -> u32 { return i; }
";

    fn valid(text: &str) {
        let module =
            naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
        let all = naga::valid::Capabilities::all();
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), all);
        validator.validate(&module).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
    }

    #[test]
    fn loads_and_stores_are_rewritten() {
        let text = widen(KERNEL);
        valid(&text);
        assert!(text.contains("x: array<vec2<u64>>;") && text.contains("y: array<vec2<u64>>;"), "{text}");
        assert!(text.contains("let max_x = wgrad_quad(x[n[id.x]]) + wgrad_quad(x[id.x]);"), "{text}");
        assert!(text.contains("if wgrad_quad(x[0u]).y == wgrad_quad(x[1u]).z {"), "{text}");
        let store = "y[id.x] = wgrad_pack(max(max_x, wgrad_quad(y[x_of(n[id.y])])));";
        assert!(text.contains(store), "{text}");
    }

    #[test]
    fn other_uses_leave_a_buffer_alone() {
        let buffer = "@group(0) @binding(0) var<storage, read_write> y: array<vec4<f32>>;\n";
        for body in [
            "y[0].x = 1.0;",
            "y[0][1] = 1.0;",
            "y[0] += vec4<f32>(1.0);",
            "let n = arrayLength(&y); y[0] = vec4<f32>(f32(n));",
            "{ let y = vec4<f32>(); var s = y[0]; s += 1.0; }",
        ] {
            let text = format!("{buffer}@compute @workgroup_size(1)\nfn main() {{ {body} }}\n");
            valid(&text);
            assert_eq!(widen(&text), text);
        }
    }

    #[test]
    fn kernels_stay_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
        let mut widened = 0;
        for file in std::fs::read_dir(folder).expect("the folder is there") {
            let text = std::fs::read_to_string(file.expect("it is listed").path()).expect("it is text");
            let wide = widen(&text);
            valid(&wide);
            widened += usize::from(wide.contains("wgrad_pack("));
        }
        assert!(widened > 10, "{widened}");
    }
}
