//! What NumPy computes (tests/golden/arrays.py), bit for bit: of whole numbers, in every element type, and of views.

use super::common::{DEVICES, tensor, values};
use serde_json::Value;
use wgrad::Axes;
use wgrad::prelude::*;

fn number(v: &Value) -> f64 {
    match v {
        Value::String(s) => s.parse().expect("inf, -inf or nan"),
        v => v.as_f64().expect("a number"),
    }
}

pub(super) fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("a list").iter().map(number).collect()
}

pub(super) fn sizes(v: &Value) -> Vec<usize> {
    numbers(v).into_iter().map(|n| n as usize).collect()
}

/// How an input comes to be: as it is, or the same values as a view whose elements stand in another order.
fn input(v: &Value, dtype: DType, device: Device, view: bool) -> Result<Tensor> {
    let (shape, values) = (sizes(&v["shape"]), numbers(&v["values"]));
    let t = tensor(&values, &shape, dtype, device)?;
    if !view || shape.is_empty() {
        return Ok(t);
    }
    // Turned around and computed, so that what is left is a view of a tensor in memory.
    let axes: Vec<isize> = (0..shape.len() as isize).rev().collect();
    let turned = t.permute(&axes)?.flip(0)?;
    let host = tensor(&self::values(&turned)?, turned.dims(), dtype, device)?;
    host.flip(0)?.permute(&axes)
}

fn call(entry: &Value, x: &[Tensor]) -> Result<Vec<Tensor>> {
    let a: Vec<isize> = numbers(&entry["args"]).into_iter().map(|v| v as isize).collect();
    let counts: Vec<usize> = a.iter().map(|&v| v.max(0) as usize).collect();
    let half = a.len() / 2;
    let refs: Vec<&Tensor> = x.iter().collect();
    let one = match entry["call"].as_str().expect("a name") {
        "split" => return x[0].split(&counts[1..], a[0]),
        "split_equally" => return x[0].split(counts[1], a[0]),
        "chunk" => return x[0].chunk(counts[1], a[0]),
        "meshgrid" => return Tensor::meshgrid(&refs),
        "roll" => x[0].roll(a[0], a[1]),
        "repeat" => x[0].repeat(counts[0], a[1]),
        "tile" => x[0].tile(&counts),
        "tril" => x[0].tril(a[0]),
        "triu" => x[0].triu(a[0]),
        "diag" => x[0].diag(a[0]),
        "diagonal" => x[0].diagonal(a[0], a[1], a[2]),
        "trace" => x[0].trace(),
        "einsum" => Tensor::einsum(entry["text"].as_str().expect("an equation"), &refs),
        "tensordot" => x[0].tensordot(&x[1], &a[..half], &a[half..]),
        "outer" => x[0].outer(&x[1]),
        "dot" => x[0].dot(&x[1]),
        "addmm" => x[0].addmm(&x[1], &x[2]),
        "any" => x[0].any(Axes::from(&a), false),
        "all" => (&x[0] + 1)?.all(Axes::from(&a), false),
        "count_nonzero" => x[0].count_nonzero(Axes::from(&a), false),
        "bincount" => x[0].cast(DType::I32)?.bincount(counts[0]),
        "searchsorted" => x[0].searchsorted(&x[1], a[0] == 1),
        "logical_and" => x[0].logical_and(&x[1]),
        "logical_or" => x[0].logical_or(&x[1]),
        "logical_xor" => x[0].logical_xor(&x[1]),
        "logical_not" => x[0].logical_not(),
        "masked_fill" => x[0].masked_fill(&x[1].cast(DType::U8)?, a[0] as f64),
        other => panic!("golden.rs does not know {other}"),
    };
    Ok(vec![one?])
}

/// Whether an element type holds all that is given and expected.
fn holds(dtype: DType, entry: &Value) -> bool {
    let all = entry["inputs"]
        .as_array()
        .expect("inputs")
        .iter()
        .chain(entry["outputs"].as_array().expect("outputs"));
    let floats = entry["floats"] == true;
    let negative = all.flat_map(|t| numbers(&t["values"])).any(|v| v < 0.0);
    let large = entry["call"] == "bincount";
    match dtype {
        DType::F32 | DType::F64 => true,
        DType::I32 => !floats,
        DType::U32 => !floats && !negative,
        _ => !floats && !negative && !large,
    }
}

fn check(device: Device, dtypes: &[DType]) -> Result<()> {
    let file: Value = serde_json::from_str(include_str!("../golden/arrays.json")).expect("valid JSON");
    let entries = file["entries"].as_array().expect("entries");
    assert!(entries.len() > 500, "the file is not whole");
    let mut failures = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let dtype = dtypes[at % dtypes.len()];
        // Integers without products of matrices may need more axes than there are, as their errors say.
        for dtype in [dtypes[0], dtype].into_iter().filter(|&d| holds(d, entry)) {
            let of = |view| {
                entry["inputs"].as_array().expect("inputs").iter().map(move |v| input(v, dtype, device, view))
            };
            let x = of(at % 2 == 1).collect::<Result<Vec<_>>>()?;
            let shapes: Vec<&[usize]> = x.iter().map(|t| t.dims()).collect();
            let what = format!(
                "{} {} {} of {dtype} {shapes:?} on {device}",
                entry["call"], entry["args"], entry["text"]
            );
            let got = match call(entry, &x) {
                Ok(got) => got,
                Err(e) => {
                    failures.push(format!("{what}: {e}"));
                    continue;
                }
            };
            let want = entry["outputs"].as_array().expect("outputs");
            assert_eq!(got.len(), want.len(), "{what}");
            for (got, want) in got.iter().zip(want) {
                let (shape, expected) = (sizes(&want["shape"]), numbers(&want["values"]));
                let found = values(got)?;
                if got.dims() != shape || found != expected {
                    failures.push(format!(
                        "{what}: {:?} {found:?}, NumPy has {shape:?} {expected:?}",
                        got.dims()
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn numpy_on_the_cpu() -> Result<()> {
    check(Device::Cpu, &[DType::F64, DType::F32, DType::I32, DType::U32, DType::U8])
}

#[test]
fn numpy_on_the_gpu() -> Result<()> {
    check(Device::Gpu, &[DType::F32, DType::I32, DType::U8, DType::U32])
}

/// NaN, infinities and zeros in what tells them apart, as NumPy has them.
#[test]
fn what_is_not_finite_is_told_apart() -> Result<()> {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for device in DEVICES {
        for x in [vec![nan, inf, -inf, 0.0, -0.0, 1e-40, f32::MAX, -nan], vec![1.0, nan, 2.0]] {
            let t = Tensor::from_vec(x.clone(), [x.len()], device)?;
            let bits = |f: fn(f32) -> bool| x.iter().map(|&v| u8::from(f(v))).collect::<Vec<_>>();
            // Also of what was computed by the same kernel.
            for t in [t.clone(), (&t * 1.0)?, t.flip(0)?.flip(0)?] {
                assert_eq!(t.isnan()?.to_vec::<u8>()?, bits(f32::is_nan), "{device}");
                assert_eq!(t.isinf()?.to_vec::<u8>()?, bits(f32::is_infinite), "{device}");
                assert_eq!(t.isfinite()?.to_vec::<u8>()?, bits(f32::is_finite), "{device}");
                let finite = |v: &f32| if v.is_nan() { 0.0 } else { v.clamp(f32::MIN, f32::MAX) };
                let got = t.nan_to_num()?.to_vec::<f32>()?;
                // Denormal numbers may be taken for 0.
                let near = |(g, v): (&f32, &f32)| *g == finite(v) || (v.is_subnormal() && *g == 0.0);
                assert!(got.iter().zip(&x).all(near), "{device}: {got:?} of {x:?}");
            }
        }
        let x = Tensor::new([[nan, 0.0, 0.0], [0.0, 0.0, -0.0]], device)?;
        assert_eq!(x.any(-1, false)?.to_vec::<u8>()?, [1, 0]);
        assert_eq!(x.all(0, false)?.to_vec::<u8>()?, [0, 0, 0]);
        assert_eq!(x.count_nonzero(.., true)?.to_vec::<u32>()?, [1]);
        assert_eq!(x.logical_or(&x)?.to_vec::<u8>()?, [1, 0, 0, 0, 0, 0]);
        assert_eq!(x.logical_not()?.to_vec::<u8>()?, [0, 1, 1, 1, 1, 1]);
        for t in [Tensor::new([1, -2], device)?, Tensor::new([1, -2], device)?.cast(DType::U8)?] {
            assert_eq!(t.isnan()?.to_vec::<u8>()?, [0, 0]);
            assert_eq!(t.isinf()?.to_vec::<u8>()?, [0, 0]);
            assert_eq!(t.isfinite()?.to_vec::<u8>()?, [1, 1]);
            assert_eq!(values(&t.nan_to_num()?)?, values(&t)?);
        }
        // What is cut away is 0, whatever it was.
        let x = Tensor::full([2, 2], nan, device)?;
        assert_eq!(x.tril(-3)?.to_vec::<f32>()?, [0.0; 4]);
        let kept = x.triu(1)?.to_vec::<f32>()?;
        assert!(kept[1].is_nan() && kept[0] == 0.0 && kept[2..] == [0.0; 2], "{device}: {kept:?}");
    }
    Ok(())
}
