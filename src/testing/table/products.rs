//! Rows of matrix products, softmax, cross-entropy and attention.

use super::case::{Args, Table};
use super::input::Domain;
use crate::dtype::DType;
use crate::nn::AttentionOptions;

pub fn matmul(t: &mut Table) {
    let (m, k, n) = (t.dim(), t.dim(), t.dim());
    let (b, c) = (t.rng.int(1, 3), t.rng.int(1, 3));
    let shapes: [(&str, Vec<usize>, Vec<usize>); 10] = [
        ("plain", vec![m, k], vec![k, n]),
        ("batch", vec![b, m, k], vec![b, k, n]),
        ("batch2", vec![b, c, m, k], vec![b, c, k, n]),
        ("right shared", vec![b, c, m, k], vec![k, n]),
        ("left shared", vec![m, k], vec![b, k, n]),
        ("crosswise", vec![b, 1, m, k], vec![1, c, k, n]),
        ("row", vec![k], vec![k, n]),
        ("column", vec![m, k], vec![k]),
        ("dot", vec![k], vec![k]),
        ("batched column", vec![b, m, k], vec![k]),
    ];
    for (name, left, right) in shapes {
        let inputs = vec![t.float(&left, Domain::Any), t.float(&right, Domain::Any)];
        t.add(format!("matmul/{name}"), inputs, |a| a[0].matmul(&a[1])).second();
    }
    for (name, left, right) in [("tn", true, false), ("nt", false, true), ("tt", true, true)] {
        let shape = |flip, p, q| if flip { vec![b, q, p] } else { vec![b, p, q] };
        let inputs =
            vec![t.float(&shape(left, m, k), Domain::Any), t.float(&shape(right, k, n), Domain::Any)];
        t.add(format!("matmul/{name}"), inputs, move |a| {
            let x = if left { a[0].transpose()? } else { a[0].clone() };
            let y = if right { a[1].transpose()? } else { a[1].clone() };
            x.matmul(y)
        });
    }
}

pub fn softmax(t: &mut Table) {
    for log in [false, true] {
        let name = if log { "log_softmax" } else { "softmax" };
        for variant in ["last", "axis"] {
            let dims = t.shape(1, 3);
            let axis = if variant == "last" { -1 } else { t.axis(dims.len()) };
            let x = t.float(&dims, Domain::Any);
            let call = move |a: &Args<'_>| if log { a[0].log_softmax(axis) } else { a[0].softmax(axis) };
            t.add(format!("{name}/{variant}"), vec![x], call).second();
        }
    }
    for dtype in [DType::U32, DType::I32, DType::U8] {
        let (rows, cols) = (t.dim(), t.dim() + 1);
        let x = t.float(&[rows, cols], Domain::Range(-4.0, 4.0));
        let labels = t.int(dtype, &[rows], Domain::Whole(0, cols as i64));
        t.add(format!("cross_entropy/{dtype}"), vec![x, labels], |a| a[0].cross_entropy(&a[1])).second();
    }
    let (rows, cols) = (t.shape(1, 2), t.dim() + 1);
    let full = [&rows[..], &[cols]].concat();
    let labels = t.int(DType::U32, &rows, Domain::Whole(0, cols as i64));
    let x = t.float(&full, Domain::Range(-4.0, 4.0));
    t.add("cross_entropy/rows", vec![x, labels], |a| a[0].cross_entropy_rows(&a[1])).second();
    for (name, domain) in [("dense", Domain::Probabilities), ("unnormalised", Domain::Positive)] {
        let x = t.float(&full, Domain::Range(-4.0, 4.0));
        let p = t.float(&full, domain);
        let case =
            t.add(format!("cross_entropy/{name}"), vec![x, p], |a| a[0].cross_entropy_rows(&a[1])).second();
        if name == "unnormalised" {
            // the terms that cancel are as large as the sum of a row's labels
            case.floor = 1.0;
        }
    }
}

pub fn attention(t: &mut Table) {
    for variant in ["plain", "causal", "seen", "added", "biased", "lengths", "grouped"] {
        let (batch, kv_heads, queries, keys) = (t.rng.int(1, 2), t.rng.int(1, 2), t.dim(), t.dim());
        let heads = kv_heads * if variant == "grouped" { 2 } else { 1 };
        let (depth, width) = (t.dim(), t.dim());
        let domain = Domain::Range(-1.5, 1.5);
        let mut inputs = vec![
            t.float(&[batch, heads, queries, depth], domain),
            t.float(&[batch, kv_heads, keys, depth], domain),
            t.float(&[batch, kv_heads, keys, width], domain),
        ];
        match variant {
            "seen" => inputs.push(t.int(DType::U8, &[batch, 1, queries, keys], Domain::Whole(0, 3))),
            "added" => inputs.push(t.float(&[heads, 1, keys], domain)),
            // One without a gradient takes another way.
            "biased" => inputs.push(t.int(DType::I32, &[heads, 1, keys], Domain::Whole(-3, 4))),
            "lengths" => inputs.push(t.int(DType::I32, &[batch], Domain::Whole(0, keys as i64 + 2))),
            _ => {}
        }
        let call = move |a: &Args<'_>| {
            let options = AttentionOptions::new().causal(matches!(variant, "causal" | "grouped"));
            let options = match variant {
                "seen" | "added" => options.mask(&a[3]),
                "biased" => options.mask(&(a[3].cast(a[0].dtype())? * 0.5)?),
                "lengths" => options.lengths(&a[3]),
                _ => options,
            };
            a[0].scaled_dot_product_attention(&a[1], &a[2], &options)
        };
        t.add(format!("attention/{variant}"), inputs, call).second();
    }
}
