//! What chunks of a dataset go through before they are written, undone.

use super::super::super::budget::Budget;
use super::cursor::{Cursor, cut};
use std::io::Read;

/// One of the filters of a dataset, in the order in which they are applied when it is written.
pub(super) struct Filter {
    id: u16,
    name: String,
    values: Vec<u32>,
}

/// The filters of a message.
pub(super) fn parse(mut c: Cursor) -> Result<Vec<Filter>, String> {
    let version = c.u8()?;
    let count = c.u8()?;
    if !(1..=2).contains(&version) {
        return Err(cut());
    }
    c.bytes(if version == 1 { 6 } else { 0 })?;
    let mut filters = Vec::new();
    for _ in 0..count {
        let id = c.u16()?;
        let length = if version == 1 || id >= 256 { usize::from(c.u16()?) } else { 0 };
        c.bytes(2)?;
        let count = usize::from(c.u16()?);
        let name = c.bytes(if version == 1 { length.next_multiple_of(8) } else { length })?;
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let values = (0..count).map(|_| c.u32()).collect::<Result<_, _>>()?;
        c.bytes(if version == 1 && count % 2 == 1 { 4 } else { 0 })?;
        filters.push(Filter { id, name, values });
    }
    Ok(filters)
}

/// A chunk's elements, of which there are so many bytes; `mask` says which filters it was spared.
pub(super) fn undo(
    filters: &[Filter],
    mask: u32,
    stored: &[u8],
    length: usize,
    budget: &Budget,
) -> Result<Vec<u8>, String> {
    // Check sums make a chunk longer by four bytes each, before it is compressed or after.
    let most = length.saturating_add(4 * filters.len());
    let _second = budget.try_lend(most)?;
    let mut data = stored.to_vec();
    for (i, filter) in filters.iter().enumerate().rev() {
        if i < 32 && mask & (1 << i) != 0 {
            continue;
        }
        data = match filter.id {
            1 => inflate(&data, most)?,
            2 => unshuffle(&data, filter.values.first().map_or(1, |&n| n as usize)),
            3 => checked(data)?,
            32000 => unpack_lzf(&data, most)?,
            id => {
                let known = ["szip", "nbit", "scaleoffset"].get(usize::from(id).wrapping_sub(4));
                let name = known.map_or(filter.name.clone(), |name| name.to_string());
                return Err(format!(
                    "is compressed by filter {id} ({name}); gzip, lzf, shuffle and fletcher32 are supported"
                ));
            }
        };
    }
    if data.len() != length {
        return Err(format!("is damaged: a chunk has {} bytes instead of {length}", data.len()));
    }
    Ok(data)
}

fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut reader = flate2::read::ZlibDecoder::new(data).take(most as u64 + 1);
    reader.read_to_end(&mut out).map_err(|e| format!("is damaged: a chunk can't be decompressed: {e}"))?;
    if out.len() > most {
        return Err("is damaged: a chunk has more bytes than its shape says".into());
    }
    Ok(out)
}

/// Bytes in the order of elements: written were all first bytes of the elements, all second ones, and so on.
fn unshuffle(data: &[u8], size: usize) -> Vec<u8> {
    let count = data.len().checked_div(size).unwrap_or(0);
    if size < 2 || count < 2 {
        return data.to_vec();
    }
    let mut out = data.to_vec();
    for (plane, bytes) in data.chunks_exact(count).take(size).enumerate() {
        for (to, &from) in out.iter_mut().skip(plane).step_by(size).zip(bytes) {
            *to = from;
        }
    }
    out
}

/// Data without the check sum at its end, which is compared.
fn checked(mut data: Vec<u8>) -> Result<Vec<u8>, String> {
    let at = data.len().checked_sub(4).ok_or_else(cut)?;
    let stored = Cursor(data.get(at..).unwrap_or_default()).u32()?;
    data.truncate(at);
    let sum = fletcher32(&data);
    // Old versions of the library swapped its bytes on some machines.
    if stored != sum && stored != (sum & 0x00ff_00ff) << 8 | (sum >> 8) & 0x00ff_00ff {
        return Err("is damaged: the check sum of a chunk doesn't agree".into());
    }
    Ok(data)
}

/// Fletcher's check sum of 16-bit words, high byte first.
fn fletcher32(data: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut a, mut b) = (0u32, 0u32);
    // So many words can't make the sums overflow.
    for words in data.chunks(2 * 360) {
        for word in words.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            a += u32::from(word[0]) << 8 | u32::from(low);
            b += a;
        }
        (a, b) = (fold(a), fold(b));
    }
    fold(b) << 16 | fold(a)
}

/// LZF, which h5py brings along: runs of bytes, and references to what stands up to 8 KiB before.
fn unpack_lzf(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut c = Cursor(data);
    let mut out: Vec<u8> = Vec::new();
    while !c.0.is_empty() {
        let control = usize::from(c.u8()?);
        if control < 32 {
            out.extend_from_slice(c.bytes(control + 1)?);
        } else {
            let mut length = control >> 5;
            if length == 7 {
                length += usize::from(c.u8()?);
            }
            let distance = ((control & 0x1f) << 8 | usize::from(c.u8()?)) + 1;
            let begin = out.len().checked_sub(distance).ok_or_else(cut)?;
            // What is copied may overlap with what it makes.
            for at in begin..begin + length + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > most {
            return Err("is damaged: a chunk has more bytes than its shape says".into());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_those_of_the_definition() {
        // By hand: words 0x0102, 0x0304; sums 0x0102, 0x0406; of sums 0x0102 + 0x0406 = 0x0508.
        assert_eq!(fletcher32(&[1, 2, 3, 4]), 0x0508_0406);
        // An odd byte is the high one of a word.
        assert_eq!(fletcher32(&[1]), 0x0100_0100);
        // 0xffff is zero modulo 65535.
        assert_eq!(fletcher32(&[0xff; 10_000]), 0xffff_ffff);
    }

    #[test]
    fn references_of_lzf_may_overlap_with_what_they_make() {
        // "ab", then eight bytes from two before.
        assert_eq!(unpack_lzf(&[1, b'a', b'b', 6 << 5, 1], 100).unwrap(), b"ababababab");
        assert!(unpack_lzf(&[1, b'a', b'b', 6 << 5, 1], 9).is_err());
        assert!(unpack_lzf(&[6 << 5, 0], 100).is_err());
        assert!(unpack_lzf(&[5, b'a'], 100).is_err());
    }
}
