//! Attention, and what transformers are made of.

mod block;
mod dot_product;
mod multi_head;
mod positions;
mod rotary;
mod transformer;

pub use dot_product::AttentionOptions;
pub use multi_head::{Attention, MultiHeadAttention};
pub use positions::{PositionEmbedding, SinePositionEncoding};
pub use rotary::rotary;
pub use transformer::{TransformerDecoder, TransformerEncoder};
