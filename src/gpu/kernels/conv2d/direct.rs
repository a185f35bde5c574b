//! Convolutions with few channels per group (depthwise above all), one output per invocation: a GEMM per group would leave
//! most of its columns or its depth unused.

use super::super::gemm::reduce;
use super::super::{KernelTarget, Launch, Launches, Operand, Turns, fold};
use crate::geometry::{Conv2dGeometry, group_channels};

const FORWARD: &str = include_str!("../../../../shaders/conv2d_direct_forward.wgsl");
const INPUT_GRAD: &str = include_str!("../../../../shaders/conv2d_direct_input_grad.wgsl");
const WEIGHT_GRAD: &str = include_str!("../../../../shaders/conv2d_direct_weight_grad.wgsl");

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
    text.replace("alias Value = f32;", "alias Value = vec4<f32>;")
        .replace("out[i] = epilogue(sum, i);", "out[i] = epilogue4(sum, i * 4u);")
        .into()
}

/// The uniform values that the three shaders have in common. `count` is the number of outputs.
fn uniform(g: &Conv2dGeometry, count: usize, stride: bool) -> Vec<u32> {
    let unit = if by_quads(g) { 4 } else { 1 };
    let (cin, cout) = group_channels(g);
    let mut values =
        vec![count / unit, g.h, g.w, g.cin / unit, g.cout / unit, g.oh, g.ow, cin, cout, g.kh, g.kw];
    values.extend([g.padding[0], g.padding[2]]);
    values.extend(g.dilation);
    if stride {
        values.extend(g.stride);
    }
    values.into_iter().map(|v| v as u32).collect()
}

fn launch(
    label: &'static str,
    text: &'static str,
    g: &Conv2dGeometry,
    uniform: Vec<u32>,
    turns: Turns,
    t: &KernelTarget,
) -> Launch {
    let invocations = uniform[0] as usize;
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
    let values = uniform(g, g.n * g.oh * g.ow * g.cout, true);
    let launch = launch("conv2d_forward/direct", FORWARD, g, values, taps(g, group_channels(g).0), t);
    Launches { temps: Vec::new(), list: vec![launch] }
}

pub(super) fn input_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    let values = uniform(g, g.n * g.h * g.w * g.cin, false);
    let mut launch =
        launch("conv2d_input_grad/direct", INPUT_GRAD, g, values, taps(g, group_channels(g).1), t);
    launch.constants = vec![("stride_y", g.stride[0] as f64), ("stride_x", g.stride[1] as f64)];
    Launches { temps: Vec::new(), list: vec![launch] }
}

pub(super) fn weight_grad(g: &Conv2dGeometry, t: &KernelTarget) -> Launches {
    let len = g.kh * g.kw * (g.cin / g.groups) * g.cout;
    let mut values = uniform(g, len, true);
    let count = values[0] as usize;
    let lines = g.n * g.oh;
    // Enough invocations to fill an adapter, few enough lines to stay below the limit of turns.
    let wanted = if t.cpu_adapter { 2_048 } else { 32_768 };
    let for_work = (wanted / count).clamp(1, lines.div_ceil(8));
    let parts = for_work.max(lines.div_ceil(longest_part(g).max(1)));
    let chunk = lines.div_ceil(parts);
    let parts = lines.div_ceil(chunk);
    values.extend([lines as u32, chunk as u32, parts as u32]);
    let turns = Turns::in_blocks(chunk, BLOCK, line(g));
    let mut first = launch("conv2d_weight_grad/direct", WEIGHT_GRAD, g, values, turns, t);
    if parts == 1 {
        return Launches { temps: Vec::new(), list: vec![first] };
    }
    first.workgroups = fold((count * parts).div_ceil(WORKGROUP), t.max_workgroups_per_dimension);
    first.output = Operand::Temp(0);
    first.epilogue = false;
    let second = reduce("conv2d_weight_grad/reduce", len, by_quads(g), parts, t);
    Launches { temps: vec![parts * len * 4], list: vec![first, second] }
}
