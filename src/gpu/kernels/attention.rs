//! Attention without a matrix of scores: tiles of queries meet tiles of keys, in workgroup memory or, on adapters that run on a CPU, in
//! registers ([`lanes`]).
//!
//! Gradients take three passes over the scores, of queries, keys and values, so that each sum has one writer and there is one order.

mod lanes;

use super::launch::{Build, Pass};
use super::uniform::uniform;
use super::{KernelTarget, Launch, Launches, Operand, Turns, Uniform, fold};
use crate::geometry::AttentionGeometry;
use crate::gpu::wgsl::shader;
use lanes::{Lanes, Of};

uniform! {
    /// The block of `attention.wgsl` and `attention_grad.wgsl`.
    struct AttentionSizes {
        total: usize,
        row_tiles: usize,
        heads: usize,
        group: usize,
        queries: usize,
        keys: usize,
        depth: usize,
        width: usize,
        causal: bool,
        scale: usize,
        has_bias: bool,
        bias_batch: usize,
        bias_head: usize,
        bias_query: usize,
        bias_key: usize,
        has_lengths: bool,
        first: usize,
        logs: usize,
    }
}

uniform! {
    /// The block of `attention_means.wgsl`.
    struct MeanSizes {
        total: usize,
        width: usize,
        logs: usize,
    }
}

/// Rows and columns of a tile.
const TILE: usize = 32;

/// The longest rows of queries, keys and values: their sums are in registers.
pub(super) const WIDEST: usize = 128;

/// The most queries of heads that share keys, and the most keys, that one invocation's loops may go over.
pub(super) const LONGEST: usize = 8192;

/// Whether these kernels can be had for so many queries, keys and heads that share them, of rows as wide as this: loops that are too
/// long are refused when a plan is made.
pub fn takes([queries, keys, group]: [usize; 3], widest: usize) -> bool {
    // As `backward` counts them: whole tiles of each head of a group, and two turns more.
    let of_head = queries.saturating_add(3 * TILE);
    let longest = keys.max(group.saturating_mul(of_head).saturating_sub(3 * TILE));
    widest <= WIDEST && longest <= LONGEST
}

/// Whether subgroups take the place of workgroups, on adapters that run on a CPU: barriers are dear there.
pub fn by_lanes(t: &KernelTarget) -> Option<usize> {
    match t.subgroup {
        Some(lanes @ (4 | 8 | 16)) if t.cpu_adapter && !t.small_blocks => Some(lanes as usize),
        _ => None,
    }
}

/// What the passes of a problem have in common.
struct Passes<'a> {
    t: &'a KernelTarget,
    g: &'a AttentionGeometry,
    /// Bias and lengths; where there are none, what is bound there is not read.
    masks: [Operand; 2],
    launches: Launches,
}

impl<'a> Passes<'a> {
    fn new(t: &'a KernelTarget, g: &'a AttentionGeometry) -> Passes<'a> {
        let mut launches = Launches::default();
        let nothing = launches.temp(4);
        let bias = if g.bias.is_some() { Operand::Input(3) } else { nothing };
        let lengths = if g.lengths { Operand::Input(3 + g.bias.is_some() as usize) } else { nothing };
        Passes { t, g, masks: [bias, lengths], launches }
    }

    /// The first input behind query, key, value and masks.
    fn others(&self) -> usize {
        3 + self.g.bias.is_some() as usize + self.g.lengths as usize
    }

    /// The size of a subgroup where these take the place of workgroups; a bias they don't know.
    fn lanes(&self) -> Option<usize> {
        by_lanes(self.t).filter(|_| self.g.bias.is_none())
    }

    /// As [`push`](Passes::push), by subgroups: each tile of `rows` of each of `planes` meets so many tiles of columns.
    fn push_lanes(
        &mut self,
        label: &'static str,
        kernel: Lanes,
        inputs: Vec<Operand>,
        [planes, rows, tiles]: [usize; 3],
        first: usize,
    ) {
        let (g, row_tiles) = (self.g, rows.div_ceil(kernel.rows()));
        self.launches.list.push(Launch {
            label,
            source: kernel.source().into(),
            constants: Vec::new(),
            uniform: self.sizes(planes, row_tiles, first),
            inputs,
            output: Operand::Output,
            workgroups: fold(planes * row_tiles, self.t.max_workgroups_per_dimension),
            turns: kernel.turns(tiles, [g.depth, g.width]),
            epilogue: false,
            others: Vec::new(),
        });
    }

    fn sizes(&self, planes: usize, row_tiles: usize, first: usize) -> Uniform {
        let g = self.g;
        let [bias_batch, bias_head, bias_query, bias_key] = g.bias.unwrap_or_default();
        Uniform::of(&AttentionSizes {
            total: planes * row_tiles,
            row_tiles,
            heads: g.heads,
            group: g.group(),
            queries: g.queries,
            keys: g.keys,
            depth: g.depth / 4,
            width: g.width / 4,
            causal: g.causal,
            scale: (g.scale() as f32).to_bits() as usize,
            has_bias: g.bias.is_some(),
            bias_batch,
            bias_head,
            bias_query,
            bias_key,
            has_lengths: g.lengths,
            first,
            logs: g.out_len(),
        })
    }

    /// A pass with a workgroup for each tile of `rows` of each of `planes`, which meets `columns`; of sums of so many `columns_of_sums`,
    /// stored from `first` on. `of_tile` are the loops of a pair of tiles besides those that all have.
    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        label: &'static str,
        source: &'static str,
        constants: &[(&'static str, f64)],
        inputs: Vec<Operand>,
        [planes, rows, columns]: [usize; 3],
        [width, first]: [usize; 2],
        of_tile: Turns,
    ) {
        let row_tiles = rows.div_ceil(TILE);
        let chunks = width.div_ceil(TILE);
        let accumulate = Turns::around(chunks, Turns::of(TILE / 4));
        let stores = Turns::around(4, Turns::of(chunks));
        self.launches.list.push(Launch {
            label,
            source: source.into(),
            constants: [&[("CHUNKS", chunks as f64)], constants].concat(),
            uniform: self.sizes(planes, row_tiles, first),
            inputs,
            output: Operand::Output,
            workgroups: fold(planes * row_tiles, self.t.max_workgroups_per_dimension),
            turns: Turns::around(columns, of_tile.then(accumulate)).then(stores),
            epilogue: false,
            others: Vec::new(),
        });
    }
}

/// Loops of the product of two tiles, of rows so long, and those over its elements.
fn product(length: usize) -> Turns {
    Turns::around(length.div_ceil(TILE), Turns::of(8))
}

const ELEMENTS: Turns = Turns::around(4, Turns::of(4));

/// `out[batch, heads, queries, width]`, and behind it the logarithm of each row's sum of exponentials.
///
/// Inputs: query, key, value, then bias and lengths where there are.
pub fn forward(t: &KernelTarget, g: &AttentionGeometry) -> Launches {
    let mut passes = Passes::new(t, g);
    let inputs = [&[Operand::Input(0), Operand::Input(1), Operand::Input(2)][..], &passes.masks].concat();
    if let Some(lanes) = passes.lanes() {
        let kernel = Lanes::new(Of::Forward, lanes, g.width);
        let sizes = [g.batch * g.heads, g.queries, g.keys.div_ceil(kernel.columns())];
        passes.push_lanes("attention/subgroup", kernel, inputs, sizes, 0);
        return passes.launches;
    }
    let chunks = Turns::of(g.width.div_ceil(TILE));
    let softmax = Turns::around(4, Turns::of(4).then(chunks)).then(Turns::of(4));
    passes.push(
        "attention",
        shader!("attention.wgsl"),
        &[],
        inputs,
        [g.batch * g.heads, g.queries, g.keys.div_ceil(TILE)],
        [g.width, 0],
        product(g.depth).then(ELEMENTS).then(softmax),
    );
    passes.launches
}

/// The gradients of query, key and value, one behind the other.
///
/// Inputs: those of [`forward`], what it gave, and the gradient of that.
pub fn backward(t: &KernelTarget, g: &AttentionGeometry) -> Launches {
    let mut passes = Passes::new(t, g);
    let (results, d_out) = (Operand::Input(passes.others()), Operand::Input(passes.others() + 1));
    let means = passes.launches.temp(2 * g.rows());
    let pass = Pass {
        label: "attention_grad/means",
        source: shader!("attention_means.wgsl").into(),
        total: g.rows(),
        uniform: Uniform::of(&MeanSizes { total: g.rows(), width: g.width, logs: g.out_len() }),
        inputs: vec![results, d_out],
        output: means,
        turns: Turns::of(g.width / 4),
        epilogue: false,
    };
    Build::push(&mut passes.launches, t, pass);
    let [bias, lengths] = passes.masks;
    let inputs = [Operand::Input(0), Operand::Input(1), Operand::Input(2), d_out, means, bias, lengths];
    let [of_queries, of_keys, _] = g.sizes();
    let (heads, kv_heads) = (g.batch * g.heads, g.batch * g.kv_heads);
    if let Some(lanes) = passes.lanes() {
        for (label, of, width, first) in [
            ("attention_grad/subgroup", Of::Query, g.depth, 0),
            ("attention_grad/subgroup", Of::Key, g.depth, of_queries),
            ("attention_grad/subgroup", Of::Value, g.width, of_queries + of_keys),
        ] {
            let kernel = Lanes::new(of, lanes, width);
            let tiles = |columns: usize| columns.div_ceil(kernel.columns());
            // The loop over the heads of a group goes round once more for each.
            let sizes = match of {
                Of::Query => [heads, g.queries, tiles(g.keys)],
                _ => [kv_heads, g.keys, (tiles(g.queries) + 2) * g.group()],
            };
            passes.push_lanes(label, kernel, inputs.to_vec(), sizes, first);
        }
        return passes.launches;
    }
    let (key_tiles, query_tiles) = (g.keys.div_ceil(TILE), g.queries.div_ceil(TILE) * g.group());
    let of_one = product(g.depth).then(ELEMENTS).then(ELEMENTS);
    let of_both = of_one.then(product(g.width));
    let (by_key, of_value) = (("BY_KEY", 1.0), ("OF_VALUE", 1.0));
    let text = shader!("attention_grad.wgsl");
    let mut push = |label, constants: &[_], sizes, stored, turns| {
        passes.push(label, text, constants, inputs.to_vec(), sizes, stored, turns);
    };
    push("attention_grad/query", &[], [heads, g.queries, key_tiles], [g.depth, 0], of_both);
    // The loop over the heads of a group goes round once more for each.
    let by_head = query_tiles + 2 * g.group();
    push("attention_grad/key", &[by_key], [kv_heads, g.keys, by_head], [g.depth, of_queries], of_both);
    let first = of_queries + of_keys;
    push("attention_grad/value", &[by_key, of_value], [kv_heads, g.keys, by_head], [g.width, first], of_one);
    passes.launches
}
