//! Problem sizes of the operations that have hand-written kernels, shared by both backends.
//!
//! Everything here is already checked by the operation's shape rule: the backends may rely on the dimensions agreeing.

use crate::shape::{MAX_RANK, Shape};

/// `C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n]`, each side addressed by element strides, so that a transposed or
/// broadcast operand needs no copy. `C` is contiguous.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatmulGeometry {
    /// Batch dimensions of the output, outermost first; `[1, 1, 1]` for a plain matrix product.
    pub batch: [usize; 3],
    /// Element strides of `A` along the batch dimensions (0 where `A` is broadcast).
    pub a_batch: [usize; 3],
    /// Element strides of `B` along the batch dimensions (0 where `B` is broadcast).
    pub b_batch: [usize; 3],
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Element strides of `A` along m and k. One of them is 1 (or its dimension is 1).
    pub a_strides: [usize; 2],
    /// Element strides of `B` along k and n. One of them is 1 (or its dimension is 1).
    pub b_strides: [usize; 2],
}

impl MatmulGeometry {
    /// With batch dimensions as part of m where `B` is shared and the rows of `A` go on from one matrix to the next: one large
    /// product instead of many small ones, whose tiles would be half empty.
    pub(crate) fn folded(mut self) -> MatmulGeometry {
        for d in (0..3).rev() {
            if self.batch[d] == 1 {
                continue;
            }
            if self.b_batch[d] != 0 || self.a_batch[d] != self.m * self.a_strides[0] {
                break;
            }
            self.m *= self.batch[d];
            self.batch[d] = 1;
        }
        self
    }
}

/// The layout of one operand: shape and element strides.
pub(crate) struct MatmulOperand<'a> {
    pub shape: &'a Shape,
    pub strides: [isize; MAX_RANK],
}

/// The geometry of a product of two strided operands, or which of them has to be made contiguous first.
pub(crate) fn matmul_geometry(
    a: MatmulOperand<'_>,
    b: MatmulOperand<'_>,
    out: &Shape,
) -> Result<MatmulGeometry, [bool; 2]> {
    let rank = out.rank();
    let (m, n) = (out[rank - 2], out[rank - 1]);
    let k = a.shape[a.shape.rank() - 1];
    let last_two = |o: &MatmulOperand<'_>| {
        let r = o.shape.rank();
        [o.strides[r - 2], o.strides[r - 1]]
    };
    let (sa, sb) = (last_two(&a), last_two(&b));
    // An axis of one element may have any stride: give it the one that suits.
    let tidy = |s: [isize; 2], rows: usize, cols: usize| match (rows, cols) {
        (_, 1) if s[0] == 1 || rows == 1 => [1, rows as isize],
        (_, 1) => [s[0], 1],
        (1, _) if s[1] == 1 => [cols as isize, 1],
        (1, _) => [1, s[1]],
        _ => s,
    };
    let (sa, sb) = (tidy(sa, m, k), tidy(sb, k, n));
    let plain = |s: [isize; 2], rows: usize, cols: usize| {
        (s[1] == 1 && s[0] >= cols as isize) || (s[0] == 1 && s[1] >= rows as isize)
    };
    let mut bad = [!plain(sa, m, k), !plain(sb, k, n)];
    // Batch dimensions, merged where both operands walk them as one, to at most three.
    let mut merged: Vec<(usize, isize, isize)> = Vec::new();
    for d in 0..rank - 2 {
        let stride = |o: &MatmulOperand<'_>| {
            let skip = rank - o.shape.rank();
            if d < skip || o.shape[d - skip] == 1 { 0 } else { o.strides[d - skip] }
        };
        let (size, ba, bb) = (out[d], stride(&a), stride(&b));
        if size == 1 {
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.1 == ba * size as isize && last.2 == bb * size as isize => {
                *last = (last.0 * size, ba, bb);
            }
            _ => merged.push((size, ba, bb)),
        }
        bad[0] |= ba < 0;
        bad[1] |= bb < 0;
    }
    if merged.len() > 3 {
        bad = [true, true];
    }
    if bad != [false, false] {
        return Err(bad);
    }
    let mut g = MatmulGeometry {
        batch: [1; 3],
        a_batch: [0; 3],
        b_batch: [0; 3],
        m,
        n,
        k,
        a_strides: sa.map(|s| s as usize),
        b_strides: sb.map(|s| s as usize),
    };
    let skip = 3 - merged.len();
    for (i, (size, ba, bb)) in merged.into_iter().enumerate() {
        (g.batch[i + skip], g.a_batch[i + skip], g.b_batch[i + skip]) = (size, ba as usize, bb as usize);
    }
    Ok(g.folded())
}

/// A 2-D convolution (cross-correlation, as everywhere in deep learning): input NHWC, weight HWIO, output NHWC.
///
/// With groups, the weight is `[kh, kw, cin / groups, cout]` and output channel `o` belongs to group `o / (cout / groups)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub cin: usize,
    pub kh: usize,
    pub kw: usize,
    pub cout: usize,
    pub stride: [usize; 2],
    /// Zero padding: top, bottom, left, right.
    pub padding: [usize; 4],
    pub dilation: [usize; 2],
    pub groups: usize,
    /// Output height and width.
    pub oh: usize,
    pub ow: usize,
}

/// Input and output channels of a group of a convolution.
pub fn group_channels(g: &Conv2dGeometry) -> (usize, usize) {
    (g.cin / g.groups, g.cout / g.groups)
}

/// Rows of values that are looked for in sorted rows of `len`, or, if there is one row of values, in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SearchGeometry {
    pub rows: usize,
    /// Values of a row.
    pub count: usize,
    pub len: usize,
    /// Whether elements that are equal to a value stand before its place.
    pub right: bool,
}

/// A 2-D pooling window over NHWC.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Padding: top, bottom, left, right. Max-pooling never picks a padded place; average pooling counts it only
    /// where `count_include_pad` says so.
    pub padding: [usize; 4],
    pub count_include_pad: bool,
    pub oh: usize,
    pub ow: usize,
}

/// Attention: `softmax(scale q k^T + bias) v`, of query `[batch, heads, queries, depth]`, key `[batch, kv_heads, keys, depth]` and
/// value `[batch, kv_heads, keys, width]`. The output is `[batch, heads, queries, width]`. Nothing is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionGeometry {
    pub batch: usize,
    pub heads: usize,
    /// Divides the heads: as many neighbouring heads of queries share one.
    pub kv_heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub depth: usize,
    pub width: usize,
    /// Query i sees the keys up to i only.
    pub causal: bool,
    /// The bits of what scores are multiplied by, an f64.
    pub scale: u64,
    /// Element strides of what is added to the scores, along batch, heads, queries and keys, 0 where it is the same for all; `None`
    /// where nothing is added. Minus infinity hides a key.
    pub bias: Option<[usize; 4]>,
    /// Whether there are lengths, i32 `[batch]`: keys from there on are hidden.
    pub lengths: bool,
}

impl AttentionGeometry {
    /// Heads of queries for each head of keys.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub fn scale(&self) -> f64 {
        f64::from_bits(self.scale)
    }

    /// Queries of all heads and batches.
    pub fn rows(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// Elements of query, key and value.
    pub fn sizes(&self) -> [usize; 3] {
        let of_keys = self.batch * self.kv_heads * self.keys;
        [self.rows() * self.depth, of_keys * self.depth, of_keys * self.width]
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.rows() * self.width
    }

    /// Floating-point operations of the two products of a forward pass; those over the diagonal are not left out.
    pub fn flops(&self) -> usize {
        2usize.saturating_mul(self.rows()).saturating_mul(self.keys).saturating_mul(self.depth + self.width)
    }
}
