//! Files that appear whole or not at all, and the folders that they are kept in.
//!
//! Whatever is written as a whole (weights, checkpoints, tables, pictures, downloads, compiled pipelines) goes through
//! [`write_whole`]: under a name of its own first, which no other thread, process or container can have, then renamed. Who
//! reads meanwhile finds the file as it was or as it will be; who kills the process leaves the file as it was.

use crate::environment::variable;
use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How temporary names begin and end: what a killed process left is told by it.
const PREFIX: &str = ".wgrad-";
const SUFFIX: &str = ".part";
/// Where the file system has no locks, a temporary file is left over when it is as old as this.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// As many links lead from a name to a file at most, as in Linux.
const MAX_LINKS: usize = 40;
/// How often a temporary file that somebody took away is written anew.
const ATTEMPTS: usize = 8;

/// Writes a file that appears whole or not at all, and replaces what is there: permissions are kept, a link's target is
/// replaced and not the link, and data and name are on the disk when this returns. What is no file (a pipe, a terminal) is
/// written to as it stands.
///
/// # Errors
///
/// The folder doesn't exist or can't be written, a folder stands at the path, or the disk is full. What was there before is
/// untouched then.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    write_whole_with(path, |file| file.write_all(content))
}

/// As [`write_whole`], for content that is written piece by piece. `write` may be called again from the beginning.
pub(crate) fn write_whole_with(path: &Path, write: impl FnMut(&mut File) -> io::Result<()>) -> Result<()> {
    replace(path, write).map_err(|e| Error::io(path, e))
}

fn replace(path: &Path, mut write: impl FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
    let before = match fs::metadata(path) {
        Ok(is) if is.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; name a file in it"));
        }
        // Another file in its place would be none of the terminal, pipe or device that was meant.
        Ok(is) if !is.is_file() => return write(&mut OpenOptions::new().write(true).open(path)?),
        Ok(is) => Some(is),
        Err(_) => None,
    };
    let target = resolve(path)?;
    if target.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "names no file"));
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut attempt = 1;
    loop {
        let mut temporary = Temporary::create(folder, before.as_ref())?;
        write(&mut temporary.file)?;
        // Else a crash could leave the new name with nothing behind it.
        temporary.file.sync_all()?;
        // A lock is more than advice there: readers of the new name would meet it.
        if cfg!(windows) {
            let _ = temporary.file.unlock();
        }
        match fs::rename(&temporary.path, &target) {
            Ok(()) => {
                temporary.renamed = true;
                break;
            }
            // Taken away by somebody whose file system doesn't show them our lock.
            Err(e) if e.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => attempt += 1,
            Err(e) => return Err(e),
        }
    }
    sync_folder(folder)?;
    sweep(folder);
    Ok(())
}

/// The file that a path leads to, which need not exist.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(is) if is.is_symlink() => {
                let next = fs::read_link(&target)?;
                // A link is read from where it stands.
                target = target.parent().map(|folder| folder.join(&next)).unwrap_or(next);
            }
            _ => return Ok(target),
        }
    }
    Err(io::Error::other("is a link that leads in a circle"))
}

/// The name of a file that is not whole yet; nothing is left of it unless it is renamed.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    /// A new file in a folder, with the permissions of the one that it will replace.
    fn create(folder: &Path, before: Option<&fs::Metadata>) -> io::Result<Temporary> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            // Process and count tell threads apart, the random number containers, which number their processes alike.
            let random = RandomState::new().build_hasher().finish();
            let (process, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
            let path = folder.join(format!("{PREFIX}{process}-{count}-{random:016x}{SUFFIX}"));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            if before.is_some() {
                // Until it has the permissions of the other file, nobody else may read it.
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            }
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.is_dir() => {
                    let message = format!("there is no folder {}; make it first", folder.display());
                    return Err(io::Error::new(e.kind(), message));
                }
                Err(e) => return Err(e),
            };
            let temporary = Temporary { path, file, renamed: false };
            // While it is locked, `sweep` knows that its process lives, whatever container that is in.
            if let Err(fs::TryLockError::WouldBlock) = temporary.file.try_lock() {
                continue;
            }
            if let Some(before) = before {
                keep_permissions(&temporary.file, before)?;
            }
            return Ok(temporary);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What is half written is of no use; that it can't be removed either is no news.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn keep_permissions(file: &File, before: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let now = file.metadata()?;
        // Only root may give a file away, and only members of a group to it: else it is the writer's.
        if now.uid() != before.uid() {
            let _ = fchown(file, Some(before.uid()), None);
        }
        if now.gid() != before.gid() {
            let _ = fchown(file, None, Some(before.gid()));
        }
    }
    match file.set_permissions(before.permissions()) {
        // Some file systems have none.
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        done => done,
    }
}

/// Has the folder's list of names on the disk: until then a crash may undo a renaming.
fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere folders can't be opened, and renaming is journalled.
    if !cfg!(unix) {
        return Ok(());
    }
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder that may be written but not listed, or a file system without such a thing: nothing more can be done.
        Err(e) if matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported) => Ok(()),
        done => done,
    }
}

/// Removes what killed processes left in a folder. That something can't be removed is no error of who saves a file.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let temporary = name.to_str().is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX));
        // Opening a pipe of such a name would wait for ever.
        if temporary && entry.file_type().is_ok_and(|t| t.is_file()) && left_over(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody writes a temporary file any more: the lock of a process goes with it, however it ends.
fn left_over(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    match file.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(_)) => {
            let age = file.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
            age.is_some_and(|age| age > STALE)
        }
    }
}

/// Makes the folders of a file.
pub(crate) fn make_folders(file: &Path) -> Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))
        }
        _ => Ok(()),
    }
}

/// Where this user's programs keep what they can fetch or make again under this name, if the environment says so.
pub(crate) fn cache_folder(name: &str) -> Option<PathBuf> {
    cache_folder_on(std::env::consts::OS, name, variable)
}

fn cache_folder_on(os: &str, name: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The XDG specification has relative paths ignored; elsewhere they make as little sense.
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = match os {
        "windows" => folder("LOCALAPPDATA")?,
        "macos" => folder("HOME")?.join("Library/Caches"),
        _ => folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?,
    };
    Some(caches.join("wgrad").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["file"]);
        // A folder stands where the file should go, even an empty one.
        fs::create_dir(folder.path().join("taken")).unwrap();
        let message = write_whole(&folder.path().join("taken"), b"new").unwrap_err().to_string();
        assert!(message.contains("taken: is a folder"), "{message}");
        let message = write_whole(&folder.path().join("no/such/file"), b"new").unwrap_err().to_string();
        assert!(message.contains("file: there is no folder") && message.contains("no/such"), "{message}");
        for nameless in ["", "/", ".."] {
            assert!(
                matches!(write_whole(Path::new(nameless), b"new"), Err(Error::Io { .. })),
                "{nameless:?}"
            );
        }
        // What fails in the middle leaves the file as it was.
        let failing = write_whole_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failing.unwrap_err().to_string().ends_with("file: the disk is full"));
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"new".to_vec(), 2));
    }

    #[test]
    fn a_name_of_the_greatest_length_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(255));
        write_whole(&path, b"content").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!("{PREFIX}1-0-0123456789abcdef{SUFFIX}"));
        fs::write(&left, b"half").unwrap();
        let written = Temporary::create(folder.path(), None).unwrap();
        let others = [".wgrad-notes", "model.part", "data.wgrad-1.part"];
        for other in others {
            fs::write(folder.path().join(other), b"").unwrap();
        }
        write_whole(&folder.path().join("file"), b"new").unwrap();
        assert!(!left.exists() && written.path.exists());
        drop(written);
        assert_eq!(names(folder.path()), [".wgrad-notes", "data.wgrad-1.part", "file", "model.part"]);
    }

    #[test]
    fn a_temporary_file_that_is_taken_away_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut calls = 0;
        let written = write_whole_with(&path, |file| {
            calls += 1;
            if calls < 3 {
                names(folder.path()).iter().for_each(|n| fs::remove_file(folder.path().join(n)).unwrap());
            }
            file.write_all(b"content")
        });
        written.unwrap();
        assert_eq!((fs::read(&path).unwrap(), calls), (b"content".to_vec(), 3));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_are_kept() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o7777;
        for wanted in [0o600, 0o640, 0o664, 0o444, 0o755] {
            fs::write(at("file"), b"old").unwrap();
            fs::set_permissions(at("file"), fs::Permissions::from_mode(wanted)).unwrap();
            write_whole(&at("file"), b"new").unwrap();
            assert_eq!((mode("file"), fs::read(at("file")).unwrap()), (wanted, b"new".to_vec()));
            fs::remove_file(at("file")).unwrap();
        }
        // A new file has the permissions of any new file.
        fs::write(at("usual"), b"").unwrap();
        write_whole(&at("fresh"), b"new").unwrap();
        assert_eq!(mode("fresh"), mode("usual"));
        // Through a link to a link in another folder, and through one to a file that is not there yet.
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/real"), b"old").unwrap();
        symlink("deep/middle", at("link")).unwrap();
        symlink("real", at("deep/middle")).unwrap();
        write_whole(&at("link"), b"new").unwrap();
        assert_eq!(fs::read(at("deep/real")).unwrap(), b"new");
        symlink("deep/later", at("dangling")).unwrap();
        write_whole(&at("dangling"), b"new").unwrap();
        assert_eq!(fs::read(at("deep/later")).unwrap(), b"new");
        for link in ["link", "deep/middle", "dangling"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        symlink("circle", at("circle")).unwrap();
        assert!(write_whole(&at("circle"), b"new").unwrap_err().to_string().contains("circle"));
        assert_eq!(names(&at("deep")), ["later", "middle", "real"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        write_whole(Path::new("/dev/null"), b"nothing").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_no_text_are_written() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe weights"));
        write_whole(&path, b"content").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn cache_folders_follow_each_system() {
        let with = |os, variables: &[(&str, &str)]| {
            let root = if cfg!(windows) { "C:" } else { "" };
            let find = |name: &str| variables.iter().find(|(n, _)| *n == name);
            let folder = cache_folder_on(os, "mnist", |name| {
                find(name).map(|(_, value)| {
                    let absolute = value.starts_with('/');
                    if absolute { format!("{root}{value}") } else { value.to_string() }.into()
                })
            });
            folder.map(|path| path.display().to_string().replace('\\', "/").replace("C:", ""))
        };
        let home = ("HOME", "/home/x");
        assert_eq!(with("linux", &[home]).unwrap(), "/home/x/.cache/wgrad/mnist");
        assert_eq!(with("linux", &[home, ("XDG_CACHE_HOME", "/c")]).unwrap(), "/c/wgrad/mnist");
        assert_eq!(with("linux", &[home, ("XDG_CACHE_HOME", "c")]).unwrap(), "/home/x/.cache/wgrad/mnist");
        assert_eq!(with("macos", &[home]).unwrap(), "/home/x/Library/Caches/wgrad/mnist");
        assert_eq!(with("windows", &[("LOCALAPPDATA", "/local")]).unwrap(), "/local/wgrad/mnist");
        assert_eq!(with("linux", &[]), None);
    }
}
