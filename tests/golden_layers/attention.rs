//! Attention and transformers as PyTorch computes them in float64 (tests/golden/attention.py).

use super::common::tensor;
use super::{F32, F64, compare, numbers, sizes};
use serde_json::Value;
use wgrad::nn::AttentionOptions;
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
