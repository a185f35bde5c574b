//! Problem sizes of the operations that have hand-written kernels, shared by both backends.
//!
//! Everything here is already checked by the operation's shape rule: the backends may rely on the dimensions agreeing.

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
