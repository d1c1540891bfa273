//! The operations: kernels launched, and what their gradients need kept.

pub mod activation;
pub mod add;
pub mod add_scalars;
pub mod attention_map;
pub mod batch_norm;
pub mod channel_selection;
pub mod conv2d;
pub mod depthwise;
pub mod digest;
pub mod gather_scalars;
pub mod kl_divergence;
pub mod linear;
pub mod log_softmax;
pub mod multiply;
pub mod normalize;
pub mod placement;
pub mod pooling;
pub mod shift;
pub mod update;
pub mod upsample;
