//! What a new shape costs: `cargo bench --bench shapes [-- SECTION]`, sections `lstm`, `scan`,
//! `cnn`, `generate` and `planning`.
//!
//! Each section runs in a process of its own whose caches (the crate's and Mesa's) are empty, so that "first step" is what a
//! user sees who has never run the program. Figures are a line each, with the pipelines that were compiled and the plans that
//! were made meanwhile. `planning` has all kernels compiled, and takes the time that the host spends on a plan alone.

mod common;

use common::{devices, network, quantile, uniform};
use std::time::Instant;
use wgrad::graph::{ScanOptions, scan};
use wgrad::nn::{Context, KvCache};
use wgrad::prelude::*;

const BATCH: usize = 16;
const INPUT: usize = 8;
const HIDDEN: usize = 32;

/// An LSTM over single steps, as one writes it by hand from the book's formulas.
struct Lstm {
    input: Variable,
    hidden: Variable,
    bias: Variable,
    head: Variable,
}

impl Lstm {
    fn new(device: Device) -> Result<Lstm> {
        let variable = |shape: &[usize], seed| -> Result<Variable> {
            Ok(Variable::new((uniform(shape, device, seed)? * 0.2)?))
        };
        Ok(Lstm {
            input: variable(&[INPUT, 4 * HIDDEN], 1)?,
            hidden: variable(&[HIDDEN, 4 * HIDDEN], 2)?,
            bias: variable(&[4 * HIDDEN], 3)?,
            head: variable(&[HIDDEN, 1], 4)?,
        })
    }

    /// A prediction for each step of sequences of `[batch, T, INPUT]`. The inputs' part of the gates is one product for all steps.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (device, batch, length) = (x.device(), x.shape()[0], x.shape()[1]);
        let mut h = Tensor::zeros([batch, HIDDEN], device)?;
        let mut c = Tensor::zeros([batch, HIDDEN], device)?;
        let inputs = x.reshape([batch * length, INPUT])?.matmul(&self.input)?;
        let inputs = inputs.reshape([batch, length, 4 * HIDDEN])?;
        let mut outputs = Vec::with_capacity(length);
        for t in 0..length {
            let input = inputs.slice(1, t, 1)?.reshape([batch, 4 * HIDDEN])?;
            let gates = ((input + h.matmul(&self.hidden)?)? + &self.bias)?;
            let gate = |k: usize| gates.slice(1, k * HIDDEN, HIDDEN);
            c = ((gate(1)?.sigmoid()? * &c)? + (gate(0)?.sigmoid()? * gate(2)?.tanh()?)?)?;
            h = (gate(3)?.sigmoid()? * c.tanh()?)?;
            outputs.push(h.clone());
        }
        let outputs = Tensor::stack(&outputs.iter().collect::<Vec<_>>(), 1)?;
        outputs.reshape([batch * length, HIDDEN])?.matmul(&self.head)?.reshape([batch, length, 1])
    }

    /// The same with [`scan`] in place of the loop: what is given is `[T, BATCH, INPUT]`.
    fn scanned(&self, x: &Tensor) -> Result<Tensor> {
        let (device, length) = (x.device(), x.shape()[0]);
        let zero = Tensor::zeros([BATCH, HIDDEN], device)?;
        let inputs = x.reshape([BATCH * length, INPUT])?.matmul(&self.input)?;
        let inputs = inputs.reshape([length, BATCH, 4 * HIDDEN])?;
        let out = scan(&[&zero, &zero], &[&inputs], ScanOptions::new(), |state, input| {
            let gates = ((&input[0] + state[0].matmul(&self.hidden)?)? + &self.bias)?;
            let gate = |k: usize| gates.slice(1, k * HIDDEN, HIDDEN);
            let c = ((gate(1)?.sigmoid()? * &state[1])? + (gate(0)?.sigmoid()? * gate(2)?.tanh()?)?)?;
            let h = (gate(3)?.sigmoid()? * c.tanh()?)?;
            Ok((vec![h.clone(), c], vec![h]))
        })?;
        out.rows[0].reshape([BATCH * length, HIDDEN])?.matmul(&self.head)?.reshape([length, BATCH, 1])
    }
}

/// Milliseconds since, after the device has finished, and what was compiled and planned since `before`.
fn report(what: &str, device: Device, start: Instant, before: wgrad::Stats) -> Result<()> {
    device.synchronize()?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let now = device.stats()?;
    println!(
        "{what:<34} {ms:>9.1} ms, {:>3} pipelines, {:>3} plans",
        now.pipelines - before.pipelines,
        now.plan_misses - before.plan_misses
    );
    Ok(())
}

/// The loop over time written out.
fn lstm(device: Device) -> Result<()> {
    train_lstm(device, false)
}

/// The loop over time recorded once.
fn scanned(device: Device) -> Result<()> {
    train_lstm(device, true)
}

fn train_lstm(device: Device, scanned: bool) -> Result<()> {
    let model = Lstm::new(device)?;
    let name = if scanned { "scan" } else { "lstm" };
    let mut adam = Adam::new(1e-3);
    for t in [50, 51, 52, 60] {
        let [a, b] = if scanned { [t, BATCH] } else { [BATCH, t] };
        let x = uniform(&[a, b, INPUT], device, 5)?;
        let y = uniform(&[a, b, 1], device, 6)?;
        for step in 0..4 {
            let (start, before) = (Instant::now(), device.stats()?);
            let forward = if scanned { model.scanned(&x)? } else { model.forward(&x)? };
            let loss = (forward - &y)?.square()?.mean(.., false)?;
            let grads = loss.backward()?;
            drop(loss);
            adam.step(&grads)?;
            report(&format!("{device} {name}, T = {t}, step {step}"), device, start, before)?;
        }
    }
    Ok(())
}

/// A full batch, the last one of an epoch over 60,000 images, then every size.
fn cnn(device: Device) -> Result<()> {
    let model = network(device)?;
    let mut adam = Adam::new(1e-3);
    let mut step = |batch: usize, what: Option<&str>| -> Result<(f64, u64)> {
        let images = uniform(&[batch, 28, 28, 1], device, 1)?;
        let labels = Tensor::randint(0, 10, [batch], device, 2)?;
        labels.eval()?;
        device.synchronize()?;
        let (start, before) = (Instant::now(), device.stats()?);
        let grads = model.forward(&images, &Context::train(0))?.cross_entropy(&labels)?.backward()?;
        adam.step(&grads)?;
        device.synchronize()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let pipelines = device.stats()?.pipelines - before.pipelines;
        if let Some(what) = what {
            report(&format!("{device} cnn, {what}, batch {batch}"), device, start, before)?;
        }
        Ok((ms, pipelines))
    };
    for what in ["first step", "second step", "third step"] {
        step(128, Some(what))?;
    }
    for what in ["first step", "second step"] {
        step(96, Some(what))?;
    }
    let (mut pipelines, mut extra) = (0, Vec::new());
    for batch in 1..=128 {
        let (first, new) = step(batch, None)?;
        let again = step(batch, None)?.0.min(step(batch, None)?.0);
        if new > 0 {
            println!("{device} cnn, batch {batch}: {new} pipelines");
        }
        pipelines += new;
        extra.push(first - again);
    }
    println!(
        "{device} cnn, every batch from 1 to 128: {pipelines} pipelines, {:.2} ms more for the first step (median), {:.1} at most",
        quantile(&mut extra, 0.5),
        quantile(&mut extra, 1.0)
    );
    Ok(())
}

const WIDTH: usize = 64;
const HEADS: usize = 4;
const VOCABULARY: usize = 256;
const CAPACITY: usize = 256;

/// One block of a transformer: the projections to queries, keys and values, back, and the two of the network behind.
struct Block {
    qkv: Tensor,
    out: Tensor,
    up: Tensor,
    down: Tensor,
}

/// A small language model, as one writes it by hand: normalisation first, learned positions, the embedding as the last layer.
struct Transformer {
    embedding: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
}

impl Transformer {
    fn new(device: Device) -> Result<Transformer> {
        let weights = |shape: [usize; 2], seed| -> Result<Tensor> {
            let w = (uniform(&shape, device, seed)? * (3.0 / shape[0] as f64).sqrt())?;
            w.eval()?;
            Ok(w)
        };
        let block = |b: u64| -> Result<Block> {
            Ok(Block {
                qkv: weights([WIDTH, 3 * WIDTH], 10 * b + 3)?,
                out: weights([WIDTH, WIDTH], 10 * b + 4)?,
                up: weights([WIDTH, 4 * WIDTH], 10 * b + 5)?,
                down: weights([4 * WIDTH, WIDTH], 10 * b + 6)?,
            })
        };
        Ok(Transformer {
            embedding: weights([VOCABULARY, WIDTH], 1)?,
            positions: weights([CAPACITY, WIDTH], 2)?,
            blocks: vec![block(0)?, block(1)?],
        })
    }

    /// The likeliest token behind these, which follow those in the caches.
    fn next(&self, tokens: &[u32], caches: &mut [KvCache]) -> Result<u32> {
        let (device, n, size) = (self.embedding.device(), tokens.len(), WIDTH / HEADS);
        let at = (Tensor::arange(0, n as i64, device)? + caches[0].len() as f64)?;
        let ids = Tensor::from_slice(tokens, [n], device)?;
        let mut x = (self.embedding.index_select(0, &ids)? + self.positions.index_select(0, &at)?)?;
        let normed = |x: &Tensor| -> Result<Tensor> {
            let centered = (x - x.mean(-1, true)?)?;
            &centered / (centered.square()?.mean(-1, true)? + 1e-5)?.sqrt()?
        };
        for (block, cache) in self.blocks.iter().zip(caches) {
            let qkv = normed(&x)?.matmul(&block.qkv)?;
            let part = |k: usize| qkv.slice(-1, k * WIDTH, WIDTH)?.reshape([n, HEADS, size]);
            cache.append(&part(1)?, &part(2)?)?;
            let keys = cache.keys().permute([1, 2, 0])?;
            let scores = (part(0)?.permute([1, 0, 2])?.matmul(keys)? / (size as f64).sqrt())?;
            let weights = cache.causal_mask(n)?.select(&scores, -1e30)?.softmax(-1)?;
            let mixed = weights.matmul(cache.values().permute([1, 0, 2])?)?;
            x = (x + mixed.permute([1, 0, 2])?.reshape([n, WIDTH])?.matmul(&block.out)?)?;
            x = (&x + normed(&x)?.matmul(&block.up)?.gelu_tanh()?.matmul(&block.down)?)?;
        }
        let logits = normed(&x.slice(0, n - 1, 1)?)?.matmul(self.embedding.transpose()?)?;
        logits.argmax(-1, false)?.cast(DType::U32)?.reshape([])?.item()
    }
}

/// 200 tokens behind a prompt of eight, one by one, without padding.
fn generate(device: Device) -> Result<()> {
    let model = Transformer::new(device)?;
    let dims = [CAPACITY, HEADS, WIDTH / HEADS];
    let cache = |_| KvCache::new(dims, dims, 0, DType::F32, device);
    let mut caches = (0..model.blocks.len()).map(cache).collect::<Result<Vec<_>>>()?;
    let mut tokens = vec![17u32, 4, 99, 200, 31, 8, 150, 77];
    let (mut times, mut before) = (Vec::new(), device.stats()?);
    for token in 1..=200 {
        let (start, stats) = (Instant::now(), device.stats()?);
        let next = no_grad(|| model.next(&tokens, &mut caches))?;
        if token <= 3 {
            report(&format!("{device} generate, token {token}"), device, start, stats)?;
            before = device.stats()?;
        } else {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        tokens = vec![next];
    }
    let now = device.stats()?;
    println!(
        "{device} generate, tokens 4 to 200: {:.2} ms each (median), {:.2} (nine tenths), {} pipelines, {} plans, {:.1} dispatches \
         each",
        quantile(&mut times, 0.5),
        quantile(&mut times, 0.9),
        now.pipelines - before.pipelines,
        now.plan_misses - before.plan_misses,
        (now.dispatches - before.dispatches) as f64 / times.len() as f64
    );
    Ok(())
}

/// The loss, and its gradients.
fn with_gradients(loss: Tensor, variables: &[&Variable]) -> Result<Vec<Tensor>> {
    let grads = loss.backward()?;
    let mut roots = vec![loss];
    for v in variables {
        roots.push(grads.get(*v)?);
    }
    Ok(roots)
}

/// A loss and its gradients of a network of three layers.
fn three_layers(device: Device) -> Result<impl Fn(usize) -> Result<Vec<Tensor>>> {
    let sizes = [24, 40, 40, 10];
    let mut layers = Vec::new();
    for (k, pair) in (1u64..).zip(sizes.windows(2)) {
        let weight = Variable::new((uniform(pair, device, k)? * 0.3)?);
        layers.push((weight, Variable::new(uniform(&pair[1..], device, 10 + k)?)));
    }
    Ok(move |batch: usize| {
        let mut x = uniform(&[batch, sizes[0]], device, 3)?;
        let labels = Tensor::randint(0, 10, [batch], device, 4)?;
        labels.eval()?;
        for (k, (weight, bias)) in layers.iter().enumerate() {
            x = (x.matmul(weight)? + bias)?;
            if k < 2 {
                x = x.gelu_tanh()?;
            }
        }
        let variables: Vec<&Variable> = layers.iter().flat_map(|(w, b)| [w, b]).collect();
        with_gradients(x.cross_entropy(&labels)?, &variables)
    })
}

/// An LSTM written out over this many steps.
fn written_out(device: Device, length: usize) -> Result<impl Fn(usize) -> Result<Vec<Tensor>>> {
    let model = Lstm::new(device)?;
    Ok(move |batch: usize| {
        let x = uniform(&[batch, length, INPUT], device, 5)?;
        let y = uniform(&[batch, length, 1], device, 6)?;
        let loss = (model.forward(&x)? - &y)?.square()?.mean(.., false)?;
        with_gradients(loss, &[&model.input, &model.hidden, &model.bias, &model.head])
    })
}

/// Many branches of a few operations each, of all kinds, that are joined and summed up.
fn wide(device: Device, branches: usize) -> Result<impl Fn(usize) -> Result<Vec<Tensor>>> {
    let weight = Variable::new((uniform(&[24, 24], device, 1)? * 0.3)?);
    let scales = (0..branches).map(|k| Ok(Variable::new(uniform(&[24], device, 20 + k as u64)?)));
    let scales = scales.collect::<Result<Vec<_>>>()?;
    Ok(move |rows: usize| {
        let x = uniform(&[rows, 24], device, 3)?;
        let ids = Tensor::randint(0, 24, [rows], device, 4)?;
        ids.eval()?;
        let mut parts = Vec::new();
        for (k, scale) in scales.iter().enumerate() {
            let scaled = (&x * scale)?;
            parts.push(match k % 6 {
                0 => scaled.matmul(&weight)?.tanh()?,
                1 => scaled.softmax(-1)?,
                2 => (&scaled - scaled.mean(-1, true)?)?.exp()?,
                3 => (weight.value().index_select(0, &ids)?.sigmoid()? * &scaled)?,
                4 => Tensor::concat(&[&scaled.slice(1, 6, 18)?, &scaled.slice(1, 0, 6)?], 1)?,
                _ => scaled.max(0, true)?.sin()?.broadcast_to([rows, 24])?,
            });
        }
        let all = Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)?;
        let mut variables: Vec<&Variable> = vec![&weight];
        variables.extend(&scales);
        with_gradients(all.square()?.mean(.., false)?, &variables)
    })
}

/// The host's time for a plan: of new sizes, and of known ones. All kernels are there.
fn planning(device: Device) -> Result<()> {
    let measure = |name: &str, make: &dyn Fn(usize) -> Result<Vec<Tensor>>| -> Result<()> {
        let planned = |batch: usize| -> Result<f64> {
            let roots = make(batch)?;
            let roots: Vec<&Tensor> = roots.iter().collect();
            Ok(device.profile(|| wgrad::eval(&roots))?.planning.as_secs_f64() * 1e3)
        };
        let roots = make(33)?;
        let nodes = wgrad::Graph::of(&roots.iter().collect::<Vec<_>>())?.nodes().len();
        // Sizes of every kind (multiples of four, too), so that all kernels are there.
        (33..49).try_for_each(|batch| planned(batch).map(drop))?;
        let before = device.stats()?;
        let mut new = (49..70).map(planned).collect::<Result<Vec<_>>>()?;
        let after = device.stats()?;
        let mut known = (49..70).map(planned).collect::<Result<Vec<_>>>()?;
        println!(
            "{device} planning, {name}, {nodes} nodes: {:.2} ms (median), {:.2} (nine tenths), {} plans, {} pipelines; known \
             sizes {:.3} ms",
            quantile(&mut new, 0.5),
            quantile(&mut new, 0.9),
            after.plan_misses - before.plan_misses,
            after.pipelines - before.pipelines,
            quantile(&mut known, 0.5),
        );
        Ok(())
    };
    measure("three layers", &three_layers(device)?)?;
    measure("an LSTM over 33 steps", &written_out(device, 33)?)?;
    measure("a few branches", &wide(device, 6)?)?;
    measure("many branches", &wide(device, 90)?)
}

/// What is measured, by name.
type Section = (&'static str, fn(Device) -> Result<()>);

fn main() {
    let sections: [Section; 5] =
        [("lstm", lstm), ("scan", scanned), ("cnn", cnn), ("generate", generate), ("planning", planning)];
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Ok(section) = std::env::var("WGRAD_BENCH_SECTION") {
        let run = sections.iter().find(|s| s.0 == section).expect("a section").1;
        // Compiling and planning are the GPU's; an LSTM's steps and a model's tokens are worth comparing.
        let compared = ["lstm", "scan", "generate"].contains(&section.as_str());
        for device in devices().into_iter().filter(|&d| d != Device::Cpu || compared) {
            run(device).expect("the section runs");
        }
        return;
    }
    for (name, _) in sections {
        if !filter.is_empty() && !filter.iter().any(|f| f == name) {
            continue;
        }
        let caches = tempfile::tempdir().expect("a folder for empty caches");
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program)
            .env("WGRAD_BENCH_SECTION", name)
            .env("XDG_CACHE_HOME", caches.path())
            .env("MESA_SHADER_CACHE_DIR", caches.path())
            .status()
            .expect("this program starts again");
        assert!(status.success(), "{name} failed");
    }
}
