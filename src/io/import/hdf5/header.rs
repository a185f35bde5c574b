//! Objects' headers, which are lists of messages.

use super::cursor::{Cursor, cut};
use super::file::File;

/// The messages of an object that matter here.
#[derive(Default)]
pub(super) struct Object<'a> {
    /// Addresses of a group's tree and names.
    pub symbols: Option<(u64, u64)>,
    /// Links in the header itself.
    pub links: Vec<Cursor<'a>>,
    /// Where many links are.
    pub link_info: Option<Cursor<'a>>,
    pub dataspace: Option<Cursor<'a>>,
    pub datatype: Option<Cursor<'a>>,
    pub layout: Option<Cursor<'a>>,
    /// The newer form of the fill value, and the older.
    pub fill: Option<Cursor<'a>>,
    pub old_fill: Option<Cursor<'a>>,
    pub filters: Option<Cursor<'a>>,
    pub attributes: Vec<Cursor<'a>>,
    /// Where many attributes are.
    pub attribute_info: Option<Cursor<'a>>,
    /// Whether its values are in other files.
    pub external: bool,
    /// The address of the header of a type that has a name of its own.
    pub named_type: Option<u64>,
}

/// A header has few of them; a damaged one may refer to itself.
const MOST_BLOCKS: usize = 10_000;

impl<'a> File<'a> {
    pub fn header(&self, address: u64) -> Result<Object<'a>, String> {
        let mut object = Object::default();
        let mut c = self.at(address)?;
        if c.0.starts_with(b"OHDR") {
            self.header_2(c, &mut object)?;
        } else {
            if c.u8()? != 1 {
                return Err(cut());
            }
            c.bytes(1)?;
            // The number of messages is that of the file's writer; a block's length says as much.
            c.bytes(2 + 4)?;
            let length = c.size(4)?;
            // Up to a multiple of eight.
            c.bytes(4)?;
            let mut blocks = vec![Cursor(c.bytes(length)?)];
            self.blocks(&mut blocks, &mut object, |block| {
                let (kind, size) = (block.u16()?, usize::from(block.u16()?));
                let flags = block.u8()?;
                block.bytes(3)?;
                Ok((kind, flags, Cursor(block.bytes(size)?)))
            })?;
        }
        Ok(object)
    }

    fn header_2(&self, mut c: Cursor<'a>, object: &mut Object<'a>) -> Result<(), String> {
        c.signature(b"OHDR", 2)?;
        let flags = c.u8()?;
        // Times; when attributes move out of the header.
        c.bytes(if flags & 0x20 != 0 { 16 } else { 0 })?;
        c.bytes(if flags & 0x10 != 0 { 4 } else { 0 })?;
        let length = c.size(1 << (flags & 3))?;
        let ordered = flags & 4 != 0;
        let mut blocks = vec![Cursor(c.bytes(length)?)];
        self.blocks(&mut blocks, object, |block| {
            let (kind, size) = (u16::from(block.u8()?), usize::from(block.u16()?));
            let flags = block.u8()?;
            block.bytes(if ordered { 2 } else { 0 })?;
            Ok((kind, flags, Cursor(block.bytes(size)?)))
        })
    }

    /// Reads blocks of messages, and those that they go on in.
    fn blocks(
        &self,
        blocks: &mut Vec<Cursor<'a>>,
        object: &mut Object<'a>,
        next: impl Fn(&mut Cursor<'a>) -> Result<(u16, u8, Cursor<'a>), String>,
    ) -> Result<(), String> {
        let mut count = 0;
        while let Some(mut block) = blocks.pop() {
            count += 1;
            if count > MOST_BLOCKS {
                return Err("is damaged: it refers to itself".into());
            }
            // What is shorter than a message is filled up.
            while block.0.len() >= 8 {
                self.step()?;
                // Links and attributes are listed.
                self.budget.try_charge(2 * size_of::<Cursor>())?;
                let (kind, flags, message) = next(&mut block)?;
                if kind == 0x10 {
                    blocks.push(self.continued(message)?);
                } else {
                    object.take(kind, flags & 2 != 0, message)?;
                }
            }
        }
        Ok(())
    }

    fn continued(&self, mut message: Cursor<'a>) -> Result<Cursor<'a>, String> {
        let (address, length) = (message.u64()?, message.size(8)?);
        let block = self.at(address)?.bytes(length)?;
        // The newer form has a signature before and a check sum behind.
        Ok(Cursor(match block.strip_prefix(b"OCHK") {
            Some(rest) => rest.get(..rest.len().saturating_sub(4)).unwrap_or_default(),
            None => block,
        }))
    }
}

impl<'a> Object<'a> {
    fn take(&mut self, kind: u16, shared: bool, mut message: Cursor<'a>) -> Result<(), String> {
        match kind {
            0x03 if shared => {
                let (version, place) = (message.u8()?, message.u8()?);
                message.bytes(if version == 1 { 6 } else { 0 })?;
                if version == 3 && place != 2 {
                    return Err("keeps its type in a table of shared messages, which is not supported".into());
                }
                self.named_type = Some(message.u64()?);
            }
            0x01 => self.dataspace = Some(message),
            0x02 => self.link_info = Some(message),
            0x03 => self.datatype = Some(message),
            0x04 => self.old_fill = Some(message),
            0x05 => self.fill = Some(message),
            0x06 => self.links.push(message),
            0x07 => self.external = true,
            0x08 => self.layout = Some(message),
            0x0b => self.filters = Some(message),
            0x0c => self.attributes.push(message),
            0x11 => self.symbols = Some((message.u64()?, message.u64()?)),
            0x15 => self.attribute_info = Some(message),
            _ => {}
        }
        Ok(())
    }
}
