//! Rows for kernels that begin at some size: what draws of small shapes don't reach.

use super::case::{Size, Table};
use super::input::Domain;
use crate::dtype::DType;
use crate::nn::AttentionOptions;
use crate::ops::conv2d::Conv2dOptions;
use crate::ops::conv2d::Padding;
use crate::ops::pool2d::Pool2dOptions;
use crate::tensor::Tensor;

/// Rows, inner length and columns of products large enough for each of the blocks that real GPUs compute with, with widths that divide
/// and widths that don't, and with an inner length that is split.
pub const LARGE_PRODUCTS: [[usize; 3]; 8] = [
    [1536, 20, 1408],
    [1501, 19, 1409],
    [16_384, 20, 32],
    [16_300, 13, 30],
    [64, 20, 8192],
    [61, 13, 8190],
    [256, 8192, 256],
    [40, 5000, 44],
];

pub fn kernels(t: &mut Table) {
    debug_assert_eq!(t.size, Size::Kernels);
    // Longer than the 65,535 turns after which lavapipe ends a loop, and more rows than a dispatch has workgroups.
    let long = t.float(&[150_000], Domain::Range(0.0, 1.0));
    t.add("sum/long", vec![long], |a| a[0].sum(.., false));
    let rows = t.float(&[70_000, 3], Domain::Any);
    t.add("max/rows", vec![rows], |a| a[0].max(-1, false)).exact();
    // Lines that are cut into chunks, with neighbours taken by four and one by one, and lines that are not.
    for dims in [[1, 150_000, 1], [3, 5000, 4], [2, 1100, 3], [1, 300, 2000]] {
        let x = t.float(&dims, Domain::Range(-0.1, 1.0));
        t.add(format!("cumsum/{dims:?}"), vec![x], |a| a[0].cumsum(1));
        // (150,000 factors in f32 are off by more than a row may be: tests/parity/scans.rs has as many, exact)
        if dims[1] <= 5000 {
            let x = t.float(&dims, Domain::Range(0.99, 1.01));
            t.add(format!("cumprod/{dims:?}"), vec![x], |a| a[0].cumprod(1));
        }
    }
    // Rows, inner length, columns: each kernel's favourite, odd ones, and sums long enough to be split.
    for (m, k, n) in [(33, 65, 31), (64, 64, 128), (16, 4000, 16)] {
        let inputs = vec![t.float(&[m, k], Domain::Any), t.float(&[k, n], Domain::Any)];
        t.add(format!("matmul/{m}x{k}x{n}"), inputs, |a| a[0].matmul(&a[1]));
    }
    for [m, k, n] in LARGE_PRODUCTS {
        let inputs = vec![t.float(&[m, k], Domain::Any), t.float(&[k, n], Domain::Any)];
        t.add(format!("matmul/{m}x{k}x{n}"), inputs, |a| a[0].matmul(&a[1]));
    }
    let (x, w) = (t.float(&[16, 32, 32, 8], Domain::Any), t.float(&[3, 3, 8, 128], Domain::Any));
    let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
    t.add("conv2d/many pixels", vec![x, w], move |a| a[0].conv2d(&a[1], same));
    let inputs = vec![t.float(&[3, 2, 17, 9], Domain::Any), t.float(&[2, 8, 17], Domain::Any)];
    t.add("matmul/both transposed", inputs, |a| a[0].transpose()?.matmul(a[1].transpose()?));
    for (cin, cout, groups) in [(1, 8, 1), (16, 32, 1), (4, 6, 2), (1, 1, 6)] {
        let x = t.float(&[2, 9, 11, cin * groups], Domain::Any);
        let w = t.float(&[3, 3, cin, cout * groups], Domain::Any);
        let options = Conv2dOptions { padding: Padding::Same, groups, ..Default::default() };
        t.add(format!("conv2d/{cin} to {cout} in {groups}"), vec![x, w], move |a| {
            a[0].conv2d(&a[1], options)
        });
    }
    for channels in [4, 5] {
        let options = Pool2dOptions::new([2, 2]);
        let x = t.float(&[2, 8, 9, channels], Domain::Distinct(0.0));
        t.add(format!("max_pool2d/{channels}"), vec![x], move |a| a[0].max_pool2d(options)?.square());
    }
    for (rows, cols) in [(9, 10), (3, 301), (2, 70_000)] {
        let x = t.float(&[rows, cols], Domain::Any);
        t.add(format!("softmax/{cols}"), vec![x.clone()], |a| a[0].softmax(-1));
        t.add(format!("log_softmax/{cols}"), vec![x.clone()], |a| a[0].log_softmax(-1));
        let labels = t.int(DType::U32, &[rows], Domain::Whole(0, cols as i64));
        t.add(format!("cross_entropy/{cols}"), vec![x.clone(), labels], |a| a[0].cross_entropy_rows(&a[1]));
        let dense = t.float(&[rows, cols], Domain::Probabilities);
        t.add(format!("cross_entropy/dense {cols}"), vec![x, dense], |a| a[0].cross_entropy_rows(&a[1]));
    }
    // Several tiles of queries and keys, of which the last are cut off; quads that fill one, two and four eighths of a row.
    for (depth, width) in [(20, 36), (65, 128), (128, 3)] {
        let q = t.float(&[2, 4, 70, depth], Domain::Range(-0.5, 0.5));
        let (k, v) = (
            t.float(&[2, 2, 100, depth], Domain::Range(-0.5, 0.5)),
            t.float(&[2, 2, 100, width], Domain::Any),
        );
        let inputs = vec![q, k, v, t.int(DType::I32, &[2], Domain::Whole(40, 101))];
        t.add(format!("attention/{depth} and {width}"), inputs, move |a| {
            let options = AttentionOptions::new().lengths(&a[3]).causal(width == 36);
            a[0].scaled_dot_product_attention(&a[1], &a[2], &options)
        });
    }
    // More picks than a workgroup sorts.
    let (x, at) = (t.float(&[50, 7], Domain::Any), t.int(DType::U32, &[3000], Domain::Whole(0, 50)));
    t.add("index_select/many", vec![x, at], |a| Tensor::index_select(&a[0], 0, &a[1])).exact();
}
