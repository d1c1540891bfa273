//! Feature maps on an accelerator: candle tensors `[B, C, H, W]`, with candle's own tape.
//!
//! What is here computes on any of candle's devices; the tests compare it with the kernels of the CPU.

mod convolution;
#[cfg(feature = "cuda")]
mod cudnn;
mod map;
mod tensor;
#[cfg(test)]
mod tests;

pub use map::DeviceMap;
pub use tensor::{linear, log_softmax, sum_of_squares, update};
