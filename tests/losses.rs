//! Losses and metrics: values and gradients of Keras in float64 (tests/golden/loss.py), gradients against finite
//! differences, the GPU against the CPU.

mod common;
#[path = "losses/embeddings.rs"]
mod embeddings;

use common::{DEVICES, Domain, Input, Rng, assert_close, compare, direction, tensor, values};
use serde_json::Value;
use wgrad::nn::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalHinge, CosineSimilarity, Ctc, Dice, Hinge, Huber, KLDivergence, LogCosh, Loss,
    MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredLogarithmicError, Poisson, SquaredHinge,
    Tversky,
};
use wgrad::prelude::*;
use wgrad::train::{
    Auc, Average, BinaryAccuracy, Confusion, ConfusionMatrix, Curve, F1Score, Mean, MeanIou, Metric,
    PearsonCorrelation, Perplexity, Precision, R2Score, Recall, RootMeanSquaredError, TopKAccuracy,
    edit_distance,
};

/// Of each element, `tolerance * (1 + |expected|)`.
const F64: f64 = 1e-12;
const F32: f64 = 3e-6;

fn number(v: &Value) -> f64 {
    match v {
        Value::String(s) => s.parse().expect("inf, -inf or nan"),
        v => v.as_f64().expect("a number"),
    }
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("a list").iter().map(number).collect()
}

fn golden(part: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("golden/loss.json")).expect("valid JSON");
    let entries = file[part].as_array().expect("entries").clone();
    assert!(entries.len() > 100, "the file is not whole");
    entries
}

/// An array of the file; integers as `int`.
fn array(v: &Value, float: DType, int: DType, device: Device) -> Result<Tensor> {
    let dims: Vec<usize> = numbers(&v["shape"]).into_iter().map(|n| n as usize).collect();
    tensor(&numbers(&v["values"]), &dims, if v["dtype"] == "int" { int } else { float }, device)
}

fn what(entry: &Value) -> String {
    let shape = entry.get("outputs").unwrap_or(&entry["batches"][0]["outputs"])["shape"].to_string();
    format!("{} {} {shape} {}", entry["name"], entry["args"], entry["note"].as_str().unwrap_or_default())
}

/// The loss that an entry names.
fn loss(entry: &Value) -> Box<dyn Loss> {
    let args = &entry["args"];
    let logits = args["from_logits"] == true;
    let smoothing = args["label_smoothing"].as_f64().unwrap_or(0.0);
    match entry["name"].as_str().expect("a name") {
        "SparseCategoricalCrossentropy" => {
            let loss = match logits {
                true => SparseCategoricalCrossentropy::from_logits(),
                false => SparseCategoricalCrossentropy::from_probabilities(),
            };
            let loss = loss.label_smoothing(smoothing);
            match args["ignore_class"].as_i64() {
                Some(class) => Box::new(loss.ignore_class(class)),
                None => Box::new(loss),
            }
        }
        "CategoricalCrossentropy" if logits => {
            Box::new(CategoricalCrossentropy::from_logits().label_smoothing(smoothing))
        }
        "CategoricalCrossentropy" => {
            Box::new(CategoricalCrossentropy::from_probabilities().label_smoothing(smoothing))
        }
        "BinaryCrossentropy" if logits => {
            Box::new(BinaryCrossentropy::from_logits().label_smoothing(smoothing))
        }
        "BinaryCrossentropy" => Box::new(BinaryCrossentropy::from_probabilities().label_smoothing(smoothing)),
        "BinaryFocalCrossentropy" => {
            let loss = match logits {
                true => BinaryFocalCrossentropy::from_logits(),
                false => BinaryFocalCrossentropy::from_probabilities(),
            };
            let loss = loss.gamma(args["gamma"].as_f64().unwrap_or(2.0)).label_smoothing(smoothing);
            match args["alpha"].as_f64() {
                Some(alpha) => Box::new(loss.balanced(alpha)),
                None => Box::new(loss),
            }
        }
        "CategoricalFocalCrossentropy" => {
            let loss = match logits {
                true => CategoricalFocalCrossentropy::from_logits(),
                false => CategoricalFocalCrossentropy::from_probabilities(),
            };
            let loss = loss.gamma(args["gamma"].as_f64().unwrap_or(2.0)).label_smoothing(smoothing);
            Box::new(loss.alpha(args["alpha"].as_f64().unwrap_or(0.25)))
        }
        "Tversky" => {
            let weight = |name: &str| args[name].as_f64().expect("a weight");
            // Keras calls what is missed false positives, and the other way round
            Box::new(Tversky::new(weight("alpha"), weight("beta")))
        }
        "Dice" => Box::new(Dice::new()),
        "CTC" => Box::new(Ctc::new().blank(args["blank"].as_u64().expect("a class") as usize)),
        "Huber" => Box::new(Huber::new(args["delta"].as_f64().expect("delta"))),
        name => plain(name),
    }
}

/// Losses without settings, by name.
fn plain(name: &str) -> Box<dyn Loss> {
    match name {
        "MeanSquaredError" => Box::new(MeanSquaredError::new()),
        "MeanAbsoluteError" => Box::new(MeanAbsoluteError::new()),
        "MeanAbsolutePercentageError" => Box::new(MeanAbsolutePercentageError::new()),
        "MeanSquaredLogarithmicError" => Box::new(MeanSquaredLogarithmicError::new()),
        "LogCosh" => Box::new(LogCosh::new()),
        "Poisson" => Box::new(Poisson::new()),
        "Hinge" => Box::new(Hinge::new()),
        "SquaredHinge" => Box::new(SquaredHinge::new()),
        "CategoricalHinge" => Box::new(CategoricalHinge::new()),
        "KLDivergence" => Box::new(KLDivergence::new()),
        "CosineSimilarity" => Box::new(CosineSimilarity::new()),
        other => panic!("losses.rs does not know {other}"),
    }
}

fn close(got: f64, want: f64, tolerance: f64) -> bool {
    got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= tolerance * (1.0 + want.abs())
}

fn losses_agree(float: DType, device: Device) -> Result<()> {
    let tolerance = if float == DType::F64 { F64 } else { F32 };
    let mut failures = Vec::new();
    for (i, entry) in golden("losses").iter().enumerate() {
        // every integer type in its turn
        let int = [DType::I32, DType::U32, DType::U8][i % 3];
        let loss = loss(entry);
        let y = array(&entry["outputs"], float, int, device)?.watch()?;
        let t = array(&entry["targets"], float, int, device)?;
        let value = loss.compute(&y, &t)?;
        assert_eq!(value.rank(), 0, "{}", what(entry));
        let gradient = values(&value.backward()?.get(&y)?)?;
        let mut got = vec![values(&value)?[0]];
        got.extend(gradient);
        let mut want = vec![number(&entry["value"])];
        want.extend(numbers(&entry["gradient"]));
        if let Some(weights) = entry.get("weights") {
            got.extend(values(&loss.weighted(&y, &t, &array(weights, float, int, device)?)?)?);
            want.push(number(&entry["weighted"]));
        }
        assert_eq!(got.len(), want.len(), "{}", what(entry));
        // single precision holds what was summed, not the sum: a term of 1e8 leaves 1e8 * 6e-8
        let scale = if float == DType::F64 { 1.0 } else { want.iter().fold(1.0f64, |m, v| m.max(v.abs())) };
        for (k, (&g, &w)) in got.iter().zip(&want).enumerate() {
            if !close(g, w, tolerance)
                && (g - w).abs().partial_cmp(&(1e-6 * scale)) != Some(std::cmp::Ordering::Less)
            {
                failures.push(format!("{}: number {k}: {g:e}, Keras has {w:e}", what(entry)));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn keras_losses_in_f64_on_the_cpu() -> Result<()> {
    losses_agree(DType::F64, Device::Cpu)
}

#[test]
fn keras_losses_in_f32_on_the_cpu() -> Result<()> {
    losses_agree(DType::F32, Device::Cpu)
}

#[test]
fn keras_losses_in_f32_on_the_gpu() -> Result<()> {
    losses_agree(DType::F32, Device::Gpu)
}

/// A metric and what Keras calls its result: one number, or those of all classes.
type Reading = Box<dyn Fn(&[f32], usize) -> Vec<f64>>;

fn one(metric: impl Metric + Clone + 'static) -> (Box<dyn Metric>, Reading) {
    let copy = metric.clone();
    (Box::new(metric), Box::new(move |sum, samples| vec![copy.result(sum, samples)]))
}

fn metric(entry: &Value) -> (Box<dyn Metric>, Reading) {
    let args = &entry["args"];
    let logits = entry["note"] == "logits" || args["from_logits"] == true;
    let classes = entry["batches"][0]["outputs"]["shape"].as_array().expect("a shape");
    let classes = classes.last().and_then(Value::as_u64).expect("classes") as usize;
    // Keras thresholds logits themselves; ours are probabilities
    let threshold =
        args["thresholds"].as_f64().or(args["threshold"].as_f64()).filter(|_| !logits).unwrap_or(0.5);
    let class = args["class_id"].as_u64().map(|c| Average::Class(c as usize));
    match (entry["name"].as_str().expect("a name"), class) {
        ("Accuracy", _) => one(Accuracy::new()),
        ("TopKAccuracy", _) => one(TopKAccuracy::new(args["k"].as_u64().expect("k") as usize)),
        ("BinaryAccuracy", _) if logits => one(BinaryAccuracy::from_logits()),
        ("BinaryAccuracy", _) => one(BinaryAccuracy::from_probabilities().threshold(threshold)),
        ("Precision", Some(class)) => one(Precision::of_classes(classes, class)),
        ("Precision", _) if logits => one(Precision::from_logits()),
        ("Precision", _) => one(Precision::from_probabilities().threshold(threshold)),
        ("Recall", Some(class)) => one(Recall::of_classes(classes, class)),
        ("Recall", _) if logits => one(Recall::from_logits()),
        ("Recall", _) => one(Recall::from_probabilities().threshold(threshold)),
        ("F1Score", _) if args["threshold"].is_number() => {
            one(F1Score::from_probabilities().threshold(threshold))
        }
        ("F1Score", _) => match args["average"].as_str() {
            Some("macro") => one(F1Score::of_classes(classes, Average::Macro)),
            Some("micro") => one(F1Score::of_classes(classes, Average::Micro)),
            Some("weighted") => one(F1Score::of_classes(classes, Average::Weighted)),
            _ => {
                let metric = F1Score::of_classes(classes, Average::Macro);
                let copy = metric.clone();
                (Box::new(metric), Box::new(move |sum, _| copy.per_class(sum)))
            }
        },
        ("Confusion", _) => {
            let read = |sum: &[f32], _| sum.iter().map(|&v| f64::from(v)).collect();
            (Box::new(Confusion::new(classes)), Box::new(read))
        }
        ("AUC", _) => {
            let curve = if args["curve"] == "PR" { Curve::PrecisionRecall } else { Curve::Roc };
            let metric = if logits { Auc::from_logits() } else { Auc::from_probabilities() };
            let thresholds = args["num_thresholds"].as_u64().unwrap_or(200);
            one(metric.curve(curve).thresholds(thresholds as usize))
        }
        ("R2Score", _) => one(R2Score::new().outputs(classes)),
        ("PearsonCorrelation", _) => one(PearsonCorrelation::new().outputs(classes)),
        ("MeanIoU", _) => one(MeanIou::new(classes)),
        ("Perplexity", _) => one(Perplexity::new()),
        ("RootMeanSquaredError", _) => one(RootMeanSquaredError::new()),
        ("MeanSquaredError", _) => one(MeanSquaredError::new()),
        ("MeanAbsoluteError", _) => one(MeanAbsoluteError::new()),
        ("LogCoshError", _) => {
            let metric = Mean::of("log_cosh", LogCosh::new());
            (Box::new(metric), Box::new(|sum, samples| vec![f64::from(sum[0]) / samples as f64]))
        }
        (other, _) => panic!("losses.rs does not know {other}"),
    }
}

fn metrics_agree(float: DType, device: Device) -> Result<()> {
    let mut failures = Vec::new();
    for (i, entry) in golden("metrics").iter().enumerate() {
        let int = [DType::I32, DType::U32, DType::U8][i % 3];
        let (metric, read) = metric(entry);
        let (mut total, mut samples) = (Tensor::zeros(metric.shape(), device)?, 0);
        for batch in entry["batches"].as_array().expect("batches") {
            let y = array(&batch["outputs"], float, int, device)?;
            let sum = metric.sum(&y, &array(&batch["targets"], float, int, device)?)?;
            assert_eq!((sum.dims(), sum.dtype()), (&metric.shape()[..], DType::F32), "{}", what(entry));
            total = (total + sum)?;
            samples += y.dims()[0];
        }
        let got = read(&total.to_vec()?, samples);
        let want = numbers(&entry["value"]);
        assert_eq!(got.len(), want.len(), "{}", what(entry));
        for (&g, &w) in got.iter().zip(&want) {
            // Keras adds 1e-7 to denominators of F1, and computes AUC with 1e-7 beyond its ends
            if !close(g, w, 1e-6) {
                failures.push(format!("{}: {g:e}, Keras has {w:e}", what(entry)));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

#[test]
fn keras_metrics_on_the_cpu() -> Result<()> {
    metrics_agree(DType::F32, Device::Cpu)?;
    metrics_agree(DType::F64, Device::Cpu)
}

#[test]
fn keras_metrics_on_the_gpu() -> Result<()> {
    metrics_agree(DType::F32, Device::Gpu)
}

/// Outputs and targets that keep away from kinks, so that finite differences see one side only.
struct Case {
    name: String,
    loss: Box<dyn Loss>,
    outputs: Input,
    targets: Input,
}

impl Case {
    fn targets(&self, float: DType, device: Device) -> Result<Tensor> {
        self.targets.tensor(device, float)
    }

    /// Each sample's loss, the mean, and the weighted mean, in one direction.
    fn project(&self, y: &Tensor, float: DType, device: Device) -> Result<Tensor> {
        let t = self.targets(float, device)?;
        let samples = y.dims()[0];
        let weights = tensor(&direction(3, samples), &[samples], float, device)?;
        let each = self.loss.per_sample(y, &t)?;
        assert_eq!(each.dims(), [samples], "{}", self.name);
        let each = (each * tensor(&direction(5, samples), &[samples], float, device)?)?.sum(.., false)?;
        (each + self.loss.compute(y, &t)?)? + self.loss.weighted(y, &t, &weights)?
    }
}

fn cases(seed: u64) -> Vec<Case> {
    let mut rng = Rng(seed);
    let mut cases = Vec::new();
    let (b, n, k) = (rng.int(1, 5), rng.int(1, 4), rng.int(2, 7));
    let rows: [Vec<usize>; 2] = [vec![b, k], vec![b, n, k]];
    let shapes: [Vec<usize>; 4] = [vec![b], vec![b, 1], vec![b, k], vec![b, n, k]];
    let mut add = |name: &str, loss: Box<dyn Loss>, outputs: Input, targets: Input| {
        let name = format!("{name} {:?} (seed {seed})", outputs.dims);
        cases.push(Case { name, loss, outputs, targets });
    };
    for dims in &rows {
        let labels = |rng: &mut Rng| {
            Input::int(
                rng,
                DType::I32,
                &dims[..dims.len() - 1],
                Domain::Whole(0, dims[dims.len() - 1] as i64),
            )
        };
        let any = |rng: &mut Rng| Input::float(rng, dims, Domain::Any);
        let simplex = |rng: &mut Rng| Input::float(rng, dims, Domain::Probabilities);
        let (sparse, sure) = (
            SparseCategoricalCrossentropy::from_logits(),
            SparseCategoricalCrossentropy::from_probabilities(),
        );
        add("sparse", Box::new(sparse.clone()), any(&mut rng), labels(&mut rng));
        add(
            "sparse, smoothed",
            Box::new(sparse.clone().label_smoothing(0.2)),
            any(&mut rng),
            labels(&mut rng),
        );
        let both = sparse.ignore_class(0).label_smoothing(0.1);
        add("sparse, ignoring", Box::new(both), any(&mut rng), labels(&mut rng));
        add("sparse, sure", Box::new(sure.clone()), simplex(&mut rng), labels(&mut rng));
        let both = sure.ignore_class(1).label_smoothing(0.3);
        add("sparse, sure, ignoring", Box::new(both), simplex(&mut rng), labels(&mut rng));
        let dense = CategoricalCrossentropy::from_logits();
        add("dense", Box::new(dense.clone()), any(&mut rng), simplex(&mut rng));
        add("dense, smoothed", Box::new(dense.label_smoothing(0.1)), any(&mut rng), simplex(&mut rng));
        let dense = CategoricalCrossentropy::from_probabilities().label_smoothing(0.1);
        add("dense, sure", Box::new(dense), simplex(&mut rng), simplex(&mut rng));
        add("kl", plain("KLDivergence"), simplex(&mut rng), simplex(&mut rng));
        let focal = CategoricalFocalCrossentropy::from_logits().gamma(1.5).label_smoothing(0.1);
        add("focal", Box::new(focal), any(&mut rng), simplex(&mut rng));
        let focal = CategoricalFocalCrossentropy::from_probabilities();
        add("focal, sure", Box::new(focal), simplex(&mut rng), simplex(&mut rng));
        add("dice", Box::new(Dice::new()), simplex(&mut rng), simplex(&mut rng));
        add("tversky", Box::new(Tversky::new(0.3, 0.7)), simplex(&mut rng), simplex(&mut rng));
        let away = Input::float(&mut rng, dims, Domain::AwayFromZero);
        add("cosine", plain("CosineSimilarity"), away, any(&mut rng));
        let apart = Input::float(&mut rng, dims, Domain::Distinct(0.01));
        let hot = Input { watched: false, ..Input::float(&mut rng, dims, Domain::Mask) };
        add("categorical hinge", plain("CategoricalHinge"), apart, hot);
    }
    let logits = Input::float(&mut rng, &[b, 5, k], Domain::Any);
    add(
        "ctc",
        Box::new(Ctc::new()),
        logits,
        Input::int(&mut rng, DType::U8, &[b, 2], Domain::Whole(1, k as i64)),
    );
    for dims in &shapes {
        let any = |rng: &mut Rng| Input::float(rng, dims, Domain::Any);
        let bits = |rng: &mut Rng| Input::int(rng, DType::U8, dims, Domain::Mask);
        let shares = |rng: &mut Rng| Input::float(rng, dims, Domain::Range(0.05, 0.95));
        let logits = BinaryCrossentropy::from_logits();
        add("binary", Box::new(logits.clone()), any(&mut rng), bits(&mut rng));
        add("binary, smoothed", Box::new(logits.label_smoothing(0.2)), any(&mut rng), shares(&mut rng));
        let sure = BinaryCrossentropy::from_probabilities();
        add("binary, sure", Box::new(sure), shares(&mut rng), bits(&mut rng));
        let focal = BinaryFocalCrossentropy::from_logits().balanced(0.3);
        add("binary focal", Box::new(focal), any(&mut rng), bits(&mut rng));
        let focal = BinaryFocalCrossentropy::from_probabilities().gamma(2.5);
        add("binary focal, sure", Box::new(focal), shares(&mut rng), bits(&mut rng));
        let near = |rng: &mut Rng| Input::float(rng, dims, Domain::Distinct(0.03));
        let far = |rng: &mut Rng| Input::float(rng, dims, Domain::Distinct(0.0));
        for name in ["MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "LogCosh"] {
            // targets of 0 are tested for their value
            let t = Input::float(&mut rng, dims, Domain::Range(3.3, 4.0));
            add(
                name,
                plain(name),
                far(&mut rng),
                if name.ends_with("PercentageError") { t } else { near(&mut rng) },
            );
        }
        // whole multiples of 1/16 plus 0.03 are never 0.7
        add("huber", Box::new(Huber::new(0.7)), near(&mut rng), far(&mut rng));
        let positive = |rng: &mut Rng| Input::float(rng, dims, Domain::Positive);
        add("msle", plain("MeanSquaredLogarithmicError"), positive(&mut rng), positive(&mut rng));
        add("poisson", plain("Poisson"), positive(&mut rng), positive(&mut rng));
        add("hinge", plain("Hinge"), near(&mut rng), bits(&mut rng));
        add("squared hinge", plain("SquaredHinge"), near(&mut rng), bits(&mut rng));
        let closure = |y: &Tensor, t: &Tensor| (y - t)?.square()?.square();
        add("closure", Box::new(closure), any(&mut rng), any(&mut rng));
    }
    cases
}

#[test]
fn gradients_match_finite_differences() -> Result<()> {
    const STEP: f64 = 2e-4;
    let mut failures = Vec::new();
    for case in (1..=4).flat_map(cases) {
        let f = |y: &Tensor| case.project(y, DType::F64, Device::Cpu);
        let y = case.outputs.tensor(Device::Cpu, DType::F64)?.watch()?;
        let got = values(&f(&y)?.backward()?.get(&y)?)?;
        let at = |e: usize, by: f64| -> Result<f64> {
            let mut moved = case.outputs.clone();
            moved.values[e] += by;
            f(&moved.tensor(Device::Cpu, DType::F64)?)?.item()
        };
        // five points (Abramowitz and Stegun, 25.3.6)
        let slope = |e: usize| -> Result<f64> {
            Ok((at(e, -2.0 * STEP)? - 8.0 * at(e, -STEP)? + 8.0 * at(e, STEP)? - at(e, 2.0 * STEP)?)
                / (12.0 * STEP))
        };
        let want = (0..got.len()).map(slope).collect::<Result<Vec<_>>>()?;
        if let Err(e) = compare(&got, &want, 1e-6, 1e-2) {
            failures.push(format!("{}: {e}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Where a piece meets the next: what the formulas say there.
#[test]
fn gradients_at_kinks() -> Result<()> {
    for device in DEVICES {
        let gradient = |loss: &dyn Loss, y: f32, t: f32| -> Result<f32> {
            let y = Tensor::new([[y]], device)?.watch()?;
            loss.compute(&y, &Tensor::new([[t]], device)?)?.backward()?.get(&y)?.item()
        };
        // sigmoid(0) - t: a head that starts at zero learns
        assert_eq!(gradient(&BinaryCrossentropy::from_logits(), 0.0, 1.0)?, -0.5);
        assert_eq!(gradient(&BinaryCrossentropy::from_logits(), 0.0, 0.0)?, 0.5);
        assert_eq!(gradient(&BinaryCrossentropy::from_logits(), 1e4, 0.0)?, 1.0);
        assert_eq!(gradient(&BinaryCrossentropy::from_logits(), -1e4, 0.0)?, 0.0);
        assert_eq!(gradient(&MeanAbsoluteError::new(), 2.0, 2.0)?, 0.0);
        assert_eq!(gradient(&Huber::new(1.5), 1.5, 0.0)?, 1.5);
        assert_eq!(gradient(&Huber::new(1.5), -20.0, 0.0)?, -1.5);
        assert_eq!(gradient(&CosineSimilarity::new(), 0.0, 0.0)?, 0.0);
        assert_eq!(gradient(&Hinge::new(), 3.0, 1.0)?, 0.0);
        assert_eq!(gradient(&LogCosh::new(), -1e4, 0.0)?, -1.0);
    }
    Ok(())
}

#[test]
fn the_gpu_agrees_with_the_cpu() -> Result<()> {
    let mut failures = Vec::new();
    for case in (11..=12).flat_map(cases) {
        let run = |device: Device| -> Result<Vec<Vec<f64>>> {
            let y = case.outputs.tensor(device, DType::F32)?.watch()?;
            let each = case.loss.per_sample(&y, &case.targets(DType::F32, device)?)?;
            let gradient = case.project(&y, DType::F32, device)?.backward()?.get(&y)?;
            Ok(vec![values(&each)?, values(&gradient)?])
        };
        for (got, want) in run(Device::Gpu)?.iter().zip(&run(Device::Cpu)?) {
            if let Err(e) = compare(got, want, 5e-6, 0.5) {
                failures.push(format!("{}: {e}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Counts of metrics are whole numbers, on both devices the same.
#[test]
fn metrics_agree_on_large_batches() -> Result<()> {
    const ROWS: usize = 150_001;
    let metrics: Vec<Box<dyn Metric>> = vec![
        Box::new(Accuracy::new()),
        Box::new(TopKAccuracy::new(2)),
        Box::new(F1Score::of_classes(3, Average::Macro)),
        Box::new(Confusion::new(3)),
    ];
    let binary: Vec<Box<dyn Metric>> = vec![
        Box::new(BinaryAccuracy::from_logits()),
        Box::new(Precision::from_logits()),
        Box::new(Auc::from_probabilities().thresholds(5)),
    ];
    let mut rng = Rng(9);
    // eighths: ties, and no rounding anywhere
    let outputs: Vec<f32> = (0..3 * ROWS).map(|_| rng.int(0, 16) as f32 / 8.0 - 1.0).collect();
    let labels: Vec<u8> = (0..ROWS).map(|_| rng.int(0, 2) as u8).collect();
    let mut sums: Vec<Vec<Vec<f32>>> = Vec::new();
    for device in DEVICES {
        let y = Tensor::from_vec(outputs.clone(), [ROWS, 3], device)?;
        let t = Tensor::from_vec(labels.clone(), [ROWS], device)?;
        let (y1, t1) = (y.slice(1, 0, 1)?.flatten(0)?, t.gt(0u8)?);
        let mut here = Vec::new();
        for m in &metrics {
            here.push(m.sum(&y, &t)?.to_vec::<f32>()?);
        }
        for m in &binary {
            here.push(m.sum(&y1, &t1)?.to_vec::<f32>()?);
        }
        sums.push(here);
    }
    assert_eq!(sums[0], sums[1]);
    let matrix = Confusion::new(3).matrix(&sums[0][3])?;
    assert_eq!(matrix.total(), ROWS as u64);
    // counted one by one
    let mut counts = vec![vec![0u64; 3]; 3];
    for (row, &label) in outputs.chunks(3).zip(&labels) {
        let first = (0..3).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("three");
        counts[label as usize][first] += 1;
    }
    assert_eq!(matrix, ConfusionMatrix::new(counts)?);
    assert_close(&[Confusion::new(3).result(&sums[0][3], ROWS)], &[matrix.accuracy()], 1e-12, "accuracy");
    let f1 = (0..3).map(|c| matrix.f1(c)).sum::<f64>() / 3.0;
    assert_close(&[metrics[2].result(&sums[0][2], ROWS)], &[f1], 1e-12, "F1");
    Ok(())
}

/// The sums of an epoch are kept in f32: counts stay exact up to 2^24, and a mean of a million numbers to five digits.
#[test]
fn sums_of_many_batches_stay_exact() -> Result<()> {
    let mut count = Tensor::new(((1 << 24) - 301) as f32, Device::Cpu)?;
    let y = Tensor::new([[0.0f32, 1.0], [0.0, 1.0], [1.0, 0.0]], Device::Cpu)?;
    let t = Tensor::new([1u8, 1, 0], Device::Cpu)?;
    for _ in 0..100 {
        count = (count + Accuracy::new().sum(&y, &t)?)?;
    }
    assert_eq!(count.item::<f32>()?, ((1 << 24) - 1) as f32);

    let (mut total, mut exact) = (Tensor::new(0.0f32, Device::Cpu)?, 0.0);
    for batch in 0..1000u64 {
        let errors: Vec<f32> = direction(batch, 1000).iter().map(|&v| v as f32).collect();
        exact += errors.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
        let y = Tensor::from_vec(errors, [1000, 1], Device::Cpu)?;
        total = (total + MeanSquaredError::new().sum(&y, &y.zeros_like()?)?)?;
        total.eval()?;
    }
    let mean = MeanSquaredError::new().result(&total.to_vec()?, 1_000_000);
    assert_close(&[mean], &[exact / 1e6], 1e-5, "a million squares");
    Ok(())
}

/// A trainer takes all of this: losses and closures, metrics of any shape, on both devices.
#[test]
fn a_trainer_reports_them() -> Result<()> {
    for device in DEVICES {
        let (train, test) = data::synthetic::digits(64, 32, 1).into_datasets()?;
        let model =
            Sequential::new().add(Flatten::new()).add(Dense::new(10)).seed(1).build([28, 28, 1], device)?;
        let loss = SparseCategoricalCrossentropy::from_logits().label_smoothing(0.1);
        let mut trainer = Trainer::new(model, Adam::new(1e-2), loss)
            .metric(Accuracy::new())
            .metric(TopKAccuracy::new(3))
            .metric(F1Score::of_classes(10, Average::Macro))
            .metric(Precision::of_classes(10, Average::Micro).named("micro"))
            .metric(Confusion::new(10))
            .metric(SparseCategoricalCrossentropy::from_logits())
            .build()?;
        trainer.fit(&train, Fit::epochs(4).batch_size(16).verbose(false))?;
        let seen = trainer.evaluate(&test)?;
        let get = |name: &str| seen.metric(name).expect("a metric of that name");
        assert!(get("accuracy") > 0.3 && get("top_3_accuracy") > get("accuracy"), "{seen}");
        assert_close(&[get("micro"), get("confusion_accuracy")], &[get("accuracy"); 2], 1e-6, "one number");
        assert!(get("sparse_categorical_crossentropy") < seen.loss, "{seen}");
        let matrix = wgrad::train::confusion_matrix(trainer.model(), &test, 10)?;
        assert_close(&[matrix.accuracy()], &[get("accuracy")], 1e-6, "the matrix");
        let f1 = (0..10).map(|c| matrix.f1(c)).sum::<f64>() / 10.0;
        assert_close(&[f1], &[get("f1_score")], 1e-6, "F1");
    }
    Ok(())
}

/// No samples: a mean of nothing is not a number, and nothing fails on the way.
#[test]
fn empty_batches() -> Result<()> {
    for device in DEVICES {
        let y = Tensor::zeros([0, 3], device)?;
        let labels = Tensor::from_vec(Vec::<u32>::new(), [0], device)?;
        for loss in ["MeanSquaredError", "Hinge", "KLDivergence", "CosineSimilarity"] {
            assert!(plain(loss).compute(&y, &y)?.item::<f32>()?.is_nan(), "{loss}");
        }
        let loss = SparseCategoricalCrossentropy::from_logits();
        assert!(loss.compute(&y, &labels)?.item::<f32>()?.is_nan());
        assert_eq!(loss.ignore_class(9).compute(&y, &labels)?.item::<f32>()?, 0.0);
        assert_eq!(Accuracy::new().sum(&y, &labels)?.item::<f32>()?, 0.0);
        assert_eq!(Confusion::new(3).sum(&y, &labels)?.to_vec::<f32>()?, [0.0; 9]);
        assert_eq!(F1Score::from_logits().sum(&y, &y)?.to_vec::<f32>()?, [0.0; 3]);
        let auc = Auc::from_logits().thresholds(2);
        assert_eq!(auc.sum(&y, &y)?.to_vec::<f32>()?, [0.0; 4]);
        assert_eq!(auc.result(&[0.0; 4], 0), 0.0);
    }
    Ok(())
}

/// All ways of reading labels out of a sequence, added up one by one.
fn every_path(log: &[Vec<f64>], labels: &[usize], blank: usize) -> f64 {
    let (steps, classes) = (log.len(), log.first().map_or(1, Vec::len));
    let mut sum = 0.0;
    for mut path in 0..classes.pow(steps as u32) {
        let (mut read, mut last, mut total) = (Vec::new(), blank, 0.0);
        for row in log {
            let class = path % classes;
            path /= classes;
            total += row[class];
            if class != last && class != blank {
                read.push(class);
            }
            last = class;
        }
        sum += if read == labels { total.exp() } else { 0.0 };
    }
    -sum.ln()
}

#[test]
fn ctc_sums_over_every_path() -> Result<()> {
    let mut rng = Rng(11);
    let labels = [[1u32, 2, 0], [2, 2, 0], [1, 1, 1], [0, 0, 0], [2, 1, 2]];
    let (steps, classes) = (6, 3);
    let input = Input::float(&mut rng, &[labels.len(), steps, classes], Domain::Any);
    let lengths = [6u32, 5, 5, 2, 4];
    for d in DEVICES {
        let logits = input.tensor(d, DType::F32)?.watch()?;
        let targets = Tensor::new(labels, d)?;
        let log: Vec<f64> = values(&input.tensor(Device::Cpu, DType::F64)?.log_softmax(-1)?)?;
        let loss = Ctc::new().of_lengths(&logits, &targets, &Tensor::new(lengths, d)?)?;
        let want = labels.iter().zip(lengths).enumerate().map(|(b, (labels, length))| {
            let row = |t: usize| log[(b * steps + t) * classes..][..classes].to_vec();
            let labels: Vec<usize> = labels.iter().filter(|&&l| l != 0).map(|&l| l as usize).collect();
            every_path(&(0..length as usize).map(row).collect::<Vec<_>>(), &labels, 0)
        });
        wgrad::testing::assert_close(&loss, want.collect::<Vec<_>>(), 2e-5, 2e-5)?;
        // What lies beyond the lengths has no part in it.
        let gradient = values(&loss.sum(.., false)?.backward()?.get(&logits)?)?;
        for (b, length) in lengths.into_iter().enumerate() {
            let rows = &gradient[b * steps * classes..][..steps * classes];
            let (seen, beyond) = rows.split_at(length as usize * classes);
            assert!(seen.iter().any(|&g| g != 0.0) && beyond.iter().all(|&g| g == 0.0), "{d}: {rows:?}");
        }
    }
    Ok(())
}

#[test]
fn ctc_of_what_can_not_be_read_and_of_nothing() -> Result<()> {
    for d in DEVICES {
        // "aa" needs three steps; a class without any probability is never read.
        let logits = Tensor::new([[[0.5f32, 1.0], [0.0, 0.25]], [[0.0, f32::NEG_INFINITY], [0.0, 1.0]]], d)?
            .watch()?;
        let loss = Ctc::new().per_sample(&logits, &Tensor::new([[1u8, 1], [1, 0]], d)?)?;
        let read = values(&loss)?;
        let p = 1.0 / (1.0 + (-1.0f64).exp());
        assert!(read[0] == f64::INFINITY && (read[1] + p.ln()).abs() < 1e-6, "{d}: {read:?}");
        let weights = Tensor::new([1.0f32, 0.0], d)?;
        let gradient = (loss * weights)?.slice(0, 0, 1)?.sum(.., false)?.backward()?.get(&logits)?;
        assert_eq!(values(&gradient)?, [0.0; 8], "{d}");
        let nothing =
            Ctc::new().per_sample(&Tensor::zeros([2, 0, 3], d)?, &Tensor::new([[0u32], [1]], d)?)?;
        assert_eq!(values(&nothing)?, [0.0, f64::INFINITY], "{d}");
        let blanks = Ctc::new()
            .per_sample(&Tensor::zeros([1, 2, 2], d)?, &Tensor::zeros([1, 0], d)?.cast(DType::I32)?)?;
        wgrad::testing::assert_close(&blanks, [4f64.ln()], 1e-6, 1e-6)?;
        assert!(
            Ctc::new()
                .per_sample(&Tensor::zeros([0, 4, 3], d)?, &Tensor::full_dtype([0, 2], 0.0, DType::U32, d)?)?
                .dims()
                == [0]
        );
    }
    let loss = |dims: &[usize], labels: &Tensor, blank| -> String {
        let logits = Tensor::zeros(dims, Device::Cpu).expect("zeros");
        Ctc::new().blank(blank).compute(&logits, labels).expect_err("an error").to_string()
    };
    let labels = Tensor::new([[1u32]], Device::Cpu)?;
    assert!(loss(&[2, 3], &labels, 0).contains("expected [batch, steps, classes]"));
    assert!(loss(&[2, 3, 4], &labels, 0).contains("expected [2, labels]"));
    assert!(loss(&[1, 3, 4], &labels, 4).contains("the blank is class 4, but the outputs have 4 classes"));
    assert!(loss(&[1, 3, 4], &labels.cast(DType::F32)?, 0).contains("integers are expected"));
    let lengths = Tensor::new([3u32, 3], Device::Cpu)?;
    let error = Ctc::new().of_lengths(&Tensor::zeros([1, 3, 4], Device::Cpu)?, &labels, &lengths);
    assert!(error.expect_err("two lengths").to_string().contains("one length for each sample"));
    Ok(())
}

#[test]
fn measures_of_agreement_at_their_ends() -> Result<()> {
    let d = Device::Cpu;
    let read = |metric: &dyn Metric, y: &[f32], t: &[f32]| -> Result<f64> {
        let sum = metric.sum(&Tensor::from_slice(y, [y.len()], d)?, &Tensor::from_slice(t, [t.len()], d)?)?;
        Ok(metric.result(&sum.to_vec()?, y.len()))
    };
    let (r2, pearson) = (R2Score::new(), PearsonCorrelation::new());
    assert_eq!(read(&r2, &[1.0, 2.0], &[1.0, 2.0])?, 1.0);
    assert_eq!(read(&r2, &[1.5, 1.5], &[1.0, 2.0])?, 0.0);
    assert_eq!((read(&r2, &[1.0, 2.0], &[3.0, 3.0])?, read(&r2, &[3.0], &[3.0])?), (0.0, 1.0));
    assert!(
        read(&r2, &[f32::NAN, 2.0], &[1.0, 2.0])?.is_nan()
            && read(&pearson, &[f32::NAN, 2.0], &[1.0, 2.0])?.is_nan()
    );
    assert_eq!(
        (read(&pearson, &[3.0, 1.0], &[1.0, 2.0])?, read(&pearson, &[3.0, 1.0], &[2.0, 2.0])?),
        (-1.0, 0.0)
    );
    assert_eq!(read(&r2, &[0.0, 0.0], &[0.1, 0.1])?, 0.0);
    assert_eq!(read(&pearson, &[0.9; 7], &[0.1; 7])?, 0.0);
    assert!(read(&r2, &[0.0, 0.0], &[f32::INFINITY, 1.0])?.is_nan());
    let error = r2.sum(&Tensor::zeros([2, 3], d)?, &Tensor::zeros([2, 3], d)?).expect_err("three outputs");
    assert!(error.to_string().contains("a sample has 3 outputs, the metric is for 1"), "{error}");
    assert!(pearson.sum(&Tensor::zeros([2], d)?, &Tensor::zeros([2, 1], d)?).is_err());
    // A class that is neither meant nor answered has no part in the mean; void has none either.
    let answers = Tensor::new([[0u32, 1, 1, 0]], d)?.one_hot(4)?;
    let labels = Tensor::new([[0u8, 1, 0, 255]], d)?;
    let iou = MeanIou::new(4).ignore_class(255);
    assert_eq!(iou.result(&iou.sum(&answers, &labels)?.to_vec()?, 1), 0.5);
    assert_eq!(iou.result(&[0.0; 16], 0), 0.0);
    assert!(
        iou.ignoring(3).is_none()
            && MeanIou::new(4).ignoring(3).is_some()
            && Perplexity::new().ignoring(0).is_some()
    );
    let (none, some): ([u8; 0], _) = ([], *b"abc");
    assert_eq!(
        (edit_distance(&none, &some), edit_distance(&some, &none), edit_distance(&none, &none)),
        (3, 3, 0)
    );
    assert_eq!(
        (edit_distance(b"flaw", b"lawn"), edit_distance(b"ab", b"ba"), edit_distance(&some, &some)),
        (2, 2, 0)
    );
    Ok(())
}

/// The power of what is 0 has an infinite slope where gamma is below 1, and a sigmoid that has none makes NaN of it.
#[test]
fn certain_answers_have_finite_slopes() -> Result<()> {
    for d in DEVICES {
        let p = Tensor::new([[1.0f32], [0.0], [1.0]], d)?.watch()?;
        let targets = Tensor::new([[1u8], [0], [0]], d)?;
        let loss = BinaryFocalCrossentropy::from_probabilities().gamma(0.5).compute(&p, &targets)?;
        let gradient = values(&loss.backward()?.get(&p)?)?;
        assert!(values(&loss)?[0].is_finite() && gradient.iter().all(|g| g.is_finite()), "{d}: {gradient:?}");
    }
    Ok(())
}

#[test]
fn labels_of_ctc_that_are_no_classes() -> Result<()> {
    for d in DEVICES {
        for labels in [Tensor::new([[1i32, 7]], d)?, Tensor::new([[1i32, -1]], d)?] {
            let loss = Ctc::new().compute(&Tensor::zeros([1, 5, 4], d)?, &labels);
            let error = loss.and_then(|l| l.item::<f32>()).expect_err("no class").to_string();
            assert!(error.contains("Ctc: label") && error.contains("is not one of 4 classes"), "{error}");
        }
    }
    Ok(())
}
