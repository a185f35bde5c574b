//! Where the chunks of a dataset are: five kinds of index, by how the dataset may grow.

use super::super::super::budget::{Budget, DEEPEST};
use super::cursor::{Cursor, UNDEFINED, cut};
use super::file::File;

/// A chunk in the file.
pub(super) struct Chunk {
    /// Its place among the chunks, in each dimension.
    pub place: Vec<u64>,
    pub address: u64,
    pub length: usize,
    /// The filters that it was spared.
    pub mask: u32,
}

/// What the description of a chunk takes in memory, about.
const CHUNK: usize = 128;

/// How a dataset is cut into chunks.
pub(super) struct Grid<'a> {
    pub budget: &'a Budget,
    /// Elements of a chunk in each dimension.
    pub chunk: Vec<u64>,
    /// Chunks in each dimension.
    pub counts: Vec<u64>,
    /// Chunks in each dimension when the dataset has grown as far as it may; 0 where that is without end.
    pub most: Vec<u64>,
    /// Bytes of a chunk that no filter has made smaller.
    pub length: usize,
    pub filtered: bool,
}

impl Grid<'_> {
    /// The place of the n-th chunk. They are counted row by row in the shape that the dataset may grow to; a dimension that
    /// has no end counts as the outermost.
    fn place(&self, n: u64) -> Option<Vec<u64>> {
        let endless = self.most.iter().position(|&most| most == 0);
        let mut place = vec![0; self.most.len()];
        let mut rest = n;
        for d in (0..self.most.len()).rev().filter(|&d| Some(d) != endless) {
            place[d] = rest.checked_rem(self.most[d])?;
            rest /= self.most[d];
        }
        match endless {
            Some(d) => place[d] = rest,
            None if rest > 0 => return None,
            None => {}
        }
        Some(place)
    }

    /// How many chunks there may be up to the last one inside the dataset.
    fn total(&self) -> Result<u64, String> {
        let mut sizes =
            self.most.iter().zip(&self.counts).map(|(&most, &now)| if most == 0 { now } else { most });
        sizes.try_fold(1u64, |n, size| n.checked_mul(size)).ok_or_else(cut)
    }

    /// Adds the n-th chunk, which an element of an array describes.
    fn add(&self, n: u64, mut element: Cursor, out: &mut Vec<Chunk>) -> Result<(), String> {
        let address = element.u64()?;
        // Arrays have room for more than there is.
        let Some(place) = self.place(n).filter(|_| address != UNDEFINED) else { return Ok(()) };
        let (length, mask) = if self.filtered {
            let width = element.0.len().checked_sub(4).ok_or_else(cut)?;
            (element.size(width)?, element.u32()?)
        } else {
            (self.length, 0)
        };
        self.budget.try_charge(CHUNK)?;
        out.push(Chunk { place, address, length, mask });
        Ok(())
    }
}

impl<'a> File<'a> {
    /// The chunks of a layout of version 3: a tree of chunks by where they begin.
    pub fn chunks_by_offset(
        &self,
        address: u64,
        grid: &Grid,
        depth: usize,
        out: &mut Vec<Chunk>,
    ) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("is damaged: it refers to itself".into());
        }
        let mut c = self.at(address)?;
        if c.bytes(4)? != b"TREE" || c.u8()? != 1 {
            return Err(cut());
        }
        let (level, count) = (c.u8()?, c.u16()?);
        c.bytes(16)?;
        for _ in 0..count {
            self.step()?;
            let (length, mask) = (c.size(4)?, c.u32()?);
            let mut place = Vec::new();
            for &chunk in &grid.chunk {
                let offset = c.u64()?;
                if offset % chunk != 0 {
                    return Err(cut());
                }
                place.push(offset / chunk);
            }
            // The place within an element.
            c.bytes(8)?;
            let child = c.u64()?;
            if level > 0 {
                self.chunks_by_offset(child, grid, depth + 1, out)?;
            } else {
                grid.budget.try_charge(CHUNK)?;
                out.push(Chunk { place, address: child, length, mask });
            }
        }
        Ok(())
    }

    /// The chunks of a layout of version 4, from where its kind of index stands.
    pub fn chunks(&self, mut c: Cursor, flags: u8, grid: &Grid) -> Result<Vec<Chunk>, String> {
        let mut out = Vec::new();
        let kind = c.u8()?;
        match kind {
            // A single one.
            1 => {
                let (length, mask) = if flags & 2 != 0 { (c.size(8)?, c.u32()?) } else { (grid.length, 0) };
                let address = c.u64()?;
                if address != UNDEFINED {
                    out.push(Chunk { place: vec![0; grid.counts.len()], address, length, mask });
                }
            }
            // One after the other, all of them.
            2 => {
                let address = c.u64()?;
                for n in 0..if address == UNDEFINED { 0 } else { grid.total()? } {
                    self.step()?;
                    let at = n.checked_mul(grid.length as u64).and_then(|at| at.checked_add(address));
                    let place = grid.place(n).ok_or_else(cut)?;
                    let address = at.ok_or_else(cut)?;
                    grid.budget.try_charge(CHUNK)?;
                    out.push(Chunk { place, address, length: grid.length, mask: 0 });
                }
            }
            3 => {
                c.bytes(1)?;
                self.fixed_array(c.u64()?, grid, &mut out)?;
            }
            4 => {
                c.bytes(5)?;
                self.extensible_array(c.u64()?, grid, &mut out)?;
            }
            5 => {
                c.bytes(6)?;
                self.chunk_tree(c.u64()?, grid, &mut out)?;
            }
            _ => return Err(format!("has an index of chunks of the unknown kind {kind}")),
        }
        Ok(out)
    }

    fn chunk_tree(&self, address: u64, grid: &Grid, out: &mut Vec<Chunk>) -> Result<(), String> {
        if address == UNDEFINED {
            return Ok(());
        }
        let tree = self.tree_2(address)?;
        let place_bytes = 8 * grid.counts.len();
        let width = if grid.filtered { tree.record.checked_sub(8 + 4 + place_bytes) } else { Some(0) };
        let width = width.filter(|_| tree.kind == if grid.filtered { 11 } else { 10 }).ok_or_else(cut)?;
        for record in tree.records {
            let mut c = Cursor(record);
            let address = c.u64()?;
            let (length, mask) = if grid.filtered { (c.size(width)?, c.u32()?) } else { (grid.length, 0) };
            let place = grid.counts.iter().map(|_| c.u64()).collect::<Result<_, _>>()?;
            grid.budget.try_charge(CHUNK)?;
            out.push(Chunk { place, address, length, mask });
        }
        Ok(())
    }

    /// An array whose length never changes.
    fn fixed_array(&self, address: u64, grid: &Grid, out: &mut Vec<Chunk>) -> Result<(), String> {
        if address == UNDEFINED {
            return Ok(());
        }
        let mut c = self.at(address)?;
        c.signature(b"FAHD", 0)?;
        c.bytes(1)?;
        let (size, bits) = (c.size(1)?, c.u8()?);
        let (count, block) = (c.u64()?, c.u64()?);
        if block == UNDEFINED {
            return Ok(());
        }
        let mut c = self.at(block)?;
        c.signature(b"FADB", 0)?;
        c.bytes(1 + 8)?;
        let page = 1u64.checked_shl(bits.into()).ok_or_else(cut)?;
        self.elements(c, (0, count), page, size, None, grid, out)
    }

    /// Elements in a row from the n-th on, or in pages of which each has a check sum. Which pages there are is said by bits
    /// before them, or by `present`, from one of its bits on.
    #[allow(clippy::too_many_arguments)]
    fn elements(
        &self,
        mut c: Cursor,
        (first, count): (u64, u64),
        page: u64,
        size: usize,
        present: Option<(&[u8], u64)>,
        grid: &Grid,
        out: &mut Vec<Chunk>,
    ) -> Result<(), String> {
        let paged = count > page;
        let pages = if paged { count.div_ceil(page) } else { 1 };
        let bytes = usize::try_from(pages.div_ceil(8)).map_err(|_| cut())?;
        let own;
        let present = match present {
            Some(present) => present,
            None if paged => {
                own = c.bytes(bytes)?;
                (own, 0)
            }
            None => (&[][..], 0),
        };
        // The check sum of what stands before pages.
        c.bytes(if paged { 4 } else { 0 })?;
        for n in 0..pages {
            self.step()?;
            let begin = n * page;
            let length = if paged { page.min(count - begin) } else { count };
            let length = usize::try_from(length).ok().and_then(|n| n.checked_mul(size)).ok_or_else(cut)?;
            let mut elements = Cursor(c.bytes(length)?);
            c.bytes(if paged { 4 } else { 0 })?;
            let bit = |n: u64| Some((present.0.get(usize::try_from(n / 8).ok()?)? >> (7 - n % 8)) & 1 == 1);
            if paged && bit(present.1 + n) != Some(true) {
                continue;
            }
            let mut at = first + begin;
            while !elements.0.is_empty() {
                self.step()?;
                grid.add(at, Cursor(elements.bytes(size.max(1))?), out)?;
                at += 1;
            }
        }
        Ok(())
    }

    /// An array that grows at its end: elements in its index, in blocks, and in blocks of blocks, ever larger ones.
    fn extensible_array(&self, address: u64, grid: &Grid, out: &mut Vec<Chunk>) -> Result<(), String> {
        if address == UNDEFINED {
            return Ok(());
        }
        let mut c = self.at(address)?;
        c.signature(b"EAHD", 0)?;
        c.bytes(1)?;
        let (size, bits) = (c.size(1)?, c.u8()?);
        let in_index = u64::from(c.u8()?);
        let (least, pointers) = (u64::from(c.u8()?), u64::from(c.u8()?));
        let page = 1u64.checked_shl(c.u8()?.into()).ok_or_else(cut)?;
        c.bytes(6 * 8)?;
        let index = c.u64()?;
        if index == UNDEFINED {
            return Ok(());
        }
        if bits > 64 || !least.is_power_of_two() || !pointers.is_power_of_two() {
            return Err(cut());
        }
        let offset_width = usize::from(bits).div_ceil(8);
        let supers = u64::from(bits).checked_sub(least.ilog2().into()).ok_or_else(cut)? + 1;
        let direct = 2 * u64::from(pointers.ilog2());
        let mut c = self.at(index)?;
        c.signature(b"EAIB", 0)?;
        c.bytes(1 + 8)?;
        for n in 0..in_index {
            grid.add(n, Cursor(c.bytes(size)?), out)?;
        }
        let total = grid.total()?;
        let mut blocks = Cursor(c.bytes(usize::try_from(2 * (pointers - 1)).map_err(|_| cut())? * 8)?);
        let mut first = in_index;
        for level in 0..supers {
            // So many blocks of so many elements.
            let count = 1u64.checked_shl((level / 2) as u32).ok_or_else(cut)?;
            let each = 1u64.checked_shl(level.div_ceil(2) as u32).and_then(|n| n.checked_mul(least));
            let each = each.ok_or_else(cut)?;
            if first >= total {
                break;
            }
            let pages = if each > page { each / page } else { 0 };
            let bitmap = usize::try_from(pages.div_ceil(8)).map_err(|_| cut())?;
            let mut list = blocks;
            // The bits of all blocks' pages, without gaps.
            let mut present = &[][..];
            if level >= direct {
                let address = c.u64()?;
                if address == UNDEFINED {
                    first = first.saturating_add(count.saturating_mul(each));
                    continue;
                }
                list = self.at(address)?;
                list.signature(b"EASB", 0)?;
                list.bytes(1 + 8 + offset_width)?;
                let length = usize::try_from(count).ok().and_then(|n| n.checked_mul(bitmap));
                present = list.bytes(length.ok_or_else(cut)?)?;
            }
            for n in 0..count {
                self.step()?;
                let address = list.u64()?;
                if address != UNDEFINED && first < total {
                    let mut c = self.at(address)?;
                    c.signature(b"EADB", 0)?;
                    c.bytes(1 + 8 + offset_width)?;
                    self.elements(c, (first, each), page, size, Some((present, n * pages)), grid, out)?;
                }
                first = first.saturating_add(each);
            }
            if level < direct {
                blocks = list;
            }
        }
        Ok(())
    }
}
