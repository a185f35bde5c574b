//! 2-D convolution and its gradients as implicit GEMMs: no im2col buffer, no atomics (see [`super::gemm`]).

mod direct;

use super::gemm::{ALayout, Problem, widest};
use super::{KernelTarget, Launches};
use crate::geometry::{Conv2dGeometry, group_channels};

const FORWARD: &str = include_str!("../../../shaders/conv2d_forward.wgsl");
const INPUT_GRAD: &str = include_str!("../../../shaders/conv2d_input_grad.wgsl");
const WEIGHT_GRAD: &str = include_str!("../../../shaders/conv2d_weight_grad.wgsl");

/// `y = conv2d(x, w)`; inputs x (NHWC) and w (HWIO).
pub fn conv2d_forward(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    if direct::applies(g) {
        return direct::forward(g, t);
    }
    let (cin, cout) = group_channels(g);
    // Without padding and dilation along x, a whole kernel row is contiguous in the image.
    let rows_contiguous = g.groups == 1 && g.padding[2] == 0 && g.padding[3] == 0 && g.dilation[1] == 1;
    let row_segments = if rows_contiguous { 1 } else { g.kw };
    let width = |channels: usize, all: usize| widest(|w| channels.is_multiple_of(w) && all.is_multiple_of(w));
    let problem = Problem {
        labels: [
            "conv2d_forward/subgroup",
            "conv2d_forward/register",
            "conv2d_forward/tiled",
            "conv2d_forward/reduce",
        ],
        operands: FORWARD,
        constants: Vec::new(),
        m: g.n * g.oh * g.ow,
        n: cout,
        k: g.kh * g.kw * cin,
        segments: g.kh * row_segments,
        batches: g.groups,
        a: ALayout::AlongK,
        a_width: width(cin, g.cin),
        b_along_k: false,
        b_width: width(cout, g.cout),
        masked: g.padding.iter().any(|p| *p > 0),
        b_strides: [g.cout, 1],
        out_m: g.cout,
        out_aligned: width(cout, g.cout) > 1,
        images: Some(g.n),
        digits: Some([cin, g.kw]),
        uniform: [
            [cin, cout, cout].as_slice(),
            &[g.h, g.w, g.cin, g.oh, g.ow, g.padding[0], g.padding[2]],
            &g.stride,
            &g.dilation,
            &[row_segments],
        ]
        .concat(),
        out_len: g.n * g.oh * g.ow * g.cout,
    };
    problem.launches(t)
}

/// Gradient of a convolution with respect to its input; inputs dy (NHWC) and w (HWIO).
pub fn conv2d_input_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    if direct::applies(g) {
        return direct::input_grad(g, t);
    }
    let (cin, cout) = group_channels(g);
    let problem = Problem {
        labels: [
            "conv2d_input_grad/subgroup",
            "conv2d_input_grad/register",
            "conv2d_input_grad/tiled",
            "conv2d_input_grad/reduce",
        ],
        operands: INPUT_GRAD,
        constants: vec![("stride_y", g.stride[0] as f64), ("stride_x", g.stride[1] as f64)],
        m: g.n * g.h * g.w,
        n: cin,
        k: g.kh * g.kw * cout,
        segments: g.kh * g.kw,
        batches: g.groups,
        a: ALayout::AlongK,
        a_width: widest(|w| cout.is_multiple_of(w)),
        b_along_k: true,
        b_width: widest(|w| cout.is_multiple_of(w)),
        masked: g.kh * g.kw > 1 || g.stride != [1, 1] || g.padding.iter().any(|p| *p > 0),
        b_strides: [1, g.cout],
        out_m: g.cin,
        out_aligned: cin.is_multiple_of(4),
        images: Some(g.n),
        digits: Some([cout, g.kw]),
        uniform: [
            [cout, cout, cin].as_slice(),
            &[g.h, g.w, g.cout, g.oh, g.ow, g.padding[0], g.padding[2]],
            &g.dilation,
            &[g.kw, cin * g.cout],
        ]
        .concat(),
        out_len: g.n * g.h * g.w * g.cin,
    };
    problem.launches(t)
}

/// Gradient of a convolution with respect to its weight; inputs x (NHWC) and dy (NHWC).
pub fn conv2d_weight_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    if direct::applies(g) {
        return direct::weight_grad(g, t);
    }
    let (cin, cout) = group_channels(g);
    let problem = Problem {
        labels: [
            "conv2d_weight_grad/subgroup",
            "conv2d_weight_grad/register",
            "conv2d_weight_grad/tiled",
            "conv2d_weight_grad/reduce",
        ],
        operands: WEIGHT_GRAD,
        constants: Vec::new(),
        m: g.kh * g.kw * cin,
        n: cout,
        k: g.n * g.oh * g.ow,
        segments: 1,
        batches: g.groups,
        a: ALayout::AlongM,
        a_width: widest(|w| cin.is_multiple_of(w)),
        b_along_k: false,
        b_width: widest(|w| cout.is_multiple_of(w)),
        masked: g.padding.iter().any(|p| *p > 0),
        b_strides: [g.cout, 1],
        out_m: g.cout,
        out_aligned: cout.is_multiple_of(4),
        images: None,
        digits: Some([g.ow, g.oh]),
        uniform: [
            [cin, cout, cout].as_slice(),
            &[g.h, g.w, g.cin, cin, g.kw, g.padding[0], g.padding[2]],
            &g.stride,
            &g.dilation,
        ]
        .concat(),
        out_len: g.kh * g.kw * cin * g.cout,
    };
    problem.launches(t)
}
