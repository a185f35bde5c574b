//! Every file in `shaders/`, as the driver would get it.

use super::headers::HEADERS;
use super::{with_headers, without_comments};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it is listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("it is text"))
        })
        .collect();
    files.sort();
    files
}

/// Name and text of every file, with its headers.
pub(crate) fn shaders() -> Vec<(String, String)> {
    let files = files(&folder());
    assert!(files.len() > 20, "only {} shaders were found", files.len());
    files.into_iter().map(|(name, text)| (name, with_headers(&text))).collect()
}

/// Parses and validates a module; fails with the place of the mistake.
pub(crate) fn assert_valid(label: &str, text: &str) -> naga::Module {
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string_with_path(text, label)));
    validate(label, text, &module, Capabilities::all());
    module
}

fn validate(label: &str, text: &str, module: &naga::Module, capabilities: Capabilities) {
    Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(module)
        .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(text)));
}

#[test]
fn every_shader_is_valid() {
    for (name, text) in shaders() {
        let module = assert_valid(&name, &text);
        // what every adapter can, and no more
        let capabilities =
            if name.contains("subgroup") { Capabilities::SUBGROUP } else { Capabilities::empty() };
        validate(&name, &text, &module, capabilities);
    }
}

#[test]
fn no_shader_uses_atomics_or_too_many_bindings() {
    for (name, text) in shaders() {
        let atomic = without_comments(&text).contains("atomic");
        assert!(!atomic, "{name} uses atomics: results would depend on the order of threads");
        let storage = text.matches("var<storage").count();
        assert!(storage <= 8, "{name} binds {storage} storage buffers, eight are guaranteed");
        for entry in &assert_valid(&name, &text).entry_points {
            let size: u32 = entry.workgroup_size.iter().product();
            assert!(size <= 256, "{name}: {size} invocations per workgroup, 256 are guaranteed");
        }
    }
}

#[test]
fn every_header_is_known_and_shared() {
    let shaders = shaders();
    for (name, text) in &shaders {
        assert!(!text.contains("// include:"), "{name} names a header that there is not");
    }
    let listed: Vec<String> = HEADERS.iter().map(|(file, _)| file.replace("shared/", "")).collect();
    let found: Vec<String> = files(&folder().join("shared")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, found, "the list in headers.rs and the files in shaders/shared/");
    for (file, header) in HEADERS {
        let users = shaders.iter().filter(|(_, text)| text.contains(header)).count();
        assert!(users > 1, "{file} is used {users} times");
    }
}

/// From the first line that begins so to the next that begins so, blanks at the beginning of lines left out.
fn piece(text: &str, [first, last]: [&str; 2]) -> Vec<String> {
    let mut lines = text.lines().map(str::trim_start).skip_while(|line| !line.starts_with(first));
    let mut piece = Vec::new();
    for line in lines.by_ref() {
        piece.push(line.to_string());
        if line.starts_with(last) {
            return piece;
        }
    }
    panic!("no lines from {first:?} to {last:?}");
}

/// Pieces of functions can't be headers. Those that have to be the same are compared, with what they call things by renamed.
#[test]
fn pieces_that_kernels_have_in_common_stay_the_same() {
    let line_of_places = ["let part = 0u;", "var ix ="];
    let sum = ["var sum = F(0.0);", "sum += blocks;"];
    let row_max = ["var top =", "var infinity"];
    // pieces, and per file what is written for what in it
    type Same<'a> = (&'a str, [&'a str; 2], &'a [(&'a str, &'a str)]);
    let groups: [&[Same]; 6] = [
        &[
            ("pool2d_avg", line_of_places, &[]),
            ("pool2d_max", line_of_places, &[]),
            ("pool2d_max_argmax", line_of_places, &[]),
            ("pool2d_max_gather", line_of_places, &[]),
            (
                "pool2d_avg_grad",
                [line_of_places[0], "var ox ="],
                &[("var oy", "var iy"), ("var ox", "var ix")],
            ),
            (
                "pool2d_max_grad",
                [line_of_places[0], "var ox ="],
                &[("var oy", "var iy"), ("var ox", "var ix")],
            ),
        ],
        &[
            ("pool2d_avg", [sum[0], "for (; q"], &[]),
            ("pool2d_avg_grad", [sum[0], "for (; q"], &[]),
            ("pool2d_max_grad", [sum[0], "for (; q"], &[]),
        ],
        &[
            ("pool2d_avg", ["blocks += block;", sum[1]], &[]),
            ("pool2d_avg_grad", ["blocks += block;", sum[1]], &[]),
            ("pool2d_max_grad", ["blocks += block;", sum[1]], &[]),
        ],
        // the row's maximum, of all of it and of a part
        &[
            ("softmax", row_max, &[("lane", "first"), ("TEAM", "sizes.parts")]),
            ("softmax_parts", row_max, &[]),
        ],
        &[
            ("conv2d_forward", ["// ---- plain kernel", "let i ="], &[]),
            ("conv2d_input_grad", ["// ---- plain kernel", "let i ="], &[]),
            ("conv2d_weight_grad", ["// ---- plain kernel", "let i ="], &[("id.y * p", "row.out * p")]),
            ("gemm_matrix", ["// ---- plain kernel", "let i ="], &[("id.y * p", "row.out * p")]),
        ],
        &[
            ("gemm_reduce", ["// Terms", "sum += band_sum;"], &[]),
            ("gemm_reduce4", ["// Terms", "sum += band_sum;"], &[("vec4<f32>()", "f32()")]),
        ],
    ];
    let shaders = shaders();
    for group in groups {
        let mut pieces = group.iter().map(|(file, lines, names)| {
            let file = format!("{file}.wgsl");
            let text = &shaders.iter().find(|(name, _)| *name == file).expect("the file is there").1;
            let renamed = |line: String| names.iter().fold(line, |line, (old, new)| line.replace(old, new));
            (file, piece(text, *lines).into_iter().map(renamed).collect::<Vec<_>>())
        });
        let (first, expected) = pieces.next().expect("no group is empty");
        for (file, found) in pieces {
            assert_eq!(expected, found, "{first} and {file}");
        }
    }
}
