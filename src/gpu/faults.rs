//! What kernels record about the values they meet (an index outside its axis), and how the host learns of it.
//!
//! A record is four words in a buffer of the device: how often something was recorded, and tag, value and bound of the first
//! time ([`Fault::from_words`]). An evaluation whose kernels can record has one ([`Record`]), and so have the values that it
//! computed and whatever is computed from these, until somebody waits for one of them: the records are copied along with the
//! value that is read, in the same submission, and settled. What was found wrong is the error of reading every value of that
//! evaluation, and of what came from them before it was told. Where no such kernel has run, nothing is copied.

use super::array::GpuArray;
use super::memory::ALIGNMENT;
use super::record::{Found, Lineage, Record, Registry, Shared};
use crate::error::{Error, Result};
use crate::ops::fault::Fault;
use crate::tensor::{Pending, Value};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

/// Binding of the record of an evaluation in kernels that record.
pub(super) const FAULTS_BINDING: u32 = 33;

/// Bytes of a record that are bound, and from one record to the next: what a dynamic offset has to be a multiple of.
pub(super) const BYTES: u64 = 16;
const STRIDE: u64 = ALIGNMENT;
/// Records of evaluations that nobody has waited for. When there are more, the host looks at them all.
const RECORDS: u32 = 32;

/// So many records one value depends on before evaluations begin to share them.
const LONG: usize = 8;

/// What the values of an evaluation depend on.
#[derive(Default)]
pub(crate) struct Lineages {
    records: Vec<Arc<Record>>,
    /// Per position of the graph the records, by their [`bit`]; empty where there are none.
    depends: Vec<u64>,
    /// Where in the buffer its kernels record.
    pub place: u32,
}

/// The bit of a record; those beyond share the last.
fn bit(record: usize) -> u64 {
    1 << record.min(63)
}

impl Lineages {
    /// The lineage of the value at a position of the graph.
    pub fn of(&self, position: u32) -> Lineage {
        let depends = self.depends.get(position as usize).copied().unwrap_or(0);
        if depends == 0 {
            return None;
        }
        let records = self.records.iter().enumerate().filter(|(at, _)| depends & bit(*at) != 0);
        Some(Arc::new(records.map(|(_, record)| record.clone()).collect()))
    }
}

/// The records of a device.
pub(crate) struct Faults {
    pub buffer: wgpu::Buffer,
    shared: Arc<Shared>,
}

impl Faults {
    pub fn new(device: &wgpu::Device) -> Faults {
        use wgpu::BufferUsages as U;
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("faults"),
            size: STRIDE * u64::from(RECORDS),
            usage: U::STORAGE | U::COPY_SRC | U::COPY_DST,
            mapped_at_creation: false,
        });
        let state =
            Registry { free: (0..RECORDS).rev().map(|p| (p, false)).collect(), ..Registry::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), alive: AtomicUsize::new(0) });
        Faults { buffer, shared }
    }

    /// Begins an evaluation, whose kernels at the positions `recording` of the graph can record. The caller holds the lock of
    /// the device's evaluations, and submits before it lets go of it. Where no record is free, `settle` waits for them all.
    pub fn begin(
        &self,
        queue: &wgpu::Queue,
        graph: &Pending,
        recording: &[u32],
        settle: impl FnOnce() -> Result<()>,
    ) -> Result<Lineages> {
        let mut evaluation = Lineages::default();
        if recording.is_empty() && self.shared.alive.load(Relaxed) == 0 {
            return Ok(evaluation);
        }
        let Lineages { records, depends, place } = &mut evaluation;
        depends.resize(graph.entries.len(), 0);
        for (depends, entry) in depends.iter_mut().zip(&graph.entries).filter(|(_, e)| e.ready) {
            entry.tensor.0.with_value(|value| {
                let Some(Value::Gpu(GpuArray { lineage: Some(lineage), .. })) = value else { return };
                for record in lineage.iter().filter(|s| s.matters()) {
                    let at = records.iter().position(|s| Arc::ptr_eq(s, record)).unwrap_or_else(|| {
                        records.push(record.clone());
                        records.len() - 1
                    });
                    *depends |= bit(at);
                }
            });
        }
        let mut own = 0;
        if !recording.is_empty() {
            // A loop that nobody waits for goes on with the records that it has.
            let open = match records.len() >= LONG {
                true => records.iter().position(|s| s.join()),
                false => None,
            };
            let at = match open {
                Some(at) => at,
                None => {
                    records.push(self.take(queue, settle)?);
                    records.len() - 1
                }
            };
            own = bit(at);
            *place = records[at].place * STRIDE as u32;
        }
        for (v, entry) in graph.entries.iter().enumerate().filter(|(_, e)| !e.ready) {
            depends[v] = entry.inputs.iter().fold(0, |all, &i| all | depends[i as usize]);
            if recording.binary_search(&(v as u32)).is_ok() {
                depends[v] |= own;
            }
        }
        Ok(evaluation)
    }

    /// A record of its own.
    fn take(&self, queue: &wgpu::Queue, settle: impl FnOnce() -> Result<()>) -> Result<Arc<Record>> {
        let free = self.shared.state().free.pop();
        let (place, dirty) = match free {
            Some(free) => free,
            None => {
                settle()?;
                let message = "all records of faults are in use";
                self.shared.state().free.pop().ok_or_else(|| Error::internal(message))?
            }
        };
        if dirty {
            queue.write_buffer(&self.buffer, STRIDE * u64::from(place), &[0; BYTES as usize]);
        }
        self.shared.alive.fetch_add(1, Relaxed);
        let shared = self.shared.clone();
        let record = Arc::new(Record { place, found: Mutex::new((Found::Open, 1)), shared });
        let mut state = self.shared.state();
        state.open.retain(|s| s.strong_count() > 0);
        state.open.push(Arc::downgrade(&record));
        Ok(record)
    }

    /// Whether a look at the records may find something out about a value of this lineage.
    pub fn open(lineage: &Lineage) -> bool {
        lineage.iter().flat_map(|list| list.iter()).any(|record| record.found().0 == Found::Open)
    }

    /// Whether there are records that nobody has looked at.
    pub fn unsettled(&self) -> bool {
        let (open, orphans) = {
            let state = self.shared.state();
            (state.open.iter().filter_map(Weak::upgrade).collect::<Vec<_>>(), !state.orphans.is_empty())
        };
        orphans || open.iter().any(|record| record.found().0 == Found::Open)
    }

    /// Queues the copy of all records. The caller holds the lock of the device's evaluations until it is submitted.
    pub fn look(&self, encoder: &mut wgpu::CommandEncoder, to: &wgpu::Buffer, offset: u64) -> Look {
        encoder.copy_buffer_to_buffer(&self.buffer, 0, to, offset, STRIDE * u64::from(RECORDS));
        let (open, orphans) = {
            let mut state = self.shared.state();
            let open: Vec<Arc<Record>> = state.open.iter().filter_map(Weak::upgrade).collect();
            (open, std::mem::take(&mut state.orphans))
        };
        let records = open.into_iter().filter_map(|record| {
            let (found, uses) = *record.found();
            (found == Found::Open).then_some((record, uses))
        });
        Look { records: records.collect(), orphans, shared: self.shared.clone() }
    }

    /// The error of a value of this lineage, once the records were looked at. What is `state` (of training) is told apart from
    /// other values: it is to be had again once somebody was told.
    pub fn check(lineage: &Lineage, state: bool) -> Result<()> {
        match lineage.iter().flat_map(|list| list.iter()).find_map(|record| record.tell(!state)) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    /// An error that nobody was told of, once the records were looked at.
    pub fn check_all(&self) -> Result<()> {
        let (open, untold) = {
            let mut state = self.shared.state();
            (state.open.iter().filter_map(Weak::upgrade).collect::<Vec<_>>(), state.untold.take())
        };
        match open.iter().find_map(|record| record.tell(false)).or(untold) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }
}

/// Bytes that [`Faults::look`] copies.
pub(super) const LOOK_BYTES: u64 = STRIDE * RECORDS as u64;

/// A copy of the records under way, and what it will tell about.
pub(crate) struct Look {
    records: Vec<(Arc<Record>, u64)>,
    orphans: Vec<u32>,
    shared: Arc<Shared>,
}

impl Look {
    /// Notes what the copy says.
    pub fn settle(mut self, bytes: &[u8]) -> Result<()> {
        let words = |place: u32| {
            let at = (STRIDE * u64::from(place)) as usize;
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes[at..at + BYTES as usize]);
            [words[0], words[1], words[2], words[3]]
        };
        let fault = |place: u32| match words(place) {
            [0, ..] => Ok(None),
            [_, tag, value, bound] => match Fault::from_words([tag, value, bound]) {
                Some(fault) => Ok(Some(fault)),
                None => Err(Error::internal(format!(
                    "a kernel recorded what is no fault: {tag:#x} {value} {bound}"
                ))),
            },
        };
        for (record, uses) in &self.records {
            let fault = fault(record.place)?;
            let mut found = record.found();
            // Another look may have settled it, an evaluation may have used it since.
            if found.0 == Found::Open && (fault.is_some() || found.1 == *uses) {
                found.0 = fault.map_or(Found::Nothing, |f| Found::Fault(f, false));
                drop(found);
                self.shared.state().free.push((record.place, fault.is_some()));
            }
        }
        for place in std::mem::take(&mut self.orphans) {
            let fault = fault(place)?;
            let mut state = self.shared.state();
            if let Some(fault) = fault {
                state.untold.get_or_insert(fault);
            }
            state.free.push((place, fault.is_some()));
        }
        Ok(())
    }
}

impl Drop for Look {
    /// A look that came to nothing leaves things as they were.
    fn drop(&mut self) {
        let orphans = std::mem::take(&mut self.orphans);
        if !orphans.is_empty() {
            self.shared.state().orphans.extend(orphans);
        }
    }
}
