//! Attention and transformers as PyTorch computes them in float64 (tests/golden/attention.py).

use super::common::tensor;
use super::{F32, F64, LAYER, compare, numbers, sizes, text};
use serde_json::Value;
use wgrad::nn::{
    AttentionOptions, Context, Functional, InstanceNorm, Layer, MultiHeadAttention, RmsNorm,
    TransformerDecoder, TransformerEncoder,
};
use wgrad::prelude::*;

fn file() -> Value {
    serde_json::from_str(include_str!("../golden/attention.json")).expect("valid JSON")
}

fn array(v: &Value, dtype: DType, device: Device) -> Result<Tensor> {
    tensor(&numbers(&v["values"]), &sizes(&v["shape"]), dtype, device)
}

fn check_products(float: DType, device: Device) -> Result<()> {
    let (file, tolerance) = (file(), if float == DType::F64 { F64 } else { F32 });
    let entries = file["products"].as_array().expect("entries");
    assert!(entries.len() >= 10, "the file is not whole");
    let mut failures = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let what = format!("product {i}");
        let input = |name: &str| array(&entry["inputs"][name], float, device)?.watch();
        let (q, k, v) = (input("query")?, input("key")?, input("value")?);
        let mut leaves = vec![("query", q.clone()), ("key", k.clone()), ("value", v.clone())];
        let causal = entry["causal"] == true;
        let mut options = AttentionOptions::new().scale(entry["scale"].as_f64()).causal(causal);
        if !entry["inputs"]["added"].is_null() {
            leaves.push(("added", input("added")?));
            options = options.mask(&leaves[3].1);
        }
        if !entry["seen"].is_null() {
            options = options.mask(&array(&entry["seen"], DType::U8, device)?);
        }
        if !entry["lengths"].is_null() {
            let lengths = numbers(&entry["lengths"]);
            options = options.lengths(&tensor(&lengths, &[lengths.len()], DType::U32, device)?);
        }
        let y = q.scaled_dot_product_attention(&k, &v, &options)?;
        assert_eq!(y.dims(), &sizes(&entry["shape"])[..], "{what}");
        compare(&y, &entry["output"], tolerance, &what, &mut failures)?;
        let grads = y.backward_with(&tensor(&numbers(&entry["upstream"]), y.dims(), float, device)?)?;
        for (name, leaf) in &leaves {
            let what = format!("gradient of {name} of {what}");
            compare(&grads.get(leaf)?, &entry["grads"][name], tolerance, &what, &mut failures)?;
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn products_in_f64_on_the_cpu() -> Result<()> {
    check_products(DType::F64, Device::Cpu)
}

#[test]
fn products_in_f32_on_both_devices() -> Result<()> {
    check_products(DType::F32, Device::Cpu)?;
    check_products(DType::F32, Device::Gpu)
}

/// The layers of "layers", by PyTorch's settings.
fn layer(name: &str, a: &[usize]) -> Box<dyn Layer> {
    let activation = |code: usize| if code == 1 { Activation::Gelu } else { Activation::Relu };
    match name {
        "attention" => Box::new(MultiHeadAttention::new(a[0], a[1]).causal(a[2] == 1)),
        "encoder" => {
            let block = TransformerEncoder::new(a[0], a[1]).activation(activation(a[2]));
            Box::new(block.normalize_first(a[3] == 1))
        }
        "decoder" => {
            let block = TransformerDecoder::new(a[0], a[1]).activation(activation(a[2]));
            Box::new(block.normalize_first(a[3] == 1))
        }
        "rms_norm" => Box::new(RmsNorm::new()),
        "instance_norm" => Box::new(InstanceNorm::new()),
        other => panic!("attention.rs does not know {other}"),
    }
}

#[test]
fn layers_on_both_devices() -> Result<()> {
    let file = file();
    let entries = file["layers"].as_array().expect("entries");
    assert!(entries.len() >= 11, "the file is not whole");
    let mut failures = Vec::new();
    for (entry, device) in entries.iter().flat_map(|entry| [(entry, Device::Cpu), (entry, Device::Gpu)]) {
        let (name, args) = (text(entry, "layer"), sizes(&entry["args"]));
        let mut inputs = Vec::new();
        for input in entry["inputs"].as_array().expect("inputs") {
            inputs.push(array(input, DType::F32, device)?.watch()?);
        }
        let watched = inputs.clone();
        let mask = &entry["mask"];
        if !mask.is_null() {
            inputs.push(array(mask, DType::U8, device)?);
        }
        let what = format!("{name} {args:?} of {} inputs on {device}", inputs.len());
        let mut net = Functional::new(device);
        let mut symbols = Vec::new();
        for (i, x) in inputs.iter().enumerate() {
            // Built for any length.
            let mut sample: Vec<Option<usize>> = x.dims()[1..].iter().map(|&n| Some(n)).collect();
            sample[0] = None;
            symbols.push(net.input(&format!("input{i}"), sample)?);
        }
        let y = net.layer_all(layer(name, &args), &symbols)?;
        let model = net.build(&[("y", y)])?;
        let weights = entry["weights"].as_array().expect("weights");
        assert_eq!(weights.len(), model.parameters().len(), "{what}");
        let variable = |name: &str| -> Variable {
            let all = model.parameters();
            let found = all.iter().find(|p| p.name.split_once('.').is_some_and(|(_, own)| own == name));
            found.unwrap_or_else(|| panic!("{name} is not among {all:?}")).variable.clone()
        };
        for weight in weights {
            variable(text(weight, "name")).set(array(weight, DType::F32, device)?)?;
        }
        let y = model.forward_all(&inputs, &Context::train(1))?.remove(0);
        assert_eq!(y.dims(), &sizes(&entry["shape"])[..], "{what}");
        compare(&y, &entry["output"], LAYER, &what, &mut failures)?;
        let grads = y.backward_with(&tensor(&numbers(&entry["upstream"]), y.dims(), DType::F32, device)?)?;
        for want in entry["grads"].as_array().expect("gradients") {
            let name = text(want, "name");
            let got = match name.strip_prefix("input") {
                Some(i) => grads.get(&watched[i.parse::<usize>().expect("a number")])?,
                None => grads.get(&variable(name))?,
            };
            compare(&got, &want["values"], LAYER, &format!("gradient of {name} of {what}"), &mut failures)?;
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}
