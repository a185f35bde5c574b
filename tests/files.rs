//! Files: those of NumPy, PyTorch and Keras, written by the real ones (tests/golden/weights.py), bit by bit and by the predictions
//! that they lead to; files that are written while others read them; files that are made to exhaust memory.

use serde_json::Value;
use std::path::{Path, PathBuf};
use wgrad::prelude::*;

#[path = "files/bombs.rs"]
mod bombs;
#[path = "files/damage.rs"]
mod damage;
#[path = "files/forms.rs"]
mod forms;
#[path = "files/keras.rs"]
mod keras;
#[path = "files/matching.rs"]
mod matching;
#[path = "files/memory.rs"]
mod memory;
#[path = "files/modules.rs"]
mod modules;
#[path = "files/numpy.rs"]
mod numpy;
#[path = "files/pytorch.rs"]
mod pytorch;
#[path = "files/sequences.rs"]
mod sequences;
#[path = "files/writing.rs"]
mod writing;

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];
/// Of each prediction, absolutely; they are about one.
const TOLERANCE: f32 = 1e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn weights_file(name: &str) -> PathBuf {
    golden("weights").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let digit = |d: u8| (d as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|p| digit(p[0]) * 16 + digit(p[1])).collect()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

fn message<T>(result: Result<T>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

/// What the models were asked about, as in tests/golden/weights.py.
fn inputs(shape: &[usize], device: Device) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f64 / 50.0 - 1.0) as f32).collect();
    Tensor::from_vec(values, shape, device).unwrap()
}

fn all(model: &Model) -> Vec<Vec<f32>> {
    model.parameters().iter().map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect()
}

/// That a model predicts what the one that saved the weights did.
fn check(model: &Model, x: &Tensor, expected: &str) {
    let outputs = model.infer_all(std::slice::from_ref(x)).unwrap();
    let expected_all = &json("weights.json")[expected];
    assert_eq!(outputs.len(), expected_all.as_array().unwrap().len(), "{expected}");
    for (y, want) in outputs.iter().zip(expected_all.as_array().unwrap()) {
        let (got, want) = (y.to_vec::<f32>().unwrap(), numbers(want));
        assert_eq!(got.len(), want.len(), "{expected}");
        for (g, w) in got.iter().zip(&want) {
            assert!((g - *w as f32).abs() < TOLERANCE, "{expected} on {}: {got:?}\n{want:?}", x.device());
        }
    }
}
