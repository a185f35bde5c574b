//! Lines of the cache: arrays that begin with one, and those that are fetched ahead of time.

/// Arrays that are fetched ahead of time, at most.
const MOST_AHEAD: usize = 8;

/// Bytes of a line of the cache. Vectors of the processor are as long, and those that lie in two lines take twice as long.
const LINE: usize = 64;

/// Where `n` elements of a vector begin a line, if there is room for that.
pub fn aligned<T>(v: &[T], n: usize) -> usize {
    let at = v.as_ptr().align_offset(LINE);
    if at.checked_add(n).is_some_and(|end| end <= v.len()) { at } else { 0 }
}

/// `n` elements of a vector, from where [`aligned`] says on.
pub fn aligned_mut<T>(v: &mut [T], n: usize) -> &mut [T] {
    let at = aligned(v, n);
    &mut v[at..at + n]
}

/// Elements that a vector has more than it is asked for, so that what is asked for can begin a line.
pub fn slack<T>() -> usize {
    LINE / size_of::<T>().max(1)
}

/// What the next block of a loop reads and overwrites.
#[derive(Default)]
pub struct Ahead<'a> {
    slices: [&'a [f32]; MOST_AHEAD],
}

impl<'a> Ahead<'a> {
    /// These slices, if they are to be fetched.
    pub fn new(fetched: bool, slices: impl Iterator<Item = &'a [f32]>) -> Ahead<'a> {
        let mut ahead = Ahead::default();
        if fetched {
            ahead.slices.iter_mut().zip(slices).for_each(|(ahead, slice)| *ahead = slice);
        }
        ahead
    }

    /// Has a part of it fetched, one of so many: all at once would have to be waited for.
    pub fn fetch(&self, part: usize, parts: usize) {
        for slice in self.slices.iter().take_while(|slice| !slice.is_empty()) {
            let end = |part: usize| slice.len() * part / parts;
            wgrad_tiles::prefetch(&slice[end(part)..end(part + 1)]);
        }
    }
}
