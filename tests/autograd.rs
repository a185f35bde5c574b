//! Variables, watched tensors and gradients as a user meets them, on both devices.

mod common;

use std::sync::Arc;
use wgrad::prelude::*;
use wgrad::{
    Conv2dOptions, CustomKernel, CustomOp, Pool2dOptions, Shape, apply_custom, grad, value_and_grad,
};

on_both_devices! {
    operations_of_one_name_are_told_apart;
    a_variable_is_set_and_added_to;
    the_new_value_must_fit_the_slot;
    a_set_variable_is_no_longer_part_of_what_it_was_computed_from;
    a_variable_holds_a_lazy_initial_value;
    a_value_used_twice_adds_up_its_gradients;
    many_paths_to_one_variable;
    watched_tensors_have_gradients;
    watching_cuts_the_graph_before;
    detach_and_no_grad_are_constant;
    unused_variables;
    an_upstream_gradient_is_a_weight;
    backward_twice_gives_the_same;
    gradients_of_gradients;
    gradients_of_functions;
    gradients_of_functions_in_functions;
    a_gradient_penalty;
    gradients_can_be_replaced;
    variables_come_with_their_gradients;
    integers_and_comparisons_carry_no_gradient;
    clamp_at_its_bounds;
    ties_of_maxima;
    a_relu_before_max_pooling;
    a_custom_operation_with_its_own_gradient;
    a_custom_operation_between_fused_ones;
    a_gradient_that_is_not_needed_is_not_built;
    gradients_flow_through_other_devices;
}

fn vector(values: &[f32], device: Device) -> Result<Tensor> {
    Tensor::from_slice(values, [values.len()], device)
}

fn sum(t: &Tensor) -> Result<Tensor> {
    t.sum(.., false)
}

/// `scale * x^3`, with its gradient in tensor operations.
#[derive(Debug)]
struct Cube {
    scale: f32,
}

const CUBE: &str = "
struct Sizes { n: u32, scale: u32 }
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i < sizes.n {
        y[i] = bitcast<f32>(sizes.scale) * x[i] * x[i] * x[i];
    }
}
";

impl CustomOp for Cube {
    fn name(&self) -> &'static str {
        "cube"
    }
    fn parameters(&self) -> Vec<u64> {
        vec![self.scale.to_bits() as u64]
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [x] => Ok(*x),
            _ => Err(wgrad::Error::argument("cube", "takes one input")),
        }
    }
    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        for (y, x) in output.iter_mut().zip(inputs[0]) {
            *y = self.scale * x * x * x;
        }
        Ok(())
    }
    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let n = shapes[0].numel();
        let uniform = vec![n as u32, self.scale.to_bits()];
        Some(CustomKernel::new(CUBE, n, 64).uniform(uniform))
    }
    fn vjp(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let slope = (inputs[0].square()? * (3.0 * self.scale as f64))?;
        Ok(vec![Some((grad * slope)?)])
    }
}

/// The identity, whose gradient must never be asked for.
#[derive(Debug)]
struct NoGradient;

impl CustomOp for NoGradient {
    fn name(&self) -> &'static str {
        "no_gradient"
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }
    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        output.copy_from_slice(inputs[0]);
        Ok(())
    }
    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let source = CUBE.replace("* x[i] * x[i] * x[i]", "* x[i]");
        let n = shapes[0].numel();
        let uniform = vec![n as u32, 1.0f32.to_bits()];
        Some(CustomKernel::new(source, n, 64).uniform(uniform))
    }
    fn vjp(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Err(wgrad::Error::argument("no_gradient", "asked for a gradient that nobody needs"))
    }
}

/// Two types of one name, with equal parameters, sizes and uniforms, that differ in nothing but what they compute.
#[derive(Debug)]
struct Twin<const DOUBLE: bool>;

impl<const DOUBLE: bool> CustomOp for Twin<DOUBLE> {
    fn name(&self) -> &'static str {
        "twin"
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }
    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        let by = if DOUBLE { 2.0 } else { 1.0 };
        output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = by * x);
        Ok(())
    }
    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let source = CUBE.replace("* x[i] * x[i] * x[i]", if DOUBLE { "* 2.0 * x[i]" } else { "* x[i]" });
        let n = shapes[0].numel();
        Some(CustomKernel::new(source, n, 64).uniform([n as u32, 1.0f32.to_bits()]))
    }
    fn vjp(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad.clone())])
    }
}

mod checks {
    use super::*;

    pub fn operations_of_one_name_are_told_apart(d: Device) -> Result<()> {
        let x = vector(&[1.0, -3.0], d)?;
        for _ in 0..2 {
            assert_eq!(apply_custom(Arc::new(Twin::<false>), &[&x])?.to_vec::<f32>()?, [1.0, -3.0]);
            assert_eq!(apply_custom(Arc::new(Twin::<true>), &[&x])?.to_vec::<f32>()?, [2.0, -6.0]);
        }
        Ok(())
    }

    pub fn a_variable_is_set_and_added_to(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[1.0, 2.0], d)?);
        let alias = w.clone();
        w.set(vector(&[3.0, 4.0], d)?)?;
        w.add_assign(&vector(&[0.5, -1.0], d)?)?;
        assert_eq!(alias.value().to_vec::<f32>()?, [3.5, 3.0]);
        assert_eq!(alias.id(), w.id());
        w.set(w.value() * 2.0)?;
        assert_eq!(alias.value().to_vec::<f32>()?, [7.0, 6.0]);
        assert_eq!((&w + 1.0)?.to_vec::<f32>()?, [8.0, 7.0]);
        Ok(())
    }

    pub fn the_new_value_must_fit_the_slot(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[1.0, 2.0], d)?);
        let e = w.set(vector(&[1.0, 2.0, 3.0], d)?).unwrap_err().to_string();
        assert!(e.contains("[2]") && e.contains("[3]") && e.contains("Variable::set"), "{e}");
        assert!(w.set(Tensor::new([1i32, 2], d)?).is_err());
        assert!(w.set(w.value().reshape([3])).is_err(), "an error of the operation is passed on");
        assert_eq!(w.value().to_vec::<f32>()?, [1.0, 2.0], "a refused value changes nothing");
        Ok(())
    }

    pub fn a_set_variable_is_no_longer_part_of_what_it_was_computed_from(d: Device) -> Result<()> {
        let (v, w) = (Variable::new(vector(&[1.0], d)?), Variable::new(vector(&[2.0], d)?));
        w.set(&v * 3.0)?;
        let grads = sum(&(&w * &v)?)?.backward()?;
        assert_eq!(grads.get(&v)?.to_vec::<f32>()?, [3.0], "w is a variable of its own, not 3 v");
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [1.0]);
        Ok(())
    }

    pub fn a_variable_holds_a_lazy_initial_value(d: Device) -> Result<()> {
        let x = vector(&[1.0, 2.0], d)?.watch()?;
        let w = Variable::new((&x * 10.0)?);
        let grads = sum(&w.value().square()?)?.backward()?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [20.0, 40.0]);
        assert!(!grads.contains(&x));
        Ok(())
    }

    pub fn a_value_used_twice_adds_up_its_gradients(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0, -3.0], d)?);
        // w^2 by a product, and w read again
        let y = ((&w * &w)? + (&w * 5.0)?)?;
        let grads = sum(&y)?.backward()?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [9.0, -1.0]);
        Ok(())
    }

    pub fn many_paths_to_one_variable(d: Device) -> Result<()> {
        // 2^20 paths: a walk over paths instead of nodes would never end
        let w = Variable::new(vector(&[1.0], d)?);
        let mut x = w.value();
        for _ in 0..20 {
            x = (&x + &x)?;
        }
        assert_eq!(x.backward()?.get(&w)?.item::<f32>()?, (1u32 << 20) as f32);
        Ok(())
    }

    pub fn watched_tensors_have_gradients(d: Device) -> Result<()> {
        let x = vector(&[1.0, 2.0, 3.0], d)?.watch()?;
        let plain = vector(&[1.0, 1.0, 2.0], d)?;
        let grads = sum(&(&x * &plain)?)?.backward()?;
        assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [1.0, 1.0, 2.0]);
        let e = grads.get(&plain).unwrap_err().to_string();
        assert!(e.contains("watch"), "{e}");
        assert_eq!(grads.len(), 1);
        Ok(())
    }

    pub fn watching_cuts_the_graph_before(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0], d)?);
        let h = (&w * 3.0)?.watch()?;
        let grads = h.square()?.backward()?;
        assert_eq!(grads.get(&h)?.item::<f32>()?, 12.0);
        assert!(grads.get(&w).is_err());
        Ok(())
    }

    pub fn detach_and_no_grad_are_constant(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0], d)?);
        let y = (&w * w.value().detach()?)?;
        assert_eq!(y.backward()?.get(&w)?.item::<f32>()?, 2.0);
        let frozen = no_grad(|| w.value().square())?;
        assert!(!frozen.is_tracked());
        let e = frozen.backward().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("does not depend on any variable"), "{e}");
        // nested, and recording again afterwards, also after a panic inside
        no_grad(|| no_grad(|| ()));
        let caught = std::panic::catch_unwind(|| no_grad(|| std::panic::resume_unwind(Box::new(()))));
        assert!(caught.is_err());
        assert!(w.value().square()?.is_tracked());
        Ok(())
    }

    pub fn unused_variables(d: Device) -> Result<()> {
        let (w, unused) = (Variable::new(vector(&[2.0], d)?), Variable::new(vector(&[5.0, 6.0], d)?));
        let grads = w.value().square()?.backward()?;
        let e = grads.get(&unused).unwrap_err().to_string();
        assert!(e.contains("does not depend on this variable"), "{e}");
        assert_eq!(grads.get_or_zeros(&unused)?.to_vec::<f32>()?, [0.0, 0.0]);
        assert!(grads.contains(&w) && !grads.contains(&unused));
        Ok(())
    }

    pub fn an_upstream_gradient_is_a_weight(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[1.0, 2.0, 3.0], d)?);
        let y = w.value().square()?;
        let grads = y.backward_with(&vector(&[1.0, 0.0, -1.0], d)?)?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [2.0, 0.0, -6.0]);
        assert!(y.backward_with(&vector(&[1.0], d)?).is_err());
        Ok(())
    }

    pub fn backward_twice_gives_the_same(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[1.0, 2.0], d)?);
        let loss = sum(&w.value().exp()?)?;
        let first = loss.backward()?.get(&w)?;
        loss.eval()?;
        w.set(vector(&[0.0, 0.0], d)?)?;
        let second = loss.backward()?.get(&w)?;
        assert_eq!(
            first.to_vec::<f32>()?,
            second.to_vec::<f32>()?,
            "gradients of the values that the loss read"
        );
        Ok(())
    }

    pub fn gradients_of_gradients(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0, -1.0], d)?);
        let cube = (w.value().square()? * &w)?;
        let first = sum(&cube)?.backward()?.get(&w)?;
        let second = sum(&first)?.backward()?.get(&w)?;
        let third = sum(&second)?.backward()?.get(&w)?;
        assert_eq!(first.to_vec::<f32>()?, [12.0, 3.0]);
        assert_eq!(second.to_vec::<f32>()?, [12.0, -6.0]);
        assert_eq!(third.to_vec::<f32>()?, [6.0, 6.0]);
        Ok(())
    }

    pub fn gradients_of_functions(d: Device) -> Result<()> {
        let (x, y, unused) = (vector(&[1.0, 2.0], d)?, vector(&[3.0, -1.0], d)?, vector(&[5.0], d)?);
        let w = Variable::new(vector(&[10.0, 100.0], d)?);
        let (value, gradients) = value_and_grad(|x| sum(&((&x[0] * &x[1])? * &w)?), &[&x, &y, &unused])?;
        assert_eq!(value.item::<f32>()?, -170.0);
        assert_eq!(gradients[0].to_vec::<f32>()?, [30.0, -100.0]);
        assert_eq!(gradients[1].to_vec::<f32>()?, [10.0, 200.0]);
        assert_eq!(gradients[2].to_vec::<f32>()?, [0.0], "the value does not depend on it");
        assert_eq!(grad(|x| sum(&x[0]), &[&x])?[0].to_vec::<f32>()?, [1.0, 1.0]);
        // the same tensor twice: each place has its own gradient
        let twice = grad(|x| sum(&(&x[0] * x[1].square()?)?), &[&x, &x])?;
        assert_eq!(twice[0].to_vec::<f32>()?, [1.0, 4.0]);
        assert_eq!(twice[1].to_vec::<f32>()?, [2.0, 8.0]);
        // a value that depends on nothing
        let constant = grad(|_| vector(&[1.0], d), &[&x])?;
        assert_eq!(constant[0].to_vec::<f32>()?, [0.0, 0.0]);
        let e = grad(|x| x[0].square(), &[&x]).unwrap_err().to_string();
        assert!(e.contains("[2]") && e.contains("reduce"), "{e}");
        let e = no_grad(|| grad(|x| sum(&x[0]), &[&x])).unwrap_err().to_string();
        assert!(e.contains("no_grad"), "{e}");
        assert!(grad(|x| x[0].reshape([3]), &[&x]).is_err(), "the function's error");
        Ok(())
    }

    pub fn gradients_of_functions_in_functions(d: Device) -> Result<()> {
        let x = vector(&[2.0, -1.0], d)?;
        let fourth = |x: &[Tensor]| sum(&x[0].square()?.square()?);
        let second = grad(|x| sum(&grad(fourth, &[&x[0]])?[0]), &[&x])?;
        assert_eq!(second[0].to_vec::<f32>()?, [48.0, 12.0]);
        let third = grad(|x| sum(&grad(|x| sum(&grad(fourth, &[&x[0]])?[0]), &[&x[0]])?[0]), &[&x])?;
        assert_eq!(third[0].to_vec::<f32>()?, [48.0, -24.0]);
        // Hessian times vector: the gradient of the gradient's product with v
        let v = vector(&[1.0, 10.0], d)?;
        let product = grad(
            |x| {
                let mixed = |x: &[Tensor]| sum(&(x[0].slice(0, 0, 1)?.square()? * x[0].slice(0, 1, 1)?)?);
                sum(&(&grad(mixed, &[&x[0]])?[0] * &v)?)
            },
            &[&x],
        )?;
        // f = a^2 b: H = [[2b, 2a], [2a, 0]]
        assert_eq!(product[0].to_vec::<f32>()?, [38.0, 4.0]);
        Ok(())
    }

    pub fn a_gradient_penalty(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[3.0, -2.0], d)?);
        let x = vector(&[1.0, 2.0], d)?;
        // the gradient with respect to x is 2 w x; its square is differentiated with respect to w
        let gradient = grad(|x| sum(&(x[0].square()? * &w)?), &[&x])?;
        let penalty = sum(&gradient[0].square()?)?;
        assert_eq!(penalty.item::<f32>()?, 36.0 + 64.0);
        assert_eq!(penalty.backward()?.get(&w)?.to_vec::<f32>()?, [24.0, -64.0]);
        // and with respect to a variable that x comes from
        let y = Variable::new(vector(&[1.0, 2.0], d)?);
        let gradient = grad(|x| sum(&(x[0].square()? * 3.0)?), &[&(y.value() * 2.0)?])?;
        assert_eq!(sum(&gradient[0])?.backward()?.get(&y)?.to_vec::<f32>()?, [12.0, 12.0]);
        Ok(())
    }

    pub fn gradients_can_be_replaced(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0, 1.0], d)?);
        let mut grads = sum(&w.value().square()?)?.backward()?;
        grads.insert(&w, (grads.get(&w)? * 0.5)?)?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [2.0, 1.0]);
        assert!(grads.insert(&w, vector(&[1.0], d)?).is_err());
        Ok(())
    }

    pub fn variables_come_with_their_gradients(d: Device) -> Result<()> {
        let (a, b) = (Variable::new(vector(&[2.0], d)?), Variable::new(vector(&[3.0], d)?));
        let loss = (&b * &a)?;
        let grads = loss.backward()?;
        let pairs = grads.variables();
        assert_eq!(pairs.iter().map(|p| p.0.id()).collect::<Vec<_>>(), [a.id(), b.id()]);
        assert_eq!((pairs[0].1.item::<f32>()?, pairs[1].1.item::<f32>()?), (3.0, 2.0));
        assert_eq!(grads.loss().item::<f32>()?, 6.0);
        Ok(())
    }

    pub fn integers_and_comparisons_carry_no_gradient(d: Device) -> Result<()> {
        let x = vector(&[1.5, -2.5], d)?.watch()?;
        assert!(!x.cast(DType::I32)?.is_tracked());
        assert!(!x.gt(0.0)?.is_tracked());
        assert!(!x.argmax(0, false)?.is_tracked());
        let masked = sum(&(&x * x.gt(0.0)?.cast(DType::F32)?)?)?;
        assert_eq!(masked.backward()?.get(&x)?.to_vec::<f32>()?, [1.0, 0.0]);
        Ok(())
    }

    pub fn clamp_at_its_bounds(d: Device) -> Result<()> {
        let x = vector(&[-1.0, -0.5, 0.0, 0.5, 1.0], d)?.watch()?;
        let grads = sum(&x.clamp(-0.5, 0.5)?)?.backward()?;
        assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [0.0, 1.0, 1.0, 1.0, 0.0], "as tf.clip_by_value");
        Ok(())
    }

    pub fn ties_of_maxima(d: Device) -> Result<()> {
        let x = vector(&[3.0, 1.0, 3.0, 3.0], d)?.watch()?;
        let third = 1.0 / 3.0;
        let grads = x.max(.., false)?.backward()?;
        common::assert_close(
            &common::values(&grads.get(&x)?)?,
            &[third, 0.0, third, third],
            1e-6,
            "max shares a tie",
        );
        let (a, b) = (vector(&[1.0, 2.0], d)?.watch()?, vector(&[1.0, 0.0], d)?.watch()?);
        let grads = sum(&a.maximum(&b)?)?.backward()?;
        assert_eq!(grads.get(&a)?.to_vec::<f32>()?, [0.5, 1.0]);
        assert_eq!(grads.get(&b)?.to_vec::<f32>()?, [0.5, 0.0]);
        let pooled = x.reshape([1, 2, 2, 1])?.max_pool2d(Pool2dOptions::new([2, 2]))?;
        let grads = sum(&pooled)?.backward()?;
        assert_eq!(
            grads.get(&x)?.to_vec::<f32>()?,
            [1.0, 0.0, 0.0, 0.0],
            "max-pooling gives all to the first"
        );
        Ok(())
    }

    /// The mask of a ReLU is taken from the pooled values there: the same gradient as in two separate steps.
    pub fn a_relu_before_max_pooling(d: Device) -> Result<()> {
        let strided = |kernel, stride, padding| Pool2dOptions::new(kernel).stride(stride).padding(padding);
        for options in [
            Pool2dOptions::new([2, 2]),
            strided([3, 3], [2, 2], Padding::Valid),
            strided([3, 2], [1, 2], Padding::Same),
            strided([1, 1], [1, 1], Padding::Valid),
        ] {
            let mut values = Tensor::randn([2, 7, 8, 4], d, 1)?.to_vec::<f32>()?;
            // whole windows below zero, zeros among the maxima, ties, an infinity
            values[..120].iter_mut().for_each(|v| *v = -v.abs());
            values[120..160].iter_mut().for_each(|v| *v = v.round().max(0.0));
            values[200] = f32::INFINITY;
            let x = Tensor::from_vec(values, [2, 7, 8, 4], d)?;
            let pooled = |relu: &Tensor| relu.max_pool2d(options);
            let weight = Tensor::randn(pooled(&x)?.shape(), d, 2)?;
            let loss = |relu: &Tensor| sum(&(pooled(relu)? * &weight)?);

            let input = x.watch()?;
            let relu = input.relu()?;
            let at_once = loss(&relu)?.backward()?.get(&input)?;
            let watched = x.relu()?.watch()?;
            let mask = x.gt(0.0)?;
            let spread = loss(&watched)?.backward()?.get(&watched)?;
            let apart = mask.select(&spread, &spread.zeros_like()?)?;
            assert_eq!(at_once.to_vec::<f32>()?, apart.to_vec::<f32>()?, "{options:?}");
            // what else uses the ReLU adds its own gradient, masked as ever
            let both = (loss(&relu)? + sum(&relu)?)?.backward()?.get(&input)?;
            let more = (apart + mask.cast(DType::F32)?)?;
            assert_eq!(both.to_vec::<f32>()?, more.to_vec::<f32>()?, "{options:?}");
            // and the gradient can be differentiated: with respect to the weight it is the pooled values' mask
            let scale = Tensor::ones([1], d)?.watch()?;
            let first = (loss(&relu)? * &scale)?.sum(.., false)?.backward()?.get(&input)?;
            let second = sum(&first)?.backward()?.get(&scale)?;
            let expected = sum(&at_once)?.item::<f32>()?;
            assert!((second.item::<f32>()? - expected).abs() <= 1e-4 * expected.abs().max(1.0));
        }
        Ok(())
    }

    pub fn a_custom_operation_with_its_own_gradient(d: Device) -> Result<()> {
        let x = vector(&[1.0, -2.0, 0.5], d)?.watch()?;
        let y = apply_custom(Arc::new(Cube { scale: 2.0 }), &[&x])?;
        assert_eq!(y.to_vec::<f32>()?, [2.0, -16.0, 0.25]);
        let first = sum(&y)?.backward()?.get(&x)?;
        assert_eq!(first.to_vec::<f32>()?, [6.0, 24.0, 1.5]);
        assert_eq!(sum(&first)?.backward()?.get(&x)?.to_vec::<f32>()?, [12.0, -24.0, 6.0]);
        // the same name and shapes, other parameters: another function
        let z = apply_custom(Arc::new(Cube { scale: -1.0 }), &[&x])?;
        assert_eq!(z.to_vec::<f32>()?, [-1.0, 8.0, -0.125]);
        let e = apply_custom(Arc::new(Cube { scale: 1.0 }), &[&x, &x]).unwrap_err().to_string();
        assert!(e.contains("takes one input"), "{e}");
        assert!(apply_custom(Arc::new(Cube { scale: 1.0 }), &[&x.cast(DType::I32)?]).is_err());
        Ok(())
    }

    pub fn a_custom_operation_between_fused_ones(d: Device) -> Result<()> {
        let x = Tensor::arange(0, 300, d)?.cast(DType::F32)?.reshape([20, 15])?.watch()?;
        let before = ((&x * 0.01)? - 1.0)?.transpose()?;
        let y = apply_custom(Arc::new(Cube { scale: 1.0 }), &[&before])?;
        let loss = (y.transpose()? + 1.0)?.relu()?.mean(.., false)?;
        let expected: f64 =
            (0..300).map(|i| ((i as f64 * 0.01 - 1.0).powi(3) + 1.0).max(0.0)).sum::<f64>() / 300.0;
        common::assert_close(&common::values(&loss)?, &[expected], 1e-5, "loss");
        let slope = |i: i32| if i == 0 { 0.0 } else { 3.0 * (i as f64 * 0.01 - 1.0).powi(2) * 0.01 / 300.0 };
        let want: Vec<f64> = (0..300).map(slope).collect();
        common::assert_close(&common::values(&loss.backward()?.get(&x)?)?, &want, 1e-5, "gradient");
        Ok(())
    }

    pub fn a_gradient_that_is_not_needed_is_not_built(d: Device) -> Result<()> {
        let w = Variable::new(vector(&[2.0, 3.0], d)?);
        let data = apply_custom(Arc::new(NoGradient), &[&vector(&[1.0, 4.0], d)?])?;
        let watched = apply_custom(Arc::new(NoGradient), &[&w.value().detach()?])?;
        let loss = sum(&((&w * data)? * watched)?)?;
        let grads = loss.backward()?;
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [2.0, 12.0]);
        let through = apply_custom(Arc::new(NoGradient), &[&w.value()])?;
        assert!(sum(&through)?.backward().is_err(), "this one needs it");
        Ok(())
    }

    pub fn gradients_flow_through_other_devices(d: Device) -> Result<()> {
        let x = vector(&[1.0, 2.0], d)?.watch()?;
        let y = (&x * 3.0)?.to_device(Device::Cpu)?.cast(DType::F64)?.square()?;
        let back = y.cast(DType::F32)?.to_device(d)?;
        assert_eq!(back.device(), d);
        assert_eq!(back.to_vec::<f32>()?, [9.0, 36.0]);
        let grads = sum(&back)?.backward()?;
        assert_eq!(grads.get(&x)?.device(), d);
        assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [18.0, 36.0]);
        assert!(!no_grad(|| x.to_device(Device::Cpu))?.detach()?.is_tracked());
        Ok(())
    }
}

#[test]
fn empty_batches_have_gradients_of_zero() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        let x = Tensor::zeros([0, 6, 6, 2], device)?.watch()?;
        let w = Variable::new(Tensor::ones([3, 3, 2, 4], device)?);
        let y = x.conv2d(&w, Conv2dOptions::default())?.max_pool2d(Pool2dOptions::new([2, 2]))?.flatten(1)?;
        let dense = Variable::new(Tensor::ones([16, 3], device)?);
        let labels = Tensor::zeros([0], device)?.cast(DType::U32)?;
        let loss = y.matmul(&dense)?.cross_entropy_rows(&labels)?.sum(.., false)?;
        assert_eq!(loss.item::<f32>()?, 0.0);
        let grads = loss.backward()?;
        assert_eq!(grads.get(&x)?.shape(), [0, 6, 6, 2]);
        assert_eq!(grads.get(&w)?.to_vec::<f32>()?, [0.0; 72]);
        assert_eq!(grads.get(&dense)?.to_vec::<f32>()?, [0.0; 48]);
    }
    Ok(())
}
