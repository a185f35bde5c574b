//! Reductions against plain sums over lists of the values.

use ndarray::{Array1, ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use super::super::float::testing::{assert_close, numbers};
use super::*;

/// What the kernels take, of an array's view.
fn of<'a, T>(x: &ArrayViewD<'a, T>) -> Strided<'a, T> {
    let ways = || x.shape().iter().zip(x.strides()).map(|(&n, &s)| (n as isize - 1) * s);
    let (before, after) = (ways().map(|w| w.min(0)).sum::<isize>(), ways().map(|w| w.max(0)).sum::<isize>());
    let data = match x.is_empty() {
        true => &[][..],
        // SAFETY: from the lowest to the highest element of the view, all in one borrowed array.
        false => unsafe {
            std::slice::from_raw_parts(x.as_ptr().offset(before), (after - before) as usize + 1)
        },
    };
    Strided::new(data, if x.is_empty() { 0 } else { -before as usize }, x.shape(), x.strides()).unwrap()
}

/// For each place of the kept dimensions, the elements reduced.
fn groups<T: Number>(x: &ArrayViewD<T>, axes: &[usize]) -> Vec<Vec<T>> {
    let kept: Vec<usize> = (0..x.ndim()).filter(|d| !axes.contains(d)).collect();
    let len: usize = kept.iter().map(|&d| x.shape()[d]).product();
    let mut all = vec![Vec::new(); len];
    for (index, value) in x.indexed_iter() {
        all[kept.iter().fold(0, |at, &d| at * x.shape()[d] + index[d])].push(*value);
    }
    all
}

fn check(x: ArrayViewD<f64>, axes: &[usize]) {
    let what = format!("{:?} strides {:?} over {axes:?}", x.shape(), x.strides());
    let all = groups(&x, axes);
    let want = |f: &dyn Fn(&[f64]) -> f64| all.iter().map(|v| f(v)).collect::<Vec<_>>();
    let mut out = vec![f64::NAN; all.len()];
    sum(of(&x.view()), axes, &mut out);
    assert_close(&out, &want(&|v| v.iter().sum()), 1e-11, &format!("sum {what}"));
    prod(of(&x.view()), axes, &mut out);
    assert_close(&out, &want(&|v| v.iter().product()), 1e-11, &format!("prod {what}"));
    let x32 = x.mapv(|v| v as f32);
    let mut out32 = vec![f32::NAN; all.len()];
    sum(of(&x32.view()), axes, &mut out32);
    assert_close(
        &out32,
        &want(&|v| v.iter().map(|v| f64::from(*v as f32)).sum()),
        1e-4,
        &format!("f32 sum {what}"),
    );
    if !x.is_empty() {
        max(of(&x.view()), axes, &mut out);
        assert_eq!(out, want(&|v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max)), "max {what}");
        min(of(&x.view()), axes, &mut out);
        assert_eq!(out, want(&|v| v.iter().copied().fold(f64::INFINITY, f64::min)), "min {what}");
    }
    if let &[axis] = axes
        && x.shape()[axis] > 0
    {
        let first = |best: f64, v: &[f64]| v.iter().position(|x| *x == best).unwrap() as u32;
        let mut at = vec![u32::MAX; all.len()];
        // Rounded, so that there are ties.
        let x = x.mapv(|v| (v * 3.0).round());
        let all = groups(&x.view(), axes);
        argmax(of(&x.view()), axis, &mut at);
        let want = |f: &dyn Fn(&[f64]) -> u32| all.iter().map(|v| f(v)).collect::<Vec<_>>();
        assert_eq!(
            at,
            want(&|v| first(v.iter().copied().fold(f64::NEG_INFINITY, f64::max), v)),
            "argmax {what}"
        );
        argmin(of(&x.view()), axis, &mut at);
        assert_eq!(at, want(&|v| first(v.iter().copied().fold(f64::INFINITY, f64::min), v)), "argmin {what}");
    }
}

fn tensor(shape: &[usize]) -> ArrayD<f64> {
    ArrayD::from_shape_vec(IxDyn(shape), numbers(shape.iter().product(), 3)).unwrap()
}

#[test]
fn all_axes_of_small_shapes() {
    for shape in
        [&[5usize, 3, 4, 2] as &[usize], &[1, 7, 1, 3], &[40, 1, 33, 2], &[2, 600, 3, 1], &[3, 0, 2, 2]]
    {
        let x = tensor(shape);
        for subset in 0..16 {
            let axes: Vec<usize> = (0..4).filter(|d| subset >> d & 1 == 1).collect();
            check(x.view(), &axes);
            check(x.view().permuted_axes(IxDyn(&[2, 0, 3, 1])), &axes);
            let mut reversed = x.view();
            reversed.slice_axis_inplace(Axis(2), Slice::new(0, None, -2));
            check(reversed, &axes);
        }
    }
}

#[test]
fn large_shapes() {
    let x = tensor(&[400_003]);
    check(x.view(), &[0]);
    check(tensor(&[9000, 33]).view(), &[0]);
    check(tensor(&[9000, 33]).view(), &[1]);
    check(tensor(&[9000, 33]).view().reversed_axes(), &[1]);
    check(tensor(&[3, 700, 300]).view(), &[1]);
    check(tensor(&[3, 700, 300]).view(), &[0, 2]);
    check(tensor(&[2, 1, 90_000]).view(), &[0]);
    check(x.slice_axis(Axis(0), Slice::new(1, None, 2)), &[0]);
    check(tensor(&[1, 5]).broadcast(IxDyn(&[70_000, 5])).unwrap(), &[0]);
}

#[test]
fn ten_million_terms() {
    for value in [1.0f32, 0.1] {
        let want = 1e7 * f64::from(value);
        let x = Array1::from_elem(10_000_000, value).into_dyn();
        let mut out = [0.0f32];
        sum(of(&x.view()), &[0], &mut out);
        assert!((f64::from(out[0]) - want).abs() / want < 1e-6, "{value}: {}", out[0]);
        let mut cols = [0.0f32; 4];
        sum(of(&x.view().into_shape_with_order(IxDyn(&[2_500_000, 4])).unwrap()), &[0], &mut cols);
        assert!(cols.iter().all(|c| (f64::from(*c) * 4.0 - want).abs() / want < 1e-6), "{value}: {cols:?}");
        sum(of(&x.slice_axis(Axis(0), Slice::new(0, None, -1))), &[0], &mut out);
        assert!((f64::from(out[0]) - want).abs() / want < 1e-6, "{value}: {}", out[0]);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let x = tensor(&[300_000]).mapv(|v| v as f32);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut out = [0.0f32; 4];
        pool.install(|| {
            sum(of(&x.view()), &[0], &mut out[..1]);
            sum(of(&x.view().into_shape_with_order(IxDyn(&[100_000, 3])).unwrap()), &[0], &mut out[1..]);
        });
        out.map(f32::to_bits)
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn nan_and_integers() {
    let x = ArrayD::from_shape_vec(IxDyn(&[2, 3]), vec![1.0f32, f32::NAN, 3.0, 4.0, 5.0, 5.0]).unwrap();
    let mut out = [0.0f32; 2];
    max(of(&x.view()), &[1], &mut out);
    assert!(out[0].is_nan() && out[1] == 5.0);
    min(of(&x.view()), &[1], &mut out);
    assert!(out[0].is_nan() && out[1] == 4.0);
    let mut at = [9i32; 2];
    argmax(of(&x.view()), 1, &mut at);
    assert_eq!(at, [1, 1]);
    argmin(of(&x.view()), 1, &mut at);
    assert_eq!(at, [1, 0]);
    let x = ArrayD::from_shape_vec(IxDyn(&[4]), vec![200u8, 100, 7, 200]).unwrap();
    let mut out = [0u8];
    sum(of(&x.view()), &[0], &mut out);
    assert_eq!(out[0], 251);
    max(of(&x.view()), &[0], &mut out);
    assert_eq!(out[0], 200);
    let x = ArrayD::from_shape_vec(IxDyn(&[3]), vec![-4i32, 5, 6]).unwrap();
    let mut out = [0i32];
    prod(of(&x.view()), &[0], &mut out);
    assert_eq!(out[0], -120);
}

#[test]
fn empty() {
    let x = ArrayD::<f32>::zeros(IxDyn(&[0, 3]));
    let mut out = [f32::NAN; 3];
    sum(of(&x.view()), &[0], &mut out);
    assert_eq!(out, [0.0; 3]);
    prod(of(&x.view()), &[0], &mut out);
    assert_eq!(out, [1.0; 3]);
    sum(of(&x.view()), &[1], &mut []);
}
