//! Rows of what takes elements together or elsewhere: reductions, views, joins, indexing; and of what makes them.

use super::case::{Args, Call, Table};
use super::input::{Domain, Input};
use crate::axes::Axes;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::join::pack;
use crate::shape::INFER;
use crate::tensor::Tensor;

pub fn reductions(t: &mut Table) {
    type Reduce = fn(&Tensor, Axes, bool) -> Result<Tensor>;
    let list: [(&str, Reduce, Domain); 5] = [
        ("sum", |x, a, k| x.sum(a, k), Domain::Any),
        ("mean", |x, a, k| x.mean(a, k), Domain::Any),
        ("max", |x, a, k| x.max(a, k), Domain::Distinct(0.0)),
        ("min", |x, a, k| x.min(a, k), Domain::Distinct(0.0)),
        ("prod", |x, a, k| x.prod(a, k), Domain::NearOne),
    ];
    for (name, f, domain) in list {
        for variant in ["all", "axes", "last", "first"] {
            let most = if name == "prod" { 2 } else { 4 };
            let dims = t.shape(1, most);
            let axes = match variant {
                "all" => Axes::from(..),
                "last" => Axes::from(-1),
                "first" => Axes::from(0),
                _ => Axes::from(t.axes(dims.len())),
            };
            let keep = t.rng.flag();
            let x = t.float(&dims, domain);
            let case = t.add(format!("{name}/{variant}"), vec![x], move |a| f(&a[0], axes.clone(), keep));
            if matches!(name, "max" | "min") {
                case.exact();
            }
            if variant == "axes" {
                case.second();
            }
        }
        let (dims, keep) = (t.shape(2, 3), t.rng.flag());
        let axes = Axes::from(t.axes(dims.len()));
        let ties = t.float(&dims, Domain::Ties);
        t.add(format!("{name}/ties"), vec![ties], move |a| f(&a[0], axes.clone(), keep)).tied();
    }
    // A product is smooth where factors are zero: one, two, three of them in a row.
    for keep in [false, true] {
        let values = vec![
            1.5, -2.0, 0.5, 1.25, 0.0, 2.0, -1.5, 0.75, 0.0, -1.25, 0.0, 2.0, 0.0, 1.75, 0.0, 0.0, 0.0, 0.0,
            0.0, 0.0,
        ];
        let axes: Vec<isize> = if keep { vec![-1] } else { vec![0, 2] };
        let shape = if keep { [1, 5, 4] } else { [2, 5, 2] };
        t.add(format!("prod/zeros {keep}"), vec![Input::given(&shape, values)], move |a| {
            a[0].prod(&axes, keep)
        })
        .second();
    }
    for (name, min) in [("argmax", false), ("argmin", true)] {
        for domain in [Domain::Ties, Domain::Any] {
            let dims = t.shape(1, 4);
            let (axis, keep) = (t.axis(dims.len()), t.rng.flag());
            let x = t.float(&dims, domain);
            let call =
                move |a: &Args<'_>| if min { a[0].argmin(axis, keep) } else { a[0].argmax(axis, keep) };
            t.add(format!("{name}/{domain:?}"), vec![x], call).no_gradient().exact();
        }
    }
}

pub fn scans(t: &mut Table) {
    for variant in ["first", "last", "any"] {
        let dims = t.shape(1, 4);
        let axis = match variant {
            "first" => 0,
            "last" => -1,
            _ => t.axis(dims.len()),
        };
        let x = t.float(&dims, Domain::Any);
        t.add(format!("cumsum/{variant}"), vec![x], move |a| a[0].cumsum(axis)).second();
    }
}

pub fn views(t: &mut Table) {
    let dims = t.shape(2, 4);
    let (n, rank) = (dims.iter().product::<usize>(), dims.len());
    let mut x = || t.float(&dims, Domain::Any);
    let inputs: Vec<Input> = (0..9).map(|_| x()).collect();
    let mut inputs = inputs.into_iter().map(|x| vec![x]);
    let mut next = || inputs.next().unwrap_or_default();
    let mut add = |t: &mut Table, name: &str, call: Call| {
        t.add(name, next(), call).exact();
    };
    add(t, "reshape/line", Box::new(move |a| a[0].reshape([n])));
    let last = dims[rank - 1];
    add(t, "reshape/infer", Box::new(move |a| a[0].reshape([1, INFER, last, 1])));
    let start = t.axis(rank);
    add(t, "flatten", Box::new(move |a| a[0].flatten(start)));
    let mut perm: Vec<isize> = (0..rank as isize).collect();
    t.rng.shuffle(&mut perm);
    add(t, "permute", Box::new(move |a| a[0].permute(&perm)));
    add(t, "transpose", Box::new(|a| a[0].transpose()));
    let (p, q) = (t.axis(rank), t.axis(rank));
    add(t, "swap_axes", Box::new(move |a| a[0].swap_axes(p, q)));
    let axis = t.axis(rank);
    add(t, "flip", Box::new(move |a| a[0].flip(axis)));
    add(t, "unsqueeze", Box::new(move |a| a[0].unsqueeze(axis)));
    add(t, "squeeze", Box::new(move |a| a[0].unsqueeze(axis)?.squeeze(axis)?.unsqueeze(0)?.squeeze(0)));
    for variant in ["lead", "inner"] {
        let dims = t.shape(1, 3);
        let mut to = dims.clone();
        let mut from = dims.clone();
        if variant == "lead" {
            to.insert(0, 3);
        } else {
            let d = t.rng.int(0, dims.len() - 1);
            from[d] = 1;
        }
        let x = t.float(&from, Domain::Any);
        t.add(format!("broadcast_to/{variant}"), vec![x], move |a| a[0].broadcast_to(&to)).exact();
    }
    for step in [1isize, 2, 3, -1, -2] {
        let mut dims = t.shape(1, 4);
        let d = t.rng.int(0, dims.len() - 1);
        dims[d] = dims[d].max(2) + 2;
        let reach = t.rng.int(1, (dims[d] - 1) / step.unsigned_abs() + 1);
        let span = (reach - 1) * step.unsigned_abs();
        let low = t.rng.int(0, dims[d] - 1 - span);
        let start = if step > 0 { low } else { low + span };
        let x = t.float(&dims, Domain::Any);
        let call = move |a: &Args<'_>| a[0].slice_step(d as isize, start, reach, step);
        t.add(format!("slice/{step}"), vec![x], call).exact().second();
    }
}

pub fn joins(t: &mut Table) {
    for parts in [2, 3, 8] {
        let mut dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let d = axis.rem_euclid(dims.len() as isize) as usize;
        let mut inputs = Vec::new();
        for _ in 0..parts {
            dims[d] = t.rng.int(1, 4);
            inputs.push(t.float(&dims, Domain::Any));
        }
        let call = move |a: &Args<'_>| Tensor::concat(a.tensors, axis);
        t.add(format!("concat/{parts}"), inputs, call).exact().second();
    }
    let dims = t.shape(1, 3);
    let axis = t.axis(dims.len() + 1);
    let inputs = (0..3).map(|_| t.float(&dims, Domain::Any)).collect();
    t.add("stack", inputs, move |a| Tensor::stack(&[&a[0], &a[1], &a[2]], axis)).exact();
    for value in [0.0, -1.5] {
        let dims = t.shape(1, 4);
        let pads: Vec<(usize, usize)> = dims.iter().map(|_| (t.rng.int(0, 2), t.rng.int(0, 3))).collect();
        let x = t.float(&dims, Domain::Any);
        t.add(format!("pad/{value}"), vec![x], move |a| a[0].pad(&pads, value)).exact().second();
    }
}

pub fn updates(t: &mut Table) {
    // the first, a middle and the last axis, parts of one and of several, at the beginning, at the end and between
    for (variant, axis) in [("first", 0isize), ("middle", 1), ("last", -1)] {
        let mut dims = t.shape(3, 3);
        let d = axis.rem_euclid(3) as usize;
        dims[d] += 2;
        let n = dims[d];
        let x = t.float(&dims, Domain::Any);
        dims[d] = t.rng.int(1, n - 1);
        let start = t.rng.pick(&[0, (n - dims[d]) / 2, n - dims[d]]);
        let part = t.float(&dims, Domain::Any);
        let call = move |a: &Args<'_>| a[0].update_slice(axis, start, &a[1]);
        t.add(format!("update_slice/{variant}"), vec![x, part], call).exact().second();
    }
    for dtype in [DType::I32, DType::U32, DType::U8] {
        let (x, part) =
            (t.int(dtype, &[7, 5], Domain::Whole(0, 200)), t.int(dtype, &[3, 5], Domain::Whole(0, 200)));
        t.add(format!("update_slice/{dtype}"), vec![x, part], |a| a[0].update_slice(0, 2, &a[1]))
            .no_gradient()
            .exact();
    }
}

pub fn indexing(t: &mut Table) {
    for dtype in [DType::U32, DType::I32, DType::U8] {
        let dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let n = dims[axis.rem_euclid(dims.len() as isize) as usize];
        // more picks than places: some repeat, and the gradient adds up
        let count = t.rng.int(1, 2 * n + 3);
        let x = t.float(&dims, Domain::Any);
        let at = t.int(dtype, &[count], Domain::Whole(0, n as i64));
        t.add(format!("index_select/{dtype}"), vec![x, at], move |a| a[0].index_select(axis, &a[1]))
            .exact()
            .second();
    }
    for _ in 0..2 {
        let dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let d = axis.rem_euclid(dims.len() as isize) as usize;
        let mut picks: Vec<usize> = dims.iter().map(|&n| t.rng.int(1, n)).collect();
        picks[d] = t.rng.int(1, 5);
        let x = t.float(&dims, Domain::Any);
        let at = t.int(DType::U32, &picks, Domain::Whole(0, dims[d] as i64));
        t.add("gather", vec![x, at], move |a| a[0].gather(axis, &a[1])).exact();
    }
    let dims = t.shape(0, 2);
    let labels = t.int(DType::U8, &dims, Domain::Whole(0, 7));
    t.add("one_hot", vec![labels], |a| a[0].one_hot(6)).no_gradient().exact();
}

/// What has no input, or is one.
pub fn leaves(t: &mut Table) {
    let dims = t.shape(1, 3);
    let seed = t.rng.bits();
    let shape = dims.clone();
    t.add("rand", vec![], move |a| Tensor::rand(&shape, a.device, seed)).no_gradient().exact();
    let shape = dims.clone();
    let case = t.add("randn", vec![], move |a| Tensor::randn(&shape, a.device, seed)).no_gradient();
    // the logarithm in it is near its zero
    case.tol = 5e-5;
    let shape = dims.clone();
    t.add("randint", vec![], move |a| Tensor::randint(-7, 300, &shape, a.device, seed)).no_gradient().exact();
    let shape = dims.clone();
    t.add("full", vec![], move |a| Tensor::full(&shape, 0.1, a.device)).no_gradient().exact();
    t.add("arange", vec![], |a| Tensor::arange(-3, 1000, a.device)).no_gradient().exact();
    let x = t.float(&dims, Domain::Any);
    t.add("to_device", vec![x], |a| a[0].to_device(Device::Cpu)?.to_device(a.device)).exact();
    let bytes = t.int(DType::U8, &[77], Domain::Whole(0, 256));
    t.add("to_device/u8", vec![bytes], |a| a[0].to_device(Device::Cpu)?.to_device(a.device))
        .no_gradient()
        .exact();
    let inputs = vec![t.float(&[4, 5, 6], Domain::Any), t.float(&[4, 2, 6], Domain::Any)];
    t.add("pack", inputs, |a| {
        let packed = pack(&[a[0].exp()?, a[1].clone()])?;
        // what lies between the parts is unspecified
        Tensor::concat(&[&packed.slice(0, 0, 120)?, &packed.slice(0, 128, 48)?], 0)
    });
}
