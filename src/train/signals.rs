//! Signals that end a run: Ctrl-C, and SIGTERM where there is such.
//!
//! The first has the run end after its step; a second one ends the program, as nobody waits twice.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether a signal has come while there was a run.
static WANTED: AtomicBool = AtomicBool::new(false);

static RUNS: Mutex<Runs> = Mutex::new(Runs { count: 0, handlers: system::NONE });

/// The runs that listen.
struct Runs {
    count: usize,
    handlers: system::Handlers,
}

fn runs() -> MutexGuard<'static, Runs> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While there is one, signals are heard rather than fatal.
pub(super) struct Listening(());

impl Listening {
    pub fn begin() -> Result<Listening> {
        let mut runs = runs();
        if runs.count == 0 {
            WANTED.store(false, Ordering::SeqCst);
            system::install(&mut runs.handlers)?;
        }
        runs.count += 1;
        Ok(Listening(()))
    }

    /// Whether somebody wants all runs to end.
    pub fn wanted(&self) -> bool {
        WANTED.load(Ordering::SeqCst)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut runs = runs();
        runs.count -= 1;
        if runs.count == 0 {
            system::remove(&mut runs.handlers);
        }
    }
}

fn has_handler() -> Error {
    let message =
        "the program has a handler of Ctrl-C already; let that set a flag, and give it to Fit::interrupt";
    Error::argument("Fit::stop_on_ctrl_c", message)
}

fn not_installed(error: impl std::fmt::Display) -> Error {
    let message = format!(
        "the handler can't be installed ({error}); set a flag of your own and give it to Fit::interrupt"
    );
    Error::argument("Fit::stop_on_ctrl_c", message)
}

#[cfg(unix)]
mod system {
    use super::{Ordering, Result, WANTED, has_handler, not_installed};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    /// What there was before, of each signal that is heard.
    pub type Handlers = Vec<(Signal, SigAction)>;
    pub const NONE: Handlers = Vec::new();

    extern "C" fn on_signal(signal: nix::libc::c_int) {
        if WANTED.swap(true, Ordering::SeqCst) {
            // SAFETY: one of the calls that a handler may make. 128 and the signal's number, as shells have it.
            unsafe { nix::libc::_exit(128 + signal) }
        }
    }

    pub fn install(before: &mut Handlers) -> Result<()> {
        let ours = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: the handler touches an atomic and makes no call but _exit, which is all that one may do.
            let old = unsafe { sigaction(signal, &ours) }.map_err(not_installed)?;
            match old.handler() {
                // Scripts have what they start in the background ignore SIGINT. Who sends one to a program that listens means it.
                SigHandler::SigDfl | SigHandler::SigIgn => before.push((signal, old)),
                _ => {
                    // The program's own: not ours to change.
                    put_back(signal, &old);
                    if signal == Signal::SIGINT {
                        return Err(has_handler());
                    }
                }
            }
        }
        Ok(())
    }

    pub fn remove(before: &mut Handlers) {
        for (signal, old) in before.drain(..) {
            put_back(signal, &old);
        }
    }

    fn put_back(signal: Signal, old: &SigAction) {
        // SAFETY: what was there before. It was taken then, and can't fail now.
        let _ = unsafe { sigaction(signal, old) };
    }
}

#[cfg(not(unix))]
mod system {
    use super::{Ordering, Result, WANTED, has_handler, not_installed, runs};

    /// Whether there is one: it stays, as it can't be taken back.
    pub type Handlers = bool;
    pub const NONE: Handlers = false;

    pub fn install(installed: &mut Handlers) -> Result<()> {
        if *installed {
            return Ok(());
        }
        // Called on a thread of its own, which may take locks.
        let handler = || {
            if runs().count == 0 || WANTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        };
        ctrlc::try_set_handler(handler).map_err(|error| match error {
            ctrlc::Error::MultipleHandlers => has_handler(),
            other => not_installed(other),
        })?;
        *installed = true;
        Ok(())
    }

    pub fn remove(_: &mut Handlers) {}
}
