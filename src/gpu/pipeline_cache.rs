//! The driver's compiled pipelines, kept between runs where the backend can (Vulkan).
//!
//! What the driver gave is kept behind a header of our own: magic, a checksum of all that follows, what it was made for, and
//! its length. A driver may crash on damaged data, and wgpu takes some damage for a mistake of its user and makes the cache,
//! and every pipeline that uses it, invalid. So nothing is handed over that is not, byte for byte, what was handed out.

use crate::files::{cache_folder, make_folders, write_whole};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const MAGIC: [u8; 8] = *b"wgradpc1";
/// Magic, checksum, and the lengths of key and data.
const HEADER: usize = 32;
/// Above what any driver makes of wgrad's kernels; a larger file is none of ours.
const MAX_BYTES: u64 = 256 << 20;

pub(super) struct PipelineCache {
    /// What pipelines are made with; `None` where the driver won't have one.
    pub raw: Option<wgpu::PipelineCache>,
    path: PathBuf,
    key: String,
    /// Bytes of the driver's data when it was read or written last.
    saved: AtomicUsize,
}

impl PipelineCache {
    /// The cache of an adapter, with what earlier runs left in the user's folder.
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<PipelineCache> {
        let name = wgpu::util::pipeline_cache_key(info)?;
        let path = cache_folder("pipelines")?.join(&name);
        // Another version of the driver compiles anew.
        let key = format!("{name} {} {}", info.driver, info.driver_info);
        Some(Self::open_file(device, path, key))
    }

    fn open_file(device: &wgpu::Device, path: PathBuf, key: String) -> PipelineCache {
        // A file of this size would be refused anyway; what is no file may never end.
        let readable = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
        let content = if readable { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let data = unpack(&content, &key);
        let found = data.and_then(|data| Some((create(device, Some(data))?, data.len())));
        let (raw, saved) = match found {
            Some((raw, length)) => (Some(raw), length),
            // Refused or none: begun anew, and written over what was refused as soon as there is something to keep.
            None => (create(device, None), 0),
        };
        PipelineCache { raw, path, key, saved: AtomicUsize::new(saved) }
    }

    /// Writes what the driver has compiled, where that is more than before. Losing it costs a compilation, nothing else:
    /// what goes wrong is not reported.
    pub fn save(&self) {
        let Some(data) = self.raw.as_ref().and_then(wgpu::PipelineCache::get_data) else { return };
        let new = self.saved.swap(data.len(), Relaxed) != data.len();
        if new && data.len() as u64 <= MAX_BYTES / 2 && make_folders(&self.path).is_ok() {
            let _ = write_whole(&self.path, &pack(&data, &self.key));
        }
    }
}

/// A cache of the driver that begins with this data; `None` where it is refused.
fn create(device: &wgpu::Device, data: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let descriptor = wgpu::PipelineCacheDescriptor { label: None, data, fallback: true };
    // SAFETY: the data is, by its checksum, what this driver's `get_data` gave to `save`; `fallback` makes the driver start
    // empty where it does not recognise it.
    let raw = unsafe { device.create_pipeline_cache(&descriptor) };
    let failed = [memory, internal, validation].map(|scope| pollster::block_on(scope.pop()).is_some());
    (!failed.contains(&true)).then_some(raw)
}

/// FNV-1a: no change of a single byte leaves it as it was, and others do one time in 2^64.
pub(super) fn checksum<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The file of a driver's data.
fn pack(data: &[u8], key: &str) -> Vec<u8> {
    let lengths = [(key.len() as u64).to_le_bytes(), (data.len() as u64).to_le_bytes()].concat();
    let sum = checksum(lengths.iter().chain(key.as_bytes()).chain(data));
    [&MAGIC[..], &sum.to_le_bytes(), &lengths, key.as_bytes(), data].concat()
}

/// The driver's data in a file, if it is whole and of this key.
fn unpack<'a>(file: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (header, rest) = file.split_at_checked(HEADER)?;
    let word = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let (found, data) = rest.split_at_checked(usize::try_from(word(16)?).ok()?)?;
    let whole = header.starts_with(&MAGIC) && word(24)? == data.len() as u64 && found == key.as_bytes();
    (whole && word(8)? == checksum(file.get(16..)?)).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::seed::derive;
    use std::path::Path;

    const KEY: &str = "an adapter, a driver";

    #[test]
    fn no_flipped_bit_and_no_cut_is_taken_for_the_drivers_data() {
        let data: Vec<u8> = (0..=255).cycle().take(700).collect();
        let file = pack(&data, KEY);
        assert_eq!(unpack(&file, KEY), Some(&data[..]));
        assert_eq!(unpack(&pack(&[], KEY), KEY), Some(&[][..]));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(unpack(&damaged, KEY), None, "bit {bit} of byte {at}");
            }
            assert_eq!(unpack(&file[..at], KEY), None, "cut off after {at} bytes");
        }
        assert_eq!(unpack(&[&file[..], b"x"].concat(), KEY), None);
        assert_eq!(unpack(&file, "another driver"), None);
        // Several places at once: numbers that lie, pieces that are lost or come twice.
        for case in 0..100_000 {
            let mut damaged = file.clone();
            for change in 0..1 + case % 3 {
                let random = derive(case, change);
                let (at, value) = ((random >> 16) as usize % damaged.len(), (random >> 8) as u8);
                match random % 4 {
                    0 => damaged[at] = value,
                    1 => damaged.iter_mut().skip(at / 8 * 8).take(8).for_each(|b| *b = value),
                    2 => drop(damaged.drain(at..(at + 1 + value as usize / 8).min(damaged.len()))),
                    _ => damaged.extend_from_within(at..),
                }
            }
            assert!(damaged == file || unpack(&damaged, KEY).is_none(), "case {case}");
        }
        // What earlier versions wrote, and lengths that lie.
        assert_eq!(unpack(&data, KEY), None);
        let mut lying = file;
        lying[16..32].fill(0xff);
        assert_eq!(unpack(&lying, KEY), None);
    }

    /// The pipeline of a small kernel, made with a cache; the driver's words if it is refused.
    fn compile(device: &wgpu::Device, cache: &PipelineCache) -> Option<wgpu::Error> {
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let source = wgpu::ShaderSource::Wgsl("@compute @workgroup_size(1) fn main() {}".into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let _ = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: cache.raw.as_ref(),
        });
        pollster::block_on(scope.pop())
    }

    #[test]
    fn a_damaged_pipeline_cache_made_the_gpu_unusable() {
        let engine = crate::gpu::engine(Device::Gpu).unwrap();
        let gpu = &engine.gpu;
        if !gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/cache");
        let open = || PipelineCache::open_file(&gpu.device, path.clone(), KEY.into());
        let usable = |what: &dyn std::fmt::Display| {
            let cache = open();
            assert!(compile(&gpu.device, &cache).is_none(), "{what}");
            cache.save();
            gpu.check().unwrap();
        };
        usable(&"no file");
        let good = std::fs::read(&path).unwrap();
        let data = unpack(&good, KEY).unwrap().to_vec();
        // It is read again, and not written again where nothing is new.
        assert_eq!(open().saved.load(Relaxed), data.len());
        let damage = |content: &[u8], what: &dyn std::fmt::Display| {
            std::fs::write(&path, content).unwrap();
            assert_eq!(open().saved.load(Relaxed), 0, "{what}");
            usable(what);
            // Written anew, whole.
            assert!(unpack(&std::fs::read(&path).unwrap(), KEY).is_some(), "{what}");
        };
        for at in (0..HEADER + KEY.len() + 96).chain((0..good.len()).step_by(good.len() / 50 + 1)) {
            let mut content = good.clone();
            content[at] ^= 0x41;
            damage(&content, &format!("byte {at}"));
        }
        for length in [0, 1, 31, 32, 60, good.len() - 1] {
            damage(&good[..length], &format!("{length} bytes"));
        }
        damage(&data, &"without our header");
        // Whole by our header, and refused by wgpu or the driver: every byte of their headers.
        for at in 0..(56 + 40).min(data.len()) {
            let mut refused = data.clone();
            refused[at] ^= 0x41;
            std::fs::write(&path, pack(&refused, KEY)).unwrap();
            usable(&format!("byte {at} of the driver's data"));
        }
        // What can't be written is not: a folder in its place, a folder that can't be made.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        usable(&"a folder");
        assert!(path.is_dir());
        std::fs::remove_dir_all(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("deep"), "a file").unwrap();
        usable(&"a file in the place of its folder");
        assert!(Path::new(&path).parent().is_some_and(Path::is_file));
    }
}
