//! Gradients against finite differences, those of gradients too, and every device against the CPU.

use super::common::{Rng, tensor};
use wgrad::prelude::*;
use wgrad::testing::{assert_parity, check_gradients};
use wgrad::{
    Conv3dOptions, ConvTranspose3dOptions, GridOptions, GridPadding, Interpolation, PadMode, Padding3d,
    Pool3dOptions, Resampling,
};

type Call = fn(&[Tensor]) -> Result<Vec<Tensor>>;

/// A name, a call, the shapes of its inputs, and the range that they are drawn from.
type Case = (&'static str, Call, &'static [&'static [usize]], (f64, f64));

const WIDE: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.25, 4.0);

const CASES: &[Case] = &[
    (
        "pad_mode",
        |x| {
            let modes = [PadMode::Reflect, PadMode::Replicate, PadMode::Circular];
            modes.iter().map(|&mode| x[0].pad_mode([(1, 2), (3, 0)], mode)).collect()
        },
        &[&[3, 4]],
        WIDE,
    ),
    (
        "conv3d",
        |x| {
            let same = Conv3dOptions::new().padding(Padding3d::Same).stride([2, 1, 1]);
            let apart = Conv3dOptions::new().dilation([2, 1, 1]).groups(2);
            Ok(vec![x[0].conv3d(&x[1], same)?, x[0].conv3d(&x[2], apart)?])
        },
        &[&[1, 3, 2, 2, 2], &[2, 2, 1, 2, 2], &[2, 1, 2, 1, 2]],
        WIDE,
    ),
    (
        "conv3d_transpose",
        |x| {
            let same = ConvTranspose3dOptions::new().padding(Padding3d::Same).stride([2, 1, 2]);
            let cut = ConvTranspose3dOptions::new().padding(Padding3d::Explicit([1, 2, 0, 0, 1, 0]));
            Ok(vec![x[0].conv3d_transpose(&x[1], same)?, x[0].conv3d_transpose(&x[2], cut)?])
        },
        &[&[1, 2, 2, 2, 2], &[3, 1, 2, 1, 2], &[3, 2, 2, 1, 2]],
        WIDE,
    ),
    (
        "conv3d, depthwise",
        |x| {
            let there = Conv3dOptions::new().padding(Padding3d::Same).groups(2);
            let back = ConvTranspose3dOptions::new().stride([2, 1, 1]).groups(2);
            Ok(vec![x[0].conv3d(&x[1], there)?, x[0].conv3d_transpose(&x[2], back)?])
        },
        &[&[1, 3, 2, 2, 2], &[2, 1, 2, 1, 4], &[2, 2, 1, 1, 2]],
        WIDE,
    ),
    (
        "avg_pool3d",
        |x| {
            let options = Pool3dOptions::new([2, 3, 2]).stride([1, 2, 2]);
            Ok(vec![
                x[0].avg_pool3d(options.padding(Padding3d::Same))?,
                x[0].avg_pool3d(options.ceil_mode(true))?,
            ])
        },
        &[&[1, 3, 4, 3, 2]],
        WIDE,
    ),
    (
        "max_pool3d",
        |x| Ok(vec![x[0].max_pool3d(Pool3dOptions::new([2, 2, 1]).stride([1, 1, 1]).ceil_mode(true))?]),
        &[&[1, 3, 3, 2, 2]],
        WIDE,
    ),
    (
        "upsample3d",
        |x| {
            [Interpolation::Nearest, Interpolation::Bilinear]
                .iter()
                .map(|&how| x[0].upsample3d([2, 3, 1], how))
                .collect()
        },
        &[&[1, 2, 2, 3, 2]],
        WIDE,
    ),
    (
        "resize2d",
        |x| {
            let resize = |size, how, align| x[0].resize2d(size, how, align);
            Ok(vec![
                resize([5, 2], Resampling::Bilinear, true)?,
                resize([2, 6], Resampling::Bicubic, false)?,
                resize([4, 5], Resampling::CatmullRom, false)?,
            ])
        },
        &[&[1, 3, 4, 2]],
        WIDE,
    ),
    (
        "grid_sample",
        |x| {
            let paddings = [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection];
            paddings.iter().map(|&p| x[0].grid_sample(&x[1], GridOptions::new().padding(p))).collect()
        },
        &[&[2, 3, 4, 1], &[2, 1, 3, 2]],
        WIDE,
    ),
    ("shuffle", |x| Ok(vec![x[0].shuffle(1, 5)?]), &[&[3, 4]], WIDE),
    ("roll", |x| Ok(vec![x[0].roll(2, 1)?, x[0].roll(-1, 0)?]), &[&[3, 5]], WIDE),
    ("repeat", |x| Ok(vec![x[0].repeat(3, 0)?, x[0].repeat(2, -1)?]), &[&[3, 4]], WIDE),
    ("tile", |x| Ok(vec![x[0].tile([2, 3])?, x[0].tile([2, 1, 2])?]), &[&[3, 2]], WIDE),
    ("split", |x| x[0].split([1, 3, 2], 1), &[&[2, 6]], WIDE),
    ("split_into", |x| x[0].split_into::<3>(1).map(Vec::from), &[&[2, 6]], WIDE),
    ("chunk", |x| x[0].chunk(3, 0), &[&[7, 2]], WIDE),
    ("tril", |x| Ok(vec![x[0].tril(0)?, x[0].tril(-1)?]), &[&[2, 3, 4]], WIDE),
    ("triu", |x| Ok(vec![x[0].triu(1)?, x[0].triu(-2)?]), &[&[4, 3]], WIDE),
    ("diag of a vector", |x| Ok(vec![x[0].diag(0)?, x[0].diag(-2)?]), &[&[4]], WIDE),
    ("diag of a matrix", |x| Ok(vec![x[0].diag(1)?, x[0].diag(-1)?]), &[&[4, 5]], WIDE),
    ("diagonal", |x| Ok(vec![x[0].diagonal(0, 0, 2)?, x[0].diagonal(-1, 2, 1)?]), &[&[3, 4, 3]], WIDE),
    ("trace", |x| Ok(vec![x[0].trace()?]), &[&[2, 4, 3]], WIDE),
    ("meshgrid", |x| Tensor::meshgrid(&[&x[0], &x[1]]), &[&[3], &[4]], WIDE),
    ("einsum: attention", |x| einsum("bthd,bshd->bhts", x), &[&[2, 3, 2, 4], &[2, 5, 2, 4]], WIDE),
    ("einsum: a chain", |x| einsum("ij,jk,kl->il", x), &[&[2, 3], &[3, 4], &[4, 2]], WIDE),
    ("einsum: a form", |x| einsum("i,ij,j->", x), &[&[3], &[3, 4], &[4]], WIDE),
    ("einsum: diagonals", |x| einsum("iij,jk->ik", x), &[&[3, 3, 2], &[2, 4]], WIDE),
    ("einsum: further axes", |x| einsum("...ij,...jk", x), &[&[2, 1, 2, 3], &[4, 3, 2]], WIDE),
    ("einsum: repeated axes", |x| einsum("ij,jk->ik", x), &[&[2, 1], &[3, 4]], WIDE),
    ("einsum: by element", |x| einsum("ij,ij,j->i", x), &[&[2, 3], &[2, 3], &[3]], WIDE),
    ("einsum: sums", |x| einsum("ijk->k", x), &[&[2, 3, 4]], WIDE),
    ("einsum: nothing", |x| einsum("ij,jk->ik", x), &[&[2, 0], &[0, 3]], WIDE),
    ("tensordot", |x| Ok(vec![x[0].tensordot(&x[1], [1, 2], [1, 0])?]), &[&[2, 3, 4], &[4, 3, 2]], WIDE),
    ("outer", |x| Ok(vec![x[0].outer(&x[1])?]), &[&[3], &[4]], WIDE),
    ("dot", |x| Ok(vec![x[0].dot(&x[1])?]), &[&[5], &[5]], WIDE),
    ("addmm", |x| Ok(vec![x[0].addmm(&x[1], &x[2])?]), &[&[4], &[2, 3], &[3, 4]], WIDE),
    ("lerp", |x| Ok(vec![x[0].lerp(&x[1], &x[2])?, x[0].lerp(&x[1], 0.3)?]), &[&[4, 3], &[3], &[4, 1]], WIDE),
    (
        "logsumexp",
        |x| Ok(vec![x[0].logsumexp([0, 2], false)?, x[0].logsumexp(1, true)?]),
        &[&[2, 3, 4]],
        WIDE,
    ),
    ("norm_p 0.5", |x| Ok(vec![x[0].norm_p(0.5, -1, false)?]), &[&[3, 4]], POSITIVE),
    ("norm_p 1", |x| Ok(vec![x[0].norm_p(1.0, 0, true)?]), &[&[3, 4]], POSITIVE),
    ("norm_p 2", |x| Ok(vec![x[0].norm_p(2.0, .., true)?]), &[&[3, 4]], WIDE),
    (
        "norm_p 3",
        |x| Ok(vec![x[0].norm_p(3.0, -1, false)?, x[0].neg()?.norm_p(3.0, .., false)?]),
        &[&[3, 4]],
        POSITIVE,
    ),
    ("norm_p -1", |x| Ok(vec![x[0].norm_p(-1.0, -1, false)?]), &[&[3, 4]], POSITIVE),
    ("norm_p inf", |x| Ok(vec![x[0].norm_p(f64::INFINITY, -1, false)?]), &[&[3, 4]], POSITIVE),
    ("norm_p -inf", |x| Ok(vec![x[0].norm_p(f64::NEG_INFINITY, -1, false)?]), &[&[3, 4]], POSITIVE),
    ("masked_fill", |x| Ok(vec![x[0].masked_fill(&x[1].gt(0.0)?, 7.0)?]), &[&[3, 4], &[4]], WIDE),
    ("nan_to_num", |x| Ok(vec![x[0].nan_to_num()?]), &[&[3, 4]], WIDE),
    ("rsqrt", |x| Ok(vec![x[0].rsqrt()?]), &[&[3, 4]], POSITIVE),
    ("exp2", |x| Ok(vec![x[0].exp2()?]), &[&[3, 4]], WIDE),
    ("log2", |x| Ok(vec![x[0].log2()?]), &[&[3, 4]], POSITIVE),
    ("log10", |x| Ok(vec![x[0].log10()?]), &[&[3, 4]], POSITIVE),
    ("sinh", |x| Ok(vec![x[0].sinh()?]), &[&[3, 4]], WIDE),
    ("cosh", |x| Ok(vec![x[0].cosh()?]), &[&[3, 4]], WIDE),
    ("sinh, far", |x| Ok(vec![(x[0].sinh()? * 1e-9)?]), &[&[3, 4]], (21.0, 22.0)),
];

fn einsum(equation: &str, x: &[Tensor]) -> Result<Vec<Tensor>> {
    Ok(vec![Tensor::einsum(equation, &x.iter().collect::<Vec<_>>())?])
}

fn inputs(shapes: &[&[usize]], (low, high): (f64, f64), dtype: DType) -> Result<Vec<Tensor>> {
    let mut rng = Rng(3);
    let one = |shape: &&[usize]| {
        let values: Vec<f64> =
            (0..shape.iter().product()).map(|_| rng.uniform(low, high) as f32 as f64).collect();
        tensor(&values, shape, dtype, Device::Cpu)
    };
    shapes.iter().map(one).collect()
}

#[test]
fn match_finite_differences() -> Result<()> {
    let mut failures = Vec::new();
    for (name, call, shapes, range) in CASES {
        match check_gradients(call, &inputs(shapes, *range, DType::F64)?) {
            Err(e @ Error::Mismatch { .. }) => failures.push(format!("{name}: {e}")),
            result => result.map_err(|e| e.context(*name))?,
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// The squares of the outputs keep a curvature where a function is linear.
#[test]
fn of_gradients_match_finite_differences() -> Result<()> {
    let mut failures = Vec::new();
    for (name, call, shapes, range) in CASES {
        let slope = |x: &[Tensor]| -> Result<Vec<Tensor>> {
            let squares = call(x)?.iter().map(|y| y.square()?.sum(.., false)).collect::<Result<Vec<_>>>()?;
            let total = squares[1..].iter().try_fold(squares[0].clone(), |sum, y| sum + y)?;
            let grads = total.backward()?;
            x.iter().map(|x| grads.get_or_zeros(x)).collect()
        };
        match check_gradients(slope, &inputs(shapes, *range, DType::F64)?) {
            Err(e @ Error::Mismatch { .. }) => failures.push(format!("{name}: {e}")),
            result => result.map_err(|e| e.context(*name))?,
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn and_values_are_those_of_the_cpu_on_every_device() -> Result<()> {
    for (name, call, shapes, range) in CASES {
        assert_parity(call, &inputs(shapes, *range, DType::F32)?).map_err(|e| e.context(*name))?;
    }
    Ok(())
}

/// Derivatives at the places where a formula changes, and where a side that is not taken is infinite.
#[test]
fn are_finite_where_formulas_meet() -> Result<()> {
    for device in super::common::DEVICES {
        let x = Tensor::new([0.0f32, 19.99, 20.01, -20.01, 89.0, -89.0], device)?.watch()?;
        let gradient = |y: Tensor| y.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>();
        let near = |got: &[f32], want: fn(f64) -> f64| {
            for (g, x) in got.iter().zip([0.0f32, 19.99, 20.01, -20.01, 89.0, -89.0]) {
                let want = want(f64::from(x));
                assert!(
                    (f64::from(*g) - want).abs() <= 2e-6 * want.abs(),
                    "{device}: {g} at {x}, expected {want}"
                );
            }
        };
        near(&gradient(x.sinh()?)?, f64::cosh);
        near(&gradient(x.cosh()?)?, f64::sinh);
        let filled = x.masked_fill(&x.gt(50.0)?, f64::INFINITY)?;
        assert_eq!(gradient(filled)?, [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        let x = Tensor::new([f32::NAN, f32::INFINITY, 2.0], device)?.watch()?;
        let gradient = x.nan_to_num()?.sum(.., false)?.backward()?.get(&x)?;
        assert_eq!(gradient.to_vec::<f32>()?, [0.0, 0.0, 1.0], "{device}");
    }
    Ok(())
}
