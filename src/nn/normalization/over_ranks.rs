//! A synchronised BatchNorm over ranks that are threads: values and gradients of a process with the whole batch.

use super::*;
use crate::device::Device;
use crate::distributed::{Collective, SharedBatch};
use crate::nn::Sequential;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

#[derive(Debug, Default)]
struct Post {
    /// By sender and receiver.
    messages: Mutex<BTreeMap<[usize; 2], VecDeque<Vec<u8>>>>,
    bell: Condvar,
}

/// A rank that is a thread.
#[derive(Clone, Debug)]
struct Thread {
    rank: usize,
    size: usize,
    post: Arc<Post>,
}

impl Collective for Thread {
    fn rank(&self) -> usize {
        self.rank
    }
    fn size(&self) -> usize {
        self.size
    }
    fn local_rank(&self) -> usize {
        self.rank
    }
    fn host(&self) -> String {
        "a thread".into()
    }
    fn transfer(&self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>> {
        let mut messages = self.post.messages.lock().unwrap();
        if let Some((to, message)) = send {
            messages.entry([self.rank, to]).or_default().push_back(message);
            self.post.bell.notify_all();
        }
        let Some(from) = from else { return Ok(None) };
        loop {
            if let Some(message) = messages.get_mut(&[from, self.rank]).and_then(VecDeque::pop_front) {
                return Ok(Some(message));
            }
            let (held, waited) = self.post.bell.wait_timeout(messages, Duration::from_secs(20)).unwrap();
            messages = held;
            if waited.timed_out() {
                return Err(Error::rank(from, "says nothing"));
            }
        }
    }
    fn fail(&self, _reason: &str) {}
}

/// What each rank gives, in their order.
fn on_ranks<T: Send>(size: usize, run: impl Fn(Thread) -> Result<T> + Sync) -> Vec<T> {
    let post = Arc::new(Post::default());
    std::thread::scope(|scope| {
        let start = |rank| {
            let (run, world) = (&run, Thread { rank, size, post: post.clone() });
            scope.spawn(move || run(world).unwrap())
        };
        let ranks: Vec<_> = (0..size).map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

const FEATURES: usize = 3;

fn wave(places: Range<usize>, step: f64) -> Vec<f64> {
    places.map(|i| (i as f64 * step).sin()).collect()
}

/// Rows of a batch as a tensor; where there are none, as an empty one.
fn rows(values: &[f64], at: &Range<usize>, device: Device) -> Result<Tensor> {
    let part = &values[at.start * FEATURES..at.end * FEATURES];
    Tensor::from_slice(part, [at.len(), FEATURES], device)
}

/// What a rank has of its rows: outputs, gradients of a sum of losses, gradients of these along a direction, the moving averages; and the
/// gradients of gamma, to be added.
struct Found {
    of_rows: [Vec<f64>; 3],
    averages: Vec<f64>,
    of_gamma: [Vec<f64>; 2],
}

/// In f64, which built layers are not.
fn norm() -> Result<BatchNormModule> {
    let vector = |value: f64| Tensor::from_slice(&[value; FEATURES], [FEATURES], Device::Cpu);
    let affine = AffineModule {
        settings: Affine { epsilon: 0.01, ..Affine::default() },
        gamma: Some(Variable::new(vector(1.5)?)),
        beta: Some(Variable::new(vector(0.25)?)),
    };
    let (mean, variance) = (Variable::not_trainable(vector(0.0)?), Variable::not_trainable(vector(1.0)?));
    let unread = AtomicU32::new(0);
    Ok(BatchNormModule { affine, momentum: 0.75, synchronized: true, mean, variance, unread })
}

fn find(
    layer: &BatchNormModule,
    values: &[f64],
    at: &Range<usize>,
    cx: &Context,
    counts: bool,
) -> Result<Found> {
    let x = rows(values, at, Device::Cpu)?.watch()?;
    let gamma = layer.parameter("gamma")?.variable;
    let y = layer.forward(&x, cx)?;
    let place = at.start * FEATURES..at.end * FEATURES;
    let weights = |step| Tensor::from_slice(&wave(place.clone(), step), x.dims(), Device::Cpu);
    let loss = ((&y * y.square()?)? * weights(1.3)?)?.sum(.., false)?;
    let first = loss.backward()?;
    let along = (first.get(&x)? * weights(0.7)?)?.sum(.., false)?;
    // Of all ranks' gradients together, gamma's is a part on each.
    let along = (along + first.get(&gamma)?.sum(.., false)?)?;
    let second = along.backward()?;
    let numbers = |t: Tensor| if counts { t.to_vec::<f64>() } else { Ok(Vec::new()) };
    let average = |name| layer.parameter(name)?.variable.value().to_vec::<f64>();
    let of_gamma = |grads: &crate::Gradients| match counts {
        true => grads.get(&gamma)?.to_vec::<f64>(),
        false => Ok(vec![0.0; FEATURES]),
    };
    Ok(Found {
        of_rows: [numbers(y)?, numbers(first.get(&x)?)?, numbers(second.get(&x)?)?],
        averages: [average("moving_mean")?, average("moving_variance")?].concat(),
        of_gamma: [of_gamma(&first)?, of_gamma(&second)?],
    })
}

fn close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
    for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() < 1e-11 * scale, "{what} {k}: {got} {expected}");
    }
}

/// What it is called, the rows of each rank, and the rank whose row doesn't count.
type Parts<'a> = (&'a str, &'a [Range<usize>], Option<usize>);

#[test]
fn parts_on_ranks_are_one_batch_to_the_gradients_of_gradients() {
    let samples = 11;
    let values: Vec<f64> = wave(0..samples * FEATURES, 2.1).iter().map(|v| 3.0 * v + 1.0).collect();
    let whole = find(&norm().unwrap(), &values, &(0..samples), &Context::train(0), true).unwrap();
    let cases: [Parts<'_>; 5] = [
        ("two", &[0..6, 6..11], None),
        ("uneven", &[0..1, 1..9, 9..11], None),
        ("four", &[0..2, 2..5, 5..8, 8..11], None),
        ("an empty one", &[0..7, 7..7, 7..11], None),
        ("one that doesn't count", &[0..4, 4..5, 4..11], Some(1)),
    ];
    for (name, parts, without) in cases {
        let found = on_ranks(parts.len(), |world| {
            let (rank, shards) = (world.rank, world.size);
            let counts = Some(rank) != without;
            let batch = SharedBatch { world: Arc::new(world), shards, counts };
            find(&norm()?, &values, &parts[rank], &Context::train(0).sharing(batch), counts)
        });
        for (k, what) in ["outputs", "gradient", "second gradient"].into_iter().enumerate() {
            let all: Vec<f64> = found.iter().flat_map(|f| f.of_rows[k].clone()).collect();
            close(&all, &whole.of_rows[k], &format!("{name}: {what}"));
        }
        for order in 0..2 {
            let sum = |c: usize| found.iter().map(|f| f.of_gamma[order][c]).sum();
            let sums: Vec<f64> = (0..FEATURES).map(sum).collect();
            close(&sums, &whole.of_gamma[order], &format!("{name}: gamma {order}"));
        }
        for one in &found {
            close(&one.averages, &whole.averages, &format!("{name}: averages"));
            assert_eq!(one.averages, found[0].averages, "{name}");
        }
    }
}

/// Numbers of 1,000,000 with a deviation of 1: the mean of squares has not one digit of their variance in f32.
#[test]
fn nothing_cancels_far_from_zero() {
    let values: Vec<f32> = wave(0..400, 2.1).iter().map(|v| 1e6 + *v as f32).collect();
    let exact: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    let mean = exact.iter().sum::<f64>() / 400.0;
    let variance = exact.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 400.0;
    let model =
        || Sequential::new().add(BatchNorm::new().momentum(0.0).synchronized(true)).build([1], Device::Cpu);
    let found = on_ranks(3, |world| {
        let at = [0..10, 10..300, 300..400][world.rank].clone();
        let (model, x) = (model()?, Tensor::from_slice(&values[at.clone()], [at.len(), 1], Device::Cpu)?);
        let y = model.forward(&x, &Context::train(0).distributed(world))?.to_vec::<f32>()?;
        Ok((y, model.parameter("batchnorm.moving_variance")?.variable.value().item::<f32>()?))
    });
    let y: Vec<f32> = found.iter().flat_map(|(y, _)| y.clone()).collect();
    for (y, x) in y.iter().zip(&exact) {
        let expected = (x - mean) / (variance + 1e-3).sqrt();
        assert!((f64::from(*y) - expected).abs() < 1e-5, "{y} {expected}");
    }
    assert!(found.iter().all(|(_, got)| (f64::from(*got) / variance - 1.0).abs() < 1e-6));
}

/// Nobody has a sample: as in one process, the averages stand for them.
#[test]
fn a_batch_without_samples_uses_the_averages() {
    let found = on_ranks(2, |world| {
        let layer = norm()?;
        let x = rows(&[], &(0..0), Device::Cpu)?;
        let y = layer.forward(&x, &Context::train(0).distributed(world))?;
        let mean = layer.parameter("moving_mean")?.variable.value().to_vec::<f64>()?;
        Ok((y.numel(), mean))
    });
    assert!(found.iter().all(|(n, mean)| *n == 0 && *mean == [0.0; FEATURES]));
}
