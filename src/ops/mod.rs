//! What can be computed. One operation, one place: each file holds an operation's shape rule and the error a user sees,
//! its gradient, its CPU kernel, and which GPU kernel it asks for.

pub(crate) mod constant;
pub(crate) mod conv2d;
pub(crate) mod conv2d_transpose;
pub(crate) mod cross_entropy;
pub(crate) mod custom;
pub(crate) mod fault;
pub(crate) mod float;
pub(crate) mod index;
pub(crate) mod join;
pub(crate) mod masked;
pub(crate) mod matmul;
pub(crate) mod moments;
pub(crate) mod pointwise;
pub(crate) mod pool2d;
pub(crate) mod random;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod softmax;
pub(crate) mod table;
pub(crate) mod view;

use crate::cpu::{Array, kernels::Finish};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels::{KernelTarget, Launches};
use crate::shape::MAX_RANK;
use crate::tensor::{Spec, Tensor};
use pointwise::Pointwise;
use reduce::ReduceKind;
use std::sync::Arc;

/// Collects what makes two operations the same for the plan cache: everything but the values that may change from
/// step to step.
#[derive(Default, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key(pub Vec<u64>);

impl Key {
    pub fn push(&mut self, v: impl TryInto<u64>) {
        self.0.push(v.try_into().unwrap_or(u64::MAX));
    }
    pub fn push_all(&mut self, v: &[usize]) {
        self.0.push(v.len() as u64);
        self.0.extend(v.iter().map(|&x| x as u64));
    }
}

/// What an operation's gradient rule is given.
pub(crate) struct Vjp<'a> {
    pub inputs: &'a [Tensor],
    pub output: &'a Tensor,
    /// The gradient of the loss with respect to the output: same shape and type as the output.
    pub grad: &'a Tensor,
    /// Which inputs' gradients are wanted; the rule may leave out the others.
    pub needs: &'a [bool],
}

/// Gradients with respect to the inputs, in order; `None` where there is none or none was wanted.
pub(crate) type Grads = Vec<Option<Tensor>>;

/// How an operation looks to the GPU compiler.
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
    Check(fault::Check),
    /// `out[.., i, ..] = x[.., indices[i], ..]` along an axis; inputs are x and the indices, which are within the axis.
    Gather { axis: usize },
    /// Inputs one after the other along an axis.
    Concat { axis: usize },
    /// Inputs flattened into one vector at these offsets; what lies between is unspecified.
    Pack { offsets: &'a [usize] },
    /// A constant border: elements before each axis.
    Pad { before: &'a [usize], value: f64 },
    /// A hand-written kernel; inputs are contiguous.
    Kernel(Box<dyn Fn(&KernelTarget) -> Launches + 'a>),
    /// A matrix product, whose operands may be strided views.
    Matmul,
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

/// An operation: what a node computes from its inputs.
pub(crate) trait Operation: Send + Sync + std::fmt::Debug + 'static {
    /// Name as users know it.
    fn name(&self) -> &'static str;

    /// Static parameters: two nodes of equal name, key, input and output specs compute the same function.
    fn key(&self, _key: &mut Key) {}

    /// The operation with another stream of random numbers, where it begins one: see [`Graph::call_seeded`].
    ///
    /// [`Graph::call_seeded`]: crate::graph::Graph::call_seeded
    fn reseeded(&self, _seed: u64) -> Option<Arc<dyn Operation>> {
        None
    }

    /// Floating-point operations that it takes, for profiles: 0 for all that memory bounds rather than arithmetic.
    fn flops(&self, _inputs: &[Spec], _out: &Spec) -> u64 {
        0
    }

    /// The vector-Jacobian product, written with tensor operations.
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads>;

    /// Whether its GPU kernel comes from outside the crate: then every access and loop of it is checked, in release builds too.
    fn foreign(&self) -> bool {
        false
    }

    /// Whether the value is zero wherever the first input is not positive, by what the operation is given.
    fn vanishes_with_input(&self) -> bool {
        false
    }

    /// Which input it is where a condition holds, being 0 elsewhere: a gradient of one side of a `where`.
    fn masked(&self) -> Option<usize> {
        None
    }

    /// Computes the value on the CPU.
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array>;

    /// The number that a scalar from the host is.
    fn number(&self) -> Option<f64> {
        None
    }

    /// The function of a pointwise operation.
    fn pointwise(&self) -> Option<Pointwise> {
        None
    }

    /// The CPU kernel that leaves its output in pieces, if there is one.
    fn pieces(&self) -> Option<&dyn Pieces> {
        None
    }

    /// How the GPU computes it.
    fn gpu(&self, inputs: &[Spec], out: &Spec) -> Lowering<'_>;
}

/// An operation whose CPU kernel hands over each piece of its output while it is in a core's cache.
pub(crate) trait Pieces {
    /// As [`Operation::cpu`] for f32, calling `finish` on each piece.
    fn cpu_pieces(&self, inputs: &[Array], out: &Spec, finish: Finish<f32>) -> Result<Array>;
}

/// Checks that the tensors of one operation are on one device.
pub(crate) fn same_device(op: &str, tensors: &[&Tensor]) -> Result<()> {
    for t in &tensors[1..] {
        if t.device() != tensors[0].device() {
            return Err(Error::DeviceMismatch {
                op: op.into(),
                left: tensors[0].device().to_string(),
                right: t.device().to_string(),
            });
        }
    }
    Ok(())
}

/// Checks that a tensor is f32 or f64.
pub(crate) fn require_float(op: &str, what: &str, t: &Tensor) -> Result<()> {
    if t.dtype().is_float() {
        return Ok(());
    }
    let message = format!("{what} is {}, a float type is needed; use .cast(DType::F32)", t.dtype());
    Err(Error::dtype(op, message))
}

/// Checks that two tensors have the same element type.
pub(crate) fn same_dtype(op: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    let message = format!("element types differ: {} and {}; cast one of them", a.dtype(), b.dtype());
    Err(Error::dtype(op, message))
}
