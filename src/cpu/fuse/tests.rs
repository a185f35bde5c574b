//! Groups against node by node, bit by bit.

use super::*;
use crate::backend::eval;
use crate::prelude::*;
use crate::tensor::{Pending, no_grad};
use crate::{Conv2dOptions, Pool2dOptions};

/// What is done with each tensor that a test makes.
type Step<'a> = &'a dyn Fn(Result<Tensor>) -> Result<Tensor>;

/// What makes tensors by steps.
type Build<'a> = &'a dyn Fn(Step) -> Result<Vec<Tensor>>;

/// Groups that a computation of these tensors has, and how many of them continue a kernel.
fn count(roots: &[Tensor]) -> [usize; 2] {
    let groups = groups_of(roots);
    [groups.len(), groups.iter().filter(|g| g.producer.is_some()).count()]
}

fn groups_of(roots: &[Tensor]) -> Vec<Group> {
    let graph = Pending::collect(&roots.iter().collect::<Vec<_>>());
    let mut uses = vec![0; graph.entries.len()];
    for &i in graph.entries.iter().flat_map(|e| &e.inputs) {
        uses[i as usize] += 1;
    }
    groups(&graph, &uses).1
}

/// Computes as one graph, and node by node, and compares every bit.
fn check(groups: [usize; 2], build: impl Fn(Step) -> Result<Vec<Tensor>>) {
    let together = build(&|t| t).unwrap();
    assert_eq!(count(&together), groups, "groups, and those that continue a kernel");
    eval(&together.iter().collect::<Vec<_>>()).unwrap();
    let alone = build(&|t| {
        let t = t?;
        t.eval()?;
        Ok(t)
    })
    .unwrap();
    for (a, b) in together.iter().zip(&alone) {
        assert_eq!(a.dtype(), b.dtype());
        if a.dtype() == DType::U8 {
            assert_eq!(a.to_vec::<u8>().unwrap(), b.to_vec::<u8>().unwrap());
            continue;
        }
        let bits = |t: &Tensor| t.to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(a), bits(b));
    }
}

/// Numbers of both signs with a NaN, an infinity and a negative zero among them.
fn numbers<const N: usize>(shape: [usize; N], seed: u64) -> Tensor {
    let t = Tensor::randn(shape, Device::Cpu, seed).unwrap();
    let mut v = t.to_vec::<f32>().unwrap();
    for (at, value) in [(1, f32::NAN), (2, f32::NEG_INFINITY), (3, -0.0)] {
        if v.len() > 8 {
            v[at] = value;
        }
    }
    Tensor::from_vec(v, shape, Device::Cpu).unwrap()
}

fn ready<const N: usize>(shape: [usize; N], seed: u64) -> Tensor {
    let t = Tensor::randn(shape, Device::Cpu, seed).unwrap();
    t.eval().unwrap();
    t
}

#[test]
fn convolution_bias_and_relu() {
    // a shallow one, one in pieces, one alone in its task, one depthwise, a large weight
    for (x, w, groups) in [
        ([9, 20, 20, 1], [3, 3, 1, 32], 1),
        ([9, 13, 13, 32], [3, 3, 32, 24], 1),
        ([1, 5, 4, 3], [3, 3, 3, 7], 1),
        ([3, 12, 12, 8], [3, 3, 1, 8], 8),
        ([2, 6, 6, 170], [3, 3, 170, 180], 1),
    ] {
        let (x, w, b) = (ready(x, 1), ready(w, 2), ready([w[3]], 3));
        let options = Conv2dOptions { groups, padding: Padding::Same, ..Default::default() };
        check([1, 1], |step| {
            let y = step(x.conv2d(&w, options))?;
            let y = step(&y + &b)?;
            Ok(vec![step(y.relu())?])
        });
        // what somebody holds is kept
        check([1, 0], |step| {
            let y = step(x.conv2d(&w, options))?;
            let z = step(&y + &b)?;
            Ok(vec![step(z.relu())?, y, z])
        });
    }
}

#[test]
fn gradients_and_masks() {
    let (x, w) = (numbers([5, 12, 11, 32], 1), ready([3, 3, 32, 16], 2));
    let dy = ready([5, 6, 5, 32], 3);
    check([1, 1], |step| {
        let y = Variable::new(x.clone());
        let pooled = y.value().max_pool2d(Pool2dOptions::new([2, 2]))?;
        let loss = (pooled * &dy)?.sum(.., false)?;
        let grads = loss.backward()?;
        let g = step(grads.get(&y))?;
        let mask = step(x.gt(0.0))?;
        Ok(vec![step(mask.select(&g, &g.zeros_like()?))?])
    });
    let y = Variable::new(x.clone());
    check([2, 1], |step| {
        let out = y.value().conv2d(&w, Conv2dOptions::default())?;
        let grads = (&out * &out)?.sum(.., false)?.backward()?;
        let g = step(grads.get(&y))?;
        let mask = step(x.le(0.5))?;
        Ok(vec![step(mask.select(0.0, &g))?, mask])
    });
}

#[test]
fn the_mask_of_a_relu_goes_to_its_user() {
    let (x, w, b) = (ready([5, 14, 13, 8], 1), ready([3, 3, 8, 16], 2), ready([16], 3));
    let dy = ready([5, 6, 5, 16], 4);
    // the other group masks the pooling's gradient before it is spread
    check([2, 1], |step| {
        let (w, b) = (Variable::new(w.clone()), Variable::new(b.clone()));
        let y = step(x.conv2d(&w, Conv2dOptions::default()))?;
        let y = step(step(&y + &b)?.relu())?;
        let pooled = step(y.max_pool2d(Pool2dOptions::new([2, 2])))?;
        let grads = (pooled * &dy)?.sum(.., false)?.backward()?;
        Ok(vec![grads.get(&w)?, grads.get(&b)?])
    });
}

#[test]
fn pointwise_of_many_shapes() {
    for n in [1, 7, 1024, 1025, 40_000, 70_001] {
        let (p, g, m, v) = (ready([n], 1), numbers([n], 2), ready([n], 3), ready([n], 4));
        check([1, 0], |step| {
            let m2 = step(&m + step(step(&g - &m)? * 0.1)?)?;
            let v2 = step(&v + step(step(step(g.square())? - &v)? * 0.001)?)?;
            let slow = step(step(v2.abs())?.sqrt())?;
            let p2 = step(&p - step(step(&m2 * 0.01)? / step(slow + 1e-7)?)?)?;
            Ok(vec![p2, m2, v2])
        });
    }
    // rows that repeat, columns that do, other layouts, one element
    let (a, row, column) = (numbers([300, 130], 1), ready([130], 2), ready([300, 1], 3));
    let (turned, one) = (ready([130, 300], 4).transpose().unwrap(), ready([1, 1], 5));
    turned.eval().unwrap();
    check([1, 0], |step| {
        let t = step(&a + &row)?;
        let t = step(&t * &turned)?;
        let t = step(step(&t - &one)?.maximum(0.0))?;
        let below = step(t.lt(&row))?;
        let t = step(below.select(&t, &row))?;
        Ok(vec![t, below])
    });
    check([0, 0], |step| Ok(vec![step(step(&a + &column)?.softmax(-1))?]));
}

#[test]
fn a_group_ends_where_its_values_are_used_elsewhere() {
    let a = numbers([64, 64], 1);
    check([2, 0], |step| {
        let b = step(step(&a * 2.0)?.relu())?;
        let c = step(b.matmul(&b))?;
        let d = step(step(&b + &c)?.exp())?;
        Ok(vec![d])
    });
}

/// Where a tensor's value lies.
fn place(t: &Tensor) -> usize {
    t.0.with_value(|value| match value {
        Some(Value::Cpu(array)) => array.raw::<f32>().unwrap().as_ptr().addr() + array.offset * 4,
        _ => 0,
    })
}

/// An update of a state as optimizers make it: `state` moved in, the new one and a second result held.
fn updated(state: Tensor, g: &Tensor) -> [Tensor; 2] {
    no_grad(|| -> Result<_> {
        let next = (&state + ((g - &state)? * 0.25)?).unwrap();
        let step = ((&next * 2.0)? / (g.square()? + 1.0)?).unwrap();
        drop(state);
        Ok([next, step])
    })
    .unwrap()
}

#[test]
fn a_state_that_nobody_reads_again_is_overwritten() {
    for n in [1, 7, 1024, 1025, 20_000] {
        let (state, g) = (ready([n], 1), ready([n], 2));
        let [old, grad] = [&state, &g].map(|t| t.to_vec::<f32>().unwrap());
        let before = place(&state);
        let [next, step] = updated(state, &g);
        eval(&[&next, &step]).unwrap();
        assert!(
            [place(&next), place(&step)].contains(&before),
            "{n} elements: in the memory of the old state"
        );
        let want: Vec<f32> = old.iter().zip(&grad).map(|(s, g)| s + (g - s) * 0.25).collect();
        assert_eq!(next.to_vec::<f32>().unwrap(), want, "{n} elements");
        let want: Vec<f32> = want.iter().zip(&grad).map(|(s, g)| (s * 2.0) / (g * g + 1.0)).collect();
        assert_eq!(step.to_vec::<f32>().unwrap(), want, "{n} elements");
        assert_eq!(g.to_vec::<f32>().unwrap(), grad, "what somebody holds");
    }
}

#[test]
fn what_somebody_reads_again_is_not_overwritten() {
    let n = 3000;
    let check = |what: &str, hold: &dyn Fn(&Tensor) -> Tensor| {
        let (state, g) = (ready([n], 1), ready([n], 2));
        let held = hold(&state);
        let old = held.to_vec::<f32>().unwrap();
        let before = place(&state);
        let [next, step] = updated(state, &g);
        eval(&[&next, &step]).unwrap();
        assert!(![place(&next), place(&step)].contains(&before), "{what}");
        assert_eq!(held.to_vec::<f32>().unwrap(), old, "{what}");
    };
    check("another handle", &Clone::clone);
    check("a view", &|t| {
        let view = t.slice(0, 5, 20).unwrap();
        view.eval().unwrap();
        view
    });
    check("a view that is not computed yet", &|t| t.slice(0, 5, 20).unwrap());
    // Read by what is computed later, by somebody outside of the group, or for a gradient.
    let (state, g) = (ready([n], 1), ready([n], 2));
    let old = state.to_vec::<f32>().unwrap();
    let later = state.sum(.., false).unwrap();
    let [next, _] = updated(state, &g);
    next.eval().unwrap();
    let sum: f64 = old.iter().map(|&x| f64::from(x)).sum();
    assert!((f64::from(later.item::<f32>().unwrap()) - sum).abs() < 1e-3);
    let x = ready([n], 3).watch().unwrap();
    let y = (&x * 3.0).unwrap();
    let z = (&y * &y).unwrap();
    z.eval().unwrap();
    let dx = z.sum(.., false).unwrap().gradients(&[&x]).unwrap().remove(0);
    let want: Vec<f32> = x.to_vec::<f32>().unwrap().iter().map(|x| 18.0 * x).collect();
    for (got, want) in dx.to_vec::<f32>().unwrap().iter().zip(&want) {
        assert!((got - want).abs() <= 1e-5 * want.abs(), "{got}, not {want}");
    }
}

#[test]
fn two_states_are_overwritten_at_once() {
    let n = 9000;
    let (m, v, g) = (ready([n], 1), ready([n], 2), ready([n], 3));
    let [m0, v0, g0] = [&m, &v, &g].map(|t| t.to_vec::<f32>().unwrap());
    let before = [place(&m), place(&v)];
    let (m, v) = no_grad(|| -> Result<_> {
        let next_m = (&m + ((&g - &m)? * 0.5)?)?;
        let next_v = (&v + ((g.square()? - &v)? * 0.5)?)?;
        drop((m, v));
        Ok((next_m, next_v))
    })
    .unwrap();
    eval(&[&m, &v]).unwrap();
    let mut after = [place(&m), place(&v)];
    after.sort_unstable();
    assert!(before.iter().all(|place| after.contains(place)));
    let want: Vec<f32> = m0.iter().zip(&g0).map(|(m, g)| m + (g - m) * 0.5).collect();
    assert_eq!(m.to_vec::<f32>().unwrap(), want);
    let want: Vec<f32> = v0.iter().zip(&g0).map(|(v, g)| v + (g * g - v) * 0.5).collect();
    assert_eq!(v.to_vec::<f32>().unwrap(), want);
}

/// Parts that begin and end within a block, that are longer than one, and that are empty.
#[test]
fn packed_inputs_are_read_where_their_parts_lie() {
    let sizes = [1, 70, 0, 1000, 5000, 64, 3, 2048, 1];
    let parts: Vec<Tensor> = (0..).zip(sizes).map(|(i, n)| numbers([n], i)).collect();
    let packed = || -> Result<Tensor> {
        // Computed in the same graph, one of them a view.
        let mut parts = parts.iter().map(|p| p * 0.5).collect::<Result<Vec<_>>>()?;
        parts[3] = parts[3].reshape([10, 100])?.transpose()?;
        crate::ops::join::pack(&parts)
    };
    let n = packed().unwrap().numel();
    let (x, y) = (numbers([n], 20), numbers([n / 64, 64], 21));
    let flat = |step: Step| {
        let p = step(packed())?;
        let sum = step(&p + &x)?;
        Ok(vec![step(sum * &p)?])
    };
    let reshaped = |step: Step| {
        let p = step(step(packed())?.reshape([n / 64, 64]))?;
        let sum = step(&p + &y)?;
        Ok(vec![step(sum * &p)?])
    };
    // What somebody holds, or what others read, too, is packed for all.
    let held = |step: Step| {
        let p = step(packed())?;
        let sum = step(&p + &x)?;
        Ok(vec![step(sum * &p)?, p])
    };
    let others = |step: Step| {
        let p = step(packed())?;
        let sum = step(&p + &x)?;
        let both = step(sum * &p)?;
        Ok(vec![step(both.reshape([n / 64, 64])? + p.slice(0, 0, 64)?)?])
    };
    let builds: [Build; 4] = [&flat, &reshaped, &held, &others];
    for (build, read) in builds.into_iter().zip([1, 1, 0, 0]) {
        let roots = build(&|t| t).unwrap();
        assert_eq!(groups_of(&roots).iter().map(|g| g.packed.len()).sum::<usize>(), read);
        check([count(&roots)[0], 0], build);
    }
}

/// Enough elements to be fetched ahead of time.
#[test]
fn large_groups_are_fetched_and_are_the_same() {
    let n = (1 << 20) + 77;
    let (a, b, c) = (ready([n], 1), ready([n], 2), ready([n], 3));
    check([1, 0], |step| {
        let sum = step(&a + &b)?;
        let product = step(&sum * &c)?;
        Ok(vec![step(&product - &sum)?, product])
    });
    let (x, w) = (ready([40, 40, 40, 32], 4), ready([1, 1, 32, 32], 5));
    let more = ready([40, 40, 40, 32], 6);
    check([1, 1], |step| {
        let y = step(x.conv2d(&w, Conv2dOptions::default()))?;
        let y = step(&y + &more)?;
        Ok(vec![step(y.relu())?])
    });
}
