//! Texts of joined kernels that are known: the plan for other sizes joins the same ones.

use super::step::Step;
use crate::gpu::wgsl::Text;
use std::collections::HashMap;

/// Texts of joined kernels, by what they are made of.
#[derive(Default)]
pub(super) struct Joined {
    /// What a text is made of is held, so that its addresses are no others'.
    known: HashMap<Vec<u64>, (Vec<Text>, Text)>,
    bytes: usize,
}

impl Joined {
    /// Bytes of joined kernels, and of what they are made of, that are known; beyond, all are forgotten.
    const MOST: usize = 32 << 20;

    pub fn find(&self, key: &[u64]) -> Option<Text> {
        Some(self.known.get(key)?.1.clone())
    }

    pub fn insert(&mut self, key: Vec<u64>, parts: Vec<Text>, joined: Text) {
        let bytes =
            parts.iter().chain([&joined]).map(|t| t.len() + size_of::<Text>()).sum::<usize>() + 8 * key.len();
        if self.bytes + bytes > Self::MOST {
            *self = Joined::default();
        }
        self.bytes += bytes;
        self.known.insert(key, (parts, joined));
    }
}

/// All that the text of a joined kernel depends on: its parts' texts and bindings, and how much of its blocks each takes.
pub(super) fn made_of(parts: &[Step]) -> Vec<u64> {
    let mut key = Vec::with_capacity(16 * parts.len());
    for part in parts {
        key.extend([part.source.wgsl.address(), part.uniform.len(), part.words.len()].map(|n| n as u64));
        key.extend([part.args.len(), part.source.bindings.len()].map(|n| n as u64));
        key.extend(part.source.bindings.iter().map(|&(b, kind)| u64::from(b) << 8 | kind as u64));
    }
    key
}
