//! The languages of wgpu's backends, with the options that these have.

use crate::kernel::{Kernel, Kind, RECORDED};
use naga::ShaderStage;
use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::Capabilities;

pub enum Language {
    /// Version, and what spirv-val calls where it is read.
    Spirv(u8, u8, &'static str),
    Hlsl(hlsl::ShaderModel),
    Msl(u8, u8),
    Glsl(glsl::Version),
}

pub struct Target {
    /// Its folder, too.
    pub name: &'static str,
    pub language: Language,
    /// What this version has no words for. Adapters that it is for have none of that either.
    pub lacks: Capabilities,
}

const fn target(name: &'static str, language: Language, lacks: Capabilities) -> Target {
    Target { name, language, lacks }
}

const NONE: Capabilities = Capabilities::empty();
const SUBGROUP: Capabilities = Capabilities::SUBGROUP;
const INT64: Capabilities = Capabilities::SHADER_INT64;
const BOTH: Capabilities = SUBGROUP.union(INT64);

pub const TARGETS: [Target; 14] = [
    target("spirv-1.0", Language::Spirv(1, 0, "vulkan1.0"), SUBGROUP),
    target("spirv-1.3", Language::Spirv(1, 3, "vulkan1.1"), NONE),
    target("spirv-1.6", Language::Spirv(1, 6, "vulkan1.3"), NONE),
    target("hlsl-5.1", Language::Hlsl(hlsl::ShaderModel::V5_1), BOTH),
    target("hlsl-6.0", Language::Hlsl(hlsl::ShaderModel::V6_0), NONE),
    target("msl-1.2", Language::Msl(1, 2), BOTH),
    target("msl-2.0", Language::Msl(2, 0), BOTH),
    target("msl-2.1", Language::Msl(2, 1), INT64),
    target("msl-2.4", Language::Msl(2, 4), NONE),
    target("msl-3.0", Language::Msl(3, 0), NONE),
    target("glsl-es-310", Language::Glsl(glsl::Version::Embedded { version: 310, is_webgl: false }), BOTH),
    target("glsl-es-320", Language::Glsl(glsl::Version::Embedded { version: 320, is_webgl: false }), BOTH),
    target("glsl-430", Language::Glsl(glsl::Version::Desktop(430)), BOTH),
    target("glsl-460", Language::Glsl(glsl::Version::Desktop(460)), BOTH),
];

impl Target {
    pub fn extension(&self) -> &'static str {
        match self.language {
            Language::Spirv(..) => "spv",
            Language::Hlsl(_) => "hlsl",
            Language::Msl(..) => "metal",
            Language::Glsl(_) => "comp",
        }
    }

    /// The kernel in this language; `checked` with the checks of indices, loops and divisions that debug builds have.
    ///
    /// # Errors
    ///
    /// naga can't write it.
    pub fn write(&self, kernel: &Kernel, checked: bool) -> Result<Vec<u8>, String> {
        match self.language {
            Language::Spirv(major, minor, _) => spirv(kernel, (major, minor), checked),
            Language::Hlsl(model) => hlsl(kernel, model, checked),
            Language::Msl(major, minor) => msl(kernel, (major, minor), checked),
            Language::Glsl(version) => glsl(kernel, version, checked),
        }
    }
}

fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies {
        index: policy,
        buffer: policy,
        image_load: BoundsCheckPolicy::Unchecked,
        binding_array: BoundsCheckPolicy::Unchecked,
    }
}

fn spirv(kernel: &Kernel, lang_version: (u8, u8), checked: bool) -> Result<Vec<u8>, String> {
    let options = spv::Options {
        lang_version,
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: policies(checked),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let words =
        spv::write_vec(&kernel.module, &kernel.info, &options, Some(&pipeline)).map_err(|e| e.to_string())?;
    Ok(words.iter().flat_map(|w| w.to_le_bytes()).collect())
}

fn hlsl(kernel: &Kernel, shader_model: hlsl::ShaderModel, checked: bool) -> Result<Vec<u8>, String> {
    // As wgpu numbers them: registers by class in order of the bindings, and what has an offset reads it from a constant.
    let mut registers = [0; 3];
    let mut binding_map = hlsl::BindingMap::default();
    for &(binding, kind) in &kernel.bindings {
        let register = &mut registers[kind as usize];
        let bind = hlsl::BindTarget {
            space: 0,
            register: *register,
            dynamic_storage_buffer_offsets_index: (binding.binding == RECORDED).then_some(0),
            restrict_indexing: checked,
            ..Default::default()
        };
        *register += 1;
        binding_map.insert(binding, bind);
    }
    let constant = |register| hlsl::BindTarget { space: 0, register, ..Default::default() };
    let mut options = hlsl::Options {
        shader_model,
        binding_map,
        fake_missing_bindings: false,
        special_constants_binding: Some(constant(registers[Kind::Uniform as usize])),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..Default::default()
    };
    let offsets =
        hlsl::OffsetsBindTarget { space: 0, register: registers[Kind::Uniform as usize] + 1, size: 1 };
    options.dynamic_storage_buffer_offsets_targets.insert(0, offsets);
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&kernel.module, &kernel.info, None)
        .map_err(|e| e.to_string())?;
    match reflection.entry_point_names.into_iter().next() {
        Some(Err(e)) => Err(e.to_string()),
        _ => Ok(text.into_bytes()),
    }
}

fn msl(kernel: &Kernel, lang_version: (u8, u8), checked: bool) -> Result<Vec<u8>, String> {
    let resources = kernel.bindings.iter().zip(0u8..).map(|(&(binding, kind), slot)| {
        let bind =
            msl::BindTarget { buffer: Some(slot), mutable: kind == Kind::ReadWrite, ..Default::default() };
        (binding, bind)
    });
    let resources = msl::EntryPointResources {
        resources: resources.collect(),
        immediates_buffer: None,
        sizes_buffer: Some(kernel.bindings.len() as u8),
    };
    let options = msl::Options {
        lang_version,
        per_entry_point_map: [("main".to_string(), resources)].into_iter().collect(),
        fake_missing_bindings: false,
        bounds_check_policies: policies(checked),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let entry_point = Some((ShaderStage::Compute, "main".into()));
    let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
    let (text, reflection) =
        msl::write_string(&kernel.module, &kernel.info, &options, &pipeline).map_err(|e| e.to_string())?;
    match reflection.entry_point_names.into_iter().next() {
        Some(Err(e)) => Err(e.to_string()),
        _ => Ok(text.into_bytes()),
    }
}

fn glsl(kernel: &Kernel, version: glsl::Version, checked: bool) -> Result<Vec<u8>, String> {
    let binding_map = kernel.bindings.iter().zip(0u8..).map(|(&(binding, _), slot)| (binding, slot));
    let options = glsl::Options {
        version,
        writer_flags: glsl::WriterFlags::empty(),
        binding_map: binding_map.collect(),
        zero_initialize_workgroup_memory: false,
    };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".into(),
        multiview: None,
    };
    let mut text = String::new();
    glsl::Writer::new(&mut text, &kernel.module, &kernel.info, &options, &pipeline, policies(checked))
        .and_then(|mut writer| writer.write())
        .map_err(|e| e.to_string())?;
    Ok(text.into_bytes())
}
