//! The checks: cases on so many ranks, and what their ranks must say.

use super::{CASE, synchronized};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Has so many ranks play a case.
fn start(ranks: usize, case: &str) -> Output {
    let mut command = Command::new("mpirun");
    command
        .args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()])
        .arg(std::env::current_exe().unwrap())
        // In a container root is who runs this, and processes may not read each other's memory.
        .envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")])
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env(CASE, case);
    command.output().unwrap_or_else(|error| panic!("mpirun can't be started ({error}); install openmpi-bin"))
}

/// What each rank has said, in their order.
fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().filter(|l| l.starts_with("rank ")).map(String::from).collect();
    lines.sort();
    lines
}

/// The words that all ranks say, after their number.
pub fn all_say(ranks: usize, case: &str) -> String {
    let output = start(ranks, case);
    let lines = said(&output);
    let words: Vec<&str> = lines.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.len() == ranks, "{case} on {ranks} ranks: {lines:?}\n{errors}");
    assert!(words.iter().all(|w| *w == words[0]), "{case} on {ranks} ranks: {lines:?}");
    words[0].to_string()
}

/// The same of a process without MPI.
pub fn alone_says(case: &str) -> String {
    let case = format!("{case} world=alone");
    let output = Command::new(std::env::current_exe().unwrap()).env(CASE, &case).output().unwrap();
    let lines = said(&output);
    assert!(output.status.success(), "{case}: {lines:?}\n{}", String::from_utf8_lossy(&output.stderr));
    lines[0].split_once(": ").unwrap().1.to_string()
}

/// That all ranks get an error with these words.
pub fn all_fail(ranks: usize, case: &str, words: &[&str]) {
    let output = start(ranks, case);
    let lines = said(&output);
    assert!(!output.status.success(), "{case}: {lines:?}");
    assert_eq!(lines.len(), ranks, "{case}: {lines:?}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in &lines {
        assert!(line.contains(": error: "), "{case}: {lines:?}");
        for word in words {
            assert!(line.contains(word), "{case}: no {word:?} in {line}");
        }
    }
}

pub fn run() {
    let checks: [(&str, fn()); 11] = [
        ("any number of ranks leaves the same bits", same_bits),
        ("rows that a loss ignores are counted over all ranks", ignored_rows),
        ("two ranks on the GPU leave the bits of one process", on_the_gpu),
        ("a synchronised BatchNorm is that of one process with the whole batch", synchronized::one_batch),
        ("a synchronised BatchNorm on the GPU is that of one process", synchronized::on_the_gpu),
        ("a synchronised BatchNorm fails on all ranks", synchronized::errors),
        ("gradients of one's own loop and step are means over all ranks", own_loop),
        ("set-ups that differ are errors on all ranks", set_ups),
        ("an error of one rank is one of all, and so is an interruption", failing),
        ("a rank that dies ends the run, and the last checkpoint is whole", dying),
        ("a run is resumed on another number of ranks", resumed),
    ];
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, check) in checks.iter().filter(|(name, _)| name.contains(&wanted)) {
        let began = Instant::now();
        check();
        println!("{name}: ok ({:.1} s)", began.elapsed().as_secs_f64());
    }
}

fn same_bits() {
    // 50 samples in batches of 16: the last has 2, fewer than shards. With 300 units ranks that are a power of two add parts.
    for case in ["train shards=4", "train shards=4 units=300", "train shards=6 epochs=1 patience=1"] {
        let expected = alone_says(case);
        assert!(!expected.contains("NaN"), "{expected}");
        for ranks in [1, 2, 3, 4] {
            assert_eq!(all_say(ranks, case), expected, "{case} on {ranks} ranks");
        }
    }
    assert_ne!(alone_says("train shards=4"), alone_says("train shards=2"));
    assert_eq!(all_say(3, "frozen"), alone_says("frozen"));
}

fn ignored_rows() {
    let case = "train shards=4 ignore=7 epochs=1";
    let expected = alone_says(case);
    assert_eq!(all_say(4, case), expected);
    assert_ne!(expected, alone_says("train shards=4 epochs=1"));
}

fn on_the_gpu() {
    let case = "train shards=2 device=gpu epochs=1 samples=34";
    assert_eq!(all_say(2, case), alone_says(case));
}

fn own_loop() {
    for ranks in [1, 2, 3, 4] {
        assert_eq!(all_say(ranks, "own_loop"), "fine");
    }
    // With a shard for each rank, which round differently.
    let expected = alone_says("train own_step=1");
    for ranks in [2, 3, 4] {
        assert_eq!(all_say(ranks, "train own_step=1"), expected);
    }
}

fn set_ups() {
    let cases: [(&str, &[&str]); 7] = [
        ("train other_model=2", &["rank 2", "parameters", "dense_1.weight [16, 11]", "[16, 10]"]),
        ("train other_weights=1", &["rank 1", "values of the parameters"]),
        ("train other_data=2", &["rank 2", "values of the first batch"]),
        ("train other_count=1", &["rank 1", "training data", "49", "50"]),
        ("train small_batch=2", &["a batch of 2 samples can't be cut into 3 shards"]),
        ("train shards=2", &["2 shards", "3 ranks"]),
        ("train no_adapter=1", &["rank 1", "a card of gold"]),
    ];
    for (case, words) in cases {
        all_fail(3, case, words);
    }
}

fn failing() {
    all_fail(3, "train fails=2", &["the sensor is off"]);
    let end = all_say(3, "train interrupts=1 epochs=3");
    assert!(end.contains("epochs 0, interrupted true"), "{end}");
    let end = all_say(3, "train stops=1 epochs=3");
    assert!(end.contains("epochs 1, interrupted false"), "{end}");
}

/// A killed rank: whoever starts the job learns of it in time.
fn dying() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.safetensors");
    let began = Instant::now();
    let output = start(3, &format!("train dies_later=1 checkpoint={}", file.display()));
    assert!(!output.status.success() && began.elapsed() < Duration::from_secs(60));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("signal 6") || errors.contains("aborted"), "{errors}");
    assert!(
        file.exists() && names(folder.path()) == ["run.csv", "run.safetensors"],
        "{:?}",
        names(folder.path())
    );
    // It is whole: the run goes on from it, as if nothing had been.
    let resumed = all_say(3, &format!("train checkpoint={}", file.display()));
    assert_eq!(resumed, all_say(3, "train"));
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn resumed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.safetensors");
    let setting = format!("shards=4 checkpoint={}", file.display());
    all_say(2, &format!("train epochs=1 {setting}"));
    assert_eq!(all_say(4, &format!("train epochs=3 {setting}")), alone_says("train epochs=3 shards=4"));
    let table = std::fs::read_to_string(folder.path().join("run.csv")).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
}
