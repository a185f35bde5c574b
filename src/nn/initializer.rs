//! First values of weights.

use crate::cpu::memory;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::random::{self, Draw};
use crate::seed;
use crate::shape::Shape;
use crate::tensor::{Tensor, check_float};
use serde::{Deserialize, Serialize};

/// What [`Initializer::VarianceScaling`] divides its scale by.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::{Distribution, Fan, Initializer};
/// # fn main() -> Result<()> {
/// // What `Initializer::HeNormal` is.
/// let he = Initializer::VarianceScaling { scale: 2.0, fan: Fan::In, distribution: Distribution::TruncatedNormal };
/// let layer = Dense::new(64).kernel_initializer(he);
/// # drop(layer);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fan {
    /// What one output reads.
    In,
    /// What one input reaches.
    Out,
    /// The mean of both.
    Average,
}

/// How [`Initializer::VarianceScaling`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Distribution {
    /// Uniform in +-sqrt(3 * scale / fan).
    Uniform,
    /// Normal, cut off at two standard deviations. The variance is scale / fan after the cut, as in Keras.
    TruncatedNormal,
    /// Normal with variance scale / fan.
    Normal,
}

/// How the first values of a weight are drawn: Keras's initialisers under their names.
///
/// A weight has a fan in, the number of values that one output reads, and a fan out, the number of outputs that one input
/// reaches; each layer says what its are. Values are computed on the CPU from the model's seed, so that they have the same
/// bits on every device.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::Initializer;
/// # fn main() -> Result<()> {
/// let layer = Dense::new(64)
///     .kernel_initializer(Initializer::HeNormal)
///     .bias_initializer(Initializer::Constant(0.1));
/// let model = Sequential::new().add(layer).build([100], Device::Cpu)?;
/// assert_eq!(model.parameters()[1].variable.value().to_vec::<f32>()?, [0.1; 64]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Initializer {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// This number everywhere.
    Constant(f64),
    /// Uniform between two numbers (Keras's own are -0.05 and 0.05).
    RandomUniform {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// Normal (Keras's own are 0 and 0.05).
    RandomNormal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Normal, but drawn again where it is further than two standard deviations from the mean.
    TruncatedNormal {
        /// The mean.
        mean: f64,
        /// The standard deviation before the cut.
        std: f64,
    },
    /// Drawn so that the variance is a scale divided by a fan; the next seven are cases of it.
    VarianceScaling {
        /// The scale.
        scale: f64,
        /// What it is divided by.
        fan: Fan,
        /// How it is drawn.
        distribution: Distribution,
    },
    /// Uniform in +-sqrt(6 / (fan in + fan out)) (Glorot and Bengio, 2010), also named after Xavier: what weights of
    /// layers have where nothing else is said.
    GlorotUniform,
    /// Truncated normal with variance 2 / (fan in + fan out) (Glorot and Bengio, 2010).
    GlorotNormal,
    /// Uniform in +-sqrt(6 / fan in) (He et al., 2015): for ReLU. Also named after Kaiming.
    HeUniform,
    /// Truncated normal with variance 2 / fan in (He et al., 2015): for ReLU.
    HeNormal,
    /// Uniform in +-sqrt(3 / fan in) (LeCun et al., 1998).
    LecunUniform,
    /// Truncated normal with variance 1 / fan in (LeCun et al., 1998): for SELU.
    LecunNormal,
    /// Uniform in +-1 / sqrt(fan in): what PyTorch gives weights of `nn.Linear` and `nn.Conv2d` where nothing else is said. (It is
    /// [`VarianceScaling`](Self::VarianceScaling) by 1/3, there written as `kaiming_uniform_(a=sqrt(5))`. Biases are drawn there, too,
    /// within the same bounds; here they are 0. A bias doesn't know its weight's fan in: as there it is drawn by
    /// [`RandomUniform`](Self::RandomUniform) within these bounds.)
    TorchDefault,
    /// A matrix with orthonormal rows or columns, whichever are fewer, times a gain (Saxe et al., 2014). A weight of
    /// more than two dimensions is one matrix `[all others, last]`.
    Orthogonal {
        /// The factor (Keras's own is 1).
        gain: f64,
    },
}

/// The standard deviation of a standard normal that is cut off at two of them.
const TRUNCATED_STD: f64 = 0.879_625_661_034_239_8;

impl Initializer {
    /// The values of a weight, f32 on the CPU. `fans` are its fan in and fan out.
    ///
    /// # Errors
    ///
    /// A setting is no finite number or a range is upside down; an orthogonal weight has fewer than two dimensions.
    pub fn values(&self, shape: impl AsRef<[usize]>, fans: [usize; 2], seed: u64) -> Result<Tensor> {
        self.values_dtype(shape, fans, seed, DType::F32)
    }

    /// As [`values`](Self::values), in a float type. In f64 they are drawn from more bits ([`Tensor::rand_dtype`]), and near those that
    /// the seed gives in f32.
    ///
    /// # Errors
    ///
    /// As [`values`](Self::values); a type that is no float.
    pub fn values_dtype(
        &self,
        shape: impl AsRef<[usize]>,
        fans: [usize; 2],
        seed: u64,
        dtype: DType,
    ) -> Result<Tensor> {
        check_float("Initializer", dtype, Device::Cpu)?;
        let shape = Shape::new(shape.as_ref())?;
        let filled = |value: f64| Tensor::filled_dtype(shape, value, dtype, Device::Cpu);
        let drawn = Drawn { shape, seed, dtype };
        let scaled = |scale: f64, fan: Fan, distribution: Distribution| {
            drawn.variance_scaling(scale, fan, distribution, fans)
        };
        self.check()?;
        match *self {
            Initializer::Zeros => filled(0.0),
            Initializer::Ones => filled(1.0),
            Initializer::Constant(value) => filled(value),
            Initializer::RandomUniform { min, max } => (drawn.of(Draw::UniformWeight)? * (max - min))? + min,
            Initializer::RandomNormal { mean, std } => (drawn.of(Draw::NormalWeight)? * std)? + mean,
            Initializer::TruncatedNormal { mean, std } => (drawn.truncated_normal()? * std)? + mean,
            Initializer::VarianceScaling { scale, fan, distribution } => scaled(scale, fan, distribution),
            Initializer::GlorotUniform => scaled(1.0, Fan::Average, Distribution::Uniform),
            Initializer::GlorotNormal => scaled(1.0, Fan::Average, Distribution::TruncatedNormal),
            Initializer::HeUniform => scaled(2.0, Fan::In, Distribution::Uniform),
            Initializer::HeNormal => scaled(2.0, Fan::In, Distribution::TruncatedNormal),
            Initializer::LecunUniform => scaled(1.0, Fan::In, Distribution::Uniform),
            Initializer::LecunNormal => scaled(1.0, Fan::In, Distribution::TruncatedNormal),
            Initializer::TorchDefault => scaled(1.0 / 3.0, Fan::In, Distribution::Uniform),
            Initializer::Orthogonal { gain } => {
                Tensor::rounded(&drawn.orthogonal(gain)?, &shape, dtype, Device::Cpu)
            }
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (numbers, sensible): (&[f64], bool) = match self {
            Initializer::Constant(value) => (&[*value], true),
            Initializer::RandomUniform { min, max } => (&[*min, *max], min <= max),
            Initializer::RandomNormal { mean, std } | Initializer::TruncatedNormal { mean, std } => {
                (&[*mean, *std], *std >= 0.0)
            }
            Initializer::VarianceScaling { scale, .. } => (&[*scale], *scale > 0.0),
            Initializer::Orthogonal { gain } => (&[*gain], true),
            _ => (&[], true),
        };
        if sensible && numbers.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        let message = format!(
            "{self:?}: expects finite numbers, a positive scale, a deviation of at least 0 and a minimum not above \
             the maximum"
        );
        Err(Error::argument("Initializer", message))
    }
}

/// Numbers of a seed on the host, whatever device they are for: the same on all.
#[derive(Clone, Copy)]
struct Drawn {
    shape: Shape,
    seed: u64,
    dtype: DType,
}

impl Drawn {
    fn of(self, draw: Draw) -> Result<Tensor> {
        random::float_of(draw, self.shape, self.dtype, Device::Cpu, self.seed)
    }

    fn variance_scaling(
        self,
        scale: f64,
        fan: Fan,
        distribution: Distribution,
        [fan_in, fan_out]: [usize; 2],
    ) -> Result<Tensor> {
        let fan = match fan {
            Fan::In => fan_in as f64,
            Fan::Out => fan_out as f64,
            Fan::Average => (fan_in as f64 + fan_out as f64) / 2.0,
        };
        let fan = fan.max(1.0);
        let std = (scale / fan).sqrt();
        match distribution {
            Distribution::Uniform => {
                ((self.of(Draw::UniformWeight)? * 2.0)? - 1.0)? * (3.0 * scale / fan).sqrt()
            }
            Distribution::TruncatedNormal => self.truncated_normal()? * (std / TRUNCATED_STD),
            Distribution::Normal => self.of(Draw::NormalWeight)? * std,
        }
    }

    /// Standard normal numbers of at most 2 in magnitude: others are passed over.
    fn truncated_normal(self) -> Result<Tensor> {
        let n = self.shape.numel();
        let mut values: Vec<f64> = memory::reserve(n)?;
        let mut round = 0;
        while values.len() < n {
            // 4.6% are passed over: one round is enough for all but the smallest.
            let missing = n - values.len();
            let shape = Shape::new(&[missing + missing / 16 + 8])?;
            let drawn = Drawn { shape, seed: seed::derive(self.seed, round), ..self };
            // Those that are passed over in f32 are in f64, too: what comes after them has its place in both.
            let read = Drawn { dtype: DType::F32, ..drawn }.of(Draw::NormalWeight)?.to_vec::<f32>()?;
            let drawn = match self.dtype {
                DType::F64 => drawn.of(Draw::NormalWeight)?.to_vec::<f64>()?,
                _ => read.iter().map(|&v| f64::from(v)).collect(),
            };
            let kept = drawn.into_iter().zip(read).filter(|(_, read)| read.abs() <= 2.0);
            values.extend(kept.map(|(v, _)| v.clamp(-2.0, 2.0)).take(missing));
            round += 1;
        }
        Tensor::rounded(&values, &self.shape, self.dtype, Device::Cpu)
    }

    /// The Q of a normal matrix's QR decomposition with a positive diagonal of R, which is uniform among all such matrices
    /// (Mezzadri, "How to generate random matrices from the classical compact groups", 2007).
    fn orthogonal(self, gain: f64) -> Result<Vec<f64>> {
        let [others @ .., last] = &*self.shape else {
            return Err(Error::argument("Initializer", too_flat(self.shape)));
        };
        if others.is_empty() {
            return Err(Error::argument("Initializer", too_flat(self.shape)));
        }
        let rows: usize = others.iter().product();
        let (long, short) = (rows.max(*last), rows.min(*last));
        let drawn = Drawn { shape: Shape::new(&[short * long])?, ..self }.of(Draw::NormalWeight)?;
        // `short` vectors of `long` elements, made orthonormal one after the other (Gram and Schmidt).
        let mut elements = drawn.cast(DType::F64)?.to_vec::<f64>()?;
        let mut vectors: Vec<&mut [f64]> = elements.chunks_mut(long.max(1)).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for i in 0..vectors.len() {
            let (done, rest) = vectors.split_at_mut(i);
            let Some(v) = rest.first_mut() else { continue };
            // Once leaves a part of the earlier vectors where v is nearly one of their sums; twice is enough.
            for _ in 0..2 {
                for q in done.iter() {
                    let along = dot(q, v);
                    v.iter_mut().zip(q.iter()).for_each(|(v, q)| *v -= along * q);
                }
            }
            let norm = dot(v, v).sqrt().max(f64::MIN_POSITIVE);
            v.iter_mut().for_each(|v| *v /= norm);
        }
        let mut out = memory::reserve(rows * last)?;
        out.resize(rows * last, 0.0);
        for (i, v) in vectors.iter().enumerate() {
            for (j, x) in v.iter().enumerate() {
                // The vectors are columns of a tall matrix and rows of a wide one.
                let at = if rows >= *last { j * last + i } else { i * last + j };
                out[at] = gain * x;
            }
        }
        Ok(out)
    }
}

fn too_flat(shape: Shape) -> String {
    format!("an orthogonal weight has at least two dimensions, got {shape}; use another initialiser")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv2d, ConvTranspose2d, Dense, DepthwiseConv2d, Module, Sequential};

    fn draw(initializer: Initializer, shape: &[usize], fans: [usize; 2]) -> Vec<f64> {
        let values = initializer.values(shape, fans, 17).unwrap().to_vec::<f32>().unwrap();
        values.into_iter().map(f64::from).collect()
    }

    fn moments(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn weights_of_layers_have_the_bounds_that_pytorch_gives_them() -> Result<()> {
        let torch = Initializer::TorchDefault;
        let most = |stack: Sequential, input: &[usize]| -> Result<f64> {
            let model = stack.build(input, Device::Cpu)?;
            model.parameters()[0].variable.value().abs()?.max(.., false)?.item::<f64>()
        };
        // torch.nn.init._calculate_fan_in_and_fan_out: weight.size(1) times the window.
        let cases = [
            (Sequential::new().add(Dense::new(200).kernel_initializer(torch)), &[60][..], 60),
            (
                Sequential::new().add(Conv2d::new(64, [3, 3]).groups(2).kernel_initializer(torch)),
                &[8, 8, 16],
                9 * 8,
            ),
            (Sequential::new().add(DepthwiseConv2d::new([3, 3]).kernel_initializer(torch)), &[8, 8, 300], 9),
            (
                Sequential::new().add(ConvTranspose2d::new(32, [3, 3]).kernel_initializer(torch)),
                &[8, 8, 16],
                9 * 32,
            ),
        ];
        for (stack, input, fan_in) in cases {
            let (most, bound) = (most(stack, input)?, f64::from(fan_in).sqrt().recip());
            assert!((0.97 * bound..=1.000_001 * bound).contains(&most), "{input:?}: {most} of {bound}");
        }
        Ok(())
    }

    #[test]
    fn draws_have_the_mean_deviation_and_range_of_their_formulas() {
        let (fans, n) = ([300, 100], 40_000);
        let uniform = |limit: f64| (limit / 3.0f64.sqrt(), limit);
        let cut = |variance: f64| (variance.sqrt(), 2.0 * variance.sqrt() / TRUNCATED_STD);
        let scaling = |fan, distribution| Initializer::VarianceScaling { scale: 3.0, fan, distribution };
        // initialiser, mean, deviation, furthest from the mean
        let cases: [(Initializer, f64, (f64, f64)); 14] = [
            (Initializer::RandomUniform { min: -0.25, max: 0.75 }, 0.25, uniform(0.5)),
            (Initializer::RandomNormal { mean: 1.0, std: 0.5 }, 1.0, (0.5, 0.5 * 6.0)),
            (Initializer::TruncatedNormal { mean: -1.0, std: 0.5 }, -1.0, (0.5 * TRUNCATED_STD, 1.0)),
            (Initializer::GlorotUniform, 0.0, uniform((6.0f64 / 400.0).sqrt())),
            (Initializer::GlorotNormal, 0.0, cut(2.0 / 400.0)),
            (Initializer::HeUniform, 0.0, uniform((6.0f64 / 300.0).sqrt())),
            (Initializer::HeNormal, 0.0, cut(2.0 / 300.0)),
            (Initializer::LecunUniform, 0.0, uniform((3.0f64 / 300.0).sqrt())),
            (Initializer::LecunNormal, 0.0, cut(1.0 / 300.0)),
            (Initializer::TorchDefault, 0.0, uniform((1.0f64 / 300.0).sqrt())),
            (scaling(Fan::Out, Distribution::Uniform), 0.0, uniform((9.0f64 / 100.0).sqrt())),
            (scaling(Fan::Out, Distribution::TruncatedNormal), 0.0, cut(3.0 / 100.0)),
            (scaling(Fan::In, Distribution::Normal), 0.0, (0.1, 0.1 * 6.0)),
            (scaling(Fan::Average, Distribution::Normal), 0.0, ((3.0f64 / 200.0).sqrt(), 1.0)),
        ];
        for (initializer, mean, (std, furthest)) in cases {
            let values = draw(initializer, &[n / 100, 100], fans);
            let (got_mean, got_std) = moments(&values);
            // Four standard errors of the mean; of the deviation it is at most std / sqrt(2n).
            assert!((got_mean - mean).abs() < 4.0 * std / (n as f64).sqrt(), "{initializer:?}: {got_mean}");
            assert!(
                (got_std / std - 1.0).abs() < 4.0 / (2.0 * n as f64).sqrt(),
                "{initializer:?}: {got_std}"
            );
            let most = values.iter().fold(0.0f64, |m, v| m.max((v - mean).abs()));
            assert!(most <= furthest * (1.0 + 1e-6), "{initializer:?}: {most} of {furthest}");
            let normal = matches!(
                initializer,
                Initializer::RandomNormal { .. }
                    | Initializer::VarianceScaling { distribution: Distribution::Normal, .. }
            );
            assert!(normal || most > 0.99 * furthest, "{initializer:?}: {most} of {furthest}");
        }
        assert_eq!(draw(Initializer::Zeros, &[2], fans), [0.0, 0.0]);
        assert_eq!(draw(Initializer::Ones, &[2], fans), [1.0, 1.0]);
        assert_eq!(draw(Initializer::Constant(-0.5), &[2], fans), [-0.5, -0.5]);
    }

    #[test]
    fn a_seed_gives_its_numbers() {
        for initializer in [
            Initializer::GlorotUniform,
            Initializer::HeNormal,
            Initializer::RandomNormal { mean: 0.0, std: 1.0 },
            Initializer::Orthogonal { gain: 1.0 },
        ] {
            let values = |seed| initializer.values([9, 7], [9, 7], seed).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(values(1), values(1));
            assert_ne!(values(1), values(2));
        }
    }

    #[test]
    fn orthogonal_matrices_are() {
        for (shape, rows, cols) in
            [(vec![40, 25], 40, 25), (vec![25, 40], 25, 40), (vec![3, 3, 2, 18], 18, 18), (vec![5, 1], 5, 1)]
        {
            let gain = 1.5;
            let w = draw(Initializer::Orthogonal { gain }, &shape, [rows, cols]);
            let at = |i: usize, j: usize| w[i * cols + j];
            let short = rows.min(cols);
            for a in 0..short {
                for b in 0..short {
                    let dot: f64 = if rows >= cols {
                        (0..rows).map(|r| at(r, a) * at(r, b)).sum()
                    } else {
                        (0..cols).map(|c| at(a, c) * at(b, c)).sum()
                    };
                    let expected = if a == b { gain * gain } else { 0.0 };
                    assert!((dot - expected).abs() < 1e-6, "{shape:?} {a} {b}: {dot}");
                }
            }
        }
        // Uniform among orthogonal matrices: each element has mean 0 and mean square 1 / n.
        let mut elements = Vec::new();
        for seed in 0..400 {
            let w = Initializer::Orthogonal { gain: 1.0 }.values([6, 6], [6, 6], seed).unwrap();
            elements.push(f64::from(w.to_vec::<f32>().unwrap()[7]));
        }
        let (mean, std) = moments(&elements);
        assert!(mean.abs() < 4.0 * std / 20.0 && (std * std - 1.0 / 6.0).abs() < 0.04, "{mean} {std}");
    }

    #[test]
    fn nonsense_is_an_error() {
        for initializer in [
            Initializer::Constant(f64::NAN),
            Initializer::RandomUniform { min: 1.0, max: 0.0 },
            Initializer::RandomNormal { mean: 0.0, std: -1.0 },
            Initializer::TruncatedNormal { mean: f64::INFINITY, std: 1.0 },
            Initializer::VarianceScaling { scale: 0.0, fan: Fan::In, distribution: Distribution::Normal },
            Initializer::Orthogonal { gain: f64::NAN },
        ] {
            let message = initializer.values([2, 2], [2, 2], 0).unwrap_err().to_string();
            assert!(message.starts_with("Initializer: ") && message.contains("finite"), "{message}");
        }
        let message = Initializer::Orthogonal { gain: 1.0 }.values([4], [4, 4], 0).unwrap_err().to_string();
        assert!(message.contains("at least two dimensions, got [4]"), "{message}");
    }
}
