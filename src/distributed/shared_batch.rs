//! A batch that is in parts on several ranks, and sums over all of it while it is being computed.

use super::collective::{Collective, telling};
use super::gradients::Layout;
use crate::cpu::Array;
use crate::error::{Error, Result};
use crate::ops::Lowering;
use crate::tensor::{Grads, Operation, Spec, Tensor, Vjp, no_grad};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The ranks that have a part of a batch each.
#[derive(Clone, Debug)]
pub(crate) struct SharedBatch {
    pub world: Arc<dyn Collective>,
    /// Parts of the batch; where there are more than ranks, a rank computes its own one after the other.
    pub shards: usize,
    /// Whether the part of this rank counts: one without samples computes another in its place.
    pub counts: bool,
}

impl SharedBatch {
    /// The batch where several ranks compute it at once, and so can add while they do; `None` where it is one part.
    ///
    /// # Errors
    ///
    /// A rank has several parts.
    pub fn at_once(&self, op: &'static str) -> Result<Option<&SharedBatch>> {
        let (shards, ranks) = (self.shards, self.world.size());
        if shards != ranks {
            let message = format!(
                "what is computed over the whole batch needs a shard for each rank, since a rank computes its shards one after \
                 the other; got {shards} shards and {ranks} rank{}: leave out Fit::shards, or synchronized(true)",
                if ranks == 1 { "" } else { "s" }
            );
            return Err(Error::argument(op, message));
        }
        Ok((ranks > 1).then_some(self))
    }

    /// The sum over all ranks of a tensor of one shape, on each of them; those of ranks that don't count are left out. Computed now.
    pub fn total(&self, x: &Tensor) -> Result<Tensor> {
        telling(&*self.world, self.total_of(x))
    }

    fn total_of(&self, x: &Tensor) -> Result<Tensor> {
        let layout = Layout::of(std::slice::from_ref(x));
        let flat = no_grad(|| layout.pack(std::slice::from_ref(x)))?;
        let mine = if self.counts { vec![(self.world.rank(), flat)] } else { Vec::new() };
        let value = layout.sum(&*self.world, self.shards, mine, &[])?.tensor(x.dims(), x.device())?;
        let batch = self.clone();
        // What each rank makes of the sum depends on what every rank has put in.
        exchanged("total_over_ranks", &value, vec![x.clone()], move |cx| {
            Ok(vec![Some(batch.total(cx.grad)?)])
        })
    }
}

/// A node of which ranks have computed the value together, and how its gradient is computed.
pub(super) fn exchanged(
    name: &'static str,
    value: &Tensor,
    inputs: Vec<Tensor>,
    vjp: impl Fn(&Vjp<'_>) -> Result<Grads> + Send + Sync + 'static,
) -> Result<Tensor> {
    let op = Exchanged { name, vjp: Box::new(vjp) };
    let node = Tensor::from_op(op, inputs, value.shape(), value.dtype(), value.device())?;
    let value = value.0.value().ok_or_else(|| Error::internal("a tensor from the host has no value"))?;
    node.0.set_value(value);
    Ok(node)
}

type Rule = dyn Fn(&Vjp<'_>) -> Result<Grads> + Send + Sync;

/// Whatever ranks have computed together: no backend is asked to.
struct Exchanged {
    name: &'static str,
    vjp: Box<Rule>,
}

impl std::fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// No plan computes it.
impl Hash for Exchanged {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

const COMPUTED: &str = "what ranks compute together is computed when it is made";

impl Operation for Exchanged {
    fn name(&self) -> &'static str {
        self.name
    }
    fn vjp(&self, cx: &Vjp<'_>) -> Result<Grads> {
        (self.vjp)(cx)
    }
    fn cpu(&self, _inputs: &[Array], _out: &Spec) -> Result<Array> {
        Err(Error::internal(COMPUTED))
    }
    fn gpu(&self, _inputs: &[Spec], _out: &Spec) -> Lowering<'_> {
        Lowering::Unsupported(COMPUTED.into())
    }
}
