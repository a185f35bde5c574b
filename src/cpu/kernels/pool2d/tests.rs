//! Pooling against plain loops.

use super::super::float::testing::{assert_close, numbers, to_f32};
use super::*;

/// The window's places as (place in x or none for padding), row-major, without what lies beyond the padding.
fn places(g: &Pool2dGeometry, n: usize, oy: usize, ox: usize, c: usize) -> Vec<Option<usize>> {
    let mut all = Vec::new();
    for (ky, kx) in (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx))) {
        let (py, px) = (oy * g.stride[0] + ky, ox * g.stride[1] + kx);
        if py >= g.padding[0] + g.h + g.padding[1] || px >= g.padding[2] + g.w + g.padding[3] {
            continue;
        }
        let (iy, ix) = (py.wrapping_sub(g.padding[0]), px.wrapping_sub(g.padding[2]));
        all.push((iy < g.h && ix < g.w).then(|| ((n * g.h + iy) * g.w + ix) * g.c + c));
    }
    all
}

fn check(g: &Pool2dGeometry, x: &[f64]) {
    let y_len = g.n * g.oh * g.ow * g.c;
    assert_eq!(x.len(), g.n * g.h * g.w * g.c);
    let dy = numbers(y_len, 7);
    let (mut max, mut avg) = (vec![0.0; y_len], vec![0.0; y_len]);
    let (mut dmax, mut davg) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    for i in 0..y_len {
        let (c, ox, oy, n) = (i % g.c, i / g.c % g.ow, i / g.c / g.ow % g.oh, i / g.c / g.ow / g.oh);
        let all = places(g, n, oy, ox, c);
        let inside: Vec<usize> = all.iter().flatten().copied().collect();
        let mut best: Option<usize> = None;
        for &p in &inside {
            if best.is_none_or(|b| x[p] > x[b] || (x[p].is_nan() && !x[b].is_nan())) {
                best = Some(p);
            }
        }
        max[i] = best.map_or(f64::NEG_INFINITY, |b| x[b]);
        if let Some(b) = best {
            dmax[b] += dy[i];
        }
        let count = if g.count_include_pad { all.len() } else { inside.len() }.max(1) as f64;
        avg[i] = inside.iter().map(|&p| x[p]).sum::<f64>() / count;
        inside.iter().for_each(|&p| davg[p] += dy[i] / count);
    }
    let same = |got: &[f64], want: &[f64], what: &str| {
        for (i, (g2, w)) in got.iter().zip(want).enumerate() {
            assert!(
                (g2 - w).abs() < 1e-12 || (g2.is_nan() && w.is_nan()) || g2 == w,
                "{what} {g:?}: {i}: {g2} {w}"
            );
        }
    };
    let (mut y, mut dx) = (vec![f64::NAN; y_len], vec![f64::NAN; x.len()]);
    max_pool2d_forward(g, x, &mut y);
    same(&y, &max, "max");
    max_pool2d_input_grad(g, x, &dy, &mut dx, &|_, _| {});
    same(&dx, &dmax, "max grad");
    y.fill(f64::NAN);
    avg_pool2d_forward(g, x, &mut y);
    same(&y, &avg, "avg");
    dx.fill(f64::NAN);
    avg_pool2d_input_grad(g, &dy, &mut dx);
    same(&dx, &davg, "avg grad");
    let (x32, dy32) = (to_f32(x), to_f32(&dy));
    let mut dx32 = vec![f32::NAN; x.len()];
    max_pool2d_input_grad(g, &x32, &dy32, &mut dx32, &|_, _| {});
    assert_close(&dx32, &dmax, 1e-5, "f32 max grad");
}

fn geometry(
    [n, h, w, c]: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 4],
    count_include_pad: bool,
) -> Pool2dGeometry {
    let oh = (h + padding[0] + padding[1] - kernel[0]) / stride[0] + 1;
    let ow = (w + padding[2] + padding[3] - kernel[1]) / stride[1] + 1;
    Pool2dGeometry { n, h, w, c, kernel, stride, padding, count_include_pad, oh, ow }
}

fn geometries() -> Vec<Pool2dGeometry> {
    let mut all = vec![
        geometry([3, 8, 6, 5], [2, 2], [2, 2], [0; 4], false),
        geometry([2, 9, 7, 33], [2, 2], [2, 2], [0; 4], true),
        geometry([2, 9, 8, 3], [3, 3], [2, 2], [1; 4], true),
        geometry([2, 9, 8, 3], [3, 3], [2, 2], [1; 4], false),
        geometry([1, 7, 8, 40], [3, 2], [1, 1], [1, 0, 0, 1], true),
        geometry([2, 10, 9, 2], [2, 3], [4, 3], [0, 1, 1, 0], false),
        geometry([1, 64, 60, 9], [3, 3], [2, 1], [1; 4], true),
        geometry([1, 70, 61, 16], [2, 2], [2, 2], [0; 4], true),
        geometry([20, 12, 12, 32], [2, 2], [2, 2], [0; 4], true),
        geometry([2, 6, 6, 3], [6, 6], [1, 1], [0; 4], true),
        geometry([1, 3, 3, 2], [2, 2], [1, 1], [3; 4], true),
        geometry([2, 20, 18, 3], [9, 10], [1, 2], [0; 4], true),
        geometry([1, 30, 21, 1], [13, 7], [3, 1], [6, 2, 3, 3], false),
        geometry([1, 12, 40, 5], [1, 37], [1, 1], [0, 0, 20, 36], true),
        geometry([2, 5, 6, 3], [8, 8], [1, 1], [7; 4], false),
    ];
    // ceil_mode: the last window reaches over the edge, and over the padding.
    let g = geometry([2, 7, 7, 3], [2, 2], [2, 2], [0; 4], true);
    all.push(Pool2dGeometry { oh: 4, ow: 4, ..g.clone() });
    all.push(Pool2dGeometry { oh: 4, ow: 4, count_include_pad: false, ..g });
    let g = geometry([2, 6, 6, 3], [3, 3], [2, 2], [1, 0, 1, 0], true);
    all.push(Pool2dGeometry { oh: 4, ow: 4, ..g });
    all
}

#[test]
fn random_values() {
    for g in geometries() {
        check(&g, &numbers(g.n * g.h * g.w * g.c, 5));
    }
}

#[test]
fn ties_nan_and_infinities() {
    for g in geometries() {
        let ties: Vec<f64> = numbers(g.n * g.h * g.w * g.c, 9).iter().map(|v| (v * 1.5).round()).collect();
        check(&g, &ties);
        let odd: Vec<f64> = ties
            .iter()
            .zip(numbers(ties.len(), 10))
            .map(|(&v, r)| {
                if r > 0.8 {
                    f64::NAN
                } else if r < 0.0 {
                    f64::NEG_INFINITY
                } else {
                    v
                }
            })
            .collect();
        // Averages of these are NaN or infinite in the naive loops, too.
        check(&g, &odd);
    }
}

#[test]
fn empty() {
    let g = Pool2dGeometry { n: 0, ..geometry([1, 4, 4, 2], [2, 2], [2, 2], [0; 4], true) };
    check(&g, &[]);
    let g = Pool2dGeometry { c: 0, ..geometry([1, 4, 4, 2], [2, 2], [2, 2], [0; 4], true) };
    check(&g, &[]);
    let g = Pool2dGeometry { oh: 0, ..geometry([1, 4, 4, 2], [2, 2], [2, 2], [0; 4], true) };
    check(&g, &numbers(32, 1));
}
