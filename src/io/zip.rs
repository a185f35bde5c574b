//! Zip archives, which `.npz`, `.keras` and PyTorch's files are.

use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Deflate makes nothing smaller than this.
const BEST_RATIO: u64 = 1032;

/// An archive in memory.
pub(super) struct Archive<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Archive<'a> {
    pub fn open(content: &'a [u8]) -> Result<Archive<'a>, String> {
        let archive = ZipArchive::new(Cursor::new(content));
        archive.map(Archive).map_err(|e| format!("is no zip archive, or is damaged: {e}"))
    }

    /// The names of all files, in the archive's order.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let names = self.0.file_names().map(|name| name.map(|n| n.to_string()));
        names.collect::<Result<_, _>>().map_err(|e| format!("is no zip archive, or is damaged: {e}"))
    }

    /// The content of one file, checked against its check sum.
    pub fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let mut file = self.0.by_name(name).map_err(|e| format!("{name}: {e}"))?;
        let (size, compressed) = (file.size(), file.compressed_size());
        // A size in a damaged archive must not make memory run out.
        if size > compressed.saturating_mul(BEST_RATIO).saturating_add(64) {
            return Err(format!("{name} is damaged: {compressed} bytes can't become {size}"));
        }
        let mut content = Vec::new();
        let read = file.by_ref().take(size.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|e| format!("{name} is damaged: {e}"))?;
        if content.len() as u64 != size {
            return Err(format!("{name} is damaged: it should have {size} bytes"));
        }
        Ok(content)
    }
}

/// An archive of uncompressed files.
pub(super) fn pack(files: &[(String, Vec<u8>)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(content.len() as u64 > u64::from(u32::MAX) / 2);
        writer.start_file(name.as_str(), options)?;
        writer.write_all(content)?;
    }
    Ok(writer.finish()?.into_inner())
}
