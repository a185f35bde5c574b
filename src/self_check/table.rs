//! What is checked: each operation with shapes that reach its different kernels.

use super::case::{Case, Cases};
use crate::axes::Axes;
use crate::dtype::DType;
use crate::error::Result;
use crate::nn::{Activation, Context, Conv2d, Dense, Flatten, MaxPool2d, Module, Sequential};
use crate::ops::conv2d::{Conv2dOptions, Padding};
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::join::pack;
use crate::ops::pointwise::{binary, compare, unary};
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::resize::Interpolation;
use crate::ops::table::{Binary, Compare, Unary};
use crate::optim::{Adagrad, Adam, AdamW, Lion, Nadam, Optimizer, RmsProp, Sgd};
use crate::tensor::Tensor;
use crate::variable::Variable;

/// All that is checked, in order.
pub(super) fn cases() -> Result<Vec<Case>> {
    let mut c = Cases::default();
    pointwise(&mut c)?;
    random(&mut c)?;
    reductions(&mut c)?;
    moving(&mut c)?;
    products(&mut c)?;
    images(&mut c)?;
    losses(&mut c)?;
    steps(&mut c)?;
    Ok(c.list)
}

/// Everything in the tables of pointwise functions.
fn pointwise(c: &mut Cases) -> Result<()> {
    for &f in Unary::ALL {
        let x = match f {
            Unary::Log | Unary::Log1p | Unary::Sqrt | Unary::Reciprocal => c.uniform(&[7, 33], 0.25, 2.5)?,
            _ => c.float(&[7, 33])?,
        };
        c.add(f.name(), vec![x], move |x| unary(f, &x[0]));
        if matches!(f, Unary::Neg | Unary::Abs | Unary::Square | Unary::Sign | Unary::Relu) {
            let x = c.whole(&[65], -9, 9, DType::I32)?;
            c.add(f.name(), vec![x], move |x| unary(f, &x[0]));
        }
    }
    for &f in Binary::ALL {
        // Between two sets of values no ties, which maxima share between both.
        let x = if f == Binary::Pow { c.uniform(&[5, 1, 9], 0.25, 2.5)? } else { c.float(&[5, 1, 9])? };
        let y = c.float(&[4, 9])?;
        c.add(f.name(), vec![x, y], move |x| binary(f, &x[0], &x[1]));
        let (a, b) = (c.whole(&[65], -9, 9, DType::I32)?, c.whole(&[65], 1, 4, DType::I32)?);
        c.add(f.name(), vec![a, b], move |x| binary(f, &x[0], &x[1]));
    }
    for &f in Compare::ALL {
        let (x, y) = (c.whole(&[4, 33], -2, 3, DType::F32)?, c.whole(&[33], -2, 3, DType::F32)?);
        c.add(f.name(), vec![x, y], move |x| compare(f, &x[0], &x[1])).exact();
        let (x, y) = (c.whole(&[33], 0, 3, DType::U32)?, c.whole(&[33], 0, 3, DType::U32)?);
        c.add(f.name(), vec![x, y], move |x| compare(f, &x[0], &x[1])).exact();
    }
    let (mask, x, y) = (c.whole(&[6, 1], 0, 2, DType::U8)?, c.float(&[6, 11])?, c.float(&[11])?);
    c.add("where", vec![mask, x, y], |x| x[0].select(&x[1], &x[2]));
    let x = c.float(&[6, 11])?;
    c.add("clamp", vec![x], |x| x[0].clamp(-1.0, 0.6)).exact();
    for (from, to) in [
        (DType::F32, DType::I32),
        (DType::F32, DType::U8),
        (DType::I32, DType::F32),
        (DType::U8, DType::F32),
        (DType::U32, DType::I32),
    ] {
        let x = c.whole(&[5, 13], 0, 200, from)?;
        c.add("cast", vec![x], move |x| x[0].cast(to)).exact();
    }
    Ok(())
}

fn random(c: &mut Cases) -> Result<()> {
    // The device is that of an input.
    let like = c.float(&[1])?;
    c.add("rand", vec![like.clone()], |x| Tensor::rand([1001], x[0].device(), 7)).exact();
    c.add("randn", vec![like.clone()], |x| Tensor::randn([1001], x[0].device(), 7));
    c.add("arange", vec![like], |x| Tensor::arange(-3, 1000, x[0].device())).exact();
    Ok(())
}

fn reductions(c: &mut Cases) -> Result<()> {
    type Reduce = fn(&Tensor, Axes, bool) -> Result<Tensor>;
    let list: [(&str, Reduce); 4] =
        [("sum", Tensor::sum), ("prod", Tensor::prod), ("max", Tensor::max), ("min", Tensor::min)];
    for (name, f) in list {
        for axes in [Axes::from(..), Axes::from(-1), Axes::from([0, 2])] {
            let dims = if name == "prod" { [2, 3, 2] } else { [7, 19, 6] };
            let x = match name {
                "max" | "min" => c.distinct(&dims)?,
                "prod" => c.uniform(&dims, 0.7, 1.4)?,
                _ => c.float(&dims)?,
            };
            c.add(name, vec![x], move |x| f(&x[0], axes.clone(), false));
        }
    }
    // Longer than the 65,535 turns after which lavapipe ends a loop, and more rows than a dispatch has workgroups.
    let long = c.uniform(&[150_000], 0.0, 1.0)?;
    c.add("sum", vec![long], |x| x[0].sum(.., false));
    let rows = c.uniform(&[70_000, 3], 0.0, 1.0)?;
    c.add("max", vec![rows], |x| x[0].max(-1, false)).exact();
    for axis in [0, -1] {
        let x = c.distinct(&[9, 31])?;
        c.add("argmax", vec![x.clone()], move |x| x[0].argmax(axis, false)).exact();
        c.add("argmin", vec![x], move |x| x[0].argmin(axis, true)).exact();
    }
    Ok(())
}

/// Views, joins, indexing.
fn moving(c: &mut Cases) -> Result<()> {
    let x = c.float(&[4, 5, 6])?;
    c.add("to_device", vec![x.clone()], |x| Ok(x[0].clone())).exact();
    let bytes = c.whole(&[77], 0, 256, DType::U8)?;
    c.add("to_device", vec![bytes], |x| Ok(x[0].clone())).exact();
    c.add("reshape", vec![x.clone()], |x| x[0].reshape([6, 20])).exact();
    c.add("permute", vec![x.clone()], |x| x[0].permute([2, 0, 1])).exact();
    let column = c.float(&[4, 1])?;
    c.add("broadcast_to", vec![column], |x| x[0].broadcast_to([3, 4, 7]));
    c.add("slice", vec![x.clone()], |x| x[0].slice(1, 1, 3)).exact();
    c.add("slice", vec![x.clone()], |x| x[0].slice_step(2, 5, 3, -2)).exact();
    let y = c.float(&[4, 2, 6])?;
    c.add("concat", vec![x.clone(), y.clone()], |x| Tensor::concat(&[&x[0], &x[1]], 1)).exact();
    c.add("pad", vec![x.clone()], |x| x[0].pad([(0, 0), (1, 2), (3, 0)], -1.5)).exact();
    c.add("pack", vec![x.clone(), y], |x| {
        let packed = pack(&[x[0].exp()?, x[1].clone()])?;
        // what lies between the parts is unspecified
        Tensor::concat(&[&packed.slice(0, 0, 120)?, &packed.slice(0, 128, 48)?], 0)
    });
    // More picks than places: the gradient adds up.
    let at = c.whole(&[17], 0, 5, DType::U32)?;
    c.add("index_select", vec![x.clone(), at], |x| x[0].index_select(1, &x[1])).second();
    let at = c.whole(&[4, 3, 6], 0, 5, DType::I32)?;
    c.add("gather", vec![x, at], |x| x[0].gather(1, &x[1]));
    Ok(())
}

fn products(c: &mut Cases) -> Result<()> {
    // Rows, inner length, columns: each kernel's favourite, odd ones, and sums long enough to be split.
    for (m, k, n) in [(5, 7, 3), (33, 65, 31), (64, 64, 128), (16, 4000, 16)] {
        let (a, b) = (c.float(&[m, k])?, c.float(&[k, n])?);
        let case = c.add("matmul", vec![a, b], |x| x[0].matmul(&x[1]));
        case.floor = 1.0;
        if m == 5 {
            case.second();
        }
    }
    let (a, b) = (c.float(&[3, 2, 17, 9])?, c.float(&[2, 8, 17])?);
    c.add("matmul", vec![a, b], |x| x[0].transpose()?.matmul(x[1].transpose()?)).floor = 1.0;
    Ok(())
}

fn images(c: &mut Cases) -> Result<()> {
    use Padding::{Explicit, Same, Valid};
    // kernel, stride, padding, dilation, groups, input and output channels of a group
    let list = [
        ([3, 3], [1, 1], Valid, [1, 1], 1, 1, 8),
        ([3, 3], [1, 1], Valid, [1, 1], 1, 16, 32),
        ([3, 2], [2, 3], Explicit([0, 2, 1, 3]), [1, 1], 1, 2, 5),
        ([2, 2], [1, 1], Valid, [2, 3], 1, 2, 2),
        ([1, 1], [2, 2], Valid, [1, 1], 1, 8, 4),
        ([3, 3], [1, 1], Same, [1, 1], 2, 4, 6),
        ([3, 3], [1, 2], Same, [1, 1], 6, 1, 1),
    ];
    for (i, (kernel, stride, padding, dilation, groups, cin, cout)) in list.into_iter().enumerate() {
        let x = c.float(&[2, 9, 11, cin * groups])?;
        let w = c.float(&[kernel[0], kernel[1], cin, cout * groups])?;
        let options = Conv2dOptions { stride, padding, dilation, groups };
        let case = c.add("conv2d", vec![x, w], move |x| x[0].conv2d(&x[1], options));
        case.floor = 1.0;
        if i == 2 {
            case.second();
        }
    }
    let (x, w) = (c.float(&[2, 5, 6, 4])?, c.float(&[3, 3, 6, 4])?);
    let options = ConvTranspose2dOptions { stride: [2, 2], ..Default::default() };
    c.add("conv2d_transpose", vec![x, w], move |x| x[0].conv2d_transpose(&x[1], options)).floor = 1.0;
    for how in [Interpolation::Nearest, Interpolation::Bilinear] {
        let x = c.float(&[2, 3, 4, 3])?;
        c.add("upsample2d", vec![x], move |x| x[0].upsample2d([2, 3], how));
    }
    for (kernel, stride, padding) in
        [([2, 2], [2, 2], Valid), ([3, 3], [2, 2], Same), ([3, 2], [1, 1], Valid)]
    {
        let options = Pool2dOptions { stride, padding, ..Pool2dOptions::new(kernel) };
        let x = c.distinct(&[2, 8, 9, 5])?;
        c.add("max_pool2d", vec![x.clone()], move |x| x[0].max_pool2d(options)?.square()).second();
        c.add("avg_pool2d", vec![x], move |x| x[0].avg_pool2d(options));
    }
    Ok(())
}

fn losses(c: &mut Cases) -> Result<()> {
    for (rows, cols) in [(9, 10), (3, 301)] {
        let x = c.float(&[rows, cols])?;
        c.add("softmax", vec![x.clone()], |x| x[0].softmax(-1)).second();
        c.add("log_softmax", vec![x.clone()], |x| x[0].log_softmax(-1)).second();
        let labels = c.whole(&[rows], 0, cols as i32, DType::U8)?;
        c.add("cross_entropy", vec![x.clone(), labels], |x| x[0].cross_entropy_rows(&x[1])).second();
        let weights = c.uniform(&[rows, cols], 0.1, 1.0)?;
        let sum = weights.sum(-1, true)?;
        let dense = (weights / sum)?;
        dense.eval()?;
        c.add("cross_entropy, dense", vec![x, dense], |x| x[0].cross_entropy_rows(&x[1])).second();
    }
    let x = c.float(&[4, 6, 5])?;
    c.add("softmax", vec![x], |x| x[0].softmax(1));
    Ok(())
}

/// Two steps of each optimizer, and a step of training a small network.
fn steps(c: &mut Cases) -> Result<()> {
    type Make = fn() -> Box<dyn Optimizer>;
    let list: [(&str, Make); 7] = [
        ("Sgd", || Box::new(Sgd::new(0.1).momentum(0.9))),
        ("Adam", || Box::new(Adam::new(0.1))),
        ("AdamW", || Box::new(AdamW::new(0.1))),
        ("RmsProp", || Box::new(RmsProp::new(0.1))),
        ("Adagrad", || Box::new(Adagrad::new(0.1))),
        ("Nadam", || Box::new(Nadam::new(0.1))),
        ("Lion", || Box::new(Lion::new(0.1))),
    ];
    for (name, make) in list {
        let (a, b) = (c.float(&[5, 7])?, c.float(&[70])?);
        c.add_all(&format!("step of {name}"), vec![a, b], move |x| {
            let variables = [Variable::new(x[0].detach()?), Variable::new(x[1].detach()?)];
            let mut optimizer = make();
            for _ in 0..2 {
                let sums = (variables[0].value().square()?.sum(.., false)?
                    + variables[1].value().exp()?.sum(.., false)?)?;
                optimizer.step(&sums.backward()?)?;
            }
            variables.iter().map(|v| v.value().detach()).collect()
        });
    }
    let (x, y) = (c.float(&[8, 12, 12, 1])?, c.whole(&[8], 0, 5, DType::U8)?);
    c.add_all("training step", vec![x, y], |x| {
        let model = Sequential::new()
            .add(Conv2d::new(8, [3, 3]).activation(Activation::Relu))
            .add(MaxPool2d::new([2, 2]))
            .add(Conv2d::new(16, [3, 3]).activation(Activation::Relu))
            .add(Flatten::new())
            .add(Dense::new(16).activation(Activation::Relu))
            .add(Dense::new(5))
            .seed(3)
            .build([12, 12, 1], x[0].device())?;
        let loss = model.forward(&x[0].detach()?, &Context::train(1))?.cross_entropy(&x[1])?;
        let grads = loss.backward()?;
        let mut results = vec![loss.detach()?];
        for (_, gradient) in grads.variables() {
            results.push(gradient.detach()?);
        }
        Ok(results)
    });
    Ok(())
}
