//! The bytes of a file, its superblock, and what reading it may still cost.

use super::super::super::budget::Budget;
use super::cursor::{Cursor, cut};
use std::cell::Cell;

pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    /// From the superblock on, which addresses count from.
    pub bytes: &'a [u8],
    pub budget: &'a Budget,
    /// Steps of all walks that are left.
    pub steps: &'a Cell<u64>,
    /// Bytes that can still be decompressed or copied.
    pub work: &'a Cell<u64>,
}

impl<'a> File<'a> {
    pub fn at(&self, address: u64) -> Result<Cursor<'a>, String> {
        let at = usize::try_from(address).map_err(|_| cut())?;
        self.bytes.get(at..).map(Cursor).ok_or_else(cut)
    }

    /// Counts a step: structures that refer to each other could be walked for ever.
    pub fn step(&self) -> Result<(), String> {
        let left = self.steps.get().checked_sub(1).ok_or("is damaged: it refers to itself")?;
        self.steps.set(left);
        Ok(())
    }

    pub fn work(&self, bytes: usize) -> Result<(), String> {
        let left = self.work.get().checked_sub(bytes as u64).ok_or("is damaged: its arrays overlap")?;
        self.work.set(left);
        Ok(())
    }

    /// The address of the root group.
    pub fn superblock(&self) -> Result<u64, String> {
        let mut c = Cursor(self.bytes.strip_prefix(SIGNATURE).ok_or("is no HDF5 file")?);
        let version = c.u8()?;
        match version {
            0 | 1 => c.bytes(4)?,
            2 | 3 => &[],
            _ => return Err(format!("is an HDF5 file of the unknown version {version}")),
        };
        let sizes = (c.u8()?, c.u8()?);
        if sizes != (8, 8) {
            return Err(format!(
                "has addresses of {} bytes and lengths of {}; 8 are supported",
                sizes.0, sizes.1
            ));
        }
        // Base address, free space, end of file, driver; the root entry's name. Or flags, base address, extension, end.
        c.bytes(match version {
            0 => 9 + 5 * 8,
            1 => 13 + 5 * 8,
            _ => 1 + 3 * 8,
        })?;
        c.u64()
    }
}
