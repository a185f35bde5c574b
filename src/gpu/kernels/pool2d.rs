//! 2-D pooling over NHWC.
//!
//! Max-pooling gives its gradient to the first maximum of a window in row-major order. A NaN counts as the largest value
//! (the first NaN wins), padding never wins, and a window that holds only padding is `-inf`.

use std::borrow::Cow;

use super::{KernelTarget, Launch, Launches, Operand, Turns, fold};
use crate::geometry::Pool2dGeometry;

/// Invocations per workgroup of every kernel that has no reason for another number.
pub(super) const GROUP: usize = 64;

/// A window with more places than this is pooled along rows first and then along columns: exactly the same maxima, far less
/// work, and loops that stay short (lavapipe cuts an invocation's loops after 65,535 iterations, and a dispatch that takes
/// seconds is killed by Windows).
const LARGEST_WINDOW: usize = 4096;
/// Elements that an average adds one after the other (as in the shaders).
const BLOCK: usize = 32;

/// Rewrites a kernel for four neighbours (`vec4`) into the same kernel for single words.
pub(super) fn scalar_variant(source: &'static str) -> Cow<'static, str> {
    const LINES: [(&str, &str); 10] = [
        ("alias F = vec4<f32>;", "alias F = f32;"),
        ("alias U = vec4<u32>;", "alias U = u32;"),
        ("alias I = vec4<i32>;", "alias I = i32;"),
        ("alias B = vec4<bool>;", "alias B = bool;"),
        ("{ return epilogue4(v, 4u * i); }", "{ return epilogue(v, i); }"),
        ("{ return max(max(v.x, v.y), max(v.z, v.w)); }", "{ return v; }"),
        ("{ return v.x + v.y + (v.z + v.w); }", "{ return v; }"),
        ("{ return v[k]; }", "{ return v; }"),
        ("{ return U(4u * j) + U(0u, 1u, 2u, 3u); }", "{ return j; }"),
        ("const WIDTH = 4u;", "const WIDTH = 1u;"),
    ];
    LINES.iter().fold(source.to_owned(), |text, (wide, narrow)| text.replace(wide, narrow)).into()
}

/// How many neighbours an invocation takes when rows have `length` words, and the source for it.
pub(super) fn widen(source: &'static str, length: usize) -> (usize, Cow<'static, str>) {
    if length.is_multiple_of(4) { (4, source.into()) } else { (1, scalar_variant(source)) }
}

/// `y[n, oh, ow, c]` = the maximum of each window of `x[n, h, w, c]`.
///
/// Inputs: `x`.
pub fn max_pool2d_forward(t: &KernelTarget, g: &Pool2dGeometry) -> Launches {
    let mut launches = Launches::default();
    push_max(t, &mut launches, g, Operand::Input(0), Operand::Output);
    launches
}

/// The gradient of [`max_pool2d_forward`] with respect to `x`: `dx[n, h, w, c]` has `dy` at each window's first maximum, summed
/// where windows share it, and 0 elsewhere.
///
/// Inputs: `x`, `dy[n, oh, ow, c]`.
pub fn max_pool2d_grad(t: &KernelTarget, g: &Pool2dGeometry) -> Launches {
    let mut launches = Launches::default();
    push_max_grad(t, &mut launches, g, Operand::Input(0), Operand::Input(1), Operand::Output);
    launches
}

/// The adjoint of [`max_pool2d_grad`] with respect to `dy`, for gradients of gradients: `out[n, oh, ow, c]` is `v` at the place
/// of each window's first maximum of `x` (0 for a window that holds only padding).
///
/// Inputs: `x`, `v`, both `[n, h, w, c]`.
pub fn max_pool2d_gather(t: &KernelTarget, g: &Pool2dGeometry) -> Launches {
    let mut launches = Launches::default();
    push_max_gather(t, &mut launches, g, Operand::Input(0), Operand::Input(1), Operand::Output);
    launches
}

/// `y[n, oh, ow, c]` = the mean of each window of `x[n, h, w, c]`, divided as PyTorch does: by the places inside the padded
/// image with `count_include_pad`, by those inside the image without.
///
/// Inputs: `x`.
pub fn avg_pool2d_forward(t: &KernelTarget, g: &Pool2dGeometry) -> Launches {
    let mut launches = Launches::default();
    if let Some((rows, columns)) = separate(g) {
        // The divisor is a product of one factor per dimension, so the mean of means is the mean.
        let means = temp(&mut launches, outputs(&rows));
        push_avg(t, &mut launches, &rows, Operand::Input(0), means);
        push_avg(t, &mut launches, &columns, means, Operand::Output);
    } else {
        push_avg(t, &mut launches, g, Operand::Input(0), Operand::Output);
    }
    launches
}

/// The gradient of [`avg_pool2d_forward`]: `dx[n, h, w, c]`.
///
/// Inputs: `dy[n, oh, ow, c]`.
pub fn avg_pool2d_grad(t: &KernelTarget, g: &Pool2dGeometry) -> Launches {
    let mut launches = Launches::default();
    if let Some((rows, columns)) = separate(g) {
        let dmeans = temp(&mut launches, inputs(&columns));
        push_avg_grad(t, &mut launches, &columns, Operand::Input(0), dmeans);
        push_avg_grad(t, &mut launches, &rows, dmeans, Operand::Output);
    } else {
        push_avg_grad(t, &mut launches, g, Operand::Input(0), Operand::Output);
    }
    launches
}

fn push_max(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, x: Operand, y: Operand) {
    if let Some((rows, columns)) = separate(g) {
        let maxima = temp(launches, outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        push_max(t, launches, &columns, maxima, y);
    } else if plain_2x2(g) {
        let source = include_str!("../../../shaders/pool2d_max_2x2.wgsl");
        push(t, launches, g, "pool2d_max/2x2", source, outputs(g), vec![x], y, Turns::NONE);
    } else {
        let source = include_str!("../../../shaders/pool2d_max.wgsl");
        push(t, launches, g, "pool2d_max", source, outputs(g), vec![x], y, window(g));
    }
}

fn push_max_grad(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    x: Operand,
    dy: Operand,
    dx: Operand,
) {
    if let Some((rows, columns)) = separate(g) {
        // The first row with the maximum, and the first place in it: the same place as in row-major order.
        let maxima = temp(launches, outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        let dmaxima = temp(launches, outputs(&rows));
        push_max_grad(t, launches, &columns, maxima, dy, dmaxima);
        push_max_grad(t, launches, &rows, x, dmaxima, dx);
    } else if plain_2x2(g) {
        let source = include_str!("../../../shaders/pool2d_max_grad_2x2.wgsl");
        let cells = g.n * g.h.div_ceil(2) * g.w.div_ceil(2) * g.c;
        push(t, launches, g, "pool2d_max_grad/2x2", source, cells, vec![x, dy], dx, Turns::NONE);
    } else {
        let at = temp(launches, outputs(g));
        let source = include_str!("../../../shaders/pool2d_max_argmax.wgsl");
        push(t, launches, g, "pool2d_max_argmax", source, outputs(g), vec![x], at, window(g));
        let source = include_str!("../../../shaders/pool2d_max_grad.wgsl");
        push(t, launches, g, "pool2d_max_grad", source, inputs(g), vec![at, dy], dx, windows(g));
    }
}

fn push_max_gather(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    x: Operand,
    v: Operand,
    out: Operand,
) {
    if let Some((rows, columns)) = separate(g) {
        let maxima = temp(launches, outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        let picked = temp(launches, outputs(&rows));
        push_max_gather(t, launches, &rows, x, v, picked);
        push_max_gather(t, launches, &columns, maxima, picked, out);
    } else {
        let source = include_str!("../../../shaders/pool2d_max_gather.wgsl");
        push(t, launches, g, "pool2d_max_gather", source, outputs(g), vec![x, v], out, window(g));
    }
}

fn push_avg(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, x: Operand, y: Operand) {
    let source = include_str!("../../../shaders/pool2d_avg.wgsl");
    push(t, launches, g, "pool2d_avg", source, outputs(g), vec![x], y, window(g));
}

fn push_avg_grad(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, dy: Operand, dx: Operand) {
    if g.stride[0] >= g.kernel[0] && g.stride[1] >= g.kernel[1] {
        let source = include_str!("../../../shaders/pool2d_avg_grad_apart.wgsl");
        push(t, launches, g, "pool2d_avg_grad/apart", source, inputs(g), vec![dy], dx, Turns::NONE);
    } else {
        let source = include_str!("../../../shaders/pool2d_avg_grad.wgsl");
        push(t, launches, g, "pool2d_avg_grad", source, inputs(g), vec![dy], dx, windows(g));
    }
}

/// Adds one dispatch of `elements` elements, four channels to an invocation where the channels allow it.
#[allow(clippy::too_many_arguments)] // the kernels differ in exactly these
fn push(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    label: &'static str,
    source: &'static str,
    elements: usize,
    inputs: Vec<Operand>,
    output: Operand,
    turns: Turns,
) {
    if elements == 0 {
        return;
    }
    let (width, source) = widen(source, g.c);
    let total = elements / width;
    let [top, bottom, left, right] = g.padding;
    let uniform = [
        total,
        g.h,
        g.w,
        g.c / width,
        g.oh,
        g.ow,
        g.kernel[0],
        g.kernel[1],
        g.stride[0],
        g.stride[1],
        top,
        left,
        g.h + bottom,
        g.w + right,
        usize::from(g.count_include_pad),
    ];
    launches.list.push(Launch {
        label,
        source,
        constants: Vec::new(),
        uniform: uniform.iter().map(|&v| v as u32).collect(),
        inputs,
        output,
        workgroups: fold(total.div_ceil(GROUP), t.max_workgroups_per_dimension),
        turns,
        epilogue: output == Operand::Output,
    });
}

/// Loops over the places of a window.
fn window(g: &Pool2dGeometry) -> Turns {
    let row = Turns::in_blocks(g.kernel[1].min(g.w), BLOCK, Turns::NONE);
    Turns::in_blocks(g.kernel[0].min(g.h), BLOCK, row)
}

/// Loops over the windows that a place is in.
fn windows(g: &Pool2dGeometry) -> Turns {
    let along = |axis: usize, count: usize| g.kernel[axis].div_ceil(g.stride[axis]).min(count);
    Turns::in_blocks(along(0, g.oh), BLOCK, Turns::in_blocks(along(1, g.ow), BLOCK, Turns::NONE))
}

/// 2x2 windows side by side, all of them inside the image, with at most one row and one column left over.
fn plain_2x2(g: &Pool2dGeometry) -> bool {
    g.kernel == [2, 2]
        && g.stride == [2, 2]
        && g.padding[0] == 0
        && g.padding[2] == 0
        && g.oh == g.h / 2
        && g.ow == g.w / 2
}

/// Splits a large window into one along rows and one along columns of what the first gives.
fn separate(g: &Pool2dGeometry) -> Option<(Pool2dGeometry, Pool2dGeometry)> {
    let [kh, kw] = g.kernel;
    if kh == 1 || kw == 1 || kh.min(g.h) * kw.min(g.w) <= LARGEST_WINDOW {
        return None;
    }
    let [top, bottom, left, right] = g.padding;
    let rows = Pool2dGeometry {
        kernel: [1, kw],
        stride: [1, g.stride[1]],
        padding: [0, 0, left, right],
        oh: g.h,
        ..g.clone()
    };
    let columns = Pool2dGeometry {
        kernel: [kh, 1],
        stride: [g.stride[0], 1],
        padding: [top, bottom, 0, 0],
        w: g.ow,
        ..g.clone()
    };
    Some((rows, columns))
}

fn temp(launches: &mut Launches, words: usize) -> Operand {
    launches.temps.push(words * 4);
    Operand::Temp(launches.temps.len() - 1)
}

fn inputs(g: &Pool2dGeometry) -> usize {
    g.n * g.h * g.w * g.c
}

fn outputs(g: &Pool2dGeometry) -> usize {
    g.n * g.oh * g.ow * g.c
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(&str, &str); 17] = [
        ("pool2d_max", include_str!("../../../shaders/pool2d_max.wgsl")),
        ("pool2d_max_2x2", include_str!("../../../shaders/pool2d_max_2x2.wgsl")),
        ("pool2d_max_argmax", include_str!("../../../shaders/pool2d_max_argmax.wgsl")),
        ("pool2d_max_gather", include_str!("../../../shaders/pool2d_max_gather.wgsl")),
        ("pool2d_max_grad", include_str!("../../../shaders/pool2d_max_grad.wgsl")),
        ("pool2d_max_grad_2x2", include_str!("../../../shaders/pool2d_max_grad_2x2.wgsl")),
        ("pool2d_avg", include_str!("../../../shaders/pool2d_avg.wgsl")),
        ("pool2d_avg_grad", include_str!("../../../shaders/pool2d_avg_grad.wgsl")),
        ("pool2d_avg_grad_apart", include_str!("../../../shaders/pool2d_avg_grad_apart.wgsl")),
        ("softmax", include_str!("../../../shaders/softmax.wgsl")),
        ("cross_entropy_sparse", include_str!("../../../shaders/cross_entropy_sparse.wgsl")),
        ("cross_entropy_sparse_grad", include_str!("../../../shaders/cross_entropy_sparse_grad.wgsl")),
        ("cross_entropy_dense", include_str!("../../../shaders/cross_entropy_dense.wgsl")),
        ("cross_entropy_dense_grad", include_str!("../../../shaders/cross_entropy_dense_grad.wgsl")),
        ("index_add", include_str!("../../../shaders/index_add.wgsl")),
        ("index_add_chunks", include_str!("../../../shaders/index_add_chunks.wgsl")),
        ("index_argmax", include_str!("../../../shaders/index_argmax.wgsl")),
    ];

    #[test]
    fn scalar_variants_have_no_vectors_left() {
        for (name, source) in SOURCES {
            for line in scalar_variant(source).lines() {
                let code = line.split("//").next().unwrap_or_default();
                assert!(!code.contains("vec4<") || code.starts_with("fn epilogue4("), "{name}: {line}");
            }
        }
    }

    #[test]
    fn large_windows_are_pooled_along_rows_then_columns() {
        let g = Pool2dGeometry {
            n: 2,
            h: 300,
            w: 280,
            c: 4,
            kernel: [300, 280],
            stride: [1, 1],
            padding: [0; 4],
            count_include_pad: false,
            oh: 1,
            ow: 1,
        };
        let (rows, columns) = separate(&g).expect("84,000 places are too many for one loop");
        assert_eq!((rows.oh, rows.ow), (300, 1));
        assert_eq!((columns.w, columns.oh, columns.ow), (1, 1, 1));
        assert!(separate(&rows).is_none() && separate(&columns).is_none());
    }
}
