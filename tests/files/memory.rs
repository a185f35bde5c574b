//! What is larger than memory is an error, and the process goes on.
#![cfg(target_os = "linux")]

use super::*;
use std::process::{Command, Stdio};
use wgrad::nn::{BatchNorm, Initializer};

const LIMITED: &str = "WGRAD_TEST_LIMITED";

/// Runs a test of this file in a process that may have so many KiB of addresses; true in that process.
fn limited(test: &str, kib: u64) -> bool {
    if std::env::var_os(LIMITED).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let script =
        format!("ulimit -v {kib} && exec \"$0\" --exact memory::{test} --test-threads 1 --nocapture");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(this).env(LIMITED, "1").env("RAYON_NUM_THREADS", "2");
    let output = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(output.status.success(), "{}: {text}", output.status);
    false
}

fn no_memory<T>(what: &str, result: Result<T>) {
    match result {
        Err(e) if matches!(e.root(), Error::OutOfMemory { .. }) => {}
        Err(e) => panic!("{what}: {e}"),
        Ok(_) => panic!("{what} was done"),
    }
}

/// More elements than the limits below leave room for.
const MANY: usize = 1 << 29;

#[test]
fn reading_saving_and_initialising_ended_the_process() {
    if !limited("reading_saving_and_initialising_ended_the_process", 1_500_000) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let d = Device::Cpu;
    let huge = || Tensor::zeros([MANY], d).unwrap();
    no_memory("to_vec", huge().to_vec::<f32>());
    no_memory("to_ndarray", huge().to_ndarray::<f32>());
    no_memory("eval", (huge() + 1.0).unwrap().eval());
    no_memory("rand", Tensor::rand([MANY], d, 1).unwrap().eval());
    let row = Tensor::ones([1, 1 << 15], d).unwrap();
    let wide = row.broadcast_to([1 << 14, 1 << 15]).unwrap().transpose().unwrap();
    no_memory("a view", wide.to_vec::<f32>());
    no_memory("save_npy", huge().save_npy(&path));
    no_memory("npz", wgrad::io::npz::save(&path, &[("x".into(), huge())]));
    no_memory("save_tensors", wgrad::io::save_tensors(&path, &[("x".into(), huge())]));
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    for initializer in [
        Initializer::Zeros,
        Initializer::Ones,
        Initializer::Constant(0.5),
        Initializer::GlorotUniform,
        Initializer::HeNormal,
        Initializer::RandomNormal { mean: 0.0, std: 1.0 },
        Initializer::TruncatedNormal { mean: 0.0, std: 1.0 },
        Initializer::Orthogonal { gain: 1.0 },
    ] {
        let dense = Dense::new(1 << 15).kernel_initializer(initializer);
        let result = Sequential::new().add(dense).build([1 << 14], d);
        no_memory(&format!("{initializer:?}"), result);
    }
    no_memory("full", Sequential::new().add(BatchNorm::new()).build([MANY], d));
    // Half of what there is, which can't be had twice.
    let half = vec![1.0f32; 200_000_000];
    no_memory("from_slice", Tensor::from_slice(&half, [half.len()], d));
    let array = ndarray::Array1::from_vec(half);
    no_memory("from_ndarray", Tensor::from_ndarray(&array, d));
    let half = Tensor::from_vec(array.into_raw_vec_and_offset().0, [200_000_000], d).unwrap();
    no_memory("to_vec of what is there", half.to_vec::<f32>());
    // Nothing is broken by any of it.
    assert_eq!(Tensor::ones([3], d).unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
}

#[test]
fn reading_from_a_gpu_ended_the_process() {
    if !limited("reading_from_a_gpu_ended_the_process", 6_000_000) {
        return;
    }
    let d = Device::Gpu;
    assert_eq!(Tensor::ones([3], d).unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
    no_memory("to_vec", Tensor::zeros([1 << 31], d).unwrap().to_vec::<f32>());
    no_memory("eval", (Tensor::zeros([1 << 31], d).unwrap() + 1.0).unwrap().eval());
    assert_eq!(Tensor::ones([3], d).unwrap().to_vec::<f32>().unwrap(), [1.0; 3]);
}
