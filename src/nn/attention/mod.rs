//! Attention, and what transformers are made of.

mod dot_product;

pub use dot_product::AttentionOptions;
