//! Programs whose kernels are to be written down (`WGRAD_DUMP_SHADERS`): `dump.sh` beside this file runs them with the kernels of
//! each kind. What they compute is compared elsewhere; here it has to be finite.
//!
//! `portability_models [table] [cnn] [transformer] [blocks]`, all of them where none is named.

#[path = "../../benches/common/mod.rs"]
mod common;

use common::network;
use wgrad::nn::{Context, Embedding, KvCache, LayerNorm};
use wgrad::prelude::*;
use wgrad::testing::table::LARGE_PRODUCTS;
use wgrad::{Conv2dOptions, eval};

const DEVICE: Device = Device::Gpu;

/// The operation table, forward and backward, steps of all optimizers and of training.
fn table() -> Result<()> {
    let report = DEVICE.self_check()?;
    let wrong: Vec<String> =
        report.failures().map(|o| format!("{}: {}", o.name, o.problem.as_deref().unwrap_or(""))).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::argument("the self-check", format!("{} differs: {}", report.device.name, wrong.join("; "))))
}

fn finite(what: &str, values: &Tensor) -> Result<()> {
    match values.to_vec::<f32>()?.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(Error::argument("portability_models", format!("{what} has values that are not finite"))),
    }
}

/// The network of `examples/mnist_cnn.rs`: steps with a full batch and with the last one of an epoch, then predictions.
fn cnn() -> Result<()> {
    let model = network(DEVICE)?;
    let mut adam = Adam::new(1e-3);
    for (step, batch) in [128, 128, 96].into_iter().enumerate() {
        let images = Tensor::rand([batch, 28, 28, 1], DEVICE, step as u64)?;
        let labels = Tensor::randint(0, 10, [batch], DEVICE, 7)?;
        let loss = model.forward(&images, &Context::train(step as u64))?.cross_entropy(&labels)?;
        adam.step(&loss.backward()?)?;
        finite("the loss", &loss)?;
    }
    for batch in [1, 32] {
        let logits = model.infer(&Tensor::rand([batch, 28, 28, 1], DEVICE, 3)?)?;
        logits.argmax(-1, false)?.eval()?;
        finite("a prediction", &logits.softmax(-1)?)?;
    }
    Ok(())
}

const WIDTH: usize = 64;
const HEADS: usize = 4;
const SIZE: usize = WIDTH / HEADS;
const VOCABULARY: usize = 256;
const CAPACITY: usize = 64;

/// A block of a transformer, normalised first.
struct Block {
    norms: [Model; 2],
    qkv: Variable,
    out: Variable,
    up: Variable,
    down: Variable,
}

struct Transformer {
    embedding: Model,
    positions: Variable,
    blocks: Vec<Block>,
    head: Variable,
}

impl Transformer {
    fn new() -> Result<Transformer> {
        let weights = |shape: [usize; 2], seed| -> Result<Variable> {
            Ok(Variable::new(((Tensor::rand(shape, DEVICE, seed)? - 0.5)? * 0.2)?))
        };
        let norm = || Sequential::new().add(LayerNorm::new()).build((None, WIDTH), DEVICE);
        let block = |b: u64| -> Result<Block> {
            Ok(Block {
                norms: [norm()?, norm()?],
                qkv: weights([WIDTH, 3 * WIDTH], 10 * b)?,
                out: weights([WIDTH, WIDTH], 10 * b + 1)?,
                up: weights([WIDTH, 4 * WIDTH], 10 * b + 2)?,
                down: weights([4 * WIDTH, WIDTH], 10 * b + 3)?,
            })
        };
        Ok(Transformer {
            embedding: Sequential::new().add(Embedding::new(VOCABULARY, WIDTH)).build((None,), DEVICE)?,
            positions: weights([CAPACITY, WIDTH], 2)?,
            blocks: vec![block(1)?, block(2)?],
            head: weights([WIDTH, VOCABULARY], 3)?,
        })
    }

    /// Logits `[batch, n, VOCABULARY]` of tokens `[batch, n]`; with caches, of one sequence behind what is in them.
    fn forward(&self, tokens: &Tensor, mut caches: Option<&mut [KvCache]>) -> Result<Tensor> {
        let (batch, n) = (tokens.shape()[0], tokens.shape()[1]);
        let context = Context::eval();
        let before = caches.as_ref().map_or(0, |c| c[0].len());
        let at = Tensor::arange(before as i64, (before + n) as i64, DEVICE)?;
        let mut x =
            (self.embedding.forward(tokens, &context)? + self.positions.value().index_select(0, &at)?)?;
        for (k, block) in self.blocks.iter().enumerate() {
            let qkv = block.norms[0].forward(&x, &context)?.matmul(&block.qkv)?;
            let part = |k: usize| qkv.slice(-1, k * WIDTH, WIDTH)?.reshape([batch, n, HEADS, SIZE]);
            let (queries, mut keys, mut values) = (part(0)?, part(1)?, part(2)?);
            let mask = match caches.as_deref_mut() {
                Some(caches) => {
                    let cache = &mut caches[k];
                    cache.append(&keys.reshape([n, HEADS, SIZE])?, &values.reshape([n, HEADS, SIZE])?)?;
                    keys = cache.keys().reshape([1, CAPACITY, HEADS, SIZE])?;
                    values = cache.values().reshape([1, CAPACITY, HEADS, SIZE])?;
                    cache.causal_mask(n)?
                }
                None => {
                    let rows = Tensor::arange(0, n as i64, DEVICE)?;
                    rows.reshape([n, 1])?.ge(&rows)?
                }
            };
            let scores = queries.permute([0, 2, 1, 3])?.matmul(keys.permute([0, 2, 3, 1])?)?;
            let weights = mask.select((scores / (SIZE as f64).sqrt())?, -1e30)?.softmax(-1)?;
            let mixed = weights.matmul(values.permute([0, 2, 1, 3])?)?;
            let mixed = mixed.permute([0, 2, 1, 3])?.reshape([batch, n, WIDTH])?;
            x = (x + mixed.matmul(&block.out)?)?;
            let hidden = block.norms[1].forward(&x, &context)?.matmul(&block.up)?.gelu_tanh()?;
            x = (x + hidden.matmul(&block.down)?)?;
        }
        x.matmul(&self.head)
    }
}

/// Steps of training a small language model, and tokens it makes one by one.
fn transformer() -> Result<()> {
    let model = Transformer::new()?;
    let mut adam = Adam::new(1e-3);
    for (step, n) in [16, 16, 13].into_iter().enumerate() {
        let tokens = Tensor::randint(0, VOCABULARY as i32, [4, n], DEVICE, step as u64)?;
        let next = Tensor::randint(0, VOCABULARY as i32, [4 * n], DEVICE, 9)?;
        let logits = model.forward(&tokens.cast(DType::U32)?, None)?;
        let loss = logits.reshape([4 * n, VOCABULARY])?.cross_entropy(&next)?;
        adam.step(&loss.backward()?)?;
        finite("the loss", &loss)?;
    }
    let dims = [CAPACITY, HEADS, SIZE];
    let cache = |_| KvCache::new(dims, dims, 0, DType::F32, DEVICE);
    let mut caches = (0..model.blocks.len()).map(cache).collect::<Result<Vec<_>>>()?;
    let mut tokens = vec![17u32, 4, 99, 200, 31];
    no_grad(|| {
        for _ in 0..4 {
            let ids = Tensor::from_slice(&tokens, [1, tokens.len()], DEVICE)?;
            let logits = model.forward(&ids, Some(&mut caches))?;
            let last = logits.slice(1, tokens.len() - 1, 1)?;
            finite("logits", &last)?;
            tokens = vec![last.argmax(-1, false)?.cast(DType::U32)?.reshape([])?.item()?];
        }
        Ok(())
    })
}

/// Products and convolutions of shapes that reach every block of the tiled kernels, and sums cut into parts.
fn blocks() -> Result<()> {
    for [m, k, n] in LARGE_PRODUCTS {
        for t in 0..4 {
            let (ta, tb) = (t & 1 > 0, t & 2 > 0);
            let a = Tensor::randn(if ta { [k, m] } else { [m, k] }, DEVICE, 1)?;
            let b = Tensor::randn(if tb { [n, k] } else { [k, n] }, DEVICE, 2)?;
            let a = if ta { a.transpose()? } else { a };
            let b = if tb { b.transpose()? } else { b };
            finite("a product", &(a.matmul(&b)? + 0.5)?.relu()?)?;
        }
    }
    for (batch, size, cin, cout, stride) in
        [(4, 32, 32, 128, 1), (4, 31, 29, 126, 1), (4, 33, 32, 128, 2), (2, 9, 64, 64, 1), (3, 65, 3, 10, 1)]
    {
        let x = Tensor::randn([batch, size, size, cin], DEVICE, 3)?.watch()?;
        let w = Tensor::randn([3, 3, cin, cout], DEVICE, 4)?.watch()?;
        let options = Conv2dOptions::new().stride([stride; 2]).padding(Padding::Same);
        let y = x.conv2d(&w, options)?;
        let grads = (&y * Tensor::randn(y.shape(), DEVICE, 5)?)?.sum(.., false)?.backward()?;
        let results = [y, grads.get(&x)?, grads.get(&w)?];
        eval(&results.each_ref())?;
        results.iter().try_for_each(|r| finite("a convolution", r))?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    type Part = (&'static str, fn() -> Result<()>);
    let parts: [Part; 4] = [("table", table), ("cnn", cnn), ("transformer", transformer), ("blocks", blocks)];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|w| parts.iter().all(|(name, _)| name != w)) {
        eprintln!("portability_models: '{unknown}' is none of table, cnn, transformer, blocks");
        return 2.into();
    }
    for (name, run) in parts {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let start = std::time::Instant::now();
        match run() {
            Ok(()) => println!("{name}: {:.1} s", start.elapsed().as_secs_f64()),
            Err(e) => {
                eprintln!("{name}: {e}");
                return 1.into();
            }
        }
    }
    0.into()
}
