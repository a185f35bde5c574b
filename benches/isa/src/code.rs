//! What machine code is made of.

use crate::driver::Built;
use std::collections::BTreeMap;

/// Figures of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    pub vgprs: u64,
    pub spills: u64,
    /// Waves that a SIMD has the registers for.
    pub waves: u64,
    /// Multiply-adds in the loop that has most of them.
    pub fmas: usize,
    /// Their share of all instructions, and of the vector ones, in percent; 0 where there are none.
    pub of_all: f64,
    pub of_vector: f64,
    /// Cycles of workgroup memory for a cycle of multiply-adds.
    pub lds: f64,
    /// Bytes per instruction that loads or stores global memory; 0 where there is none.
    pub bytes: f64,
}

/// Counts of instructions.
#[derive(Default)]
struct Counts {
    kinds: BTreeMap<Kind, usize>,
    lds_cycles: f64,
    accesses: usize,
    bytes: usize,
}

impl Counts {
    fn of(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Fma,
    Vector,
    LdsLoad,
    Memory,
    /// Scalar instructions, waits, stores to workgroup memory.
    Other,
}

impl Code {
    pub fn new(built: &Built) -> Code {
        let (ops, loops) = parse(&built.assembly);
        let inner: Vec<&[String]> = innermost(&loops).into_iter().map(|(from, to)| &ops[from..=to]).collect();
        let hottest = inner.iter().max_by_key(|body| (count(body).of(Kind::Fma), body.len()));
        let hottest = hottest.map(|body| count(body)).unwrap_or_default();
        // Memory: the innermost loops, else all of the kernel.
        let loops: Vec<Counts> = inner.iter().map(|body| count(body)).filter(|c| c.accesses > 0).collect();
        let whole = [count(&ops)];
        let memory = if loops.is_empty() { &whole[..] } else { &loops };
        let sum = |f: fn(&Counts) -> usize| memory.iter().map(f).sum::<usize>() as f64;
        let share = |part: usize, of: usize| if part == 0 { 0.0 } else { 100.0 * part as f64 / of as f64 };
        let fmas = hottest.of(Kind::Fma);
        let accesses = sum(|c| c.accesses);
        Code {
            vgprs: built.vgprs,
            spills: built.spills,
            waves: built.waves,
            fmas,
            of_all: share(fmas, hottest.kinds.values().sum()),
            of_vector: share(fmas, fmas + hottest.of(Kind::Vector)),
            lds: if fmas == 0 { 0.0 } else { hottest.lds_cycles / fmas as f64 },
            bytes: if accesses == 0.0 { 0.0 } else { sum(|c| c.bytes) / accesses },
        }
    }
}

/// The names of all instructions, and from which to which loops go.
fn parse(assembly: &str) -> (Vec<String>, Vec<(usize, usize)>) {
    let (mut labels, mut loops, mut ops) = (BTreeMap::new(), Vec::new(), Vec::new());
    for line in assembly.lines() {
        let line = line.split(';').next().unwrap_or("").trim();
        let mut words = line.split_whitespace();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, ops.len());
        } else if let Some(op) = words.next() {
            let branch = op.starts_with("s_branch") || op.starts_with("s_cbranch");
            if let Some(&from) = words.next().filter(|_| branch).and_then(|label| labels.get(label)) {
                loops.push((from, ops.len()));
            }
            // RDNA3 may do two things in one instruction: both count.
            ops.extend(line.split("::").filter_map(|half| half.split_whitespace().next()).map(String::from));
        }
    }
    (ops, loops)
}

/// Those that no other lies in.
fn innermost(loops: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let within = |l: &(usize, usize), m: &(usize, usize)| m.0 >= l.0 && m.1 < l.1;
    loops.iter().filter(|l| !loops.iter().any(|m| within(l, m))).copied().collect()
}

fn count(ops: &[String]) -> Counts {
    let mut counts = Counts::default();
    for op in ops {
        let kind = kind(op);
        *counts.kinds.entry(kind).or_insert(0) += 1;
        match kind {
            // A compute unit has two SIMDs and 128 bytes of its memory in a cycle; a wave is 32 times the width.
            Kind::LdsLoad => counts.lds_cycles += 2.0 * 32.0 * width(op) as f64 / 128.0,
            Kind::Memory => {
                counts.accesses += 1;
                counts.bytes += width(op);
            }
            _ => {}
        }
    }
    counts
}

fn kind(op: &str) -> Kind {
    let begins = |any: &[&str]| any.iter().any(|p| op.starts_with(p));
    match op {
        _ if begins(&["v_fma", "v_pk_fma", "v_dual_fma", "v_mac_f", "v_dot", "v_wmma"]) => Kind::Fma,
        _ if begins(&["ds_read", "ds_load"]) => Kind::LdsLoad,
        _ if begins(&["buffer_load", "buffer_store", "global_load", "global_store"]) => Kind::Memory,
        _ if begins(&["v_"]) => Kind::Vector,
        _ => Kind::Other,
    }
}

/// Bytes of an access for one lane.
fn width(op: &str) -> usize {
    let twice = if op.contains("read2") || op.contains("load_2addr") { 2 } else { 1 };
    let one = match op {
        _ if op.contains("x4") || op.contains("b128") => 16,
        _ if op.contains("x3") || op.contains("b96") => 12,
        _ if op.contains("x2") || op.contains("b64") => 8,
        _ if op.contains("byte") || op.contains("8") => 1,
        _ if op.contains("short") || op.contains("16") => 2,
        _ => 4,
    };
    twice * one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_loop_with_most_multiply_adds_is_counted() {
        let assembly = "BB0:
    s_mov_b32 s0, 0 ; 1234
BB1:
    buffer_load_dword v0, v1, s[0:3], 0 offen
BB2:
    ds_read_b128 v[0:3], v4
    ds_read2_b32 v[0:1], v4 offset0:1
    v_fma_f32 v0, v1, v2, v3
    v_fmac_f32 v0, v1, v2
    v_mov_b32 v0, v1
    s_cbranch_scc1 BB2
    s_cbranch_scc1 BB1
    buffer_store_dwordx4 v[0:3], v1, s[0:3], 0
";
        let built = Built { vgprs: 8, spills: 0, waves: 16, assembly: assembly.into() };
        let code = Code::new(&built);
        assert_eq!((code.fmas, code.lds, code.bytes), (2, 6.0, 10.0));
        assert!((code.of_all - 100.0 / 3.0).abs() < 1e-9 && (code.of_vector - 200.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn accesses_have_widths() {
        for (op, bytes) in [
            ("buffer_load_dword", 4),
            ("buffer_load_dwordx2", 8),
            ("buffer_load_b128", 16),
            ("buffer_load_ubyte", 1),
            ("global_load_u8", 1),
            ("global_store_b16", 2),
            ("ds_read2_b64", 16),
            ("ds_load_2addr_b32", 8),
            ("ds_load_b32", 4),
        ] {
            assert_eq!(width(op), bytes, "{op}");
        }
    }
}
