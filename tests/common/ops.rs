//! One table of every operation: inputs, the call, whether it has a gradient, and how exact it must be.

use super::ops_pointwise;
use super::{Domain, Input, Rng};
use std::ops::Index;
use wgrad::Axes;
use wgrad::prelude::*;

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
/// negative x, `1 - y^2` of a saturated tanh, the gradients of the softmaxes for equal logits or one class. Their errors are
/// measured against at least this.
const CANCELLING: &[(&str, f64)] = &[
    ("sum", 1.0),
    ("mean", 0.1),
    ("matmul", 1.0),
    ("conv2d", 1.0),
    ("conv2d_transpose", 1.0),
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
];

/// The tensors of a call.
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

type Call = Box<dyn Fn(&Args<'_>) -> Result<Tensor> + Send + Sync>;

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

impl Case {
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
#[derive(Clone, Copy, PartialEq)]
pub enum Size {
    /// Few elements: a finite difference for each.
    Small,
    /// Odd sizes up to some thousand elements.
    Large,
}

/// Collects cases and draws their shapes.
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
            Size::Large => self.rng.pick(&[1, 2, 3, 5, 7, 8, 11, 16, 17, 23]),
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

    /// Some axes of a shape in any order; none means all.
    pub fn axes(&mut self, rank: usize) -> Vec<isize> {
        let mut axes: Vec<isize> = (0..rank as isize).collect();
        self.rng.shuffle(&mut axes);
        axes.truncate(self.rng.int(0, rank));
        axes.into_iter().map(|a| if self.rng.flag() { a } else { a - rank as isize }).collect()
    }

    pub fn float(&mut self, dims: &[usize], domain: Domain) -> Input {
        Input::float(&mut self.rng, dims, domain)
    }

    pub fn int(&mut self, dtype: DType, dims: &[usize], domain: Domain) -> Input {
        Input::int(&mut self.rng, dtype, dims, domain)
    }
}

/// Every operation, with shapes and values of this seed.
pub fn ops(seed: u64, size: Size) -> Vec<Case> {
    let mut table = Table { rng: Rng(seed), size, cases: Vec::new() };
    ops_pointwise::unary(&mut table);
    ops_pointwise::binary(&mut table);
    ops_pointwise::integers(&mut table);
    ops_pointwise::casts(&mut table);
    reductions(&mut table);
    views(&mut table);
    joins(&mut table);
    indexing(&mut table);
    matmul(&mut table);
    conv2d(&mut table);
    pool2d(&mut table);
    softmax(&mut table);
    ops_pointwise::activations(&mut table);
    conv2d_transpose(&mut table);
    upsample2d(&mut table);
    table.cases
}

fn reductions(t: &mut Table) {
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

fn views(t: &mut Table) {
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

fn joins(t: &mut Table) {
    for parts in [2, 3, 8] {
        let mut dims = t.shape(1, 3);
        let axis = t.axis(dims.len());
        let d = axis.rem_euclid(dims.len() as isize) as usize;
        let mut inputs = Vec::new();
        for _ in 0..parts {
            dims[d] = t.rng.int(1, 4);
            inputs.push(t.float(&dims, Domain::Any));
        }
        let call = move |a: &Args<'_>| Tensor::concat(&a.tensors.iter().collect::<Vec<_>>(), axis);
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

fn indexing(t: &mut Table) {
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

fn matmul(t: &mut Table) {
    let (m, k, n) = (t.dim(), t.dim(), t.dim());
    let (b, c) = (t.rng.int(1, 3), t.rng.int(1, 3));
    let shapes: [(&str, Vec<usize>, Vec<usize>); 10] = [
        ("plain", vec![m, k], vec![k, n]),
        ("batch", vec![b, m, k], vec![b, k, n]),
        ("batch2", vec![b, c, m, k], vec![b, c, k, n]),
        ("right shared", vec![b, c, m, k], vec![k, n]),
        ("left shared", vec![m, k], vec![b, k, n]),
        ("crosswise", vec![b, 1, m, k], vec![1, c, k, n]),
        ("row", vec![k], vec![k, n]),
        ("column", vec![m, k], vec![k]),
        ("dot", vec![k], vec![k]),
        ("batched column", vec![b, m, k], vec![k]),
    ];
    for (name, left, right) in shapes {
        let inputs = vec![t.float(&left, Domain::Any), t.float(&right, Domain::Any)];
        t.add(format!("matmul/{name}"), inputs, |a| a[0].matmul(&a[1])).second();
    }
    for (name, left, right) in [("tn", true, false), ("nt", false, true), ("tt", true, true)] {
        let shape = |flip, p, q| if flip { vec![b, q, p] } else { vec![b, p, q] };
        let inputs =
            vec![t.float(&shape(left, m, k), Domain::Any), t.float(&shape(right, k, n), Domain::Any)];
        t.add(format!("matmul/{name}"), inputs, move |a| {
            let x = if left { a[0].transpose()? } else { a[0].clone() };
            let y = if right { a[1].transpose()? } else { a[1].clone() };
            x.matmul(y)
        });
    }
}

fn conv2d(t: &mut Table) {
    use Padding::{Explicit, Same, Valid};
    // name, kernel, stride, padding, dilation, groups, input and output channels per group
    type Row = (&'static str, [usize; 2], [usize; 2], Padding, [usize; 2], usize, usize, usize);
    let rows: [Row; 12] = [
        ("valid", [3, 3], [1, 1], Valid, [1, 1], 1, 2, 3),
        ("one channel", [3, 3], [1, 1], Valid, [1, 1], 1, 1, 4),
        ("same", [3, 3], [1, 1], Same, [1, 1], 1, 3, 4),
        ("same even", [2, 4], [1, 1], Same, [1, 1], 1, 2, 2),
        ("same stride", [3, 3], [2, 2], Same, [1, 1], 1, 2, 2),
        ("stride", [3, 2], [2, 3], Valid, [1, 1], 1, 2, 5),
        ("four sides", [3, 3], [2, 1], Explicit([0, 2, 1, 3]), [1, 1], 1, 2, 2),
        ("dilation", [2, 2], [1, 1], Valid, [2, 3], 1, 2, 2),
        ("point", [1, 1], [1, 1], Valid, [1, 1], 1, 4, 4),
        ("point stride", [1, 1], [2, 2], Valid, [1, 1], 1, 3, 2),
        ("groups", [3, 3], [1, 1], Same, [1, 1], 2, 2, 3),
        ("depthwise", [3, 3], [1, 2], Explicit([1, 1, 1, 1]), [1, 1], 3, 1, 2),
    ];
    for (name, kernel, stride, padding, dilation, groups, cin, cout) in rows {
        let large = if t.size == Size::Large { 2 } else { 1 };
        let (n, h, w) = (t.rng.int(1, 2), t.rng.int(4, 5 * large), t.rng.int(4, 6 * large));
        let channels = if groups == 1 && name != "one channel" { cin * large * large } else { cin };
        let x = t.float(&[n, h, w, channels * groups], Domain::Any);
        let k = t.float(&[kernel[0], kernel[1], channels, cout * groups], Domain::Any);
        let options = Conv2dOptions::new().stride(stride).padding(padding).dilation(dilation).groups(groups);
        t.add(format!("conv2d/{name}"), vec![x, k], move |a| a[0].conv2d(&a[1], options)).second();
    }
    let x = t.float(&[2, 4, 5, 2], Domain::Any);
    let (k, bias) = (t.float(&[2, 3, 2, 4], Domain::Any), t.float(&[4], Domain::Any));
    let call = |a: &Args<'_>| a[0].conv2d(&a[1], Conv2dOptions::default())? + &a[2];
    t.add("conv2d/bias", vec![x, k, bias], call);
}

fn conv2d_transpose(t: &mut Table) {
    use Padding::{Explicit, Same, Valid};
    // name, kernel, stride, padding, output padding, dilation, groups, input and output channels per group
    type Extra = Option<[usize; 2]>;
    type Row = (&'static str, [usize; 2], [usize; 2], Padding, Extra, [usize; 2], usize, usize, usize);
    let rows: [Row; 10] = [
        ("valid", [3, 3], [1, 1], Valid, None, [1, 1], 1, 2, 3),
        ("one channel", [3, 2], [2, 2], Valid, None, [1, 1], 1, 4, 1),
        ("stride over window", [2, 1], [3, 2], Valid, None, [1, 1], 1, 2, 2),
        ("same", [3, 3], [2, 2], Same, None, [1, 1], 1, 3, 2),
        ("same even", [4, 2], [2, 1], Same, None, [1, 1], 1, 2, 2),
        ("same, output padding", [3, 4], [2, 3], Same, Some([0, 1]), [1, 1], 1, 2, 2),
        ("output padding", [3, 2], [2, 3], Explicit([1, 0, 1, 1]), Some([1, 2]), [1, 1], 1, 2, 2),
        ("dilation", [2, 2], [1, 2], Explicit([1, 1, 0, 1]), None, [2, 3], 1, 2, 2),
        ("groups", [3, 3], [2, 1], Same, None, [1, 1], 2, 2, 3),
        ("depthwise", [3, 3], [2, 2], Explicit([1, 1, 1, 1]), Some([1, 1]), [1, 1], 3, 1, 1),
    ];
    for (name, kernel, stride, padding, output_padding, dilation, groups, cin, cout) in rows {
        let large = if t.size == Size::Large { 2 } else { 1 };
        let (n, h, w) = (t.rng.int(1, 2), t.rng.int(1, 4 * large), t.rng.int(2, 4 * large));
        let few = groups > 1 || name == "one channel";
        let (cin, cout) = if few { (cin, cout) } else { (cin * large * large, cout * large) };
        let x = t.float(&[n, h, w, cin * groups], Domain::Any);
        let k = t.float(&[kernel[0], kernel[1], cout, cin * groups], Domain::Any);
        let options = wgrad::ConvTranspose2dOptions::new()
            .stride(stride)
            .padding(padding)
            .output_padding(output_padding)
            .dilation(dilation)
            .groups(groups);
        let call = move |a: &Args<'_>| a[0].conv2d_transpose(&a[1], options);
        t.add(format!("conv2d_transpose/{name}"), vec![x, k], call).second();
    }
    let x = t.float(&[2, 3, 4, 2], Domain::Any);
    let (k, bias) = (t.float(&[2, 3, 4, 2], Domain::Any), t.float(&[4], Domain::Any));
    let call = |a: &Args<'_>| a[0].conv2d_transpose(&a[1], wgrad::ConvTranspose2dOptions::default())? + &a[2];
    t.add("conv2d_transpose/bias", vec![x, k, bias], call);
}

fn upsample2d(t: &mut Table) {
    use wgrad::Interpolation::{Bilinear, Nearest};
    for factor in [[2, 2], [1, 3], [4, 1]] {
        for how in [Nearest, Bilinear] {
            let large = if t.size == Size::Large { 3 } else { 1 };
            let dims = [t.rng.int(1, 2), t.rng.int(1, 3 * large), t.rng.int(1, 3 * large), t.rng.int(1, 3)];
            let x = t.float(&dims, Domain::Any);
            let call = move |a: &Args<'_>| a[0].upsample2d(factor, how);
            let case = t.add(format!("upsample2d/{how:?} {factor:?}"), vec![x], call).second();
            if how == Nearest {
                // the gradient is a sum of some elements
                case.tol = 0.0;
            }
        }
    }
}

fn pool2d(t: &mut Table) {
    use Padding::{Explicit, Same, Valid};
    let rows: [(&str, [usize; 2], [usize; 2], Padding); 7] = [
        ("halves", [2, 2], [2, 2], Valid),
        ("overlap", [3, 3], [1, 1], Valid),
        ("stride", [2, 3], [2, 1], Valid),
        ("gaps", [1, 2], [2, 3], Valid),
        ("padded", [3, 3], [2, 2], Explicit([1, 1, 1, 1])),
        ("four sides", [2, 3], [1, 2], Explicit([0, 1, 2, 1])),
        ("same", [3, 3], [2, 2], Same),
    ];
    for (name, kernel, stride, padding) in rows {
        let large = if t.size == Size::Large { 3 } else { 1 };
        let dims =
            [t.rng.int(1, 2), t.rng.int(3, 4 * large), t.rng.int(3, 5 * large), t.rng.int(1, 3 * large)];
        let options = Pool2dOptions::new(kernel).stride(stride).padding(padding);
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add(format!("max_pool2d/{name}"), vec![x], move |a| a[0].max_pool2d(options)).exact().second();
        let ties = t.float(&dims, Domain::Ties);
        t.add(format!("max_pool2d/{name} ties"), vec![ties], move |a| a[0].max_pool2d(options))
            .exact()
            .tied();
        for count_include_pad in [false, true] {
            let options = options.count_include_pad(count_include_pad);
            let x = t.float(&dims, Domain::Any);
            let name = format!("avg_pool2d/{name}{}", if count_include_pad { " counted" } else { "" });
            t.add(name, vec![x], move |a| a[0].avg_pool2d(options)).second();
        }
    }
}

fn softmax(t: &mut Table) {
    for log in [false, true] {
        let name = if log { "log_softmax" } else { "softmax" };
        for variant in ["last", "axis"] {
            let dims = t.shape(1, 3);
            let axis = if variant == "last" { -1 } else { t.axis(dims.len()) };
            let x = t.float(&dims, Domain::Any);
            let call = move |a: &Args<'_>| if log { a[0].log_softmax(axis) } else { a[0].softmax(axis) };
            t.add(format!("{name}/{variant}"), vec![x], call).second();
        }
    }
    for dtype in [DType::U32, DType::I32, DType::U8] {
        let (rows, cols) = (t.dim(), t.dim() + 1);
        let x = t.float(&[rows, cols], Domain::Range(-4.0, 4.0));
        let labels = t.int(dtype, &[rows], Domain::Whole(0, cols as i64));
        t.add(format!("cross_entropy/{dtype}"), vec![x, labels], |a| a[0].cross_entropy(&a[1])).second();
    }
    let (rows, cols) = (t.shape(1, 2), t.dim() + 1);
    let full = [&rows[..], &[cols]].concat();
    let labels = t.int(DType::U32, &rows, Domain::Whole(0, cols as i64));
    let x = t.float(&full, Domain::Range(-4.0, 4.0));
    t.add("cross_entropy/rows", vec![x, labels], |a| a[0].cross_entropy_rows(&a[1])).second();
    for (name, domain) in [("dense", Domain::Probabilities), ("unnormalised", Domain::Positive)] {
        let x = t.float(&full, Domain::Range(-4.0, 4.0));
        let p = t.float(&full, domain);
        let case =
            t.add(format!("cross_entropy/{name}"), vec![x, p], |a| a[0].cross_entropy_rows(&a[1])).second();
        if name == "unnormalised" {
            // the terms that cancel are as large as the sum of a row's labels
            case.floor = 1.0;
        }
    }
}
