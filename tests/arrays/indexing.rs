//! Sorts, reading and writing by index, pooling to a size: values and gradients of PyTorch (tests/golden/indexing.py), bit for bit on both devices but
//! where terms are interpolated; gradients of gradients; what no sort or index can be.

use super::common::{DEVICES, tensor, values};
use super::golden::{numbers, sizes};
use serde_json::Value;
use wgrad::prelude::*;
use wgrad::testing::{assert_close, check_gradients};
use wgrad::{Graph, Pool2dOptions, TensorSpec};

fn pool(args: &[f64]) -> Pool2dOptions {
    let a: Vec<usize> = args.iter().map(|&v| v as usize).collect();
    let padding = Padding::Explicit([a[4], a[4], a[5], a[5]]);
    Pool2dOptions::new([a[0], a[1]]).stride([a[2], a[3]]).padding(padding).ceil_mode(true)
}

fn call(entry: &Value, x: &[Tensor]) -> Result<Tensor> {
    let args = numbers(&entry["args"]);
    let a = |i: usize| args[i] as isize;
    let at: Vec<&Tensor> = x.iter().filter(|t| !t.dtype().is_float()).collect();
    match entry["call"].as_str().expect("a name") {
        "sort" => x[0].sort(a(0), a(1) == 1),
        "argsort" => x[0].argsort(a(0), a(1) == 1),
        "topk" => Ok(x[0].topk(args[0] as usize, a(1))?.0),
        "quantile" => x[0].quantile(args[0], a(1), false),
        "gather" => x[0].gather(a(0), &x[1]),
        "take_along_axis" => x[0].take_along_axis(a(0), &x[1]),
        "scatter" => x[0].scatter(a(0), &x[1], &x[2]),
        "scatter_add" => x[0].scatter_add(a(0), &x[1], &x[2]),
        "index_add" => x[0].index_add(a(0), &x[1], &x[2]),
        "index" => x[0].index(&at),
        "index_put" => x[0].index_put(&at, &x[1], false),
        "index_put_add" => x[0].index_put(&at, &x[1], true),
        "max_pool2d" => x[0].max_pool2d(pool(&args)),
        "avg_pool2d" => x[0].avg_pool2d(pool(&args).count_include_pad(args[6] == 1.0)),
        "adaptive_avg_pool2d" => x[0].adaptive_avg_pool2d([args[0] as usize, args[1] as usize]),
        "adaptive_max_pool2d" => x[0].adaptive_max_pool2d([args[0] as usize, args[1] as usize]),
        "nonzero" => x[0].nonzero(),
        "masked_select" => x[0].masked_select(&x[0].gt(0.0)?),
        "unique" => {
            let found = x[0].unique()?;
            Ok([found.values, found.inverse, found.counts][args[0] as usize].clone())
        }
        other => panic!("indexing.rs does not know {other}"),
    }
}

fn check(device: Device, float: DType) -> Result<()> {
    let file: Value = serde_json::from_str(include_str!("../golden/indexing.json")).expect("valid JSON");
    let entries = file["entries"].as_array().expect("entries");
    assert!(entries.len() > 160, "the file is not whole");
    for (i, entry) in entries.iter().enumerate() {
        let inputs = entry["inputs"].as_array().expect("inputs");
        let one = |input: &Value| {
            let dtype =
                if input["float"] == true { float } else { [DType::I32, DType::U32, DType::U8][i % 3] };
            let t = tensor(&numbers(&input["values"]), &sizes(&input["shape"]), dtype, device)?;
            if dtype.is_float() { t.watch() } else { Ok(t) }
        };
        let x = inputs.iter().map(one).collect::<Result<Vec<_>>>()?;
        let what = format!("{} {} {:?} on {device}", entry["call"], entry["args"], x[0].dims());
        let run = || -> Result<()> {
            let y = call(entry, &x)?;
            let want = &entry["output"];
            assert_eq!(y.dims(), sizes(&want["shape"]), "{what}");
            let tolerance = match (entry["call"].as_str(), float) {
                (Some("quantile" | "avg_pool2d" | "adaptive_avg_pool2d"), DType::F64) => 1e-14,
                (Some("quantile" | "avg_pool2d" | "adaptive_avg_pool2d"), _) => 1e-6,
                _ => 0.0,
            };
            assert_close(&y, numbers(&want["values"]), tolerance, tolerance)?;
            if let Some(gradients) = entry["gradients"].as_array() {
                let up = &entry["upstream"];
                let grads =
                    y.backward_with(&tensor(&numbers(&up["values"]), &sizes(&up["shape"]), float, device)?)?;
                for (x, want) in x.iter().filter(|x| x.is_tracked()).zip(gradients) {
                    let got = grads.get_or_zeros(x)?;
                    assert_close(&got, numbers(&want["values"]), tolerance, tolerance)?;
                }
            }
            Ok(())
        };
        run().map_err(|e| e.context(what.clone()))?;
    }
    Ok(())
}

#[test]
fn pytorch_on_the_cpu() -> Result<()> {
    check(Device::Cpu, DType::F64)?;
    check(Device::Cpu, DType::F32)
}

#[test]
fn pytorch_on_the_gpu() -> Result<()> {
    check(Device::Gpu, DType::F32)
}

/// What depends on values is read, and gradients go through what was picked; medians; NaN.
#[test]
fn what_is_read_back_and_medians() -> Result<()> {
    let nan = f32::NAN;
    for device in DEVICES {
        let x = Tensor::new([[2.0f32, nan, -0.0], [0.0, -nan, 2.0]], device)?;
        let found = x.unique()?;
        let distinct = found.values.to_vec::<f32>()?;
        assert!(distinct[..2] == [0.0, 2.0] && distinct[0].is_sign_negative() && distinct[2].is_nan());
        assert_eq!(found.inverse.to_vec::<i32>()?, [1, 2, 0, 0, 2, 1]);
        assert_eq!((found.inverse.dims(), found.counts.to_vec::<u32>()?), (&[2, 3][..], vec![2; 3]));
        assert_eq!(x.nonzero()?.to_vec::<i32>()?, [0, 0, 0, 1, 1, 1, 1, 2], "{device}");
        assert_eq!(Tensor::new(3.0f32, device)?.nonzero()?.dims(), [1, 0]);
        let x = Tensor::new([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]], device)?.watch()?;
        let mask = Tensor::new([[1], [0]], device)?.cast(DType::U8)?;
        let picked = x.masked_select(&mask)?;
        assert_eq!(picked.to_vec::<f32>()?, [1.0, 2.0, 3.0], "{device}");
        let gradient = (picked * 2.0)?.sum(.., false)?.backward()?.get(&x)?;
        assert_eq!(gradient.to_vec::<f32>()?, [2.0, 2.0, 2.0, 0.0, 0.0, 0.0], "{device}");
        assert_eq!(x.median(.., false)?.item::<f32>()?, 3.5);
        assert_eq!(x.median(0, true)?.to_vec::<f32>()?, [2.5, 3.5, 4.5]);
        assert_eq!(x.median([0, 1], true)?.dims(), [1, 1]);
        let gradient = x.median(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
        assert_eq!(gradient, [0.0, 0.0, 0.5, 0.5, 0.0, 0.0], "{device}");
        let x = Tensor::new([[1.0f32, nan, 3.0], [4.0, f32::INFINITY, f32::NEG_INFINITY]], device)?;
        let medians = values(&x.median(1, false)?)?;
        assert!(medians[0].is_nan() && medians[1] == 4.0, "{device}: {medians:?}");
        // a sum of weights: between two infinities of one sign that infinity
        let x = Tensor::new([f32::INFINITY, f32::INFINITY, 0.0], device)?;
        assert_eq!(x.quantile(0.7, 0, false)?.item::<f32>()?, f32::INFINITY, "{device}");
    }
    Ok(())
}

/// Of a product with what was sorted or written, so that there is a second derivative.
#[test]
fn gradients_of_any_order() -> Result<()> {
    let x = tensor(&[0.5, -1.0, 2.0, 0.25, 1.5, -0.75], &[2, 3], DType::F64, Device::Cpu)?;
    let v = tensor(&[1.25, -0.5, 0.75, 3.0], &[2, 2], DType::F64, Device::Cpu)?;
    let at = Tensor::new([[2, 2], [0, 1]], Device::Cpu)?;
    type Call = fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>;
    let calls: [(&str, Call); 9] = [
        ("adaptive_avg_pool2d", |x, _, _| x.reshape([1, 2, 3, 1])?.adaptive_avg_pool2d([3, 2])),
        ("adaptive_max_pool2d", |x, _, _| x.reshape([1, 2, 3, 1])?.adaptive_max_pool2d([1, 2])),
        ("sort", |x, _, _| x.sort(1, true)),
        ("topk", |x, _, _| Ok(x.topk(2, -1)?.0)),
        ("median", |x, _, _| x.median(0, true)),
        ("scatter", |x, v, at| x.scatter(1, at, v)),
        ("scatter_add", |x, v, at| x.scatter_add(1, at, v)),
        ("take_along_axis", |x, v, at| x.take_along_axis(1, at)? * v),
        ("index_put", |x, v, at| x.index_put(&[&at.slice(0, 1, 1)?, at], v, true)),
    ];
    for (name, call) in calls {
        let cube = |i: &[Tensor]| -> Result<Tensor> { call(&i[0], &i[1], &at)?.pow(3.0)?.sum(.., false) };
        let inputs = [x.clone(), v.clone()];
        check_gradients(|i| Ok(vec![cube(i)?]), &inputs).map_err(|e| e.context(name))?;
        let slope = |i: &[Tensor]| {
            let grads = cube(i)?.backward()?;
            i.iter().map(|x| grads.get_or_zeros(x)).collect::<Result<Vec<_>>>()
        };
        check_gradients(slope, &inputs).map_err(|e| e.context(name))?;
    }
    Ok(())
}

/// Inside a traced function there is nothing to read; sorts and writes are traced like all else.
#[test]
fn traced_functions_sort_and_read_nothing_back() -> Result<()> {
    for device in DEVICES {
        let spec = TensorSpec::f32([2, 3], device)?;
        type Read = fn(&Tensor) -> Result<Tensor>;
        let reads: [Read; 3] =
            [|x| x.nonzero(), |x| x.masked_select(&x.gt(0.0)?), |x| Ok(x.unique()?.values)];
        for read in reads {
            let traced = Graph::trace(&[spec], |x| Ok(vec![read(&x[0])?]));
            let Err(error) = traced else { panic!("nothing can be read") };
            assert!(error.to_string().contains("known only when the function is called"), "{error}");
        }
        let f = Graph::trace(&[spec], |x| {
            let (sorted, places) = x[0].sort_with_indices(-1, false)?;
            Ok(vec![x[0].zeros_like()?.scatter(-1, &places, &sorted)?, sorted])
        })?;
        let x = Tensor::new([[3.0f32, 1.0, 2.0], [0.0, -1.0, 5.0]], device)?;
        let y = f.call(&[&x])?;
        assert_eq!(y[0].to_vec::<f32>()?, x.to_vec::<f32>()?, "{device}");
        assert_eq!(y[1].to_vec::<f32>()?, [1.0, 2.0, 3.0, -1.0, 0.0, 5.0], "{device}");
    }
    Ok(())
}
