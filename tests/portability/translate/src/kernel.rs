//! A kernel as `WGRAD_DUMP_SHADERS` writes it, validated, and what it asks of a device.

use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ResourceBinding, ShaderStage, StorageAccess};
use std::path::Path;

/// Where evaluations record what is wrong with an index: the one binding with a dynamic offset (`src/gpu/faults.rs`).
pub const RECORDED: u32 = 33;

/// What a binding is to a kernel.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Uniform,
    Read,
    ReadWrite,
}

/// A kernel with its constants in place.
pub struct Kernel {
    /// The file's name without its ending.
    pub name: String,
    pub module: Module,
    pub info: ModuleInfo,
    /// The fewest capabilities that it is valid with.
    pub needs: Capabilities,
    pub bindings: Vec<(ResourceBinding, Kind)>,
    /// What it has more of than WebGPU promises every program.
    pub over_default: Vec<String>,
    /// The same for the four storage buffers of downlevel devices.
    pub over_downlevel: Vec<String>,
}

fn validate(module: &Module, capabilities: Capabilities) -> Result<ModuleInfo, String> {
    Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(module)
        .map_err(|e| format!("{:?}", e.into_inner()))
}

/// Its constants: an object of numbers in the JSON file beside it. None where there is no such file.
fn constants(path: &Path) -> Result<PipelineConstants, String> {
    let mut constants = PipelineConstants::default();
    let about = path.with_extension("json");
    if !about.exists() {
        return Ok(constants);
    }
    let text = std::fs::read_to_string(&about).map_err(|e| e.to_string())?;
    let about: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", about.display()))?;
    for (name, value) in about["constants"].as_object().into_iter().flatten() {
        constants.insert(name.clone(), value.as_f64().ok_or_else(|| format!("{name} is no number"))?);
    }
    Ok(constants)
}

impl Kernel {
    /// Reads and validates the kernel of a file.
    ///
    /// # Errors
    ///
    /// It can't be read, or naga refuses it.
    pub fn read(path: &Path) -> Result<Kernel, String> {
        let source = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
        let sets = [
            Capabilities::empty(),
            Capabilities::SUBGROUP,
            Capabilities::SHADER_INT64,
            Capabilities::SUBGROUP | Capabilities::SHADER_INT64,
        ];
        let (needs, info) = match sets.iter().find_map(|&set| Some((set, validate(&module, set).ok()?))) {
            Some(found) => found,
            None => return Err(validate(&module, sets[3]).err().unwrap_or_default()),
        };
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, _) =
            process_overrides(&module, &info, entry, &constants(path)?).map_err(|e| e.to_string())?;
        let module = module.into_owned();
        let info = validate(&module, needs)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut kernel = Kernel {
            name,
            module,
            info,
            needs,
            bindings: Vec::new(),
            over_default: Vec::new(),
            over_downlevel: Vec::new(),
        };
        kernel.measure()?;
        Ok(kernel)
    }

    /// Lists the bindings, and compares with the limits.
    fn measure(&mut self) -> Result<(), String> {
        let place =
            self.module.entry_points.iter().position(|e| e.name == "main").ok_or("no entry point main")?;
        let entry = &self.module.entry_points[place];
        let uses = self.info.get_entry_point(place);
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(self.module.to_ctx()).map_err(|e| e.to_string())?;
        let (mut storage, mut uniforms, mut shared) = (0, 0, 0);
        for (handle, variable) in self.module.global_variables.iter() {
            let kind = match variable.space {
                AddressSpace::Uniform => Kind::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Kind::ReadWrite,
                AddressSpace::Storage { .. } => Kind::Read,
                AddressSpace::WorkGroup => {
                    if !uses[handle].is_empty() {
                        shared += layouter[variable.ty].size.next_multiple_of(16);
                    }
                    continue;
                }
                _ => continue,
            };
            *(if kind == Kind::Uniform { &mut uniforms } else { &mut storage }) += 1;
            self.bindings.push((variable.binding.ok_or("a binding without a number")?, kind));
        }
        let [x, y, z] = entry.workgroup_size;
        let counts = |buffers: u32, bytes: u32| {
            let limits = [
                ("storage buffers", storage, buffers),
                ("bytes of workgroup memory", shared, bytes),
                ("uniform blocks", uniforms, 12),
                ("invocations", x * y * z, 256),
                ("invocations in x", x, 256),
                ("invocations in y", y, 256),
                ("invocations in z", z, 64),
            ];
            limits
                .iter()
                .filter(|(_, n, limit)| n > limit)
                .map(|(what, n, _)| format!("{n} {what}"))
                .collect()
        };
        self.over_default = counts(8, 16384);
        self.over_downlevel = counts(4, 16352);
        Ok(())
    }
}
