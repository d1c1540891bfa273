//! The layers that networks are made of, with PyTorch's names, defaults and initialization, and their weights.

mod batch_norm;
mod conv2d;
mod forward_mode;
mod linear;
mod observation;
mod weights;
mod weights_digest;

pub use crate::ops::{
    Activation, Padding, Pool, PoolWindows, activate, activate_vectors, adaptive_average_pool, average_pool, concat,
    global_average, max_pool, multiply, pad, upsample_nearest,
};
pub use batch_norm::BatchNorm2d;
pub use conv2d::{Conv2d, Conv2dShape};
pub use forward_mode::ForwardMode;
pub use linear::Linear;
pub use observation::{BatchNormInput, Observation, Wanted, forget_features, observe};
pub use weights::{Builder, Init, Parameter, Role, Weights};
pub use weights_digest::WeightsDigest;
