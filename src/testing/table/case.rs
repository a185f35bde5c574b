//! What a row of the table is: inputs, a call, and how exact it must be.

use super::input::{Domain, Input, Rng};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;
use std::fmt;
use std::ops::Index;

/// What single precision owes: relative to the largest magnitude of the result.
pub const DEFAULT_TOLERANCE: f64 = 1e-5;

/// Wider (or zero) tolerances by operation: forward, gradient, and why.
const TOLERANCES: &[(&str, f64, f64, &str)] = &[(
    "prod",
    2e-5,
    5e-5,
    "rounding grows with the number of factors, and once more through the quotient in the gradient",
)];

/// Operations whose terms may cancel to nothing, and the magnitude of those terms: a sum around zero, `1 + erf(x)` of a
/// negative x, `1 - y^2` of a saturated tanh, the gradients of the softmaxes for equal logits or one class, also in attention. Their errors are
/// measured against at least this.
const CANCELLING: &[(&str, f64)] = &[
    ("sum", 1.0),
    ("mean", 0.1),
    ("cumsum", 1.0),
    ("cumprod", 1.0),
    ("scatter_add", 1.0),
    ("index_add", 1.0),
    ("index_put", 1.0),
    ("quantile", 0.1),
    ("matmul", 1.0),
    ("conv2d", 1.0),
    ("conv2d_transpose", 1.0),
    ("conv1d", 1.0),
    ("conv1d_transpose", 1.0),
    ("conv3d", 1.0),
    ("conv3d_transpose", 1.0),
    ("resize2d", 0.1),
    ("grid_sample", 0.1),
    ("upsample3d", 0.1),
    ("upsample2d", 0.1),
    ("selu", 0.1),
    ("hard_sigmoid", 0.1),
    ("hard_silu", 0.1),
    ("softsign", 0.1),
    ("mish", 0.1),
    ("gelu", 0.1),
    ("gelu_tanh", 0.1),
    ("tanh", 0.1),
    ("sigmoid", 0.1),
    ("softmax", 0.1),
    ("log_softmax", 0.1),
    ("cross_entropy", 0.1),
    ("attention", 1.0),
];

/// The tensors of a call.
#[derive(Debug)]
pub struct Args<'a> {
    pub tensors: &'a [Tensor],
    pub device: Device,
    /// f64 for gradient checks, f32 elsewhere.
    pub float: DType,
}

impl Index<usize> for Args<'_> {
    type Output = Tensor;
    fn index(&self, i: usize) -> &Tensor {
        &self.tensors[i]
    }
}

pub type Call = Box<dyn Fn(&Args<'_>) -> Result<Tensor> + Send + Sync>;

/// One call of one operation.
pub struct Case {
    /// `operation/variant`
    pub name: String,
    pub inputs: Vec<Input>,
    pub call: Call,
    pub tol: f64,
    pub grad_tol: f64,
    /// Results are compared relative to their largest magnitude, or to this where it is larger.
    pub floor: f64,
    /// Whether finite differences must agree with the gradient, at these inputs.
    pub differentiable: bool,
    /// Whether the gradient's own gradient is checked too.
    pub second: bool,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl Case {
    /// The inputs; those that gradients are taken of are watched.
    pub fn tensors(&self, device: Device, float: DType) -> Result<Vec<Tensor>> {
        let make = |input: &Input| match input.tensor(device, float)? {
            x if input.watched => x.watch(),
            x => Ok(x),
        };
        self.inputs.iter().map(make).collect()
    }

    /// The operation alone, without the variant.
    pub fn operation(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// Integers and moved elements: bit for bit.
    pub fn exact(&mut self) -> &mut Case {
        self.tol = 0.0;
        self
    }

    pub fn no_gradient(&mut self) -> &mut Case {
        self.differentiable = false;
        for input in &mut self.inputs {
            input.watched = false;
        }
        self
    }

    /// There is a gradient, but no derivative at these inputs (a tie, a kink).
    pub fn tied(&mut self) -> &mut Case {
        self.differentiable = false;
        self
    }

    pub fn second(&mut self) -> &mut Case {
        self.second = true;
        self
    }

    pub fn run(&self, tensors: &[Tensor], device: Device, float: DType) -> Result<Tensor> {
        (self.call)(&Args { tensors, device, float })
    }
}

/// How large the shapes of the cases are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// Few elements: a finite difference for each.
    Small,
    /// Odd sizes up to some thousand elements.
    Large,
    /// As `Large`, and the sizes at which other kernels begin.
    Kernels,
}

/// Collects cases and draws their shapes.
#[derive(Debug)]
pub struct Table {
    pub rng: Rng,
    pub size: Size,
    pub cases: Vec<Case>,
}

impl Table {
    pub fn add(
        &mut self,
        name: impl Into<String>,
        inputs: Vec<Input>,
        call: impl Fn(&Args<'_>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> &mut Case {
        let name = name.into();
        let op = name.split('/').next().unwrap_or_default();
        let wide = TOLERANCES.iter().find(|t| t.0 == op);
        let (tol, grad_tol) = wide.map_or((DEFAULT_TOLERANCE, DEFAULT_TOLERANCE), |t| (t.1, t.2));
        let call = Box::new(call);
        let floor = CANCELLING.iter().find(|c| c.0 == op).map_or(0.0, |c| c.1);
        self.cases.push(Case {
            name,
            inputs,
            call,
            tol,
            grad_tol,
            floor,
            differentiable: true,
            second: false,
        });
        let last = self.cases.len() - 1;
        &mut self.cases[last]
    }

    /// One dimension: odd, prime and power-of-two neighbours, now and then 1.
    pub fn dim(&mut self) -> usize {
        match self.size {
            Size::Small => self.rng.int(1, 4),
            Size::Large | Size::Kernels => self.rng.pick(&[1, 2, 3, 5, 7, 8, 11, 16, 17, 23]),
        }
    }

    /// A shape of low to high dimensions, of a number of elements that fits the size.
    pub fn shape(&mut self, low: usize, high: usize) -> Vec<usize> {
        let most = if self.size == Size::Small { 30 } else { 6000 };
        let rank = self.rng.int(low, high);
        loop {
            let dims: Vec<usize> = (0..rank).map(|_| self.dim()).collect();
            if dims.iter().product::<usize>() <= most {
                return dims;
            }
        }
    }

    /// Two shapes that broadcast, either of which may lack leading axes or have 1 for a length.
    pub fn broadcast(&mut self) -> (Vec<usize>, Vec<usize>) {
        let full = self.shape(1, 4);
        let part = |table: &mut Table| -> Vec<usize> {
            let skip = if table.rng.flag() { 0 } else { table.rng.int(0, full.len()) };
            full[skip..].iter().map(|&n| if table.rng.int(0, 3) == 0 { 1 } else { n }).collect()
        };
        if self.rng.flag() { (full.clone(), part(self)) } else { (part(self), full.clone()) }
    }

    /// An axis of a shape, counted from either end.
    pub fn axis(&mut self, rank: usize) -> isize {
        let axis = self.rng.int(0, rank - 1) as isize;
        if self.rng.flag() { axis } else { axis - rank as isize }
    }

    /// Some axes of a shape, at least one, in any order.
    pub fn axes(&mut self, rank: usize) -> Vec<isize> {
        let mut axes: Vec<isize> = (0..rank as isize).collect();
        self.rng.shuffle(&mut axes);
        axes.truncate(self.rng.int(1, rank));
        axes.into_iter().map(|a| if self.rng.flag() { a } else { a - rank as isize }).collect()
    }

    pub fn float(&mut self, dims: &[usize], domain: Domain) -> Input {
        Input::float(&mut self.rng, dims, domain)
    }

    pub fn int(&mut self, dtype: DType, dims: &[usize], domain: Domain) -> Input {
        Input::int(&mut self.rng, dtype, dims, domain)
    }
}
