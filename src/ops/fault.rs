//! What a kernel can meet in the values themselves: an index outside its axis, an exponent that integers have no power for.
//!
//! The CPU returns the error at once. A kernel of a GPU records it in a few words of the device, first come first recorded,
//! and the call that next waits for the device returns the same error (`gpu/faults.rs`).

use super::{Grads, Key, Lowering, Operation, Vjp};
use crate::cpu::{Array, kernels::OutOfRange};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::{Spec, Tensor, Value};

/// Who was given what it can't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// An index of `index_select`.
    IndexSelect,
    /// A word or category of an `Embedding`.
    Embedding,
    /// An index of `gather`.
    Gather,
    /// A label that is none of the classes.
    Label,
    /// A negative exponent of an integer.
    Exponent,
}

const KINDS: [FaultKind; 5] =
    [FaultKind::IndexSelect, FaultKind::Embedding, FaultKind::Gather, FaultKind::Label, FaultKind::Exponent];

/// Set in a tag where the value is an i32.
const SIGNED: u32 = 1 << 31;

/// One of the values that can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub kind: FaultKind,
    /// The axis that is indexed.
    pub axis: usize,
    pub value: i64,
    /// Length of the axis, number of classes.
    pub bound: usize,
    /// Where the value stands among its like, where that is known.
    pub position: Option<usize>,
}

impl Fault {
    /// What tells a kernel's record who it is of: kind, axis, and whether the value has a sign.
    pub fn tag(kind: FaultKind, axis: usize, dtype: DType) -> u32 {
        let sign = if dtype == DType::I32 { SIGNED } else { 0 };
        (kind as u32 + 1) | (axis as u32) << 8 | sign
    }

    /// The fault that a kernel has recorded: tag, value, bound.
    pub fn from_words([tag, value, bound]: [u32; 3]) -> Option<Fault> {
        let kind = *KINDS.get(((tag & 0xff) as usize).checked_sub(1)?)?;
        let value = if tag & SIGNED != 0 { i64::from(value as i32) } else { value.into() };
        let axis = (tag >> 8 & 0xff) as usize;
        Some(Fault { kind, axis, value, bound: bound as usize, position: None })
    }
}

impl Fault {
    /// What the caller is told. (No `From`: that would leave the error type of closures with `?` open everywhere.)
    pub fn error(self) -> Error {
        let Fault { kind, axis, value, bound, position } = self;
        let at = |what: &str| position.map_or(String::new(), |p| format!(" {what} {p}"));
        let outside =
            || format!("index {value}{} is outside axis {axis} of length {bound}", at("at position"));
        match kind {
            FaultKind::IndexSelect => Error::argument("index_select", outside()),
            FaultKind::Gather => Error::argument("gather", outside()),
            FaultKind::Embedding => {
                let message =
                    format!("{} (index_select of its vectors): is the vocabulary too small?", outside());
                Error::argument("Embedding", message)
            }
            FaultKind::Label => {
                let message = format!(
                    "label {value}{} is not one of {bound} classes, the length of the logits' last axis (axis {axis})",
                    at("in row")
                );
                Error::argument("cross_entropy", message)
            }
            FaultKind::Exponent => {
                let message = format!(
                    "an integer to the power of {value}{}: integers have no negative powers; cast to f32 first",
                    at("at position")
                );
                Error::argument("pow", message)
            }
        }
    }
}

/// Integers that must lie within an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub kind: FaultKind,
    pub axis: usize,
    pub len: usize,
}

/// The same integers as u32, all of them below a length.
#[derive(Debug)]
struct CheckIndex(Check);

/// `indices` as u32, sure to be places of an axis: others are an error when the values are computed or, on a GPU, waited for.
pub(crate) fn check_index(indices: &Tensor, kind: FaultKind, axis: usize, len: usize) -> Result<Tensor> {
    // What the host knows of the values spares the kernels the check.
    let within = indices.device() != Device::Cpu && largest(indices, 0).is_some_and(|v| (v as usize) < len);
    if within {
        return indices.cast(DType::U32);
    }
    let op = CheckIndex(Check { kind, axis, len });
    Tensor::from_op(op, vec![indices.clone()], indices.shape(), DType::U32, indices.device())
}

/// How many views the look at what is below them goes through.
const MAX_VIEWS: usize = 16;

/// An upper bound of unsigned integers, where the host knows one: values that came from it, and views and selections of them.
fn largest(t: &Tensor, depth: usize) -> Option<u32> {
    match t.dtype() {
        DType::U8 => return Some(u8::MAX.into()),
        DType::U32 => {}
        _ => return None,
    }
    let known = t.0.with_value(|value| {
        value.map(|v| match v {
            Value::Gpu(array) => array.largest,
            Value::Cpu(_) => None,
        })
    });
    if let Some(known) = known {
        return known;
    }
    let view = ["alias", "reshape", "permute", "broadcast_to", "slice", "index_select"];
    if depth >= MAX_VIEWS || !view.contains(&t.0.op.name()) {
        return None;
    }
    let source = t.0.with_inputs(|inputs| inputs.first().cloned());
    largest(&source?, depth + 1)
}

impl Operation for CheckIndex {
    fn name(&self) -> &'static str {
        "check_index"
    }
    fn key(&self, key: &mut Key) {
        key.push_all(&[self.0.kind as usize, self.0.axis, self.0.len]);
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let Check { kind, axis, len } = self.0;
        let fault = |e: OutOfRange| {
            Fault { kind, axis, value: e.value, bound: len, position: Some(e.position) }.error()
        };
        let x = inputs[0].contiguous()?;
        macro_rules! checked {
            ($t:ty) => {{
                let values = x.slice::<$t>()?;
                crate::cpu::kernels::check_range(values, len).map_err(fault)?;
                Array::build::<u32>(out.shape, |dst| {
                    dst.iter_mut().zip(values).for_each(|(d, &v)| *d = v as u32);
                    Ok(())
                })
            }};
        }
        match x.dtype() {
            DType::U32 => {
                crate::cpu::kernels::check_range(x.slice::<u32>()?, len).map_err(fault)?;
                Ok(x)
            }
            DType::I32 => checked!(i32),
            DType::U8 => checked!(u8),
            other => Err(Error::dtype(self.name(), format!("indices are {other}, integers are needed"))),
        }
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Check(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_was_met() {
        for (i, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
            for (dtype, word, value) in [(DType::I32, u32::MAX, -1), (DType::U32, u32::MAX, 4_294_967_295)] {
                let fault = Fault::from_words([Fault::tag(kind, 5, dtype), word, 7]);
                assert_eq!(fault, Some(Fault { kind, axis: 5, value, bound: 7, position: None }));
            }
        }
        assert_eq!(Fault::from_words([0, 1, 2]), None);
        assert_eq!(Fault::from_words([99, 1, 2]), None);
    }
}
