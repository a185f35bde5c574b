//! How much memory a file may take while it is read, and how deep what it holds may nest.
//!
//! Files come from elsewhere. A kilobyte can claim to become gigabytes: by compression, by naming one piece a thousand times,
//! by sizes that nothing is behind. So every reader of files has a [`Budget`], and takes nothing before the budget is
//! charged: the elements that it keeps, what it decompresses, the parts of what it parses. The budget is a multiple of the
//! file's size, which leaves room for all that readers do to genuine files (half precision that becomes single, a copy in
//! another order, compression of ordinary data), and a floor for small files that compress well, such as weights that are all
//! zero. What exceeds both can be saved without compression.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes of memory for each byte of a file.
pub(crate) const MULTIPLE: u64 = 16;
/// Bytes of memory that any file may take, however small it is.
pub(crate) const FLOOR: u64 = 256 << 20;
/// How deep dictionaries, groups and other structures may nest in each other: recursion takes stack.
pub(crate) const DEEPEST: usize = 32;

/// The memory that is left to the readers of one file; threads may share it.
#[derive(Debug)]
pub(crate) struct Budget {
    name: String,
    size: u64,
    left: AtomicU64,
    exceeded: AtomicBool,
}

impl Budget {
    /// The budget of a file: of its name, for errors, and its size in bytes.
    pub fn of(name: impl Into<String>, size: usize) -> Budget {
        let size = size as u64;
        Budget {
            name: name.into(),
            size,
            left: AtomicU64::new(Self::limit(size)),
            exceeded: AtomicBool::new(false),
        }
    }

    /// What a file of so many bytes may take.
    pub fn limit(size: u64) -> u64 {
        size.saturating_mul(MULTIPLE).saturating_add(FLOOR)
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes so many bytes for good.
    ///
    /// # Errors
    ///
    /// Fewer are left.
    pub fn charge(&self, bytes: usize) -> Result<()> {
        self.try_charge(bytes).map_err(|e| Error::data(&self.name, e))
    }

    /// As [`charge`](Self::charge), for readers whose errors get the file's name later.
    pub fn try_charge(&self, bytes: usize) -> Result<(), String> {
        let less = |left: u64| left.checked_sub(bytes as u64);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.exceeded.store(true, Ordering::Relaxed);
                Err(format!(
                    "would take more memory than its size explains: over {} MiB for a file of {} bytes. It is damaged, or made \
                     to exhaust memory; if neither, save it without compression, or in parts",
                    Self::limit(self.size) >> 20,
                    self.size
                ))
            }
        }
    }

    /// Whether more was asked for than was left.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Charges what so many elements of a size take.
    pub fn try_charge_elements(&self, count: usize, size: usize) -> Result<(), String> {
        self.try_charge(count.saturating_mul(size))
    }

    /// Takes so many bytes until the loan is dropped.
    pub fn try_lend(&self, bytes: usize) -> Result<Loan<'_>, String> {
        self.try_charge(bytes).map(|()| Loan { budget: self, bytes: bytes as u64 })
    }
}

/// Bytes of a budget that go back to it.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Loan<'_> {
    /// Borrows more.
    pub fn try_grow(&mut self, bytes: usize) -> Result<(), String> {
        self.budget.try_charge(bytes)?;
        self.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The content of a file and the budget of what is made from it. What is no regular file, such as a pipe or a device, which
/// may never end, gives at most [`FLOOR`] bytes.
///
/// # Errors
///
/// The file can't be read, or is larger than memory.
pub(crate) fn read_file(path: &Path) -> Result<(Vec<u8>, Budget)> {
    let io = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    let facts = file.metadata().map_err(io)?;
    let mut content = Vec::new();
    if facts.is_file() {
        let size = usize::try_from(facts.len()).unwrap_or(usize::MAX);
        content.try_reserve_exact(size).map_err(|e| io(e.into()))?;
        file.read_to_end(&mut content).map_err(io)?;
    } else {
        file.take(FLOOR + 1).read_to_end(&mut content).map_err(io)?;
        if content.len() as u64 > FLOOR {
            let message = format!("is no regular file, and gives more than {} MiB", FLOOR >> 20);
            return Err(Error::data(path.display().to_string(), message));
        }
    }
    let budget = Budget::of(path.display().to_string(), content.len());
    Ok((content, budget))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_budget_is_an_error_that_names_the_file() {
        let budget = Budget::of("a.npz", 1000);
        let limit = 16_000 + (256 << 20);
        assert_eq!(Budget::limit(1000), limit);
        budget.charge(limit as usize - 10).unwrap();
        let loan = budget.try_lend(10).unwrap();
        let message = budget.charge(1).unwrap_err().to_string();
        assert!(message.starts_with("a.npz: would take more memory than its size explains"), "{message}");
        assert!(message.contains("256 MiB for a file of 1000 bytes"), "{message}");
        drop(loan);
        budget.charge(10).unwrap();
        assert!(budget.try_charge_elements(usize::MAX, 8).is_err());
        assert_eq!(budget.name(), "a.npz");
        assert!(budget.try_lend(1).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_file_without_an_end_is_an_error() {
        let message = read_file(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(message.starts_with("/dev/zero: is no regular file"), "{message}");
        assert!(matches!(read_file(Path::new("/no/such/file")), Err(Error::Io { .. })));
    }
}
