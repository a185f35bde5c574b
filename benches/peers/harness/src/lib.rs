//! What the peers written in Rust share: command line, data, timing and output. `py/harness.py` is the same for Python.
//!
//! A peer implements [`Library`] and [`Trainer`] and calls [`main`]. It prints `peer,metric,value` lines as it goes, so that
//! a run that is cut off leaves what it had.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pixels of an image: 28 rows of 28, one channel.
pub const PIXELS: usize = 784;
pub const CLASSES: usize = 10;

/// Images that inference of 10,000 takes at a time.
const INFER_BATCH: usize = 1000;

/// Something to be timed: computes all of it and waits. Told to, it gives the first row of the result, else nothing.
pub type Work<'a> = Box<dyn FnMut(bool) -> Result<Vec<f32>> + 'a>;

/// Gives the class of each of these images.
pub type Classifier<'a> = Box<dyn FnMut(&[f32]) -> Result<Vec<u32>> + 'a>;

/// A square image convolved with a 3x3 kernel.
pub struct Conv {
    pub name: &'static str,
    pub batch: usize,
    pub size: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Pixels of zeros on each side.
    pub padding: usize,
}

impl Conv {
    pub fn output_size(&self) -> usize {
        self.size + 2 * self.padding - 2
    }
}

const CONVS: [Conv; 2] = [
    Conv { name: "13x13", batch: 64, size: 13, inputs: 32, outputs: 64, padding: 0 },
    Conv { name: "56x56", batch: 16, size: 56, inputs: 64, outputs: 64, padding: 1 },
];

/// The network in training: convolutions to 32, 64 and 64 channels, dense layers of 64 and 10, Adam with learning rate 1e-3
/// and epsilon 1e-7.
pub trait Trainer {
    type Loss;
    /// Queues one step on images and labels in host memory.
    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<Self::Loss>;
    /// Waits for the loss.
    fn read(loss: Self::Loss) -> Result<f32>;
    /// The network as it is, for inference.
    fn classifier(&self) -> Result<Classifier<'_>>;
}

pub trait Library {
    type Trainer: Trainer;
    /// The name that results carry where the variable VARIANT gives no other.
    fn name(&self) -> &str;
    /// What it computes on, for the report.
    fn device(&self) -> Result<String>;
    fn trainer(&self) -> Result<Self::Trainer>;
    /// `a @ (a @ .. (a @ b))`, `times` products of n x n matrices.
    fn matmul(&self, a: &[f32], b: &[f32], n: usize, times: usize) -> Result<Work<'_>>;
    /// Convolution and bias, and with `backward` also the gradients of sum(output * a random tensor) with respect to image,
    /// kernel and bias.
    fn conv(&self, case: &Conv, backward: bool) -> Result<Work<'_>>;
    /// A mode that only this library has. False where it knows none of that name.
    fn other(&self, _mode: &str, _arguments: &Arguments, _out: &Output) -> Result<bool> {
        Ok(false)
    }
}

/// What stands after the mode, and the time that a measurement may take.
pub struct Arguments {
    words: Vec<String>,
    /// Seconds; the variable MAX_S.
    pub max_s: f64,
}

impl Arguments {
    pub fn number(&self, index: usize) -> Result<usize> {
        let word = self.words.get(index).ok_or_else(|| format!("argument {} is missing", index + 1))?;
        word.parse().map_err(|_| format!("{word} is not a number").into())
    }
}

pub struct Output {
    peer: String,
}

impl Output {
    pub fn value(&self, metric: &str, value: f64) {
        println!("{},{metric},{value:.6}", self.peer);
    }

    /// The most memory the process has had, where the system tells (Linux).
    pub fn peak_memory(&self, mode: &str) {
        if let Some(kib) = process_status("VmHWM:") {
            self.value(&format!("{mode}_peak_rss_mb"), kib / 1024.0);
        }
    }
}

/// A line of /proc/self/status, in KiB.
pub fn process_status(key: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|l| l.starts_with(key))?.split_whitespace().nth(1)?.parse().ok()
}

/// A linear congruential generator: the same numbers for every peer.
struct Lcg(u64);

impl Lcg {
    fn integer(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// In 0 to 1.
    fn real(&mut self) -> f32 {
        self.integer() as f32 / 2147483648.0
    }
}

/// Random numbers in -limit to limit.
pub fn uniform(count: usize, limit: f32, seed: u64) -> Vec<f32> {
    let mut generator = Lcg(seed);
    (0..count).map(|_| (generator.real() * 2.0 - 1.0) * limit).collect()
}

pub struct Images {
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images {
    pub fn random(count: usize) -> Images {
        let mut generator = Lcg(1);
        let pixels = (0..count * PIXELS).map(|_| generator.real()).collect();
        Images { pixels, labels: (0..count).map(|_| generator.integer() % CLASSES as u32).collect() }
    }

    fn read(part: &str) -> Result<Images> {
        let folder =
            std::env::var("MNIST_DIR").map_err(|_| "MNIST_DIR must name a folder with the raw IDX files")?;
        let read = |name: String| {
            let path = format!("{folder}/{name}");
            std::fs::read(&path).map_err(|e| format!("{path}: {e}"))
        };
        let pixels =
            read(format!("{part}-images-idx3-ubyte"))?[16..].iter().map(|&v| f32::from(v) / 255.0).collect();
        let labels = read(format!("{part}-labels-idx1-ubyte"))?[8..].iter().map(|&v| u32::from(v)).collect();
        Ok(Images { pixels, labels })
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The batch of a step: one after the other, from the beginning again where they end.
    pub fn batch(&self, step: usize, size: usize) -> (&[f32], &[u32]) {
        let start = (step * size) % (self.len() - size + 1);
        (&self.pixels[start * PIXELS..(start + size) * PIXELS], &self.labels[start..start + size])
    }

    fn bytes(&self) -> usize {
        4 * (self.pixels.len() + self.labels.len())
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// Times `work` until there are `most` samples or the time is up, but at least `least` times. Seconds, the median.
pub fn sample(
    least: usize,
    most: usize,
    max_s: f64,
    mut work: impl FnMut(usize) -> Result<()>,
) -> Result<f64> {
    let start = Instant::now();
    let mut samples = Vec::with_capacity(most);
    while samples.len() < most && (samples.len() < least || start.elapsed().as_secs_f64() < max_s) {
        let began = Instant::now();
        work(samples.len())?;
        samples.push(began.elapsed().as_secs_f64());
    }
    Ok(median(&mut samples))
}

fn seconds_of(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn checked(loss: f32) -> Result<()> {
    if loss.is_finite() { Ok(()) } else { Err(format!("the loss is {loss}").into()) }
}

/// From the start of the process, which the variable T0_NS gives, to the end of the first step.
fn cold<L: Library>(library: &L, batch: usize, out: &Output) -> Result<()> {
    let start: u128 =
        std::env::var("T0_NS").map_err(|_| "T0_NS must give the start in ns since 1970")?.parse()?;
    let images = Images::random(batch);
    let mut trainer = library.trainer()?;
    checked(L::Trainer::read(trainer.step(&images.pixels, &images.labels)?)?)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    out.value(&format!("cold_b{batch}_s"), now.saturating_sub(start) as f64 / 1e9);
    out.peak_memory(&format!("cold_b{batch}"));
    Ok(())
}

fn train<L: Library>(library: &L, batch: usize, max_s: f64, out: &Output) -> Result<()> {
    let images = Images::random(8192);
    let mut trainer = library.trainer()?;
    let step_and_read = |trainer: &mut L::Trainer, i: usize| {
        let (x, y) = images.batch(i, batch);
        checked(L::Trainer::read(trainer.step(x, y)?)?)
    };
    // Compiling and tuning; then how long a step takes, to know how many make a block.
    let first = seconds_of(|| step_and_read(&mut trainer, 0))?;
    out.value(&format!("train_b{batch}_first_s"), first);
    let step_s = sample(2, 10, max_s, |i| step_and_read(&mut trainer, i + 1))?;
    let block = ((max_s / 2.0 / step_s) as usize).clamp(2, 50);
    let block_s = sample(1, 8, max_s, |_| {
        let mut last = None;
        for i in 0..block {
            let (x, y) = images.batch(i, batch);
            last = Some(trainer.step(x, y)?);
        }
        last.map_or(Ok(()), |loss| checked(L::Trainer::read(loss)?))
    })?;
    out.value(&format!("train_b{batch}_ms"), block_s / block as f64 * 1e3);
    let read_s = sample(3, 100, max_s / 2.0, |i| step_and_read(&mut trainer, i))?;
    out.value(&format!("train_b{batch}_lossread_ms"), read_s * 1e3);
    out.peak_memory(&format!("train_b{batch}"));
    Ok(())
}

fn infer<L: Library>(library: &L, max_s: f64, out: &Output) -> Result<()> {
    let images = Images::random(10 * INFER_BATCH);
    let trainer = library.trainer()?;
    let mut classify = trainer.classifier()?;
    let mut all = |size: usize, count: usize| -> Result<()> {
        for i in 0..count {
            let (x, _) = images.batch(i, size);
            let classes = classify(x)?;
            if classes.len() != size || classes.iter().any(|&c| c as usize >= CLASSES) {
                return Err(format!("{size} images gave these classes: {classes:?}").into());
            }
        }
        Ok(())
    };
    out.value("infer_1_first_s", seconds_of(|| all(1, 1))?);
    sample(2, 20, max_s / 4.0, |_| all(1, 1))?;
    out.value("infer_1_ms", sample(3, 500, max_s / 2.0, |_| all(1, 1))? * 1e3);
    all(INFER_BATCH, 2)?;
    out.value("infer_10000_ms", sample(1, 10, max_s, |_| all(INFER_BATCH, 10))? * 1e3);
    out.peak_memory("infer");
    Ok(())
}

/// Products in a chain, so that one call of a small product does not measure the call.
fn chain_length(n: usize) -> usize {
    (8 * 1024 / n).clamp(1, 32)
}

fn matmul<L: Library>(library: &L, n: usize, max_s: f64, out: &Output) -> Result<()> {
    let times = chain_length(n);
    // Limits that keep the size of the elements along the chain.
    let (a, b) = (uniform(n * n, (3.0 / n as f32).sqrt(), 2), uniform(n * n, 1.0, 3));
    let mut work = library.matmul(&a, &b, n, times)?;
    out.value(&format!("matmul_{n}_first_s"), seconds_of(|| work(false).map(drop))?);
    compare(&work(true)?, &first_row(&a, &b, n, times))?;
    let chain_s = sample(3, 12, max_s, |_| work(false).map(drop))?;
    out.value(&format!("matmul_{n}_gflops"), 2.0 * (n as f64).powi(3) * times as f64 / chain_s / 1e9);
    Ok(())
}

/// The first row of what [`Library::matmul`] computes: row times matrix, from the left.
fn first_row(a: &[f32], b: &[f32], n: usize, times: usize) -> Vec<f64> {
    let mut row: Vec<f64> = a[..n].iter().map(|&v| f64::from(v)).collect();
    for step in 1..=times {
        let matrix = if step < times { a } else { b };
        let mut next = vec![0.0; n];
        for (factor, line) in row.iter().zip(matrix.chunks_exact(n)) {
            for (sum, &v) in next.iter_mut().zip(line) {
                *sum += factor * f64::from(v);
            }
        }
        row = next;
    }
    row
}

fn compare(row: &[f32], expected: &[f64]) -> Result<()> {
    let size = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let error = row.iter().zip(expected).fold(0.0, |m: f64, (a, b)| m.max((f64::from(*a) - b).abs()));
    // TF32 would be off by a thousand times more than f32 and is not asked for.
    if row.len() == expected.len() && error <= 1e-4 * size {
        return Ok(());
    }
    Err(format!("the product is wrong: off by {error:e} where the largest element is {size:e}").into())
}

fn conv<L: Library>(library: &L, max_s: f64, out: &Output) -> Result<()> {
    for case in &CONVS {
        for (name, backward) in [("fwd", false), ("fwdbwd", true)] {
            let mut work = library.conv(case, backward)?;
            let metric = format!("conv_{}_{name}", case.name);
            out.value(&format!("{metric}_first_s"), seconds_of(|| work(false).map(drop))?);
            sample(2, 3, max_s / 4.0, |_| work(false).map(drop))?;
            out.value(&format!("{metric}_ms"), sample(3, 50, max_s / 2.0, |_| work(false).map(drop))? * 1e3);
        }
    }
    out.peak_memory("conv");
    Ok(())
}

/// Epochs of the real MNIST, pixels as f32 in host memory; the last, smaller batch is left out.
fn mnist<L: Library>(library: &L, batch: usize, epochs: usize, out: &Output) -> Result<()> {
    let (images, test) = (Images::read("train")?, Images::read("t10k")?);
    out.value(&format!("mnist_b{batch}_data_mb"), (images.bytes() + test.bytes()) as f64 / (1 << 20) as f64);
    let mut trainer = library.trainer()?;
    let mut generator = Lcg(7);
    let mut order: Vec<usize> = (0..images.len()).collect();
    let (mut x, mut y) = (Vec::with_capacity(batch * PIXELS), Vec::with_capacity(batch));
    for epoch in 1..=epochs {
        let start = Instant::now();
        for i in (1..order.len()).rev() {
            order.swap(i, generator.integer() as usize % (i + 1));
        }
        let mut last = None;
        for chosen in order.chunks_exact(batch) {
            x.clear();
            y.clear();
            for &i in chosen {
                x.extend_from_slice(&images.pixels[i * PIXELS..(i + 1) * PIXELS]);
                y.push(images.labels[i]);
            }
            last = Some(trainer.step(&x, &y)?);
        }
        last.map_or(Ok(()), |loss| checked(L::Trainer::read(loss)?))?;
        out.value(&format!("mnist_b{batch}_epoch{epoch}_s"), start.elapsed().as_secs_f64());
        if epoch == 1 {
            out.peak_memory(&format!("mnist_b{batch}_training"));
        }
        let mut classify = trainer.classifier()?;
        let mut right = 0;
        for i in 0..test.len() / INFER_BATCH {
            let (x, y) = test.batch(i, INFER_BATCH);
            right += classify(x)?.iter().zip(y).filter(|(a, b)| a == b).count();
        }
        out.value(&format!("mnist_b{batch}_epoch{epoch}_accuracy"), right as f64 / test.len() as f64);
    }
    out.peak_memory(&format!("mnist_b{batch}"));
    Ok(())
}

const USAGE: &str = "usage: PEER info | cold BATCH | train BATCH | infer | matmul N.. | conv | mnist BATCH EPOCHS (see README.md)";

fn run<L: Library>(library: &L) -> Result<()> {
    let mut words = std::env::args().skip(1);
    let mode = words.next().ok_or(USAGE)?;
    let max_s = match std::env::var("MAX_S") {
        Ok(text) => text.parse().map_err(|_| format!("MAX_S is {text}, not a number of seconds"))?,
        Err(_) => 10.0,
    };
    let arguments = Arguments { words: words.collect(), max_s };
    let out = Output { peer: std::env::var("VARIANT").unwrap_or_else(|_| library.name().to_string()) };
    match mode.as_str() {
        "info" => println!("{}", library.device()?),
        "cold" => cold(library, arguments.number(0)?, &out)?,
        "train" => train(library, arguments.number(0)?, max_s, &out)?,
        "infer" => infer(library, max_s, &out)?,
        "matmul" => {
            for i in 0..arguments.words.len() {
                matmul(library, arguments.number(i)?, max_s, &out)?;
            }
            out.peak_memory("matmul");
        }
        "conv" => conv(library, max_s, &out)?,
        "mnist" => mnist(library, arguments.number(0)?, arguments.number(1)?, &out)?,
        other => {
            if !library.other(other, &arguments, &out)? {
                return Err(format!("there is no mode {other}; {USAGE}").into());
            }
        }
    }
    Ok(())
}

/// The whole program of a peer.
pub fn main<L: Library>(library: Result<L>) -> ExitCode {
    match library.and_then(|library| run(&library)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
