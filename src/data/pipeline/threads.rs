//! Stages with threads of their own. They don't use rayon's: a closure of the user's that computes with tensors takes the
//! device's lock, and a thread of rayon that waits for it would be missing to the computation that holds it.

use super::items::{Items, guard};
use crate::data::sample::settle;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

fn no_thread(stage: &str, error: std::io::Error) -> Error {
    Error::argument(format!("Pipeline::{stage}"), format!("can't start a thread: {error}"))
}

/// Waits for a thread that has been told to end. Its panics were caught inside.
fn join(thread: &mut Option<JoinHandle<()>>) {
    if let Some(thread) = thread.take() {
        let _ = thread.join();
    }
}

/// What a channel may take for elements to come (not counting what they point to).
const MOST_BYTES_AHEAD: usize = 64 << 20;

/// Elements made ahead.
pub(super) struct Prefetch<T> {
    state: State<T>,
    thread: Option<JoinHandle<()>>,
}

enum State<T> {
    Running(Receiver<Result<T>>),
    Failed(Error),
    Done,
}

impl<T: Send + 'static> Prefetch<T> {
    pub fn new(mut items: Items<T>, ahead: usize) -> Self {
        // One element is in the making and waits to be sent: the channel holds the others, and has its memory from the start.
        let room = (MOST_BYTES_AHEAD / size_of::<Result<T>>().max(1)).max(1);
        let (sender, receiver): (SyncSender<Result<T>>, _) = sync_channel(ahead.clamp(1, room) - 1);
        let work = move || {
            loop {
                let item = guard("prefetch", || Ok(items.next()));
                let panicked = item.is_err();
                let item = match item.transpose() {
                    None => break,
                    Some(item) => item.flatten().and_then(|x| settle(&x).map(|()| x)),
                };
                // Whoever took the elements is gone: so is the reason to make more.
                if sender.send(item).is_err() || panicked {
                    break;
                }
            }
        };
        match Builder::new().name("wgrad-prefetch".into()).spawn(work) {
            Ok(thread) => Prefetch { state: State::Running(receiver), thread: Some(thread) },
            Err(error) => Prefetch { state: State::Failed(no_thread("prefetch", error)), thread: None },
        }
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Running(receiver) => {
                let item = receiver.recv().ok()?;
                self.state = State::Running(receiver);
                Some(item)
            }
            State::Failed(error) => Some(Err(error)),
            State::Done => None,
        }
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and a send that waits fails at once.
        self.state = State::Done;
        join(&mut self.thread);
    }
}

pub(super) type Work<T, U> = Arc<dyn Fn(T) -> Result<U> + Send + Sync>;

/// Elements that each worker may be behind with.
const QUEUE: usize = 4;

/// A map on several threads: elements go to the workers in turn, and results are taken in the same turn, which keeps the
/// order. A worker begins when there is an element for it.
pub(super) struct Parallel<T, U> {
    items: Items<T>,
    work: Work<T, U>,
    workers: Vec<Worker<T, U>>,
    /// How many workers there may be.
    threads: usize,
    /// What comes out next.
    order: VecDeque<Slot>,
    given: usize,
    exhausted: bool,
}

struct Worker<T, U> {
    input: Option<Sender<T>>,
    output: Option<Receiver<Result<U>>>,
    thread: Option<JoinHandle<()>>,
}

enum Slot {
    Worker(usize),
    Failed(Error),
}

impl<T: Send + 'static, U: Send + 'static> Parallel<T, U> {
    pub fn new(items: Items<T>, threads: usize, work: Work<T, U>) -> Self {
        let (workers, order) = (Vec::new(), VecDeque::new());
        Parallel { items, work, workers, threads: threads.max(1), order, given: 0, exhausted: false }
    }

    fn worker(&self) -> std::io::Result<Worker<T, U>> {
        let (input, jobs) = channel::<T>();
        let (results, output) = channel();
        let work = self.work.clone();
        let run = move || {
            for job in jobs {
                let result = work(job).and_then(|y| settle(&y).map(|()| y));
                if results.send(result).is_err() {
                    break;
                }
            }
        };
        let thread = Some(Builder::new().name("wgrad-map".into()).spawn(run)?);
        Ok(Worker { input: Some(input), output: Some(output), thread })
    }

    /// The worker whose turn it is.
    fn turn(&mut self) -> Result<usize> {
        let mut at = self.given % self.threads;
        if at >= self.workers.len() {
            match self.worker() {
                Ok(worker) => self.workers.push(worker),
                Err(error) if self.workers.is_empty() => return Err(no_thread("par_map", error)),
                // The system has no more threads: those there are do the work.
                Err(_) => {
                    self.threads = self.workers.len();
                    at = self.given % self.threads;
                }
            }
        }
        self.given += 1;
        Ok(at)
    }

    fn give(&mut self) {
        while !self.exhausted && self.order.len() < QUEUE * self.threads {
            let slot = match self.items.next() {
                None => {
                    self.exhausted = true;
                    break;
                }
                Some(Err(error)) => Slot::Failed(error),
                Some(Ok(item)) => match self.turn() {
                    Ok(at) => match self.workers[at].input.as_ref().map(|input| input.send(item)) {
                        Some(Ok(())) => Slot::Worker(at),
                        _ => Slot::Failed(worker_ended()),
                    },
                    Err(error) => {
                        self.exhausted = true;
                        Slot::Failed(error)
                    }
                },
            };
            self.order.push_back(slot);
        }
    }
}

fn worker_ended() -> Error {
    Error::argument("Pipeline::par_map", "a thread has ended before its work was done")
}

impl<T: Send + 'static, U: Send + 'static> Iterator for Parallel<T, U> {
    type Item = Result<U>;

    fn next(&mut self) -> Option<Result<U>> {
        self.give();
        Some(match self.order.pop_front()? {
            Slot::Failed(error) => Err(error),
            Slot::Worker(at) => {
                let result = self.workers[at].output.as_ref().and_then(|output| output.recv().ok());
                result.unwrap_or_else(|| Err(worker_ended()))
            }
        })
    }
}

impl<T, U> Drop for Parallel<T, U> {
    fn drop(&mut self) {
        // Outputs first: a worker that has jobs left then ends with the one it is at.
        for worker in &mut self.workers {
            worker.output = None;
            worker.input = None;
        }
        for worker in &mut self.workers {
            join(&mut worker.thread);
        }
    }
}
