//! The checks pass what is right, and their reports name what is wrong.

use std::slice::from_ref;

use super::*;
use crate::Shape;
use crate::error::Error;
use crate::nn::{BatchNorm, Build, Built, Context, Layer, Parameters, SampleShape};
use crate::ops::custom::{CustomKernel, CustomOp, apply};
use crate::prelude::*;
use std::sync::Arc;

fn report(result: Result<()>) -> String {
    match result {
        Err(Error::Mismatch { check, message }) => format!("{check}: {message}"),
        other => panic!("expected a mismatch, got {other:?}"),
    }
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

/// `x * factor` on the CPU, and on a GPU what a kernel with another factor gives; its gradient is `slope`.
#[derive(Debug)]
struct Scaled {
    factor: f32,
    on_gpu: f32,
    slope: f64,
}

impl Scaled {
    fn right() -> Scaled {
        Scaled { factor: 3.0, on_gpu: 3.0, slope: 3.0 }
    }

    fn call(self, x: &Tensor) -> Result<Tensor> {
        apply(Arc::new(self), &[x])
    }
}

impl CustomOp for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }

    fn cpu(&self, inputs: &[&[f32]], _: &[Shape], output: &mut [f32]) -> Result<()> {
        output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = self.factor * x);
        Ok(())
    }

    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let source = format!(
            "struct Sizes {{ n: u32 }}
            @group(0) @binding(0) var<uniform> sizes: Sizes;
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
                if id.x < sizes.n {{ y[id.x] = x[id.x] * f32({:?}); }}
            }}",
            self.on_gpu
        );
        let n = shapes[0].numel();
        Some(CustomKernel::new(source, n, 64).uniform(vec![n as u32]))
    }

    fn vjp(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some((grad * self.slope)?)])
    }
}

#[test]
fn close_is_numpys_allclose() -> Result<()> {
    let x = Tensor::new([[1.0f32, -2.0], [4.0, 0.0]], Device::Cpu)?;
    assert_close(&x, [[1.0, -2.0], [4.0, 0.0]], 0.0, 0.0)?;
    assert_close(&x, vec![1.01f32, -2.02, 4.04, 0.0], 0.011, 0.0)?;
    assert_close([1.0f64, 0.0], &[1.0f32, 1e-7][..], 0.0, 2e-7)?;
    let nan = f64::NAN;
    assert_close([nan, f64::INFINITY], [nan, f64::INFINITY], 0.0, 0.0)?;
    let text = report(assert_close(&x, [1.0, -2.0, 4.5, 0.125], 0.01, 1e-3));
    let parts = ["2 of 4", "element 2, at [1, 0] of [2, 2]", "got 4.0, want 4.5", "rtol 1e-2", "atol 1e-3"];
    assert_contains(&text, &parts);
    // the worst by its excess: not the first, not the largest difference
    let text = report(assert_close([1.1, 100.9, 3.5], [1.0, 100.0, 3.0], 0.01, 0.0));
    assert_contains(&text, &["2 of 3", "element 2", "off by 5.000e-1"]);
    for (got, want) in [(nan, 1.0), (1.0, nan), (f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, 1e300)] {
        assert_contains(&report(assert_close(got, want, 1.0, 1e308)), &["NaN must meet NaN"]);
    }
    assert_contains(&report(assert_close([1.0], [1.0, 2.0], 0.0, 0.0)), &["1 elements", "want 2"]);
    let transposed = report(assert_close(x.reshape([4])?, &x, 0.0, 0.0));
    assert_contains(&transposed, &["[4]", "[2, 2]"]);
    for (rtol, atol) in [(-1.0, 0.0), (0.0, nan)] {
        assert!(matches!(assert_close(1.0, 1.0, rtol, atol), Err(Error::Argument { .. })));
    }
    Ok(())
}

#[test]
fn functions_that_are_right_pass() -> Result<()> {
    let x = Tensor::randn([3, 5], Device::Cpu, 1)?;
    let w = Tensor::randn([5, 4], Device::Gpu, 2)?;
    let at = Tensor::new([2u32, 0, 3], Device::Cpu)?;
    let f = |t: &[Tensor]| {
        let logits = t[0].matmul(&t[1])?;
        Ok((logits.cross_entropy(&t[2])?, logits.argmax(1, false)?, logits.softmax(-1)?))
    };
    assert_parity(f, &[x.clone(), w.clone(), at.clone()])?;
    check_gradients(f, &[x.clone(), w, at])?;
    // terms that cancel: all that is left is rounding
    let many = Tensor::randn([30, 50], Device::Cpu, 1)?;
    assert_parity(|t| (&t[0] - t[0].mean(.., false)?)?.sum(.., false), from_ref(&x))?;
    assert_parity(|t| (&t[0] - t[0].mean(.., false)?)?.sum(.., false), from_ref(&many))?;
    assert_parity(|t| Scaled::right().call(&t[0]), from_ref(&x))?;
    check_gradients(|t| Scaled::right().call(&t[0]), from_ref(&x))?;
    // gradients of gradients, f64, many elements, ties that both devices break alike
    check_gradients(|t| t[0].sin()?.sum(.., false)?.backward()?.get(&t[0]), &[x.cast(DType::F64)?])?;
    check_gradients(|t| t[0].exp(), &[Tensor::randn([20, 20], Device::Cpu, 3)?])?;
    assert_parity(|t| t[0].max(1, false), &[Tensor::ones([3, 4], Device::Cpu)?])
}

#[test]
fn a_kernel_that_is_wrong_is_reported() -> Result<()> {
    let x = Tensor::randn([4, 6], Device::Cpu, 1)?;
    let wrong = |t: &[Tensor]| Scaled { on_gpu: 3.001, ..Scaled::right() }.call(&t[0]);
    let parts = ["assert_parity: gpu (", "output 0", "of 24 elements", "largest magnitude", "rounding noise"];
    assert_contains(&report(assert_parity(wrong, from_ref(&x))), &parts);
    // wrong in the gradient alone
    let gradient = |t: &[Tensor]| {
        let factor = wrong(&[t[0].detach()?])?;
        let zero = ((&t[0] - t[0].detach()?)? * factor)?;
        &t[0] + zero
    };
    let text = report(assert_parity(gradient, &[x]));
    assert_contains(&text, &["gradient of input 0"]);
    Ok(())
}

#[test]
fn a_gradient_that_is_wrong_is_reported() -> Result<()> {
    let x = Tensor::new([[1.0f32, 2.0], [-1.0, 0.5]], Device::Cpu)?;
    let scaled = |t: &[Tensor]| Scaled { slope: 2.9, ..Scaled::right() }.call(&t[0]);
    let text = report(check_gradients(scaled, from_ref(&x)));
    assert_contains(&text, &["check_gradients", "input 0", "element 0", "differences say", "f32"]);
    let cut = |t: &[Tensor]| &t[0] * t[0].detach()?;
    assert_contains(&report(check_gradients(cut, from_ref(&x))), &["input 0", "f64"]);
    let untracked = |t: &[Tensor]| no_grad(|| t[0].square());
    assert_contains(&report(check_gradients(untracked, &[x])), &["got 0.0"]);
    let many = Tensor::randn([1000], Device::Cpu, 3)?;
    // wrong in a single element that is not among those that are looked at one by one
    let mut mask = vec![0.0f64; 1000];
    mask[402] = 1.0;
    let mask = Tensor::from_vec(mask, [1000], Device::Cpu)?;
    let one = |t: &[Tensor]| (&t[0] * 2.0)? + (t[0].detach()? * &mask)?;
    assert_contains(&report(check_gradients(one, &[many])), &["along a line"]);
    let kink = Tensor::new([1.0f32, 0.0], Device::Cpu)?;
    assert_contains(&report(check_gradients(|t| t[0].relu(), &[kink])), &["element 1", "kink"]);
    Ok(())
}

#[test]
fn other_errors_come_through() -> Result<()> {
    let x = Tensor::ones([2, 3], Device::Cpu)?;
    assert!(matches!(assert_parity(|t| t[0].matmul(&t[0]), from_ref(&x)), Err(Error::Shape { .. })));
    assert!(matches!(check_gradients(|t| t[0].matmul(&t[0]), from_ref(&x)), Err(Error::Shape { .. })));
    let cast = |t: &[Tensor]| &t[0] + t[0].cast(DType::I32)?;
    assert!(matches!(check_gradients(cast, &[x]), Err(Error::DType { .. })));
    Ok(())
}

/// Multiplies by three, in single precision only.
struct Triple;

impl Layer for Triple {
    fn kind(&self) -> &'static str {
        "Triple"
    }
    fn build(&self, input: SampleShape, _: &mut Build) -> Result<Built> {
        Ok(Built::new(Triple, input))
    }
}

impl Module for Triple {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        Scaled::right().call(x)
    }
    fn visit(&self, _: &mut Parameters<'_>) {}
}

#[test]
fn layers_of_single_precision_are_checked_in_it() -> Result<()> {
    let model = Sequential::new().add(Dense::new(2)).add(Triple).build([3], Device::Cpu)?;
    check_module_gradients(&model, &[Tensor::randn([4, 3], Device::Cpu, 1)?])
}

fn layers(device: Device) -> Result<Model> {
    Sequential::new()
        .add(Conv2d::new(4, [3, 3]))
        .add(BatchNorm::new())
        .add(Activation::Tanh)
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dropout::new(0.25))
        .add(Dense::new(3))
        .build([6, 6, 2], device)
}

#[test]
fn modules_are_checked_on_any_device_and_given_back() -> Result<()> {
    for device in [Device::Cpu, Device::Gpu] {
        let model = layers(device)?;
        let read = || -> Result<Vec<Vec<f32>>> {
            model.parameters().iter().map(|p| p.variable.value().to_vec()).collect()
        };
        let before = read()?;
        let x = Tensor::randn([3, 6, 6, 2], device, 4)?;
        assert_module_parity(&model, from_ref(&x))?;
        check_module_gradients(&model, &[x])?;
        assert_eq!(read()?, before);
        assert_eq!(model.device(), device);
        assert!(model.parameters().iter().all(|p| p.variable.value().dtype() == DType::F32));
    }
    Ok(())
}

/// A module whose kernel for GPUs is wrong, or its gradient.
struct Wrong {
    on_gpu: f32,
    slope: f64,
    weight: Variable,
}

impl Module for Wrong {
    fn forward(&self, x: &Tensor, _: &crate::nn::Context) -> Result<Tensor> {
        let weight = Scaled { on_gpu: self.on_gpu, slope: self.slope, ..Scaled::right() };
        x * weight.call(&self.weight.value())?
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.weight("weight", &self.weight);
    }
}

#[test]
fn a_module_that_is_wrong_is_reported_and_given_back() -> Result<()> {
    let x = Tensor::randn([3, 2], Device::Cpu, 4)?;
    let module = |on_gpu, slope| -> Result<Wrong> {
        Ok(Wrong { on_gpu, slope, weight: Variable::new(Tensor::new([0.5f32, -1.5], Device::Cpu)?) })
    };
    let wrong = module(2.99, 3.0)?;
    let text = report(assert_module_parity(&wrong, from_ref(&x)));
    assert_contains(&text, &["assert_module_parity", "gpu", "training pass, output 0"]);
    assert_eq!(wrong.weight.value().to_vec::<f32>()?, [0.5, -1.5]);
    assert_eq!(wrong.device(), Device::Cpu);
    let wrong = module(3.0, 3.1)?;
    assert_module_parity(&wrong, from_ref(&x))?;
    assert_contains(&report(check_module_gradients(&wrong, &[x])), &["gradient of weight ([2]), element 0"]);
    assert_eq!(wrong.weight.value().to_vec::<f32>()?, [0.5, -1.5]);
    Ok(())
}
