//! The gradient of a convolution's weight: taps are rows, and terms are windows.

use std::ops::Range;

use wgrad_tiles::{CHAIN, Right, Row, Terms, pack, panel_width, product};

use super::{MIN_PIECES, Windows, with_border};
use crate::cpu::kernels::float::Float;
use crate::cpu::kernels::gemm::sum_partials;
use crate::cpu::kernels::matrix::flops;
use crate::cpu::kernels::panels::{BLOCK, Panels, onto};
use crate::cpu::kernels::{PARALLEL_FLOPS, for_each_chunk, pairwise};
use crate::geometry::{Conv2dGeometry, group_channels};

/// A weight's gradient of at most so many elements is summed in parts over the batch, else in parts of the weight.
const SMALL_WEIGHT: usize = 128 << 10;
/// Windows that are added up at a time: what belongs to them stays in a core's first cache.
const WINDOWS: usize = CHAIN;
/// Taps of a task where the weight is cut.
const TAPS: usize = 48;

/// Lends some terms of a panel of a group's right side.
type Lend<'a, T> = &'a (dyn Fn(Range<usize>, usize, usize, &mut dyn FnMut(&[T])) + Sync);

/// See [`conv2d_weight_grad`](super::super::conv2d::conv2d_weight_grad).
pub fn weight_grad<T: Float>(g: &Conv2dGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let (group_in, group_out) = group_channels(g);
    let windows = Windows::new(g);
    let positions = g.n * g.oh * g.ow;
    let panels = Panels::new::<T>(group_out);
    let rows: Vec<Row> =
        (0..).zip(&windows.taps).map(|(i, &at)| Row { from: at as usize, to: i * g.cout }).collect();
    let parallel = flops([positions, rows.len(), g.cout]) >= PARALLEL_FLOPS;
    with_border(x, [g.n, g.h, g.w, g.cin], g.padding, |x| {
        // What some windows say about some taps; `panel` has the gradients of their outputs.
        let sum = |range: Range<usize>, rows: &[Row], dw: &mut [T], panel: Lend<'_, T>| {
            pairwise(0..range.len().div_ceil(BLOCK), dw, &mut |i, dw| {
                let start = range.start + i * BLOCK;
                let end = range.end.min(start + BLOCK);
                for first in (start..end).step_by(WINDOWS) {
                    let part = first..end.min(first + WINDOWS);
                    let mut places = Vec::with_capacity(WINDOWS);
                    windows.for_each(part.clone(), |place| places.push(place));
                    let begin = places[0];
                    let terms: Vec<u32> = places.iter().map(|place| (place - begin) as u32).collect();
                    let terms = Terms::new(&terms);
                    for group in 0..g.groups {
                        for p in 0..panels.len() {
                            let columns = panels.columns(p);
                            let c = &mut dw[group * group_out + columns.start..];
                            let x = &x[begin + group * group_in..];
                            panel(part.clone(), group, p, &mut |b| {
                                product(
                                    x,
                                    rows,
                                    terms,
                                    Right::panel(b, columns.len()),
                                    columns.len(),
                                    c,
                                    onto(first == start),
                                );
                            });
                        }
                    }
                }
            });
        };
        if dw.len() <= SMALL_WEIGHT {
            // A power of two: threads mostly are.
            let splits = 1 << (positions / WINDOWS).clamp(1, MIN_PIECES).ilog2();
            let per_split = positions.div_ceil(splits).next_multiple_of(WINDOWS);
            let panel = |part: Range<usize>, group: usize, p: usize, f: &mut dyn FnMut(&[T])| {
                let columns = panels.columns(p);
                T::with_scratch(part.len() * panel_width::<T>(columns.len()), |packed| {
                    let first = part.start * g.cout + group * group_out + columns.start;
                    pack(&dy[first..], [g.cout, 1], columns.len(), packed);
                    f(packed);
                });
            };
            let splits = positions.div_ceil(per_split);
            return T::with_scratch(splits * dw.len(), |partial| {
                for_each_chunk(partial, dw.len(), parallel, |split, dw| {
                    let start = split * per_split;
                    sum(start..positions.min(start + per_split), &rows, dw, &panel);
                });
                sum_partials(partial, dw);
            });
        }
        let group_len = panels.packed_len::<T>(positions);
        T::with_scratch(g.groups * group_len, |packed| {
            for (group, packed) in packed.chunks_exact_mut(group_len).enumerate() {
                let write = |terms: Range<usize>, columns: Range<usize>, panel: &mut [T]| {
                    let first = terms.start * g.cout + group * group_out + columns.start;
                    pack(&dy[first..], [g.cout, 1], columns.len(), panel);
                };
                panels.pack(positions, &write, packed);
            }
            let panel = |part: Range<usize>, group: usize, p: usize, f: &mut dyn FnMut(&[T])| {
                f(&packed[group * group_len..][panels.packed::<T>(p, positions, &part)]);
            };
            for_each_chunk(dw, TAPS * g.cout, parallel, |task, dw| {
                let first = task * TAPS;
                let taps = rows[first..first + dw.len() / g.cout].iter();
                let rows: Vec<Row> = taps.map(|row| Row { to: row.to - first * g.cout, ..*row }).collect();
                sum(0..positions, &rows, dw, &panel);
            });
        });
    });
}
