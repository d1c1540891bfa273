//! The differentiable operations that layers and losses are made of.
//!
//! An operation says what fits, and hands on to the backend of its device. A backward computes the gradients of tracked
//! inputs only. On the CPU sums are in f32 or f64, products of bf16 maps may be in bf16, and the same inputs give the same
//! bits whatever the number of threads.

mod activation;
mod add;
mod add_scalars;
mod attention_map;
mod batch_norm;
mod channel_shuffle;
mod concat;
mod conv2d;
mod gather_scalars;
mod kl_divergence;
mod linear;
mod log_softmax;
mod multiply;
mod narrow_channels;
mod normalize;
mod pad;
mod pooling;
mod shift;
mod update;
mod upsample;

pub use crate::activation::Activation;
pub use crate::statistics::{BatchNormStatistics, RunningStatistics};
pub use crate::update_rule::{AdamOperands, AdamStep, UpdateOperands, UpdateRule};
pub use activation::{activate, activate_vectors};
pub use add::add;
pub use add_scalars::add_scalars;
pub use attention_map::{attention_distance, attention_distances, attention_map};
pub use batch_norm::{batch_moments, batch_norm, track, tracked_batch_moments};
pub(crate) use batch_norm::{batch_moments_to_normalize, check_channels, finish_batch_moments};
pub use channel_shuffle::channel_shuffle;
pub use concat::concat;
pub use conv2d::conv2d;
pub use gather_scalars::gather_scalars;
pub use kl_divergence::{kl_divergence, kl_divergence_with_logits};
pub use linear::linear;
pub use log_softmax::log_softmax;
pub use multiply::multiply;
pub use narrow_channels::narrow_channels;
pub use normalize::{NormalizedOver, normalize};
pub use pad::{Padding, pad};
pub use pooling::{Pool, PoolWindows, adaptive_average_pool, average_pool, global_average, max_pool};
pub(crate) use shift::Border;
pub use shift::{Shift, crop_and_flip, roll};
pub use update::{apply_adam, apply_updates};
pub(crate) use update::{clip, norm};
pub use upsample::upsample_nearest;
