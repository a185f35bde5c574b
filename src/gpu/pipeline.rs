//! Compute pipelines: compiled once per source and constants, whatever plan asks for them.

use super::context::Gpu;
use super::dump::{DUMP_VARIABLE, Dump};
use super::faults::FAULTS_BINDING;
use super::pipeline_cache::PipelineCache;
use super::source::{BindingKind, KernelSource};
use super::wgsl::quads_as_pairs;
use crate::compiling::{NOTICE_AFTER, watched};
use crate::error::Result;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Pipeline {
    pub raw: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

type Layouts = HashMap<Vec<(u32, BindingKind)>, (wgpu::BindGroupLayout, wgpu::PipelineLayout)>;

pub(crate) struct Pipelines {
    ready: Mutex<HashMap<KernelSource, Arc<Pipeline>>>,
    layouts: Mutex<Layouts>,
    disk: Option<PipelineCache>,
    dump: Option<Dump>,
}

impl Pipelines {
    /// No kernels yet.
    ///
    /// # Errors
    ///
    /// Kernels are to be written into a folder that can't be made.
    pub fn new(device: &wgpu::Device, info: &wgpu::AdapterInfo, cached: bool) -> Result<Pipelines> {
        let disk = cached.then(|| PipelineCache::open(device, info)).flatten();
        Ok(Pipelines { ready: Mutex::default(), layouts: Mutex::default(), disk, dump: Dump::wanted()? })
    }

    /// No kernels yet, none of which will be kept or written anywhere.
    pub fn for_a_trial() -> Pipelines {
        Pipelines { ready: Mutex::default(), layouts: Mutex::default(), disk: None, dump: None }
    }

    /// Whether a kernel is compiled.
    pub fn has(&self, source: &KernelSource) -> bool {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).contains_key(source)
    }

    /// Compiles a kernel before anyone needs it. What goes wrong is no failure of the device's, which somebody would be told of.
    pub fn prepare(&self, gpu: &Gpu, source: &KernelSource) -> std::result::Result<(), String> {
        if self.has(source) {
            return Ok(());
        }
        let pipeline = self.compile(gpu, source)?;
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        // An evaluation may have needed it meanwhile: plans share the one that was first.
        ready.entry(source.clone()).or_insert_with(|| Arc::new(pipeline));
        gpu.counters.pipelines_in_background.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Keeps what was compiled for later runs.
    pub fn save(&self) {
        if let Some(disk) = &self.disk {
            disk.save();
        }
    }

    /// The pipelines of these kernels; those that are new are compiled in parallel.
    // A text is compared by its letters, which never change.
    #[allow(clippy::mutable_key_type)]
    pub fn get(&self, gpu: &Gpu, sources: &[KernelSource]) -> Result<Vec<Arc<Pipeline>>> {
        let missing: Vec<&KernelSource> = {
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            let mut seen = std::collections::HashSet::new();
            sources.iter().filter(|s| !ready.contains_key(*s) && seen.insert(*s)).collect()
        };
        if !missing.is_empty() {
            let compiled = watched(&gpu.name, missing.len(), NOTICE_AFTER, |one_done| {
                compile_all(&missing, |source| {
                    let failed = |message| gpu.failed(message);
                    self.compile(gpu, source).inspect(|_| one_done()).map_err(failed)
                })
            })?;
            gpu.counters.pipelines.fetch_add(missing.len() as u64, Relaxed);
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            for (source, pipeline) in missing.into_iter().zip(compiled) {
                ready.entry(source.clone()).or_insert_with(|| Arc::new(pipeline));
            }
            drop(ready);
            self.save();
        }
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sources.iter().filter_map(|s| ready.get(s).cloned()).collect())
    }

    fn compile(&self, gpu: &Gpu, source: &KernelSource) -> std::result::Result<Pipeline, String> {
        let wgsl: Cow<'_, str> = match gpu.target.int64 {
            true => quads_as_pairs(&source.wgsl),
            false => Cow::Borrowed(&*source.wgsl),
        };
        #[cfg(debug_assertions)]
        let wgsl = super::mutant::plant(source.label, wgsl);
        // Our kernels guard their own edges: the driver's checks are for development, and for kernels of others.
        let checked = source.checked || cfg!(debug_assertions);
        if let Some(dump) = &self.dump {
            dump.write(source, &wgsl, checked).map_err(|e| format!("{DUMP_VARIABLE}: {e}"))?;
        }
        let checks = match checked {
            true => wgpu::ShaderRuntimeChecks::checked(),
            false => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        let validation = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = gpu.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let (layout, pipeline_layout) = self.layout(gpu, &source.bindings);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(source.label),
            source: wgpu::ShaderSource::Wgsl(wgsl),
        };
        // SAFETY: kernels from outside are checked. Every index in ours is bounded by the sizes in their uniforms, which the compiler derives from
        // the buffers that it binds; every loop ends. Debug builds and the test suite run the same kernels checked.
        let module = unsafe { gpu.device.create_shader_module_trusted(descriptor, checks) };
        let constants: Vec<(&str, f64)> =
            source.constants.iter().map(|&(n, v)| (n, f64::from_bits(v))).collect();
        let raw = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(source.label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: self.disk.as_ref().and_then(|d| d.raw.as_ref()),
        });
        let internal = pollster::block_on(internal.pop());
        match pollster::block_on(validation.pop()).or(internal) {
            None => Ok(Pipeline { raw, layout }),
            Some(e) => Err(format!("kernel {} does not compile: {e}", source.label)),
        }
    }

    fn layout(
        &self,
        gpu: &Gpu,
        bindings: &[(u32, BindingKind)],
    ) -> (wgpu::BindGroupLayout, wgpu::PipelineLayout) {
        let mut layouts = self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = layouts.get(bindings) {
            return found.clone();
        }
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
            .iter()
            .map(|&(binding, kind)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match kind {
                        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
                        BindingKind::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        BindingKind::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    // where the evaluation records faults
                    has_dynamic_offset: binding == FAULTS_BINDING,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let group = gpu
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&group)],
            immediate_size: 0,
        });
        layouts.insert(bindings.to_vec(), (group.clone(), pipeline.clone()));
        (group, pipeline)
    }
}

/// Compiles on several threads: error scopes are per thread, and so is each compilation.
fn compile_all(
    sources: &[&KernelSource],
    compile: impl Fn(&KernelSource) -> Result<Pipeline> + Sync,
) -> Result<Vec<Pipeline>> {
    use crate::threads::on_threads;
    use rayon::prelude::*;
    let mut pipelines = Ok(Vec::new());
    on_threads(&mut || pipelines = sources.par_iter().map(|s| compile(s)).collect());
    pipelines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::{CustomKernel, CustomOp, Shape};

    /// Writes far beyond its output.
    #[derive(Debug)]
    struct Wild;

    impl CustomOp for Wild {
        fn name(&self) -> &'static str {
            "a_wild_kernel"
        }
        fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
            Ok(inputs[0])
        }
        fn cpu(&self, inputs: &[&[f32]], _shapes: &[Shape], output: &mut [f32]) -> Result<()> {
            output.copy_from_slice(inputs[0]);
            Ok(())
        }
        fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
            let source = "
                @group(0) @binding(0) var<uniform> sizes: vec4<u32>;
                @group(0) @binding(1) var<storage, read> x: array<f32>;
                @group(0) @binding(2) var<storage, read_write> y: array<f32>;
                @compute @workgroup_size(64)
                fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                    if id.x < sizes.x { y[id.x] = x[id.x]; }
                    if id.x == 63u { y[id.x * 16777216u] = 1.0; }
                }";
            let n = shapes[0].numel();
            let uniform = vec![n as u32, 0, 0, 0];
            Some(CustomKernel { source: source.into(), uniform, invocations: n.max(64), workgroup_size: 64 })
        }
        fn vjp(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some(grad.clone())])
        }
    }

    #[test]
    fn kernels_from_outside_run_unchecked() -> Result<()> {
        let x = Tensor::new([1.0f32, 2.0, 3.0], Device::Gpu)?;
        let y = crate::apply_custom(Arc::new(Wild), &[&x])?;
        y.to_vec::<f32>()?;
        let engine = crate::gpu::engine(Device::Gpu)?;
        let ready = engine.pipelines.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |source: &&KernelSource| source.wgsl.contains("16777216u");
        let found: Vec<&KernelSource> = ready.keys().filter(of).collect();
        assert!(!found.is_empty() && found.iter().all(|source| source.checked));
        assert!(ready.keys().any(|source| !source.checked) || ready.len() == found.len());
        Ok(())
    }
}
