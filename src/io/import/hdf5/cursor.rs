//! A place in a file that is read on from.

/// The address of what isn't there.
pub(super) const UNDEFINED: u64 = u64::MAX;

#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(pub &'a [u8]);

pub(super) fn cut() -> String {
    "is damaged or cut off".to_string()
}

impl<'a> Cursor<'a> {
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (&word, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(word)
    }

    pub fn u8(&mut self) -> Result<u8, String> {
        self.word().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, String> {
        self.word().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, String> {
        self.word().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        self.word().map(u64::from_le_bytes)
    }

    /// An integer of so many bytes, at most eight.
    pub fn uint(&mut self, width: usize) -> Result<u64, String> {
        let bytes = self.bytes(width)?;
        let mut wide = [0; 8];
        wide.get_mut(..width).ok_or_else(cut)?.copy_from_slice(bytes);
        Ok(u64::from_le_bytes(wide))
    }

    /// A length or count.
    pub fn size(&mut self, width: usize) -> Result<usize, String> {
        usize::try_from(self.uint(width)?).map_err(|_| cut())
    }

    /// What a structure begins with: its signature, and its version, of which one is known.
    pub fn signature(&mut self, name: &[u8; 4], version: u8) -> Result<(), String> {
        if self.bytes(4)? != name || self.u8()? != version { Err(cut()) } else { Ok(()) }
    }
}

/// Bytes that an integer up to this takes.
pub(super) fn width_of(limit: u64) -> usize {
    limit.checked_ilog2().unwrap_or(0) as usize / 8 + 1
}
