//! probe [--unchecked] [--tensors] [--self-check] [FILTER]: kernels from one line upwards on every adapter whose name or backend contains
//! FILTER, through wgpu as wgrad uses it, and what comes out of each. The first line that is wrong says which step of a driver to
//! look at. With `--tensors` some of wgrad's operations follow, with `--self-check` all of them, against the CPU.

use wgpu::util::{BufferInitDescriptor, DeviceExt};

/// Words that are looked at: more than one workgroup, no power of two. Buffers have room for the whole of the last workgroup.
const N: usize = 200;
const WORDS: usize = 256;

/// A kernel, and what it has to make of `x[i] = i + 1` and the uniform block (N, 7, 0, 0).
struct Probe {
    name: &'static str,
    wgsl: &'static str,
    constants: &'static [(&'static str, f64)],
    /// Whether the uniform block's binding has a dynamic offset (256 bytes: the second block).
    dynamic: bool,
    /// How often it is dispatched, one reading what the last has written.
    times: usize,
    want: fn(usize) -> f32,
}

const PLAIN: Probe = Probe { name: "", wgsl: "", constants: &[], dynamic: false, times: 1, want: |_| 0.0 };

fn x(i: usize) -> f32 {
    i as f32 + 1.0
}

const PROBES: &[Probe] = &[
    Probe { name: "a constant", wgsl: "y[i] = 3.5;", want: |_| 3.5, ..PLAIN },
    Probe { name: "the index", wgsl: "y[i] = f32(i);", want: |i| i as f32, ..PLAIN },
    Probe { name: "a copy", wgsl: "y[i] = x[i];", want: x, ..PLAIN },
    Probe { name: "a sum", wgsl: "y[i] = x[i] + 0.25;", want: |i| x(i) + 0.25, ..PLAIN },
    Probe {
        name: "arrayLength of what is read",
        wgsl: "y[i] = f32(arrayLength(&x));",
        want: |_| WORDS as f32,
        ..PLAIN
    },
    Probe {
        name: "arrayLength of what is written",
        wgsl: "y[i] = f32(arrayLength(&y));",
        want: |_| WORDS as f32,
        ..PLAIN
    },
    Probe { name: "a uniform", wgsl: "y[i] = f32(u.y);", want: |_| 7.0, ..PLAIN },
    Probe {
        name: "a uniform of a dynamic offset",
        wgsl: "y[i] = f32(u.y);",
        dynamic: true,
        want: |_| 8.0,
        ..PLAIN
    },
    Probe { name: "an edge by a uniform", wgsl: "if i < u.x { y[i] = x[i]; }", want: x, ..PLAIN },
    Probe {
        name: "an override constant",
        wgsl: "y[i] = x[i] * f32(factor);",
        constants: &[("factor", 3.0)],
        want: |i| x(i) * 3.0,
        ..PLAIN
    },
    Probe {
        name: "num_workgroups",
        wgsl: "y[i] = f32(groups.x * 100u + groups.y);",
        want: |_| 401.0,
        ..PLAIN
    },
    Probe {
        name: "workgroup memory",
        wgsl: "tile[l] = x[min(i, 199u)]; workgroupBarrier(); y[i] = tile[l ^ 1u];",
        want: |i| x(i ^ 1),
        ..PLAIN
    },
    Probe {
        name: "a loop",
        wgsl: "var s = 0.0; for (var k = 0u; k < u.y; k += 1u) { s += x[k]; } y[i] = s;",
        want: |_| 28.0,
        ..PLAIN
    },
    Probe {
        name: "four words at a time",
        wgsl: "let v = vec4<f32>(x[i], 1.0, 2.0, 3.0) * 2.0; y[i] = v.x + v.w;",
        want: |i| x(i) * 2.0 + 6.0,
        ..PLAIN
    },
    Probe {
        name: "bits of a float",
        wgsl: "y[i] = bitcast<f32>(bitcast<u32>(x[i]) ^ 0x80000000u);",
        want: |i| -x(i),
        ..PLAIN
    },
    Probe {
        name: "functions",
        wgsl: "y[i] = round(exp(log(x[i])) + sqrt(x[i] * x[i]));",
        want: |i| 2.0 * x(i),
        ..PLAIN
    },
    Probe {
        name: "atomics",
        wgsl: "atomicAdd(&count, 1u); workgroupBarrier(); y[i] = f32(atomicLoad(&count));",
        want: |_| 64.0,
        ..PLAIN
    },
    Probe {
        name: "three dispatches, one after another",
        wgsl: "y[i] = y[i] + x[i];",
        times: 3,
        want: |i| 3.0 * x(i),
        ..PLAIN
    },
];

/// The probe's line in a complete kernel, with only those bindings that it names.
fn source(probe: &Probe) -> (String, Vec<u32>) {
    let names = |word: &str| probe.wgsl.contains(word);
    let mut text = String::new();
    let mut bindings = vec![2];
    if names("u.") {
        text += "@group(0) @binding(0) var<uniform> u: vec4<u32>;\n";
        bindings.insert(0, 0);
    }
    if names("x[") || names("&x") {
        text += "@group(0) @binding(1) var<storage, read> x: array<f32>;\n";
        bindings.insert(bindings.len() - 1, 1);
    }
    text += "@group(0) @binding(2) var<storage, read_write> y: array<f32>;\n";
    if names("factor") {
        text += "override factor: u32;\n";
    }
    if names("tile") {
        text += "var<workgroup> tile: array<f32, 64>;\n";
    }
    if names("count") {
        text += "var<workgroup> count: atomic<u32>;\n";
    }
    text += &format!(
        "@compute @workgroup_size(64)\nfn main(@builtin(global_invocation_id) g: vec3<u32>, @builtin(local_invocation_index) l: u32, \
         @builtin(num_workgroups) groups: vec3<u32>) {{\n let i = g.x;\n {}\n}}\n",
        probe.wgsl
    );
    if !names("groups") {
        text = text.replace(", @builtin(num_workgroups) groups: vec3<u32>", "");
    }
    (text, bindings)
}

fn read(device: &wgpu::Device, queue: &wgpu::Queue, buffer: &wgpu::Buffer) -> Result<Vec<f32>, String> {
    let size = 4 * N as u64;
    let staging = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size);
    queue.submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| e.to_string())?;
    let view = staging.get_mapped_range(..).map_err(|e| e.to_string())?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}

fn judge(name: &str, got: Result<Vec<f32>, String>, want: impl Fn(usize) -> f32) -> bool {
    match got {
        Err(e) => {
            println!("  FAILED {name}: {}", e.replace('\n', " "));
            false
        }
        Ok(got) => {
            let wrong: Vec<usize> = (0..N).filter(|&i| got[i] != want(i)).collect();
            match wrong.first() {
                None => println!("  ok     {name}"),
                Some(&i) => println!(
                    "  WRONG  {name}: {} of {N}, first at {i}: {:e} (bits {:08x}), not {}; it begins {:?}",
                    wrong.len(),
                    got[i],
                    got[i].to_bits(),
                    want(i),
                    &got[..4]
                ),
            }
            wrong.is_empty()
        }
    }
}

fn run(device: &wgpu::Device, queue: &wgpu::Queue, probe: &Probe, checked: bool) -> Result<Vec<f32>, String> {
    use wgpu::BufferUsages as U;
    let (text, bindings) = source(probe);
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let buffer = |usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * WORDS as u64,
            usage: usage | U::COPY_DST | U::COPY_SRC,
            mapped_at_creation: false,
        })
    };
    let (x_buffer, y_buffer) = (buffer(U::STORAGE), buffer(U::STORAGE));
    let values: Vec<f32> = (0..N).map(x).collect();
    queue.write_buffer(&x_buffer, 0, bytemuck::cast_slice(&values));
    let mut block = vec![0u32; 128];
    block[..2].copy_from_slice(&[N as u32, 7]);
    block[64..66].copy_from_slice(&[N as u32, 8]);
    let uniform = device.create_buffer_init(&BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(&block),
        usage: U::UNIFORM,
    });
    let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
        .iter()
        .map(|&binding| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match binding {
                    0 => wgpu::BufferBindingType::Uniform,
                    _ => wgpu::BufferBindingType::Storage { read_only: binding == 1 },
                },
                has_dynamic_offset: binding == 0 && probe.dynamic,
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(probe.name),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    };
    let checks = match checked {
        true => wgpu::ShaderRuntimeChecks::checked(),
        false => wgpu::ShaderRuntimeChecks::unchecked(),
    };
    // SAFETY: the kernels above stay within buffers of WORDS words, one for each invocation.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(probe.name),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: probe.constants,
            zero_initialize_workgroup_memory: true,
        },
        cache: None,
    });
    let resource = |binding: u32| match binding {
        0 => wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &uniform,
            offset: 0,
            size: std::num::NonZeroU64::new(16),
        }),
        1 => x_buffer.as_entire_binding(),
        _ => y_buffer.as_entire_binding(),
    };
    let entries: Vec<wgpu::BindGroupEntry> = bindings
        .iter()
        .map(|&binding| wgpu::BindGroupEntry { binding, resource: resource(binding) })
        .collect();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &layout,
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, if probe.dynamic { &[256] } else { &[] });
        for _ in 0..probe.times {
            pass.dispatch_workgroups(N.div_ceil(64) as u32, 1, 1);
        }
    }
    queue.submit([encoder.finish()]);
    let internal = pollster::block_on(internal.pop());
    if let Some(e) = pollster::block_on(scope.pop()).or(internal) {
        return Err(e.to_string());
    }
    read(device, queue, &y_buffer)
}

/// What comes before kernels: values to the device and back, and buffers that are cleared.
fn copies(device: &wgpu::Device, queue: &wgpu::Queue) -> bool {
    use wgpu::BufferUsages as U;
    let values: Vec<f32> = (0..N).map(x).collect();
    let usage = U::STORAGE | U::COPY_SRC | U::COPY_DST;
    let mapped = device.create_buffer_init(&BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(&values),
        usage,
    });
    let mut ok = judge("a buffer made with its values", read(device, queue, &mapped), x);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * N as u64,
        usage,
        mapped_at_creation: false,
    });
    ok &= judge("a new buffer is zero", read(device, queue, &buffer), |_| 0.0);
    queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
    ok &= judge("write_buffer", read(device, queue, &buffer), x);
    let mut encoder = device.create_command_encoder(&Default::default());
    encoder.clear_buffer(&buffer, 0, None);
    queue.submit([encoder.finish()]);
    ok & judge("clear_buffer", read(device, queue, &buffer), |_| 0.0)
}

/// Some of wgrad's operations, each against the CPU.
fn tensors(device: wgrad::Device) -> bool {
    use wgrad::prelude::*;
    type Operation = fn(Device) -> Result<Tensor>;
    let operations: [(&str, Operation); 9] = [
        ("pointwise", |d| (Tensor::randn([300, 70], d, 1)?.tanh()? * 3.0)?.exp()),
        ("sum", |d| Tensor::randn([300, 70], d, 1)?.sum(0, false)),
        ("maximum", |d| Tensor::randn([300, 70], d, 1)?.max(-1, false)),
        ("softmax", |d| Tensor::randn([70, 300], d, 1)?.softmax(-1)),
        ("matmul", |d| Tensor::randn([33, 65], d, 1)?.matmul(Tensor::randn([65, 47], d, 2)?)),
        ("large matmul", |d| Tensor::randn([640, 40], d, 1)?.matmul(Tensor::randn([40, 512], d, 2)?)),
        ("conv2d", |d| {
            Tensor::randn([2, 20, 20, 8], d, 1)?
                .conv2d(&Tensor::randn([3, 3, 8, 16], d, 2)?, Default::default())
        }),
        ("gradient of conv2d", |d| {
            let w = Tensor::randn([3, 3, 8, 16], d, 2)?.watch()?;
            let y = Tensor::randn([2, 20, 20, 8], d, 1)?.conv2d(&w, Default::default())?;
            y.square()?.mean(.., false)?.backward()?.get(&w)
        }),
        ("cumsum", |d| Tensor::randn([40, 90], d, 1)?.cumsum(1)),
    ];
    let mut ok = true;
    for (name, operation) in operations {
        let run = || -> Result<f64> {
            let got = operation(device)?.to_vec::<f32>()?;
            let want = operation(Device::Cpu)?.to_vec::<f32>()?;
            let scale = want.iter().fold(1e-6f64, |m, &v| m.max(f64::from(v.abs())));
            let off =
                |(&g, &w): (&f32, &f32)| if g.is_finite() { f64::from((g - w).abs()) } else { f64::INFINITY };
            Ok(got.iter().zip(&want).map(off).fold(0.0, f64::max) / scale)
        };
        match run() {
            Ok(off) => {
                println!("  {} {name}: {off:.1e}", if off <= 2e-5 { "ok    " } else { "WRONG " });
                ok &= off <= 2e-5;
            }
            Err(e) => {
                println!("  FAILED {name}: {e}");
                ok = false;
            }
        }
    }
    ok
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let filter =
        arguments.iter().find(|a| !a.starts_with("--")).map(|f| f.to_lowercase()).unwrap_or_default();
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    if adapters.is_empty() {
        println!("no adapters");
    }
    let mut ok = !adapters.is_empty();
    for adapter in adapters {
        let info = adapter.get_info();
        let name = format!(
            "{} ({:?}, {:?}; {} {})",
            info.name, info.backend, info.device_type, info.driver, info.driver_info
        );
        println!("{name}");
        if !name.to_lowercase().contains(&filter) {
            println!("  not asked for");
            continue;
        }
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            required_limits: adapter.limits(),
            required_features: adapter.features() & wgpu::Features::SUBGROUP,
            ..Default::default()
        });
        let (device, queue) = match pollster::block_on(request) {
            Ok(opened) => opened,
            Err(e) => {
                println!("  FAILED to open: {e}");
                ok = false;
                continue;
            }
        };
        ok &= copies(&device, &queue);
        for checked in [true, false] {
            if has("--unchecked") && checked {
                continue;
            }
            println!("  -- {}", if checked { "bounds-checked" } else { "unchecked" });
            for probe in PROBES {
                ok &= judge(probe.name, run(&device, &queue, probe, checked), probe.want);
            }
        }
    }
    for info in wgrad::Device::list() {
        let name = format!("{} ({})", info.name, info.backend);
        if info.device == wgrad::Device::Cpu || !name.to_lowercase().contains(&filter) {
            continue;
        }
        if has("--tensors") {
            println!("{name}, wgrad");
            ok &= tensors(info.device);
        }
        if has("--self-check") {
            match info.device.self_check() {
                Ok(report) => {
                    println!("{report}");
                    ok &= report.passed();
                }
                Err(e) => {
                    println!("{name}: {e}");
                    ok = false;
                }
            }
        }
    }
    std::process::exit(if ok { 0 } else { 1 });
}
