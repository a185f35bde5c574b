//! What the ranks of a run agree on before it, while it goes on, and at its epochs' ends.

use super::callback::{Callback, Flow};
use super::fit::Fit;
use super::sharing::Sharing;
use super::trainer::Trainer;
use crate::data::{Batch, Source};
use crate::distributed::{Collective, agree, telling};
use crate::error::{Error, Result};
use crate::io::Elements;
use crate::nn::{Module, is_stateful};
use crate::optim::Optimizer;
use crate::tensor::Tensor;
use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hasher};

/// More shards than anybody has.
const MOST_SHARDS: usize = 1 << 20;

impl<M: Module> Trainer<M> {
    /// Whether this process is the one that writes files and shows progress.
    pub(super) fn writes_files(&self) -> bool {
        self.world.as_ref().is_none_or(|world| world.rank() == 0)
    }

    /// Checks how a run is shared; `None` where a batch is one shard.
    pub(super) fn share(&mut self, fit: &mut Fit<'_>) -> Result<Option<Sharing>> {
        let sharing = self.sharing_of(fit.shards)?;
        self.wishes = Default::default();
        let Some(sharing) = sharing else {
            self.shards = fit.shards;
            return Ok(None);
        };
        let (ranks, shards) = (sharing.world.size(), sharing.shards);
        let wrong = |message: String| Err(Error::argument("Fit::shards", message));
        if shards < ranks {
            return wrong(format!(
                "a batch is cut into {shards} shards, but there are {ranks} ranks; give at least one for each"
            ));
        }
        // Far more than there are, and few enough to be counted over.
        if shards > MOST_SHARDS {
            return wrong(format!("got {shards} shards; give at most {MOST_SHARDS}"));
        }
        if fit.batch_size < shards {
            return wrong(format!(
                "a batch of {} samples can't be cut into {shards} shards; take a larger batch, or fewer {}",
                fit.batch_size,
                if ranks == shards { "ranks" } else { "shards" }
            ));
        }
        if fit.accumulate > 1 {
            let message = "accumulate(n) and shards both cut what is one update; take more shards, which need the memory of one each";
            return wrong(message.into());
        }
        if self.own.is_some() && shards != ranks {
            return wrong(format!(
                "a training step of one's own is shared by ranks, a shard for each; got {shards} shards and {ranks} ranks: leave out shards"
            ));
        }
        fit.shared = true;
        self.shards = fit.shards;
        if !self.writes_files() {
            // One in the place of each keeps what states are saved under, and errors name.
            for callback in fit.callbacks.iter_mut().filter(|callback| !callback.on_every_rank()) {
                *callback = Box::new(Silent(callback.name()));
            }
        }
        Ok(Some(sharing))
    }

    /// Who shares a step; `None` where a batch is one shard.
    pub(super) fn sharing(&self) -> Result<Option<Sharing>> {
        self.sharing_of(self.shards)
    }

    fn sharing_of(&self, shards: Option<usize>) -> Result<Option<Sharing>> {
        let sharing = Sharing::new(self.world.as_ref(), shards);
        if sharing.is_some() && is_stateful(&self.model) {
            let message = "batches are cut into shards, and the model has stateful layers, which go on from batch to batch; train \
                           them with one shard on one rank, or leave out stateful";
            return Err(Error::argument("Fit::shards", message));
        }
        Ok(sharing)
    }

    /// What came of something that all ranks do: where it is an error, the others are told.
    pub(super) fn told<T>(&self, result: Result<T>) -> Result<T> {
        match &self.world {
            Some(world) => telling(&**world, result),
            None => result,
        }
    }

    /// That the run is the same on all ranks.
    pub(super) fn compare_ranks(
        &mut self,
        sharing: &Sharing,
        train: &dyn Source,
        validation: Option<&dyn Source>,
        fit: &Fit<'_>,
    ) -> Result<()> {
        self.wishes.first_batch = true;
        let parameters = self.model.parameters();
        let shape = |p: &crate::nn::Parameter| {
            format!("{} {} {}", p.name, p.variable.shape(), p.variable.value().dtype())
        };
        let model: Vec<String> = parameters.iter().map(shape).collect();
        let mut hash = DefaultHasher::new();
        for parameter in &parameters {
            add(&mut hash, &parameter.variable.value())?;
        }
        let data = |set: &dyn Source| format!("{}, {:?} samples", set.name(), set.samples());
        let names: Vec<String> = super::totals::names(&self.outputs);
        // In this order: what comes later may follow from what comes before.
        let facts = json!([
            ["version of wgrad", env!("CARGO_PKG_VERSION")],
            ["ranks and shards", [sharing.world.size(), sharing.shards]],
            ["batch size", fit.batch_size],
            ["epochs", fit.epochs],
            ["steps of an epoch", fit.steps_per_epoch],
            ["seed", fit.seed],
            ["shuffling", fit.shuffle],
            ["training data", data(train)],
            ["validation data", validation.map(data)],
            ["losses and metrics", names],
            ["optimizer", self.optimizer.config().0],
            ["model's parameters", model],
            ["place in the run", [self.at.passes, self.at.steps, self.at.epoch as u64, self.at.taken as u64]],
            ["values of the parameters", format!("{:016x}", hash.finish())],
        ]);
        compare(&*sharing.world, &facts)
    }

    /// That the data are the same on all ranks, as far as the first batch of a run tells.
    pub(super) fn compare_first_batch(&mut self, world: &dyn Collective, batch: &Batch) -> Result<()> {
        if !std::mem::take(&mut self.wishes.first_batch) {
            return Ok(());
        }
        let mut hash = DefaultHasher::new();
        for tensor in batch.inputs.iter().chain(&batch.targets).chain(&batch.weights) {
            add(&mut hash, tensor)?;
        }
        compare(world, &json!([["values of the first batch", format!("{:016x}", hash.finish())]]))
    }

    /// After a step: notes this rank's wishes, which the next step tells the others, and hears what all agreed on in this one.
    /// Whether the run is interrupted.
    pub(super) fn hear_wishes(&mut self, flow: &mut Flow, fit: &Fit<'_>) -> bool {
        let wishes = &mut self.wishes;
        wishes.stop |= *flow == Flow::Stop;
        wishes.interrupt |= fit.take_wish();
        if std::mem::take(&mut wishes.agreed_interrupt) {
            wishes.interrupt = false;
            *flow = Flow::Continue;
            return true;
        }
        *flow = Flow::Continue;
        if std::mem::take(&mut wishes.agreed_stop) {
            wishes.stop = false;
            *flow = Flow::Stop;
        }
        false
    }

    /// At the end of an epoch: the same flow on all ranks. Whether the run is interrupted.
    pub(super) fn agree_on_wishes(&mut self, flow: &mut Flow, fit: &Fit<'_>) -> Result<bool> {
        let Some(sharing) = self.sharing()? else { return Ok(false) };
        let stop = *flow == Flow::Stop || std::mem::take(&mut self.wishes.stop);
        let interrupt = std::mem::take(&mut self.wishes.interrupt) | fit.take_wish();
        let said = agree(&*sharing.world, Ok(format!("{}{}", u8::from(stop), u8::from(interrupt))))?;
        let wished = |place: usize| said.iter().any(|words| words.as_bytes().get(place) == Some(&b'1'));
        *flow = if wished(0) { Flow::Stop } else { Flow::Continue };
        Ok(wished(1))
    }
}

/// A callback that is told on another rank.
struct Silent(&'static str);

impl Callback for Silent {
    fn name(&self) -> &'static str {
        self.0
    }
}

/// Adds a tensor's bits to a hash.
fn add(hash: &mut DefaultHasher, tensor: &Tensor) -> Result<()> {
    hash.write(tensor.shape().to_string().as_bytes());
    let mut bytes = Vec::new();
    Elements::of(tensor)?.write(&mut bytes).map_err(Error::other)?;
    hash.write(&bytes);
    Ok(())
}

/// That all ranks say the same of everything; else what differs, on which.
fn compare(world: &dyn Collective, facts: &Value) -> Result<()> {
    let said = agree(world, Ok(facts.to_string()))?;
    let parse = |text: &String| serde_json::from_str::<Vec<(String, Value)>>(text).unwrap_or_default();
    let Some((first, others)) = said.split_first() else { return Ok(()) };
    let first = parse(first);
    for (rank, other) in (1..).zip(others) {
        let other: Map<String, Value> = parse(other).into_iter().collect();
        if let Some((name, value)) = first.iter().find(|(name, value)| other.get(name) != Some(value)) {
            let there = other.get(name).unwrap_or(&Value::Null);
            let message = format!("differs from rank 0 in the {name}: it has {}", difference(there, value));
            return Err(Error::rank(rank, message));
        }
    }
    Ok(())
}

/// What differs, as short as it can be said.
fn difference(there: &Value, here: &Value) -> String {
    if let (Value::Array(a), Value::Array(b)) = (there, here)
        && a.len() == b.len()
        && let Some((a, b)) = a.iter().zip(b).find(|(a, b)| a != b)
    {
        return difference(a, b);
    }
    if let (Value::Array(a), Value::Array(b)) = (there, here) {
        return format!("{}, rank 0 has {}", a.len(), b.len());
    }
    format!("{there}, rank 0 has {here}")
}
