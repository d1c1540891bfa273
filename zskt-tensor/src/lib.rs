//! Feature maps, their gradients and the layers made of them, on the CPU and on NVIDIA GPUs.

mod activation;
mod augmentation;
mod autograd;
mod backend;
mod candle_function;
mod channel_selection;
mod cpu;
mod cuda;
pub mod cuda_graph;
mod dense;
mod error;
mod feature_map;
pub mod flop;
mod gradients;
mod image_set;
pub mod nn;
pub mod ops;
mod out_of_memory;
mod pool_windows;
mod precision;
mod random;
mod shape;
mod statistics;
mod test_device;
pub mod trace;
mod update_rule;

pub use candle_core;
pub use candle_nn;

pub use augmentation::Augmentation;
pub use autograd::backward;
pub use cpu::instructions::describe as describe_instructions;
#[cfg(feature = "cuda")]
pub use cuda::driver::{describe as describe_gpu, open as open_gpu};
pub use cuda::packed_weights::{PackedWeights, forget_packed_weights};
pub use error::{Context, Error, Result};
pub use feature_map::FeatureMap;
pub use gradients::Gradients;
pub use image_set::{Batch, ImageSet};
pub use out_of_memory::catch_out_of_memory;
pub use precision::Precision;
pub use random::{RandomStreams, StreamRng, standard_normal};
pub use shape::ImageShape;
#[doc(hidden)]
pub use test_device::test_device;
