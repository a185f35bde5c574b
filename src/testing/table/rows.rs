//! The rows of all operations, in order.

use super::case::{Case, Size, Table};
use super::input::Rng;
use super::{composed, images, kernels, moving, numbers, pointwise, products, sorting};

/// Every operation, with shapes and values of this seed.
pub fn ops(seed: u64, size: Size) -> Vec<Case> {
    let mut table = Table { rng: Rng(seed), size, cases: Vec::new() };
    pointwise::unary(&mut table);
    pointwise::binary(&mut table);
    pointwise::integers(&mut table);
    pointwise::casts(&mut table);
    moving::reductions(&mut table);
    moving::views(&mut table);
    moving::joins(&mut table);
    moving::indexing(&mut table);
    products::matmul(&mut table);
    images::conv2d(&mut table);
    images::pool2d(&mut table);
    products::softmax(&mut table);
    pointwise::activations(&mut table);
    images::conv2d_transpose(&mut table);
    images::upsample2d(&mut table);
    moving::scans(&mut table);
    moving::leaves(&mut table);
    moving::updates(&mut table);
    numbers::rounding(&mut table);
    numbers::angles(&mut table);
    numbers::divisions(&mut table);
    numbers::bits(&mut table);
    numbers::running_products(&mut table);
    sorting::scattering(&mut table);
    sorting::sorts(&mut table);
    images::pool2d_ceil(&mut table);
    products::attention(&mut table);
    sorting::searches(&mut table);
    composed::sequences(&mut table);
    composed::volumes(&mut table);
    composed::resampling(&mut table);
    if size == Size::Kernels {
        kernels::kernels(&mut table);
        sorting::long_sorts(&mut table);
    }
    table.cases
}
