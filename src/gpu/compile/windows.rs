//! Values larger than what a kernel can bind at once (128 MiB on some adapters): such a buffer is bound in windows, one after
//! the other, and the kernel's loads and stores choose among them. Done to the text of the finished kernel, whoever wrote it.

use super::Values;
use super::step::{Place, Step, Window, locate};
use crate::error::{Error, Result};
use crate::gpu::array::storage_bytes;
use crate::gpu::context::Gpu;
use crate::gpu::kernels::wide::{assigned, closing, token};
use crate::gpu::memory::ALIGNMENT;
use crate::gpu::pipeline::BindingKind;
use std::fmt::Write;

/// Binding of the first further window.
const FIRST_BINDING: u32 = 48;

/// Bytes that a binding of a place covers.
pub(super) fn bytes(values: &Values<'_>, temps: &[u64], place: Place) -> u64 {
    let stored = match place {
        Place::Temp(t) => return temps[t].next_multiple_of(16).max(16),
        Place::Value(stored) => stored,
    };
    let owner = locate(values, stored);
    let left = storage_bytes(values.spec(owner.value)).saturating_sub(owner.offset).max(16);
    match stored.offset {
        0 => storage_bytes(values.spec(stored.value)).min(left),
        // a strided operand that begins inside of its value: up to the end
        _ => left,
    }
}

/// Bindings that these values need beyond one each.
pub(super) fn further(values: &Values<'_>, list: &[usize]) -> usize {
    let windows = |&v: &usize| storage_bytes(values.spec(v)).div_ceil(values.max_binding) as usize;
    list.iter().map(windows).map(|n| n.saturating_sub(1)).sum()
}

/// Binds what is too large in windows.
pub(super) fn split(gpu: &Gpu, values: &Values<'_>, temps: &[u64], step: &mut Step) -> Result<()> {
    let window = gpu.max_binding / ALIGNMENT * ALIGNMENT;
    let large = |&(binding, place): &(u32, Place)| {
        let bytes = bytes(values, temps, place);
        (bytes > window).then_some((binding, place, bytes))
    };
    let reads: Vec<_> = step.reads.iter().filter_map(large).collect();
    let writes: Vec<_> = step.writes.iter().filter_map(large).collect();
    if reads.is_empty() && writes.is_empty() {
        return Ok(());
    }
    let sizes: Vec<u64> = reads.iter().chain(&writes).map(|b| b.2).collect();
    let refuse = |why: &str| {
        let name = step.tasks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(" | ");
        let message = format!(
            "{name}: values of {sizes:?} bytes, but a kernel can bind {window} bytes at once, {} times ({why}); use a smaller \
             batch, or work on parts of the tensor",
            gpu.max_storage_buffers
        );
        Error::OutOfMemory { device: gpu.name.clone(), message }
    };
    let mut text: String =
        step.source.wgsl.lines().flat_map(|l| [l.split("//").next().unwrap_or(""), "\n"]).collect();
    let mut next = FIRST_BINDING;
    let mut windows = Vec::new();
    let mut added = [Vec::new(), Vec::new()];
    for (write, list) in [(0, &reads), (1, &writes)] {
        for &(binding, place, bytes) in list {
            let count = bytes.div_ceil(window);
            let bindings: Vec<u32> = std::iter::once(binding).chain(next..).take(count as usize).collect();
            next += count as u32 - 1;
            text = cut(&text, &bindings, window).ok_or_else(|| refuse("its kernel can't be cut"))?;
            for (w, &binding) in (0..).zip(&bindings) {
                let offset = w * window;
                windows.push(Window { binding, offset, bytes: window.min(bytes - offset) });
            }
            added[write].extend(bindings[1..].iter().map(|&b| (b, place)));
        }
    }
    let further = added[0].len() + added[1].len();
    let bound = step.reads.len() + step.writes.len() + step.records() as usize + further;
    if bound > gpu.max_storage_buffers {
        return Err(refuse(&format!("{bound} bindings would be needed")));
    }
    let [reads, writes] = added;
    step.source.bindings.extend(reads.iter().map(|r| (r.0, BindingKind::Read)));
    step.source.bindings.extend(writes.iter().map(|w| (w.0, BindingKind::ReadWrite)));
    step.reads.extend(reads);
    step.writes.extend(writes);
    step.source.wgsl = text.into();
    step.windows = windows;
    Ok(())
}

/// A module whose buffer at `bindings[0]` is bound in windows of so many bytes at all of them; `None` where it is used
/// otherwise than by loads and stores of elements.
fn cut(text: &str, bindings: &[u32], window: u64) -> Option<String> {
    if text.contains("/*") {
        return None;
    }
    let head = format!("@binding({})", bindings[0]);
    let (at, line) = lines(text).find(|(_, l)| l.contains(&head) && l.contains("var<storage"))?;
    let (access, declared) = line.split_once("var<")?.1.split_once('>')?;
    let (name, ty) = declared.trim().strip_suffix(';')?.split_once(':')?;
    let (name, element) = (name.trim(), ty.trim().strip_prefix("array<")?.strip_suffix('>')?);
    let elements = window / stride(text, element)?;
    let mut out = String::with_capacity(text.len() + 512);
    for (w, binding) in bindings.iter().enumerate() {
        let _ =
            writeln!(out, "@group(0) @binding({binding}) var<{access}> {name}_window{w}: array<{element}>;");
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
    let _ = write!(out, "fn {name}_load(i: u32) -> {element} {{\n{load}}}\n");
    if access.contains("read_write") {
        let store = choose(&|w, i| format!("{name}_window{w}[{i}] = v; return;"));
        let _ = write!(out, "fn {name}_store(i: u32, v: {element}) {{\n{store}}}\n");
    }
    out.insert_str(0, &accesses(&text[..at], name)?);
    out.push_str(&accesses(&text[at + line.len()..], name)?);
    Some(out)
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
fn stride(text: &str, element: &str) -> Option<u64> {
    Some(match element {
        "f32" | "u32" | "i32" => 4,
        "vec2<f32>" | "vec2<u32>" | "vec2<i32>" | "u64" => 8,
        "vec4<f32>" | "vec4<u32>" | "vec4<i32>" | "vec2<u64>" => 16,
        "vec4<u64>" => 32,
        _ => {
            let alias = format!("alias {element} = ");
            let named = text.split_once(&alias)?.1.split_once(';')?.0.trim();
            if named == element {
                return None;
            }
            return stride(text, named);
        }
    })
}

/// The text with loads and stores of a buffer's elements as calls.
fn accesses(text: &str, name: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    while let Some(found) = token(&text[at..], name) {
        let end = at + found.end;
        out.push_str(&text[at..at + found.start]);
        let rest = &text[end..];
        if rest.starts_with(':') {
            // Something else of this name, as far as it is known.
            at = match declared(&out)? {
                Declared::Member => end,
                Declared::Parameter => end + function_end(rest)?,
            };
            out.push_str(&text[end - name.len()..at]);
            continue;
        }
        if !rest.starts_with('[') {
            return None;
        }
        let close = end + closing(rest)?;
        let index = accesses(&text[end + 1..close], name)?;
        let after = &text[close + 1..];
        at = close + 1;
        if let Some(value) = assigned(after) {
            let length = value.find(';')?;
            let value = accesses(&value[..length], name)?;
            let _ = write!(out, "{name}_store(u32({index}), {})", value.trim());
            at += after.find(';')?;
        } else {
            // Neither `x[i] += v` nor `x[i].y = v` nor `x[i][j] = v` nor `&x[i]`.
            let place = after.split([';', '(', '{', ',']).next().unwrap_or_default();
            let stores = place.match_indices('=').any(|(i, _)| {
                let before = place[..i].chars().next_back().unwrap_or(' ');
                !place[i + 1..].starts_with('=') && !matches!(before, '=' | '!' | '<' | '>')
            });
            let lone = out.trim_end();
            if stores || (lone.ends_with('&') && !lone.ends_with("&&")) {
                return None;
            }
            let _ = write!(out, "{name}_load(u32({index}))");
        }
    }
    out.push_str(&text[at..]);
    Some(out)
}

/// What a name with a type declares, other than a variable.
enum Declared {
    /// A member of a structure.
    Member,
    /// A parameter, which is what the name means in the whole function.
    Parameter,
}

/// What is declared at the end of this text.
fn declared(before: &str) -> Option<Declared> {
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
        '{' if head.starts_with("struct ") => Some(Declared::Member),
        '(' if head.starts_with("fn ") => Some(Declared::Parameter),
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
    use super::cut;

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

    fn valid(text: &str) {
        let module =
            naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
        let all = naga::valid::Capabilities::all();
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), all);
        validator.validate(&module).unwrap_or_else(|e| panic!("{e:?}:\n{text}"));
    }

    #[test]
    fn a_buffer_in_windows() {
        let mut text = KERNEL.to_string();
        for bindings in [&[1, 48, 49][..], &[2, 50], &[3, 51]] {
            text = cut(&text, bindings, 1024).unwrap();
            valid(&text);
        }
        assert!(text.contains("if (i < 64u) { return x_window0[i]; }"), "{text}");
        assert!(text.contains("if (i < 128u) { return x_window1[i - 64u]; }"), "{text}");
        assert!(text.contains("return n_window1[i - 256u];"), "{text}");
        assert!(text.contains("y_store(u32(id.x), max(max_x, x_load(u32(n_load(u32(n_load(u32(id.y))))))))"));
    }

    #[test]
    fn other_uses_are_refused() {
        for other in ["y[0] += F(1.0);", "y[0].x = 1.0;", "let p = &y[0];", "let c = arrayLength(&y);"] {
            assert_eq!(cut(&KERNEL.replace("let max_x", &format!("{other} let max_x")), &[3, 48], 256), None);
        }
        assert_eq!(cut(&KERNEL.replace("array<F>", "array<mat2x2<f32>>"), &[1, 48], 256), None);
        let member = KERNEL.replace("@compute", "struct S { y: u32, x: u32 }\n@compute");
        valid(&cut(&member, &[1, 48], 256).unwrap());
        let parameter = "fn f(x: F, i: u32) -> f32 { if x[i] > 0.0 { return x[0]; } return 1.0; }\n@compute";
        let text = cut(&KERNEL.replace("@compute", parameter), &[1, 48], 256).unwrap();
        assert!(text.contains(parameter), "{text}");
        valid(&text);
        let variable = KERNEL.replace("let max_x", "var x: F; let max_x");
        assert_eq!(cut(&variable, &[1, 48], 256), None);
    }
}
