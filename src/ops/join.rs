//! Joining tensors: concatenation, constant padding, and the packing of many tensors into one vector.

use super::constant::check_number;
use super::{Grads, Lowering, Operation, Vjp, same_device, same_dtype};
use crate::cpu::kernels::for_each_chunk;
use crate::cpu::{Array, Element, dispatch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};
use std::hash::{Hash, Hasher};

/// Inputs of a concatenation that one GPU kernel reads at most: each is a binding, of which eight are guaranteed. More are copied
/// to their places one by one.
const MAX_PARTS: usize = 6;

#[derive(Debug, Hash)]
struct Concat {
    axis: usize,
}

/// Tensors one after the other along an axis.
pub(crate) fn concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::argument("concat", "no tensors given; give at least one"));
    };
    let a = first.shape().axis("concat", axis)?;
    same_device("concat", tensors)?;
    let mut total = 0;
    for t in tensors {
        same_dtype("concat", first, t)?;
        let fits =
            t.rank() == first.rank() && (0..t.rank()).all(|d| d == a || t.shape()[d] == first.shape()[d]);
        if !fits {
            let message = format!("shapes {} and {} differ outside axis {axis}", first.shape(), t.shape());
            return Err(Error::shape("concat", message));
        }
        total += t.shape()[a];
    }
    if tensors.len() == 1 {
        return Ok((*first).clone());
    }
    // Bytes are stored four at a time: no kernel could copy some of them to a place that begins inside of a word.
    if tensors.len() > MAX_PARTS && first.dtype() == DType::U8 {
        let joined = tensors.chunks(MAX_PARTS).map(|c| concat(c, axis)).collect::<Result<Vec<_>>>()?;
        return concat(&joined.iter().collect::<Vec<_>>(), axis);
    }
    let mut dims = first.shape().to_vec();
    dims[a] = total;
    let inputs = tensors.iter().map(|&t| t.clone()).collect();
    Tensor::from_op(Concat { axis: a }, inputs, Shape::new(&dims)?, first.dtype(), first.device())
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let mut start = 0;
        let mut grads = Vec::new();
        for (x, &needed) in cx.inputs.iter().zip(cx.needs) {
            let len = x.shape()[self.axis];
            let g = if needed { Some(cx.grad.slice(self.axis as isize, start, len)?) } else { None };
            grads.push(g);
            start += len;
        }
        Ok(grads)
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let outer: usize = out.shape[..self.axis].iter().product();
        let row: usize = out.shape[self.axis..].iter().product();
        let parts = inputs.iter().map(Array::contiguous).collect::<Result<Vec<_>>>()?;
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let parts = parts.iter().map(Array::slice::<T>).collect::<Result<Vec<_>>>()?;
            if outer == 1 {
                let mut rest = dst;
                for part in parts {
                    let (to, later) = rest.split_at_mut(part.len());
                    copy_shared(to, part);
                    rest = later;
                }
                return Ok(());
            }
            let rows = (COPIED_AT_ONCE / row.max(1)).max(1);
            for_each_chunk(dst, rows * row, true, |chunk, dst| {
                for (o, dst) in dst.chunks_exact_mut(row).enumerate() {
                    let (o, mut at) = (chunk * rows + o, 0);
                    for part in &parts {
                        let len = part.len() / outer;
                        dst[at..at + len].copy_from_slice(&part[o * len..(o + 1) * len]);
                        at += len;
                    }
                }
            });
            Ok(())
        }))
    }
    fn gpu(&self, inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        match inputs.len() {
            0..=MAX_PARTS => Lowering::Concat { axis: self.axis },
            _ => Lowering::Assemble { axis: self.axis },
        }
    }
}

/// Elements that a thread copies at once.
const COPIED_AT_ONCE: usize = 1 << 16;

/// `to = from`, by all threads where it is long.
fn copy_shared<T: Copy + Send + Sync>(to: &mut [T], from: &[T]) {
    for_each_chunk(to, COPIED_AT_ONCE, true, |i, to| {
        to.copy_from_slice(&from[i * COPIED_AT_ONCE..][..to.len()]);
    });
}

#[derive(Debug)]
struct Pad {
    before: Vec<usize>,
    value: f64,
}

/// By the bits of the value.
impl Hash for Pad {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Pad { before, value } = self;
        (before, value.to_bits()).hash(state);
    }
}

/// Surrounds `x` by a constant: `(before, after)` elements for each axis.
pub(crate) fn pad(x: &Tensor, pads: &[(usize, usize)], value: f64) -> Result<Tensor> {
    if pads.len() != x.rank() {
        let message =
            format!("{} pairs given for a tensor of shape {}; give one per axis", pads.len(), x.shape());
        return Err(Error::argument("pad", message));
    }
    check_number("pad", value, x.dtype())?;
    if pads.iter().all(|&p| p == (0, 0)) {
        return Ok(x.clone());
    }
    let dims: Vec<usize> =
        x.shape().iter().zip(pads).map(|(&n, &(b, a))| n.saturating_add(b).saturating_add(a)).collect();
    let op = Pad { before: pads.iter().map(|p| p.0).collect(), value };
    Tensor::from_op(op, vec![x.clone()], Shape::new(&dims)?, x.dtype(), x.device())
}

impl Operation for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let mut g = cx.grad.clone();
        for (d, &before) in self.before.iter().enumerate() {
            g = g.slice(d as isize, before, cx.inputs[0].shape()[d])?;
        }
        Ok(vec![Some(g)])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let x = inputs[0].contiguous()?;
        let (from, to) = (x.shape.strides(), out.shape.strides());
        let rank = x.shape.rank();
        let inner = if rank == 0 { 1 } else { x.shape[rank - 1] };
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            dst.fill(T::from_f64(self.value));
            let src = x.slice::<T>()?;
            for (r, row) in src.chunks(inner.max(1)).enumerate() {
                let mut at = if rank == 0 { 0 } else { self.before[rank - 1] };
                for d in 0..rank.saturating_sub(1) {
                    at += ((r * inner / from[d]) % x.shape[d] + self.before[d]) * to[d];
                }
                dst[at..at + row.len()].copy_from_slice(row);
            }
            Ok(())
        }))
    }
    fn place_among_zeros(&self, input: &Shape, out: &Shape) -> Option<(usize, usize)> {
        let mut padded = (0..out.rank()).filter(|&d| input[d] != out[d]);
        let axis = padded.next().filter(|_| self.value == 0.0 && padded.next().is_none())?;
        Some((axis, self.before[axis]))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Pad { before: &self.before, value: self.value }
    }
}

/// Offsets in a packed vector are multiples of this many elements, so that each part can be bound as a buffer by itself
/// (WebGPU's default alignment is 256 bytes).
pub(crate) const PACK_ALIGNMENT: usize = 64;

/// Tensors flattened into one vector, each at an aligned offset. What lies between is unspecified.
#[derive(Debug, Hash)]
pub(crate) struct Pack {
    offsets: Vec<usize>,
}

/// Where tensors of these sizes stand in a packed vector, and its length.
pub(crate) fn pack_layout(sizes: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut offsets = Vec::new();
    let mut end: usize = 0;
    for n in sizes {
        offsets.push(end);
        end = (end + n).next_multiple_of(PACK_ALIGNMENT);
    }
    (offsets, end)
}

/// Packs tensors into one vector, so that one kernel can update them all. On the GPU the tensors are computed into
/// their places: there is no copy.
pub(crate) fn pack(tensors: &[Tensor]) -> Result<Tensor> {
    let Some(first) = tensors.first() else {
        return Err(Error::argument("pack", "no tensors given"));
    };
    same_device("pack", &tensors.iter().collect::<Vec<_>>())?;
    for t in tensors {
        same_dtype("pack", first, t)?;
    }
    let (offsets, len) = pack_layout(tensors.iter().map(Tensor::numel));
    let shape = Shape::new(&[len])?;
    Tensor::from_op(Pack { offsets }, tensors.to_vec(), shape, first.dtype(), first.device())
}

impl Operation for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let parts = cx.inputs.iter().zip(&self.offsets);
        parts.map(|(x, &at)| Ok(Some(cx.grad.slice(0, at, x.numel())?.reshape(x.shape())?))).collect()
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        dispatch!(out.dtype, T => Array::build::<T>(out.shape, |dst| {
            let (mut rest, mut end) = (dst, 0);
            for (x, &at) in inputs.iter().zip(&self.offsets) {
                let x = x.contiguous()?;
                let src = x.slice::<T>()?;
                let (between, later) = rest.split_at_mut(at - end);
                let (to, later) = later.split_at_mut(src.len());
                between.fill(T::default());
                copy_shared(to, src);
                (rest, end) = (later, at + src.len());
            }
            rest.fill(T::default());
            Ok(())
        }))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Pack { offsets: &self.offsets }
    }
}
