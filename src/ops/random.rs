//! Random tensors: counter-based numbers ([`philox`](super::philox)), the same on every device. The key is an input of the plan: new
//! numbers need no new plan.

use super::constant::RandomKey;
use super::philox::philox;
use super::{Grads, IndexFn, Lowering, Operation, Pointwise, Vjp};
use crate::cpu::Array;
use crate::cpu::kernels::for_each_chunk;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::seed;
use crate::shape::Shape;
use crate::tensor::{Spec, Tensor};

/// 32 random bits for each element: word `i % 4` of Philox of counter `i / 4`.
#[derive(Debug, Hash)]
struct RandomBits;

/// The element's linear index.
#[derive(Debug, Hash)]
struct Iota;

impl Operation for RandomBits {
    fn name(&self) -> &'static str {
        "random_bits"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(vec![None])
    }
    fn cpu(&self, inputs: &[Array], out: &Spec) -> Result<Array> {
        let key = inputs[0].slice::<u32>()?;
        let key = [key[0], key[1]];
        Array::build::<u32>(out.shape, |dst| {
            for_each_chunk(dst, 1 << 14, true, |chunk, dst| {
                for (i, words) in dst.chunks_mut(4).enumerate() {
                    let bits = philox((chunk * (1 << 12) + i) as u32, key);
                    words.copy_from_slice(&bits[..words.len()]);
                }
            });
            Ok(())
        })
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Index(IndexFn::RandomBits)
    }
}

impl Operation for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }
    fn vjp(&self, _cx: &Vjp<'_>) -> Result<Grads> {
        Ok(Vec::new())
    }
    fn cpu(&self, _inputs: &[Array], out: &Spec) -> Result<Array> {
        Array::build::<u32>(out.shape, |dst| {
            for (i, d) in dst.iter_mut().enumerate() {
                *d = i as u32;
            }
            Ok(())
        })
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Index(IndexFn::Iota)
    }
}

/// 0, 1, 2, ... as u32.
pub(crate) fn iota(len: usize, device: Device) -> Result<Tensor> {
    device.check()?;
    Tensor::from_op(Iota, Vec::new(), Shape::new(&[len])?, DType::U32, device)
}

/// What random numbers are drawn for. Draws of one seed that differ in this, or in shape, are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    Uniform = 1,
    Normal,
    Integers,
    /// Which elements a dropout keeps.
    Dropout,
    /// What a layer adds to its input.
    Noise,
    /// First values of weights, uniform: these have a seed of their own for each weight, derived by the model.
    UniformWeight,
    /// First values of weights, normal.
    NormalWeight,
    /// Whether something of a given probability happens.
    Bernoulli,
    /// Classes by their weights.
    Multinomial,
}

impl Draw {
    /// The key of Philox. Without the kind, a normal number would be a function of the uniform one at its place; without
    /// the shape, a matrix would begin with the numbers of a smaller one.
    fn key(self, shape: &Shape, seed: u64) -> u64 {
        // A model's weights are those that its seed has always given.
        if let Draw::UniformWeight | Draw::NormalWeight = self {
            return seed;
        }
        let of_kind = seed::derive(seed, self as u64);
        shape.iter().fold(of_kind, |key, &n| seed::derive(key, n as u64))
    }
}

/// The stream of the bits that numbers in f64 take beside those in f32.
const LOWER_BITS: u64 = 0xF64;

/// Random bits of a key.
fn bits(key: u64, shape: Shape, device: Device) -> Result<Tensor> {
    device.check()?;
    let key = RandomKey(key);
    let key = Tensor::from_op(key, Vec::new(), Shape::from_dims(&[2]), DType::U32, device)?;
    Tensor::from_op(RandomBits, vec![key], shape, DType::U32, device)
}

/// Uniform in [0, 1), or standard normal where such numbers are drawn: f32.
pub(crate) fn float(draw: Draw, shape: Shape, device: Device, seed: u64) -> Result<Tensor> {
    float_of(draw, shape, DType::F32, device, seed)
}

/// As [`float`], of a float type that the device has: f64 has 53 bits, of which the first are those of f32.
pub(crate) fn float_of(draw: Draw, shape: Shape, dtype: DType, device: Device, seed: u64) -> Result<Tensor> {
    let key = draw.key(&shape, seed);
    let mut words = vec![bits(key, shape, device)?];
    if dtype == DType::F64 {
        words.push(bits(seed::derive(key, LOWER_BITS), shape, device)?);
    }
    let f = match draw {
        Draw::Normal | Draw::Noise | Draw::NormalWeight => Pointwise::Normal,
        Draw::Uniform
        | Draw::Integers
        | Draw::Dropout
        | Draw::UniformWeight
        | Draw::Bernoulli
        | Draw::Multinomial => Pointwise::Uniform,
    };
    Tensor::from_op(f, words, shape, dtype, device)
}

/// Which elements a dropout of this rate keeps.
pub(crate) fn kept(shape: Shape, device: Device, rate: f64, seed: u64) -> Result<Tensor> {
    float(Draw::Dropout, shape, device, seed)?.ge(rate)
}

/// `x` with each element of a mask of this shape kept with probability `1 - rate`.
pub(crate) fn drop_out(x: &Tensor, mask: Shape, rate: f64, seed: u64) -> Result<Tensor> {
    let kept = kept(mask, x.device(), rate, seed)?;
    // A choice rather than a product with 0, which would let infinity and NaN through as NaN; the gradient likewise.
    kept.select((x * (1.0 / (1.0 - rate)))?, x.zeros_like()?)
}

/// Uniform integers in `low..high`, as i32.
pub(crate) fn integers(low: i32, high: i32, shape: Shape, device: Device, seed: u64) -> Result<Tensor> {
    if low >= high || (high as i64 - low as i64) > 1 << 24 {
        let message = format!("the range {low}..{high} is empty or wider than 2^24");
        return Err(Error::argument("randint", message));
    }
    // 24 uniform bits times the width, rounded down: every value within 2^-24 of equally likely
    let unit = float(Draw::Integers, shape, device, seed)?;
    let width = (high - low) as f64;
    let place = (unit * width)?.floor()?.clamp(0.0, width - 1.0)?.cast(DType::I32)?;
    place + low as f64
}
