//! The words that operations and backends share: which pointwise function, which reduction, which view, and how an operation
//! looks to the compiler of the GPU.

use super::fault::Check;
use super::table::{Binary, Compare, Unary};
use crate::dtype::DType;
use crate::gpu::kernels::{KernelTarget, Launches};
use crate::shape::MAX_RANK;

/// How an operation looks to the GPU compiler; and to the CPU, where it looks at more than one operation at a time.
pub(crate) enum Lowering<'a> {
    /// A value that changes from step to step and is never part of a plan: the bits of up to two words.
    Scalar([u32; 2]),
    /// A function of the element's linear index.
    Index(IndexFn),
    /// A function of the inputs' elements at the same (broadcast) coordinates.
    Pointwise(Pointwise),
    /// The same elements under other coordinates.
    View(View<'a>),
    /// A reduction of the masked axes.
    Reduce { kind: ReduceKind, axes: [bool; MAX_RANK] },
    /// Integers that must be places of an axis, as u32; one that is not is recorded, and 0 stands for it.
    Check(Check),
    /// `out[.., i, ..] = x[.., indices[i], ..]` along an axis; inputs are x and the indices, which are within the axis.
    Gather { axis: usize },
    /// Inputs one after the other along an axis.
    Concat { axis: usize },
    /// As [`Concat`](Lowering::Concat), of so many inputs that each is copied to its place instead of all being read by one kernel.
    Assemble { axis: usize },
    /// The first input with the second written over it along an axis, from a place on that the third gives (one u32).
    Update { axis: usize },
    /// Inputs flattened into one vector at these offsets; what lies between is unspecified.
    Pack { offsets: &'a [usize] },
    /// A constant border: elements before each axis.
    Pad { before: &'a [usize], value: f64 },
    /// A hand-written kernel; inputs are contiguous.
    Kernel(Box<dyn Fn(&KernelTarget) -> Launches + 'a>),
    /// A matrix product, whose operands may be strided views.
    Matmul,
    /// A graph that is computed again and again: the loop of a `Looped`. Inputs are contiguous.
    Loop,
    /// There is no such thing on a GPU.
    Unsupported(String),
}

impl Lowering<'_> {
    /// Whether its kernel may meet a value that has to be recorded, where its output is of this type.
    pub fn records(&self, dtype: DType) -> bool {
        match self {
            Lowering::Check(_) => true,
            Lowering::Pointwise(op) => op.records(dtype),
            _ => false,
        }
    }
}

/// Functions of the linear index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexFn {
    /// The index itself.
    Iota,
    /// Philox bits; the input is the key (two words).
    RandomBits,
}

/// Views: index arithmetic in the consumer, no copy.
pub(crate) enum View<'a> {
    /// Same elements in row-major order, any shape.
    Reshape,
    /// Output axis d is input axis `perm[d]`.
    Permute(&'a [usize]),
    /// NumPy broadcasting to the output's shape.
    Broadcast,
    /// Output index i along axis d reads input index `start[d] + i * step[d]`.
    Slice { start: &'a [usize], step: &'a [isize] },
}

/// A pointwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pointwise {
    Unary(Unary),
    Binary(Binary),
    Compare(Compare),
    /// condition, value where it is not 0, value where it is
    Where,
    /// x, low, high
    Clamp,
    /// To the output's type.
    Cast,
    /// Random bits to [0, 1): see [`philox`](super::philox).
    Uniform,
    /// Random bits to a standard normal.
    Normal,
}

impl Pointwise {
    /// Whether a kernel may meet a value that the function has no result for, which it has to record: integers have no
    /// negative powers.
    pub fn records(self, dtype: DType) -> bool {
        self == Pointwise::Binary(Binary::Pow) && dtype == DType::I32
    }
}

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
}

impl ReduceKind {
    pub fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Prod => "prod",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
        }
    }
}
