//! Indices that must be places.

use super::float::Index;

/// A label or an index that names no place: `indices[position] == value`, which is not within `0..size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange {
    pub position: usize,
    pub value: i64,
    pub size: usize,
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index {} at position {} is out of range for size {}", self.value, self.position, self.size)
    }
}

impl std::error::Error for OutOfRange {}

/// The first of `indices` that is not within `0..size`, as an error.
pub fn check_range<I: Index>(indices: &[I], size: usize) -> Result<(), OutOfRange> {
    match indices.iter().position(|i| i.place(size).is_none()) {
        None => Ok(()),
        Some(position) => Err(OutOfRange { position, value: indices[position].value(), size }),
    }
}
