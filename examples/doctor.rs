//! "Why does it fail here?": lists adapters, drivers, features and limits, checks every operation of each adapter against
//! the CPU, and says what to install or avoid.
//!
//! `cargo run --release --example doctor [-- --adapter NAME] [--json FILE] [--list]`. Ends with code 1 where something is
//! wrong.

use clap::Parser;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use wgrad::prelude::*;
use wgrad::{DeviceInfo, DeviceKind};

/// Find out whether this machine's GPUs and drivers compute what they should.
#[derive(Parser)]
struct Arguments {
    /// Check this adapter alone: its number, or a part of its name or driver.
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    /// List adapters and advice, check nothing.
    #[arg(long)]
    list: bool,
    /// Write all that was found to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What WebGPU promises at least, and what it means to have less.
const LEAST: [(&str, u64, &str); 6] = [
    ("max buffer bytes", 256 << 20, "large tensors fail; use smaller batches"),
    ("max binding bytes", 128 << 20, "large tensors fail; use smaller batches"),
    ("storage buffers per kernel", 8, "expressions are cut into more kernels; hand-written kernels may fail"),
    ("workgroup memory bytes", 16 << 10, "matrix products and convolutions fall back to slower kernels"),
    ("invocations per workgroup", 256, "matrix products and convolutions fall back to slower kernels"),
    ("workgroups per dimension", 65_535, "large tensors may fail"),
];

fn limit(info: &DeviceInfo, name: &str) -> Option<u64> {
    info.limits.iter().find(|l| l.0 == name).map(|l| l.1)
}

/// The version of Mesa in a driver's name, as in `llvmpipe Mesa 22.3.6 (LLVM 15.0.6)`.
fn mesa(driver: &str) -> Option<(u32, u32)> {
    let mut numbers = driver.split("Mesa ").nth(1)?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn advice(info: &DeviceInfo) -> Vec<String> {
    let mut list = Vec::new();
    let has = |feature: &str| info.features.iter().any(|f| f == feature);
    for (name, least, meaning) in LEAST {
        if let Some(have) = limit(info, name).filter(|&have| have < least) {
            list.push(format!("{name}: {have}, less than WebGPU's {least}: {meaning}"));
        }
    }
    if info.kind == DeviceKind::Software {
        list.push(
            "a software driver: it runs shaders on the CPU, for tests. Device::best() takes the CPU itself, which is faster"
                .into(),
        );
        if !has("subgroups") {
            list.push("no subgroups: matrix products take about twice as long; a newer Mesa has them".into());
        }
        if let Some((major, minor)) = mesa(&info.driver).filter(|&version| version < (23, 1)) {
            list.push(format!(
                "Mesa {major}.{minor} is old: its lavapipe cuts loops after 65,535 turns (wgrad's are shorter; a kernel of \
                 your own must mind it) and loses NaN in comparisons and maxima (look for NaN on the host). Install a newer \
                 one"
            ));
        }
    }
    if info.backend == "vulkan" && !has("pipeline cache") {
        list.push(
            "no pipeline cache: kernels are compiled anew by every program; a newer driver may have it"
                .into(),
        );
    }
    if !has("timestamps") {
        list.push("no timestamps: Device::profile runs kernels one by one".into());
    }
    list
}

/// Text in lines of at most 96 letters, the first begun with `first`, the others as far indented.
fn wrapped(first: &str, text: &str) -> String {
    let mut lines = vec![first.to_string()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].chars().count() + 1 + word.chars().count() > 96 {
            lines.push(format!("{}{word}", " ".repeat(first.len())));
        } else {
            let gap = if lines[last].len() == first.len() { "" } else { " " };
            lines[last].push_str(&format!("{gap}{word}"));
        }
    }
    lines.join("\n")
}

fn show(info: &DeviceInfo, number: usize, default: bool) {
    let which = if default { ", Device::Gpu" } else { "" };
    println!("adapter {number}: {} ({}, {}{which})", info.name, info.kind, info.backend);
    println!("  driver    {}", info.driver);
    let features = if info.features.is_empty() { "none".to_string() } else { info.features.join(", ") };
    println!("  features  {features}");
    for (row, pair) in info.limits.chunks(2).enumerate() {
        let cells: Vec<String> = pair.iter().map(|(name, value)| format!("{name:<27}{value:>12}")).collect();
        println!("  {:<8}  {}", if row == 0 { "limits" } else { "" }, cells.join("    "));
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(arguments: &Arguments) -> Result<bool> {
    let start = Instant::now();
    let host = std::thread::available_parallelism().map_or(1, |n| n.get());
    println!(
        "wgrad {} on {} {}, {host} hardware threads",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    for name in ["WGRAD_ADAPTER", "WGRAD_KERNELS", "WGRAD_LIMITS", "WGRAD_COMPUTE_UNITS", "WGRAD_TRIAL"] {
        if let Ok(wanted) = std::env::var(name) {
            println!("{name}={wanted}");
        }
    }
    let adapters: Vec<DeviceInfo> = Device::list().into_iter().filter(|d| d.device != Device::Cpu).collect();
    let wanted = match &arguments.adapter {
        Some(name) => Some(match name.parse::<usize>() {
            Ok(number) => Device::adapter(number)?,
            Err(_) => Device::named(name)?,
        }),
        None => None,
    };
    let mut well = true;
    let mut found: Vec<Value> = Vec::new();
    if let Err(e) = Device::Gpu.info() {
        println!("\n{}", wrapped("", &e.to_string()));
        well = false;
    }
    let chosen = |info: &DeviceInfo| wanted.is_none_or(|w| w == info.device);
    for (number, info) in adapters.iter().enumerate().filter(|(_, info)| chosen(info)) {
        println!();
        show(info, number, info.device == Device::Gpu);
        let advice = advice(info);
        for line in &advice {
            println!("{}", wrapped("  * ", line));
        }
        let mut entry = json!({
            "number": number,
            "name": info.name,
            "backend": info.backend,
            "kind": info.kind.to_string(),
            "driver": info.driver,
            "features": info.features,
            "limits": info.limits.iter().map(|(n, v)| (n.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
            "advice": advice,
        });
        if !arguments.list {
            println!();
            match info.device.self_check() {
                Ok(report) => {
                    println!("{report}");
                    if !report.passed() {
                        well = false;
                        let text = "Don't train on this adapter: update its driver, choose another one with WGRAD_ADAPTER, \
                                    or use Device::Cpu. Please report the table above.";
                        println!("{}", wrapped("", text));
                    }
                    entry["self_check"] = serde_json::from_str(&report.to_json()).unwrap_or_default();
                }
                Err(e) => {
                    well = false;
                    println!("{}", wrapped("", &e.to_string()));
                    entry["error"] = json!(e.to_string());
                }
            }
        }
        found.push(entry);
    }
    if !adapters.is_empty() && adapters.iter().all(|a| a.kind == DeviceKind::Software) {
        println!(
            "\n{}",
            wrapped(
                "",
                "No GPU was found, only software drivers. If this machine has one, install its driver: on Linux \
                 mesa-vulkan-drivers (AMD, Intel) or the vendor's (NVIDIA), and make sure that you may open /dev/dri \
                 (groups render and video); elsewhere update the graphics driver."
            )
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("\n{} ({seconds:.1} s)", if well { "all is well" } else { "something is wrong, see above" });
    if let Some(path) = &arguments.json {
        let report = json!({
            "wgrad": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "threads": host,
            "adapters": found,
            "well": well,
            "seconds": seconds,
        });
        std::fs::write(path, format!("{report:#}\n")).map_err(|e| Error::io(path, e))?;
        println!("wrote {}", path.display());
    }
    Ok(well)
}
