//! Losses.

mod attention_transfer;
mod cross_entropy;
mod kl_divergence;

pub use attention_transfer::AttentionTransfer;
pub use cross_entropy::CrossEntropy;
pub use kl_divergence::KlDivergence;

zskt_api::export! { loss: KlDivergence, AttentionTransfer, CrossEntropy }
