//! The threads that share work.
//!
//! wgrad computes on threads of its own. While one of rayon's threads waits for what others have taken over, it does whatever else there is
//! to do. Were it a thread of a caller's, that might be another computation of the caller's, which waits in turn for the one that is
//! under way: both would wait for ever. wgrad's threads have nothing to do but parts of kernels, which wait for nobody else.

use rayon::ThreadPool;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

/// Threads by their number.
static POOLS: Mutex<Vec<(usize, Arc<ThreadPool>)>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is one of wgrad's.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// As many threads as that; none where the system has none left.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pool)) = pools.iter().find(|p| p.0 == threads) {
        return Some(pool.clone());
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("wgrad {i}"))
        .start_handler(|_| OWN.set(true))
        .build();
    let pool = Arc::new(pool.ok()?);
    pools.push((threads, pool.clone()));
    Some(pool)
}

/// Has `work` done by wgrad's threads, as many as rayon has where this is called: what it shares by rayon, these share. Waits for it, and
/// does nothing else in the meantime.
pub(crate) fn on_threads(work: &mut (dyn FnMut() + Send)) {
    if OWN.get() {
        return work();
    }
    let Some(pool) = pool(rayon::current_num_threads()) else { return work() };
    // A thread that is none of rayon's sleeps while it waits.
    if rayon::current_thread_index().is_none() {
        return pool.install(work);
    }
    // One of a caller's pool would look for other work. Another one waits in its place.
    let waited = std::thread::scope(|scope| {
        let waiting = std::thread::Builder::new().spawn_scoped(scope, || pool.install(&mut *work));
        waiting.ok().map(|waiting| waiting.join())
    });
    match waited {
        Some(Ok(())) => {}
        Some(Err(panic)) => resume_unwind(panic),
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Names of the threads that share something.
    fn names() -> BTreeSet<String> {
        let names = Mutex::new(BTreeSet::new());
        on_threads(&mut || {
            rayon::broadcast(|_| {
                let name = std::thread::current().name().unwrap_or_default().to_string();
                names.lock().unwrap().insert(name);
            });
        });
        names.into_inner().unwrap()
    }

    #[test]
    fn work_is_done_by_as_many_threads_of_its_own_as_the_caller_has() {
        let own = |n: usize| (0..n).map(|i| format!("wgrad {i}")).collect::<BTreeSet<_>>();
        for threads in [1, 3] {
            let callers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(callers.install(names), own(threads));
        }
        assert_eq!(names(), own(rayon::current_num_threads()));
        // From one of them: no others.
        let mut inner = BTreeSet::new();
        on_threads(&mut || inner = names());
        assert_eq!(inner, own(rayon::current_num_threads()));
    }

    #[test]
    fn a_panic_is_the_callers() {
        for threads in [None, Some(2)] {
            let panics = || {
                let caught = std::panic::catch_unwind(|| on_threads(&mut || panic!("of a part")));
                *caught.unwrap_err().downcast::<&str>().unwrap()
            };
            let said = match threads {
                None => panics(),
                Some(n) => rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(panics),
            };
            assert_eq!(said, "of a part");
        }
    }
}
