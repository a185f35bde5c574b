//! Heaps: names of a group's members, text of any length, and the messages of groups with many links.

use super::cursor::{Cursor, UNDEFINED, cut, width_of};
use super::file::File;

impl<'a> File<'a> {
    /// A group's names, which stand one after the other, each ended by a zero.
    pub fn local_heap(&self, address: u64) -> Result<&'a [u8], String> {
        let mut c = self.at(address)?;
        c.signature(b"HEAP", 0)?;
        c.bytes(3)?;
        let length = c.size(8)?;
        c.bytes(8)?;
        self.at(c.u64()?)?.bytes(length)
    }

    /// An object of a heap of the whole file.
    pub fn global_heap(&self, address: u64, index: u32) -> Result<&'a [u8], String> {
        let mut c = self.at(address)?;
        c.signature(b"GCOL", 1)?;
        c.bytes(3)?;
        let size = c.size(8)?.checked_sub(16).ok_or_else(cut)?;
        let mut heap = Cursor(c.bytes(size)?);
        loop {
            self.step()?;
            let at = heap.u16()?;
            heap.bytes(6)?;
            let size = heap.size(8)?;
            if at == 0 {
                return Err(cut());
            }
            if u32::from(at) == index {
                return heap.bytes(size);
            }
            heap.bytes(size.checked_next_multiple_of(8).ok_or_else(cut)?)?;
        }
    }

    pub fn fractal_heap(&self, address: u64) -> Result<FractalHeap<'a>, String> {
        let mut c = self.at(address)?;
        c.signature(b"FRHP", 0)?;
        c.bytes(2)?;
        let filtered = c.u16()? != 0;
        c.bytes(1)?;
        let largest = u64::from(c.u32()?);
        c.bytes(12 * 8)?;
        let width = c.size(2)?;
        let (start, largest_direct) = (c.u64()?, c.u64()?);
        let bits = c.u16()?;
        c.bytes(2)?;
        let (root, rows) = (c.u64()?, c.size(2)?);
        if filtered {
            return Err("keeps its links compressed, which is not supported".into());
        }
        let powers = start.is_power_of_two() && largest_direct.is_power_of_two() && width.is_power_of_two();
        if !powers || largest_direct < start || bits > 64 {
            return Err(cut());
        }
        Ok(FractalHeap {
            file: *self,
            width,
            start,
            direct_rows: (largest_direct / start).ilog2() as usize + 2,
            offset_width: usize::from(bits).div_ceil(8),
            length_width: (largest_direct.ilog2() as usize).div_ceil(8).min(width_of(largest)),
            root,
            rows,
        })
    }
}

/// A heap of blocks in rows, where each row's blocks are twice as large as those of the row before.
pub(super) struct FractalHeap<'a> {
    file: File<'a>,
    /// Blocks of a row.
    width: usize,
    /// Bytes of the first block.
    start: u64,
    /// Rows of blocks that hold objects; in those behind, blocks of blocks.
    direct_rows: usize,
    offset_width: usize,
    length_width: usize,
    root: u64,
    /// Rows of the root; without any, it is itself a block of objects.
    rows: usize,
}

impl<'a> FractalHeap<'a> {
    /// The object of an identifier.
    pub fn object(&self, id: &'a [u8]) -> Result<&'a [u8], String> {
        let mut c = Cursor(id);
        let first = c.u8()?;
        match (first >> 6, (first >> 4) & 3) {
            // In a block: by its place in all blocks together, one after the other.
            (0, 0) => {
                let (offset, length) = (c.uint(self.offset_width)?, c.size(self.length_width)?);
                let (block, begin) = self.block(offset)?;
                let at = offset.checked_sub(begin).and_then(|at| block.checked_add(at)).ok_or_else(cut)?;
                self.file.at(at)?.bytes(length)
            }
            // In the identifier itself.
            (0, 2) => c.bytes(usize::from(first & 0xf) + 1),
            _ => Err("has a link of unusual length, which is not supported".into()),
        }
    }

    /// Where a row begins, and how large its blocks are.
    fn row(&self, row: usize) -> Option<(u64, u64)> {
        let size = |row: usize| self.start.checked_shl(u32::try_from(row.saturating_sub(1)).ok()?);
        let block = size(row).filter(|&size| size >> row.saturating_sub(1) == self.start)?;
        let begin = if row == 0 { 0 } else { block.checked_mul(self.width as u64)? };
        Some((begin, block))
    }

    /// The address of the block of an offset, and the offset where it begins.
    fn block(&self, offset: u64) -> Result<(u64, u64), String> {
        if self.rows == 0 {
            return Ok((self.root, 0));
        }
        let (mut address, mut base, mut rows) = (self.root, 0u64, self.rows);
        // Each turn goes into a block of at most a row's size.
        loop {
            self.file.step()?;
            let within = offset.checked_sub(base).ok_or_else(cut)?;
            let found = (0..rows.min(64)).rev().find_map(|row| {
                let (begin, size) = self.row(row)?;
                let column = within.checked_sub(begin)? / size;
                Some((row, begin + column * size, size, usize::try_from(column).ok()?))
            });
            let (row, begin, size, column) = found.filter(|f| f.3 < self.width).ok_or_else(cut)?;
            let mut c = self.file.at(address)?;
            c.signature(b"FHIB", 0)?;
            c.bytes(8 + self.offset_width)?;
            c.bytes((row * self.width + column).checked_mul(8).ok_or_else(cut)?)?;
            let child = c.u64()?;
            if child == UNDEFINED {
                return Err(cut());
            }
            base = base.checked_add(begin).ok_or_else(cut)?;
            if row < self.direct_rows {
                return Ok((child, base));
            }
            let first_row = self.start.checked_mul(self.width as u64).ok_or_else(cut)?;
            rows = size.checked_div(first_row).and_then(u64::checked_ilog2).ok_or_else(cut)? as usize + 1;
            address = child;
        }
    }
}
