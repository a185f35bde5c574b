//! Pointwise operations: functions of the elements at the same, broadcast, coordinates. The functions themselves stand in
//! [`table`](super::table), their gradients here.

use super::fault::{Fault, FaultKind};
use super::masked::{Mask, unmasked};
use super::philox::{normal, uniform, wide_normal, wide_uniform};
use super::table::{Binary, Compare, Unary};
use super::view::sum_to;
use super::{Grads, Lowering, Operation, Pointwise, Vjp, constant, same_device, same_dtype};
use crate::cpu::pointwise::{map1, map2, map3};
use crate::cpu::{Array, Element, dispatch};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// Shape that all inputs broadcast to.
fn broadcast(op: &str, inputs: &[&Tensor]) -> Result<Shape> {
    let mut shape = inputs[0].shape();
    for t in &inputs[1..] {
        shape = shape.broadcast(&t.shape()).ok_or_else(|| {
            let shapes: Vec<String> = inputs.iter().map(|t| t.shape().to_string()).collect();
            let hint = "dimensions must be equal or 1, counted from the last; use reshape or unsqueeze to line them up";
            Error::shape(op, format!("shapes {} don't broadcast: {hint}", shapes.join(" and ")))
        })?;
    }
    Shape::new(&shape)
}

/// Whether a gradient is zero already wherever `y`, a ReLU's output, is.
fn is_masked_by(gradient: &Tensor, y: &Tensor) -> bool {
    let of_y = |inputs: &[Tensor]| inputs.first().is_some_and(|x| x.0.id == y.0.id);
    gradient.0.op.vanishes_with_input() && gradient.0.with_inputs(of_y)
}

/// Checks that a function of the table is one of floats, or of integers, where it is given such.
fn defined_for(name: &str, dtype: DType, floats: bool, integers: bool) -> Result<()> {
    let (needed, cast) = match dtype.is_float() {
        true if !floats => ("an integer", "I32"),
        false if !integers => ("a float", "F32"),
        _ => return Ok(()),
    };
    Err(Error::dtype(name, format!("needs {needed} tensor, got {dtype}; use .cast(DType::{cast})")))
}

pub(crate) fn unary(f: Unary, x: &Tensor) -> Result<Tensor> {
    defined_for(f.name(), x.dtype(), f.wgsl().is_some(), f.wgsl_integer().is_some())?;
    Tensor::from_op(Pointwise::Unary(f), vec![x.clone()], x.shape(), x.dtype(), x.device())
}

pub(crate) fn binary(f: Binary, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_device(f.name(), &[a, b])?;
    same_dtype(f.name(), a, b)?;
    defined_for(f.name(), a.dtype(), f.wgsl().is_some(), f.wgsl_integer().is_some())?;
    let shape = broadcast(f.name(), &[a, b])?;
    Tensor::from_op(Pointwise::Binary(f), vec![a.clone(), b.clone()], shape, a.dtype(), a.device())
}

/// `x ^ y`. A square is one multiplication; of whole numbers only exponents from 0 on have powers.
pub(crate) fn power(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let alike = x.device() == y.device() && x.dtype() == y.dtype() && !y.is_tracked();
    match y.0.op.number().filter(|_| alike) {
        Some(2.0) => unary(Unary::Square, x),
        Some(n) if n < 0.0 && x.dtype() == DType::I32 => Err(negative_exponent(n as i64, None)),
        _ => binary(Binary::Pow, x, y),
    }
}

/// What a negative exponent of integers is answered with: on the CPU, and at once where the host knows it.
fn negative_exponent(value: i64, position: Option<usize>) -> Error {
    Fault { kind: FaultKind::Exponent, axis: 0, value, bound: 0, position }.error()
}

pub(crate) fn compare(f: Compare, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_device(f.name(), &[a, b])?;
    same_dtype(f.name(), a, b)?;
    let shape = broadcast(f.name(), &[a, b])?;
    Tensor::from_op(Pointwise::Compare(f), vec![a.clone(), b.clone()], shape, DType::U8, a.device())
}

/// `yes` where `condition` is not 0, else `no`.
pub(crate) fn select(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
    same_device("where", &[condition, yes, no])?;
    same_dtype("where", yes, no)?;
    if condition.dtype() != DType::U8 {
        let message = format!(
            "the condition is {}, not u8; make it by a comparison such as x.gt(0.0)?",
            condition.dtype()
        );
        return Err(Error::dtype("where", message));
    }
    let shape = broadcast("where", &[condition, yes, no])?;
    let inputs = vec![condition.clone(), yes.clone(), no.clone()];
    Tensor::from_op(Pointwise::Where, inputs, shape, yes.dtype(), yes.device())
}

pub(crate) fn clamp(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    if low.is_nan() || high.is_nan() || low > high {
        return Err(Error::argument("clamp", format!("the range {low}..={high} is empty")));
    }
    // An infinity is no limit, for integers too: there it is their smallest or largest, which changes none.
    for limit in [low, high].into_iter().filter(|limit| limit.is_finite()) {
        constant::check_number("clamp", limit, x.dtype())?;
    }
    let low = constant::scalar(low, x.dtype(), x.device())?;
    let high = constant::scalar(high, x.dtype(), x.device())?;
    Tensor::from_op(Pointwise::Clamp, vec![x.clone(), low, high], x.shape(), x.dtype(), x.device())
}

pub(crate) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    if dtype == DType::F64 && x.device() != crate::Device::Cpu {
        return Err(Error::dtype("cast", "f64 exists on Device::Cpu only (WGSL has no 64-bit floats)"));
    }
    Tensor::from_op(Pointwise::Cast, vec![x.clone()], x.shape(), dtype, x.device())
}

/// x where an activation still bends: beyond, its slope is 0 or 1, and the product of infinity and 0 would be NaN.
fn bounded(x: &Tensor) -> Result<Tensor> {
    x.clamp(-100.0, 100.0)
}

/// A gradient by a derivative that is infinite where `at` is 0: there it is 0 where the upstream gradient is. Where nothing
/// depends on a root at 0, say, 0 times infinity must not make all that it was computed from NaN. (A `where` masks by itself
/// what it doesn't take; this is for what comes behind a sum.)
fn unless_both_zero(upstream: &Tensor, at: &Tensor, gradient: Tensor) -> Result<Tensor> {
    if at.0.op.number().is_some_and(|number| number != 0.0) {
        return Ok(gradient);
    }
    let at_zero = upstream.eq(0.0)?.select(gradient.zeros_like()?, &gradient)?;
    at.eq(0.0)?.select(at_zero, gradient)
}

impl Unary {
    /// g * f'(x), from the input x or the output y, whichever keeps less alive.
    fn vjp(self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let d = match self {
            Unary::Neg => return g.neg().map(Some),
            Unary::Abs => (g * x.sign()?)?,
            Unary::Exp => (g * y)?,
            Unary::Log => unless_both_zero(g, x, (g / x)?)?,
            Unary::Sqrt => unless_both_zero(g, y, ((g * 0.5)? / y)?)?,
            Unary::Square => ((g * 2.0)? * x)?,
            Unary::Reciprocal => unless_both_zero(g, x, (g * y.square()?.neg()?)?)?,
            Unary::Sin => (g * x.cos()?)?,
            Unary::Cos => (g * x.sin()?.neg()?)?,
            Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round | Unary::BitNot => {
                return Ok(None);
            }
            Unary::Tan => (g * (y.square()? + 1.0)?)?,
            Unary::Asin => {
                let root = ((1.0 - x)? * (x + 1.0)?)?.sqrt()?;
                unless_both_zero(g, &root, (g / &root)?)?
            }
            Unary::Acos => {
                let root = ((1.0 - x)? * (x + 1.0)?)?.sqrt()?;
                unless_both_zero(g, &root, (g / &root)?.neg()?)?
            }
            Unary::Atan => (g / (x.square()? + 1.0)?)?,
            Unary::Asinh => {
                // the root is |x| long before its square overflows
                let a = x.abs()?;
                let root = (a.minimum(4096.0)?.square()? + 1.0)?.sqrt()?;
                (g / a.gt(4096.0)?.select(a, root)?)?
            }
            Unary::Acosh => {
                // of the roots: the product would overflow
                let root = ((x - 1.0)?.sqrt()? * (x + 1.0)?.sqrt()?)?;
                unless_both_zero(g, &root, (g / &root)?)?
            }
            Unary::Atanh => {
                let slope = ((1.0 - x)? * (x + 1.0)?)?;
                unless_both_zero(g, &slope, (g / &slope)?)?
            }
            // 0 at 0, and the mask from the output: the input need not stay alive
            Unary::Relu if is_masked_by(g, y) => g.clone(),
            Unary::Relu => y.gt(0.0)?.select(g, &g.zeros_like()?)?,
            Unary::Elu => x.gt(0.0)?.select(g, (g * (y + 1.0)?)?)?,
            Unary::Sigmoid => (g * (y * (1.0 - y)?)?)?,
            Unary::Tanh => (g * (1.0 - y.square()?)?)?,
            Unary::Silu => {
                let s = x.sigmoid()?;
                (g * (&s * (1.0 + (bounded(x)? * (1.0 - &s)?)?)?)?)?
            }
            Unary::Gelu => {
                // Phi(x) + x * phi(x)
                let x = bounded(x)?;
                let cdf = ((unary(Unary::Erf, &(&x * std::f64::consts::FRAC_1_SQRT_2)?)? + 1.0)? * 0.5)?;
                let pdf = ((x.square()? * -0.5)?.exp()? * 0.398_942_280_401_432_7)?;
                (g * (cdf + (x * pdf)?)?)?
            }
            Unary::GeluTanh => {
                let x = bounded(x)?;
                let x2 = x.square()?;
                let inner = ((&x * ((&x2 * 0.044715)? + 1.0)?)? * 0.797_884_560_802_865_4)?;
                let t = inner.tanh()?;
                let slope = (((&x2 * (3.0 * 0.044715))? + 1.0)? * 0.797_884_560_802_865_4)?;
                let tail = ((x * 0.5)? * ((1.0 - t.square()?)? * slope)?)?;
                (g * (((t + 1.0)? * 0.5)? + tail)?)?
            }
            Unary::Softplus => (g * x.sigmoid()?)?,
            // 2 / sqrt(pi) * exp(-x^2)
            Unary::Erf => (g * (x.square()?.neg()?.exp()? * std::f64::consts::FRAC_2_SQRT_PI)?)?,
            Unary::Expm1 => (g * (y + 1.0)?)?,
            Unary::Log1p => {
                let next = (x + 1.0)?;
                unless_both_zero(g, &next, (g / &next)?)?
            }
            Unary::Softsign => (g / (x.abs()? + 1.0)?.square()?)?,
            Unary::Mish => {
                // t + x * (1 - t^2) * sigmoid(x), t = tanh(softplus(x))
                let t = x.softplus()?.tanh()?;
                let slope = ((1.0 - t.square()?)? * x.sigmoid()?)?;
                (g * (t + (bounded(x)? * slope)?)?)?
            }
            Unary::LogCosh => (g * x.tanh()?)?,
        };
        Ok(Some(d))
    }
}

impl Binary {
    /// Gradients of the output's shape.
    fn vjp(self, cx: &Vjp<'_>) -> Result<Grads> {
        let (a, b, y, g) = (&cx.inputs[0], &cx.inputs[1], cx.output, cx.grad);
        let none = match self {
            Binary::FloorDivide
            | Binary::BitAnd
            | Binary::BitOr
            | Binary::BitXor
            | Binary::Shl
            | Binary::Shr => true,
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Pow | Binary::Atan2 => false,
            Binary::Maximum | Binary::Minimum | Binary::Rem | Binary::Remainder => false,
        };
        if none {
            return Ok(vec![None, None]);
        }
        // the upstream gradient over the square of the distance from the origin; there 0, as in PyTorch
        let over_square = || -> Result<Tensor> {
            let square = (a.square()? + b.square()?)?;
            let origin = square.eq(0.0)?;
            origin.select(0.0, (g / origin.select(1.0, square)?)?)
        };
        let left = || -> Result<Tensor> {
            match self {
                Binary::Add | Binary::Sub | Binary::Rem | Binary::Remainder => Ok(g.clone()),
                Binary::Atan2 => over_square()? * b,
                Binary::Mul => g * b,
                Binary::Div => unless_both_zero(g, b, (g / b)?),
                // b * a^(b-1); 0 where b is 0, whatever a is
                Binary::Pow => {
                    let slope = (b * a.pow((b - 1.0)?)?)?;
                    unless_both_zero(g, a, (g * b.eq(0.0)?.select(&slope.zeros_like()?, slope)?)?)
                }
                Binary::Maximum => share(a.gt(b)?, a.eq(b)?, g),
                Binary::Minimum => share(a.lt(b)?, a.eq(b)?, g),
                _ => g.zeros_like(),
            }
        };
        let right = || -> Result<Tensor> {
            match self {
                Binary::Add => Ok(g.clone()),
                Binary::Sub => g.neg(),
                Binary::Mul => g * a,
                Binary::Div => unless_both_zero(g, b, (g * (y / b)?.neg()?)?),
                // a^b * ln(a); 0 where a is 0 and b is not negative, as the limit has it (PyTorch)
                Binary::Pow => {
                    let flat = (a.eq(0.0)? * b.ge(0.0)?)?;
                    let slope = (y * flat.select(1.0, a)?.log()?)?;
                    g * flat.select(0.0, slope)?
                }
                Binary::Maximum => share(b.gt(a)?, a.eq(b)?, g),
                Binary::Minimum => share(b.lt(a)?, a.eq(b)?, g),
                Binary::Atan2 => over_square()? * a.neg()?,
                // the quotient as a whole number
                // (by 0 the remainder is NaN, and the quotient infinite, as in PyTorch)
                Binary::Rem => {
                    let whole = y.isnan()?.select((a / b)?, ((a - y)? / b)?)?;
                    g * whole.round()?.neg()
                }
                Binary::Remainder => g * binary(Binary::FloorDivide, a, b)?.neg(),
                _ => g.zeros_like(),
            }
        };
        let mut grads: Grads = vec![None, None];
        if cx.needs[0] {
            grads[0] = Some(left()?);
        }
        if cx.needs[1] {
            grads[1] = Some(right()?);
        }
        Ok(grads)
    }
}

impl Pointwise {
    /// The gradients, of the output's shape where an input broadcasts. A mask around the upstream gradient becomes one around
    /// each of them; see [`masked`](super::masked).
    fn gradients(&self, cx: &Vjp<'_>) -> Result<Grads> {
        if let Some((mask, inner)) = unmasked(cx.grad) {
            let masked = |d: Tensor| if d.0.id == inner.0.id { Ok(cx.grad.clone()) } else { mask.apply(&d) };
            let grads = self.gradients(&Vjp { grad: &inner, ..*cx })?;
            return grads.into_iter().map(|d| d.map(masked).transpose()).collect();
        }
        let g = cx.grad;
        match self {
            Pointwise::Unary(u) => Ok(vec![u.vjp(&cx.inputs[0], cx.output, g)?]),
            Pointwise::Binary(b) => b.vjp(cx),
            Pointwise::Compare(_) | Pointwise::Uniform | Pointwise::Normal => Ok(vec![None; cx.inputs.len()]),
            Pointwise::Where => {
                let side = |first: bool| Mask::new(&cx.inputs[0], first).apply(g);
                let side = |at: usize| if cx.needs[at] { side(at == 1).map(Some) } else { Ok(None) };
                Ok(vec![None, side(1)?, side(2)?])
            }
            // 1 inside the range and on its ends, as TensorFlow has it (PyTorch 2.15 has 0 on them)
            Pointwise::Clamp => {
                let (x, low, high) = (&cx.inputs[0], &cx.inputs[1], &cx.inputs[2]);
                let inside = (x.ge(low)? * x.le(high)?)?;
                Ok(vec![Some(inside.select(g, &g.zeros_like()?)?), None, None])
            }
            Pointwise::Cast => Ok(vec![Some(cast(g, cx.inputs[0].dtype())?)]),
        }
    }
}

/// The gradient of the side that won; half of it to each at a tie, as in PyTorch.
fn share(won: Tensor, tie: Tensor, g: &Tensor) -> Result<Tensor> {
    let half = tie.select((g * 0.5)?, g.zeros_like()?)?;
    won.select(g, half)
}

impl Operation for Pointwise {
    fn name(&self) -> &'static str {
        match self {
            Pointwise::Unary(u) => u.name(),
            Pointwise::Binary(b) => b.name(),
            Pointwise::Compare(c) => c.name(),
            Pointwise::Where => "where",
            Pointwise::Clamp => "clamp",
            Pointwise::Cast => "cast",
            Pointwise::Uniform => "rand",
            Pointwise::Normal => "randn",
        }
    }

    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        let grads = self.gradients(cx)?.into_iter().zip(cx.inputs);
        grads.map(|(d, x)| d.map(|d| sum_to(&d, x.shape())).transpose()).collect()
    }

    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let shape = &out.shape;
        match *self {
            Pointwise::Unary(u) => match out.dtype {
                DType::F32 => map1::<f32, f32>(&inputs[0], shape, |s, d| u.map_f32(s, d)),
                DType::F64 => map1::<f64, f64>(&inputs[0], shape, |s, d| u.map_f64(s, d)),
                DType::I32 => map1::<i32, i32>(&inputs[0], shape, |s, d| u.map_integer(s, d)),
                DType::U32 => map1::<u32, u32>(&inputs[0], shape, |s, d| u.map_integer(s, d)),
                DType::U8 => map1::<u8, u8>(&inputs[0], shape, |s, d| u.map_integer(s, d)),
            },
            Pointwise::Binary(f) => {
                let (a, b) = (&inputs[0], &inputs[1]);
                match out.dtype {
                    DType::F32 => map2(a, b, shape, |a, sa, b, sb, d| f.map_f32(a, sa, b, sb, d)),
                    DType::F64 => map2(a, b, shape, |a, sa, b, sb, d| f.map_f64(a, sa, b, sb, d)),
                    DType::I32 => {
                        if f == Binary::Pow {
                            let exponents = b.contiguous()?;
                            let exponents = exponents.slice::<i32>()?;
                            if let Some(at) = exponents.iter().position(|n| *n < 0) {
                                return Err(negative_exponent(exponents[at].into(), Some(at)));
                            }
                        }
                        map2(a, b, shape, |a, sa, b, sb, d| f.map_i32(a, sa, b, sb, d))
                    }
                    DType::U32 => map2(a, b, shape, |a, sa, b, sb, d| f.map_u32(a, sa, b, sb, d)),
                    DType::U8 => map2(a, b, shape, |a, sa, b, sb, d| f.map_u8(a, sa, b, sb, d)),
                }
            }
            Pointwise::Compare(f) => dispatch!(inputs[0].dtype(), E => {
                map2::<E, E, u8>(&inputs[0], &inputs[1], shape, |a, sa, b, sb, d| f.map(a, sa, b, sb, d))
            }),
            Pointwise::Where => dispatch!(out.dtype, E => {
                let inputs = [&inputs[0], &inputs[1], &inputs[2]];
                map3::<u8, E, E, E>(inputs, shape, |c, yes, no| if c != 0 { yes } else { no })
            }),
            Pointwise::Clamp => dispatch!(out.dtype, E => {
                let inputs = [&inputs[0], &inputs[1], &inputs[2]];
                // comparisons in this order leave NaN as it is
                map3::<E, E, E, E>(inputs, shape, |x, low, high| if x < low { low } else if x > high { high } else { x })
            }),
            Pointwise::Cast => {
                dispatch!(inputs[0].dtype(), A => dispatch!(out.dtype, B => cast_elements::<A, B>(&inputs[0], shape)))
            }
            Pointwise::Uniform => match out.dtype {
                DType::F64 => each_pair(inputs, shape, wide_uniform),
                _ => map1(&inputs[0], shape, |s, d| each(s, d, uniform)),
            },
            Pointwise::Normal => match out.dtype {
                DType::F64 => each_pair(inputs, shape, wide_normal),
                _ => map1(&inputs[0], shape, |s, d| each(s, d, normal)),
            },
        }
    }

    fn pointwise(&self) -> Option<Pointwise> {
        Some(*self)
    }

    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Pointwise(*self)
    }
}

fn each<A: Copy, B>(src: &[A], dst: &mut [B], f: impl Fn(A) -> B) {
    for (d, &s) in dst.iter_mut().zip(src) {
        *d = f(s);
    }
}

/// `f` of two words of random bits for each element.
fn each_pair(inputs: &[Array], shape: &Shape, f: fn(u32, u32) -> f64) -> Result<Array> {
    map2::<u32, u32, f64>(&inputs[0], &inputs[1], shape, |high, step, low, low_step, out| {
        for (i, out) in out.iter_mut().enumerate() {
            *out = f(high[i * step], low[i * low_step]);
        }
    })
}

fn cast_elements<A: Element, B: Element>(a: &Array, shape: &Shape) -> Result<Array> {
    map1::<A, B>(a, shape, |s, d| each(s, d, A::convert::<B>))
}
