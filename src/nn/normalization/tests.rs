//! Gradients of normalisations, and what a loop that never reads the averages keeps.

use super::*;
use crate::device::Device;

/// x, gamma and beta of a normalisation in f64.
type Inputs = [Vec<f64>; 3];

/// A module of these features, and the shape of its input.
type Make = fn(AffineModule) -> (Box<dyn Module>, &'static [usize]);

const FEATURES: usize = 4;

fn vector(values: &[f64], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, Device::Cpu).unwrap()
}

fn wave(n: usize, step: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * step).sin()).collect()
}

/// A loss of the normalised input, and what it depends on.
fn run(make: Make, inputs: &Inputs) -> (Tensor, Tensor, Vec<Variable>) {
    let weight = |values: &[f64]| Variable::new(vector(values, &[values.len()]));
    let (gamma, beta) = (weight(&inputs[1]), weight(&inputs[2]));
    let settings = Affine { epsilon: 0.01, ..Affine::default() };
    let affine = AffineModule { settings, gamma: Some(gamma.clone()), beta: Some(beta.clone()) };
    let (module, shape) = make(affine);
    let x = vector(&inputs[0], shape).watch().unwrap();
    let y = module.forward(&x, &Context::train(0)).unwrap();
    let weights = vector(&wave(y.numel(), 1.3), y.dims());
    let loss = (y.square().unwrap() * weights).unwrap().sum(.., false).unwrap();
    (loss, x, vec![gamma, beta])
}

/// The loss or, for the second order, the loss's gradient along a fixed direction; and its own gradient.
fn value(make: Make, inputs: &Inputs, second: bool) -> (f64, Vec<f64>) {
    let (loss, x, weights) = run(make, inputs);
    let total = if second {
        let grads = loss.backward().unwrap();
        let mut list = vec![grads.get(&x).unwrap()];
        list.extend(weights.iter().map(|w| grads.get(w).unwrap()));
        let along = |g: &Tensor| (g * vector(&wave(g.numel(), 0.7), g.dims())).unwrap().sum(.., false);
        list.iter().map(|g| along(g).unwrap()).reduce(|a, b| (a + b).unwrap()).unwrap()
    } else {
        loss
    };
    let grads = total.backward().unwrap();
    let mut gradient = grads.get(&x).unwrap().to_vec::<f64>().unwrap();
    for weight in &weights {
        gradient.extend(grads.get_or_zeros(weight).unwrap().to_vec::<f64>().unwrap());
    }
    (total.item::<f64>().unwrap(), gradient)
}

#[test]
fn gradients_and_their_gradients_match_finite_differences() {
    fn batch(affine: AffineModule) -> Box<dyn Module> {
        let buffer = |value: f64| Variable::not_trainable(vector(&[value; FEATURES], &[FEATURES]));
        let (mean, variance) = (buffer(0.0), buffer(1.0));
        let unread = AtomicU32::new(0);
        Box::new(BatchNormModule { affine, momentum: 0.9, synchronized: false, mean, variance, unread })
    }
    let cases: [(&str, Make); 5] = [
        ("batch, features", |affine| (batch(affine), &[5, 4])),
        ("batch, images", |affine| (batch(affine), &[2, 3, 1, 4])),
        ("layer", |affine| {
            (Box::new(LayerNormModule { affine, axes: vec![-1], place: vec![1, 4] }), &[2, 3, 4])
        }),
        ("layer, two axes", |affine| {
            (Box::new(LayerNormModule { affine, axes: vec![1, 2], place: vec![2, 2] }), &[3, 2, 2])
        }),
        ("group", |affine| (Box::new(GroupNormModule { affine, groups: 2 }), &[2, 3, 4])),
    ];
    for (name, make) in cases {
        let (_, shape) = make(AffineModule { settings: Affine::default(), gamma: None, beta: None });
        let n = shape.iter().product();
        let x: Vec<f64> = wave(n, 2.1).iter().map(|v| 3.0 * v + 1.0).collect();
        let inputs = [x, vec![0.5, 1.5, -1.0, 2.0], vec![0.25, -0.5, 1.0, 0.0]];
        for second in [false, true] {
            let (_, gradient) = value(make, &inputs, second);
            let scale = gradient.iter().fold(0.01f64, |m, g| m.max(g.abs()));
            let mut at = 0;
            for part in 0..3 {
                for e in 0..inputs[part].len() {
                    let nudged = |by: f64| {
                        let mut moved = inputs.clone();
                        moved[part][e] += by;
                        value(make, &moved, second).0
                    };
                    let h = 1e-3;
                    let (far, near) = (nudged(-2.0 * h) - nudged(2.0 * h), nudged(h) - nudged(-h));
                    let expected = (far + 8.0 * near) / (12.0 * h);
                    let off = (gradient[at] - expected).abs() / scale;
                    assert!(off < 1e-7, "{name} {second} {part} {e}: {} {expected}", gradient[at]);
                    at += 1;
                }
            }
        }
    }
}

#[test]
fn a_loop_that_never_reads_the_averages_keeps_few_graphs() {
    let model = crate::nn::Sequential::new().add(BatchNorm::new()).build([3], Device::Cpu).unwrap();
    let x = Tensor::rand([8, 3], Device::Cpu, 1).unwrap();
    let mean = model.parameter("batchnorm.moving_mean").unwrap().variable;
    let mut longest = 0;
    for step in 0..100 {
        drop(model.forward(&x, &Context::train(step)).unwrap());
        longest = longest.max(if mean.value().0.has_value() { 0 } else { mean.value().0.depth });
    }
    assert!(longest < 60, "{longest} operations wait");
    let expected = x.mean(0, false).unwrap().to_vec::<f32>().unwrap();
    let share = 1.0 - 0.99f32.powi(100);
    for (got, expected) in mean.value().to_vec::<f32>().unwrap().iter().zip(expected) {
        assert!((got - share * expected).abs() < 1e-5, "{got} {expected}");
    }
}
