//! Loads and stores of 64-bit integers where a kernel loads and stores `vec4<f32>`, for adapters that run on a CPU.
//!
//! lavapipe compiles a load or store into a loop over the lanes, with a test of the bounds and a masked move for every
//! component: two components of 64 bits cost two thirds of four of 32. The bits stay where they are.

use super::accesses::{Accesses, Behind};
use super::words::{alias, has_block_comments, without_comments};
use std::borrow::Cow;

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
pub(crate) fn quads_as_pairs(source: &str) -> Cow<'_, str> {
    if has_block_comments(source) {
        return source.into();
    }
    let mut text = without_comments(source);
    let mut changed = false;
    for (name, element) in quad_buffers(&text) {
        let declared = format!(": array<{element}");
        let accesses = Accesses {
            name: &name,
            load: &|index| format!("wgrad_quad({name}[{index}])"),
            store: &|index, value| format!("{name}[{index}] = wgrad_pack({value})"),
            // Anything else of the same name leaves the buffer as it is.
            typed: &|_, rest| {
                let pairs = || Behind { text: ": array<vec2<u64>".into(), bytes: declared.len() };
                rest.starts_with(&declared).then(pairs)
            },
        };
        if let Some(rewritten) = accesses.rewrite(&text) {
            text = rewritten;
            changed = true;
        }
    }
    if !changed {
        return source.into();
    }
    text.push_str(FUNCTIONS);
    text.into()
}

/// Names of the storage buffers of `vec4<f32>`, and how their elements' type is written.
fn quad_buffers(text: &str) -> Vec<(String, String)> {
    let declarations = text.split("var<storage").skip(1);
    let parts = declarations.filter_map(|d| d.split(';').next()?.split_once('>')?.1.split_once(':'));
    parts
        .filter_map(|(name, ty)| {
            let element = ty.trim().strip_prefix("array<")?.strip_suffix('>')?;
            let quad = element == "vec4<f32>" || alias(text, element) == Some("vec4<f32>");
            quad.then(|| (name.trim().into(), element.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_valid, shaders};
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

    #[test]
    fn loads_and_stores_are_rewritten() {
        let text = quads_as_pairs(KERNEL);
        assert_valid("pairs", &text);
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
            assert_valid(body, &text);
            assert_eq!(quads_as_pairs(&text), text);
        }
    }

    #[test]
    fn kernels_stay_valid() {
        let mut changed = 0;
        for (file, text) in shaders() {
            let pairs = quads_as_pairs(&text);
            assert_valid(&file, &pairs);
            changed += usize::from(pairs.contains("wgrad_pack("));
        }
        assert!(changed > 10, "{changed}");
    }
}
