//! Event files, which TensorBoard shows.
//!
//! A file is a sequence of TFRecords: length (u64), its checksum, the data, their checksum, all little-endian; checksums are
//! CRC-32C, masked as in tensorflow/core/lib/hash/crc32c.h. The data are protocol buffers `Event` of
//! tensorflow/core/util/event.proto: `wall_time` (1, double), `step` (2, int64), and one of `file_version` (3, string) and
//! `summary` (5); a `Summary` has values (1), each with a `tag` (1, string) and a `simple_value` (2, float).

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The table of CRC-32C (Castagnoli's polynomial, reflected).
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 * (crc & 1));
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc32c(data: &[u8]) -> u32 {
    let next = |crc: u32, &byte: &u8| (crc >> 8) ^ CRC[usize::from(crc as u8 ^ byte)];
    !data.iter().fold(!0, next)
}

/// A checksum of data that may hold checksums themselves.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

/// Wire types of protocol buffers.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn bytes(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    key(out, field, BYTES);
    varint(out, data.len() as u64);
    out.extend(data);
}

/// The first event of a file.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED64);
    event.extend(wall_time.to_le_bytes());
    bytes(&mut event, 3, b"brain.Event:2");
    event
}

fn scalar_event(wall_time: f64, step: u64, tag: &str, scalar: f32) -> Vec<u8> {
    let (mut event, mut summary, mut value) = (Vec::new(), Vec::new(), Vec::new());
    bytes(&mut value, 1, tag.as_bytes());
    key(&mut value, 2, FIXED32);
    value.extend(scalar.to_le_bytes());
    bytes(&mut summary, 1, &value);
    key(&mut event, 1, FIXED64);
    event.extend(wall_time.to_le_bytes());
    // Fields that are zero are not written.
    if step != 0 {
        key(&mut event, 2, VARINT);
        varint(&mut event, step);
    }
    bytes(&mut event, 5, &summary);
    event
}

/// Writes scalars that TensorBoard shows as curves (`tf.summary.create_file_writer` and `tf.summary.scalar`).
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::SummaryWriter;
/// # fn main() -> Result<()> {
/// # let folder = std::env::temp_dir().join(format!("wgrad-doc-events-{}", std::process::id()));
/// let mut writer = SummaryWriter::create(folder.join("my_run"))?;
/// for step in 0..10 {
///     writer.scalar("square", step, (step * step) as f64)?;
/// }
/// writer.flush()?;
/// // $ tensorboard --logdir <folder>
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SummaryWriter {
    path: PathBuf,
    file: File,
    /// What is not yet written.
    pending: Vec<u8>,
}

impl SummaryWriter {
    /// A new file in a folder, which is made: TensorBoard takes each folder for a run, and all files in it together.
    ///
    /// # Errors
    ///
    /// The folder or the file can't be made.
    pub fn create(folder: impl AsRef<Path>) -> Result<SummaryWriter> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let now = wall_time();
        let (path, file) = loop {
            // TensorBoard looks for "tfevents", and reads files in the order of their names: the time comes first.
            let name = format!(
                "events.out.tfevents.{:010}.wgrad.{}.{}",
                now as u64,
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            );
            let path = folder.join(name);
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                // Another container numbers its processes alike.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io(path, e)),
            }
        };
        let mut writer = SummaryWriter { path, file, pending: record(&version_event(now)) };
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a point to the curve of a name. Names with a slash are shown in groups.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.pending.extend(record(&scalar_event(wall_time(), step, tag, value as f32)));
        if self.pending.len() >= 1 << 16 { self.flush() } else { Ok(()) }
    }

    /// Writes what was added. A writer that is dropped does so, too, and can't tell of an error.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.pending).and_then(|()| self.file.flush());
        self.pending.clear();
        written.map_err(|e| Error::io(&self.path, e))
    }
}

impl Drop for SummaryWriter {
    fn drop(&mut self) {
        // Whoever wants to know of an error calls flush.
        let _ = self.flush();
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        // Appendix B.4
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
    }

    /// The fixture is what tests/golden/events.py wrote with the package tensorboard.
    #[test]
    fn bytes_are_those_of_tensorboards_own_writer() {
        let mut ours = record(&version_event(1_700_000_000.25));
        for (step, tag, value) in [
            (0, "epoch_loss", 2.5f32),
            (1, "epoch_loss", 0.125),
            (300, "a/b c", -1e-7),
            (1 << 40, "x", f32::NAN),
        ] {
            ours.extend(record(&scalar_event(1_700_000_000.25 + step as f64, step, tag, value)));
        }
        let theirs = include_bytes!("../../tests/golden/events.bin");
        assert_eq!(ours, theirs);
    }
}
