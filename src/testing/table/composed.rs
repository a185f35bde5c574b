//! Rows of operations that are made of others where these could be put together wrongly: sequences, volumes, samples between pixels.

use super::case::{Args, Size, Table};
use super::input::Domain;
use crate::ops::resize::Interpolation;
use crate::tensor::{
    Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose3dOptions, GridOptions, GridPadding,
    Padding1d, Padding3d, Pool1dOptions, Pool3dOptions, Resampling,
};

pub fn sequences(t: &mut Table) {
    let large = if t.size == Size::Small { 1 } else { 4 };
    for (name, padding, stride, dilation, groups) in [
        ("valid", Padding1d::Valid, 1, 1, 1),
        ("same stride", Padding1d::Same, 2, 1, 1),
        ("causal", Padding1d::Causal, 1, 2, 1),
        ("groups", Padding1d::Explicit([2, 0]), 1, 1, 2),
    ] {
        let dims = [2, t.rng.int(3, 6 * large), 2 * groups];
        let x = t.float(&dims, Domain::Any);
        let k = t.float(&[2, 2, 3 * groups], Domain::Any);
        let options = Conv1dOptions::new().padding(padding).stride(stride).dilation(dilation).groups(groups);
        t.add(format!("conv1d/{name}"), vec![x, k], move |a| a[0].conv1d(&a[1], options)).second();
        if padding != Padding1d::Causal {
            let dims = [2, t.rng.int(1, 5 * large), 2 * groups];
            let x = t.float(&dims, Domain::Any);
            let k = t.float(&[3, 3, 2 * groups], Domain::Any);
            let options = ConvTranspose1dOptions::new().padding(padding).stride(2).groups(groups);
            let call = move |a: &Args<'_>| a[0].conv1d_transpose(&a[1], options);
            t.add(format!("conv1d_transpose/{name}"), vec![x, k], call).second();
        }
    }
    for (name, padding, ceil) in
        [("halves", Padding1d::Valid, false), ("ceil", Padding1d::Explicit([1, 0]), true)]
    {
        let options = Pool1dOptions::new(3).stride(2).padding(padding).ceil_mode(ceil);
        let dims = [2, t.rng.int(3, 6 * large), t.rng.int(1, 3)];
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add(format!("max_pool1d/{name}"), vec![x], move |a| a[0].max_pool1d(options)).exact().second();
        let x = t.float(&dims, Domain::Any);
        t.add(format!("avg_pool1d/{name}"), vec![x], move |a| a[0].avg_pool1d(options)).second();
    }
}

pub fn volumes(t: &mut Table) {
    let large = if t.size == Size::Small { 1 } else { 2 };
    for (name, padding, stride, dilation, groups) in [
        ("valid", Padding3d::Valid, [1, 1, 1], [1, 1, 1], 1),
        ("same stride", Padding3d::Same, [2, 1, 2], [1, 1, 1], 1),
        ("dilation", Padding3d::Explicit([1, 1, 0, 1, 1, 0]), [1, 2, 1], [2, 1, 1], 1),
        ("groups", Padding3d::Same, [1, 1, 1], [1, 1, 1], 2),
    ] {
        let sizes = [t.rng.int(2, 2 * large), t.rng.int(2, 3 * large), t.rng.int(2, 3 * large)];
        let x = t.float(&[1, sizes[0], sizes[1], sizes[2], 2 * groups], Domain::Any);
        let k = t.float(&[2, 2, 1, 2, 2 * groups], Domain::Any);
        let options = Conv3dOptions::new().padding(padding).stride(stride).dilation(dilation).groups(groups);
        t.add(format!("conv3d/{name}"), vec![x, k], move |a| a[0].conv3d(&a[1], options)).second();
        let x = t.float(&[1, sizes[0] - 1, sizes[1], sizes[2], groups], Domain::Any);
        let k = t.float(&[2, 2, 1, 2, groups], Domain::Any);
        let options =
            ConvTranspose3dOptions::new().padding(padding).stride(stride).dilation(dilation).groups(groups);
        let call = move |a: &Args<'_>| a[0].conv3d_transpose(&a[1], options);
        t.add(format!("conv3d_transpose/{name}"), vec![x, k], call).second();
    }
    for (name, padding, ceil) in
        [("halves", Padding3d::Same, false), ("ceil", Padding3d::Explicit([1, 0, 0, 1, 1, 1]), true)]
    {
        let options = Pool3dOptions::new([2, 2, 3]).stride([2, 1, 2]).padding(padding).ceil_mode(ceil);
        let dims = [1, t.rng.int(2, 3 * large), t.rng.int(2, 3 * large), t.rng.int(3, 4 * large), 2];
        let x = t.float(&dims, Domain::Distinct(0.0));
        t.add(format!("max_pool3d/{name}"), vec![x], move |a| a[0].max_pool3d(options)).exact().second();
        let x = t.float(&dims, Domain::Any);
        t.add(format!("avg_pool3d/{name}"), vec![x], move |a| a[0].avg_pool3d(options)).second();
    }
    for how in [Interpolation::Nearest, Interpolation::Bilinear] {
        let dims = [1, t.rng.int(1, 2 * large), 2, t.rng.int(1, 3 * large), 2];
        let x = t.float(&dims, Domain::Any);
        t.add(format!("upsample3d/{how:?}"), vec![x], move |a| a[0].upsample3d([2, 1, 3], how)).second();
    }
}

pub fn resampling(t: &mut Table) {
    let large = if t.size == Size::Small { 1 } else { 3 };
    for (how, corners) in [
        (Resampling::Nearest, false),
        (Resampling::Bilinear, false),
        (Resampling::Bilinear, true),
        (Resampling::Bicubic, false),
        (Resampling::CatmullRom, true),
    ] {
        let size = [t.rng.int(1, 5 * large), t.rng.int(1, 5 * large)];
        let dims = [2, t.rng.int(1, 4 * large), t.rng.int(2, 4 * large), 2];
        let x = t.float(&dims, Domain::Any);
        let name = format!("resize2d/{how:?}{}", if corners { " corners" } else { "" });
        t.add(name, vec![x], move |a| a[0].resize2d(size, how, corners)).second();
    }
    for (padding, nearest, corners) in [
        (GridPadding::Zeros, false, false),
        (GridPadding::Border, false, true),
        (GridPadding::Reflection, false, false),
        (GridPadding::Zeros, true, true),
    ] {
        let options = GridOptions::new().padding(padding).nearest(nearest).align_corners(corners);
        let dims = [2, t.rng.int(2, 4 * large), t.rng.int(2, 4 * large), 2];
        let x = t.float(&dims, Domain::Any);
        // Some of it is outside of the image.
        let dims = [2, t.rng.int(1, 2 * large), t.rng.int(1, 2 * large), 2];
        let grid = t.float(&dims, Domain::Range(-1.4, 1.4));
        let name = format!("grid_sample/{padding:?}{}", if nearest { " nearest" } else { "" });
        t.add(name, vec![x, grid], move |a| a[0].grid_sample(&a[1], options));
    }
}
