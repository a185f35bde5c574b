//! An operation of one's own, with kernels for both kinds of device and its own gradient.
//!
//! `cargo run --release --example custom_op [DEVICE]` checks it against the same function made of built-in operations.

use std::sync::Arc;
use wgrad::prelude::*;
use wgrad::testing::{assert_close, check_gradients};
use wgrad::{CustomKernel, CustomOp, Shape, apply_custom};

/// `x * clamp(x + 3, 0, 6) / 6` (Howard et al., "Searching for MobileNetV3", 2019).
#[derive(Debug)]
struct HardSwish;

const WORKGROUP: usize = 64;

const WGSL: &str = "
struct Parameters { n: u32 }
@group(0) @binding(0) var<uniform> parameters: Parameters;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i < parameters.n {
        y[i] = x[i] * clamp(x[i] + 3.0, 0.0, 6.0) / 6.0;
    }
}
";

impl CustomOp for HardSwish {
    fn name(&self) -> &'static str {
        "hard_swish"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [x] => Ok(*x),
            _ => Err(Error::argument("hard_swish", format!("takes one input, got {}", inputs.len()))),
        }
    }

    fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
        for (y, &x) in output.iter_mut().zip(inputs[0]) {
            *y = x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
        }
        Ok(())
    }

    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let n = shapes[0].numel();
        Some(CustomKernel::new(WGSL, n, WORKGROUP).uniform(vec![n as u32]))
    }

    /// The slope is 0 below -3, 1 above 3, and (2x + 3) / 6 between.
    fn vjp(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let x = &inputs[0];
        let between = (((x * 2.0)? + 3.0)? * (1.0 / 6.0))?;
        let slope = x.le(-3.0)?.select(x.zeros_like()?, x.ge(3.0)?.select(x.ones_like()?, between)?)?;
        Ok(vec![Some((grad * slope)?)])
    }
}

fn hard_swish(x: &Tensor) -> Result<Tensor> {
    apply_custom(Arc::new(HardSwish), &[x])
}

fn built_in(x: &Tensor) -> Result<Tensor> {
    (x * (x + 3.0)?.clamp(0.0, 6.0)?)? * (1.0 / 6.0)
}

/// Value and gradient of a loss through `f`, whose input and output have neighbours to be fused with.
fn run(x: &Tensor, f: fn(&Tensor) -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
    let x = x.watch()?;
    let y = (f(&(&x * 2.0)?)? + 1.0)?;
    let gradient = y.square()?.mean(.., false)?.backward()?.get(&x)?;
    Ok((y, gradient))
}

fn main() -> Result<()> {
    let device: Device = std::env::args().nth(1).unwrap_or("best".into()).parse()?;
    let x = (Tensor::randn([1000, 7], device, 1)? * 3.0)?;
    let ((y, dy), (y0, dy0)) = (run(&x, hard_swish)?, run(&x, built_in)?);
    for (what, got, want) in [("value", y, y0), ("gradient", dy, dy0)] {
        assert_close(&got, &want, 1e-5, 1e-5)?;
        println!("{what}: as that of the built-in operations on {device}");
    }
    // away from the kinks at -3 and 3
    let smooth = Tensor::new([-4.5f32, -2.0, -0.5, 0.0, 1.5, 2.5, 4.0], device)?;
    check_gradients(|t| hard_swish(&t[0]), &[smooth])?;
    println!("gradient: as finite differences say");
    Ok(())
}
