//! The operations: what is computed when, and what their gradients need kept.

pub mod activation;
pub mod add;
pub mod attention_map;
pub mod batch_norm;
mod channel_selection;
pub mod conv2d;
pub mod digest;
pub mod kl_divergence;
pub mod linear;
pub mod log_softmax;
pub mod multiply;
pub mod normalize;
pub mod placement;
pub mod pooling;
pub mod shift;
pub mod unfused;
pub mod update;
pub mod upsample;
