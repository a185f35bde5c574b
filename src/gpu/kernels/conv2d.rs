//! 2-D convolution and its gradients as implicit GEMMs: no im2col buffer, no atomics (see [`super::gemm`]).

mod direct;

use super::gemm::{ALayout, GemmParams, Loops, Problem, widest};
use super::uniform::uniform;
use super::{KernelTarget, Launches, Uniform};
use crate::geometry::{Conv2dGeometry, group_channels};
use crate::gpu::wgsl::shader;

uniform! {
    /// A step of a walk along k in its three digits, and the bases of the lower two (`shaders/shared/conv2d_walk.wgsl`).
    struct Digits {
        step0: usize,
        step1: usize,
        step2: usize,
        base0: usize,
        base1: usize,
    }
}

impl Digits {
    fn new(step: usize, [base0, base1]: [usize; 2]) -> Digits {
        Digits { step0: step % base0, step1: step / base0 % base1, step2: step / base0 / base1, base0, base1 }
    }
}

uniform! {
    /// The order of rows that are pixels of several images.
    struct Order {
        /// Rows of one round of what is gone through first.
        inner: usize,
        images_first: bool,
    }
}

impl Order {
    fn new(images: usize, pixels: usize, images_first: bool) -> Order {
        Order { inner: if images_first { images } else { pixels }, images_first }
    }
}

uniform! {
    /// The block of `shaders/conv2d_forward.wgsl`.
    struct ForwardParams {
        gemm: GemmParams,
        digits: Digits,
        order: Order,
        group_a: usize,
        group_b: usize,
        group_out: usize,
        h: usize,
        w: usize,
        cin: usize,
        oh: usize,
        ow: usize,
        padding_y: usize,
        padding_x: usize,
        stride_y: usize,
        stride_x: usize,
        dilation_y: usize,
        dilation_x: usize,
        row_segments: usize,
    }
}

uniform! {
    /// The block of `shaders/conv2d_input_grad.wgsl`.
    struct InputGradParams {
        gemm: GemmParams,
        digits: Digits,
        order: Order,
        group_a: usize,
        group_b: usize,
        group_out: usize,
        h: usize,
        w: usize,
        cout: usize,
        oh: usize,
        ow: usize,
        padding_y: usize,
        padding_x: usize,
        row_back: usize,
        pixel_back: usize,
        kernel_w: usize,
        b_tap: usize,
    }
}

uniform! {
    /// The block of `shaders/conv2d_weight_grad.wgsl`.
    struct WeightGradParams {
        gemm: GemmParams,
        digits: Digits,
        group_a: usize,
        group_b: usize,
        group_out: usize,
        h: usize,
        w: usize,
        cin: usize,
        group_cin: usize,
        kernel_w: usize,
        padding_y: usize,
        padding_x: usize,
        stride_y: usize,
        stride_x: usize,
        dilation_y: usize,
        dilation_x: usize,
    }
}

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
    let uniform = |gemm, loops: Loops| {
        Uniform::of(&ForwardParams {
            gemm,
            digits: Digits::new(loops.step, [cin, g.kw]),
            order: Order::new(g.n, g.oh * g.ow, loops.images_first),
            group_a: cin,
            group_b: cout,
            group_out: cout,
            h: g.h,
            w: g.w,
            cin: g.cin,
            oh: g.oh,
            ow: g.ow,
            padding_y: g.padding[0],
            padding_x: g.padding[2],
            stride_y: g.stride[0],
            stride_x: g.stride[1],
            dilation_y: g.dilation[0],
            dilation_x: g.dilation[1],
            row_segments,
        })
    };
    let problem = Problem {
        labels: [
            "conv2d_forward/subgroup",
            "conv2d_forward/register",
            "conv2d_forward/tiled",
            "conv2d_forward/reduce",
        ],
        operands: shader!("conv2d_forward.wgsl"),
        constants: Vec::new(),
        m: g.n * g.oh * g.ow,
        n: cout,
        k: g.kh * g.kw * cin,
        pixels: false,
        segments: g.kh * row_segments,
        batches: g.groups,
        a: ALayout::AlongK,
        a_width: width(cin, g.cin),
        a_row: 0,
        b_along_k: false,
        b_width: width(cout, g.cout),
        masked: g.padding.iter().any(|p| *p > 0),
        b_strides: [g.cout, 1],
        out_m: g.cout,
        out_aligned: width(cout, g.cout) > 1,
        images: true,
        uniform: &uniform,
        out_len: g.n * g.oh * g.ow * g.cout,
    };
    problem.launches(t)
}

/// A number below zero as kernels count.
fn negative(n: usize) -> usize {
    (n as u32).wrapping_neg() as usize
}

/// Gradient of a convolution with respect to its input; inputs dy (NHWC) and w (HWIO).
pub fn conv2d_input_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    if direct::applies(g) {
        return direct::input_grad(g, t);
    }
    let (cin, cout) = group_channels(g);
    let uniform = |gemm, loops: Loops| {
        Uniform::of(&InputGradParams {
            gemm,
            digits: Digits::new(loops.step, [cout, g.kw]),
            order: Order::new(g.n, g.h * g.w, loops.images_first),
            group_a: cout,
            group_b: cout,
            group_out: cin,
            h: g.h,
            w: g.w,
            cout: g.cout,
            oh: g.oh,
            ow: g.ow,
            padding_y: g.padding[0],
            padding_x: g.padding[2],
            row_back: negative(g.ow * g.cout),
            pixel_back: negative(g.cout),
            kernel_w: g.kw,
            b_tap: cin * g.cout,
        })
    };
    let problem = Problem {
        labels: [
            "conv2d_input_grad/subgroup",
            "conv2d_input_grad/register",
            "conv2d_input_grad/tiled",
            "conv2d_input_grad/reduce",
        ],
        operands: shader!("conv2d_input_grad.wgsl"),
        constants: vec![
            ("stride_y", g.stride[0] as f64),
            ("stride_x", g.stride[1] as f64),
            ("dilation_y", g.dilation[0] as f64),
            ("dilation_x", g.dilation[1] as f64),
        ],
        m: g.n * g.h * g.w,
        n: cin,
        k: g.kh * g.kw * cout,
        pixels: false,
        segments: g.kh * g.kw,
        batches: g.groups,
        a: ALayout::AlongK,
        a_width: widest(|w| cout.is_multiple_of(w)),
        a_row: 0,
        b_along_k: true,
        b_width: widest(|w| cout.is_multiple_of(w)),
        masked: g.kh * g.kw > 1 || g.stride != [1, 1] || g.padding.iter().any(|p| *p > 0),
        b_strides: [1, g.cout],
        out_m: g.cin,
        out_aligned: cin.is_multiple_of(4),
        images: true,
        uniform: &uniform,
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
    let uniform = |gemm, loops: Loops| {
        Uniform::of(&WeightGradParams {
            gemm,
            digits: Digits::new(loops.step, [g.ow, g.oh]),
            group_a: cin,
            group_b: cout,
            group_out: cout,
            h: g.h,
            w: g.w,
            cin: g.cin,
            group_cin: cin,
            kernel_w: g.kw,
            padding_y: g.padding[0],
            padding_x: g.padding[2],
            stride_y: g.stride[0],
            stride_x: g.stride[1],
            dilation_y: g.dilation[0],
            dilation_x: g.dilation[1],
        })
    };
    let problem = Problem {
        labels: [
            "conv2d_weight_grad/subgroup",
            "conv2d_weight_grad/register",
            "conv2d_weight_grad/tiled",
            "conv2d_weight_grad/reduce",
        ],
        operands: shader!("conv2d_weight_grad.wgsl"),
        constants: Vec::new(),
        m: g.kh * g.kw * cin,
        n: cout,
        k: g.n * g.oh * g.ow,
        pixels: true,
        segments: 1,
        batches: g.groups,
        a: ALayout::AlongM,
        a_width: widest(|w| cin.is_multiple_of(w)),
        a_row: cin * g.stride[0] * g.stride[1],
        b_along_k: false,
        b_width: widest(|w| cout.is_multiple_of(w)),
        masked: g.padding.iter().any(|p| *p > 0),
        b_strides: [g.cout, 1],
        out_m: g.cout,
        out_aligned: cout.is_multiple_of(4),
        images: false,
        uniform: &uniform,
        out_len: g.kh * g.kw * cin * g.cout,
    };
    problem.launches(t)
}
