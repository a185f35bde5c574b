//! From WGSL to machine code: naga, then the Vulkan driver that the loader was told of.

use ash::{khr::pipeline_executable_properties as executables, vk};
use naga::back::{pipeline_constants, spv};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::ffi::CStr;

pub struct Driver {
    /// The device and the driver's version.
    pub name: String,
    device: ash::Device,
    executables: executables::Device,
    // What it was loaded from lives as long.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

/// What the compiler says of a pipeline.
pub struct Built {
    pub vgprs: u64,
    pub spills: u64,
    pub waves: u64,
    pub assembly: String,
}

impl Driver {
    pub fn new() -> Result<Driver, String> {
        // SAFETY: plain Vulkan calls on objects that live until the process ends.
        unsafe {
            let entry =
                ash::Entry::load().map_err(|e| format!("no Vulkan loader (package libvulkan1): {e}"))?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&app);
            let instance = entry.create_instance(&info, None).map_err(|e| format!("no instance: {e}"))?;
            let devices = instance.enumerate_physical_devices().map_err(|e| format!("no devices: {e}"))?;
            let physical =
                *devices.first().ok_or("no device: benches/isa/run names the driver and the chip")?;
            let mut versions = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut versions);
            instance.get_physical_device_properties2(physical, &mut properties);
            let text = |s: &[std::ffi::c_char]| CStr::from_ptr(s.as_ptr()).to_string_lossy().into_owned();
            let chip = text(&properties.properties.device_name);
            let name = format!("{chip}, {}", text(&versions.driver_info));
            let extensions = [executables::NAME.as_ptr()];
            let mut wanted = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true);
            let queues =
                [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let mut f12 =
                vk::PhysicalDeviceVulkan12Features::default().vulkan_memory_model(true).shader_float16(true);
            let mut f11 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
            let f10 = vk::PhysicalDeviceFeatures::default().shader_int64(true).shader_int16(true);
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&f10)
                .push_next(&mut wanted)
                .push_next(&mut f11)
                .push_next(&mut f12);
            let device =
                instance.create_device(physical, &info, None).map_err(|e| format!("no device: {e}"))?;
            let executables = executables::Device::new(&instance, &device);
            Ok(Driver { name, device, executables, _instance: instance, _entry: entry })
        }
    }

    /// Compiles a kernel; `about` is the JSON beside it, for its constants, or empty.
    pub fn build(&self, source: &str, about: &str) -> Result<Built, String> {
        let (module, words) = spirv(source, constants(about)?)?;
        let globals = module.global_variables.iter().filter_map(|(_, g)| Some((g.binding?, g.space)));
        let bindings: Vec<_> = globals
            .map(|(at, space)| {
                let uniform = space == naga::AddressSpace::Uniform;
                vk::DescriptorSetLayoutBinding::default()
                    .binding(at.binding)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .descriptor_type(match uniform {
                        true => vk::DescriptorType::UNIFORM_BUFFER,
                        false => vk::DescriptorType::STORAGE_BUFFER,
                    })
            })
            .collect();
        let failed = |e: vk::Result| format!("Vulkan: {e}");
        // SAFETY: the SPIR-V is naga's, of a valid module; what is created here is destroyed here or lives as long as the process.
        unsafe {
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [self.device.create_descriptor_set_layout(&info, None).map_err(failed)?];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&info, None).map_err(failed)?;
            let info = vk::ShaderModuleCreateInfo::default().code(&words);
            let shader = self.device.create_shader_module(&info, None).map_err(failed)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shader)
                .name(c"main");
            let flags = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let info = [vk::ComputePipelineCreateInfo::default().flags(flags).stage(stage).layout(layout)];
            let pipeline = self
                .device
                .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
                .map_err(|(_, e)| failed(e))?[0];
            let built = self.describe(pipeline);
            self.device.destroy_pipeline(pipeline, None);
            self.device.destroy_shader_module(shader, None);
            built.map_err(failed)
        }
    }

    unsafe fn describe(&self, pipeline: vk::Pipeline) -> Result<Built, vk::Result> {
        // SAFETY: the pipeline is of this device and was created to be described; its strings end in zeros.
        unsafe {
            let which = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            let statistics = self.executables.get_pipeline_executable_statistics(&which)?;
            let statistics: BTreeMap<String, u64> = statistics
                .iter()
                .map(|s| (CStr::from_ptr(s.name.as_ptr()).to_string_lossy().into_owned(), s.value.u64))
                .collect();
            let get = |name: &str| statistics.get(name).copied().unwrap_or(0);
            let call = self.executables.fp().get_pipeline_executable_internal_representations_khr;
            let mut count = 0;
            call(self.device.handle(), &which, &mut count, std::ptr::null_mut()).result()?;
            let mut list = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            call(self.device.handle(), &which, &mut count, list.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> = list.iter().map(|r| vec![0; r.data_size]).collect();
            for (r, t) in list.iter_mut().zip(&mut texts) {
                r.p_data = t.as_mut_ptr().cast();
            }
            call(self.device.handle(), &which, &mut count, list.as_mut_ptr()).result()?;
            let found = list.iter().zip(&texts).find(|(r, _)| CStr::from_ptr(r.name.as_ptr()) == c"Assembly");
            let assembly = found.map(|(_, t)| String::from_utf8_lossy(t).trim_end_matches('\0').to_string());
            Ok(Built {
                vgprs: get("VGPRs"),
                spills: get("Spilled VGPRs") + get("Spilled SGPRs"),
                waves: get("Subgroups per SIMD"),
                assembly: assembly.unwrap_or_default(),
            })
        }
    }
}

/// The constants of a pipeline, by name.
fn constants(about: &str) -> Result<naga::back::PipelineConstants, String> {
    let mut map = naga::back::PipelineConstants::default();
    if about.is_empty() {
        return Ok(map);
    }
    let about: serde_json::Value =
        serde_json::from_str(about).map_err(|e| format!("the JSON beside it: {e}"))?;
    for (name, value) in about["constants"].as_object().into_iter().flatten() {
        map.insert(name.clone(), value.as_f64().ok_or(format!("{name} is no number"))?);
    }
    Ok(map)
}

/// As release builds have it: nothing is checked, workgroup memory is not cleared.
fn spirv(source: &str, constants: naga::back::PipelineConstants) -> Result<(naga::Module, Vec<u32>), String> {
    let parsed = naga::front::wgsl::parse_str(source).map_err(|e| e.message().to_string())?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator.subgroup_stages(ShaderStages::all()).subgroup_operations(SubgroupOperationSet::all());
    let info = validator.validate(&parsed).map_err(|e| format!("{e:?}"))?;
    let unchecked = naga::proc::BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let (module, info) = pipeline_constants::process_overrides(&parsed, &info, None, &constants)
        .map(|(m, i)| (m.into_owned(), i.into_owned()))
        .map_err(|e| e.to_string())?;
    let stage = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    let words = spv::write_vec(&module, &info, &options, Some(&stage)).map_err(|e| e.to_string())?;
    Ok((module, words))
}
