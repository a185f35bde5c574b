//! Random changes of bytes.

/// SplitMix64: a sequence for each seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 for none.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// A number at which readers stumble: the ends of types, small ones, about a length.
    pub fn number(&mut self, length: usize) -> u64 {
        let n = length as u64;
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => 1 << self.below(64),
            4 => (1u64 << self.below(64)).wrapping_sub(1),
            5 => n,
            6 => n.wrapping_add(self.below(9) as u64).wrapping_sub(4),
            7 => self.below(length) as u64,
            8 => i64::MAX as u64,
            9 => u64::from(u32::MAX) - self.below(3) as u64,
            10 => self.below(300) as u64,
            _ => self.next(),
        }
    }
}

/// One to a few changes anywhere.
pub fn bytes(random: &mut Random, content: &[u8]) -> Vec<u8> {
    let mut out = content.to_vec();
    let count = 1 + if random.one_in(3) { random.below(6) } else { 0 };
    for _ in 0..count {
        change(random, &mut out);
    }
    out
}

fn change(random: &mut Random, out: &mut Vec<u8>) {
    let n = out.len();
    let at = random.below(n);
    match random.below(10) {
        0 if n > 0 => out[at] ^= 1 << random.below(8),
        1 if n > 0 => out[at] = random.next() as u8,
        // A number of one, two, four or eight bytes, of either order.
        2..=4 if n > 0 => {
            let width = 1 << random.below(4);
            let at = if random.one_in(2) { at } else { at / width * width };
            let mut number = random.number(n).to_le_bytes();
            if random.one_in(4) {
                number[..width].reverse();
            }
            out.iter_mut().skip(at).zip(&number[..width]).for_each(|(to, &from)| *to = from);
        }
        5 => out.truncate(at),
        // A piece is lost, comes twice, is copied to elsewhere, or is noise.
        6 => {
            let end = (at + 1 + random.below(32)).min(n);
            out.drain(at..end);
        }
        7 => {
            let piece = out[at..(at + 1 + random.below(64)).min(n)].to_vec();
            let times = 1 + if random.one_in(8) { random.below(200) } else { 0 };
            let to = random.below(n + 1);
            out.splice(to..to, piece.repeat(times));
        }
        8 => {
            let piece = out[at..(at + 1 + random.below(16)).min(n)].to_vec();
            let to = random.below(n);
            out.iter_mut().skip(to).zip(piece).for_each(|(to, from)| *to = from);
        }
        _ => {
            let piece: Vec<u8> = (0..random.below(16)).map(|_| random.next() as u8).collect();
            out.splice(at..at, piece);
        }
    }
}

/// Text is changed in its tokens: numbers, quotes, separators.
pub fn text(random: &mut Random, content: &[u8]) -> Vec<u8> {
    if random.one_in(3) {
        return bytes(random, content);
    }
    let mut out = content.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(out.len() + 1);
        let token: &[u8] = random
            .pick::<&[u8]>(&[
                b"\"",
                b",",
                b"\n",
                b"\r\n",
                b"-1",
                b"NaN",
                b"inf",
                b"1e400",
                b"1e-400",
                b"99999999999999999999",
                b"\0",
                b"\xff",
                b"\xef\xbb\xbf",
                b";",
                b"\t",
                b" ",
                b"0x10",
                b"\"\"",
                b"'",
                b"1.0",
                b"true",
                b"\\",
            ])
            .copied()
            .unwrap_or_default();
        match random.below(3) {
            // In place of a word.
            0 => {
                let end =
                    out[at..].iter().position(|b| !b.is_ascii_alphanumeric()).map_or(out.len(), |n| at + n);
                out.splice(at..end, token.iter().copied());
            }
            1 => {
                out.splice(at..at, token.repeat(1 + if random.one_in(20) { random.below(5000) } else { 0 }));
            }
            // A line comes again, or goes.
            _ => {
                let end = out[at..].iter().position(|&b| b == b'\n').map_or(out.len(), |n| at + n + 1);
                let line: Vec<u8> = out.drain(at..end).collect();
                if random.one_in(2) {
                    let to = random.below(out.len() + 1);
                    out.splice(to..to, line.repeat(2));
                }
            }
        }
    }
    out
}
