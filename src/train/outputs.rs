//! What a trainer wants of each output of its model: losses, their weights, metrics.

use super::metric::Metric;
use crate::autograd::Gradients;
use crate::data::Batch;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::nn::{Context, Loss, Module, fed_to, floats_as};
use crate::ops::index::select_within;
use crate::tensor::{Tensor, no_grad};
use std::collections::BTreeMap;

/// One output of the model.
pub(super) struct Output {
    pub name: String,
    /// An output without a loss is not trained.
    pub loss: Option<Box<dyn Loss>>,
    /// What the loss is multiplied by.
    pub weight: f64,
    pub metrics: Vec<Box<dyn Metric>>,
    /// Whether it is no output, but a number that a step of one's own reports.
    pub reported: bool,
}

impl Output {
    /// What was computed for this output: of an error it is told for which, where there are several.
    pub fn told<T>(&self, result: Result<T>, outputs: usize) -> Result<T> {
        result.map_err(|e| if outputs > 1 && !self.name.is_empty() { e.within(&self.name) } else { e })
    }

    pub fn new(name: String) -> Output {
        Output { name, loss: None, weight: 1.0, metrics: Vec::new(), reported: false }
    }

    /// Gives it its loss; metrics leave out the rows that the loss does.
    pub fn set_loss(&mut self, loss: Box<dyn Loss>) {
        self.loss = Some(loss);
        let metrics = std::mem::take(&mut self.metrics);
        metrics.into_iter().for_each(|metric| self.add_metric(metric));
    }

    pub fn add_metric(&mut self, metric: Box<dyn Metric>) {
        let ignored = self.loss.as_ref().and_then(|loss| loss.ignored_class());
        let metric = ignored.and_then(|class| metric.ignoring(class)).unwrap_or(metric);
        self.metrics.push(metric);
    }

    /// Whether it is compared with a target.
    fn compared(&self) -> bool {
        self.loss.is_some() || !self.metrics.is_empty()
    }
}

/// What came of a batch.
pub(super) struct Computed {
    pub outputs: Vec<Tensor>,
    /// The target of each output, where there is one.
    pub targets: Vec<Option<Tensor>>,
    /// The loss of each output, not multiplied by its weight.
    pub losses: Vec<Option<Tensor>>,
    /// The weighted sum of the losses, the penalties of all regularised parameters, and what layers added.
    pub loss: Tensor,
    /// The part of it that is a mean over samples, where there is another part and this one.
    pub plain: Option<Tensor>,
    /// The part of it that outputs have whose losses count their rows.
    pub counted: Vec<Counted>,
    /// The rows that each output's loss is the mean of, where it counts them.
    pub rows: Vec<Option<Tensor>>,
}

/// The weighted loss of an output that is trained, and the rows that it is the mean of, a scalar.
pub(super) struct Counted {
    pub output: usize,
    pub loss: Tensor,
    pub rows: Tensor,
}

/// What a part of the loss is a mean over.
#[derive(Clone, Copy)]
pub(super) enum Over {
    Samples,
    /// The rows of an output that its loss counts.
    Rows(usize),
}

impl Computed {
    /// Gradients of the parts of the loss, as sums: what they are means over is known only when all of a batch has come. Where nothing in a
    /// part is trained, it has no gradients; if that is so of all parts, the loss says it.
    pub fn gradient_sums(&self, samples: usize) -> Result<Vec<(Over, Gradients)>> {
        if self.counted.is_empty() {
            // The gradients of the loss times the samples, which costs one multiplication.
            return Ok(vec![(Over::Samples, (&self.loss * samples as f64)?.backward()?)]);
        }
        let mut sums = Vec::new();
        if let Some(plain) = self.plain.as_ref().filter(|plain| plain.is_tracked()) {
            sums.push((Over::Samples, (plain * samples as f64)?.backward()?));
        }
        for part in self.counted.iter().filter(|part| part.loss.is_tracked()) {
            let grads = (&part.loss * part.rows.cast(part.loss.dtype())?)?.backward()?;
            sums.push((Over::Rows(part.output), grads));
        }
        if !self.loss.is_tracked() {
            drop(self.loss.backward()?);
        }
        Ok(sums)
    }

    /// Lets go of what gradients are computed from.
    pub fn detach(&mut self) -> Result<()> {
        self.loss = self.loss.detach()?;
        self.plain = self.plain.as_ref().map(Tensor::detach).transpose()?;
        self.counted.iter_mut().try_for_each(|part| {
            part.loss = part.loss.detach()?;
            Ok(())
        })
    }
}

/// The targets of a batch, in the order of the outputs: one for each, or one for each that is compared with one.
fn assign(outputs: &[Output], batch: &Batch) -> Result<Vec<Option<Tensor>>> {
    let targets = &batch.targets;
    let compared = outputs.iter().filter(|o| o.compared()).count();
    if targets.len() == outputs.len() {
        return Ok(targets.iter().cloned().map(Some).collect());
    }
    if targets.len() == compared {
        let mut given = targets.iter().cloned();
        return Ok(outputs.iter().map(|o| if o.compared() { given.next() } else { None }).collect());
    }
    let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
    let message = format!(
        "the data has {} target{}; the model has {} output{} ({}), of which {compared} {} a loss or metrics: expected a \
         target for each of these, in this order",
        targets.len(),
        if targets.len() == 1 { "" } else { "s" },
        names.len(),
        if names.len() == 1 { "" } else { "s" },
        names.join(", "),
        if compared == 1 { "has" } else { "have" },
    );
    Err(Error::argument("Trainer", message))
}

/// Outputs and losses of a batch, lazily.
pub(super) fn compute(
    model: &impl Module,
    outputs: &[Output],
    batch: &Batch,
    cx: &Context,
    weights: &mut ClassWeights,
) -> Result<Computed> {
    let mut targets = assign(outputs, batch)?;
    let inputs = fed_to(model, &batch.inputs)?;
    let values = model.forward_all(&inputs, cx)?;
    if values.len() != outputs.len() {
        let message = format!(
            "gave {} outputs, but output_names() has {}; they must agree",
            values.len(),
            outputs.len()
        );
        return Err(Error::argument("Module::forward_all", message));
    }
    // Floats of a data set are of the type that the model computes in.
    for (target, y) in targets.iter_mut().zip(&values) {
        *target = target.take().map(|target| floats_as(&target, y.dtype())).transpose()?;
    }
    let (mut losses, mut counted, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut plain: Option<Tensor> = None;
    for (i, (output, y)) in outputs.iter().zip(&values).enumerate() {
        let (Some(loss), Some(target)) = (&output.loss, &targets[i]) else {
            losses.push(None);
            rows.push(None);
            continue;
        };
        let of_classes = output.told(weights.of_batch(i, y, target), outputs.len())?;
        let of_samples = batch.weights.as_ref().map(|w| floats_as(w, y.dtype())).transpose()?;
        let weights = match (of_samples, of_classes) {
            (Some(samples), Some(classes)) => Some(output.told(samples * classes, outputs.len())?),
            (Some(samples), None) => Some(samples),
            (None, classes) => classes,
        };
        let compute = || match &weights {
            Some(weights) => loss.weighted(y, target, weights),
            None => loss.compute(y, target),
        };
        // An output of weight 0 is measured, and not trained.
        let value = if output.weight == 0.0 { no_grad(compute) } else { compute() };
        let value = output.told(value, outputs.len())?;
        let of_output = output.told(no_grad(|| loss.count(y, target)), outputs.len())?;
        if output.weight != 0.0 {
            let weighted = if output.weight == 1.0 { value.clone() } else { (&value * output.weight)? };
            match &of_output {
                Some(rows) => counted.push(Counted { output: i, loss: weighted, rows: rows.clone() }),
                None => plain = Some(sum(plain, weighted)?),
            }
        }
        losses.push(Some(value.detach()?));
        rows.push(of_output);
    }
    if plain.is_none() && counted.is_empty() {
        let message = "no output has a loss whose weight is not 0; give one with TrainerBuilder::output";
        return Err(Error::argument("Trainer", message));
    }
    for penalty in model.penalty()?.into_iter().chain(cx.take_losses()) {
        plain = Some(sum(plain, penalty)?);
    }
    let mut total = plain.clone();
    for part in &counted {
        total = Some(sum(total, part.loss.clone())?);
    }
    let Some(loss) = total else { return Err(Error::argument("Trainer", "the batch has no loss")) };
    // Alone it is the loss.
    let plain = plain.filter(|_| !counted.is_empty());
    Ok(Computed { outputs: values, targets, losses, loss, plain, counted, rows })
}

fn sum(so_far: Option<Tensor>, next: Tensor) -> Result<Tensor> {
    match so_far {
        Some(sum) => sum + next,
        None => Ok(next),
    }
}

/// Weights by class, for an output by name or for the only one.
pub(super) type Given = (Option<String>, Vec<(usize, f64)>);

/// What samples of each class count for: Keras's `class_weight`.
#[derive(Default)]
pub(super) struct ClassWeights {
    /// By number of the output.
    of_outputs: BTreeMap<usize, ByClass>,
}

struct ByClass {
    weights: BTreeMap<usize, f64>,
    /// The weights of all classes on the device, made when the first batch says how many there are.
    table: Option<Tensor>,
}

impl ClassWeights {
    /// Weights by class, for outputs by name; without a name for the only output that has a loss.
    pub fn new(given: &[Given], outputs: &[Output]) -> Result<ClassWeights> {
        const OP: &str = "Fit::class_weights";
        let mut of_outputs = BTreeMap::new();
        let with_loss: Vec<usize> = (0..outputs.len()).filter(|&i| outputs[i].loss.is_some()).collect();
        for (name, weights) in given {
            let found = match name {
                Some(name) => with_loss.iter().find(|&&i| outputs[i].name == *name),
                None if with_loss.len() == 1 => with_loss.first(),
                None => None,
            };
            let Some(&output) = found else {
                let names: Vec<&str> = with_loss.iter().map(|&i| outputs[i].name.as_str()).collect();
                let message = match name {
                    Some(name) => format!("no output with a loss is named {name}"),
                    None => "say which output the weights are for, with Fit::class_weights_of".into(),
                };
                let message = format!("{message}; outputs with a loss: {}", names.join(", "));
                return Err(Error::argument(OP, message));
            };
            if let Some((class, weight)) = weights.iter().find(|(_, w)| !(w.is_finite() && *w >= 0.0)) {
                let message = format!("the weight of class {class} is {weight}; expected 0 or more");
                return Err(Error::argument(OP, message));
            }
            // Classes are places in a table, which a number such as a Unix time would make absurdly long.
            if let Some((class, _)) = weights.iter().find(|(class, _)| *class > u16::MAX as usize) {
                let message =
                    format!("there is a weight for class {class}; expected classes up to {}", u16::MAX);
                return Err(Error::argument(OP, message));
            }
            let by_class = ByClass { weights: weights.iter().copied().collect(), table: None };
            if of_outputs.insert(output, by_class).is_some() {
                let message = format!("output {} is given weights twice", outputs[output].name);
                return Err(Error::argument(OP, message));
            }
        }
        Ok(ClassWeights { of_outputs })
    }

    /// The weight of each sample of a batch, `[samples]`, gathered on the device; 1 for a class without one.
    fn of_batch(&mut self, output: usize, y: &Tensor, target: &Tensor) -> Result<Option<Tensor>> {
        let Some(by_class) = self.of_outputs.get_mut(&output) else { return Ok(None) };
        no_grad(|| {
            let labels = match target.dims() {
                [_] => target.clone(),
                [n, 1] => target.reshape([*n])?,
                [_, _] if target.dtype().is_float() => target.argmax(-1, false)?,
                [_, _] => target.cast(DType::F32)?.argmax(-1, false)?,
                _ => {
                    let message = format!(
                        "targets are {}; class weights need one class for each sample: labels [samples] or [samples, 1], \
                         or one-hot rows [samples, classes]",
                        target.shape()
                    );
                    return Err(Error::shape("Fit::class_weights", message));
                }
            };
            let labels = if labels.dtype().is_float() { (labels + 0.5)?.floor()? } else { labels };
            let labels = labels.cast(DType::I32)?;
            let table = match &by_class.table {
                Some(table) => table.clone(),
                None => {
                    // A yes-or-no output, [samples] or [samples, 1], has two classes.
                    let classes = if y.rank() < 2 { 2 } else { y.dims()[y.rank() - 1].max(2) };
                    if let Some((class, _)) =
                        by_class.weights.last_key_value().filter(|(c, _)| **c >= classes)
                    {
                        let message = format!(
                            "there is a weight for class {class}; outputs {} have {classes} classes",
                            y.shape()
                        );
                        return Err(Error::argument("Fit::class_weights", message));
                    }
                    let weight = |class: usize| by_class.weights.get(&class).copied().unwrap_or(1.0);
                    let weights: Vec<f64> = (0..classes).map(weight).collect();
                    let dtype = if y.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                    let table = Tensor::rounded(&weights, &[classes], dtype, y.device())?;
                    by_class.table.insert(table).clone()
                }
            };
            // A label that is no class is for a loss that ignores it, or that tells of it.
            let classes = table.numel();
            let known = (labels.ge(0)? * labels.lt(classes as f64)?)?;
            let weights = select_within(&table, 0, &known.select(&labels, 0)?.cast(DType::U32)?)?;
            known.select(weights, 1.0).map(Some)
        })
    }
}
