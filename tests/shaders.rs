//! Every file in `shaders/` is valid WGSL by itself, and within WebGPU's default limits.

use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::path::Path;

fn shaders() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(files.len() > 20, "only {} shaders were found", files.len());
    files
}

#[test]
fn every_shader_is_valid_by_itself() {
    for (name, source) in shaders() {
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string_with_path(&source, &name)));
        let capabilities =
            if name.contains("subgroup") { Capabilities::SUBGROUP } else { Capabilities::empty() };
        Validator::new(ValidationFlags::all(), capabilities)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
}

#[test]
fn no_shader_uses_atomics_or_too_many_bindings() {
    for (name, source) in shaders() {
        assert!(
            !source.contains("atomic"),
            "{name} uses atomics: results would depend on the order of threads"
        );
        let storage = source.matches("var<storage").count();
        assert!(storage <= 8, "{name} binds {storage} storage buffers, eight are guaranteed");
        let module = naga::front::wgsl::parse_str(&source).unwrap();
        for entry in &module.entry_points {
            let size: u32 = entry.workgroup_size.iter().product();
            assert!(size <= 256, "{name}: {size} invocations per workgroup, 256 are guaranteed");
        }
    }
}
