//! A layer whose weight has the largest singular value 1.

use super::layer::{Build, Built, Layer, wrapped};
use super::{Context, Initializer, Module, Parameters, SampleShape};
use crate::config::Config;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, no_grad};
use crate::variable::{Variable, substitute};
use serde_json::{Value, json};

/// How often a new weight's singular vectors are improved before they are used (PyTorch's number).
const FIRST_ITERATIONS: usize = 15;
/// What lengths are divided by at least (PyTorch's number).
const EPSILON: f64 = 1e-12;

/// A layer whose weight is divided by its largest singular value, so that it lengthens nothing (Miyato et al., 2018): what
/// discriminators of GANs are made of. As PyTorch's `parametrizations.spectral_norm`, and around a layer as Keras's
/// `SpectralNormalization`.
///
/// The weight `[.., outputs]` is looked at as a matrix `[inputs, outputs]`. Each pass of training improves an estimate of the two
/// singular vectors by power iterations and keeps it in the buffers `u` `[outputs]` and `v` `[inputs]`; other passes use it as it is. What
/// is trained is the weight before the division, and gradients know of the division (Keras puts the quotient in the weight's place).
/// Parameters have the names that the layer gives them. A weight of zeros stays so.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::nn::SpectralNorm;
/// # fn main() -> Result<()> {
/// let model = Sequential::new().add(SpectralNorm::new(Dense::new(8))).build([4], Device::Cpu)?;
/// let names: Vec<String> = model.parameters().into_iter().map(|p| p.name).collect();
/// assert_eq!(names, ["spectralnorm.weight", "spectralnorm.bias", "spectralnorm.u", "spectralnorm.v"]);
/// let x = Tensor::randn([1, 4], Device::Cpu, 1)?;
/// let length = |t: &Tensor| t.norm(.., false)?.item::<f32>();
/// assert!(length(&model.infer(&x)?)? < 1.01 * length(&x)?);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`build`](Layer::build) refuses a layer without a parameter `weight` of at least two dimensions, 0 iterations, and what the layer
/// refuses.
#[must_use]
pub struct SpectralNorm {
    layer: Box<dyn Layer>,
    power_iterations: usize,
}

impl SpectralNorm {
    /// This layer, with a power iteration in each pass of training.
    pub fn new(layer: impl Layer + 'static) -> SpectralNorm {
        SpectralNorm { layer: Box::new(layer), power_iterations: 1 }
    }

    /// How many iterations each pass of training does.
    pub fn power_iterations(mut self, iterations: usize) -> SpectralNorm {
        self.power_iterations = iterations;
        self
    }

    /// What [`Layer::config`] wrote down.
    pub(super) fn from_config(
        config: &Value,
        make: impl Fn(&str, &Value) -> Result<Box<dyn Layer>>,
    ) -> Result<SpectralNorm> {
        let layer = wrapped("SpectralNorm", config, make)?;
        let Some(power_iterations) = config["power_iterations"].as_u64() else {
            let message = "settings of a SpectralNorm: expected a number of power_iterations";
            return Err(Error::argument("Layers::make", message));
        };
        Ok(SpectralNorm { layer, power_iterations: power_iterations as usize })
    }
}

impl Layer for SpectralNorm {
    fn kind(&self) -> &'static str {
        "SpectralNorm"
    }

    fn details(&self) -> String {
        format!("{} {}", self.layer.kind(), self.layer.details()).trim_end().into()
    }

    fn config(&self) -> Result<Config> {
        let (kind, config) = (self.layer.kind(), self.layer.config()?);
        Ok(Config(json!({ "kind": kind, "config": config, "power_iterations": self.power_iterations })))
    }

    fn build(&self, input: SampleShape, cx: &mut Build) -> Result<Built> {
        if self.power_iterations == 0 {
            return Err(Error::argument("build", "expects at least one power iteration, got 0"));
        }
        let built = self.layer.build(input, cx)?;
        let parameters = built.module.parameters();
        let found = parameters.iter().find(|p| p.name == "weight" && p.variable.shape().rank() > 1);
        let Some(weight) = found.map(|p| p.variable.clone()) else {
            let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
            let message = format!(
                "expects a layer with a parameter weight of at least two dimensions, got {} with {}",
                self.layer.kind(),
                if names.is_empty() { "none".into() } else { names.join(", ") }
            );
            return Err(Error::argument("build", message));
        };
        let [inputs, outputs] = sides(&weight.value());
        let vectors = |normal: Tensor| {
            let matrix = matrix(&weight.value().detach()?.to_device(Device::Cpu)?)?;
            let first = unit(&matrix.matmul(&normal.unsqueeze(1)?)?.squeeze(1)?)?;
            improved(&matrix, first, FIRST_ITERATIONS)
        };
        let normal = Initializer::RandomNormal { mean: 0.0, std: 1.0 };
        let mut v = None;
        let u = cx.changed_weight(&normal, [outputs], [outputs; 2], |normal| {
            let (u, other) = no_grad(|| vectors(normal))?;
            v = Some(other);
            Ok(u)
        })?;
        let v =
            cx.changed_weight(&Initializer::Zeros, [inputs], [inputs; 2], |zeros| Ok(v.unwrap_or(zeros)))?;
        let [u, v] = [u, v].map(|vector| Variable::not_trainable(vector.value()));
        let power_iterations = self.power_iterations;
        let module = SpectralNormModule { module: built.module, weight, u, v, power_iterations };
        Ok(Built::new(module, built.output))
    }
}

struct SpectralNormModule {
    module: Box<dyn Module>,
    /// The inner module's.
    weight: Variable,
    u: Variable,
    v: Variable,
    power_iterations: usize,
}

/// Rows and columns of a weight as a matrix.
fn sides(weight: &Tensor) -> [usize; 2] {
    let outputs = weight.dims().last().copied().unwrap_or(1);
    [weight.numel() / outputs.max(1), outputs]
}

fn matrix(weight: &Tensor) -> Result<Tensor> {
    weight.reshape(sides(weight))
}

fn unit(x: &Tensor) -> Result<Tensor> {
    x / x.norm(.., true)?.maximum(EPSILON)?
}

/// The singular vectors `[outputs]` and `[inputs]` of a matrix, by so many iterations from the second one.
fn improved(matrix: &Tensor, mut v: Tensor, iterations: usize) -> Result<(Tensor, Tensor)> {
    let mut u = v.clone();
    for _ in 0..iterations {
        u = unit(&v.unsqueeze(0)?.matmul(matrix)?.squeeze(0)?)?;
        v = unit(&matrix.matmul(&u.unsqueeze(1)?)?.squeeze(1)?)?;
    }
    Ok((u, v))
}

impl Module for SpectralNormModule {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let weight = self.weight.value();
        let matrix = matrix(&weight)?;
        if cx.is_training() {
            let (u, v) = no_grad(|| improved(&matrix.detach()?, self.v.value(), self.power_iterations))?;
            self.u.set(u)?;
            self.v.set(v)?;
            cx.also_compute(self.u.value());
            cx.also_compute(self.v.value());
        }
        let (u, v) = (self.u.value(), self.v.value());
        let largest = (matrix.matmul(&u.unsqueeze(1)?)?.squeeze(1)? * v)?.sum(.., false)?;
        let largest = largest.eq(0.0)?.select(1.0, largest)?;
        substitute(&self.weight, (weight / largest)?, || self.module.forward(x, cx))
    }

    fn takes_integers(&self) -> bool {
        self.module.takes_integers()
    }

    fn visit(&self, parameters: &mut Parameters<'_>) {
        self.module.visit(parameters);
        parameters.buffer("u", &self.u);
        parameters.buffer("v", &self.v);
    }
}
