//! The layers that networks are made of, with PyTorch's names, defaults and initialization, and their weights.

mod batch_norm;
mod conv2d;
mod conv_transpose2d;
mod dropout;
mod forward_mode;
mod group_norm;
mod layer_norm;
mod layer_streams;
mod linear;
mod observation;
mod weights;
mod weights_digest;

pub use crate::ops::{
    Activation, Padding, Pool, PoolWindows, activate, activate_vectors, adaptive_average_pool, average_pool,
    channel_shuffle, concat, global_average, max_pool, multiply, narrow_channels, pad, upsample_nearest,
};
pub use batch_norm::BatchNorm2d;
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dShape};
pub use conv2d::{Conv2d, Conv2dShape};
pub use dropout::{Dropout, StochasticDepth};
pub use forward_mode::ForwardMode;
pub use group_norm::GroupNorm;
pub use layer_norm::LayerNorm;
pub use layer_streams::{layer_streams_at, with_layer_streams};
pub use linear::Linear;
pub use observation::{BatchNormInput, Observation, Wanted, forget_features, observe};
pub use weights::{Builder, Init, Parameter, Role, Weights};
pub use weights_digest::WeightsDigest;
