//! Files while they are written: by several threads and processes, by some that are killed, next to readers.

use super::*;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wgrad::io::{load_tensors, save_tensors};

/// Names the file that a process of this test binary is to write for ever.
const WRITER: &str = "WGRAD_TEST_WRITER";

/// This test binary with one test of it.
fn this(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).stdout(Stdio::null());
    command
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const ELEMENTS: usize = 20_000;

/// The number that all elements of a file have.
fn filled(path: &Path) -> f32 {
    let tensors = load_tensors(path, Device::Cpu).unwrap_or_else(|e| panic!("a file that is not whole: {e}"));
    let [(name, tensor)] = &tensors[..] else { panic!("{} tensors", tensors.len()) };
    let values = tensor.to_vec::<f32>().unwrap();
    assert_eq!((name.as_str(), values.len()), ("x", ELEMENTS));
    assert!(values.iter().all(|v| *v == values[0]), "a file of several writers");
    values[0]
}

fn write(path: &Path, number: f32) -> Result<()> {
    save_tensors(path, &[("x".into(), Tensor::full([ELEMENTS], number, Device::Cpu)?)])
}

/// What the processes of the next tests do; a test on its own it is not.
#[test]
fn writes_for_ever_where_it_is_asked_to() {
    let Some(path) = std::env::var_os(WRITER).map(PathBuf::from) else { return };
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let path = &path;
            scope.spawn(move || {
                let own = (std::process::id() % 1000 * 2 + thread) as f32;
                (0..).try_for_each(|i| write(path, own + i as f32 * 2000.0)).unwrap();
            });
        }
    });
}

fn writer(path: &Path) -> Child {
    this("writing::writes_for_ever_where_it_is_asked_to").env(WRITER, path).spawn().unwrap()
}

#[test]
fn threads_and_processes_that_saved_one_path_tore_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, -1.0).unwrap();
    let mut writers = [writer(&path), writer(&path)];
    let (mut reads, mut changes, mut last) = (0, 0, -1.0);
    let mut authors = BTreeSet::new();
    let began = Instant::now();
    while reads < 4000 || changes < 100 || authors.len() < 4 {
        let found = filled(&path);
        reads += 1;
        changes += usize::from(found != last);
        last = found;
        if found >= 0.0 {
            authors.insert(found as u32 % 2000);
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{reads} reads, {changes} changes, {authors:?}");
    }
    // Killed in the midst of writing: the file is whole, and what they left goes with the next one that saves.
    for process in &mut writers {
        assert!(process.try_wait().unwrap().is_none(), "a writer failed");
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(filled(&path) >= 0.0);
    write(&path, 7.0).unwrap();
    assert_eq!((filled(&path), names(folder.path())), (7.0, vec!["weights.safetensors".to_string()]));
}

#[test]
fn a_process_that_is_killed_leaves_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, -1.0).unwrap();
    for round in 0..8 {
        let mut process = writer(&path);
        let (before, began) = (filled(&path), Instant::now());
        while filled(&path) == before && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(300 * round));
        process.kill().unwrap();
        process.wait().unwrap();
        assert_ne!(filled(&path), before);
    }
    write(&path, 7.0).unwrap();
    assert_eq!(names(folder.path()), ["weights.safetensors"]);
}

/// Everything that writes a file as a whole.
fn write_all(at: &dyn Fn(&str) -> PathBuf) -> Vec<(&'static str, Result<()>)> {
    let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu).unwrap();
    let x = Tensor::ones([1, 3], Device::Cpu).unwrap();
    let y = model.infer(&x).unwrap();
    let mut trainer = Trainer::new(model, Adam::new(1e-3), MeanSquaredError::new()).build().unwrap();
    let set = data::Dataset::from_tensors("x", &inputs(&[4, 3], Device::Cpu), &inputs(&[4, 2], Device::Cpu));
    let history = trainer.fit(&set.unwrap(), Fit::epochs(1).verbose(false)).unwrap();
    vec![
        ("x.npy", x.save_npy(at("x.npy"))),
        ("x.npz", wgrad::io::npz::save(at("x.npz"), &[("x".into(), x.clone())])),
        ("x.safetensors", save_tensors(at("x.safetensors"), &[("x".into(), x)])),
        ("model.safetensors", trainer.model().save_model(at("model.safetensors"))),
        ("weights.safetensors", trainer.model().save(at("weights.safetensors"))),
        ("run.safetensors", trainer.save_checkpoint(at("run.safetensors"))),
        ("history.csv", history.save_csv(at("history.csv"))),
        ("history.json", history.save_json(at("history.json"))),
        ("graph.svg", wgrad::Graph::of(&[&y]).and_then(|g| g.save_svg(at("graph.svg")))),
        ("history.svg", wgrad::plot::history(&history).and_then(|p| p.save(at("history.svg")))),
    ]
}

#[test]
fn every_file_is_named_by_the_error_that_keeps_it_from_being_written() {
    let folder = tempfile::tempdir().unwrap();
    for (name, result) in write_all(&|name| folder.path().join("nowhere").join(name)) {
        let message = message(result);
        assert!(message.contains(name) && message.contains("there is no folder"), "{name}: {message}");
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    for (name, result) in write_all(&|name| folder.path().join("file").join(name)) {
        assert!(message(result).contains(name), "{name}");
    }
    let taken = |name: &str| {
        let path = folder.path().join("taken").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    for (name, result) in write_all(&taken) {
        let message = message(result);
        assert!(message.contains(name) && message.contains("is a folder"), "{name}: {message}");
    }
    for (name, result) in write_all(&|name| folder.path().join(name)) {
        assert_eq!(message(result), "", "{name}");
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_must_not_be_written_is_an_error_that_names_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    // Nothing is forbidden to root.
    if std::fs::write(folder.path().join("probe"), "").is_ok() {
        return;
    }
    for (name, result) in write_all(&|name| folder.path().join(name)) {
        let message = message(result);
        assert!(message.contains(name) && message.contains("ermission"), "{name}: {message}");
    }
}

#[cfg(unix)]
#[test]
fn permissions_links_and_names_that_are_no_text_are_kept() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("store")).unwrap();
    write(&at("store/real"), 1.0).unwrap();
    std::fs::set_permissions(at("store/real"), std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("store/real", at("latest")).unwrap();
    write(&at("latest"), 2.0).unwrap();
    assert_eq!((filled(&at("latest")), filled(&at("store/real"))), (2.0, 2.0));
    assert!(std::fs::symlink_metadata(at("latest")).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(at("store/real")).unwrap().permissions().mode() & 0o777, 0o640);
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff weights"));
    write(&odd, 3.0).unwrap();
    assert_eq!(filled(&odd), 3.0);
    assert_eq!((names(&at("store")), names(folder.path()).len()), (vec!["real".to_string()], 3));
}

#[test]
fn a_path_without_a_folder_is_in_the_present_one() {
    const HERE: &str = "WGRAD_TEST_HERE";
    if std::env::var_os(HERE).is_some() {
        write(Path::new("x"), 5.0).unwrap();
        write(Path::new("./x"), 6.0).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = this("writing::a_path_without_a_folder_is_in_the_present_one");
    let status = child.env(HERE, "1").current_dir(folder.path()).status().unwrap();
    assert!(status.success());
    assert_eq!((filled(&folder.path().join("x")), names(folder.path()).len()), (6.0, 1));
}

#[test]
fn a_process_with_a_damaged_pipeline_cache_trains_and_writes_it_anew() {
    const TRAINS: &str = "WGRAD_TEST_TRAINS";
    if std::env::var_os(TRAINS).is_some() {
        let model = Sequential::new().add(Dense::new(4).activation(Activation::Tanh)).add(Dense::new(2));
        let mut trainer =
            Trainer::new(model.build([3], Device::Gpu).unwrap(), Adam::new(1e-2), MeanSquaredError::new())
                .build()
                .unwrap();
        let set =
            data::Dataset::from_tensors("x", &inputs(&[8, 3], Device::Cpu), &inputs(&[8, 2], Device::Cpu));
        let history = trainer.fit(&set.unwrap(), Fit::epochs(2).verbose(false)).unwrap();
        assert!(history.epochs[1].train.loss < history.epochs[0].train.loss);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let train = || {
        let mut child = this("writing::a_process_with_a_damaged_pipeline_cache_trains_and_writes_it_anew");
        // Where each system's programs look for the user's cache.
        for variable in ["XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"] {
            child.env(variable, folder.path());
        }
        assert!(child.env(TRAINS, "1").stderr(Stdio::null()).status().unwrap().success());
    };
    train();
    let mut folders = vec![folder.path().to_path_buf()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.parent().is_some_and(|p| p.ends_with("wgrad/pipelines")) => files.push(path),
                false => {}
            }
        }
    }
    // Not every backend has a cache.
    let [path] = &files[..] else { return };
    let good = std::fs::read(path).unwrap();
    let flipped = |at: usize| {
        let mut content = good.clone();
        content[at] ^= 0xff;
        content
    };
    for content in [flipped(9), flipped(good.len() - 1), good[..good.len() / 2].to_vec(), vec![0xa5; 5000]] {
        std::fs::write(path, &content).unwrap();
        train();
        let anew = std::fs::read(path).unwrap();
        assert!(anew.len() > good.len() / 2 && anew != content && anew.starts_with(&good[..8]));
    }
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
    train();
}
