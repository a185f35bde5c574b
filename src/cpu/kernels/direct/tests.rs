//! What the sizes of a convolution are cut into, and numbers that are not finite.

use super::*;
use crate::cpu::kernels::conv2d::tests::{check, geometry};
use crate::cpu::kernels::conv2d::{conv2d_forward, conv2d_input_grad, conv2d_weight_grad};
use crate::cpu::kernels::float::testing::{numbers, to_f32};

#[test]
fn cut_into_columns() {
    let large = geometry([2, 6, 7, 64], [3, 3, 456], [1, 1], [1; 4], [1, 1], 1);
    assert!(is_cut_into_columns(2 * 6 * 7, 9 * 64, 456));
    check(&large);
    // More terms than one call adds up; strides, of which some classes of places are read by no tap.
    check(&geometry([1, 5, 4, 250], [3, 3, 130], [1, 1], [1, 1, 2, 0], [1, 1], 1));
    check(&geometry([2, 7, 6, 96], [3, 2, 500], [2, 3], [1, 0, 2, 1], [1, 1], 1));
    check(&geometry([2, 9, 8, 160], [2, 2, 420], [3, 3], [0; 4], [1, 1], 1));
    // Places of the input that are fewer than the stride.
    check(&geometry([3, 2, 1, 160], [2, 2, 420], [4, 4], [2; 4], [1, 1], 1));
}

#[test]
fn groups_strides_and_dilation() {
    check(&geometry([3, 9, 11, 16], [3, 3, 24], [1, 1], [1; 4], [1, 1], 2));
    check(&geometry([2, 13, 10, 24], [3, 5, 72], [2, 1], [1, 2, 0, 3], [2, 1], 3));
    check(&geometry([2, 12, 12, 8], [4, 4, 80], [2, 2], [1; 4], [1, 1], 1));
    check(&geometry([2, 10, 9, 10], [2, 3, 17], [3, 2], [0, 2, 1, 0], [1, 3], 1));
    // Padding beyond the kernel.
    check(&geometry([2, 3, 4, 9], [3, 3, 8], [1, 1], [5, 4, 3, 6], [1, 1], 1));
    check(&geometry([2, 5, 5, 130], [1, 3, 65], [1, 1], [0, 0, 1, 1], [1, 1], 1));
}

#[test]
fn strides_and_padding_out_of_proportion() {
    let most = crate::ops::windows::MOST;
    check(&geometry([1, 5, 6, 8], [3, 3, 8], [most, most - 1], [0; 4], [1, 1], 1));
    check(&geometry([2, 5, 6, 8], [3, 3, 8], [40, 3], [1; 4], [1, 1], 1));
    // Of the border's zeros hardly any are read; to write all of them would take as much memory as there is, or more.
    let wide = 1 << 29;
    for cin in [1, 8] {
        check(&geometry([1, 5, 6, cin], [3, 3, 16], [wide, wide], [wide; 4], [1, 1], 1));
        check(&geometry([1, 5, 6, cin], [3, 3, 16], [1000, 1], [9000, 9000, 1, 1], [500, 1], 1));
    }
    assert!(may_have_border([2, 3, 4, 9], [5; 4]) && !may_have_border([1, 300, 300, 64], [400; 4]));
    assert!(!may_have_border([1 << 20, 1 << 6, 1 << 6, 8], [0; 4]));
}

#[test]
fn some_images_of_a_large_batch_at_a_time() {
    // Each of the groups reads all images' borders.
    let g = geometry([11, 250, 250, 8], [2, 2, 16], [5, 5], [1; 4], [1, 1], 2);
    assert!(g.n * 252 * 252 * 8 > BORDERED);
    check(&g);
}

#[test]
fn strips_of_images_that_tasks_share() {
    // Lines of a task that end within an image, and begin in the next; with strides, dilation and borders of several sizes.
    for (input, kernel, stride, padding, dilation) in [
        ([5, 13, 12, 16], [3, 3, 24], [1, 1], [1; 4], [1, 1]),
        ([7, 13, 31, 8], [3, 2, 16], [2, 1], [2, 0, 1, 1], [1, 2]),
        ([4, 22, 17, 8], [4, 3, 40], [3, 2], [1, 3, 0, 2], [2, 1]),
        ([11, 60, 70, 8], [2, 2, 8], [5, 5], [1; 4], [1, 1]),
        ([1, 1, 40, 8], [3, 3, 16], [1, 1], [1; 4], [1, 1]),
    ] {
        let g = geometry(input, kernel, stride, padding, dilation, 1);
        let strips = Strips::new(&g, false, [g.h, g.w, g.cin], g.padding, g.oh, 0).unwrap();
        let lines = strips.lines_of_task(g.ow, g.n);
        assert!(g.n == 1 || !g.oh.is_multiple_of(lines), "{lines} of {}", g.oh);
        check(&g);
    }
}

#[test]
fn weights_and_batches_of_all_sizes() {
    // Sums of several blocks of windows in each part of the batch; a weight that is cut into taps; both with groups.
    check(&geometry([9, 66, 60, 8], [2, 2, 8], [1, 1], [0; 4], [1, 1], 1));
    check(&geometry([3, 30, 30, 64], [3, 3, 240], [1, 1], [1; 4], [1, 1], 1));
    check(&geometry([2, 8, 8, 256], [3, 3, 256], [1, 1], [1; 4], [1, 1], 2));
}

#[test]
fn what_is_not_finite_stays_where_it_was_read() {
    let g = geometry([1, 6, 6, 8], [3, 3, 8], [1, 1], [1; 4], [1, 1], 1);
    let (mut w, dy) = (to_f32(&numbers(9 * 8 * 8, 1)), vec![0.0f32; 6 * 6 * 8]);
    let mut dx = vec![1.0f32; 6 * 6 * 8];
    // A window beyond the border was never read: 0 times infinity counts only where there is a gradient.
    w[0] = f32::INFINITY;
    let mut one = dy.clone();
    one[0] = 1.0;
    conv2d_input_grad(&g, &one, &w, &mut dx, &|_, _| {});
    assert_eq!(
        dx.iter().filter(|x| x.is_nan()).count(),
        6 * 6 - 6 - 5,
        "places whose output at the first tap is 0"
    );
    let mut dw = vec![0.0f32; w.len()];
    let mut x = vec![0.0f32; 6 * 6 * 8];
    x[(2 * 6 + 3) * 8 + 5] = f32::NAN;
    conv2d_weight_grad(&g, &x, &one, &mut dw);
    assert!(
        dw.iter().enumerate().all(|(i, d)| d.is_nan() == (i / 8 % 8 == 5)),
        "of the channel that has NaN, all taps"
    );
}

#[test]
fn what_follows_is_told_of_each_element_once() {
    for g in [
        geometry([11, 250, 250, 8], [2, 2, 8], [5, 5], [1; 4], [1, 1], 1),
        geometry([2, 6, 7, 64], [3, 3, 456], [1, 1], [1; 4], [1, 1], 1),
        geometry([5, 19, 17, 16], [3, 3, 24], [2, 1], [1; 4], [1, 1], 2),
    ] {
        let x = to_f32(&numbers(g.n * g.h * g.w * g.cin, 1));
        let w = to_f32(&numbers(g.kh * g.kw * (g.cin / g.groups) * g.cout, 2));
        let dy = to_f32(&numbers(g.n * g.oh * g.ow * g.cout, 3));
        let numbered = |first: usize, piece: &mut [f32]| {
            piece.iter_mut().enumerate().for_each(|(i, y)| *y += (first + i) as f32);
        };
        let compare = |compute: &dyn Fn(&mut [f32], Finish<f32>), len: usize| {
            let (mut plain, mut told) = (vec![0.0; len], vec![0.0; len]);
            compute(&mut plain, &|_, _| {});
            compute(&mut told, &numbered);
            numbered(0, &mut plain);
            assert!(plain == told, "{g:?}");
        };
        compare(&|y, finish| conv2d_forward(&g, &x, &w, y, finish), dy.len());
        compare(&|dx, finish| conv2d_input_grad(&g, &dy, &w, dx, finish), x.len());
    }
}
