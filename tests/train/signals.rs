//! Real signals to real processes: this program once more, running one test that is the child.

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wgrad::data::Dataset;
use wgrad::prelude::*;
use wgrad::train::{Event, Flow, History};

/// The folder in which a child works; set in children only.
const FOLDER: &str = "WGRAD_TEST_SIGNAL_FOLDER";
/// What the child does with SIGINT first: `ignore` or `default`.
const SIGINT: &str = "WGRAD_TEST_SIGINT";
/// Has the child go on for a minute when its run is over.
const LINGER: &str = "WGRAD_TEST_LINGER";
/// Milliseconds that each step takes.
const STEP: &str = "WGRAD_TEST_STEP_MS";

fn set() -> Result<Dataset> {
    Ok(data::synthetic::digits(60, 1, 5).into_datasets()?.0)
}

fn epochs(device: Device, epochs: usize) -> Result<(Trainer<Model>, Fit<'static>)> {
    let model = Sequential::new().add(Flatten::new()).add(Dense::new(10)).build([28, 28, 1], device)?;
    let trainer =
        Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
    Ok((trainer, Fit::epochs(epochs).batch_size(20).accumulate(2).verbose(false)))
}

/// No test in a process that has no folder; in a child, a training that a signal ends.
#[test]
fn child() -> Result<()> {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return Ok(()) };
    let handler = match std::env::var(SIGINT).as_deref() {
        Ok("ignore") => SigHandler::SigIgn,
        _ => SigHandler::SigDfl,
    };
    // SAFETY: neither is a function.
    unsafe { signal(Signal::SIGINT, handler) }.map_err(|e| Error::argument("signal", e.to_string()))?;
    let pause = std::env::var(STEP).ok().and_then(|ms| ms.parse().ok()).unwrap_or(10);
    let (mut trainer, fit) = epochs(Device::Cpu, 4000)?;
    let started = folder.join("started");
    let fit = fit.stop_on_ctrl_c().callback(|event| {
        if let Event::Step(step) = event {
            if (step.epoch, step.step) == (2, 1) {
                std::fs::write(&started, "").map_err(|e| Error::io(&started, e))?;
            }
            if step.epoch > 1 {
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
        Ok(Flow::Continue)
    });
    trainer.fit(&set()?, fit)?;
    assert!(trainer.interrupted());
    trainer.save_checkpoint(folder.join("run.safetensors"))?;
    // Outside of fit a signal does what it always did.
    if std::env::var_os(LINGER).is_some() {
        std::fs::write(folder.join("over"), "").map_err(|e| Error::io(&folder, e))?;
        std::thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}

struct Running {
    child: Child,
    folder: tempfile::TempDir,
}

impl Running {
    fn begin(settings: &[(&str, &str)]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::child", "--nocapture"])
            .env(FOLDER, folder.path())
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running { child, folder };
        running.wait_for("started");
        running
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wait_for(&self, file: &str) {
        let begin = Instant::now();
        while !self.path(file).exists() {
            assert!(begin.elapsed() < Duration::from_secs(120), "{file} did not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How it ended; it must do so within a minute.
    fn end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That the checkpoint goes on as the run would have gone that nobody ended.
fn check_resumes(path: &Path) -> Result<()> {
    let (mut resumed, fit) = epochs(Device::Cpu, 0)?;
    resumed.resume(path)?;
    let done = resumed.history().epochs.len();
    drop(fit);
    let (_, fit) = epochs(Device::Cpu, done + 2)?;
    let resumed_history = resumed.fit(&set()?, fit)?;
    let (mut whole, fit) = epochs(Device::Cpu, done + 2)?;
    let history = whole.fit(&set()?, fit)?;
    let losses = |h: &History| h.epochs.iter().map(|e| e.train.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&resumed_history), losses(&history));
    for (p, q) in resumed.model().parameters().iter().zip(whole.model().parameters()) {
        assert_eq!(p.variable.value().to_vec::<f32>()?, q.variable.value().to_vec::<f32>()?);
    }
    Ok(())
}

#[test]
fn a_signal_ends_a_run_with_all_that_it_has() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut run = Running::begin(&[]);
        run.send(signal);
        assert!(run.end().success(), "{signal}");
        check_resumes(&run.path("run.safetensors"))?;
    }
    Ok(())
}

#[test]
fn where_ctrl_c_was_ignored_fit_failed() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut run = Running::begin(&[(SIGINT, "ignore"), (LINGER, "1")]);
        run.send(signal);
        run.wait_for("over");
        check_resumes(&run.path("run.safetensors"))?;
        // After the run it is ignored again.
        run.send(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(100));
        assert!(run.child.try_wait().unwrap().is_none(), "SIGINT was ignored before the run");
    }
    Ok(())
}

#[test]
fn a_second_signal_does_not_wait_for_the_step() {
    use std::os::unix::process::ExitStatusExt;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut run = Running::begin(&[(STEP, "600000")]);
        run.send(signal);
        std::thread::sleep(Duration::from_millis(100));
        assert!(run.child.try_wait().unwrap().is_none(), "the first one waits for the step");
        run.send(signal);
        assert_eq!(run.end().code(), Some(code));
    }
    // After the run, signals do what they did before it.
    let mut run = Running::begin(&[(LINGER, "1")]);
    run.send(Signal::SIGINT);
    run.wait_for("over");
    run.send(Signal::SIGTERM);
    assert_eq!(run.end().signal(), Some(Signal::SIGTERM as i32));
    assert!(run.path("run.safetensors").exists());
}
