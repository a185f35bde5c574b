//! B-trees of the second version: sorted records of links, attributes and chunks.

use super::super::super::budget::DEEPEST;
use super::cursor::{Cursor, cut, width_of};
use super::file::File;

/// What a node has beside records and pointers: signature, version, type, check sum.
const OVERHEAD: u64 = 10;

pub(super) struct Tree<'a> {
    pub kind: u8,
    pub record: usize,
    pub records: Vec<&'a [u8]>,
}

/// How a level's nodes are laid out: bytes of a child's number of records, and of all records below it.
struct Level {
    most: u64,
    total_width: usize,
}

impl<'a> File<'a> {
    /// All records of a tree, in order.
    pub fn tree_2(&self, address: u64) -> Result<Tree<'a>, String> {
        let mut c = self.at(address)?;
        c.signature(b"BTHD", 0)?;
        let kind = c.u8()?;
        let node = u64::from(c.u32()?);
        let (record, depth) = (c.size(2)?, c.size(2)?);
        c.bytes(2)?;
        let (root, count) = (c.u64()?, c.size(2)?);
        if record == 0 || depth > DEEPEST {
            return Err(cut());
        }
        // As the library that writes them works it out: pointers are as wide as the largest counts below need.
        let leaf = node.checked_sub(OVERHEAD).ok_or_else(cut)? / record as u64;
        let count_width = width_of(leaf);
        let mut levels = vec![Level { most: leaf, total_width: 0 }];
        for level in 0..depth {
            let below = &levels[level];
            let pointer = 8 + count_width as u64 + below.total_width as u64;
            let room = node.checked_sub(OVERHEAD + pointer).ok_or_else(cut)?;
            let here = room / (record as u64 + pointer);
            let most =
                (here + 1).checked_mul(below.most).and_then(|n| n.checked_add(here)).ok_or_else(cut)?;
            levels.push(Level { most, total_width: width_of(most) });
        }
        let mut tree = Tree { kind, record, records: Vec::new() };
        if count > 0 {
            self.node(&mut tree, &levels, count_width, (root, count), depth)?;
        }
        Ok(tree)
    }

    fn node(
        &self,
        tree: &mut Tree<'a>,
        levels: &[Level],
        count_width: usize,
        (address, count): (u64, usize),
        level: usize,
    ) -> Result<(), String> {
        let mut c = self.at(address)?;
        c.signature(if level == 0 { b"BTLF" } else { b"BTIN" }, 0)?;
        c.bytes(1)?;
        let mut records = Cursor(c.bytes(count.checked_mul(tree.record).ok_or_else(cut)?)?);
        for i in 0..=count {
            if level > 0 {
                let child = c.u64()?;
                let count = c.size(count_width)?;
                c.bytes(levels[level - 1].total_width)?;
                self.node(tree, levels, count_width, (child, count), level - 1)?;
            }
            if i < count {
                self.step()?;
                self.budget.try_charge(2 * size_of::<&[u8]>())?;
                tree.records.push(records.bytes(tree.record)?);
            }
        }
        Ok(())
    }
}
