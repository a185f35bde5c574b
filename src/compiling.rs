//! Compiling takes seconds where a driver has many kernels to compile: the program's log is told, and who observes the thread,
//! such as a trainer for its progress bar.

use crate::error::Result;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After so long a notice is due: of what takes less, nobody wonders what it is.
pub(crate) const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// The target of the crate's lines in the program's log.
const TARGET: &str = "wgrad";

/// What an observer is told of kernels that are compiled together; never two things at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiling {
    /// So many of them are done, at first none.
    UnderWay { done: usize, kernels: usize },
    /// So many were compiled: all, or none where one failed.
    Over { kernels: usize, elapsed: Duration },
}

type Observer = Arc<dyn Fn(Compiling) + Send + Sync>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// While this is held, an observer is told of what evaluations by this thread compile.
pub(crate) struct Observing {
    before: Option<Observer>,
    /// It is of one thread.
    _thread: PhantomData<*const ()>,
}

/// Has an observer told of what evaluations by this thread compile, in place of one that was told before. It is called by the
/// threads that compile, and must not evaluate anything: the device is busy.
pub(crate) fn observe(observer: impl Fn(Compiling) + Send + Sync + 'static) -> Observing {
    let observer: Observer = Arc::new(observer);
    Observing { before: OBSERVER.replace(Some(observer)), _thread: PhantomData }
}

impl Drop for Observing {
    fn drop(&mut self) {
        // A thread that ends has nothing more to tell.
        let _ = OBSERVER.try_with(|current| current.replace(self.before.take()));
    }
}

/// Does the work of compiling so many kernels on an adapter, which calls what it is given whenever one is done. Tells this thread's
/// observer, and the log where it takes longer than `notice_after`.
pub(crate) fn watched<T>(
    adapter: &str,
    kernels: usize,
    notice_after: Duration,
    work: impl FnOnce(&(dyn Fn() + Sync)) -> Result<T>,
) -> Result<T> {
    let observer = OBSERVER.try_with(|current| current.borrow().clone()).ok().flatten();
    let tell = |what| {
        if let Some(observer) = &observer {
            observer(what);
        }
    };
    let what = format!("{} on {adapter}", count(kernels));
    let start = Instant::now();
    tell(Compiling::UnderWay { done: 0, kernels });
    let done = Mutex::new(0);
    let one_done = || {
        // Held while the observer is told, so that numbers come in their order.
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        tell(Compiling::UnderWay { done: *done, kernels });
    };
    let (result, noticed) = with_notice(&what, notice_after, || work(&one_done));
    let elapsed = start.elapsed();
    if noticed {
        let seconds = elapsed.as_secs_f64();
        match &result {
            Ok(_) => log::info!(target: TARGET, "compiled {what} in {seconds:.1} s"),
            Err(_) => log::info!(target: TARGET, "compiling {what} failed after {seconds:.1} s"),
        }
    }
    tell(Compiling::Over { kernels: if result.is_ok() { kernels } else { 0 }, elapsed });
    result
}

/// `38 kernels`
pub(crate) fn count(kernels: usize) -> String {
    format!("{kernels} kernel{}", if kernels == 1 { "" } else { "s" })
}

/// Does the work; if it isn't over after so long, the log says that it is under way. Whether it did.
fn with_notice<T>(what: &str, after: Duration, work: impl FnOnce() -> T) -> (T, bool) {
    if !log::log_enabled!(target: TARGET, log::Level::Info) {
        return (work(), false);
    }
    std::thread::scope(|scope| {
        let (under_way, over) = mpsc::channel::<()>();
        let notice = move || {
            let late = over.recv_timeout(after) == Err(RecvTimeoutError::Timeout);
            if late {
                log::info!(target: TARGET, "compiling {what}");
            }
            late
        };
        // Where there is no thread to be had there is no notice.
        let waiting = std::thread::Builder::new().name("wgrad-notice".into()).spawn_scoped(scope, notice);
        let result = work();
        drop(under_way);
        let noticed = waiting.is_ok_and(|thread| thread.join().unwrap_or(false));
        (result, noticed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// Keeps the lines of the crate.
    struct Lines(Mutex<Vec<String>>);

    static LINES: Lines = Lines(Mutex::new(Vec::new()));

    impl log::Log for Lines {
        fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
            metadata.target() == "wgrad"
        }
        fn log(&self, record: &log::Record<'_>) {
            if self.enabled(record.metadata()) {
                self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
            }
        }
        fn flush(&self) {}
    }

    /// What the log was told of an adapter.
    fn lines(adapter: &str) -> Vec<String> {
        LINES.0.lock().unwrap().iter().filter(|line| line.contains(adapter)).cloned().collect()
    }

    fn wait_for_a_line(adapter: &str) {
        while lines(adapter).is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_log_is_told_of_long_compilations_only() {
        let _ = log::set_logger(&LINES);
        log::set_max_level(log::LevelFilter::Info);
        let late = Duration::ZERO;
        let slow = |_: &(dyn Fn() + Sync)| {
            wait_for_a_line("slow card");
            Ok(())
        };
        watched("slow card", 38, late, slow).unwrap();
        let told = lines("slow card");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "INFO compiling 38 kernels on slow card");
        assert!(told[1].starts_with("INFO compiled 38 kernels on slow card in "), "{told:?}");
        assert!(told[1].ends_with(" s"), "{told:?}");

        let fails = |_: &(dyn Fn() + Sync)| -> Result<()> {
            wait_for_a_line("broken card");
            Err(Error::internal("a test"))
        };
        assert!(watched("broken card", 1, late, fails).is_err());
        let told = lines("broken card");
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], "INFO compiling 1 kernel on broken card");
        assert!(told[1].starts_with("INFO compiling 1 kernel on broken card failed after "), "{told:?}");

        watched("fast card", 38, Duration::MAX, |_| Ok(())).unwrap();
        assert!(lines("fast card").is_empty());
    }

    #[test]
    fn an_observer_is_told_of_its_thread() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let observer = |told: &Arc<Mutex<Vec<Compiling>>>| {
            let told = told.clone();
            observe(move |what| told.lock().unwrap().push(what))
        };
        let compile = |kernels: usize| {
            watched("card", kernels, Duration::MAX, |one_done| {
                std::thread::scope(|scope| {
                    for _ in 0..kernels {
                        scope.spawn(one_done);
                    }
                });
                Ok(())
            })
        };
        compile(1).unwrap();
        let observing = observer(&told);
        compile(3).unwrap();
        std::thread::scope(|scope| scope.spawn(|| compile(5)).join()).unwrap().unwrap();
        let inner = Arc::new(Mutex::new(Vec::new()));
        drop((observer(&inner), compile(7).unwrap()).0);
        assert!(watched("card", 2, Duration::MAX, |_| Err::<(), _>(Error::internal("a test"))).is_err());
        drop(observing);
        compile(1).unwrap();

        let under_way = |kernels| (0..=kernels).map(move |done| Compiling::UnderWay { done, kernels });
        let numbers = |told: &Arc<Mutex<Vec<Compiling>>>| -> Vec<Compiling> {
            let without_time = |what: &Compiling| match *what {
                Compiling::Over { kernels, .. } => Compiling::Over { kernels, elapsed: Duration::ZERO },
                other => other,
            };
            told.lock().unwrap().iter().map(without_time).collect()
        };
        let over = |kernels| Compiling::Over { kernels, elapsed: Duration::ZERO };
        let mut expected: Vec<Compiling> = under_way(3).chain([over(3)]).collect();
        expected.extend([Compiling::UnderWay { done: 0, kernels: 2 }, over(0)]);
        assert_eq!(numbers(&told), expected);
        assert_eq!(numbers(&inner), under_way(7).chain([over(7)]).collect::<Vec<_>>());
    }
}
