//! Feature maps on an accelerator: tensors `[B, H, W, C]`, with a tape of their own and kernels of their own
//! (`kernels/*.cu`); convolutions are cuDNN's.
//!
//! The tests run the same code, kernels included, on the CPU, and compare it with the CPU's own kernels.

mod attention;
mod batch_norm;
mod belief;
mod board;
mod convolution;
#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(test)]
mod emulated;
mod graph;
mod kernel;
mod map;
#[cfg(feature = "cuda")]
mod nvrtc;
mod pointwise;
mod resampling;
mod tape;
#[cfg(test)]
mod tests;
mod update;

pub use batch_norm::track;
pub use belief::{kl_divergence, linear, log_softmax};
pub use board::{empty_board, listed, on_board, write};
#[cfg(feature = "cuda")]
pub use driver::open;
pub use graph::{Graph, can_record, record, rehearsed};
pub use map::DeviceMap;
pub use tape::collect;
pub use update::{clipped, norm, update};
