//! FarmHash's Fingerprint64 (Pike, Alakuijala, 2014): the hash of text that TensorFlow and Keras use, the same on every machine.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

fn word(s: &[u8], at: usize) -> u64 {
    s[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

fn half(s: &[u8], at: usize) -> u64 {
    s[at..at + 4].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

fn shift_mix(v: u64) -> u64 {
    v ^ (v >> 47)
}

fn join(u: u64, v: u64, mul: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(mul));
    shift_mix((v ^ a).wrapping_mul(mul)).wrapping_mul(mul)
}

fn to_16(s: &[u8]) -> u64 {
    let len = s.len();
    let mul = K2.wrapping_add(2 * len as u64);
    if len >= 8 {
        let (a, b) = (word(s, 0).wrapping_add(K2), word(s, len - 8));
        let c = b.rotate_right(37).wrapping_mul(mul).wrapping_add(a);
        let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(mul);
        join(c, d, mul)
    } else if len >= 4 {
        join((len as u64).wrapping_add(half(s, 0) << 3), half(s, len - 4), mul)
    } else if len > 0 {
        let (a, b, c) = (u64::from(s[0]), u64::from(s[len >> 1]), u64::from(s[len - 1]));
        let (y, z) = (a + (b << 8), len as u64 + (c << 2));
        shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
    } else {
        K2
    }
}

fn to_32(s: &[u8]) -> u64 {
    let len = s.len();
    let mul = K2.wrapping_add(2 * len as u64);
    let (a, b) = (word(s, 0).wrapping_mul(K1), word(s, 8));
    let (c, d) = (word(s, len - 8).wrapping_mul(mul), word(s, len - 16).wrapping_mul(K2));
    let u = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let v = a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c);
    join(u, v, mul)
}

fn to_64(s: &[u8]) -> u64 {
    let len = s.len();
    let mul = K2.wrapping_add(2 * len as u64);
    let (a, b) = (word(s, 0).wrapping_mul(K2), word(s, 8));
    let (c, d) = (word(s, len - 8).wrapping_mul(mul), word(s, len - 16).wrapping_mul(K2));
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = join(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), mul);
    let (e, f) = (word(s, 16).wrapping_mul(mul), word(s, 24));
    let g = y.wrapping_add(word(s, len - 32)).wrapping_mul(mul);
    let h = z.wrapping_add(word(s, len - 24)).wrapping_mul(mul);
    let u = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    join(u, e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g), mul)
}

/// Of 32 bytes.
fn weak(s: &[u8], a: u64, b: u64) -> (u64, u64) {
    let (w, x, y, z) = (word(s, 0), word(s, 8), word(s, 16), word(s, 24));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    let a = a.wrapping_add(x).wrapping_add(y);
    let b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

pub(super) fn fingerprint(s: &[u8]) -> u64 {
    match s.len() {
        0..=16 => to_16(s),
        17..=32 => to_32(s),
        33..=64 => to_64(s),
        _ => State::start(s).run(s),
    }
}

/// Of text of more than 64 bytes.
struct State {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl State {
    fn start(s: &[u8]) -> State {
        let y = 81u64.wrapping_mul(K1).wrapping_add(113);
        let z = shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
        State { x: 81u64.wrapping_mul(K2).wrapping_add(word(s, 0)), y, z, v: (0, 0), w: (0, 0) }
    }

    /// Takes 64 bytes in.
    fn turn(&mut self, s: &[u8], mul: u64, times: u64) {
        let State { x, y, z, v, w } = self;
        *x = x.wrapping_add(*y).wrapping_add(v.0).wrapping_add(word(s, 8)).rotate_right(37).wrapping_mul(mul);
        *y = y.wrapping_add(v.1).wrapping_add(word(s, 48)).rotate_right(42).wrapping_mul(mul);
        *x ^= w.1.wrapping_mul(times);
        *y = y.wrapping_add(v.0.wrapping_mul(times)).wrapping_add(word(s, 40));
        *z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(mul);
        *v = weak(s, v.1.wrapping_mul(mul), x.wrapping_add(w.0));
        *w = weak(&s[32..], z.wrapping_add(w.1), y.wrapping_add(word(s, 16)));
        std::mem::swap(z, x);
    }

    fn run(mut self, s: &[u8]) -> u64 {
        let (whole, rest) = ((s.len() - 1) / 64 * 64, (s.len() - 1) as u64 % 64);
        for piece in s[..whole].chunks_exact(64) {
            self.turn(piece, K1, 1);
        }
        let mul = K1.wrapping_add((self.z & 0xff) << 1);
        self.w.0 = self.w.0.wrapping_add(rest);
        self.v.0 = self.v.0.wrapping_add(self.w.0);
        self.w.0 = self.w.0.wrapping_add(self.v.0);
        // The last 64 bytes, of which the turns before may have had a part.
        self.turn(&s[s.len() - 64..], mul, 9);
        let State { x, y, z, v, w } = self;
        let first = join(v.0, w.0, mul).wrapping_add(shift_mix(y).wrapping_mul(K0)).wrapping_add(z);
        join(first, join(v.1, w.1, mul).wrapping_add(x), mul)
    }
}
