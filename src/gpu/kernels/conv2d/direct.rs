//! Convolutions with few channels per group (depthwise above all), one output per invocation: a GEMM per group would leave
//! most of its columns or its depth unused.

use super::super::gemm::reduce;
use super::super::uniform::uniform;
use super::super::{KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::geometry::{Conv2dGeometry, group_channels};
use crate::gpu::wgsl::{exchange, set_alias, shader};

uniform! {
    /// What the blocks of all three shaders begin with; all of `conv2d_direct_input_grad.wgsl`, whose strides are constants.
    struct DirectParams {
        /// Elements (or quads) of the output.
        count: usize,
        h: usize,
        w: usize,
        cin: usize,
        cout: usize,
        oh: usize,
        ow: usize,
        group_cin: usize,
        group_cout: usize,
        kernel_h: usize,
        kernel_w: usize,
        padding_y: usize,
        padding_x: usize,
        dilation_y: usize,
        dilation_x: usize,
    }
}

uniform! {
    /// The block of `conv2d_direct_forward.wgsl`.
    struct ForwardParams {
        direct: DirectParams,
        stride_y: usize,
        stride_x: usize,
    }
}

uniform! {
    /// The block of `conv2d_direct_weight_grad.wgsl`.
    struct WeightGradParams {
        direct: DirectParams,
        stride_y: usize,
        stride_x: usize,
        lines: usize,
        chunk: usize,
        parts: usize,
    }
}

/// Invocations per workgroup of the three shaders.
const WORKGROUP: usize = 64;
/// Terms that are added one after the other (as in `conv2d_direct_weight_grad.wgsl`).
const BLOCK: usize = 32;

/// True where these kernels beat a GEMM.
pub(super) fn applies(g: &Conv2dGeometry) -> bool {
    let (cin, cout) = group_channels(g);
    let short = |turns: Turns| turns.count() <= Turns::LIMIT as u64;
    g.groups > 1 && cin.min(cout) < 8 && short(taps(g, cin.max(cout))) && longest_part(g) > 0
}

/// Four channels at a time, each independent of the others.
fn by_quads(g: &Conv2dGeometry) -> bool {
    g.cin == g.groups && g.cout == g.groups && g.groups.is_multiple_of(4)
}

fn source(text: &'static str, quads: bool) -> std::borrow::Cow<'static, str> {
    if !quads {
        return text.into();
    }
    let quads = set_alias(text, "Value", "vec4<f32>");
    exchange(&quads, "out[i] = epilogue(sum, i);", "out[i] = epilogue4(sum, i * 4u);").into()
}

/// `len` is the number of outputs.
fn params(g: &Conv2dGeometry, len: usize) -> DirectParams {
    let unit = if by_quads(g) { 4 } else { 1 };
    let (group_cin, group_cout) = group_channels(g);
    DirectParams {
        count: len / unit,
        h: g.h,
        w: g.w,
        cin: g.cin / unit,
        cout: g.cout / unit,
        oh: g.oh,
        ow: g.ow,
        group_cin,
        group_cout,
        kernel_h: g.kh,
        kernel_w: g.kw,
        padding_y: g.padding[0],
        padding_x: g.padding[2],
        dilation_y: g.dilation[0],
        dilation_x: g.dilation[1],
    }
}

fn launch(
    label: &'static str,
    text: &'static str,
    g: &Conv2dGeometry,
    uniform: Uniform,
    invocations: usize,
    turns: Turns,
    t: &KernelTarget,
) -> Launch {
    Launch {
        label,
        source: source(text, by_quads(g)),
        constants: Vec::new(),
        uniform,
        inputs: vec![Operand::Input(0), Operand::Input(1)],
        output: Operand::Output,
        workgroups: fold(invocations.div_ceil(WORKGROUP), t.max_workgroups_per_dimension),
        turns,
        epilogue: true,
        others: Vec::new(),
    }
}

/// A line of the output's gradient, for one weight.
fn line(g: &Conv2dGeometry) -> Turns {
    Turns::in_blocks(g.ow, BLOCK, Turns::NONE)
}

/// Lines that an invocation of the weight's gradient takes: no more than its loops may turn, or than two levels of sums hold.
fn longest_part(g: &Conv2dGeometry) -> usize {
    (Turns::longest(line(g)) / 10 * 9).saturating_sub(2).min(BLOCK * BLOCK)
}

/// Loops over the taps of the kernel, and over so many channels at each.
fn taps(g: &Conv2dGeometry, channels: usize) -> Turns {
    Turns::around(g.kh, Turns::around(g.kw, Turns::of(channels)))
}

pub(super) fn forward(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    let direct = params(g, g.n * g.oh * g.ow * g.cout);
    let count = direct.count;
    let uniform = Uniform::of(&ForwardParams { direct, stride_y: g.stride[0], stride_x: g.stride[1] });
    let (text, turns) = (shader!("conv2d_direct_forward.wgsl"), taps(g, group_channels(g).0));
    let launch = launch("conv2d_forward/direct", text, g, uniform, count, turns, t);
    Launches { temps: Vec::new(), list: vec![launch] }
}

pub(super) fn input_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    let direct = params(g, g.n * g.h * g.w * g.cin);
    let (text, turns) = (shader!("conv2d_direct_input_grad.wgsl"), taps(g, group_channels(g).1));
    let uniform = Uniform::of(&direct);
    let mut launch = launch("conv2d_input_grad/direct", text, g, uniform, direct.count, turns, t);
    launch.constants = vec![("stride_y", g.stride[0] as f64), ("stride_x", g.stride[1] as f64)];
    Launches { temps: Vec::new(), list: vec![launch] }
}

pub(super) fn weight_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    let len = g.kh * g.kw * (g.cin / g.groups) * g.cout;
    let direct = params(g, len);
    let count = direct.count;
    let lines = g.n * g.oh;
    // Enough invocations to fill an adapter, few enough lines to stay below the limit of turns.
    let wanted = if t.cpu_adapter { 2_048 } else { 32_768 };
    let for_work = (wanted / count).clamp(1, lines.div_ceil(8));
    let parts = for_work.max(lines.div_ceil(longest_part(g).max(1)));
    let chunk = lines.div_ceil(parts);
    let parts = lines.div_ceil(chunk);
    let uniform = Uniform::of(&WeightGradParams {
        direct,
        stride_y: g.stride[0],
        stride_x: g.stride[1],
        lines,
        chunk,
        parts,
    });
    let (text, turns) = (shader!("conv2d_direct_weight_grad.wgsl"), Turns::in_blocks(chunk, BLOCK, line(g)));
    let mut first = launch("conv2d_weight_grad/direct", text, g, uniform, count, turns, t);
    // The number of lines is a batch's: where several parts are possible there is a second pass, even if there is one.
    if parts == 1 && wanted / count < 2 {
        return Launches { temps: Vec::new(), list: vec![first] };
    }
    first.workgroups = fold((count * parts).div_ceil(WORKGROUP), t.max_workgroups_per_dimension);
    first.output = Operand::Temp(0);
    first.epilogue = false;
    let second = reduce("conv2d_weight_grad/reduce", len, by_quads(g), parts, t);
    Launches { temps: vec![parts * len * 4], list: vec![first, second] }
}
