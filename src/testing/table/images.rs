//! Rows of images: convolution, pooling, magnification.

use super::case::{Args, Size, Table};
use super::input::Domain;
use crate::ops::conv2d::Conv2dOptions;
use crate::ops::conv2d::Padding;
use crate::ops::conv2d_transpose::ConvTranspose2dOptions;
use crate::ops::pool2d::Pool2dOptions;
use crate::ops::resize::Interpolation;

pub fn conv2d(t: &mut Table) {
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
        let large = if t.size == Size::Small { 1 } else { 2 };
        let (n, h, w) = (t.rng.int(1, 2), t.rng.int(4, 5 * large), t.rng.int(4, 6 * large));
        let channels = if groups == 1 && name != "one channel" { cin * large * large } else { cin };
        let x = t.float(&[n, h, w, channels * groups], Domain::Any);
        let k = t.float(&[kernel[0], kernel[1], channels, cout * groups], Domain::Any);
        let options = Conv2dOptions { stride, padding, dilation, groups };
        t.add(format!("conv2d/{name}"), vec![x, k], move |a| a[0].conv2d(&a[1], options)).second();
    }
    let x = t.float(&[2, 4, 5, 2], Domain::Any);
    let (k, bias) = (t.float(&[2, 3, 2, 4], Domain::Any), t.float(&[4], Domain::Any));
    let call = |a: &Args<'_>| a[0].conv2d(&a[1], Conv2dOptions::default())? + &a[2];
    t.add("conv2d/bias", vec![x, k, bias], call);
}

pub fn conv2d_transpose(t: &mut Table) {
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
        let large = if t.size == Size::Small { 1 } else { 2 };
        let (n, h, w) = (t.rng.int(1, 2), t.rng.int(1, 4 * large), t.rng.int(2, 4 * large));
        let few = groups > 1 || name == "one channel";
        let (cin, cout) = if few { (cin, cout) } else { (cin * large * large, cout * large) };
        let x = t.float(&[n, h, w, cin * groups], Domain::Any);
        let k = t.float(&[kernel[0], kernel[1], cout, cin * groups], Domain::Any);
        let options = ConvTranspose2dOptions { stride, padding, output_padding, dilation, groups };
        let call = move |a: &Args<'_>| a[0].conv2d_transpose(&a[1], options);
        t.add(format!("conv2d_transpose/{name}"), vec![x, k], call).second();
    }
    let x = t.float(&[2, 3, 4, 2], Domain::Any);
    let (k, bias) = (t.float(&[2, 3, 4, 2], Domain::Any), t.float(&[4], Domain::Any));
    let call = |a: &Args<'_>| a[0].conv2d_transpose(&a[1], ConvTranspose2dOptions::default())? + &a[2];
    t.add("conv2d_transpose/bias", vec![x, k, bias], call);
}

pub fn upsample2d(t: &mut Table) {
    use Interpolation::{Bilinear, Nearest};
    for factor in [[2, 2], [1, 3], [4, 1]] {
        for how in [Nearest, Bilinear] {
            let large = if t.size == Size::Small { 1 } else { 3 };
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

pub fn pool2d(t: &mut Table) {
    use Padding::{Explicit, Same, Valid};
    let rows: [(&str, [usize; 2], [usize; 2], Padding); 8] = [
        ("halves", [2, 2], [2, 2], Valid),
        ("overlap", [3, 3], [1, 1], Valid),
        ("stride", [2, 3], [2, 1], Valid),
        ("gaps", [1, 2], [2, 3], Valid),
        ("padded", [3, 3], [2, 2], Explicit([1, 1, 1, 1])),
        ("four sides", [2, 3], [1, 2], Explicit([0, 1, 2, 1])),
        ("same", [3, 3], [2, 2], Same),
        // the gradient's kernel for windows that don't overlap, at an edge where windows hold less
        ("apart and padded", [2, 3], [3, 3], Explicit([1, 0, 1, 1])),
    ];
    for (name, kernel, stride, padding) in rows {
        let large = if t.size == Size::Small { 1 } else { 3 };
        let dims =
            [t.rng.int(1, 2), t.rng.int(3, 4 * large), t.rng.int(3, 5 * large), t.rng.int(1, 3 * large)];
        let options = Pool2dOptions { stride, padding, ..Pool2dOptions::new(kernel) };
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add(format!("max_pool2d/{name}"), vec![x], move |a| a[0].max_pool2d(options)).exact().second();
        let ties = t.float(&dims, Domain::Ties);
        t.add(format!("max_pool2d/{name} ties"), vec![ties], move |a| a[0].max_pool2d(options))
            .exact()
            .tied();
        for count_include_pad in [false, true] {
            let options = Pool2dOptions { count_include_pad, ..options };
            let x = t.float(&dims, Domain::Any);
            let name = format!("avg_pool2d/{name}{}", if count_include_pad { " counted" } else { "" });
            t.add(name, vec![x], move |a| a[0].avg_pool2d(options)).second();
        }
    }
}

/// Windows that reach beyond the border at the end.
pub fn pool2d_ceil(t: &mut Table) {
    for (name, kernel, stride, padding) in [
        ("halves", [2, 2], [2, 2], [0; 4]),
        ("overlap", [3, 3], [2, 2], [1, 0, 1, 1]),
        ("apart", [2, 3], [3, 4], [0, 1, 1, 1]),
    ] {
        let large = if t.size == Size::Small { 1 } else { 3 };
        let dims = [1, 2 * t.rng.int(1, 2 * large) + 1, t.rng.int(3, 5 * large), t.rng.int(1, 2 * large)];
        let options =
            Pool2dOptions::new(kernel).stride(stride).padding(Padding::Explicit(padding)).ceil_mode(true);
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add(format!("max_pool2d/ceil {name}"), vec![x], move |a| a[0].max_pool2d(options)).exact().second();
        let options = options.count_include_pad(true);
        let x = t.float(&dims, Domain::Any);
        t.add(format!("avg_pool2d/ceil {name}"), vec![x], move |a| a[0].avg_pool2d(options)).second();
    }
    if t.size == Size::Kernels {
        // So large that rows and columns are pooled one after the other.
        let options = Pool2dOptions::new([70, 65]).stride([7, 8]).ceil_mode(true);
        let x = t.float(&[1, 100, 91, 2], Domain::Any);
        t.add("max_pool2d/ceil large", vec![x.clone()], move |a| a[0].max_pool2d(options)).exact();
        t.add("avg_pool2d/ceil large", vec![x], move |a| a[0].avg_pool2d(options));
    }
}
