//! Operations from outside the crate, with their own gradient.

use super::key::{Identity, Key};
use super::{Grads, Lowering, Operation, Vjp};
use crate::cpu::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::kernels::{Launch, Launches, Operand, Turns, Uniform, fold};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// A WGSL kernel of a [`CustomOp`].
///
/// The source is a complete WGSL module with the entry point `main`. Its bindings are all in group 0: binding 0 is a
/// uniform block of `u32`s (the contents of `uniform`), then the inputs (`var<storage, read>`), then the output
/// (`var<storage, read_write>`), all contiguous.
///
/// It is compiled with bounds checks and a limit on loops, in release builds as well: an access outside a buffer reads or
/// writes elsewhere in that buffer or nothing, never memory of others.
///
/// ```
/// use wgrad::CustomKernel;
/// // y = 2 x, a number for each invocation.
/// let source = "
///     @group(0) @binding(1) var<storage, read> x: array<f32>;
///     @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///     @compute @workgroup_size(64)
///     fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///         if id.x < arrayLength(&y) { y[id.x] = 2.0 * x[id.x]; }
///     }";
/// let kernel = CustomKernel::new(source, 1000, 64);
/// assert_eq!(kernel.invocations, 1000);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct CustomKernel {
    /// The WGSL module. The loops of one invocation must stay below 65,535 turns, all of them together: some drivers end
    /// them there without a word.
    pub source: String,
    /// Contents of the uniform block: sizes and such.
    pub uniform: Vec<u32>,
    /// Invocations that are needed in all, and the workgroup size declared in the source. More than 65,535 workgroups
    /// are folded into x and y; the linear workgroup is `workgroup_id.y * num_workgroups.x + workgroup_id.x`.
    pub invocations: usize,
    /// The workgroup size declared in the source.
    pub workgroup_size: usize,
}

impl CustomKernel {
    /// A kernel with an empty uniform block that needs so many invocations, in workgroups of the size that its source declares.
    pub fn new(source: impl Into<String>, invocations: usize, workgroup_size: usize) -> CustomKernel {
        CustomKernel { source: source.into(), uniform: Vec::new(), invocations, workgroup_size }
    }

    /// The same with a uniform block of these words.
    pub fn uniform(self, uniform: impl Into<Vec<u32>>) -> CustomKernel {
        CustomKernel { uniform: uniform.into(), ..self }
    }
}

/// An operation from outside the crate: f32 inputs of any shapes, at least one, and one f32 output. It is lazy, differentiable
/// and part of plans like wgrad's own; [`apply_custom`](crate::apply_custom) calls it.
///
/// See `examples/custom_op.rs` for one that runs on both devices.
///
/// ```
/// use std::sync::Arc;
/// use wgrad::prelude::*;
/// use wgrad::{CustomOp, Shape, apply_custom};
///
/// #[derive(Debug)]
/// struct Cube;
///
/// impl CustomOp for Cube {
///     fn name(&self) -> &'static str {
///         "cube"
///     }
///     fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
///         Ok(inputs[0])
///     }
///     fn cpu(&self, inputs: &[&[f32]], _: &[Shape], output: &mut [f32]) -> Result<()> {
///         output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = x * x * x);
///         Ok(())
///     }
///     fn vjp(&self, inputs: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
///         Ok(vec![Some(((inputs[0].square()? * 3.0)? * grad)?)])
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let x = Tensor::new([1.0f32, 2.0], Device::Cpu)?.watch()?;
/// let y = apply_custom(Arc::new(Cube), &[&x])?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 8.0]);
/// assert_eq!(y.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?, [3.0, 12.0]);
/// # Ok(()) }
/// ```
pub trait CustomOp: Any + Send + Sync + std::fmt::Debug {
    /// Name for errors and profiles.
    fn name(&self) -> &'static str;

    /// Words that tell apart two operations of this type: equal parameters must mean the same function.
    fn parameters(&self) -> Vec<u64> {
        Vec::new()
    }

    /// The output's shape.
    ///
    /// # Errors
    ///
    /// Inputs that the operation does not take: the caller of [`apply_custom`](crate::apply_custom) sees this error.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Computes the output (row-major) from the inputs (row-major) on the CPU. The output holds anything before: write all of it.
    ///
    /// # Errors
    ///
    /// Values that the operation does not take: the call that computes gives this error.
    fn cpu(&self, inputs: &[&[f32]], shapes: &[Shape], output: &mut [f32]) -> Result<()>;

    /// The kernel for GPUs; `None` makes applying the operation there an error.
    fn gpu(&self, _shapes: &[Shape]) -> Option<CustomKernel> {
        None
    }

    /// Gradients with respect to the inputs, in order and of their shapes, written with tensor operations; `None` for an input
    /// without. `grad` is the gradient of the loss with respect to the output.
    ///
    /// # Errors
    ///
    /// Those of the tensor operations.
    fn vjp(&self, inputs: &[Tensor], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

#[derive(Debug)]
struct Custom {
    op: Arc<dyn CustomOp>,
    shapes: Vec<Shape>,
    kernel: Option<CustomKernel>,
    /// The number of the kernel's source, 0 where there is none: see [`number`].
    source: u64,
}

/// A number for a source, from 1, the same for equal sources and no others: keys of plans hold it instead of the whole text.
fn number(source: &str) -> u64 {
    static NUMBERS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
    let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
    let numbers = numbers.get_or_insert_default();
    let next = numbers.len() as u64 + 1;
    match numbers.get(source) {
        Some(&known) => known,
        None => *numbers.entry(source.to_string()).or_insert(next),
    }
}

/// Applies a custom operation to f32 tensors of one device; lazy, fused around and differentiable as the built-in ones.
/// [`CustomOp`] has an example.
///
/// # Errors
///
/// There are no inputs, they are not f32 or live on different devices; the operation's [`shape`](CustomOp::shape) refuses them; or
/// it has no kernel for GPUs, and they live on one.
pub fn apply(op: Arc<dyn CustomOp>, inputs: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = inputs.first() else {
        return Err(Error::argument(op.name(), "a custom operation needs at least one input"));
    };
    super::same_device(op.name(), inputs)?;
    for t in inputs {
        if t.dtype() != DType::F32 {
            return Err(Error::dtype(op.name(), format!("inputs must be f32, got {}", t.dtype())));
        }
    }
    let shapes: Vec<Shape> = inputs.iter().map(|t| t.shape()).collect();
    let shape = op.shape(&shapes)?;
    let kernel = op.gpu(&shapes);
    if kernel.is_none() && first.device() != crate::Device::Cpu {
        let message = "has no GPU kernel; implement CustomOp::gpu, or move the inputs to Device::Cpu";
        return Err(Error::argument(op.name(), message));
    }
    let device = first.device();
    let source = kernel.as_ref().map_or(0, |k| number(&k.source));
    let node = Custom { op, shapes, kernel, source };
    Tensor::from_op(node, inputs.iter().map(|&t| t.clone()).collect(), shape, DType::F32, device)
}

/// The type of the operation from outside, its parameters, and what the GPU would run: a type need not know that a closure or a
/// source in it makes it another operation.
impl Identity for Custom {
    fn identify(&self, key: &mut Key) {
        // The shapes are those of the inputs.
        let Custom { op, shapes: _, kernel, source } = self;
        key.push_type(TypeId::of::<Custom>());
        let any: &dyn Any = &**op;
        key.push_type(any.type_id());
        op.parameters().hash(key);
        source.hash(key);
        if let Some(CustomKernel { source: _, uniform, invocations, workgroup_size }) = kernel {
            (uniform, invocations, workgroup_size).hash(key);
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Operation for Custom {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn foreign(&self) -> bool {
        true
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let grads = self.op.vjp(cx.inputs, cx.output, cx.grad)?;
        if grads.len() != cx.inputs.len() {
            let message = format!("vjp gave {} gradients for {} inputs", grads.len(), cx.inputs.len());
            return Err(Error::argument(self.name(), message));
        }
        for (x, g) in cx.inputs.iter().zip(&grads) {
            if let Some(g) = g.as_ref().filter(|g| g.shape() != x.shape()) {
                let message =
                    format!("vjp gave a gradient of shape {} for an input of shape {}", g.shape(), x.shape());
                return Err(Error::shape(self.name(), message));
            }
        }
        Ok(grads)
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let arrays = inputs.iter().map(Array::contiguous).collect::<Result<Vec<_>>>()?;
        let slices = arrays.iter().map(|a| a.slice::<f32>()).collect::<Result<Vec<_>>>()?;
        Array::build::<f32>(out.shape, |dst| self.op.cpu(&slices, &self.shapes, dst))
    }

    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        let Some(kernel) = &self.kernel else {
            return Lowering::Unsupported(format!("{} has no GPU kernel", self.name()));
        };
        let count = inputs.len();
        Lowering::Kernel(Box::new(move |t| Launches {
            temps: Vec::new(),
            list: vec![Launch {
                label: self.op.name(),
                source: kernel.source.clone().into(),
                constants: Vec::new(),
                uniform: Uniform::unnamed(kernel.uniform.clone()),
                inputs: (0..count).map(Operand::Input).collect(),
                output: Operand::Output,
                workgroups: fold(
                    kernel.invocations.div_ceil(kernel.workgroup_size.max(1)),
                    t.max_workgroups_per_dimension,
                ),
                // Only its author can know: `CustomKernel::source` says so.
                turns: Turns::unknown(kernel.invocations.max(1)),
                epilogue: false,
                others: Vec::new(),
            }],
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    /// An operation that is what its closure gives for a kernel.
    struct Own<F>(F);

    impl<F> fmt::Debug for Own<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Own")
        }
    }

    impl<F: Fn() -> Option<CustomKernel> + Send + Sync + 'static> CustomOp for Own<F> {
        fn name(&self) -> &'static str {
            "own"
        }
        fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
            Ok(inputs[0])
        }
        fn cpu(&self, _: &[&[f32]], _: &[Shape], _: &mut [f32]) -> Result<()> {
            Ok(())
        }
        fn gpu(&self, _: &[Shape]) -> Option<CustomKernel> {
            (self.0)()
        }
        fn vjp(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![None])
        }
    }

    fn key(op: impl CustomOp) -> Result<Key> {
        let x = Tensor::zeros([2], crate::Device::Cpu)?;
        let mut key = Key::default();
        apply(Arc::new(op), &[&x])?.0.op.identify(&mut key);
        Ok(key)
    }

    fn kernel(source: &str) -> CustomKernel {
        CustomKernel { source: source.into(), uniform: vec![1], invocations: 2, workgroup_size: 64 }
    }

    #[test]
    fn types_and_closures_of_one_name_differ() -> Result<()> {
        assert_ne!(key(Own(|| None))?, key(Own(|| None))?, "each closure is a type");
        let same = || Some(kernel("a"));
        assert_eq!(key(Own(same))?, key(Own(same))?);
        assert_ne!(key(Own(same))?, key(Own(|| Some(kernel("a"))))?);
        Ok(())
    }

    #[test]
    fn kernels_of_one_type_differ() -> Result<()> {
        type Make = fn() -> Option<CustomKernel>;
        let list: [Make; 6] = [
            || None,
            || Some(kernel("a")),
            || Some(kernel("b")),
            || Some(CustomKernel { uniform: vec![1, 2], ..kernel("a") }),
            || Some(CustomKernel { invocations: 1, ..kernel("a") }),
            || Some(CustomKernel { workgroup_size: 32, ..kernel("a") }),
        ];
        let keys = list.iter().map(|&make| key(Own(make))).collect::<Result<Vec<_>>>()?;
        for (i, a) in keys.iter().enumerate() {
            assert_eq!(a, &key(Own(list[i]))?);
            assert!(keys[..i].iter().all(|b| a != b), "{i}");
        }
        Ok(())
    }
}
