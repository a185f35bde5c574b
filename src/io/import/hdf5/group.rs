//! Groups: what is in them, by name. Older ones are trees of symbol tables, newer ones have links in their headers or, if they
//! are many, in a heap.

use super::super::super::budget::DEEPEST;
use super::cursor::{Cursor, UNDEFINED, cut};
use super::file::File;
use super::header::Object;

/// Longer names are damage.
const LONGEST_NAME: usize = 4096;

/// The members of a group: their names and the addresses of their headers.
pub(super) type Members<'a> = Vec<(&'a [u8], u64)>;

impl<'a> File<'a> {
    /// The members of a group by name; `None` where an object is no group. Soft links, which lead to what has a name of its
    /// own, and links to other files are left out.
    pub fn members(&self, object: &Object<'a>) -> Result<Option<Members<'a>>, String> {
        let mut members = Vec::new();
        if let Some((tree, heap)) = object.symbols {
            let names = self.local_heap(heap)?;
            self.symbols(tree, names, 0, &mut members)?;
        } else if object.link_info.is_none() && object.links.is_empty() {
            return Ok(None);
        }
        for &link in &object.links {
            members.extend(link_of(link)?);
        }
        if let Some((heap, tree)) = object.link_info.map(dense).transpose()?.flatten() {
            let heap = self.fractal_heap(heap)?;
            let tree = self.tree_2(tree)?;
            if tree.kind != 5 {
                return Err(cut());
            }
            for record in tree.records {
                // A hash of the name, and where the link is.
                let id = record.get(4..).ok_or_else(cut)?;
                members.extend(link_of(Cursor(heap.object(id)?))?);
            }
        }
        if members.iter().any(|(name, _)| name.len() > LONGEST_NAME) {
            return Err(format!("is damaged: a name is longer than {LONGEST_NAME} bytes"));
        }
        members.sort();
        Ok(Some(members))
    }

    fn symbols(
        &self,
        address: u64,
        names: &'a [u8],
        depth: usize,
        out: &mut Members<'a>,
    ) -> Result<(), String> {
        self.step()?;
        if depth > DEEPEST {
            return Err("is damaged: it refers to itself".into());
        }
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
                self.symbols(child, names, depth + 1, out)?;
            } else {
                self.table(child, names, out)?;
            }
        }
        Ok(())
    }

    fn table(&self, address: u64, names: &'a [u8], out: &mut Members<'a>) -> Result<(), String> {
        let mut c = self.at(address)?;
        c.signature(b"SNOD", 1)?;
        c.bytes(1)?;
        let count = c.u16()?;
        for _ in 0..count {
            self.step()?;
            let name = names.get(c.size(8)?..).ok_or_else(cut)?;
            let end = name.iter().take(LONGEST_NAME + 1).position(|&b| b == 0).ok_or_else(cut)?;
            let (name, _) = name.split_at(end);
            let address = c.u64()?;
            let link = c.u32()?;
            c.bytes(4 + 16)?;
            if link != 2 {
                self.budget.try_charge(2 * size_of::<(&[u8], u64)>())?;
                out.push((name, address));
            }
        }
        Ok(())
    }
}

/// Addresses of the heap and of the tree by name of what is too much for a header: links, and attributes, whose message is
/// laid out alike.
pub(super) fn dense(mut c: Cursor) -> Result<Option<(u64, u64)>, String> {
    dense_of(&mut c, 8)
}

pub(super) fn dense_of(c: &mut Cursor, order: usize) -> Result<Option<(u64, u64)>, String> {
    if c.u8()? != 0 {
        return Err(cut());
    }
    let flags = c.u8()?;
    c.bytes(if flags & 1 != 0 { order } else { 0 })?;
    let (heap, tree) = (c.u64()?, c.u64()?);
    Ok((heap != UNDEFINED && tree != UNDEFINED).then_some((heap, tree)))
}

/// The name and address of a link, if it is a hard one.
fn link_of(mut c: Cursor<'_>) -> Result<Option<(&[u8], u64)>, String> {
    if c.u8()? != 1 {
        return Err(cut());
    }
    let flags = c.u8()?;
    let kind = if flags & 8 != 0 { c.u8()? } else { 0 };
    c.bytes(if flags & 4 != 0 { 8 } else { 0 })?;
    c.bytes(if flags & 0x10 != 0 { 1 } else { 0 })?;
    let length = c.size(1 << (flags & 3))?;
    let name = c.bytes(length)?;
    Ok(if kind == 0 { Some((name, c.u64()?)) } else { None })
}
