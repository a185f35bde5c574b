//! Sums of tensors each of which is zero but for a part: the gradient of what was cut into many.

use super::join::concat;
use super::view::full;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A tensor that stands among zeros, from an index along an axis on.
#[derive(Clone)]
pub(crate) struct Piece {
    pub axis: usize,
    pub start: usize,
    pub part: Tensor,
}

impl Piece {
    /// The tensor as such a piece, where it is one and still knows of what.
    pub fn of(x: &Tensor) -> Option<Piece> {
        x.0.with_inputs(|inputs| {
            let [part] = inputs else { return None };
            let (axis, start) = x.0.op.place_among_zeros(&part.shape(), &x.shape())?;
            Some(Piece { axis, start, part: part.clone() })
        })
    }

    fn end(&self) -> usize {
        self.start + self.part.shape()[self.axis]
    }
}

/// The sum of pieces of one shape, all along one axis: those that stand at one place are added up, those that don't overlap are
/// written beside each other, and of what is left each layer is added to the others. So T pieces cost what they hold, and not T
/// times the whole.
pub(crate) fn assemble(pieces: Vec<Piece>, shape: &Shape) -> Result<Tensor> {
    let mut places: Vec<Piece> = Vec::new();
    let mut known: HashMap<(usize, usize), usize> = HashMap::new();
    for piece in pieces {
        match known.entry((piece.start, piece.end())) {
            Entry::Occupied(at) => {
                let place = &mut places[*at.get()];
                place.part = (&place.part + &piece.part)?;
            }
            Entry::Vacant(at) => {
                at.insert(places.len());
                places.push(piece);
            }
        }
    }
    places.sort_by_key(|p| (p.start, p.end()));
    // Each layer takes what begins where it ends, or later: of windows that overlap k-fold there are k layers.
    let mut layers: Vec<Vec<Piece>> = Vec::new();
    for piece in places {
        let free = |layer: &&mut Vec<Piece>| layer.last().is_some_and(|last| last.end() <= piece.start);
        match layers.iter_mut().find(free) {
            Some(layer) => layer.push(piece),
            None => layers.push(vec![piece]),
        }
    }
    let mut sum: Option<Tensor> = None;
    for layer in layers {
        let layer = beside_each_other(layer, shape)?;
        sum = Some(match sum {
            None => layer,
            Some(sum) => (sum + layer)?,
        });
    }
    sum.ok_or_else(|| Error::internal("no pieces to assemble"))
}

/// Pieces that don't overlap, in their order, with zeros between.
fn beside_each_other(pieces: Vec<Piece>, shape: &Shape) -> Result<Tensor> {
    let Some(Piece { axis, part, .. }) = pieces.first() else {
        return Err(Error::internal("no pieces to put beside each other"));
    };
    let (axis, dtype, device) = (*axis, part.dtype(), part.device());
    let mut parts = Vec::with_capacity(2 * pieces.len() + 1);
    let mut at = 0;
    let zeros = |parts: &mut Vec<Tensor>, len: usize| -> Result<()> {
        if len > 0 {
            let mut dims = shape.to_vec();
            dims[axis] = len;
            parts.push(full(0.0, Shape::new(&dims)?, dtype, device)?);
        }
        Ok(())
    };
    for piece in pieces {
        zeros(&mut parts, piece.start - at)?;
        at = piece.end();
        parts.push(piece.part);
    }
    zeros(&mut parts, shape[axis] - at)?;
    concat(&parts.iter().collect::<Vec<_>>(), axis as isize)
}
