//! Surgery on WGSL: every change that is made to the text of a kernel on its way from a file to the driver.
//!
//! Kernels are changed as text, not as a parsed module: what the driver gets then reads like what was written, and an operation
//! that does not understand a piece of text can leave it as it is. Each operation knows the style of this crate's kernels and
//! no more of the language; what it can't be sure of it refuses (`None`) or leaves alone, and never guesses. Kernels of a
//! [`CustomOp`](crate::CustomOp) go through the same operations.
//!
//! A finished text is kept once, as a [`Text`], with what was found out about it.
//!
//! On its way a hand-written kernel passes, in this order, whichever of these apply:
//!
//! 1. [`shader!`]: the headers that it names are put in their places.
//! 2. [`by_width`], [`set_alias`], [`exchange`], [`exchange_block`], [`declarations`]: the variant that a launch wants.
//! 3. [`Text::with_epilogue`]: pointwise work on what it stores.
//! 4. [`in_windows`]: buffers larger than a binding.
//! 5. [`Module`], [`rename`], [`renumber`]: a part of a dispatch with several parts.
//! 6. [`quads_as_pairs`]: loads and stores by 64-bit integers.

mod accesses;
mod epilogue;
mod headers;
mod module;
mod pairs;
mod text;
mod variants;
mod windows;
mod words;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use epilogue::EPILOGUES;
pub(crate) use headers::{shader, with_headers};
pub(crate) use module::{Module, UniformDeclaration, renumber};
pub(crate) use pairs::quads_as_pairs;
pub(crate) use text::Text;
pub(crate) use variants::{by_width, declarations, exchange, exchange_block, set_alias};
pub(crate) use windows::in_windows;
pub(crate) use words::{rename, without_comments};
