//! Who computes what of a batch.

use crate::distributed::{Alone, Collective, SharedBatch, shards_of};
use std::ops::Range;
use std::sync::Arc;

/// Who computes the shards of a batch.
#[derive(Clone, Debug)]
pub(super) struct Sharing {
    pub world: Arc<dyn Collective>,
    pub shards: usize,
}

impl Sharing {
    /// Of a run that asks for so many shards; `None` where a batch is one shard.
    pub fn new(world: Option<&Arc<dyn Collective>>, shards: Option<usize>) -> Option<Sharing> {
        let shards = shards.unwrap_or_else(|| world.map_or(1, |world| world.size()));
        let alone = || -> Arc<dyn Collective> { Arc::new(Alone) };
        let world = world.cloned().unwrap_or_else(alone);
        (shards > 1 || world.size() > 1).then_some(Sharing { world, shards })
    }

    /// A batch, for the pass over a part of it; whether the part counts.
    pub fn batch(&self, counts: bool) -> SharedBatch {
        SharedBatch { world: self.world.clone(), shards: self.shards, counts }
    }

    /// This rank's shards of a batch: their numbers and samples. Where there are fewer samples than shards, some have none.
    pub fn own(&self, samples: usize) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let shards = self.shards;
        shards_of(self.world.rank(), self.world.size(), shards)
            .map(move |shard| (shard, shards_of(shard, shards, samples)))
    }
}
