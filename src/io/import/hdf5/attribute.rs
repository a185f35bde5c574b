//! Attributes, of which the names of Keras's layers are wanted.

use super::cursor::{Cursor, cut};
use super::file::File;
use super::group::dense_of;
use super::header::Object;

/// Longer names are damage.
const LONGEST_TEXT: usize = 4096;

impl<'a> File<'a> {
    /// The text of the attribute `name` of an object. What can't be read is no name: a label is of use where there is one,
    /// and weights are found without.
    pub fn label(&self, object: &Object<'a>) -> Result<Option<&'a [u8]>, String> {
        for &attribute in &object.attributes {
            self.step()?;
            if let Ok(Some(name)) = self.name_attribute(attribute) {
                return Ok(Some(name));
            }
        }
        let dense = object.attribute_info.map(|mut c| dense_of(&mut c, 2));
        let Some(Ok(Some((heap, tree)))) = dense else { return Ok(None) };
        let (Ok(heap), Ok(tree)) = (self.fractal_heap(heap), self.tree_2(tree)) else { return Ok(None) };
        for record in tree.records {
            self.step()?;
            // Where it is; flags, creation order and a hash follow.
            let id = record.get(..tree.record.saturating_sub(9)).unwrap_or_default();
            if let Ok(Some(name)) = heap.object(id).and_then(|message| self.name_attribute(Cursor(message))) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The text of an attribute, if it is called `name`.
    fn name_attribute(&self, mut c: Cursor<'a>) -> Result<Option<&'a [u8]>, String> {
        let version = c.u8()?;
        // Version 3 has the encoding of the name, and nothing is filled up to eights since version 2.
        c.bytes(1)?;
        let sizes = [c.size(2)?, c.size(2)?, c.size(2)?];
        let full = |n: usize| if version == 1 { n.next_multiple_of(8) } else { n };
        c.bytes(if version == 3 { 1 } else { 0 })?;
        let name = c.bytes(full(sizes[0]))?;
        if name.get(..sizes[0]).and_then(|name| name.strip_suffix(&[0])) != Some(b"name") {
            return Ok(None);
        }
        let mut kind = Cursor(c.bytes(full(sizes[1]))?);
        c.bytes(full(sizes[2]))?;
        let class = kind.u8()? & 0x0f;
        kind.bytes(3)?;
        let size = kind.size(4)?;
        let text = match class {
            // Of a fixed length.
            3 => c.bytes(size)?,
            // Of any length, in a heap of the whole file.
            9 => {
                let (length, address, index) = (c.size(4)?, c.u64()?, c.u32()?);
                self.global_heap(address, index)?.get(..length).ok_or_else(cut)?
            }
            _ => return Ok(None),
        };
        let text = text.split(|&b| b == 0).next().unwrap_or_default();
        Ok(Some(text).filter(|text| text.len() <= LONGEST_TEXT))
    }
}
