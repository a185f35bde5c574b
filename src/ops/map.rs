//! One's own function of elements, with a gradient that is given.

use super::custom::{CustomKernel, CustomOp, apply};
use crate::cpu::kernels::for_each_chunk;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::fmt;
use std::sync::Arc;

type Function<const N: usize> = dyn Fn([f32; N]) -> f32 + Send + Sync;
type Gradient<const N: usize> = dyn Fn([&Tensor; N], &Tensor, &Tensor) -> Result<[Tensor; N]> + Send + Sync;

/// A function of `N` elements (1 to 4), f32, applied to tensors element by element: [`Tensor::map`] of one, [`Tensor::map2`] of two,
/// [`Map::apply`] of any. It is a small [`CustomOp`]: lazy, part of plans, differentiable as its gradient says. What is made of
/// operations that are there needs none: a Rust function that calls them has gradients of any order, and is fused.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::Map;
/// # fn main() -> Result<()> {
/// // The length of a vector, on the CPU and, in WGSL, on GPUs.
/// let hypot = Map::new("hypot", |[a, b]: [f32; 2]| a.hypot(b))
///     .wgsl("sqrt(a * a + b * b)")
///     .gradient(|[a, b], y, grad| Ok([(grad * (a / y)?)?, (grad * (b / y)?)?]));
/// let a = Tensor::new([3.0f32, 5.0], Device::Cpu)?.watch()?;
/// let b = Tensor::new([4.0f32, 12.0], Device::Cpu)?;
/// let y = a.map2(&b, &hypot)?;
/// assert_eq!(y.to_vec::<f32>()?, [5.0, 13.0]);
/// assert_eq!(y.sum(.., false)?.backward()?.get(&a)?.to_vec::<f32>()?, [3.0 / 5.0, 5.0 / 13.0]);
/// # Ok(()) }
/// ```
///
/// [`testing::check_gradients`](crate::testing::check_gradients) and [`testing::assert_parity`](crate::testing::assert_parity) say
/// whether the three belong together.
#[derive(Clone)]
#[must_use]
pub struct Map<const N: usize> {
    name: &'static str,
    function: Arc<Function<N>>,
    wgsl: Option<String>,
    gradient: Option<Arc<Gradient<N>>>,
}

/// What elements are called in WGSL.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const WORKGROUP: usize = 64;

impl<const N: usize> Map<N> {
    /// A function of elements, as it runs on the CPU; `name` is for errors and profiles. On several threads: it must give the same for
    /// the same elements, whenever it is called.
    pub fn new(name: &'static str, function: impl Fn([f32; N]) -> f32 + Send + Sync + 'static) -> Self {
        Map { name, function: Arc::new(function), wgsl: None, gradient: None }
    }

    /// The same as an expression of WGSL, of elements called `a`, `b`, `c`, `d`, for GPUs. Text with a `return` is a function's body.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::Map;
    /// # fn main() -> Result<()> {
    /// let body = "var y = a; for (var i = 0; i < 3; i++) { y = y * y; } return y;";
    /// let eighth = Map::new("eighth", |[a]: [f32; 1]| a.powi(8)).wgsl(body);
    /// assert_eq!(Tensor::new([2.0f32], Device::Cpu)?.map(&eighth)?.to_vec::<f32>()?, [256.0]);
    /// # Ok(()) }
    /// ```
    pub fn wgsl(self, text: impl Into<String>) -> Self {
        Self { wgsl: Some(text.into()), ..self }
    }

    /// The gradients with respect to the inputs, of the inputs, the output and the gradient of the loss with respect to it, all of the
    /// output's shape. Made of tensor operations, they have gradients themselves.
    pub fn gradient(
        self,
        gradient: impl Fn([&Tensor; N], &Tensor, &Tensor) -> Result<[Tensor; N]> + Send + Sync + 'static,
    ) -> Self {
        Self { gradient: Some(Arc::new(gradient)), ..self }
    }

    /// The function of all elements; shapes broadcast.
    ///
    /// # Errors
    ///
    /// The tensors are not f32, on different devices, of shapes that don't broadcast, or on a GPU without
    /// [`wgsl`](Self::wgsl). What is wrong with the text of the WGSL says the call that computes, and that there is no
    /// [`gradient`](Self::gradient) the one that asks for it.
    pub fn apply(&self, inputs: [&Tensor; N]) -> Result<Tensor> {
        if N == 0 || N > NAMES.len() {
            return Err(Error::argument(
                self.name,
                format!("a map takes one to {} tensors, got {N}", NAMES.len()),
            ));
        }
        super::same_device(self.name, &inputs)?;
        let shape = inputs[1..].iter().try_fold(inputs[0].shape(), |shape, x| {
            shape.broadcast(&x.shape()).ok_or_else(|| {
                let message = format!("shapes {shape} and {} don't broadcast", x.shape());
                Error::shape(self.name, message)
            })
        })?;
        let broadcast = inputs.iter().map(|x| x.broadcast_to(shape)).collect::<Result<Vec<_>>>()?;
        if shape.numel() == 0 {
            super::require_float(self.name, "the input", inputs[0])?;
            return super::view::nothing(shape, &inputs);
        }
        apply(Arc::new(self.clone()), &broadcast.iter().collect::<Vec<_>>())
    }

    fn source(&self, text: &str) -> String {
        let body = if text.contains("return") { text.to_string() } else { format!("return {text};") };
        let list =
            |one: fn(&str) -> String| NAMES[..N].iter().map(|name| one(name)).collect::<Vec<_>>().join(", ");
        let bindings: String = (1..)
            .zip(&NAMES[..N])
            .map(|(i, name)| {
                format!("@group(0) @binding({i}) var<storage, read> input_{name}: array<f32>;\n")
            })
            .collect();
        format!(
            "struct Sizes {{ total: u32 }}\n\
             @group(0) @binding(0) var<uniform> sizes: Sizes;\n\
             {bindings}\
             @group(0) @binding({}) var<storage, read_write> mapped: array<f32>;\n\n\
             fn map_element({}) -> f32 {{\n    {body}\n}}\n\n\
             @compute @workgroup_size({WORKGROUP})\n\
             fn main(\n    @builtin(workgroup_id) group: vec3<u32>,\n    @builtin(num_workgroups) groups: vec3<u32>,\n    \
             @builtin(local_invocation_index) local: u32,\n) {{\n    \
             let i = (group.y * groups.x + group.x) * {WORKGROUP}u + local;\n    \
             if i < sizes.total {{\n        mapped[i] = map_element({});\n    }}\n}}\n",
            N + 1,
            list(|name| format!("{name}: f32")),
            list(|name| format!("input_{name}[i]")),
        )
    }
}

impl<const N: usize> fmt::Debug for Map<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("name", &self.name).field("wgsl", &self.wgsl).finish_non_exhaustive()
    }
}

impl<const N: usize> CustomOp for Map<N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        inputs.first().copied().ok_or_else(|| Error::internal("a map of nothing"))
    }

    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        const CHUNK: usize = 1 << 14;
        for_each_chunk(output, CHUNK, true, |task, output| {
            for (y, i) in output.iter_mut().zip(task * CHUNK..) {
                *y = (self.function)(std::array::from_fn(|k| inputs[k][i]));
            }
        });
        Ok(())
    }

    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let n = shapes.first()?.numel();
        Some(CustomKernel::new(self.source(self.wgsl.as_ref()?), n, WORKGROUP).uniform(vec![n as u32]))
    }

    fn vjp(&self, inputs: &[Tensor], output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Some(gradient) = &self.gradient else {
            return Err(Error::argument(
                self.name,
                "has no gradient; give one by Map::gradient, or detach its result",
            ));
        };
        let inputs: [&Tensor; N] = std::array::from_fn(|k| &inputs[k]);
        Ok(gradient(inputs, output, grad)?.into_iter().map(Some).collect())
    }
}
