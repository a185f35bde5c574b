//! Values and gradients of PyTorch in float64 (tests/golden/generate.py, tests/golden/pointwise.py): f64 on the CPU to the last digits, f32 on both
//! devices to what single precision gives.

mod common;

use common::{tensor, values};
use serde_json::Value;
use wgrad::prelude::*;
use wgrad::{Axes, Conv2dOptions, PadMode, Pool2dOptions};

/// Of each element, `tolerance * (1 + |expected|)`: stricter than relative to the largest, for values from 1e-20 to 1e8.
const F64: f64 = 1e-12;
const F32: f64 = 2e-6;

/// Wider single-precision tolerances by call, forward and gradient, and why.
const TOLERANCES: &[(&str, f64, &str)] = &[
    ("pow", 1e-5, "GPUs compute exp2(y * log2(x)): the error of the logarithm grows with the exponent"),
    ("cross_entropy_rows", 5e-6, "a sum of exponentials whose arguments reach 12"),
];

struct Entry<'a>(&'a Value);

fn number(v: &Value) -> f64 {
    match v {
        Value::String(s) => s.parse().expect("inf, -inf or nan"),
        v => v.as_f64().expect("a number"),
    }
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("a list").iter().map(number).collect()
}

fn sizes(v: &Value) -> Vec<usize> {
    numbers(v).into_iter().map(|n| n as usize).collect()
}

impl Entry<'_> {
    fn name(&self) -> &str {
        self.0["call"].as_str().expect("a name")
    }

    fn what(&self) -> String {
        let note = self.0["note"].as_str().unwrap_or_default();
        let shapes: Vec<String> =
            self.0["inputs"].as_array().expect("inputs").iter().map(|i| i["shape"].to_string()).collect();
        format!("{} {} {} {note}", self.name(), shapes.join(" "), self.0["args"])
    }

    /// Inputs as tensors, the floats watched.
    fn inputs(&self, float: DType, device: Device) -> Result<Vec<Tensor>> {
        let inputs = self.0["inputs"].as_array().expect("inputs");
        let one = |i: &Value| {
            let is_float = i["dtype"] == "float";
            let t = tensor(
                &numbers(&i["values"]),
                &sizes(&i["shape"]),
                if is_float { float } else { DType::I32 },
                device,
            )?;
            if is_float { t.watch() } else { Ok(t) }
        };
        inputs.iter().map(one).collect()
    }
}

fn conv_options(a: &[f64]) -> Conv2dOptions {
    let u: Vec<usize> = a.iter().map(|&v| v as usize).collect();
    Conv2dOptions::new()
        .stride([u[0], u[1]])
        .padding(Padding::Explicit([u[2], u[3], u[4], u[5]]))
        .dilation([u[6], u[7]])
        .groups(u[8])
}

fn pool_options(a: &[f64]) -> Pool2dOptions {
    let u: Vec<usize> = a.iter().map(|&v| v as usize).collect();
    Pool2dOptions::new([u[0], u[1]])
        .stride([u[2], u[3]])
        .padding(Padding::Explicit([u[4], u[5], u[6], u[7]]))
        .count_include_pad(u.get(8) == Some(&1))
}

fn pairs(a: &[f64]) -> Vec<(usize, usize)> {
    a.chunks(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect()
}

/// The calls that generate.py names.
fn call(name: &str, a: &[f64], x: &[Tensor]) -> Result<Tensor> {
    let axes: Vec<isize> = a.iter().map(|&v| v as isize).collect();
    // in the file an empty list stands for all
    let reduced = if axes.is_empty() { Axes::from(..) } else { Axes::from(&axes) };
    match name {
        "neg" => x[0].neg(),
        "abs" => x[0].abs(),
        "exp" => x[0].exp(),
        "log" => x[0].log(),
        "sqrt" => x[0].sqrt(),
        "square" => x[0].square(),
        "reciprocal" => x[0].reciprocal(),
        "sin" => x[0].sin(),
        "cos" => x[0].cos(),
        "sign" => x[0].sign(),
        "floor" => x[0].floor(),
        "ceil" => x[0].ceil(),
        "trunc" => x[0].trunc(),
        "round" => x[0].round(),
        "tan" => x[0].tan(),
        "cumprod" => x[0].cumprod(axes[0]),
        "asin" => x[0].asin(),
        "acos" => x[0].acos(),
        "atan" => x[0].atan(),
        "asinh" => x[0].asinh(),
        "acosh" => x[0].acosh(),
        "atanh" => x[0].atanh(),
        "atan2" => x[0].atan2(&x[1]),
        "fmod" => x[0].fmod(&x[1]),
        "remainder" => x[0].remainder(&x[1]),
        "floor_divide" => x[0].floor_divide(&x[1]),
        "bitwise_and" => &x[0] & &x[1],
        "bitwise_or" => &x[0] | &x[1],
        "bitwise_xor" => &x[0] ^ &x[1],
        "bitwise_not" => !&x[0],
        "shl" => &x[0] << &x[1],
        "shr" => &x[0] >> &x[1],
        "relu" => x[0].relu(),
        "elu" => x[0].elu(),
        "sigmoid" => x[0].sigmoid(),
        "tanh" => x[0].tanh(),
        "silu" => x[0].silu(),
        "gelu" => x[0].gelu(),
        "gelu_tanh" => x[0].gelu_tanh(),
        "softplus" => x[0].softplus(),
        "erf" => x[0].erf(),
        "leaky_relu" => x[0].leaky_relu(a[0]),
        "clamp" => x[0].clamp(a[0], a[1]),
        "add" => &x[0] + &x[1],
        "sub" => &x[0] - &x[1],
        "mul" => &x[0] * &x[1],
        "div" => &x[0] / &x[1],
        "maximum" => x[0].maximum(&x[1]),
        "minimum" => x[0].minimum(&x[1]),
        "pow" => x[0].pow(&x[1]),
        "pow_number" => x[0].pow(a[0]),
        "where" => x[0].cast(DType::U8)?.select(&x[1], &x[2]),
        "eq" => x[0].eq(&x[1]),
        "ne" => x[0].ne(&x[1]),
        "lt" => x[0].lt(&x[1]),
        "le" => x[0].le(&x[1]),
        "gt" => x[0].gt(&x[1]),
        "ge" => x[0].ge(&x[1]),
        "sum" => x[0].sum(reduced, false),
        "mean" => x[0].mean(reduced, false),
        "max" => x[0].max(reduced, false),
        "min" => x[0].min(reduced, false),
        "prod" => x[0].prod(reduced, false),
        "argmax" => x[0].argmax(axes[0], false),
        "argmin" => x[0].argmin(axes[0], false),
        "permute" => x[0].permute(axes),
        "slice_step" => x[0].slice_step(axes[0], a[1] as usize, a[2] as usize, axes[3]),
        "flip" => x[0].flip(axes[0]),
        "pad" => x[0].pad([(a[0] as usize, a[1] as usize), (a[2] as usize, a[3] as usize)], a[4]),
        "pad_reflect" => x[0].pad_mode(pairs(a), PadMode::Reflect),
        "pad_replicate" => x[0].pad_mode(pairs(a), PadMode::Replicate),
        "pad_circular" => x[0].pad_mode(pairs(a), PadMode::Circular),
        "concat" => Tensor::concat(&[&x[0], &x[1]], axes[0]),
        "stack" => Tensor::stack(&[&x[0], &x[1]], axes[0]),
        "index_select" => x[0].index_select(axes[0], &x[1]),
        "gather" => x[0].gather(axes[0], &x[1]),
        "matmul" => x[0].matmul(&x[1]),
        "conv2d" => x[0].conv2d(&x[1], conv_options(a)),
        "max_pool2d" => x[0].max_pool2d(pool_options(a)),
        "avg_pool2d" => x[0].avg_pool2d(pool_options(a)),
        "softmax" => x[0].softmax(axes[0]),
        "log_softmax" => x[0].log_softmax(axes[0]),
        "cross_entropy" => x[0].cross_entropy(&x[1]),
        "cross_entropy_rows" => x[0].cross_entropy_rows(&x[1]),
        other => panic!("golden.rs does not know {other}"),
    }
}

fn differences(got: &[f64], want: &[f64], tolerance: f64, what: &str, failures: &mut Vec<String>) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan());
        let close = w.is_finite() && (g - w).abs() <= tolerance * (1.0 + w.abs());
        if !same && !close {
            failures.push(format!("{what}: element {i}: {g:e}, PyTorch has {w:e}"));
        }
    }
}

fn check(float: DType, device: Device) -> Result<()> {
    let files = [include_str!("golden/vectors.json"), include_str!("golden/pointwise.json")];
    let files = files.map(|text| serde_json::from_str::<Value>(text).expect("valid JSON"));
    let entries: Vec<&Value> =
        files.iter().flat_map(|file| file["entries"].as_array().expect("entries")).collect();
    assert!(entries.len() > 150, "the files are not whole");
    let mut failures = Vec::new();
    for entry in entries.into_iter().map(Entry) {
        let wide = TOLERANCES.iter().find(|t| t.0 == entry.name()).map_or(F32, |t| t.1);
        let tolerance = if float == DType::F64 { F64 } else { wide };
        let x = entry.inputs(float, device)?;
        let args = numbers(&entry.0["args"]);
        let y = call(entry.name(), &args, &x)?;
        assert_eq!(y.dims(), &sizes(&entry.0["shape"])[..], "{}", entry.what());
        differences(&values(&y)?, &numbers(&entry.0["output"]), tolerance, &entry.what(), &mut failures);
        let Some(expected) = entry.0["grads"].as_array() else { continue };
        let grads = match y.is_tracked() {
            true => {
                Some(y.backward_with(&tensor(&numbers(&entry.0["upstream"]), y.dims(), float, device)?)?)
            }
            false => None,
        };
        for (i, want) in expected.iter().enumerate().filter(|(_, want)| !want.is_null()) {
            let got = match &grads {
                Some(grads) => grads.get_or_zeros(&x[i])?,
                None => x[i].zeros_like()?,
            };
            let what = format!("gradient of input {i} of {}", entry.what());
            differences(&values(&got)?, &numbers(want), tolerance, &what, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn f64_on_the_cpu() -> Result<()> {
    check(DType::F64, Device::Cpu)
}

#[test]
fn f32_on_the_cpu() -> Result<()> {
    check(DType::F32, Device::Cpu)
}

#[test]
fn f32_on_the_gpu() -> Result<()> {
    check(DType::F32, Device::Gpu)
}
