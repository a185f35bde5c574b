//! Rows of writing by index, and of sorts.

use super::case::{Args, Table};
use super::input::Domain;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub fn scattering(t: &mut Table) {
    for dtype in [DType::U32, DType::I32, DType::U8] {
        let dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let d = axis.rem_euclid(dims.len() as isize) as usize;
        // more than places: some are written to several times
        let mut part: Vec<usize> = dims.iter().map(|&n| t.rng.int(1, n)).collect();
        part[d] = t.rng.int(1, 2 * dims[d] + 2);
        let (x, values) = (t.float(&dims, Domain::Any), t.float(&part, Domain::Any));
        let at = t.int(dtype, &part, Domain::Whole(0, dims[d] as i64));
        let inputs = vec![x, at, values];
        t.add(format!("scatter/{dtype}"), inputs.clone(), move |a| a[0].scatter(axis, &a[1], &a[2]))
            .exact()
            .second();
        t.add(format!("scatter_add/{dtype}"), inputs, move |a| a[0].scatter_add(axis, &a[1], &a[2])).second();
    }
    for dtype in [DType::I32, DType::U32, DType::U8] {
        let (x, values) =
            (t.int(dtype, &[9, 4], Domain::Whole(0, 256)), t.int(dtype, &[50, 4], Domain::Whole(0, 256)));
        let inputs = vec![x, t.int(DType::U32, &[50], Domain::Whole(0, 9)), values];
        let call = |a: &Args<'_>| a[0].index_add(0, &a[1], &a[2]);
        t.add(format!("index_add/{dtype}"), inputs, call).no_gradient().exact();
    }
    let dims = t.shape(2, 3);
    let axis = t.axis(dims.len());
    let d = axis.rem_euclid(dims.len() as isize) as usize;
    let (x, count) = (t.float(&dims, Domain::Any), t.rng.int(1, 2 * dims[d] + 2));
    let at = t.int(DType::I32, &[count], Domain::Whole(0, dims[d] as i64));
    let mut part = dims.clone();
    part[d] = count;
    let values = t.float(&part, Domain::Any);
    t.add("index_add", vec![x, at, values], move |a| a[0].index_add(axis, &a[1], &a[2])).second();
    for accumulate in [false, true] {
        let dims = t.shape(3, 3);
        let x = t.float(&dims, Domain::Any);
        let rows = t.int(DType::I32, &[3, 1], Domain::Whole(0, dims[0] as i64));
        let columns = t.int(DType::U8, &[4], Domain::Whole(0, dims[1] as i64));
        let values = t.float(&[4, dims[2]], Domain::Any);
        let inputs = vec![x, rows, columns, values];
        let call = move |a: &Args<'_>| a[0].index_put(&[&a[1], &a[2]], &a[3], accumulate);
        let case = t.add(format!("index_put/{accumulate}"), inputs, call).second();
        if !accumulate {
            case.exact();
        }
    }
    let dims = t.shape(3, 3);
    let (x, rows) =
        (t.float(&dims, Domain::Any), t.int(DType::I32, &[3, 2], Domain::Whole(0, dims[0] as i64)));
    t.add("index", vec![x, rows], |a| a[0].index(&[&a[1]])).exact().second();
}

pub fn sorts(t: &mut Table) {
    for descending in [false, true] {
        for domain in [Domain::Distinct(0.0), Domain::Ties] {
            let dims = t.shape(1, 3);
            let axis = t.axis(dims.len());
            let x = t.float(&dims, domain);
            let case =
                t.add(format!("sort/{domain:?} {descending}"), vec![x], move |a| a[0].sort(axis, descending));
            match domain {
                Domain::Ties => case.exact().tied(),
                _ => case.exact().second(),
            };
        }
        for dtype in [DType::F32, DType::I32, DType::U32, DType::U8] {
            let dims = t.shape(1, 3);
            let axis = t.axis(dims.len());
            let x = match dtype {
                DType::F32 => t.float(&dims, Domain::Ties),
                DType::I32 => t.int(dtype, &dims, Domain::Whole(-3, 3)),
                _ => t.int(dtype, &dims, Domain::Whole(0, 5)),
            };
            let call = move |a: &Args<'_>| a[0].argsort(axis, descending);
            t.add(format!("argsort/{dtype} {descending}"), vec![x], call).no_gradient().exact();
        }
    }
    for _ in 0..2 {
        let mut dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let d = axis.rem_euclid(dims.len() as isize) as usize;
        dims[d] += 1;
        let k = t.rng.int(1, dims[d] - 1);
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add("topk", vec![x.clone()], move |a| Ok(a[0].topk(k, axis)?.0)).exact().second();
        t.add("topk/places", vec![x], move |a| Ok(a[0].topk(k, axis)?.1)).no_gradient().exact();
    }
    let x = t.float(&[3, 4], Domain::Distinct(0.0));
    t.add("quantile", vec![x], |a: &Args<'_>| a[0].quantile(0.4, -1, false)).second();
}

/// Values among sorted ones: some equal, below all and above all.
pub fn searches(t: &mut Table) {
    for right in [false, true] {
        for dtype in [DType::F32, DType::I32, DType::U32, DType::U8] {
            let dims = t.shape(1, 3);
            let (rows, last) = dims.split_at(dims.len() - 1);
            let len = t.rng.int(0, 9);
            let domain = Domain::Whole(if matches!(dtype, DType::F32 | DType::I32) { -4 } else { 0 }, 7);
            let mut draw = |dims: &[usize]| match dtype {
                DType::F32 => t.float(dims, Domain::Ties),
                _ => t.int(dtype, dims, domain),
            };
            let each = vec![draw(&[rows, &[len]].concat()), draw(&[rows, last].concat())];
            let one = vec![draw(&[len]), draw(&dims)];
            for (what, inputs) in [("rows", each), ("one", one)] {
                let call = move |a: &Args<'_>| a[0].sort(-1, false)?.searchsorted(&a[1], right);
                t.add(format!("searchsorted/{what} {dtype} {right}"), inputs, call).no_gradient().exact();
            }
        }
    }
}

/// Rows longer than a block, than a workgroup's, and than 65,535; many rows, few of each.
pub fn long_sorts(t: &mut Table) {
    for dims in [[3000, 7], [40, 100], [5, 1500], [1, 70_000]] {
        let x = t.float(&dims, Domain::Ties);
        t.add(format!("argsort/{dims:?}"), vec![x], |a| a[0].argsort(-1, false)).no_gradient().exact();
        let x = t.float(&dims, Domain::Any);
        t.add(format!("sort/{dims:?}"), vec![x], |a| Tensor::sort(&a[0], -1, true)).exact();
    }
}
