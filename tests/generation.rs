//! Caches that grow in place, and generation with them: every handle reads what it had, one plan serves all lengths.

mod common;

use common::{DEVICES, Rng, tensor, values};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wgrad::nn::{
    Cache, Embedding, Functional, Generation, KvCache, MultiHeadAttention, PositionEmbedding,
    SinePositionEncoding, TransformerDecoder, TransformerEncoder,
};
use wgrad::prelude::*;
use wgrad::testing::assert_close;
use wgrad::{Graph, TensorSpec, eval};

/// Counters are the process's: the tests of this file run one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cache, and what must be in it.
#[derive(Clone)]
struct Model {
    cache: Cache,
    want: Vec<f64>,
}

/// What somebody holds, and what it must read.
type Held = (Tensor, Vec<f64>);

struct World {
    rng: Rng,
    dims: Vec<usize>,
    axis: usize,
    dtype: DType,
    device: Device,
}

impl World {
    /// Elements before the axis, and behind each of its places.
    fn around(&self) -> (usize, usize) {
        (self.dims[..self.axis].iter().product(), self.dims[self.axis + 1..].iter().product())
    }

    fn append(&mut self, m: &mut Model, k: usize) -> Result<()> {
        let (outer, inner) = self.around();
        let (n, at) = (self.dims[self.axis], m.cache.len());
        let part: Vec<f64> = (0..outer * k * inner).map(|_| self.rng.int(0, 255) as f64).collect();
        for o in 0..outer {
            for r in 0..k * inner {
                m.want[(o * n + at) * inner + r] = part[o * k * inner + r];
            }
        }
        let mut dims = self.dims.clone();
        dims[self.axis] = k;
        // Now a leaf, now something that is yet to be computed, now a view.
        let slices = match self.rng.int(0, 2) {
            0 => tensor(&part, &dims, self.dtype, self.device)?,
            1 => {
                let x = tensor(&part, &dims, self.dtype, self.device)?;
                ((x + 0.0)? * 1.0)?
            }
            _ => {
                let (axes, last) = ((0..dims.len() as isize).rev().collect::<Vec<_>>(), dims.len() - 1);
                let mut turned = tensor(&part, &dims, self.dtype, self.device)?.permute(&axes)?;
                turned = turned.pad(vec![(0, 0); dims.len()], 0.0)?;
                let one = Tensor::concat(&[&turned, &turned], last as isize)?;
                one.slice(last as isize, dims[0], dims[0])?.permute(&axes)?
            }
        };
        assert_eq!(slices.dims(), &dims);
        m.cache.append(&slices)
    }

    fn look(&mut self, m: &Model) -> Result<Held> {
        let (outer, inner) = self.around();
        let (n, len) = (self.dims[self.axis], m.cache.len());
        let held = match self.rng.int(0, 4) {
            0 => (m.cache.full(), m.want.clone()),
            1 => {
                let filled = (0..outer).flat_map(|o| m.want[o * n * inner..(o * n + len) * inner].to_vec());
                (m.cache.filled()?, filled.collect())
            }
            2 => (m.cache.full().reshape([m.want.len()])?, m.want.clone()),
            3 => ((m.cache.full() * 2.0)?, m.want.iter().map(|v| v * 2.0 % 256.0).collect()),
            _ => {
                let mask = (0..n).map(|i| f64::from(u8::from(i < len)));
                (m.cache.mask()?, mask.collect())
            }
        };
        if self.rng.flag() {
            held.0.eval()?;
        }
        Ok(held)
    }

    fn check((tensor, want): &Held, wraps: bool) -> Result<()> {
        let got = values(tensor)?;
        let got: Vec<f64> = if wraps { got } else { got.iter().map(|v| v % 256.0).collect() };
        assert_eq!(&got, want);
        Ok(())
    }
}

fn random_caches(device: Device, dtype: DType, seed: u64) -> Result<()> {
    let mut rng = Rng(seed);
    let rank = rng.int(1, 3);
    let axis = rng.int(0, rank - 1);
    let mut dims: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 3, 4, 8])).collect();
    dims[axis] = rng.pick(&[5, 8, 13]);
    let signed = if rng.flag() { axis as isize } else { axis as isize - rank as isize };
    let cache = Cache::new(&dims, signed, dtype, device)?;
    let want = vec![0.0; dims.iter().product()];
    let mut all = vec![Model { cache, want }];
    let mut held: Vec<Held> = Vec::new();
    let mut w = World { rng, dims, axis, dtype, device };
    let wraps = dtype == DType::U8;
    for _ in 0..40 {
        let which = w.rng.int(0, all.len() - 1);
        match w.rng.int(0, 9) {
            0..=3 => {
                let mut m = all[which].clone();
                // The clone is one handle more until it takes the other's place.
                let room = m.cache.capacity() - m.cache.len();
                let k = w.rng.int(0, room.min(3));
                if w.rng.flag() {
                    w.append(&mut m, k)?;
                    all[which] = m;
                } else {
                    drop(m);
                    let mut m = all.swap_remove(which);
                    w.append(&mut m, k)?;
                    all.push(m);
                }
            }
            4 if all.len() < 4 => all.push(all[which].clone()),
            5 if all.len() > 1 => drop(all.swap_remove(which)),
            6 => {
                let roots: Vec<Tensor> = all.iter().map(|m| m.cache.full()).collect();
                eval(&roots.iter().collect::<Vec<_>>())?;
            }
            7 if !held.is_empty() => {
                let which = w.rng.int(0, held.len() - 1);
                World::check(&held.swap_remove(which), wraps)?;
            }
            _ => held.push(w.look(&all[which].clone())?),
        }
    }
    for held in &held {
        World::check(held, wraps)?;
    }
    for m in &all {
        assert_eq!(values(&m.cache.full())?, m.want, "seed {seed}");
    }
    Ok(())
}

#[test]
fn every_handle_reads_what_it_had() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let types = [DType::F32, DType::I32, DType::U8, DType::U32, DType::F64];
        let seeds = if device == Device::Cpu { 60 } else { 6 };
        for (t, dtype) in types.into_iter().enumerate() {
            if dtype == DType::F64 && device != Device::Cpu {
                continue;
            }
            for seed in 0..seeds {
                random_caches(device, dtype, 1 + seed + 1000 * t as u64)
                    .unwrap_or_else(|e| panic!("{device} {dtype} seed {seed}: {e}"));
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let other = if device == Device::Cpu { Device::Gpu } else { Device::Cpu };
        let mut cache = Cache::new([2, 4, 3], 1, DType::F32, device)?;
        cache.append(&Tensor::ones([2, 3, 3], device)?)?;
        cache.append(&Tensor::ones([2, 0, 3], device)?)?;
        let wrong = [
            (Tensor::ones([2, 2, 3], device)?, "2 more do not fit into Cache(3 of 4"),
            (Tensor::ones([2, 1, 4], device)?, "with any length along axis 1"),
            (Tensor::ones([2, 3], device)?, "with any length along axis 1"),
            (Tensor::full([2, 1, 3], 1, device)?, "i32 [2, 1, 3]"),
            (Tensor::ones([2, 1, 3], other)?, "takes the same type, device"),
        ];
        for (slices, message) in wrong {
            let error = cache.append(&slices).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(cache.causal_mask(4).is_err());
        assert!(cache.grow(3).is_err());
        assert_eq!((cache.len(), cache.capacity(), cache.axis()), (3, 4, 1));
        assert_eq!(cache.full().sum(.., false)?.item::<f32>()?, 18.0);
        // with more room it goes on
        let before = cache.clone();
        cache.grow(6)?;
        cache.append(&Tensor::ones([2, 3, 3], device)?)?;
        assert_eq!(cache.full().shape(), [2, 6, 3]);
        assert_eq!(cache.full().to_vec::<f32>()?, [1.0; 36]);
        assert_eq!((before.capacity(), before.len()), (4, 3));
        // full, and with nothing to be appended
        cache.append(&Tensor::ones([2, 0, 3], device)?)?;
        assert!(cache.append(&Tensor::ones([2, 1, 3], device)?).is_err());

        let x = Tensor::zeros([4, 2], device)?;
        for (axis, start, dims) in [(0, 3, [2, 2]), (0, usize::MAX, [1, 2]), (2, 0, [1, 2]), (0, 0, [1, 3])] {
            assert!(x.update_slice(axis, start, &Tensor::ones(dims, device)?).is_err());
        }
        assert!(x.update_slice(0, 0, &Tensor::full([1, 2], 1, device)?).is_err());
        assert!(x.update_slice(0, 0, &Tensor::ones([1, 2], other)?).is_err());
        assert!(Cache::new([2, 3], 2, DType::F32, device).is_err());
        assert!(KvCache::new([2, 3], [3, 3], 0, DType::F32, device).is_err());
        let mut pair = KvCache::new([4, 3], [4, 2], 0, DType::F32, device)?;
        assert!(pair.append(&Tensor::ones([2, 3], device)?, &Tensor::ones([1, 2], device)?).is_err());
        assert!(pair.append(&Tensor::ones([1, 3], device)?, &Tensor::ones([1, 3], device)?).is_err());
        assert!(pair.is_empty() && pair.keys().sum(.., false)?.item::<f32>()? == 0.0);
        // a cache without elements, or without room
        let mut none = Cache::new([3, 0], 0, DType::F32, device)?;
        none.append(&Tensor::zeros([2, 0], device)?)?;
        assert_eq!((none.len(), none.full().to_vec::<f32>()?.len()), (2, 0));
        let mut none = Cache::new([0, 3], 0, DType::F32, device)?;
        assert!(none.append(&Tensor::zeros([1, 3], device)?).is_err());
        assert!(none.mask()?.to_vec::<u8>()?.is_empty());
    }
    assert!(Cache::new([2], 0, DType::F64, Device::Gpu).is_err());
    Ok(())
}

/// A tensor that a traced function holds is the same in each call.
#[test]
fn traced_functions_hold_what_they_held() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let held = Tensor::from_slice(&[1.0f32; 6], [3, 2], device)?;
        let spec = TensorSpec::from(&Tensor::ones([1, 2], device)?);
        let graph = Graph::trace(&[spec], move |x| Ok(vec![held.update_slice(0, 1, &x[0])?]))?;
        for value in [5.0, 7.0] {
            let y = graph.call(&[&Tensor::full([1, 2], value, device)?])?.remove(0);
            assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, value, value, 1.0, 1.0]);
        }
        // A variable is written in place, call by call.
        let state = Variable::not_trainable(Tensor::from_slice(&[0.0f32; 6], [3, 2], device)?);
        let slot = state.clone();
        let graph = Graph::trace(&[spec], move |x| {
            slot.set(slot.value().update_slice(0, 1, &x[0]))?;
            Ok(vec![slot.value().sum(.., false)?])
        })?;
        for value in [5.0f32, 7.0, 9.0] {
            let y = graph.call(&[&Tensor::full([1, 2], value, device)?])?.remove(0);
            assert_eq!(y.item::<f32>()?, 2.0 * value);
            assert_eq!(state.value().to_vec::<f32>()?, [0.0, 0.0, value, value, 0.0, 0.0]);
        }
    }
    Ok(())
}

/// A transformer of two layers that generates with a cache, or without one.
struct Transformer {
    embedding: Tensor,
    positions: Tensor,
    layers: Vec<[Tensor; 4]>,
    heads: usize,
    width: usize,
}

impl Transformer {
    fn new(device: Device, vocabulary: usize, longest: usize) -> Result<Transformer> {
        let (heads, width) = (2, 16);
        let weights = |dims: [usize; 2], seed| -> Result<Tensor> {
            let w = (Tensor::randn(dims, Device::Cpu, seed)? * (dims[0] as f64).powf(-0.5))?;
            w.to_device(device)
        };
        let layer = |l: u64| -> Result<[Tensor; 4]> {
            Ok([
                weights([width, 3 * width], 10 * l + 3)?,
                weights([width, width], 10 * l + 4)?,
                weights([width, 2 * width], 10 * l + 5)?,
                weights([2 * width, width], 10 * l + 6)?,
            ])
        };
        Ok(Transformer {
            embedding: weights([vocabulary, width], 1)?,
            positions: weights([longest, width], 2)?,
            layers: vec![layer(0)?, layer(1)?],
            heads,
            width,
        })
    }

    fn caches(&self, capacity: usize, device: Device) -> Result<Vec<KvCache>> {
        let dims = [capacity, self.heads, self.width / self.heads];
        self.layers.iter().map(|_| KvCache::new(dims, dims, 0, DType::F32, device)).collect()
    }

    /// Logits of what follows the last token.
    fn forward(&self, tokens: &[u32], caches: &mut [KvCache]) -> Result<Tensor> {
        let (device, n) = (self.embedding.device(), tokens.len());
        let first = caches[0].len();
        let ids = Tensor::from_slice(tokens, [n], device)?;
        let at = (Tensor::arange(0, n as i64, device)? + first as f64)?;
        let mut x = (self.embedding.index_select(0, &ids)? + self.positions.index_select(0, &at)?)?;
        let (h, size) = (self.heads, self.width / self.heads);
        let normed = |x: &Tensor| -> Result<Tensor> {
            let centered = (x - x.mean(-1, true)?)?;
            &centered / (centered.square()?.mean(-1, true)? + 1e-5)?.sqrt()?
        };
        for (weights, cache) in self.layers.iter().zip(caches) {
            let [qkv, out, up, down] = weights;
            let all = normed(&x)?.matmul(qkv)?;
            let part = |k: usize| all.slice(-1, k * self.width, self.width)?.reshape([n, h, size]);
            cache.append(&part(1)?, &part(2)?)?;
            let keys = cache.keys().permute([1, 2, 0])?;
            let scores = (part(0)?.permute([1, 0, 2])?.matmul(keys)? / (size as f64).sqrt())?;
            let weights = cache.causal_mask(n)?.select(&scores, -1e30)?.softmax(-1)?;
            let mixed = weights.matmul(cache.values().permute([1, 0, 2])?)?;
            x = (x + mixed.permute([1, 0, 2])?.reshape([n, self.width])?.matmul(out)?)?;
            x = (&x + normed(&x)?.matmul(up)?.gelu()?.matmul(down)?)?;
        }
        normed(&x)?
            .slice(0, n - 1, 1)?
            .matmul(self.embedding.transpose()?)?
            .reshape([self.embedding.dims()[0]])
    }
}

#[test]
fn generation_plans_nothing_after_the_third_token() -> Result<()> {
    let _alone = alone();
    let (vocabulary, capacity) = (11, 24);
    let mut tokens_of = Vec::new();
    for device in DEVICES {
        let model = Transformer::new(device, vocabulary, capacity)?;
        let mut caches = model.caches(capacity, device)?;
        let mut tokens = vec![1u32, 5, 2];
        let mut new = tokens.clone();
        let mut before = device.stats()?;
        while tokens.len() < capacity {
            let logits = no_grad(|| model.forward(&new, &mut caches))?;
            let next = logits.argmax(0, false)?.cast(DType::U32)?.item::<u32>()?;
            // What all tokens at once give, without a cache that was filled before.
            if [3, 4, 9, 23].contains(&tokens.len()) {
                let stats = device.stats()?;
                let mut empty = model.caches(capacity, device)?;
                let whole = no_grad(|| model.forward(&tokens, &mut empty))?;
                assert_close(logits.to_vec::<f32>()?, whole.to_vec::<f32>()?, 1e-4, 1e-5)?;
                let now = device.stats()?;
                before.plan_misses += now.plan_misses - stats.plan_misses;
                before.pipelines += now.pipelines - stats.pipelines;
            }
            tokens.push(next);
            new = vec![next];
            if tokens.len() == 6 {
                before = device.stats()?;
            }
        }
        let now = device.stats()?;
        assert_eq!(now.plan_misses, before.plan_misses, "{device}");
        assert_eq!(now.pipelines, before.pipelines, "{device}");
        assert_eq!(caches[1].len(), capacity - 1);
        tokens_of.push(tokens);
    }
    assert_eq!(tokens_of[0], tokens_of[1]);
    Ok(())
}

/// Gradients through a cache are those through what it holds.
#[test]
fn gradients_through_a_cache() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let parts: Vec<Tensor> = (0..3)
            .map(|s| Tensor::randn([1 + s, 4], device, 70 + s as u64)?.watch())
            .collect::<Result<_>>()?;
        let direction = Tensor::randn([6, 4], device, 80)?;
        let mut cache = Cache::new([6, 4], 0, DType::F32, device)?;
        for part in &parts {
            cache.append(part)?;
            cache.full().eval()?;
        }
        let loss = (cache.full().square()? * &direction)?.sum(.., false)?.backward()?;
        let joined = Tensor::concat(&parts, 0)?;
        let want = (joined.square()? * &direction)?.sum(.., false)?.backward()?;
        for part in &parts {
            assert_eq!(loss.get(part)?.to_vec::<f32>()?, want.get(part)?.to_vec::<f32>()?);
        }
    }
    Ok(())
}

/// Threads that each go on with a fork of one cache.
#[test]
fn forks_in_threads() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let mut cache = Cache::new([40, 8], 0, DType::F32, device)?;
        cache.append(&Tensor::ones([2, 8], device)?)?;
        let fork = |mut cache: Cache, value: f32| -> Result<Vec<f32>> {
            for _ in 0..30 {
                cache.append(&Tensor::full([1, 8], value, device)?)?;
                cache.full().eval()?;
            }
            cache.full().sum(-1, false)?.to_vec::<f32>()
        };
        std::thread::scope(|s| -> Result<()> {
            let threads: Vec<_> = [3.0, 4.0, 5.0]
                .map(|value| {
                    let (cache, fork) = (cache.clone(), &fork);
                    (value, s.spawn(move || fork(cache, value)))
                })
                .into();
            for (value, thread) in threads {
                let mut want = vec![8.0; 2];
                want.extend([8.0 * value; 30]);
                want.extend([0.0; 8]);
                assert_eq!(thread.join().expect("no panic")?, want);
            }
            Ok(())
        })?;
        assert_eq!(cache.filled()?.to_vec::<f32>()?, [1.0; 16]);
    }
    Ok(())
}

/// Capacities, sizes and numbers of slices are words of kernels, as lengths are: only what they are made of is compiled.
#[test]
fn other_capacities_compile_nothing() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let run = |capacity: usize, rows: usize, width: usize| -> Result<()> {
        let mut cache = Cache::new([2, capacity, width], 1, DType::F32, device)?;
        for step in 0..4 {
            let before = if step == 2 { Some(cache.full()) } else { None };
            cache.append(&(Tensor::full([2, rows, width], step as f32, device)? + 1.0)?)?;
            cache.full().eval()?;
            drop(before);
        }
        let want = 2.0 * (rows * width) as f32 * 10.0;
        assert_eq!(cache.full().sum(.., false)?.item::<f32>()?, want);
        Ok(())
    };
    run(20, 3, 8)?;
    let before = device.stats()?;
    for (capacity, rows, width) in [(21, 3, 8), (40, 2, 8), (64, 9, 12), (33, 5, 20)] {
        run(capacity, rows, width)?;
    }
    let now = device.stats()?;
    assert_eq!(now.pipelines, before.pipelines);
    Ok(())
}

/// Layers of all kinds that know of the tokens before.
fn gpt(device: Device) -> Result<wgrad::nn::Model> {
    Sequential::new()
        .add(Embedding::new(13, 8))
        .add(PositionEmbedding::new(24))
        .add(SinePositionEncoding::new())
        .add(MultiHeadAttention::new(4, 4).kv_heads(2).causal(true).rotary(100.0).value_dim(3))
        .add(TransformerDecoder::new(16, 2).normalize_first(true).activation(Activation::GeluTanh))
        .add(Dropout::new(0.5))
        .add(TransformerDecoder::new(16, 2).rotary(1e4))
        .add(Dense::new(13))
        .seed(3)
        .build((None,), device)
}

#[test]
fn models_generate_what_they_give_for_all_tokens_at_once() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let model = gpt(device)?;
        let all = Tensor::randint(0, 13, [2, 24], Device::Cpu, 5)?.cast(DType::U32)?;
        let whole = model.infer(&all.to_device(device)?)?.to_device(Device::Cpu)?;
        // From the host each time, as where the next token was chosen.
        let tokens =
            |at: usize, n: usize| Tensor::from_vec(all.slice(1, at, n)?.to_vec::<u32>()?, [2, n], device);
        let mut generation = Generation::new(24);
        let (mut at, mut fork, mut counted) = (0, None, None);
        for n in [5, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] {
            let y = generation.step(&model, &tokens(at, n)?)?;
            let want = whole.slice(1, at, n)?.to_vec::<f32>()?;
            assert_close(y.to_vec::<f32>()?, want, 1e-5, 1e-5)
                .map_err(|e| e.context(format!("{device} at {at}")))?;
            at += n;
            assert_eq!(generation.len(), at);
            match at {
                13 => fork = Some(generation.clone()),
                // A plan for one token, and one for what the clone has seen as well.
                16 => counted = Some(device.stats()?),
                _ => {}
            }
        }
        let (now, before) = (device.stats()?, counted.expect("sixteen tokens"));
        assert_eq!(now.pipelines, before.pipelines, "{device}");
        assert_eq!(now.plan_misses, before.plan_misses, "{device}");
        // What was forked goes on from where it was.
        let mut fork = fork.expect("a clone");
        let y = fork.step(&model, &tokens(13, 2)?)?;
        assert_close(y.to_vec::<f32>()?, whole.slice(1, 13, 2)?.to_vec::<f32>()?, 1e-5, 1e-5)?;
        // No room for more, another batch: nothing is kept.
        let message = generation.step(&model, &tokens(0, 1)?).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("1 more tokens, with 24 of 24; make it larger"), "{message}");
        let message = fork.step(&model, &tokens(0, 1)?.slice(0, 0, 1)?).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("Cache::append"), "{message}");
        assert_eq!((fork.len(), generation.len()), (15, 24));
        let y = fork.step(&model, &tokens(15, 1)?)?;
        assert_close(y.to_vec::<f32>()?, whole.slice(1, 15, 1)?.to_vec::<f32>()?, 1e-5, 1e-5)?;
    }
    Ok(())
}

#[test]
fn models_that_look_ahead_do_not_generate() -> Result<()> {
    let _alone = alone();
    let model = Sequential::new().add(TransformerEncoder::new(8, 2)).build((None, 4), Device::Cpu)?;
    let x = Tensor::ones([1, 3, 4], Device::Cpu)?;
    let mut generation = Generation::new(8);
    let message = generation.step(&model, &x).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("attention that is not causal"), "{message}");
    let message =
        generation.step(&model, &Tensor::ones([3], Device::Cpu)?).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("expects tokens [batch, tokens], got [3]"), "{message}");
    // More places than there are vectors for.
    let model = Sequential::new().add(PositionEmbedding::new(2)).build((None, 4), Device::Cpu)?;
    let message = generation.step(&model, &x).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("3 places, with vectors for 2"), "{message}");
    assert!(generation.is_empty());
    Ok(())
}

/// A decoder that attends to an encoder's output, one token after the other.
#[test]
fn decoders_generate_beside_a_second_sequence() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let mut net = Functional::new(device).seed(2);
        let (target, memory) = (net.input("target", (None, 6))?, net.input("memory", (None, 4))?);
        let mask = net.input("mask", (None,))?;
        let y = net.layer_all(TransformerDecoder::new(8, 3).rotary(1e4), &[target, memory, mask])?;
        let model = net.build(&[("y", y)])?;
        let x = Tensor::randn([2, 5, 6], Device::Cpu, 1)?.to_device(device)?;
        let memory = Tensor::randn([2, 3, 4], Device::Cpu, 2)?.to_device(device)?;
        let mask = Tensor::new([[1u8, 1, 1], [1, 0, 0]], device)?;
        let whole = model.infer_all(&[x.clone(), memory.clone(), mask.clone()])?.remove(0);
        // What is hidden has no influence.
        let hidden = (&memory * mask.cast(DType::F32)?.unsqueeze(-1)?)?;
        let same = model.infer_all(&[x.clone(), hidden, mask.clone()])?.remove(0);
        assert_close(same.to_vec::<f32>()?, whole.to_vec::<f32>()?, 1e-6, 1e-6)?;
        let mut generation = Generation::new(5);
        for at in 0..5 {
            let inputs = [x.slice(1, at, 1)?, memory.clone(), mask.clone()];
            let y = generation.step_all(&model, &inputs)?.remove(0);
            assert_close(y.to_vec::<f32>()?, whole.slice(1, at, 1)?.to_vec::<f32>()?, 1e-5, 1e-5)?;
        }
        // A model file holds layers of several inputs.
        let copy = wgrad::nn::Model::from_config(&model.config()?, &wgrad::nn::Layers::default(), 2, device)?;
        assert_eq!(copy.parameter_count(), model.parameter_count());
        assert!(model.summary().contains("TransformerDecoder"));
        assert!(model.forward(&x, &wgrad::nn::Context::eval()).is_err());
    }
    Ok(())
}

/// The other sequence is there as a whole at every step, whatever its layers know of tokens before.
#[test]
fn layers_beside_the_tokens_have_no_past() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let mut net = Functional::new(device).seed(4);
        let (target, source) = (net.input("target", (None,))?, net.input("source", (None,))?);
        let x = net.layer(Embedding::new(9, 8), target)?;
        let x = net.layer(PositionEmbedding::new(6), x)?;
        let x = net.layer(MultiHeadAttention::new(2, 4).causal(true), x)?;
        // A sequence that is given twice attends to itself.
        let x = net.layer_all(MultiHeadAttention::new(2, 4).causal(true).rotary(1e4), &[x, x])?;
        let memory = net.layer(Embedding::new(9, 8), source)?;
        let memory = net.layer(PositionEmbedding::new(3), memory)?;
        let memory = net.layer(SinePositionEncoding::new(), memory)?;
        let memory = net.layer(TransformerEncoder::new(8, 2), memory)?;
        let memory = net.layer(MultiHeadAttention::new(2, 4).causal(true), memory)?;
        let y = net.layer_all(TransformerDecoder::new(8, 2), &[x, memory])?;
        let model = net.build(&[("y", y)])?;
        let tokens = Tensor::randint(0, 9, [2, 6], Device::Cpu, 1)?.to_device(device)?;
        let source = Tensor::randint(0, 9, [2, 3], Device::Cpu, 2)?.to_device(device)?;
        let whole = model.infer_all(&[tokens.clone(), source.clone()])?.remove(0);
        let mut generation = Generation::new(6);
        for (at, n) in [(0, 2), (2, 1), (3, 2), (5, 1)] {
            let y = generation.step_all(&model, &[tokens.slice(1, at, n)?, source.clone()])?.remove(0);
            assert_close(y.to_vec::<f32>()?, whole.slice(1, at, n)?.to_vec::<f32>()?, 1e-5, 1e-5)?;
        }
    }
    // Which of two sequences had tokens before is not known.
    let mut net = Functional::new(Device::Cpu);
    let (query, value) = (net.input("query", (None, 8))?, net.input("value", (None, 8))?);
    let y = net.layer_all(MultiHeadAttention::new(2, 4).causal(true), &[query, value])?;
    let model = net.build(&[("y", y)])?;
    let (x, y) = (Tensor::ones([1, 1, 8], Device::Cpu)?, Tensor::ones([1, 3, 8], Device::Cpu)?);
    let error = Generation::new(4).step_all(&model, &[x, y]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("does not know which of them had tokens before"), "{error}");
    Ok(())
}
