//! A few kernels against plain loops, before an adapter is used for the first time: drivers that only claim to be a GPU give zeros or NaN
//! without a word.
//!
//! What passed is noted in the user's cache folder, by adapter, driver and version of this crate: one trial each.

use super::cache::{self, PlanCache};
use super::context::{self, BINDING_VARIABLE, Gpu};
use super::kernels::kind::KERNELS_VARIABLE;
use super::limits::LIMITS_VARIABLE;
use super::pipeline::Pipelines;
use super::transfer;
use crate::cpu::Array;
use crate::device::Device;
use crate::dtype::DType;
use crate::environment::{choice, variable};
use crate::error::{Error, Result};
use crate::files::{cache_folder, make_folders, write_whole};
use crate::ops::table::{Binary, Unary};
use crate::ops::{Lowering, Pointwise, ReduceKind};
use crate::shape::{MAX_RANK, Shape, Spec};
use crate::tensor::{Grads, Operation, Pending, Tensor, Value, Vjp};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::{Adapter, AdapterInfo};

/// Says when adapters are tried; see [`WHEN`].
pub(super) const TRIAL_VARIABLE: &str = "WGRAD_TRIAL";

/// What the variable may be, and what it means.
const WHEN: [(&str, &str); 3] = [
    ("once", "before an adapter and driver are used for the first time, as without the variable"),
    ("always", "in every process"),
    ("never", "at no time: to find out what is wrong with an adapter that fails"),
];

/// What an adapter may take for the trial, compiling included: one that never answers is refused.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rows, inner length and columns of the product: a few workgroups with an edge, of the kernels that compile fastest.
const SIZES: [usize; 3] = [4, 37, 45];

/// How far results may be off, relative to 1: several times what any driver that computes at all does.
const TOLERANCE: f64 = 1e-4;

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
enum Step {
    /// A matrix product.
    Product,
    /// The sum of each row.
    RowSums,
    Exp,
    Multiply,
}

impl Operation for Step {
    fn name(&self) -> &'static str {
        match self {
            Step::Product => "matmul",
            Step::RowSums => "sum",
            Step::Exp => "exp",
            Step::Multiply => "mul",
        }
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Err(Error::internal("a step of an adapter's trial on the CPU"))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        match self {
            Step::Product => Lowering::Matmul,
            Step::RowSums => {
                let mut axes = [false; MAX_RANK];
                axes[1] = true;
                Lowering::Reduce { kind: ReduceKind::Sum, axes }
            }
            Step::Exp => Lowering::Pointwise(Pointwise::Unary(Unary::Exp)),
            Step::Multiply => Lowering::Pointwise(Pointwise::Binary(Binary::Mul)),
        }
    }
}

/// Tries an adapter unless that was done before.
///
/// # Errors
///
/// Its results are wrong, it fails, or it does not answer; the environment asks for a time that has no name.
pub(super) fn pass(adapter: &'static Adapter) -> Result<()> {
    match choice(TRIAL_VARIABLE, "time", &WHEN)? {
        Some("never") => return Ok(()),
        Some("always") => return attempt(adapter),
        _ => {}
    }
    // What can't be kept on disk is remembered at least for the process. Two threads may both try: neither waits for the other.
    static PASSED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let passed = || PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let name = name_of(&adapter.get_info());
    if passed().contains(&name) {
        return Ok(());
    }
    let note = note(&name);
    let known =
        note.as_ref().is_some_and(|path| std::fs::read(path).is_ok_and(|text| text == name.as_bytes()));
    if !known {
        attempt(adapter)?;
        if let Some(path) = note {
            // Losing it costs another trial, nothing else.
            let _ = make_folders(&path).and_then(|()| write_whole(&path, name.as_bytes()));
        }
    }
    passed().push(name);
    Ok(())
}

/// What results depend on: the adapter, its driver, and the kernels, which other variables and debug builds choose differently.
fn name_of(info: &AdapterInfo) -> String {
    let AdapterInfo { name, vendor, device, driver, driver_info, backend, .. } = info;
    let version = env!("CARGO_PKG_VERSION");
    let chosen = [KERNELS_VARIABLE, LIMITS_VARIABLE, BINDING_VARIABLE].map(variable);
    let checked = cfg!(debug_assertions);
    format!(
        "wgrad {version}, {backend:?}: {name} {vendor:x}:{device:x}, {driver} {driver_info}, {chosen:?}, checked: {checked}"
    )
}

/// The file that says that an adapter passed.
fn note(name: &str) -> Option<PathBuf> {
    let hash = super::pipeline_cache::checksum(name.as_bytes());
    Some(cache_folder("adapters")?.join(format!("{hash:016x}.passed")))
}

/// Runs the trial on a device of its own, of which nothing stays, in a thread of its own: a driver that never answers keeps that, and
/// nobody else waits longer than for [`PATIENCE`].
fn attempt(adapter: &'static Adapter) -> Result<()> {
    let (done, result) = mpsc::channel();
    let work = move || {
        // Nobody listens any more where it took too long.
        let _ = done.send(compute_on(adapter));
    };
    let info = adapter.get_info();
    if let Err(e) = std::thread::Builder::new().name("wgrad trial".into()).spawn(work) {
        return Err(Error::internal(format!("no thread for the trial of an adapter: {e}")));
    }
    let wrong = match result.recv_timeout(PATIENCE) {
        Ok(Ok(wrong)) => wrong,
        Ok(Err(e @ (Error::Gpu { .. } | Error::DeviceLost { .. }))) => Some(e.to_string()),
        Ok(Err(other)) => return Err(other),
        Err(RecvTimeoutError::Timeout) => {
            Some(format!("a small computation did not end within {} s", PATIENCE.as_secs()))
        }
        Err(RecvTimeoutError::Disconnected) => Some("a small computation ended without a result".into()),
    };
    wrong.map_or(Ok(()), |wrong| Err(refused(&info, &wrong)))
}

fn compute_on(adapter: &Adapter) -> Result<Option<String>> {
    let gpu = Arc::new(context::open(adapter)?);
    compute(&gpu, &Arc::new(Pipelines::for_a_trial()))
}

fn refused(info: &AdapterInfo, why: &str) -> Error {
    let AdapterInfo { name, driver, driver_info, backend, .. } = info;
    let message = format!(
        "{name} ({backend:?}, driver {driver} {driver_info}) can't be used: {why}. Update its driver, choose \
         another adapter (WGRAD_ADAPTER, Device::named) or Device::Cpu. To find out what else is wrong, run the example doctor: \
         `{TRIAL_VARIABLE}=never cargo run --release --example doctor`"
    );
    Error::NoAdapter { message }
}

/// Numbers from -1 to 1, the same everywhere.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let bits = |i| (crate::seed::derive(seed, i as u64) >> 40) as f32;
    (0..count).map(|i| bits(i) / (1u32 << 23) as f32 - 1.0).collect()
}

/// Computes the kernels; says what is wrong, if anything is.
fn compute(gpu: &Arc<Gpu>, pipelines: &Arc<Pipelines>) -> Result<Option<String>> {
    let [m, k, n] = SIZES;
    let device = Device::Gpu;
    let spec = |dims: &[usize]| Spec { shape: Shape::from_dims(dims), dtype: DType::F32 };
    let (a, b) = (numbers(1, m * k), numbers(2, k * n));
    let leaf = |values: &[f32], dims: &[usize]| -> Result<Tensor> {
        let array = Array::from_vec(values.to_vec(), Shape::from_dims(dims));
        Ok(Tensor::from_value(Value::Gpu(transfer::upload(gpu, &array)?), spec(dims), device))
    };
    let (ta, tb) = (leaf(&a, &[m, k])?, leaf(&b, &[k, n])?);
    let node = |op, inputs: &[&Tensor], dims: &[usize]| {
        Tensor::untracked(op, inputs.iter().map(|&t| t.clone()).collect(), spec(dims), device)
    };
    let product = node(Step::Product, &[&ta, &tb], &[m, n]);
    let sums = node(Step::RowSums, &[&tb], &[k, 1]);
    let scaled = node(Step::Multiply, &[&node(Step::Exp, &[&tb], &[k, n]), &tb], &[k, n]);

    let at = |x: &[f32], i: usize| f64::from(x[i]);
    let dot = |i: usize| (0..k).map(|l| at(&a, i / n * k + l) * at(&b, l * n + i % n)).sum();
    let row = |i: usize| (0..n).map(|j| at(&b, i * n + j)).sum();
    let scale = |i: usize| at(&b, i).exp() * at(&b, i);
    let expected: [(&str, &Tensor, Vec<f64>); 3] = [
        ("a matrix product", &product, (0..m * n).map(dot).collect()),
        ("a sum", &sums, (0..k).map(row).collect()),
        ("a pointwise function", &scaled, (0..k * n).map(scale).collect()),
    ];

    let mut plans = PlanCache::default();
    let graph = Pending::collect(&[&product, &sums, &scaled]);
    cache::run(gpu, pipelines, &mut plans, &graph, None)?;
    for (what, tensor, expected) in expected {
        let Some(Value::Gpu(array)) = tensor.0.value() else {
            return Err(Error::internal("a trial without a value"));
        };
        let array = transfer::download(gpu, &array, false, || ())?;
        if let Some(wrong) = difference(array.slice::<f32>()?, &expected) {
            return Ok(Some(format!("{what} {wrong}")));
        }
    }
    Ok(None)
}

/// What the first element that is off gave and should have given.
fn difference(got: &[f32], expected: &[f64]) -> Option<String> {
    if got.len() != expected.len() {
        return Some(format!("gave {} elements instead of {}", got.len(), expected.len()));
    }
    let off = |(_, (got, want)): &(usize, (&f32, &f64))| {
        let far = (f64::from(**got) - **want).abs();
        far.is_nan() || far > TOLERANCE * want.abs().max(1.0)
    };
    let wrong = || got.iter().zip(expected).enumerate().filter(off);
    let (i, (first, want)) = wrong().next()?;
    let share = format!("{} of {} elements are wrong", wrong().count(), got.len());
    Some(format!("gave {first} instead of {want:.6} as element {i} ({share})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_element_is_named() {
        assert_eq!(difference(&[1.0, 0.5], &[1.0, 0.500_01]), None);
        for (got, part) in [
            (vec![1.0, f32::NAN], "gave NaN instead of 0.500000 as element 1 (1 of 2"),
            (vec![f32::INFINITY, 0.0], "gave inf instead of 1.000000 as element 0 (2 of 2"),
            (vec![1.0], "gave 1 elements instead of 2"),
        ] {
            let message = difference(&got, &[1.0, 0.5]).unwrap();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn this_adapter_passes_as_often_as_it_is_tried() -> Result<()> {
        let engine = crate::gpu::engine(Device::Gpu)?;
        for _ in 0..2 {
            let found = compute(&engine.gpu, &engine.pipelines)?;
            assert_eq!(found, None);
        }
        Ok(())
    }
}
