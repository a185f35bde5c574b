//! Seeded inputs of the rows.

use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::seed;
use crate::tensor::Tensor;

/// The same numbers in every run, from a seed: SplitMix64 by `seed::mix`, and ranges of its own. `rand` promises the bits of its
/// generators, but not how it draws ranges from them; with another way every row would get other values, and tolerances, ties and
/// finite differences would have to be looked at anew, here and in each user's [`self_check`](crate::Device::self_check).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        let bits = seed::mix(self.0);
        self.0 = self.0.wrapping_add(seed::GAMMA);
        bits
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// One of `low..=high`.
    pub fn int(&mut self, low: usize, high: usize) -> usize {
        low + (self.bits() % (high - low + 1) as u64) as usize
    }

    pub fn flag(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.int(0, from.len() - 1)]
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.int(0, i));
        }
    }
}

/// Where the values of an input come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// -2..2, some zeros excepted.
    Any,
    /// 0.25..2.5
    Positive,
    /// 0.25..2 of either sign: no kink at zero, no pole.
    AwayFromZero,
    /// 0.7..1.4 of either sign: products stay in range.
    NearOne,
    /// low..high
    Range(f64, f64),
    /// Every value once, neighbours at least 0.02 apart, shifted by the number given: no ties, within one input or
    /// between two of different shifts.
    Distinct(f64),
    /// -1, -0.5, 0, 0.5, 1: many ties and zeros.
    Ties,
    /// Rows that sum to one.
    Probabilities,
    /// Whole numbers in low..high
    Whole(i64, i64),
    /// 0 or 1
    Mask,
}

/// The element type of an input: `Float` is f64 for gradient checks and f32 elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputKind {
    Float,
    Int(DType),
}

/// One input of a case: shape and values. Floats are f32 numbers, so that f64 and f32 see the same.
#[derive(Clone, Debug)]
pub struct Input {
    pub dims: Vec<usize>,
    pub kind: InputKind,
    pub values: Vec<f64>,
    /// Whether gradients are taken with respect to it.
    pub watched: bool,
}

impl Input {
    pub fn float(rng: &mut Rng, dims: &[usize], domain: Domain) -> Input {
        let mut values = draw(rng, dims, domain);
        for v in &mut values {
            *v = *v as f32 as f64;
        }
        Input { dims: dims.to_vec(), kind: InputKind::Float, values, watched: true }
    }

    pub fn int(rng: &mut Rng, dtype: DType, dims: &[usize], domain: Domain) -> Input {
        let values = draw(rng, dims, domain).iter().map(|v| v.floor()).collect();
        Input { dims: dims.to_vec(), kind: InputKind::Int(dtype), values, watched: false }
    }

    pub fn given(dims: &[usize], values: Vec<f64>) -> Input {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        Input { dims: dims.to_vec(), kind: InputKind::Float, values, watched: true }
    }

    /// The input as a tensor; `float` is the type of its floats.
    pub fn tensor(&self, device: Device, float: DType) -> Result<Tensor> {
        tensor(&self.values, &self.dims, self.dtype(float), device)
    }

    pub fn dtype(&self, float: DType) -> DType {
        match self.kind {
            InputKind::Float => float,
            InputKind::Int(dtype) => dtype,
        }
    }
}

fn draw(rng: &mut Rng, dims: &[usize], domain: Domain) -> Vec<f64> {
    let n: usize = dims.iter().product();
    let signed = |rng: &mut Rng, low, high| {
        let v = rng.uniform(low, high);
        if rng.flag() { v } else { -v }
    };
    match domain {
        Domain::Any => (0..n).map(|_| rng.uniform(-2.0, 2.0)).collect(),
        Domain::Positive => (0..n).map(|_| rng.uniform(0.25, 2.5)).collect(),
        Domain::AwayFromZero => (0..n).map(|_| signed(rng, 0.25, 2.0)).collect(),
        Domain::NearOne => (0..n).map(|_| signed(rng, 0.7, 1.4)).collect(),
        Domain::Range(low, high) => (0..n).map(|_| rng.uniform(low, high)).collect(),
        Domain::Distinct(shift) => {
            let mut values: Vec<f64> = (0..n).map(|i| (i as f64 - (n / 2) as f64) * 0.0625 + shift).collect();
            rng.shuffle(&mut values);
            values
        }
        Domain::Ties => (0..n).map(|_| rng.int(0, 4) as f64 * 0.5 - 1.0).collect(),
        Domain::Probabilities => {
            let cols = dims.last().copied().unwrap_or(1).max(1);
            let mut values: Vec<f64> = (0..n).map(|_| rng.uniform(0.05, 1.0)).collect();
            for row in values.chunks_mut(cols) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|v| *v /= sum);
            }
            values
        }
        Domain::Whole(low, high) => {
            (0..n).map(|_| (low + (rng.bits() % (high - low) as u64) as i64) as f64).collect()
        }
        Domain::Mask => (0..n).map(|_| rng.int(0, 1) as f64).collect(),
    }
}

/// A tensor of these values, rounded to the type.
pub fn tensor(values: &[f64], dims: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
    Tensor::rounded(values, dims, dtype, device)
}
