//! Zip archives, which `.npz`, `.keras` and PyTorch's files are.

use super::budget::{Budget, Loan};
use super::npy::Encoded;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::ops::Deref;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Deflate makes nothing smaller than this.
const BEST_RATIO: u64 = 1032;
/// What the directory of an archive takes in memory for each file, about.
const ENTRY: usize = 512;

/// An archive in memory.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    budget: &'a Budget,
    _directory: Loan<'a>,
}

/// The content of one file of an archive.
pub(super) struct Entry<'a> {
    bytes: Vec<u8>,
    _loan: Loan<'a>,
}

impl Deref for Entry<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn damaged(e: impl std::fmt::Display) -> String {
    format!("is no zip archive, or is damaged: {e}")
}

impl<'a> Archive<'a> {
    pub fn open(content: &'a [u8], budget: &'a Budget) -> Result<Archive<'a>, String> {
        let mut zip = ZipArchive::new(Cursor::new(content)).map_err(damaged)?;
        let directory = budget.try_lend(zip.len().saturating_mul(ENTRY))?;
        // Files that share bytes are how a small archive becomes a large one; nobody who packs arrays writes such.
        if zip.has_overlapping_entries().map_err(damaged)? {
            return Err("is damaged: files of the archive overlap".into());
        }
        Ok(Archive { zip, budget, _directory: directory })
    }

    /// The names of all files, in the archive's order.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let names = self.zip.file_names().map(|name| name.map(|n| n.to_string()));
        names.collect::<Result<_, _>>().map_err(damaged)
    }

    /// The content of one file, checked against its check sum.
    pub fn read(&mut self, name: &str) -> Result<Entry<'a>, String> {
        let mut file = self.zip.by_name(name).map_err(|e| format!("{name}: {e}"))?;
        let (size, compressed) = (file.size(), file.compressed_size());
        let length = usize::try_from(size).ok();
        // A size in a damaged archive must not make memory run out.
        let Some(length) =
            length.filter(|_| size <= compressed.saturating_mul(BEST_RATIO).saturating_add(64))
        else {
            return Err(format!("{name} is damaged: {compressed} bytes can't become {size}"));
        };
        let loan = self.budget.try_lend(length).map_err(|e| format!("{name} {e}"))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|e| format!("{name}: no memory for {size} bytes: {e}"))?;
        let read = file.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| format!("{name} is damaged: {e}"))?;
        if bytes.len() != length {
            return Err(format!("{name} is damaged: it should have {size} bytes"));
        }
        Ok(Entry { bytes, _loan: loan })
    }
}

/// Writes an archive of arrays that are not compressed.
pub(super) fn pack(files: &[(String, Encoded)], out: &mut File) -> io::Result<()> {
    let mut writer = ZipWriter::new(out);
    for (name, array) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(array.len() as u64 > u64::from(u32::MAX) / 2);
        writer.start_file(name.as_str(), options)?;
        array.write(&mut writer)?;
    }
    writer.finish()?;
    Ok(())
}
