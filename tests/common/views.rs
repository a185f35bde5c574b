//! The same values as views of other tensors: transposed, sliced, flipped, strided, broadcast.

use super::{Input, Rng, tensor};
use wgrad::prelude::*;

/// How an input reaches an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum View {
    Plain,
    /// A permutation undone.
    Permuted,
    /// A part of something larger.
    Sliced,
    /// Every second element of something longer.
    Stepped,
    /// Reversed twice: once in memory, once by the view.
    Flipped,
    /// One axis repeated by the view; the values along it are those of its first place.
    Broadcast,
    /// Flat memory under another shape.
    Reshaped,
    /// The outcome of a pointwise operation that is not computed yet.
    Pending,
}

pub const VIEWS: [View; 8] = [
    View::Plain,
    View::Permuted,
    View::Sliced,
    View::Stepped,
    View::Flipped,
    View::Broadcast,
    View::Reshaped,
    View::Pending,
];

/// A recipe: values to upload, and the view that makes the input of them. The same on every device.
pub struct Viewed {
    pub view: View,
    pub axis: usize,
    pub base_dims: Vec<usize>,
    pub base: Vec<f64>,
    pub dims: Vec<usize>,
    perm: Vec<usize>,
}

/// Row-major coordinates of place `i`.
fn coordinates(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut at = vec![0; dims.len()];
    for d in (0..dims.len()).rev() {
        at[d] = i % dims[d];
        i /= dims[d];
    }
    at
}

fn place(at: &[usize], dims: &[usize]) -> usize {
    at.iter().zip(dims).fold(0, |i, (&c, &n)| i * n + c)
}

/// Hides an input's values behind a view. `View::Broadcast` overwrites them with the first along its axis.
pub fn hide(input: &Input, view: View, rng: &mut Rng) -> Viewed {
    let dims = input.dims.clone();
    let n = input.values.len();
    let view = if dims.is_empty() || n == 0 { View::Plain } else { view };
    let axis = if dims.is_empty() { 0 } else { rng.int(0, dims.len() - 1) };
    let mut perm: Vec<usize> = (0..dims.len()).collect();
    rng.shuffle(&mut perm);
    let mut base_dims = dims.clone();
    match view {
        View::Plain | View::Flipped | View::Pending => {}
        View::Permuted => base_dims = perm.iter().map(|&p| dims[p]).collect(),
        View::Sliced => base_dims[axis] += 3,
        View::Stepped => base_dims[axis] *= 2,
        View::Broadcast => base_dims[axis] = 1,
        View::Reshaped => base_dims = vec![n],
    }
    let mut base = vec![1.0; base_dims.iter().product()];
    for i in 0..n {
        let mut at = coordinates(i, &dims);
        match view {
            View::Plain | View::Reshaped | View::Pending => {}
            View::Permuted => at = perm.iter().map(|&p| at[p]).collect(),
            View::Sliced => at[axis] += 2,
            View::Stepped => at[axis] = 2 * at[axis] + 1,
            View::Flipped => at[axis] = dims[axis] - 1 - at[axis],
            View::Broadcast if at[axis] > 0 => continue,
            View::Broadcast => {}
        }
        let to = if view == View::Reshaped { i } else { place(&at, &base_dims) };
        base[to] = input.values[i];
    }
    Viewed { view, axis, base_dims, base, dims, perm }
}

impl Viewed {
    /// What is uploaded (and watched).
    pub fn base(&self, dtype: DType, device: Device) -> Result<Tensor> {
        tensor(&self.base, &self.base_dims, dtype, device)
    }

    /// The input as a view of the base.
    pub fn apply(&self, base: &Tensor) -> Result<Tensor> {
        let axis = self.axis as isize;
        let n = self.dims.get(self.axis).copied().unwrap_or(1);
        match self.view {
            View::Plain => Ok(base.clone()),
            View::Permuted => {
                let mut back = vec![0isize; self.perm.len()];
                for (i, &p) in self.perm.iter().enumerate() {
                    back[p] = i as isize;
                }
                base.permute(back)
            }
            View::Sliced => base.slice(axis, 2, n),
            View::Stepped => base.slice_step(axis, 1, n, 2),
            View::Flipped => base.flip(axis),
            View::Broadcast => base.broadcast_to(&self.dims),
            View::Reshaped => base.reshape(&self.dims),
            // twice the negative of: exact, and fused into whatever follows
            View::Pending => base.neg()?.neg(),
        }
    }
}
