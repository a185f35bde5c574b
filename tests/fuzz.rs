//! Damaged files: every reader is given files that were changed at random, some of them by what they mean (fields of JSON,
//! files in archives, instructions of pickles, addresses of HDF5). Each either is read or is an error that names the file:
//! no reader panics, takes more memory than `io::budget` says, or goes on for long.
//!
//! `WGRAD_FUZZ=100000 cargo test --all-features --test fuzz` changes each kind of file so many times; without it, a few hundred times.
//! `WGRAD_FUZZ_SEED` begins elsewhere. A failure names seed and number of the case, and leaves the file.

#[path = "fuzz/bombs.rs"]
mod bombs;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/readers.rs"]
mod readers;
#[path = "fuzz/structure.rs"]
mod structure;

use mutate::Random;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use wgrad::prelude::*;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// What a case may take beside the budget: models, plans and threads of the process.
const SLACK: u64 = 48 << 20;
/// What the slowest case may take: tests are compiled with little optimisation, and share cores.
const SLOWEST: Duration = Duration::from_secs(20);

/// As src/io/budget.rs has it.
fn budget(size: usize) -> u64 {
    16 * size as u64 + (256 << 20)
}

/// Memory is counted for the whole process: one test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Changes each of the files in turn, `count` times together, and reads each.
fn fuzz(
    name: &str,
    count: u64,
    corpus: &[Vec<u8>],
    change: impl Fn(&mut Random, &[u8]) -> Vec<u8>,
    read: impl Fn(&Path) -> Result<()>,
) {
    let count = number("WGRAD_FUZZ", count);
    let seed = number("WGRAD_FUZZ_SEED", 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let start = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    // What is made on the first time only is not the file's.
    for file in corpus {
        std::fs::write(&path, file).unwrap();
        if let Err(e) = read(&path) {
            let _ = std::panic::take_hook();
            panic!("{name}: an undamaged file isn't read: {e}");
        }
    }
    let (mut fine, mut highest, mut slowest) = (0, 0, Duration::ZERO);
    for case in 0..count {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(case));
        let whole = &corpus[random.below(corpus.len())];
        let content = change(&mut random, whole);
        std::fs::write(&path, &content).unwrap();
        let guard = Watchdog::start(format!("{name}, WGRAD_FUZZ_SEED={seed}, case {case}"));
        let before = memory::reset_peak();
        let began = Instant::now();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| read(&path)));
        let took = began.elapsed();
        let peak = memory::peak().saturating_sub(before);
        drop(guard);
        (highest, slowest) = (highest.max(peak), slowest.max(took));
        let limit = budget(content.len()) + SLACK;
        let wrong = match result {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                Some(format!("panics: {}", text.unwrap_or_default()))
            }
            Ok(_) if peak > limit => Some(format!("takes {peak} bytes of memory; {limit} are allowed")),
            Ok(_) if took > SLOWEST => Some(format!("takes {took:?}")),
            Ok(Err(e)) if !e.to_string().contains(name) => {
                Some(format!("has an error without its name: {e}"))
            }
            Ok(result) => {
                fine += u64::from(result.is_ok());
                None
            }
        };
        if let Some(wrong) = wrong {
            let kept = std::env::temp_dir().join(format!("wgrad-fuzz-{seed}-{case}-{name}"));
            std::fs::write(&kept, &content).unwrap();
            let _ = std::panic::take_hook();
            panic!("{name}, WGRAD_FUZZ_SEED={seed}, case {case}: {wrong}; see {}", kept.display());
        }
    }
    let _ = std::panic::take_hook();
    println!(
        "{name}: {count} changed files, of which {fine} are read all the same; at most {} MiB of memory and {slowest:?}; {:?}",
        highest >> 20,
        start.elapsed()
    );
}

/// Ends the process where a case doesn't end by itself: a test that hangs says nothing.
struct Watchdog {
    _done: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    fn start(case: String) -> Watchdog {
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if wait.recv_timeout(5 * SLOWEST) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{case}: goes on for more than {:?}", 5 * SLOWEST);
                std::process::exit(1);
            }
        });
        Watchdog { _done: done }
    }
}
