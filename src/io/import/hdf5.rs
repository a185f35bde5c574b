//! HDF5 files as Keras writes them through h5py's default settings: the parts of the HDF5 File Format Specification (version
//! 3.0) that these have. Groups are symbol tables; numbers are stored in one piece, uncompressed.
//!
//! Everything is read through bounds checks, and every group and tree node at most once, so that a damaged file can neither
//! panic nor loop.

use super::super::budget::{Budget, DEEPEST};
use super::super::elements::Stored;
use crate::cpu::Array;
use crate::shape::Shape;
use std::collections::HashSet;

const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// The address of what isn't there.
const UNDEFINED: u64 = u64::MAX;

/// What a file holds, with paths as in `layers/conv2d/vars/0`.
#[derive(Default)]
pub(super) struct Content {
    pub arrays: Vec<(String, Array)>,
    /// The attribute `name` of each group that has one; Keras keeps the names of layers there.
    pub names: Vec<(String, String)>,
}

/// All arrays of numbers in a file; within a group they are in alphabetical order.
pub(super) fn read<'a>(content: &'a [u8], budget: &'a Budget) -> Result<Content, String> {
    let mut file = File { bytes: content, budget, seen: HashSet::new(), left: content.len() };
    let at = file.superblock()?;
    let mut out = Content::default();
    file.object(at, "", 0, &mut out)?;
    Ok(out)
}

struct File<'a> {
    budget: &'a Budget,
    bytes: &'a [u8],
    /// Addresses of objects and nodes that have been read.
    seen: HashSet<u64>,
    /// Bytes of numbers that can still come: arrays that overlap could hold more than memory does.
    left: usize,
}

/// A place that is read on from.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

fn cut() -> String {
    "is damaged or cut off".to_string()
}

impl<'a> Cursor<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (&word, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(word)
    }

    fn u8(&mut self) -> Result<u8, String> {
        self.word().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.word().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.word().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.word().map(u64::from_le_bytes)
    }
}

/// The messages of an object that matter here.
#[derive(Default)]
struct Object<'a> {
    /// Addresses of a group's tree and names.
    group: Option<(u64, u64)>,
    dataspace: Option<Cursor<'a>>,
    datatype: Option<Cursor<'a>>,
    layout: Option<Cursor<'a>>,
    attributes: Vec<Cursor<'a>>,
    /// What can't be read, if the object is one of numbers.
    foreign: Option<&'static str>,
}

impl<'a> File<'a> {
    fn at(&self, address: u64) -> Result<Cursor<'a>, String> {
        let at = usize::try_from(address).map_err(|_| cut())?;
        self.bytes.get(at..).map(Cursor).ok_or_else(cut)
    }

    /// An error where an address is met for the second time.
    fn once(&mut self, address: u64) -> Result<(), String> {
        if self.seen.insert(address) { Ok(()) } else { Err("is damaged: it refers to itself".into()) }
    }

    /// The address of the root group.
    fn superblock(&self) -> Result<u64, String> {
        let mut c = Cursor(self.bytes.strip_prefix(SIGNATURE).ok_or("is no HDF5 file")?);
        let version = c.u8()?;
        if version > 1 {
            return Err(format!(
                "is an HDF5 file of version {version}, which Keras doesn't write; save the weights with Keras"
            ));
        }
        c.bytes(4)?;
        let sizes = (c.u8()?, c.u8()?);
        if sizes != (8, 8) {
            return Err(format!("has addresses of {} bytes; 8 are supported", sizes.0));
        }
        // The rest of the fixed part; base address, free space, end of file, driver; the root entry's name.
        c.bytes(if version == 0 { 9 } else { 13 })?;
        if c.u64()? != 0 {
            return Err("begins after a user block, which Keras doesn't write".into());
        }
        c.bytes(3 * 8 + 8)?;
        c.u64()
    }

    fn object(&mut self, address: u64, path: &str, depth: usize, out: &mut Content) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("nests groups more than {DEEPEST} deep"));
        }
        self.once(address)?;
        let object = self.header(address)?;
        for attribute in &object.attributes {
            if let Some(name) = self.name_attribute(*attribute) {
                out.names.push((path.to_string(), name));
            }
        }
        let within = |e: String| if path.is_empty() { e } else { format!("{path}: {e}") };
        if let Some((tree, heap)) = object.group {
            let names = self.heap(heap).map_err(within)?;
            let mut entries = Vec::new();
            self.tree(tree, names, 0, &mut entries).map_err(within)?;
            for (name, address) in entries {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                self.object(address, &path, depth + 1, out)?;
            }
        } else if let Some(array) = self.array(&object).map_err(within)? {
            out.arrays.push((path.to_string(), array));
        }
        Ok(())
    }

    /// Reads an object's header, of version 1: blocks of messages.
    fn header(&mut self, address: u64) -> Result<Object<'a>, String> {
        let mut c = self.at(address)?;
        if c.0.starts_with(b"OHDR") || c.u8()? != 1 {
            return Err(
                "uses a newer form of HDF5 than Keras writes; save the weights with Keras, or as .npz".into(),
            );
        }
        c.bytes(1)?;
        let mut left = c.u16()?;
        c.bytes(4)?;
        let length = c.u32()? as usize;
        // Up to a multiple of eight.
        c.bytes(4)?;
        let mut blocks = vec![Cursor(c.bytes(length)?)];
        let mut object = Object::default();
        while let Some(mut block) = blocks.pop() {
            while left > 0 && block.0.len() >= 8 {
                left -= 1;
                let (kind, size) = (block.u16()?, usize::from(block.u16()?));
                block.bytes(4)?;
                let mut message = Cursor(block.bytes(size)?);
                match kind {
                    0x01 => object.dataspace = Some(message),
                    0x03 => object.datatype = Some(message),
                    0x08 => object.layout = Some(message),
                    0x0b => object.foreign = Some("compressed"),
                    0x0c => object.attributes.push(message),
                    0x11 => object.group = Some((message.u64()?, message.u64()?)),
                    // Links in the group's header or a heap: files of newer versions or with creation order.
                    0x02 | 0x06 => object.foreign = Some("a group of a newer form of HDF5"),
                    0x10 => {
                        let (address, length) = (message.u64()?, message.u64()?);
                        self.once(address)?;
                        let length = usize::try_from(length).map_err(|_| cut())?;
                        blocks.push(Cursor(self.at(address)?.bytes(length)?));
                    }
                    _ => {}
                }
            }
        }
        Ok(object)
    }

    /// A group's names, which stand one after the other, each ended by a zero.
    fn heap(&self, address: u64) -> Result<&'a [u8], String> {
        let mut c = self.at(address)?;
        if c.bytes(4)? != b"HEAP" {
            return Err(cut());
        }
        c.bytes(4)?;
        let length = usize::try_from(c.u64()?).map_err(|_| cut())?;
        c.bytes(8)?;
        self.at(c.u64()?)?.bytes(length)
    }

    /// The entries of a group, from its tree.
    fn tree(
        &mut self,
        address: u64,
        names: &[u8],
        depth: usize,
        out: &mut Vec<(String, u64)>,
    ) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(cut());
        }
        self.once(address)?;
        let mut c = self.at(address)?;
        if c.bytes(4)? != b"TREE" || c.u8()? != 0 {
            return Err(cut());
        }
        let (level, count) = (c.u8()?, c.u16()?);
        c.bytes(16)?;
        for _ in 0..count {
            c.bytes(8)?;
            let child = c.u64()?;
            if level > 0 {
                self.tree(child, names, depth + 1, out)?;
            } else {
                self.entries(child, names, out)?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, address: u64, names: &[u8], out: &mut Vec<(String, u64)>) -> Result<(), String> {
        self.once(address)?;
        let mut c = self.at(address)?;
        if c.bytes(4)? != b"SNOD" {
            return Err(cut());
        }
        c.bytes(2)?;
        let count = c.u16()?;
        for _ in 0..count {
            let name = usize::try_from(c.u64()?).ok().and_then(|at| names.get(at..)).ok_or_else(cut)?;
            let end = name.iter().position(|&b| b == 0).ok_or_else(cut)?;
            let (name, _) = name.split_at(end);
            let address = c.u64()?;
            let link = c.u32()?;
            c.bytes(4 + 16)?;
            // A symbolic link leads to what has an entry of its own.
            if link != 2 {
                out.push((String::from_utf8_lossy(name).into_owned(), address));
            }
        }
        Ok(())
    }

    /// The numbers of an object; `None` where it has none, such as text.
    fn array(&mut self, object: &Object) -> Result<Option<Array>, String> {
        let (Some(space), Some(kind), Some(mut layout)) = (object.dataspace, object.datatype, object.layout)
        else {
            return object.foreign.map_or(Ok(None), |what| Err(format!("is {what}; {ADVICE}")));
        };
        let Some((stored, big_endian)) = stored(kind)? else { return Ok(None) };
        if let Some(what) = object.foreign {
            return Err(format!("is {what}; {ADVICE}"));
        }
        let dims = dims(space)?;
        let shape = Shape::new(&dims).map_err(|e| e.to_string())?;
        let length = stored.bytes(&dims).ok_or_else(cut)?;
        let version = layout.u8()?;
        if !(3..=4).contains(&version) {
            return Err(format!("has a layout of version {version}; {ADVICE}"));
        }
        let bytes = match layout.u8()? {
            0 => {
                let size = usize::from(layout.u16()?);
                layout.bytes(size)?
            }
            1 => {
                let address = layout.u64()?;
                if address == UNDEFINED && length > 0 {
                    return Err(format!("has no values; {ADVICE}"));
                }
                if length == 0 { &[][..] } else { self.at(address)?.bytes(length)? }
            }
            _ => return Err(format!("is stored in chunks; {ADVICE}")),
        };
        let bytes = bytes.get(..length).ok_or_else(cut)?;
        self.left = self.left.checked_sub(length).ok_or("is damaged: its arrays overlap")?;
        stored.decode(bytes, big_endian, shape, self.budget).map(Some)
    }

    /// The text of an attribute called `name`.
    fn name_attribute(&self, mut c: Cursor<'a>) -> Option<String> {
        let version = c.u8().ok()?;
        // Version 3 has the encoding of the name, and nothing is filled up to eights since version 2.
        c.bytes(1).ok()?;
        let sizes = [c.u16().ok()?, c.u16().ok()?, c.u16().ok()?].map(usize::from);
        let full = |n: usize| if version == 1 { n.next_multiple_of(8) } else { n };
        if version == 3 {
            c.bytes(1).ok()?;
        }
        let name = c.bytes(full(sizes[0])).ok()?;
        if name.get(..sizes[0])?.strip_suffix(&[0])? != b"name" {
            return None;
        }
        let mut kind = Cursor(c.bytes(full(sizes[1])).ok()?);
        c.bytes(full(sizes[2])).ok()?;
        // Class 9: of variable length, in a heap of the whole file.
        if kind.u8().ok()? & 0x0f != 9 {
            return None;
        }
        let (length, address, index) = (c.u32().ok()? as usize, c.u64().ok()?, c.u32().ok()?);
        let mut heap = self.at(address).ok()?;
        if heap.bytes(4).ok()? != b"GCOL" {
            return None;
        }
        heap.bytes(4).ok()?;
        let size = usize::try_from(heap.u64().ok()?).ok()?.checked_sub(16)?;
        let mut heap = Cursor(heap.bytes(size).ok()?);
        loop {
            let at = heap.u16().ok()?;
            heap.bytes(6).ok()?;
            let size = usize::try_from(heap.u64().ok()?).ok()?;
            let data = heap.bytes(size.checked_next_multiple_of(8)?).ok()?;
            if at == 0 {
                return None;
            }
            if u32::from(at) == index {
                return Some(String::from_utf8_lossy(data.get(..length)?).into_owned());
            }
        }
    }
}

const ADVICE: &str = "Keras writes neither; save the weights with Keras, or as .npz";

fn dims(mut c: Cursor) -> Result<Vec<usize>, String> {
    let (version, rank) = (c.u8()?, c.u8()?);
    match version {
        1 => c.bytes(6)?,
        2 => c.bytes(2)?,
        _ => return Err(cut()),
    };
    (0..rank).map(|_| usize::try_from(c.u64()?).map_err(|_| cut())).collect()
}

/// The element type of numbers and whether they are big-endian; `None` for anything else.
fn stored(mut c: Cursor) -> Result<Option<(Stored, bool)>, String> {
    let class = c.u8()? & 0x0f;
    let bits = c.bytes(3)?;
    let flags = bits.first().copied().unwrap_or_default();
    let (big_endian, signed) = (flags & 1 != 0, flags & 8 != 0);
    let size = c.u32()?;
    Ok(match (class, size, signed) {
        (0, 1, true) => Some(Stored::I8),
        (0, 2, true) => Some(Stored::I16),
        (0, 4, true) => Some(Stored::I32),
        (0, 8, true) => Some(Stored::I64),
        (0, 1, false) => Some(Stored::U8),
        (0, 2, false) => Some(Stored::U16),
        (0, 4, false) => Some(Stored::U32),
        (0, 8, false) => Some(Stored::U64),
        (1, 2, _) => Some(Stored::F16),
        (1, 4, _) => Some(Stored::F32),
        (1, 8, _) => Some(Stored::F64),
        _ => None,
    }
    .map(|stored| (stored, big_endian)))
}
