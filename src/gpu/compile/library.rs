//! WGSL functions that generated expressions call. None has a loop: an expression is computed in loops of others, whose turns
//! are counted without it.

use super::emit::typed;
use super::integers;
use super::words::Helpers;
use crate::dtype::DType;
use crate::gpu::wgsl::{exchange, rename, shader};
use crate::ops::float::wgsl_function;
use crate::ops::philox;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A helper function of a width: its WGSL, and which others it calls.
struct Helper {
    text: String,
    calls: Vec<&'static str>,
}

/// Helper functions by name and width.
type ByName = HashMap<(&'static str, usize), Arc<Helper>>;

/// The WGSL of the helper functions, and of those that they call.
pub(super) fn helpers(used: &Helpers) -> String {
    static WRITTEN: Mutex<Option<ByName>> = Mutex::new(None);
    let mut text = String::new();
    let mut written = BTreeSet::new();
    let mut wanted: Vec<(&'static str, usize)> = used.iter().rev().copied().collect();
    while let Some((name, lanes)) = wanted.pop() {
        if !written.insert((name, lanes)) {
            continue;
        }
        // There are some sixty: kept for as long as the process runs.
        let mut helpers = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = helpers.get_or_insert_default().entry((name, lanes));
        let helper = known.or_insert_with(|| Arc::new(helper(name, lanes))).clone();
        drop(helpers);
        text.push_str(&helper.text);
        wanted.extend(helper.calls.iter().map(|&name| (name, lanes)));
    }
    text
}

/// One of the helper functions.
fn helper(name: &'static str, lanes: usize) -> Helper {
    let mut calls = Vec::new();
    let source = match name {
        "philox" => philox::wgsl_philox(),
        "normal" => philox::wgsl_normal(),
        "divide" => shader!("shared/divide.wgsl").replace("fn divide(", "fn divide_w("),
        "fault" => FAULT.to_string(),
        "check_index" => CHECK_INDEX.to_string(),
        "check_exponent" => CHECK_EXPONENT.to_string(),
        "ipow_i32" | "ipow_u32" => exchange(IPOW, BITS, &IPOW_BIT.repeat(31)),
        _ => match integers::text(name) {
            Some(text) => text.to_string(),
            None => wgsl_function(name).map_or(String::new(), |(_, text)| format!("{text}\n}}\n")),
        },
    };
    let [float, unsigned, signed] = [DType::F32, DType::U32, DType::I32].map(|t| typed(t, lanes));
    let integer = if name.ends_with("_i32") { &signed } else { &unsigned };
    let text = rename(&source, |word| match word {
        "T" => Some(float.clone()),
        "I" => Some(unsigned.clone()),
        "S" => Some(signed.clone()),
        "B" => Some(if lanes == 4 { "vec4<bool>" } else { "bool" }.into()),
        "LARGEST" => Some(if lanes == 4 { LARGEST_OF_4 } else { "i" }.into()),
        "SMALLEST" => Some(if lanes == 4 { SMALLEST_OF_4 } else { "y" }.into()),
        "NAME" => Some(format!("{name}_{lanes}")),
        "INT" => Some(integer.clone()),
        _ => {
            let stem = word.strip_suffix("_w")?;
            calls.extend(wgsl_function(stem).map(|(name, _)| name));
            Some(format!("{stem}_{lanes}"))
        }
    });
    Helper { text, calls }
}

/// The name of the words that a kernel records faults in: it tells that the kernel does. Their binding is
/// [`FAULTS_BINDING`](crate::gpu::faults::FAULTS_BINDING).
pub(super) const FAULTS: &str = "wg_faults";

/// Records a value that can't be taken, with what it is and the bound that it should be below. The first one stays; what the
/// words are is decoded in `gpu/faults.rs`.
pub(super) const FAULT: &str =
    "@group(0) @binding(33) var<storage, read_write> wg_faults: array<atomic<u32>, 4>;
fn wg_fault(tag: u32, value: u32, bound: u32) {
    if (atomicAdd(&wg_faults[0], 1u) == 0u) {
        atomicStore(&wg_faults[1], tag);
        atomicStore(&wg_faults[2], value);
        atomicStore(&wg_faults[3], bound);
    }
}
";

/// The index, or 0 in place of one that is not below the length.
const CHECK_INDEX: &str = "fn check_index_w(i: I, len: u32, tag: u32) -> I {
    let outside = i >= I(len);
    if (any(outside)) { wg_fault(tag, LARGEST, len); }
    return select(i, I(0u), outside);
}
";
const LARGEST_OF_4: &str = "max(max(i.x, i.y), max(i.z, i.w))";

/// The exponent, or 0 in place of a negative one.
const CHECK_EXPONENT: &str = "fn check_exponent_w(y: S, tag: u32) -> S {
    let negative = y < S(0);
    if (any(negative)) { wg_fault(tag, bitcast<u32>(SMALLEST), 0u); }
    return select(y, S(0), negative);
}
";
const SMALLEST_OF_4: &str = "min(min(y.x, y.y), min(y.z, y.w))";

/// Integer power by squaring.
const IPOW: &str = "fn NAME(x: INT, y: INT) -> INT {
    var base = x;
    var rest = y;
    var result = INT(1);
    // bits
    return select(result, result * base, (rest & INT(1)) != INT(0));
}
";
const BITS: &str = "    // bits\n";
const IPOW_BIT: &str = "    result = select(result, result * base, (rest & INT(1)) != INT(0));
    base = base * base;
    rest = rest >> I(1u);
";

#[cfg(test)]
mod tests {
    use super::super::emit::literal;
    use super::*;
    use crate::dtype::DType;
    use crate::ops::float::wgsl_functions;

    #[test]
    fn no_function_has_a_loop() {
        let own = ["philox", "normal", "check_exponent", "ipow_i32", "ipow_u32"];
        let of_integers = integers::names();
        for name in own.into_iter().chain(of_integers).chain(wgsl_functions().keys().copied()) {
            let text = helpers(&BTreeSet::from([(name, 1), (name, 4)]));
            assert!(text.contains("fn "), "{name}");
            for word in ["for", "while", "loop"] {
                let mut found = false;
                rename(&text, |w| {
                    found |= w == word;
                    None
                });
                assert!(!found, "{name} has a loop: {text}");
            }
        }
    }

    /// `f32::MAX` is 3.4028235e38 to Rust, which is more, and which compilers that don't round before they compare refuse.
    #[test]
    fn no_number_in_a_text_is_beyond_the_largest_float() {
        for f in [f32::MAX, f32::MIN, f32::INFINITY, f32::NAN] {
            assert_eq!(literal(f.into(), DType::F32), format!("wg_bits({}u)", f.to_bits()));
        }
        for f in [f32::MAX.next_down(), f32::MIN.next_up(), 0.1, f32::MIN_POSITIVE] {
            let text = literal(f.into(), DType::F32);
            let number: f64 = text["f32(".len()..text.len() - 1].parse().unwrap();
            assert!(number.abs() <= f32::MAX.into() && number as f32 == f, "{text}");
        }
        for (file, text) in crate::gpu::wgsl::tests::shaders() {
            for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.') {
                let number = word.parse::<f64>().unwrap_or_default();
                assert!(
                    number.is_nan() || number.is_infinite() || number <= f32::MAX.into(),
                    "{file}: {word}"
                );
            }
        }
    }
}
