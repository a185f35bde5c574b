//! Infinities, NaN, nothing at all, and lengths beyond what one number of workgroups has.

use super::common::DEVICES;
use wgrad::prelude::*;
use wgrad::testing::{assert_close, assert_parity, check_gradients};
use wgrad::{GridOptions, GridPadding, Map, Resampling};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

#[test]
fn logsumexp_of_any_magnitude() -> Result<()> {
    for device in DEVICES {
        let rows = [
            ([1000.0f32, 1000.0, 1000.0], 1001.098612288668),
            ([-1000.0, -1000.0, -1001.0], -999.1380), // + ln(2 + e^-1), below
            ([-INF, -INF, -INF], f64::NEG_INFINITY),
            ([-INF, 2.0, -INF], 2.0),
            ([INF, 2.0, 3.0], f64::INFINITY),
            ([INF, -INF, INF], f64::INFINITY),
            ([NAN, 2.0, INF], f64::NAN),
            ([NAN, -INF, -INF], f64::NAN),
            ([0.0, 0.0, -200.0], std::f64::consts::LN_2),
            ([f32::MAX, f32::MAX, 0.0], f64::from(f32::MAX)),
            ([f32::MIN, f32::MIN, f32::MIN], f64::from(f32::MIN)),
        ];
        for (row, mut want) in rows {
            if row[2] == -1001.0 {
                want = -1000.0 + (2.0 + (-1f64).exp()).ln();
            }
            let x = Tensor::new(row, device)?;
            assert_close(x.logsumexp(0, false)?, [want], 1e-6, 0.0)
                .map_err(|e| e.context(format!("{row:?} on {device}")))?;
        }
        // All axes, some, none, and of nothing.
        let x = Tensor::from_vec((0..24).map(|v| v as f32 / 7.0).collect(), [2, 3, 4], device)?;
        let expected = |axes: &[usize]| {
            let mut sums = vec![0.0; if axes.len() == 3 { 1 } else { 3 }];
            (0..24).for_each(|v| {
                let at = if sums.len() == 1 { 0 } else { v / 4 % 3 };
                sums[at] += (v as f64 / 7.0).exp();
            });
            sums.into_iter().map(f64::ln).collect::<Vec<_>>()
        };
        assert_close(x.logsumexp(.., false)?, expected(&[0, 1, 2]), 1e-6, 0.0)?;
        assert_close(x.logsumexp([0, 2], true)?, expected(&[0, 2]), 1e-6, 0.0)?;
        assert_eq!(x.logsumexp([0, 2], true)?.shape(), [1, 3, 1]);
        assert_close(x.logsumexp([], false)?, x.to_vec::<f32>()?, 1e-6, 1e-7)?;
        assert_close(Tensor::new(3.0f32, device)?.logsumexp(.., false)?, [3.0], 1e-6, 0.0)?;
        assert_eq!(Tensor::zeros([2, 0], device)?.logsumexp(-1, false)?.to_vec::<f32>()?, [-INF; 2]);
        assert_eq!(Tensor::zeros([0, 2], device)?.logsumexp(-1, true)?.shape(), [0, 1]);
        // The softmax, and 0 where there is nothing but minus infinity.
        let x = Tensor::new([[0.0f32, 0.0], [-INF, -INF], [-INF, 5.0]], device)?.watch()?;
        let gradient = x.logsumexp(-1, false)?.sum(.., false)?.backward()?.get(&x)?;
        assert_close(gradient, [0.5, 0.5, 0.0, 0.0, 0.0, 1.0], 1e-6, 0.0)?;
    }
    Ok(())
}

#[test]
fn norms_of_any_order_and_magnitude() -> Result<()> {
    for device in DEVICES {
        for scale in [1e-30f32, 1.0, 1e30] {
            let x = Tensor::new([3.0 * scale, -4.0 * scale, 0.0, 1.0 * scale], device)?;
            let s = f64::from(scale);
            let of = |p: f64| (3f64.powf(p) + 4f64.powf(p) + 1.0).powf(1.0 / p);
            for p in [0.5, 1.0, 1.5, 2.0, 3.0, 40.0] {
                let got = x.norm_p(p, .., false)?;
                assert_close(got, [of(p) * s], 3e-6, 0.0)
                    .map_err(|e| e.context(format!("order {p} of {scale}")))?;
            }
            assert_close(x.norm_p(f64::INFINITY, 0, true)?, [4.0 * s], 1e-6, 0.0)?;
            assert_close(x.norm_p(f64::NEG_INFINITY, 0, true)?, [0.0], 0.0, 0.0)?;
            assert_close(x.norm_p(0.0, 0, true)?, [3.0], 0.0, 0.0)?;
            assert_close(x.norm_p(-1.0, .., false)?, [0.0], 0.0, 0.0)?; // a 0 is infinite to a negative power
            let x = Tensor::new([3.0 * scale, -4.0 * scale, 1.0 * scale], device)?;
            assert_close(x.norm_p(-1.0, .., false)?, [of(-1.0) * s], 3e-6, 0.0)?;
            assert_eq!(Tensor::new([INF, -INF], device)?.norm_p(-1.0, .., false)?.item::<f32>()?, INF);
            assert_close(x.norm_p(-2.5, .., false)?, [of(-2.5) * s], 3e-6, 0.0)?;
        }
        for p in [0.5, 1.0, 1.5, 2.0, 3.0, f64::INFINITY] {
            assert_eq!(
                Tensor::new([1.0f32, -INF], device)?.norm_p(p, .., false)?.item::<f32>()?,
                INF,
                "order {p}"
            );
            assert!(
                Tensor::new([1.0f32, NAN], device)?.norm_p(p, .., false)?.item::<f32>()?.is_nan(),
                "order {p}"
            );
            let x = Tensor::zeros([2, 3], device)?.watch()?;
            let norm = x.norm_p(p, -1, false)?;
            assert_eq!(norm.to_vec::<f32>()?, [0.0; 2], "order {p}");
            assert_eq!(norm.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?, [0.0; 6], "order {p}");
            // One element that is 0 among others.
            let x = Tensor::new([0.0f32, 2.0], device)?.watch()?;
            let gradient = x.norm_p(p, .., false)?.backward()?.get(&x)?;
            assert_close(gradient, [0.0, 1.0], 1e-6, 0.0).map_err(|e| e.context(format!("order {p}")))?;
        }
        for p in [0.0, 0.5, 1.0, 2.0, 3.0] {
            assert_eq!(Tensor::zeros([2, 0], device)?.norm_p(p, -1, false)?.to_vec::<f32>()?, [0.0; 2]);
        }
    }
    Ok(())
}

#[test]
fn lerp_reaches_both_ends() -> Result<()> {
    for device in DEVICES {
        let (a, b) = (Tensor::new([0.1f32, 1e8, -3.0], device)?, Tensor::new([0.7f32, 1.0, 1e-8], device)?);
        assert_eq!(a.lerp(&b, 0.0)?.to_vec::<f32>()?, a.to_vec::<f32>()?);
        assert_eq!(a.lerp(&b, 1)?.to_vec::<f32>()?, b.to_vec::<f32>()?);
        let weights = Tensor::new([[0.0f32], [0.25], [0.75], [1.0], [2.0]], device)?;
        let got = Tensor::new([0.0f32, 8.0], device)?.lerp(Tensor::new([4.0f32, 0.0], device)?, &weights)?;
        assert_eq!(got.to_vec::<f32>()?, [0.0, 8.0, 1.0, 6.0, 3.0, 2.0, 4.0, 0.0, 8.0, -8.0]);
        assert_eq!(Tensor::new(2.0f32, device)?.lerp(6.0, 0.5)?.item::<f32>()?, 4.0);
        assert!(a.lerp(&b, f64::NAN)?.to_vec::<f32>()?.iter().all(|v| v.is_nan()));
    }
    Ok(())
}

/// Powers of the base have whole logarithms, so that rounding them down is right.
#[test]
fn logarithms_of_powers_are_whole() -> Result<()> {
    for device in DEVICES {
        let twos: Vec<i32> = (-126..128).collect();
        let x = Tensor::from_vec(twos.iter().map(|&k| 2f32.powi(k)).collect(), [twos.len()], device)?;
        assert_eq!(
            x.log2()?.to_vec::<f32>()?,
            twos.iter().map(|&k| k as f32).collect::<Vec<_>>(),
            "{device}"
        );
        assert_eq!(x.log2()?.exp2()?.to_vec::<f32>()?, x.to_vec::<f32>()?, "{device}");
        let tens: Vec<f32> = (0..11).map(|k| 10f64.powi(k) as f32).collect();
        let x = Tensor::from_vec(tens, [11], device)?;
        assert_eq!(x.log10()?.to_vec::<f32>()?, (0..11).map(|k| k as f32).collect::<Vec<_>>(), "{device}");
        let x = Tensor::new([0.0f32, -1.0, INF, NAN], device)?;
        for y in [x.log2()?, x.log10()?] {
            let y = y.to_vec::<f32>()?;
            assert!(y[0] == -INF && y[1].is_nan() && y[2] == INF && y[3].is_nan(), "{device}: {y:?}");
        }
    }
    Ok(())
}

#[test]
fn long_axes_are_moved_and_counted() -> Result<()> {
    const N: usize = 70_001;
    for device in DEVICES {
        let x = Tensor::arange(0, N as i64, device)?;
        let rolled = x.roll(-5, 0)?.to_vec::<i32>()?;
        assert!((0..N).all(|i| rolled[i] == ((i + 5) % N) as i32), "{device}");
        let repeated = x.repeat(3, 0)?.to_vec::<i32>()?;
        assert!((0..3 * N).all(|i| repeated[i] == (i / 3) as i32), "{device}");
        let tiled = x.tile([3])?.to_vec::<i32>()?;
        assert!((0..3 * N).all(|i| tiled[i] == (i % N) as i32), "{device}");
        let counts = (&x.cast(DType::U32)? / 7)?.bincount(0)?.to_vec::<u32>()?;
        assert_eq!((counts.len(), counts.iter().sum::<u32>()), (N.div_ceil(7), N as u32), "{device}");
        assert!(counts[..N / 7].iter().all(|&c| c == 7), "{device}");
        assert_eq!(x.count_nonzero(.., false)?.item::<u32>()?, N as u32 - 1);
        assert_eq!(x.eq(N as i32 - 1)?.any(.., false)?.item::<u8>()?, 1);
        assert_eq!(x.lt(N as i32)?.all(.., false)?.item::<u8>()?, 1);
        let triangle = Tensor::ones([3, N], device)?.tril(N as isize - 2)?.sum(1, false)?;
        assert_eq!(triangle.to_vec::<f32>()?, [N as f32 - 1.0, N as f32, N as f32], "{device}");
        assert_eq!(x.unsqueeze(0)?.diagonal(N as isize - 1, 0, 1)?.to_vec::<i32>()?, [N as i32 - 1]);
        let column = x.cast(DType::F32)?.unsqueeze(1)?;
        let sum = Tensor::einsum("ij,ij->j", &[&column.ones_like()?, &column.ones_like()?])?;
        assert_eq!(sum.to_vec::<f32>()?, [N as f32], "{device}");
    }
    Ok(())
}

/// More of one number than f32 counts.
#[test]
fn counts_beyond_what_f32_holds() -> Result<()> {
    let n = (1 << 24) + 3;
    let x = Tensor::full([n], 1u8, Device::Cpu)?;
    assert_eq!(x.bincount(0)?.to_vec::<u32>()?, [0, n as u32]);
    Ok(())
}

/// A coordinate that is NaN gives NaN, one that is infinite is beyond the border, and neither reads outside of the image.
#[test]
fn grids_that_are_not_finite() -> Result<()> {
    let at = [[NAN, 0.0], [0.0, NAN], [INF, 0.0], [-INF, 1.0], [1e30, -1e30], [-1.0, -1.0]];
    for device in DEVICES {
        let image = Tensor::new([[[[1.0f32], [2.0]], [[3.0], [4.0]]]], device)?.watch()?;
        let grid = Tensor::new([[at]], device)?.watch()?;
        for nearest in [false, true] {
            let read =
                |padding| image.grid_sample(&grid, GridOptions::new().nearest(nearest).padding(padding));
            let zeros = read(GridPadding::Zeros)?.to_vec::<f32>()?;
            assert!(
                zeros[0].is_nan() && zeros[1].is_nan() && zeros[2..5] == [0.0; 3],
                "{zeros:?} on {device}"
            );
            let border = read(GridPadding::Border)?;
            let found = border.to_vec::<f32>()?;
            assert!(found[0].is_nan() && found[1].is_nan(), "{found:?}");
            let rows = if nearest { [2.0, 3.0] } else { [3.0, 3.0] };
            assert_eq!(found[2..], [rows[0], rows[1], 2.0, 1.0], "{nearest} on {device}");
            let far = grid.slice(2, 2, 4)?.detach()?.watch()?;
            let read =
                image.grid_sample(&far, GridOptions::new().nearest(nearest).padding(GridPadding::Border))?;
            let grads = read.sum(.., false)?.backward()?;
            assert_eq!(grads.get(&image)?.sum(.., false)?.item::<f32>()?, 4.0);
            let slopes = grads.get(&far)?.to_vec::<f32>()?;
            assert!(slopes.iter().all(|v| v.is_finite()), "{slopes:?} on {device}");
        }
    }
    Ok(())
}

#[test]
fn images_that_cannot_be_read_are_told() -> Result<()> {
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, Device::Cpu);
    let (x, grid) = (zeros(&[2, 3, 4, 1])?, zeros(&[2, 5, 6, 2])?);
    let resize = |x: &Tensor, size| message(x.resize2d(size, Resampling::Bilinear, false));
    assert!(resize(&zeros(&[2, 3])?, [1, 1]).contains("image [2, 3]: expected [n, h, w, c]"));
    assert!(resize(&x, [0, 1]).contains("size [0, 1]: expected from 1"));
    assert!(resize(&x, [1 << 31, 1]).contains("expected from 1"));
    assert!(resize(&x, [1 << 30, 1 << 20]).starts_with("resize2d: "));
    assert!(resize(&zeros(&[2, 0, 4, 1])?, [1, 1]).contains("no pixels"));
    assert!(resize(&x.cast(DType::I32)?, [1, 1]).contains("the image is i32"));
    assert!(message(x.resize2d([1, 1], Resampling::Nearest, true)).contains("leave it false"));
    assert_eq!(zeros(&[0, 3, 4, 1])?.resize2d([2, 2], Resampling::Bicubic, false)?.shape(), [0, 2, 2, 1]);
    // A pixel that isn't read is not multiplied by 0, which would make NaN of an infinite one (values by PyTorch).
    for device in DEVICES {
        let image = Tensor::new([1.0f32, f32::INFINITY], device).unwrap().reshape([1, 1, 2, 1]).unwrap();
        let grid = Tensor::new([1.0f32, 0.0, 3.0, 0.0], device).unwrap().reshape([1, 1, 2, 2]).unwrap();
        for (padding, expected) in
            [(GridPadding::Zeros, [f32::INFINITY, 0.0]), (GridPadding::Border, [f32::INFINITY; 2])]
        {
            let read =
                image.grid_sample(&grid, GridOptions::new().align_corners(true).padding(padding)).unwrap();
            assert_eq!(read.to_vec::<f32>().unwrap(), expected, "{padding:?}");
        }
        let far = Tensor::new([f32::INFINITY, 0.0], device).unwrap().reshape([1, 1, 1, 2]).unwrap();
        let image = Tensor::new([1.0f32, 2.0], device).unwrap().reshape([1, 1, 2, 1]).unwrap();
        let options = GridOptions::new().padding(GridPadding::Reflection);
        let read = image.grid_sample(&far, options).unwrap().item::<f32>().unwrap();
        assert!((1.0..=2.0).contains(&read), "{read}");
    }
    let sample = |x: &Tensor, grid: &Tensor| message(x.grid_sample(grid, GridOptions::new()));
    assert!(sample(&x, &zeros(&[2, 5, 6, 3])?).contains("expected [n, h, w, c] and [n, h', w', 2]"));
    assert!(sample(&x, &zeros(&[1, 5, 6, 2])?).contains("as many grids as images"));
    assert!(sample(&zeros(&[2, 0, 4, 1])?, &grid).contains("at least one pixel"));
    assert!(!sample(&x, &grid.cast(DType::F64)?).is_empty());
    assert_eq!(x.grid_sample(&zeros(&[2, 0, 6, 2])?, GridOptions::new())?.shape(), [2, 0, 6, 1]);
    Ok(())
}

/// A function of one's own: both devices, shapes that broadcast, more elements than a dispatch has workgroups in one dimension.
#[test]
fn maps_of_ones_own() -> Result<()> {
    let hypot = Map::new("hypot", |[a, b]: [f32; 2]| (a * a + b * b).sqrt())
        .wgsl("sqrt(a * a + b * b)")
        .gradient(|[a, b], y, grad| Ok([(grad * (a / y)?)?, (grad * (b / y)?)?]));
    let (a, b) = (Tensor::rand([3, 1, 4], Device::Cpu, 1)?, Tensor::rand([2, 1], Device::Cpu, 2)?);
    let call = |t: &[Tensor]| t[0].map2(&t[1], &hypot);
    assert_eq!(call(&[a.clone(), b.clone()])?.shape(), [3, 2, 4]);
    assert_parity(|t| Ok(vec![call(t)?]), &[a.clone(), b.clone()])?;
    check_gradients(call, &[(a + 0.5)?, (b + 0.5)?])?;
    let choose = Map::new("choose", |[a, b, c]: [f32; 3]| if a > 0.5 { b } else { c })
        .wgsl("if a > 0.5 { return b; } return c;")
        .gradient(|[a, ..], _, grad| {
            let (zero, taken) = (grad.zeros_like()?, a.gt(0.5)?);
            Ok([zero.clone(), taken.select(grad, &zero)?, taken.select(&zero, grad)?])
        });
    let twice = Map::new("twice", |[a]: [f32; 1]| 2.0 * a).wgsl("2.0 * a");
    for device in DEVICES {
        let n = 70_000 * 64 + 5;
        let x = Tensor::arange(0, n, device)?.cast(DType::F32)?;
        let y = (x.map(&twice)? + 1.0)?;
        assert!(y.to_vec::<f32>()?.iter().zip(0..n).all(|(&y, i)| y == 2.0 * i as f32 + 1.0), "{device}");
        let b = Tensor::new([1.0f32, 2.0], device)?.watch()?;
        let chosen = choose.apply([&Tensor::new([0.0f32, 1.0], device)?, &b, &(&b * 10.0)?])?;
        assert_eq!(chosen.to_vec::<f32>()?, [10.0, 2.0]);
        assert_eq!(chosen.sum(.., false)?.backward()?.get(&b)?.to_vec::<f32>()?, [10.0, 1.0]);
        assert_eq!(x.slice(0, 0, 0)?.map(&twice)?.shape(), [0]);
    }
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let x = Tensor::new([1.0f32, 2.0], Device::Cpu)?.watch()?;
    assert!(
        message(x.map(&twice)?.sum(.., false)?.backward().and_then(|g| g.get(&x)))
            .contains("twice: has no gradient")
    );
    assert!(
        message(x.map2(&Tensor::zeros([3], Device::Cpu)?, &hypot))
            .contains("hypot: shapes [2] and [3] don't broadcast")
    );
    assert!(message(x.cast(DType::I32)?.map(&twice)).contains("must be f32"));
    let there = Tensor::zeros([2], Device::Gpu)?;
    assert!(message(there.map(&Map::new("here", |[a]: [f32; 1]| a))).contains("no GPU kernel"));
    let broken = Map::new("broken", |[a]: [f32; 1]| a).wgsl("a +");
    assert!(message(there.map(&broken).and_then(|y| y.eval().map(|()| y))).contains("broken"));
    assert!(message(Map::new("none", |_: [f32; 0]| 0.0).apply([])).contains("one to 4 tensors, got 0"));
    Ok(())
}

/// What lies between two is not beyond either, and between equal ones it is they, to the bit; gradients go by the parts all the same.
#[test]
fn quantiles_stay_between_their_neighbours() -> Result<()> {
    for device in DEVICES {
        let equal: Vec<f32> = (0..64).map(|i| 0.1 + i as f32 * 0.37).collect();
        let rows: Vec<f32> = equal.iter().flat_map(|&v| [v, v, v]).collect();
        let x = Tensor::from_vec(rows, [64, 3], device)?;
        for q in [0.1, 0.3, 0.45, 0.7, 0.9] {
            assert_eq!(x.quantile(q, 1, false)?.to_vec::<f32>()?, equal, "{q} on {device}");
        }
        let near: Vec<f32> = equal.iter().flat_map(|&v| [v, v.next_up()]).collect();
        let x = Tensor::from_vec(near, [64, 2], device)?;
        for q in [0.1, 0.3, 0.45, 0.7, 0.9] {
            let got = x.quantile(q, 1, false)?.to_vec::<f32>()?;
            assert!(got.iter().zip(&equal).all(|(g, v)| *g == *v || *g == v.next_up()), "{q} on {device}");
        }
        let x = Tensor::new([3.3f32, 3.3, INF, -INF, INF], device)?.watch()?;
        let value = x.quantile(0.3125, 0, false)?; // a quarter of the way between the equal ones
        assert_eq!(value.item::<f32>()?, 3.3);
        assert_eq!(value.backward()?.get(&x)?.to_vec::<f32>()?, [0.75, 0.25, 0.0, 0.0, 0.0]);
        assert_eq!(x.quantile(0.9, 0, false)?.item::<f32>()?, INF);
        let far = Tensor::new([f32::MIN, f32::MAX], device)?;
        assert_eq!(far.quantile(0.5, 0, false)?.item::<f32>()?, 0.0);
    }
    Ok(())
}

/// PyTorch's gradients of remainders by 0, of infinities and by infinities.
#[test]
fn gradients_of_remainders_by_zero() -> Result<()> {
    for device in DEVICES {
        let x = Tensor::new([1.0f32, 0.0, -1.0, 1.0, 1.0, 7.5], device)?.watch()?;
        let y = Tensor::new([0.0f32, 0.0, 0.0, -0.0, INF, 2.0], device)?.watch()?;
        for (z, last) in [(x.fmod(&y)?, -3.0), (x.remainder(&y)?, -3.0)] {
            let grads = z.backward_with(&z.ones_like()?)?;
            assert_eq!(grads.get(&x)?.to_vec::<f32>()?, [1.0; 6]);
            let want = [-INF, NAN, INF, INF, 0.0, last];
            assert_close(grads.get(&y)?, want, 0.0, 0.0).map_err(|e| e.context(format!("on {device}")))?;
        }
        let x = Tensor::new([INF], device)?;
        let y = Tensor::new([2.0f32], device)?.watch()?;
        let gradient = x.fmod(&y)?.sum(.., false)?.backward()?.get(&y)?;
        assert_eq!(gradient.to_vec::<f32>()?, [-INF]);
    }
    Ok(())
}
