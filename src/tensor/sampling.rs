//! Random numbers, draws from given probabilities, and random orders. The same seed gives the same on every device.

use super::{Tensor, check_float, no_grad};
use crate::cpu::memory::reserve;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::random::{Draw, float, float_of, integers};
use crate::ops::require_float;
use crate::seed;
use crate::shape::Shape;
use rand::Rng;

impl Tensor {
    /// Uniform in [0, 1), f32. Counter-based (Philox; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): a
    /// seed gives the same numbers on every device.
    ///
    /// Kind and shape of a draw are part of its key: `rand`, [`randn`](Self::randn) and [`randint`](Self::randint) of one
    /// seed, or two shapes of it, are independent of each other. The same call gives the same numbers again.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::rand([1000], Device::Cpu, 7)?;
    /// assert_eq!(x.to_vec::<f32>()?, Tensor::rand([1000], Device::Cpu, 7)?.to_vec::<f32>()?);
    /// assert!((x.mean(.., false)?.item::<f32>()? - 0.5).abs() < 0.05);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn rand(shape: impl AsRef<[usize]>, device: Device, seed: u64) -> Result<Tensor> {
        float(Draw::Uniform, Shape::new(shape.as_ref())?, device, seed)
    }

    /// As [`rand`](Self::rand), in a float type. In f64 numbers have 53 random bits, the first 24 of which are those that the seed gives
    /// in f32.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let fine = Tensor::rand_dtype([100], DType::F64, Device::Cpu, 7)?;
    /// let difference = (fine - Tensor::rand([100], Device::Cpu, 7)?.cast(DType::F64)?)?;
    /// assert!(difference.min(.., false)?.item::<f64>()? >= 0.0 && difference.max(.., false)?.item::<f64>()? < 6e-8);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rand`](Self::rand); a type that is no float; f64 on a GPU.
    pub fn rand_dtype(shape: impl AsRef<[usize]>, dtype: DType, device: Device, seed: u64) -> Result<Tensor> {
        check_float("rand", dtype, device)?;
        float_of(Draw::Uniform, Shape::new(shape.as_ref())?, dtype, device, seed)
    }

    /// Standard normal, f32. The bits are the same on every device; the logarithm in the transformation may round
    /// differently, by a few units in the last place.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn randn(shape: impl AsRef<[usize]>, device: Device, seed: u64) -> Result<Tensor> {
        float(Draw::Normal, Shape::new(shape.as_ref())?, device, seed)
    }

    /// As [`randn`](Self::randn), in a float type. In f64 numbers are drawn from 53 random bits, and are near those that the seed gives in
    /// f32: within 1e-6 between -3 and 3.
    ///
    /// # Errors
    ///
    /// As [`rand_dtype`](Self::rand_dtype).
    pub fn randn_dtype(
        shape: impl AsRef<[usize]>,
        dtype: DType,
        device: Device,
        seed: u64,
    ) -> Result<Tensor> {
        check_float("randn", dtype, device)?;
        float_of(Draw::Normal, Shape::new(shape.as_ref())?, dtype, device, seed)
    }

    /// Uniform integers in `low..high`, i32; each within 2^-24 of equally likely.
    ///
    /// # Errors
    ///
    /// The range is empty or wider than 2^24; else as [`zeros`](Self::zeros).
    pub fn randint(
        low: i32,
        high: i32,
        shape: impl AsRef<[usize]>,
        device: Device,
        seed: u64,
    ) -> Result<Tensor> {
        integers(low, high, Shape::new(shape.as_ref())?, device, seed)
    }

    /// 1 with the probability that this element is, else 0, in this tensor's element type: PyTorch's `bernoulli`. What is below 0, and
    /// NaN, counts as 0, what is above 1 as 1. Probabilities are kept to 2^-24. There is no gradient.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let p = Tensor::new([0.0f32, 1.0], Device::Cpu)?;
    /// assert_eq!(p.bernoulli(7)?.to_vec::<f32>()?, [0.0, 1.0]);
    /// let coins = Tensor::full([1000], 0.5, Device::Cpu)?.bernoulli(7)?.sum(.., false)?.item::<f32>()?;
    /// assert!((450.0..550.0).contains(&coins));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The probabilities are no floats.
    pub fn bernoulli(&self, seed: u64) -> Result<Tensor> {
        require_float("bernoulli", "the probability", self)?;
        let unit = float(Draw::Bernoulli, self.shape(), self.device(), seed)?;
        unit.cast(self.dtype())?.lt(self)?.cast(self.dtype())
    }

    /// Classes drawn with the probabilities that these weights `[.., classes]` are in proportion to, `samples` for each row: `[..,
    /// samples]`, i32; PyTorch's `multinomial`. With `replacement` each draw is independent; without, no class is drawn twice, and the
    /// first one drawn is the first of the row. Weights need not add up to 1.
    ///
    /// The weights are read back (this call waits for the device), the draw itself is the host's.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let weights = Tensor::new([[0.0f32, 3.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]], Device::Cpu)?;
    /// let drawn = weights.multinomial(5, true, 42)?;
    /// assert_eq!(drawn.shape(), [2, 5]);
    /// assert!(drawn.slice(0, 0, 1)?.to_vec::<i32>()?.iter().all(|c| [1, 3].contains(c)));
    /// let mut order = weights.slice(0, 1, 1)?.multinomial(4, false, 42)?.to_vec::<i32>()?;
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The weights are no floats, a scalar, or without classes; one is negative, infinite or NaN; all of a row are 0, or, without
    /// replacement, fewer are above 0 than samples are asked for. What computing the weights fails with.
    pub fn multinomial(&self, samples: usize, replacement: bool, seed: u64) -> Result<Tensor> {
        const OP: &str = "multinomial";
        require_float(OP, "the weight", self)?;
        let Some(&classes) = self.shape().last() else {
            return Err(Error::shape(OP, "a scalar has no classes; give weights [.., classes]"));
        };
        let mut dims = self.shape().to_vec();
        dims.pop();
        let rows: usize = dims.iter().product();
        dims.push(samples);
        let message = match classes {
            0 if rows > 0 && samples > 0 => Some(format!("shape {} has no classes to draw", self.shape())),
            _ if classes > i32::MAX as usize => Some(format!("{classes} classes are more than i32 can name")),
            _ => None,
        };
        if let Some(message) = message {
            return Err(Error::argument(OP, message));
        }
        let weights: Vec<f64> = match self.dtype() {
            DType::F64 => no_grad(|| self.detach())?.to_vec::<f64>()?,
            _ => no_grad(|| self.detach())?.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        };
        let mut random = seed::generator(seed::derive(seed, Draw::Multinomial as u64));
        // uniform in 0..1, 53 bits
        let mut unit = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut drawn = reserve(rows.saturating_mul(samples))?;
        for (row, weights) in weights.chunks_exact(classes.max(1)).enumerate() {
            if samples == 0 {
                break;
            }
            if let Some(c) = weights.iter().position(|w| !(0.0..f64::INFINITY).contains(w)) {
                let message = format!(
                    "the weight of class {c} in row {row} is {}; weights are finite and not negative",
                    weights[c]
                );
                return Err(Error::argument(OP, message));
            }
            let possible = weights.iter().filter(|&&w| w > 0.0).count();
            let needed = if replacement { 1 } else { samples };
            if possible < needed {
                let message = format!(
                    "row {row} has {possible} classes with a weight above 0, and {needed} are needed to draw {samples} {}",
                    if replacement { "samples" } else { "without replacement" }
                );
                return Err(Error::argument(OP, message));
            }
            match replacement {
                true => draw_each(weights, samples, &mut unit, &mut drawn),
                false => draw_once(weights, samples, &mut unit, &mut drawn),
            }
        }
        Tensor::from_vec(drawn, dims, self.device())
    }

    /// The numbers `0..n` in random order, i32: PyTorch's `randperm`, NumPy's `permutation`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mut order = Tensor::randperm(5, Device::Cpu, 1)?.to_vec::<i32>()?;
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `n` is 2^31 or more, or the device can't be used or has no memory for it.
    pub fn randperm(n: usize, device: Device, seed: u64) -> Result<Tensor> {
        let Some(count) = u32::try_from(n).ok().filter(|&n| n <= i32::MAX as u32) else {
            return Err(Error::argument("randperm", format!("{n} numbers are more than i32 can count")));
        };
        let order = seed::permutation(count, seed).into_iter().map(|i| i as i32).collect();
        Tensor::from_vec(order, [n], device)
    }

    /// The slices along an axis in the random order of [`randperm`](Self::randperm) of the same seed: inputs and labels that are
    /// shuffled with one seed stay together. The gradient is shuffled back.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::arange(0, 6, Device::Cpu)?.reshape([3, 2])?;
    /// let order = Tensor::randperm(3, Device::Cpu, 9)?;
    /// assert_eq!(x.shuffle(0, 9)?.to_vec::<i32>()?, x.index_select(0, &order)?.to_vec::<i32>()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The tensor lacks the axis.
    pub fn shuffle(&self, axis: isize, seed: u64) -> Result<Tensor> {
        let n = self.shape()[self.shape().axis("shuffle", axis)?];
        let order = Tensor::randperm(n, self.device(), seed).map_err(|e| e.named("shuffle"))?;
        self.index_select(axis, &order).map_err(|e| e.named("shuffle"))
    }
}

/// The class in whose part of the weights' sum a uniform number falls.
fn draw_each(weights: &[f64], samples: usize, unit: &mut impl FnMut() -> f64, drawn: &mut Vec<i32>) {
    // of the largest: their sum is finite
    let most = weights.iter().fold(0.0, |most: f64, &w| most.max(w));
    let mut sum = 0.0;
    let running = |w: &f64| {
        sum += w / most;
        sum
    };
    let sums: Vec<f64> = weights.iter().map(running).collect();
    let last = weights.iter().rposition(|&w| w > 0.0).unwrap_or(0);
    for _ in 0..samples {
        let at = unit() * sum;
        drawn.push(sums.partition_point(|&s| s <= at).min(last) as i32);
    }
}

/// The classes that come first if each waits for a time that is exponential of its weight (Efraimidis and Spirakis, 2006): the same as
/// to draw one after the other, each from those that are left.
fn draw_once(weights: &[f64], samples: usize, unit: &mut impl FnMut() -> f64, drawn: &mut Vec<i32>) {
    let mut times: Vec<(f64, i32)> = Vec::new();
    for (c, &w) in weights.iter().enumerate() {
        // drawn for each class, so that a weight of 0 changes nothing for the others
        let time = -(1.0 - unit()).ln();
        if w > 0.0 {
            times.push((time / w, c as i32));
        }
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    drawn.extend(times.iter().take(samples).map(|t| t.1));
}
