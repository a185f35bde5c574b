//! 2-D pooling over NHWC.
//!
//! Max-pooling gives its gradient to the first maximum of a window in row-major order. A NaN counts as the largest value
//! (the first NaN wins), padding never wins, and a window that holds only padding is `-inf`.

use super::launch::Build;
use super::uniform::uniform;
use super::{GROUP, KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::geometry::Pool2dGeometry;
use crate::gpu::wgsl::{by_width, exchange, shader};

uniform! {
    /// The block of all kernels here; `shaders/shared/pool2d_sizes.wgsl` says what the fields are.
    struct Sizes {
        total: usize,
        h: usize,
        w: usize,
        c: usize,
        oh: usize,
        ow: usize,
        kh: usize,
        kw: usize,
        sh: usize,
        sw: usize,
        pt: usize,
        pl: usize,
        h_end: usize,
        w_end: usize,
        include_pad: bool,
        part: usize,
    }
}

/// A window with more places than this is pooled along rows first and then along columns: exactly the same maxima, far less
/// work, and loops that stay short.
const LARGEST_WINDOW: usize = 4096;

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
        let means = launches.temp(outputs(&rows));
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
        let dmeans = launches.temp(inputs(&columns));
        push_avg_grad(t, &mut launches, &columns, Operand::Input(0), dmeans);
        push_avg_grad(t, &mut launches, &rows, dmeans, Operand::Output);
    } else {
        push_avg_grad(t, &mut launches, g, Operand::Input(0), Operand::Output);
    }
    launches
}

fn push_max(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, x: Operand, y: Operand) {
    if let Some((rows, columns)) = separate(g) {
        let maxima = launches.temp(outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        push_max(t, launches, &columns, maxima, y);
    } else if plain_2x2(g) {
        let source = shader!("pool2d_max_2x2.wgsl");
        push(t, launches, g, WindowKernel { label: "pool2d_max/2x2", source, line: Line::None }, vec![x], y);
    } else {
        let source = shader!("pool2d_max.wgsl");
        let kernel = WindowKernel { label: "pool2d_max", source, line: Line::Window };
        let Some(stack) = kernel.stack(g) else {
            return push(t, launches, g, kernel, vec![x], y);
        };
        let maxima = launches.temp(inputs(&stack));
        push(t, launches, g, kernel, vec![x], maxima);
        push_max(t, launches, &stack, maxima, y);
    }
}

/// Where each window has its first maximum.
fn push_argmax(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, x: Operand, at: Operand) {
    let source = shader!("pool2d_max_argmax.wgsl");
    let kernel = WindowKernel { label: "pool2d_max_argmax", source, line: Line::Window };
    let Some(stack) = kernel.stack(g) else {
        return push(t, launches, g, kernel, vec![x], at);
    };
    let places = launches.temp(inputs(&stack));
    push(t, launches, g, kernel, vec![x], places);
    push_of_parts(t, launches, g, &stack, x, places, at);
}

/// Of what the parts of the windows give, that of the part with the first maximum.
fn push_of_parts(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    stack: &Pool2dGeometry,
    x: Operand,
    given: Operand,
    out: Operand,
) {
    let source = shader!("pool2d_max.wgsl");
    let maxima = launches.temp(inputs(stack));
    push(t, launches, g, WindowKernel { label: "pool2d_max", source, line: Line::Window }, vec![x], maxima);
    push_max_gather(t, launches, stack, maxima, given, out);
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
        let maxima = launches.temp(outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        let dmaxima = launches.temp(outputs(&rows));
        push_max_grad(t, launches, &columns, maxima, dy, dmaxima);
        push_max_grad(t, launches, &rows, x, dmaxima, dx);
    } else if plain_2x2(g) {
        let source = shader!("pool2d_max_grad_2x2.wgsl");
        let kernel = WindowKernel { label: "pool2d_max_grad/2x2", source, line: Line::Cell };
        push(t, launches, g, kernel, vec![x, dy], dx);
    } else {
        let at = launches.temp(outputs(g));
        push_argmax(t, launches, g, x, at);
        let source = shader!("pool2d_max_grad.wgsl");
        let kernel = WindowKernel { label: "pool2d_max_grad", source, line: Line::Windows };
        push_sum(t, launches, g, kernel, vec![at, dy], dx);
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
        let maxima = launches.temp(outputs(&rows));
        push_max(t, launches, &rows, x, maxima);
        let picked = launches.temp(outputs(&rows));
        push_max_gather(t, launches, &rows, x, v, picked);
        push_max_gather(t, launches, &columns, maxima, picked, out);
        return;
    }
    let source = shader!("pool2d_max_gather.wgsl");
    let kernel = WindowKernel { label: "pool2d_max_gather", source, line: Line::Window };
    let Some(stack) = kernel.stack(g) else {
        return push(t, launches, g, kernel, vec![x, v], out);
    };
    let picked = launches.temp(inputs(&stack));
    push(t, launches, g, kernel, vec![x, v], picked);
    push_of_parts(t, launches, g, &stack, x, picked, out);
}

fn push_avg(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, x: Operand, y: Operand) {
    let source = shader!("pool2d_avg.wgsl");
    push_sum(t, launches, g, WindowKernel { label: "pool2d_avg", source, line: Line::Window }, vec![x], y);
}

fn push_avg_grad(t: &KernelTarget, launches: &mut Launches, g: &Pool2dGeometry, dy: Operand, dx: Operand) {
    if g.stride[0] >= g.kernel[0] && g.stride[1] >= g.kernel[1] {
        let source = shader!("pool2d_avg_grad_apart.wgsl");
        let kernel = WindowKernel { label: "pool2d_avg_grad/apart", source, line: Line::Place };
        push(t, launches, g, kernel, vec![dy], dx);
    } else {
        let source = shader!("pool2d_avg_grad.wgsl");
        let kernel = WindowKernel { label: "pool2d_avg_grad", source, line: Line::Windows };
        push_sum(t, launches, g, kernel, vec![dy], dx);
    }
}

/// Adds a kernel that sums, and, where it does so in parts, the sum of these.
fn push_sum(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    kernel: WindowKernel,
    operands: Vec<Operand>,
    output: Operand,
) {
    let (len, parts) = (kernel.elements(g), kernel.parts(g));
    if parts <= 1 || len == 0 {
        return push(t, launches, g, kernel, operands, output);
    }
    let sums = launches.temp(parts * len);
    push(t, launches, g, kernel, operands, sums);
    let mut reduce = super::gemm::reduce("pool2d/reduce", len, len.is_multiple_of(4), parts, t);
    (reduce.inputs, reduce.output) = (vec![sums], output);
    reduce.epilogue = output == Operand::Output;
    launches.list.push(reduce);
}

/// What one invocation of a kernel computes, and what it goes through for it.
#[derive(Clone, Copy, PartialEq)]
enum Line {
    /// An output; its window is looked at without a loop.
    None,
    /// An output, from the places of its window.
    Window,
    /// An input place, from the window that it is in.
    Place,
    /// An input place, from the windows that it is in.
    Windows,
    /// Two by two places of the input.
    Cell,
}

#[derive(Clone, Copy)]
struct WindowKernel {
    label: &'static str,
    source: &'static str,
    line: Line,
}

/// What one invocation goes through at most, that sums of sixteen of sums of sixteen of sixteen are sums of sixteen.
const LONGEST_LINE: usize = 4096;

impl WindowKernel {
    fn elements(&self, g: &Pool2dGeometry) -> usize {
        match self.line {
            Line::None | Line::Window => outputs(g),
            Line::Place | Line::Windows => inputs(g),
            Line::Cell => g.n * g.h.div_ceil(2) * g.w.div_ceil(2) * g.c,
        }
    }

    /// Places of a window, or windows of a place, at most.
    fn length(&self, g: &Pool2dGeometry) -> usize {
        match self.line {
            Line::Window => g.kernel[0].min(g.h) * g.kernel[1].min(g.w),
            Line::Windows => {
                let along = |axis: usize, count: usize| g.kernel[axis].div_ceil(g.stride[axis]).min(count);
                along(0, g.oh) * along(1, g.ow)
            }
            Line::None | Line::Place | Line::Cell => 0,
        }
    }

    fn parts(&self, g: &Pool2dGeometry) -> usize {
        self.length(g).div_ceil(LONGEST_LINE)
    }

    /// The results of the parts of windows as an image with a row per part, and a window over each column; `None` where
    /// windows are taken whole.
    fn stack(&self, g: &Pool2dGeometry) -> Option<Pool2dGeometry> {
        let parts = self.parts(g);
        let w = g.n * g.oh * g.ow;
        (parts > 1).then_some(Pool2dGeometry {
            n: 1,
            h: parts,
            w,
            c: g.c,
            kernel: [parts, 1],
            stride: [1, 1],
            padding: [0; 4],
            count_include_pad: false,
            oh: 1,
            ow: w,
        })
    }
}

/// Adds one dispatch, four channels to an invocation where the channels allow it; it leaves the results of all parts.
fn push(
    t: &KernelTarget,
    launches: &mut Launches,
    g: &Pool2dGeometry,
    kernel: WindowKernel,
    inputs: Vec<Operand>,
    output: Operand,
) {
    let elements = kernel.elements(g);
    if elements == 0 {
        return;
    }
    let (width, mut source) = by_width(kernel.source, g.c);
    let total = elements / width;
    let parts = kernel.parts(g).max(1);
    if parts > 1 {
        source = exchange(&source, "let part = 0u;", "let part = group.z;").into();
    }
    let length = kernel.length(g).min(LONGEST_LINE);
    let [top, bottom, left, right] = g.padding;
    let sizes = Sizes {
        total,
        h: g.h,
        w: g.w,
        c: g.c / width,
        oh: g.oh,
        ow: g.ow,
        kh: g.kernel[0],
        kw: g.kernel[1],
        sh: g.stride[0],
        sw: g.stride[1],
        pt: top,
        pl: left,
        h_end: g.h + bottom,
        w_end: g.w + right,
        include_pad: g.count_include_pad,
        part: length,
    };
    let [x, y, _] = fold(total.div_ceil(GROUP), t.max_workgroups_per_dimension);
    launches.list.push(Launch {
        label: kernel.label,
        source,
        constants: Vec::new(),
        uniform: Uniform::of(&sizes),
        inputs,
        output,
        workgroups: [x, y, parts as u32],
        // by blocks of sixteen, where it sums
        turns: Turns::around(length.div_ceil(16), Turns::of(16)).or(Turns::of(length)),
        epilogue: output == Operand::Output && parts == 1,
        others: Vec::new(),
    });
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

fn inputs(g: &Pool2dGeometry) -> usize {
    g.n * g.h * g.w * g.c
}

fn outputs(g: &Pool2dGeometry) -> usize {
    g.n * g.oh * g.ow * g.c
}

#[cfg(test)]
mod tests {
    use super::*;

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
