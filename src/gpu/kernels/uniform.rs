//! Uniform blocks: what a hand-written kernel is told, by name.
//!
//! A kernel's WGSL declares its block as a structure of `u32`s; here each such structure has its twin in Rust, declared once by
//! [`uniform!`] and filled by name. WGSL's `u32`s follow each other without gaps, so the fields in their order are the block. A
//! test parses every kernel that can be launched and compares the names, the order and the sizes of both (`kernels/tests.rs`).

/// A uniform block, or neighbouring fields that several blocks have in common.
pub trait Fields {
    /// Adds the names of its words, in order; `field` is what it is called in the block around it.
    fn names(field: &'static str, names: &mut Vec<&'static str>);
    /// Adds its words, in order.
    fn words(&self, words: &mut Vec<u32>);
}

/// A size, an index or a stride. Sizes that no `u32` holds are refused long before (`shape.rs`).
impl Fields for usize {
    fn names(field: &'static str, names: &mut Vec<&'static str>) {
        names.push(field);
    }

    fn words(&self, words: &mut Vec<u32>) {
        words.push(*self as u32);
    }
}

/// 1 for yes.
impl Fields for bool {
    fn names(field: &'static str, names: &mut Vec<&'static str>) {
        names.push(field);
    }

    fn words(&self, words: &mut Vec<u32>) {
        words.push(u32::from(*self));
    }
}

/// Declares the Rust side of a uniform block: a structure whose fields have the names, and the order, of those in WGSL. A field
/// whose type is such a structure itself stands for that one's fields.
macro_rules! uniform {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name { $($(#[$doc])* pub $field: $ty),* }

        impl $crate::gpu::kernels::uniform::Fields for $name {
            fn names(_: &'static str, names: &mut Vec<&'static str>) {
                $(<$ty as $crate::gpu::kernels::uniform::Fields>::names(stringify!($field), names);)*
            }

            fn words(&self, words: &mut Vec<u32>) {
                $($crate::gpu::kernels::uniform::Fields::words(&self.$field, words);)*
            }
        }
    };
}
pub(crate) use uniform;

/// Contents of a uniform block, and what its words are called.
#[derive(Clone, Debug)]
pub struct Uniform {
    words: Vec<u32>,
    #[cfg(test)]
    names: fn() -> Vec<&'static str>,
}

fn names_of<F: Fields>() -> Vec<&'static str> {
    let mut names = Vec::new();
    F::names("", &mut names);
    names
}

impl Uniform {
    /// The block that a structure of [`uniform!`] describes.
    pub fn of<F: Fields>(block: &F) -> Uniform {
        let mut words = Vec::new();
        block.words(&mut words);
        debug_assert_eq!(words.len(), names_of::<F>().len(), "{:?}", names_of::<F>());
        Uniform {
            words,
            #[cfg(test)]
            names: names_of::<F>,
        }
    }

    /// The block of a kernel from outside the crate: only its author knows the names.
    pub fn unnamed(words: Vec<u32>) -> Uniform {
        Uniform {
            words,
            #[cfg(test)]
            names: Vec::new,
        }
    }

    /// The block's contents.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// What the words are called, in order.
    #[cfg(test)]
    pub fn names(&self) -> Vec<&'static str> {
        (self.names)()
    }

    /// The word of this name.
    #[cfg(test)]
    pub fn get(&self, name: &str) -> Option<u32> {
        let at = self.names().iter().position(|n| *n == name)?;
        self.words.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    uniform! {
        /// Fields in the middle.
        struct Inner { b: usize, c: bool }
    }
    uniform! {
        struct Outer { a: usize, inner: Inner, d: usize }
    }

    #[test]
    fn inner_fields_stand_in_their_place() {
        let block = Uniform::of(&Outer { a: 1, inner: Inner { b: 2, c: true }, d: 4 });
        assert_eq!(block.names(), ["a", "b", "c", "d"]);
        assert_eq!(block.words(), [1, 2, 1, 4]);
        assert_eq!((block.get("d"), block.get("inner")), (Some(4), None));
    }
}
