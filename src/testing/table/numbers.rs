//! Rows of functions of numbers: rounding, angles, what divisions leave, bits.

use super::case::Table;
use super::input::Domain;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

type Unary = fn(&Tensor) -> Result<Tensor>;
type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;

pub fn rounding(t: &mut Table) {
    let list: [(&str, Unary); 3] =
        [("ceil", |x| x.ceil()), ("trunc", |x| x.trunc()), ("round", |x| x.round())];
    for (name, f) in list {
        for (variant, domain) in [("any", Domain::Range(-9.0, 9.0)), ("kink", Domain::Ties)] {
            let dims = t.shape(1, 3);
            let x = t.float(&dims, domain);
            t.add(format!("{name}/{variant}"), vec![x], move |a| f(&a[0])).no_gradient().exact();
        }
    }
}

pub fn angles(t: &mut Table) {
    use Domain::{AwayFromZero, Range};
    let list: [(&str, Unary, Domain); 7] = [
        ("tan", |x| x.tan(), Range(-1.25, 1.25)),
        ("asin", |x| x.asin(), Range(-0.75, 0.75)),
        ("acos", |x| x.acos(), Range(-0.75, 0.75)),
        ("atan", |x| x.atan(), Range(-4.0, 4.0)),
        ("asinh", |x| x.asinh(), Range(-4.0, 4.0)),
        ("acosh", |x| x.acosh(), Range(1.25, 5.0)),
        ("atanh", |x| x.atanh(), Range(-0.75, 0.75)),
    ];
    for (name, f, domain) in list {
        let dims = t.shape(0, 4);
        let x = t.float(&dims, domain);
        t.add(name, vec![x], move |a| f(&a[0])).second();
    }
    let (p, q) = t.broadcast();
    let inputs = vec![t.float(&p, AwayFromZero), t.float(&q, AwayFromZero)];
    t.add("atan2/broadcast", inputs, |a| a[0].atan2(&a[1])).second();
    let dims = t.shape(0, 3);
    let x = t.float(&dims, AwayFromZero);
    t.add("atan2/number", vec![x], |a| a[0].atan2(-0.75)).second();
}

pub fn divisions(t: &mut Table) {
    use Domain::{Any, AwayFromZero, Whole};
    let list: [(&str, Binary); 3] = [
        ("fmod", |x, y| x % y),
        ("remainder", |x, y| x.remainder(y)),
        ("floor_divide", |x, y| x.floor_divide(y)),
    ];
    for (name, f) in list {
        let floats = |t: &mut Table, variant: &str| match variant {
            "same" => {
                let dims = t.shape(0, 4);
                vec![t.float(&dims, Any), t.float(&dims, AwayFromZero)]
            }
            _ => {
                let (p, q) = t.broadcast();
                vec![t.float(&p, Any), t.float(&q, AwayFromZero)]
            }
        };
        for variant in ["same", "broadcast"] {
            let inputs = floats(t, variant);
            let case = t.add(format!("{name}/{variant}"), inputs, move |a| f(&a[0], &a[1])).exact();
            if name == "floor_divide" {
                case.no_gradient();
            } else {
                case.second();
            }
        }
        for dtype in [DType::I32, DType::U32, DType::U8] {
            let domain = if dtype == DType::I32 { Whole(-90, 90) } else { Whole(0, 200) };
            let divisor = if dtype == DType::I32 { Whole(-9, 10) } else { Whole(0, 20) };
            let (p, q) = t.broadcast();
            let inputs = vec![t.int(dtype, &p, domain), t.int(dtype, &q, divisor)];
            t.add(format!("{name}/{dtype}"), inputs, move |a| f(&a[0], &a[1])).no_gradient().exact();
        }
    }
    let dims = t.shape(1, 3);
    let x = t.int(DType::I32, &dims, Whole(-9, 10));
    t.add("fmod/number left", vec![x], |a| 7 % &a[0]).no_gradient().exact();
}

pub fn running_products(t: &mut Table) {
    // with zeros, too: there are derivatives
    for (variant, domain) in
        [("near one", Domain::NearOne), ("zeros", Domain::Ties), ("any", Domain::NearOne)]
    {
        let dims = t.shape(1, 4);
        let axis = if variant == "any" { t.axis(dims.len()) } else { -1 };
        let x = t.float(&dims, domain);
        t.add(format!("cumprod/{variant}"), vec![x], move |a| a[0].cumprod(axis)).second();
    }
}

pub fn bits(t: &mut Table) {
    use Domain::Whole;
    let list: [(&str, Binary); 5] = [
        ("bitwise_and", |x, y| x & y),
        ("bitwise_or", |x, y| x | y),
        ("bitwise_xor", |x, y| x ^ y),
        ("shl", |x, y| x << y),
        ("shr", |x, y| x >> y),
    ];
    for dtype in [DType::I32, DType::U32, DType::U8] {
        let domain = match dtype {
            DType::I32 => Whole(-70_000, 70_000),
            DType::U32 => Whole(0, 1 << 32),
            _ => Whole(0, 256),
        };
        for (name, f) in list {
            let (p, q) = t.broadcast();
            let right = match name {
                "shl" | "shr" if dtype == DType::I32 => Whole(-3, 40),
                "shl" | "shr" => Whole(0, 40),
                _ => domain,
            };
            let inputs = vec![t.int(dtype, &p, domain), t.int(dtype, &q, right)];
            t.add(format!("{name}/{dtype}"), inputs, move |a| f(&a[0], &a[1])).no_gradient().exact();
        }
        let dims = t.shape(1, 3);
        let x = t.int(dtype, &dims, domain);
        t.add(format!("bitwise_not/{dtype}"), vec![x], |a| !&a[0]).no_gradient().exact();
        let x = t.int(dtype, &dims, domain);
        t.add(format!("bitwise_xor/number left {dtype}"), vec![x], |a| 5 ^ &a[0]).no_gradient().exact();
    }
}
