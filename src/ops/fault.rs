//! What a kernel can meet in the values themselves: an index outside its axis, an exponent that integers have no power for.
//!
//! The CPU returns the error at once. A kernel of a GPU records it in a few words of the device, first come first recorded,
//! and the call that next waits for the device returns the same error (`gpu/faults.rs`).

use crate::dtype::DType;
use crate::error::Error;

/// Who was given what it can't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// An index of `take_along_axis`.
    TakeAlongAxis,
    /// An index of `scatter`.
    Scatter,
    /// An index of `scatter_add`.
    ScatterAdd,
    /// An index of `index_add`.
    IndexAdd,
    /// An index of `index`.
    Index,
    /// An index of `index_put`.
    IndexPut,
    /// A label of `Ctc` that is none of the classes.
    CtcLabel,
}

const KINDS: [FaultKind; 12] = [
    FaultKind::IndexSelect,
    FaultKind::Embedding,
    FaultKind::Gather,
    FaultKind::Label,
    FaultKind::Exponent,
    FaultKind::TakeAlongAxis,
    FaultKind::Scatter,
    FaultKind::ScatterAdd,
    FaultKind::IndexAdd,
    FaultKind::Index,
    FaultKind::IndexPut,
    FaultKind::CtcLabel,
];

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
            FaultKind::TakeAlongAxis => Error::argument("take_along_axis", outside()),
            FaultKind::Scatter => Error::argument("scatter", outside()),
            FaultKind::ScatterAdd => Error::argument("scatter_add", outside()),
            FaultKind::IndexAdd => Error::argument("index_add", outside()),
            FaultKind::Index => Error::argument("index", outside()),
            FaultKind::IndexPut => Error::argument("index_put", outside()),
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
            FaultKind::CtcLabel => {
                let message = format!(
                    "label {value}{} is not one of {bound} classes; rows are filled up with the blank",
                    at("in place")
                );
                Error::argument("Ctc", message)
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Check {
    pub kind: FaultKind,
    pub axis: usize,
    pub len: usize,
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
