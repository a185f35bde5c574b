//! Products against sums in f64 of the same numbers.

use super::*;

fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(|_| f64::from(next() as f32)).collect()
}

/// Every number of rows and columns up to those of two tiles, sums shorter and longer than a chain, rows anywhere in the output.
fn check<T: Element + Into<f64> + PartialEq>(from_f64: impl Fn(f64) -> T, tolerance: f64) {
    let Some(widest) = width::<T>() else { return };
    for columns in 1..=widest {
        let panel_width = panel_width::<T>(columns);
        for (count, terms) in
            [(1, 0), (1, 1), (2, 63), (3, 64), (5, 65), (6, 130), (7, 9), (13, 27), (25, 200)]
        {
            let a = numbers(3000, 1 + columns as u64);
            let b = numbers(terms * columns, 2);
            let at: Vec<u32> = (0..terms as u32).map(|k| k * 7 % 901).collect();
            let rows: Vec<Row> = (0..count)
                .map(|i| Row { from: i * 83 % 2000, to: (count - 1 - i) * (columns + 3) })
                .collect();
            let to_t = |x: &[f64]| x.iter().map(|&x| from_f64(x)).collect::<Vec<T>>();
            let (left, right) = (to_t(&a), to_t(&b));
            let mut panel = vec![from_f64(f64::NAN); terms * panel_width];
            pack(&right, [columns, 1], columns, &mut panel);
            // The same from columns.
            let turned: Vec<T> = (0..columns)
                .flat_map(|j| (0..terms).map(move |k| (k, j)))
                .map(|(k, j)| right[k * columns + j])
                .collect();
            let mut other = vec![from_f64(f64::NAN); terms * panel_width];
            pack(&turned, [1, terms], columns, &mut other);
            assert!(panel == other, "a panel of {terms} rows and {columns} columns");
            let mut c = vec![from_f64(0.5); count * (columns + 3)];
            for onto in [Onto::Nothing, Onto::Sums] {
                let right = Right::panel(&panel, columns);
                product(&left, &rows, Terms::new(&at), right, columns, &mut c, onto);
            }
            for row in &rows {
                for j in 0..columns + 3 {
                    let want = if j < columns {
                        2.0 * (0..terms)
                            .map(|k| a[row.from + at[k] as usize] * b[k * columns + j])
                            .sum::<f64>()
                    } else {
                        0.5
                    };
                    let got: f64 = c[row.to + j].into();
                    assert!(
                        (got - want).abs() <= tolerance,
                        "{count} rows, {terms} terms, column {j} of {columns}: {got}, not {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn products_of_f32() {
    check::<f32>(|x| x as f32, 2e-5);
}

#[test]
fn products_of_f64() {
    check::<f64>(|x| x, 1e-13);
}

#[test]
fn nan_and_infinity_stay_in_their_rows_and_columns() {
    let Some(_) = width::<f32>() else { return };
    let a = [1.0f32, f32::NAN, 2.0, f32::INFINITY, 3.0, 4.0];
    let mut panel = vec![0.0; 2 * panel_width::<f32>(3)];
    pack(&[1.0, 0.5, 2.0, 1.0, f32::INFINITY, 1.0], [3, 1], 3, &mut panel);
    let rows: Vec<Row> = (0..3).map(|i| Row { from: 2 * i, to: 3 * i }).collect();
    let mut c = [0.0; 9];
    product(&a, &rows, Terms::new(&[0, 1]), Right::panel(&panel, 3), 3, &mut c, Onto::Nothing);
    assert!(c[..3].iter().all(|x| x.is_nan()));
    assert_eq!(c[3..6], [f32::INFINITY; 3]);
    assert_eq!(c[6..], [7.0, f32::INFINITY, 10.0]);
}

#[test]
#[should_panic = "outside of its matrix"]
fn places_outside_of_the_left_side_are_refused() {
    let mut panel = vec![0.0; panel_width::<f32>(1)];
    pack(&[1.0], [1, 1], 1, &mut panel);
    product(
        &[1.0f32; 4],
        &[Row { from: 2, to: 0 }],
        Terms::new(&[2]),
        Right::panel(&panel, 1),
        1,
        &mut [0.0],
        Onto::Nothing,
    );
}

#[test]
fn rows_of_a_matrix_where_they_lie() {
    let Some(widest) = width::<f32>() else { return };
    let stride = widest + 3;
    let (k, columns) = (70, widest);
    let (a, b) = (numbers(5 * k, 1), numbers(k * stride, 2));
    let [left, right] = [&a, &b].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
    let rows: Vec<Row> = (0..5).map(|i| Row { from: i * k, to: i * columns }).collect();
    let at: Vec<u32> = (0..k as u32).collect();
    let mut c = vec![0.0f32; 5 * columns];
    product(&left, &rows, Terms::new(&at), Right::rows(&right[3..], stride), columns, &mut c, Onto::Nothing);
    for i in 0..5 {
        for j in 0..columns {
            let want: f64 = (0..k).map(|k2| a[i * k + k2] * b[3 + k2 * stride + j]).sum();
            assert!((f64::from(c[i * columns + j]) - want).abs() < 1e-5);
        }
    }
}

#[test]
#[should_panic = "not as many rows"]
fn a_right_side_that_is_too_short_is_refused() {
    product(
        &[1.0f32; 4],
        &[Row::default()],
        Terms::new(&[0, 1]),
        Right::rows(&[0.0; 5], 4),
        2,
        &mut [0.0; 2],
        Onto::Nothing,
    );
}

#[test]
#[should_panic = "not as many rows"]
fn a_stride_beyond_all_memory_is_refused() {
    let right = Right::rows(&[0.0; 64], usize::MAX / 2 + 1);
    product(&[1.0f32; 4], &[Row::default()], Terms::new(&[0, 1, 2]), right, 1, &mut [0.0], Onto::Nothing);
}
