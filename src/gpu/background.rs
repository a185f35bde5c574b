//! Kernels that are compiled while nobody waits: better ones for plans that run often.
//!
//! There is one thread for all devices, and only while it has something to do. It compiles kernel by kernel, so that it takes one
//! core from whoever computes. What fails is logged, and those who asked go on with what they have.
//!
//! **At the process's end** the driver's and its compiler's own ends must not meet a compilation: what was registered with `atexit`
//! last runs first, and waits for the kernel under way, a second at most as a rule.

use super::context::Gpu;
use super::pipeline::Pipelines;
use super::source::KernelSource;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// How long the process's end waits for a kernel that is being compiled.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How far kernels are that were asked for together.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

const READY: u8 = 1;
const FAILED: u8 = 2;

impl Progress {
    /// Whether all are compiled; `None` where they are still to be.
    pub fn outcome(&self) -> Option<bool> {
        match self.0.load(Relaxed) {
            READY => Some(true),
            FAILED => Some(false),
            _ => None,
        }
    }
}

struct Job {
    gpu: Arc<Gpu>,
    pipelines: Arc<Pipelines>,
    sources: Vec<KernelSource>,
    progress: Progress,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    /// There is a thread that takes the next job.
    running: bool,
    /// The process ends.
    over: bool,
}

static WORK: Mutex<Work> = Mutex::new(Work { jobs: VecDeque::new(), running: false, over: false });
/// The thread has ended.
static ENDED: Condvar = Condvar::new();

fn work() -> MutexGuard<'static, Work> {
    WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles these kernels, some time.
pub(super) fn compile(gpu: &Arc<Gpu>, pipelines: &Arc<Pipelines>, sources: Vec<KernelSource>) -> Progress {
    let progress = Progress::default();
    wait_at_exit();
    let mut work = work();
    work.jobs.push_back(Job {
        gpu: gpu.clone(),
        pipelines: pipelines.clone(),
        sources,
        progress: progress.clone(),
    });
    if !work.running {
        let spawned = std::thread::Builder::new().name("wgrad kernels".into()).spawn(run);
        work.running = spawned.is_ok();
        if let Err(e) = spawned {
            log::warn!(target: "wgrad", "no thread to compile kernels in the background: {e}");
            work.jobs.drain(..).for_each(|job| job.progress.0.store(FAILED, Relaxed));
        }
    }
    progress
}

/// The thread: job after job, until there is none.
fn run() {
    /// Also where a driver's call panics.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            work().running = false;
            ENDED.notify_all();
        }
    }
    let ended = Ended;
    loop {
        let mut open = work();
        let next = if open.over { None } else { open.jobs.pop_front() };
        let Some(job) = next else {
            // In one go with the look for jobs: one that comes later finds no thread, and starts one.
            open.running = false;
            drop(open);
            std::mem::forget(ended);
            ENDED.notify_all();
            return;
        };
        drop(open);
        job.progress.0.store(if job.compile() { READY } else { FAILED }, Relaxed);
    }
}

impl Job {
    /// Compiles all kernels, if none fails before.
    fn compile(&self) -> bool {
        for source in &self.sources {
            if work().over {
                return false;
            }
            if let Err(message) = self.pipelines.prepare(&self.gpu, source) {
                log::warn!(target: "wgrad", "{}: in the background: {message}", self.gpu.name);
                return false;
            }
        }
        self.pipelines.save();
        log::debug!(target: "wgrad", "{}: {} kernels compiled in the background", self.gpu.name, self.sources.len());
        true
    }
}

/// Has the process's end wait for the thread.
fn wait_at_exit() {
    unsafe extern "C" {
        /// Of the C library, which every program has that a driver is loaded into.
        fn atexit(function: extern "C" fn()) -> std::ffi::c_int;
    }
    extern "C" fn wait() {
        let mut work = work();
        work.over = true;
        let running = |work: &mut Work| work.running;
        let _ = ENDED.wait_timeout_while(work, LONGEST_WAIT, running);
    }
    static REGISTERED: Once = Once::new();
    // SAFETY: the function has the type that is asked for, takes nothing, and does not unwind: it locks and waits.
    REGISTERED.call_once(|| {
        let _ = unsafe { atexit(wait) };
    });
}
