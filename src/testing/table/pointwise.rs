//! Rows of pointwise operations.

use super::case::{Args, Table};
use super::input::{Domain, Input};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

type Unary = fn(&Tensor) -> Result<Tensor>;
type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
type Reduce = fn(&Tensor, &[isize]) -> Result<Tensor>;

pub fn unary(t: &mut Table) {
    use Domain::{Any, AwayFromZero, Positive, Range};
    let smooth: [(&str, Unary, Domain); 20] = [
        ("exp", |x| x.exp(), Any),
        ("log", |x| x.log(), Positive),
        ("sqrt", |x| x.sqrt(), Positive),
        ("square", |x| x.square(), Any),
        ("reciprocal", |x| x.reciprocal(), AwayFromZero),
        ("sin", |x| x.sin(), Range(-6.0, 6.0)),
        ("cos", |x| x.cos(), Range(-6.0, 6.0)),
        ("elu", |x| x.elu(), AwayFromZero),
        ("sigmoid", |x| x.sigmoid(), Range(-8.0, 8.0)),
        ("tanh", |x| x.tanh(), Range(-4.0, 4.0)),
        ("silu", |x| x.silu(), Range(-8.0, 8.0)),
        ("gelu", |x| x.gelu(), Range(-4.0, 4.0)),
        ("gelu_tanh", |x| x.gelu_tanh(), Range(-4.0, 4.0)),
        ("softplus", |x| x.softplus(), Range(-8.0, 8.0)),
        ("erf", |x| x.erf(), Range(-3.0, 3.0)),
        ("expm1", |x| x.expm1(), Any),
        ("log1p", |x| x.log1p(), Range(-0.75, 4.0)),
        ("log_cosh", |x| x.log_cosh(), Range(-4.0, 4.0)),
        ("leaky_relu", |x| x.leaky_relu(0.1), AwayFromZero),
        ("clamp", |x| x.clamp(-0.125, 0.125), AwayFromZero),
    ];
    for (name, f, domain) in smooth {
        let dims = t.shape(0, 4);
        let x = t.float(&dims, domain);
        t.add(name, vec![x], move |a| f(&a[0])).second();
    }
    let exact: [(&str, Unary, Domain); 3] =
        [("neg", |x| x.neg(), Any), ("abs", |x| x.abs(), AwayFromZero), ("relu", |x| x.relu(), AwayFromZero)];
    for (name, f, domain) in exact {
        let dims = t.shape(0, 4);
        let x = t.float(&dims, domain);
        t.add(name, vec![x], move |a| f(&a[0])).exact().second();
    }
    // zeros and whole numbers: kinks of the piecewise functions
    let kinks: [(&str, Unary); 7] = [
        ("abs/kink", |x| x.abs()),
        ("relu/kink", |x| x.relu()),
        ("leaky_relu/kink", |x| x.leaky_relu(0.25)),
        ("elu/kink", |x| x.elu()),
        ("clamp/kink", |x| x.clamp(-0.5, 0.5)),
        ("sign/kink", |x| x.sign()),
        ("floor/kink", |x| x.floor()),
    ];
    for (name, f) in kinks {
        let dims = t.shape(1, 3);
        let x = t.float(&dims, Domain::Ties);
        let case = t.add(name, vec![x], move |a| f(&a[0])).tied();
        if name.starts_with("sign") || name.starts_with("floor") {
            case.no_gradient();
        }
    }
}

/// Activation functions that are made of others.
pub fn activations(t: &mut Table) {
    use Domain::{AwayFromZero, Distinct, Range};
    let list: [(&str, Unary, Domain); 6] = [
        ("relu6", |x| x.relu6(), Distinct(0.03125)),
        ("hard_sigmoid", |x| x.hard_sigmoid(), Distinct(0.03125)),
        ("hard_silu", |x| x.hard_silu(), Distinct(0.03125)),
        ("selu", |x| x.selu(), AwayFromZero),
        ("softsign", |x| x.softsign(), AwayFromZero),
        ("mish", |x| x.mish(), Range(-8.0, 8.0)),
    ];
    for (name, f, domain) in list {
        let dims = t.shape(0, 4);
        let x = t.float(&dims, domain);
        t.add(name, vec![x], move |a| f(&a[0])).second();
    }
}

pub fn binary(t: &mut Table) {
    use Domain::{Any, AwayFromZero, Distinct, Positive};
    let list: [(&str, Binary, Domain, Domain); 7] = [
        ("add", |x, y| x + y, Any, Any),
        ("sub", |x, y| x - y, Any, Any),
        ("mul", |x, y| x * y, Any, Any),
        ("div", |x, y| x / y, Any, AwayFromZero),
        ("pow", |x, y| x.pow(y), Positive, Any),
        ("maximum", |x, y| x.maximum(y), Distinct(0.0), Distinct(0.03125)),
        ("minimum", |x, y| x.minimum(y), Distinct(0.0), Distinct(0.03125)),
    ];
    for (name, f, left, right) in list {
        for variant in ["same", "broadcast"] {
            let (p, q) = if variant == "same" {
                let dims = t.shape(0, 4);
                (dims.clone(), dims)
            } else {
                t.broadcast()
            };
            let inputs = vec![t.float(&p, left), t.float(&q, right)];
            t.add(format!("{name}/{variant}"), inputs, move |a| f(&a[0], &a[1])).second();
        }
        if name.ends_with("imum") {
            let (p, q) = t.broadcast();
            let inputs = vec![t.float(&p, Domain::Ties), t.float(&q, Domain::Ties)];
            t.add(format!("{name}/ties"), inputs, move |a| f(&a[0], &a[1])).tied().exact();
        }
    }
    let numbers: [(&str, Unary); 9] = [
        ("add/number", |x| x + 0.75),
        ("sub/number left", |x| 1.5 - x),
        ("mul/number", |x| x * -3),
        ("div/number left", |x| 2.0 / x),
        ("pow/square", |x| x.pow(2.0)),
        ("pow/cube", |x| x.pow(3)),
        ("pow/inverse", |x| x.pow(-1.0)),
        ("maximum/number", |x| x.maximum(0.125)),
        ("minimum/number", |x| x.minimum(0.125)),
    ];
    for (name, f) in numbers {
        let dims = t.shape(0, 3);
        let x = t.float(&dims, AwayFromZero);
        t.add(name, vec![x], move |a| f(&a[0])).second();
    }
    let compare: [(&str, Binary); 6] = [
        ("eq", |x, y| x.eq(y)),
        ("ne", |x, y| x.ne(y)),
        ("lt", |x, y| x.lt(y)),
        ("le", |x, y| x.le(y)),
        ("gt", |x, y| x.gt(y)),
        ("ge", |x, y| x.ge(y)),
    ];
    for (name, f) in compare {
        let (p, q) = t.broadcast();
        let inputs = vec![t.float(&p, Domain::Ties), t.float(&q, Domain::Ties)];
        t.add(name, inputs, move |a| f(&a[0], &a[1])).no_gradient().exact();
        let dims = t.shape(1, 3);
        let x = t.float(&dims, Domain::Ties);
        t.add(format!("{name}/number"), vec![x], move |a| f(&a[0], &a[0].zeros_like()?))
            .no_gradient()
            .exact();
        for dtype in [DType::I32, DType::U32, DType::U8] {
            let inputs = vec![t.int(dtype, &p, Domain::Whole(0, 4)), t.int(dtype, &q, Domain::Whole(0, 4))];
            t.add(format!("{name}/{dtype}"), inputs, move |a| f(&a[0], &a[1])).no_gradient().exact();
        }
    }
    for variant in ["full", "broadcast"] {
        let (p, q) = t.broadcast();
        let inputs = vec![t.int(DType::U8, &p, Domain::Mask), t.float(&q, Any), t.float(&p, Any)];
        t.add(format!("where/{variant}"), inputs, |a| a[0].select(&a[1], &a[2])).exact().second();
    }
    let (p, q) = t.broadcast();
    let inputs = vec![t.int(DType::U8, &p, Domain::Mask), t.float(&q, Any)];
    t.add("where/number", inputs, |a| a[0].select(&a[1], 0.5)).exact();
    let inputs = vec![t.int(DType::U8, &p, Domain::Mask), t.float(&q, Any)];
    t.add("where/number first", inputs, |a| a[0].select(-0.5, &a[1])).exact();
}

pub fn integers(t: &mut Table) {
    let list: [(&str, Binary); 7] = [
        ("add", |x, y| x + y),
        ("sub", |x, y| x - y),
        ("mul", |x, y| x * y),
        ("div", |x, y| x / y),
        ("pow", |x, y| x.pow(y)),
        ("maximum", |x, y| x.maximum(y)),
        ("minimum", |x, y| x.minimum(y)),
    ];
    // u8 values that wrap; i32 negative; a divisor of zero gives the dividend
    for dtype in [DType::I32, DType::U32, DType::U8] {
        let domain = if dtype == DType::I32 { Domain::Whole(-9, 10) } else { Domain::Whole(0, 200) };
        for (name, f) in list {
            let (p, q) = t.broadcast();
            let right = if name == "pow" { Domain::Whole(0, 4) } else { domain };
            let inputs = vec![t.int(dtype, &p, domain), t.int(dtype, &q, right)];
            t.add(format!("{name}/{dtype}"), inputs, move |a| f(&a[0], &a[1])).no_gradient().exact();
        }
        let unary: [(&str, Unary); 6] = [
            ("neg", |x| x.neg()),
            ("abs", |x| x.abs()),
            ("square", |x| x.square()),
            ("sign", |x| x.sign()),
            ("relu", |x| x.relu()),
            ("clamp", |x| x.clamp(2.0, 7.0)),
        ];
        for (name, f) in unary {
            let dims = t.shape(1, 3);
            let x = t.int(dtype, &dims, domain);
            t.add(format!("{name}/{dtype}"), vec![x], move |a| f(&a[0])).no_gradient().exact();
        }
        let reduce: [(&str, Reduce); 4] = [
            ("sum", |x, axes| x.sum(axes, false)),
            ("max", |x, axes| x.max(axes, false)),
            ("min", |x, axes| x.min(axes, true)),
            ("prod", |x, axes| x.prod(axes, false)),
        ];
        for (name, f) in reduce {
            let dims = t.shape(1, 3);
            let axes = t.axes(dims.len());
            let x = t.int(dtype, &dims, domain);
            t.add(format!("{name}/{dtype}"), vec![x], move |a| f(&a[0], &axes)).no_gradient().exact();
        }
        let dims = t.shape(2, 3);
        let inputs = vec![
            t.int(DType::U8, &dims, Domain::Mask),
            t.int(dtype, &dims, domain),
            t.int(dtype, &dims, domain),
        ];
        t.add(format!("where/{dtype}"), inputs, |a| a[0].select(&a[1], &a[2])).no_gradient().exact();
        let inputs = vec![t.int(dtype, &dims, domain), t.int(dtype, &dims, domain)];
        let call = |a: &Args<'_>| Tensor::concat(&[&a[0].transpose()?, &a[1].transpose()?], 0)?.flip(0);
        t.add(format!("concat/{dtype}"), inputs, call).no_gradient().exact();
        let x = t.int(dtype, &dims, domain);
        let pads: Vec<(usize, usize)> = dims.iter().map(|_| (1, 2)).collect();
        t.add(format!("pad/{dtype}"), vec![x], move |a| a[0].pad(&pads, 3.0)).no_gradient().exact();
        let (x, at) =
            (t.int(dtype, &dims, domain), t.int(DType::I32, &[5], Domain::Whole(0, dims[0] as i64)));
        t.add(format!("index_select/{dtype}"), vec![x, at], |a| a[0].index_select(0, &a[1]))
            .no_gradient()
            .exact();
    }
}

/// Every pair of element types that both devices have. Floats become integers by truncation and saturate; integers wrap.
pub fn casts(t: &mut Table) {
    const TYPES: [DType; 4] = [DType::F32, DType::I32, DType::U32, DType::U8];
    for from in TYPES {
        for to in TYPES {
            let dims = t.shape(1, 3);
            let n: usize = dims.iter().product();
            let mut input = match from {
                DType::F32 => t.float(&dims, Domain::Range(-300.0, 600.0)),
                DType::I32 => t.int(from, &dims, Domain::Whole(-70_000, 70_000)),
                _ => t.int(from, &dims, Domain::Whole(0, if from == DType::U8 { 256 } else { 1 << 24 })),
            };
            let corners: &[f64] = match from {
                DType::F32 => &[-0.5, 0.5, 255.5, 256.0, -1e10, 1e10, 2_147_483_520.0, 4_294_967_040.0],
                DType::I32 => &[-1.0, i32::MIN as f64, 2_147_483_647.0, 256.0],
                DType::U32 => &[255.0, 256.0, 4_294_967_295.0, 2_147_483_648.0],
                _ => &[0.0, 255.0],
            };
            for (i, &v) in corners.iter().take(n).enumerate() {
                input.values[i] = v;
            }
            t.add(format!("cast/{from} to {to}"), vec![input], move |a| a[0].cast(to)).no_gradient().exact();
        }
    }
    // the gradient of a float cast to bytes and back is that of a constant; beside it the float itself
    let dims = t.shape(1, 3);
    let inputs: Vec<Input> = vec![t.float(&dims, Domain::Any)];
    t.add("cast/mask", inputs, |a| &a[0] * a[0].gt(0.0)?.cast(a[0].dtype())?).exact();
}
