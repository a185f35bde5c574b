//! One record of what kernels met in the values of an evaluation (see [`faults`](super::faults)), and who depends on it.

use crate::ops::fault::Fault;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The records that a value depends on; none for nearly all.
pub(crate) type Lineage = Option<Arc<Vec<Arc<Record>>>>;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub state: Mutex<Registry>,
    /// Records that some value still refers to.
    pub alive: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Places in the buffer that nothing uses, and whether they have to be zeroed first.
    pub free: Vec<(u32, bool)>,
    pub open: Vec<Weak<Record>>,
    /// Places of evaluations whose values were all dropped before anybody looked.
    pub orphans: Vec<u32>,
    /// What was found in such a place.
    pub untold: Option<Fault>,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, Registry> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of one or more evaluations.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) place: u32,
    pub(super) found: Mutex<(Found, u64)>,
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    /// Nobody has looked since the latest evaluation, counted beside.
    Open,
    Nothing,
    /// And whether a caller was told.
    Fault(Fault, bool),
}

impl Record {
    pub(super) fn found(&self) -> MutexGuard<'_, (Found, u64)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is computed from a value has to mind it.
    pub(super) fn matters(&self) -> bool {
        matches!(self.found().0, Found::Open | Found::Fault(_, false))
    }

    /// Takes part in one more evaluation, if it is still open.
    pub(super) fn join(&self) -> bool {
        let mut found = self.found();
        found.1 += 1;
        found.0 == Found::Open
    }

    /// What is wrong; `again` although a caller was told before.
    pub(super) fn tell(&self, again: bool) -> Option<Fault> {
        let mut found = self.found();
        match &mut found.0 {
            Found::Fault(fault, told) if again || !*told => {
                *told = true;
                Some(*fault)
            }
            _ => None,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.shared.alive.fetch_sub(1, Relaxed);
        let found = self.found().0;
        match found {
            Found::Open => self.shared.state().orphans.push(self.place),
            Found::Fault(fault, false) => {
                self.shared.state().untold.get_or_insert(fault);
            }
            _ => {}
        }
    }
}
