//! HDF5 files as Keras and h5py write them, by the HDF5 File Format Specification (version 3.0): groups of the older form and
//! of the newer (`libver="latest"`), numbers in one piece or in chunks, compressed by gzip or lzf, shuffled, with check sums.
//!
//! Everything is read through bounds checks, memory is charged to the file's budget before it is taken, and every step of a
//! walk is counted, so that a damaged file can neither panic, nor exhaust memory, nor go on for ever.

mod attribute;
mod chunks;
mod cursor;
mod dataset;
mod file;
mod filters;
mod group;
mod header;
mod heap;
mod tree;

use self::file::{File, SIGNATURE};
use super::super::budget::{Budget, DEEPEST};
use crate::cpu::Array;
use std::cell::Cell;
use std::collections::HashMap;

/// What an array takes in memory beside its elements, about.
const ARRAY: usize = 512;

/// What a file holds, with paths as in `layers/conv2d/vars/0`.
#[derive(Default)]
pub(super) struct Content {
    pub arrays: Vec<(String, Array)>,
    /// The attribute `name` of each group that has one; Keras keeps the names of layers there.
    pub names: Vec<(String, String)>,
}

/// All arrays of numbers in a file; within a group they are in alphabetical order.
pub(super) fn read(content: &[u8], budget: &Budget) -> Result<Content, String> {
    // Programs may put something of their own before, of a length that is a power of two from 512 on.
    let begins = |at: usize| content.get(at..).is_some_and(|rest| rest.starts_with(SIGNATURE));
    let powers = (9..usize::BITS).map(|bits| 1 << bits).take_while(|&at| at < content.len());
    let begin = std::iter::once(0).chain(powers).find(|&at| begins(at)).ok_or("is no HDF5 file")?;
    let bytes = content.get(begin..).unwrap_or_default();
    let steps = Cell::new(bytes.len() as u64 * 4 + 10_000);
    let work = Cell::new(Budget::limit(bytes.len() as u64).saturating_mul(4));
    let file = File { bytes, budget, steps: &steps, work: &work };
    let root = file.superblock()?;
    let mut walk = Traversal {
        file,
        path: String::new(),
        above: Vec::new(),
        met: HashMap::new(),
        out: Content::default(),
    };
    walk.object(root)?;
    Ok(walk.out)
}

struct Traversal<'a> {
    file: File<'a>,
    path: String,
    /// Addresses of the groups that are being read, the outermost first.
    above: Vec<u64>,
    /// Arrays by the addresses of their objects, which may have several names.
    met: HashMap<u64, Option<Array>>,
    out: Content,
}

impl Traversal<'_> {
    fn object(&mut self, address: u64) -> Result<(), String> {
        self.file.step()?;
        if let Some(array) = self.met.get(&address).cloned() {
            return self.found(array);
        }
        if self.above.contains(&address) {
            return Err(format!("{}: is damaged: a group is inside of itself", self.path));
        }
        if self.above.len() > DEEPEST {
            return Err(format!("nests groups more than {DEEPEST} deep"));
        }
        let file = self.file;
        let path = self.path.clone();
        let within = |e: String| if path.is_empty() { e } else { format!("{path}: {e}") };
        let object = file.header(address).map_err(within)?;
        if let Some(label) = file.label(&object).map_err(within)? {
            file.budget.try_charge(path.len() + 3 * label.len() + 128)?;
            self.out.names.push((path.clone(), String::from_utf8_lossy(label).into_owned()));
        }
        let Some(members) = file.members(&object).map_err(within)? else {
            let array = file.array(&object).map_err(within)?;
            self.met.insert(address, array.clone());
            return self.found(array);
        };
        let length = self.path.len();
        let _loan = file.budget.try_lend(members.len() * 32 + length)?;
        self.above.push(address);
        for (name, address) in members {
            if length > 0 {
                self.path.push('/');
            }
            self.path.push_str(&String::from_utf8_lossy(name));
            self.object(address)?;
            self.path.truncate(length);
        }
        self.above.pop();
        Ok(())
    }

    fn found(&mut self, array: Option<Array>) -> Result<(), String> {
        if let Some(array) = array {
            self.file.budget.try_charge(self.path.len() + ARRAY)?;
            self.out.arrays.push((self.path.clone(), array));
        }
        Ok(())
    }
}
