//! Datasets: the numbers of an object.

use super::super::super::elements::Stored;
use super::chunks::{Chunk, Grid};
use super::cursor::{Cursor, UNDEFINED, cut};
use super::file::File;
use super::filters;
use super::header::Object;
use crate::cpu::Array;
use crate::shape::Shape;
use std::collections::HashSet;

/// Elements of numbers.
#[derive(Clone, Copy)]
struct Datatype {
    stored: Stored,
    big_endian: bool,
}

impl<'a> File<'a> {
    /// The numbers of an object; `None` where it has none, such as text.
    pub fn array(&self, object: &Object<'a>) -> Result<Option<Array>, String> {
        let (Some(space), Some(layout)) = (object.dataspace, object.layout) else { return Ok(None) };
        let named = object.named_type.map(|at| self.header(at)).transpose()?;
        let Some(datatype) = named.map_or(object.datatype, |object| object.datatype) else { return Ok(None) };
        let (Some(kind), Some((dims, most))) = (kind_of(datatype)?, dims(space)?) else { return Ok(None) };
        let shape = Shape::new(&dims).map_err(|e| e.to_string())?;
        let length = kind.stored.bytes(&dims).ok_or_else(cut)?;
        if object.external {
            return Err("has its values in other files, which are not read".into());
        }
        let decode = |bytes: &[u8]| kind.stored.decode(bytes, kind.big_endian, shape, self.budget).map(Some);
        let mut c = layout;
        let version = c.u8()?;
        if !(3..=5).contains(&version) {
            return Err(format!("has a layout of the unknown version {version}"));
        }
        match c.u8()? {
            // In the header.
            0 => {
                let size = usize::from(c.u16()?);
                return decode(c.bytes(size)?.get(..length).ok_or_else(cut)?);
            }
            // In one piece.
            1 => {
                let address = c.u64()?;
                if length == 0 {
                    return decode(&[]);
                }
                if address != UNDEFINED {
                    return decode(self.at(address)?.bytes(length)?);
                }
            }
            2 => {}
            3 => return Err("is put together from other datasets (virtual), which are not read".into()),
            other => return Err(format!("has a layout of the unknown class {other}")),
        }
        // What nothing was written to has the fill value.
        let _loan = self.budget.try_lend(length)?;
        let mut bytes = Vec::new();
        let no_memory = |e| format!("has {length} bytes, for which there is no memory: {e}");
        bytes.try_reserve_exact(length).map_err(no_memory)?;
        match fill_of(object)?.filter(|fill| fill.len() == kind.stored.size()) {
            Some(fill) => (0..shape.numel()).for_each(|_| bytes.extend_from_slice(fill)),
            None => bytes.resize(length, 0),
        }
        if layout.0.get(1) == Some(&2) && length > 0 {
            self.chunked(version, c, object, kind.stored.size(), (&dims, &most), &mut bytes)?;
        }
        decode(&bytes)
    }

    /// Puts the chunks of a dataset where they belong.
    fn chunked(
        &self,
        version: u8,
        mut c: Cursor<'a>,
        object: &Object<'a>,
        size: usize,
        (dims, most): (&[usize], &[u64]),
        bytes: &mut [u8],
    ) -> Result<(), String> {
        let filters = object.filters.map(filters::parse).transpose()?.unwrap_or_default();
        let flags = if version == 3 { 0 } else { c.u8()? };
        // One more than the dataset has: the last is the size of an element.
        let rank = c.size(1)?;
        let index = if version == 3 { c.u64()? } else { 0 };
        let width = if version == 3 { 4 } else { c.size(1)? };
        let mut chunk = (0..rank).map(|_| c.uint(width)).collect::<Result<Vec<u64>, String>>()?;
        if rank != dims.len() + 1 || chunk.pop() != Some(size as u64) || chunk.contains(&0) {
            return Err(cut());
        }
        let length = chunk.iter().try_fold(size as u64, |n, &c| n.checked_mul(c));
        let length = length.and_then(|n| usize::try_from(n).ok()).ok_or_else(cut)?;
        let counts = dims.iter().zip(&chunk).map(|(&d, &c)| (d as u64).div_ceil(c)).collect();
        let most =
            most.iter().zip(&chunk).map(|(&d, &c)| if d == u64::MAX { 0 } else { d.div_ceil(c) }).collect();
        let grid = Grid { budget: self.budget, chunk, counts, most, length, filtered: !filters.is_empty() };
        let mut chunks = Vec::new();
        if version == 3 {
            if index != UNDEFINED {
                self.chunks_by_offset(index, &grid, 0, &mut chunks)?;
            }
        } else {
            chunks = self.chunks(c, flags, &grid)?;
        }
        let _loan = self.budget.try_lend(length)?;
        let mut met = HashSet::new();
        for found in &chunks {
            // A dataset that was made smaller may keep chunks outside.
            if found.place.iter().zip(&grid.counts).any(|(&p, &n)| p >= n) {
                continue;
            }
            if !met.insert(&found.place) {
                return Err("is damaged: it has a chunk twice".into());
            }
            self.work(length)?;
            let stored = self.at(found.address)?.bytes(found.length)?;
            let partial = found
                .place
                .iter()
                .zip(&grid.chunk)
                .zip(dims)
                .any(|((&p, &c), &d)| p.saturating_add(1).saturating_mul(c) > d as u64);
            // Chunks that reach beyond the dataset may be kept as they are.
            if filters.is_empty() || (partial && flags & 1 != 0) {
                scatter(stored.get(..length).ok_or_else(cut)?, found, &grid, size, dims, bytes)?;
            } else {
                let data = filters::undo(&filters, found.mask, stored, length, self.budget)?;
                scatter(&data, found, &grid, size, dims, bytes)?;
            }
        }
        Ok(())
    }
}

/// Copies what of a chunk is inside the dataset, row by row.
fn scatter(
    data: &[u8],
    chunk: &Chunk,
    grid: &Grid,
    size: usize,
    dims: &[usize],
    out: &mut [u8],
) -> Result<(), String> {
    let rank = dims.len();
    let steps: Vec<usize> = grid.chunk.iter().map(|&c| c as usize).collect();
    let begin: Vec<usize> = chunk.place.iter().zip(&steps).map(|(&p, &c)| p as usize * c).collect();
    let inside: Vec<usize> = (0..rank).map(|d| steps[d].min(dims[d] - begin[d])).collect();
    // A chunk without dimensions is one element.
    let row = inside.last().map_or(1, |&n| n) * size;
    let mut index = vec![0; rank];
    loop {
        let (mut from, mut to) = (0, 0);
        for d in 0..rank {
            from = from * steps[d] + index[d];
            to = to * dims[d] + begin[d] + index[d];
        }
        let source = data.get(from * size..from * size + row).ok_or_else(cut)?;
        out.get_mut(to * size..to * size + row).ok_or_else(cut)?.copy_from_slice(source);
        let Some(d) = (0..rank.saturating_sub(1)).rev().find(|&d| index[d] + 1 < inside[d]) else {
            return Ok(());
        };
        index[d] += 1;
        index[d + 1..].fill(0);
    }
}

/// The dimensions of a dataset, and what they may grow to.
type Extent = (Vec<usize>, Vec<u64>);

/// The extent of a dataset; `None` where it has no elements at all, not even one.
fn dims(mut c: Cursor) -> Result<Option<Extent>, String> {
    let (version, rank, flags) = (c.u8()?, c.u8()?, c.u8()?);
    match version {
        1 => c.bytes(5)?,
        2 => {
            if c.u8()? == 2 {
                return Ok(None);
            }
            &[]
        }
        _ => return Err(cut()),
    };
    let dims = (0..rank).map(|_| c.size(8)).collect::<Result<Vec<_>, _>>()?;
    let most = if flags & 1 != 0 {
        (0..rank).map(|_| c.u64()).collect::<Result<_, _>>()?
    } else {
        dims.iter().map(|&d| d as u64).collect()
    };
    Ok(Some((dims, most)))
}

fn fill_of<'a>(object: &Object<'a>) -> Result<Option<&'a [u8]>, String> {
    if let Some(mut c) = object.fill {
        let version = c.u8()?;
        let defined = match version {
            1 | 2 => {
                c.bytes(2)?;
                c.u8()? != 0 || version == 1
            }
            3 => c.u8()? & 0x20 != 0,
            _ => return Err(cut()),
        };
        if !defined {
            return Ok(None);
        }
        let length = c.size(4)?;
        return c.bytes(length).map(Some);
    }
    let Some(mut c) = object.old_fill else { return Ok(None) };
    let length = c.size(4)?;
    c.bytes(length).map(Some)
}

/// The element type of numbers; `None` for anything else.
fn kind_of(mut c: Cursor) -> Result<Option<Datatype>, String> {
    let class = c.u8()? & 0x0f;
    let bits = c.bytes(3)?;
    let flags = bits.first().copied().unwrap_or_default();
    let size = c.u32()?;
    // How bytes are ordered; one of 64 would be that of a VAX.
    let (big_endian, signed, vax) = (flags & 1 != 0, flags & 8 != 0, flags & 0x40 != 0);
    let unusual = || "holds numbers of an unusual form; convert them to float32".to_string();
    let stored = match class {
        0 => {
            let (offset, precision) = (c.u16()?, c.u16()?);
            if offset != 0 || u32::from(precision) != size.saturating_mul(8) {
                return Err(unusual());
            }
            match (size, signed) {
                (1, true) => Stored::I8,
                (2, true) => Stored::I16,
                (4, true) => Stored::I32,
                (8, true) => Stored::I64,
                (1, false) => Stored::U8,
                (2, false) => Stored::U16,
                (4, false) => Stored::U32,
                (8, false) => Stored::U64,
                _ => return Err(unusual()),
            }
        }
        1 => {
            c.bytes(4)?;
            let exponent = (c.u8()?, c.u8()?);
            let mantissa = (c.u8()?, c.u8()?);
            let bias = c.u32()?;
            match (size, exponent, mantissa, bias) {
                _ if vax => return Err(unusual()),
                (1, (3, 4), (0, 3), 7) => Stored::F8E4M3,
                (1, (2, 5), (0, 2), 15) => Stored::F8E5M2,
                (2, (10, 5), (0, 10), 15) => Stored::F16,
                (2, (7, 8), (0, 7), 127) => Stored::BF16,
                (4, (23, 8), (0, 23), 127) => Stored::F32,
                (8, (52, 11), (0, 52), 1023) => Stored::F64,
                _ => return Err(unusual()),
            }
        }
        // Names of integers. h5py keeps flags so, as FALSE and TRUE.
        8 => {
            let names = c.0;
            let Some(base) = kind_of(c)? else { return Ok(None) };
            let has = |name: &[u8]| names.windows(name.len()).any(|w| w == name);
            let flags = bits.first() == Some(&2) && has(b"FALSE\0") && has(b"TRUE\0");
            return Ok(Some(match base.stored {
                Stored::I8 | Stored::U8 if flags => Datatype { stored: Stored::Bool, ..base },
                _ => base,
            }));
        }
        _ => return Ok(None),
    };
    Ok(Some(Datatype { stored, big_endian }))
}
