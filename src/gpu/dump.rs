//! Kernels as files: for whoever wants to see what a driver is given, to translate it with other compilers, or to report a fault.

use super::pipeline_cache::checksum;
use super::source::{BindingKind, KernelSource};
use crate::environment::variable;
use crate::error::{Error, Result};
use crate::files::{make_folders, write_whole};
use std::path::{Path, PathBuf};

/// Names the folder that compiled kernels are written into.
pub(super) const DUMP_VARIABLE: &str = "WGRAD_DUMP_SHADERS";

/// The folder of [`DUMP_VARIABLE`].
pub(super) struct Dump {
    folder: PathBuf,
}

impl Dump {
    /// What the environment asks for; the folder is made.
    ///
    /// # Errors
    ///
    /// The folder can't be made.
    pub fn wanted() -> Result<Option<Dump>> {
        variable(DUMP_VARIABLE).map(|folder| Dump::into(Path::new(&folder))).transpose()
    }

    fn into(folder: &Path) -> Result<Dump> {
        make_folders(&folder.join("_"))
            .map_err(|e| Error::argument(DUMP_VARIABLE, format!("the folder can't be made: {e}")))?;
        Ok(Dump { folder: folder.to_owned() })
    }

    /// Writes a kernel as `LABEL-HASH.wgsl`, and what else its pipeline is made of as `LABEL-HASH.json`. What has this name is
    /// this kernel: it is not written again.
    ///
    /// # Errors
    ///
    /// A file can't be written.
    pub fn write(&self, source: &KernelSource, wgsl: &str, checked: bool) -> Result<()> {
        let about = about(source, checked);
        let hash = checksum(wgsl.as_bytes().iter().chain(about.as_bytes()));
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let label: String = source.label.chars().map(plain).take(80).collect();
        let path = self.folder.join(format!("{label}-{hash:016x}.wgsl"));
        if path.exists() {
            return Ok(());
        }
        write_whole(&path.with_extension("json"), about.as_bytes())?;
        write_whole(&path, wgsl.as_bytes())
    }
}

/// Label, constants and bindings as JSON.
fn about(source: &KernelSource, checked: bool) -> String {
    let constants: serde_json::Map<String, serde_json::Value> =
        source.constants.iter().map(|&(name, bits)| (name.into(), f64::from_bits(bits).into())).collect();
    let kind = |kind| match kind {
        BindingKind::Uniform => "uniform",
        BindingKind::Read => "read",
        BindingKind::ReadWrite => "read_write",
    };
    let bindings: Vec<serde_json::Value> = source
        .bindings
        .iter()
        .map(|&(binding, of)| serde_json::json!({ "group": 0, "binding": binding, "kind": kind(of) }))
        .collect();
    let about = serde_json::json!({
        "label": source.label,
        "entry_point": "main",
        "constants": constants,
        "bindings": bindings,
        "bounds_checked": checked,
    });
    format!("{about:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(label: &'static str, constants: Vec<(&'static str, u64)>) -> KernelSource {
        let bindings = vec![(0, BindingKind::Uniform), (1, BindingKind::Read), (2, BindingKind::ReadWrite)];
        KernelSource { label, wgsl: "fn of_a_dump() {}".into(), constants, bindings, checked: false }
    }

    #[test]
    fn a_kernel_is_written_with_what_its_pipeline_is_made_of() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let dump = Dump::into(&folder.path().join("new/folder"))?;
        let kernel =
            source("a kernel/of this:test", vec![("width", 4f64.to_bits()), ("half", 0.5f64.to_bits())]);
        for _ in 0..2 {
            dump.write(&kernel, &kernel.wgsl, true)?;
        }
        let other = source("a kernel/of this:test", vec![]);
        dump.write(&other, &other.wgsl, true)?;
        let entries = std::fs::read_dir(folder.path().join("new/folder")).unwrap();
        let mut names: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        let mut constants = Vec::new();
        for pair in names.chunks(2) {
            let name = pair[1].file_stem().unwrap().to_string_lossy().into_owned();
            let (label, hash) = name.rsplit_once('-').unwrap();
            assert_eq!((label, hash.len()), ("a_kernel_of_this_test", 16));
            assert_eq!(pair[0], pair[1].with_extension("json"));
            assert_eq!(std::fs::read_to_string(&pair[1]).unwrap(), "fn of_a_dump() {}");
            let about: serde_json::Value = serde_json::from_slice(&std::fs::read(&pair[0]).unwrap()).unwrap();
            assert_eq!(about["label"], "a kernel/of this:test");
            assert_eq!(
                about["bindings"][2],
                serde_json::json!({ "group": 0, "binding": 2, "kind": "read_write" })
            );
            assert_eq!(about["bounds_checked"], true);
            constants.push(about["constants"].clone());
        }
        constants.sort_by_key(|c| c.to_string().len());
        assert_eq!(constants, [serde_json::json!({}), serde_json::json!({ "width": 4.0, "half": 0.5 })]);
        Ok(())
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Dump::into(&file.join("below")).map(drop).unwrap_err().to_string();
        assert!(error.contains(DUMP_VARIABLE) && error.contains("below"), "{error}");
    }
}
