//! One side of a matrix product, and what a product costs.

/// One side of a product: a slice and the element strides of its rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub strides: [usize; 2],
}

impl<T> Matrix<'_, T> {
    /// Whether all elements of a `rows` by `cols` matrix lie within the slice.
    pub fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || (rows - 1) * self.strides[0] + (cols - 1) * self.strides[1] < self.data.len()
    }
}

/// Floating-point operations of an `m` by `n` by `k` product.
pub fn flops([m, n, k]: [usize; 3]) -> usize {
    2usize.saturating_mul(m).saturating_mul(n).saturating_mul(k)
}
