//! Feature maps on NVIDIA GPUs: tensors `[B, H, W, C]`, with kernels of our own (`kernels/`), and convolutions by
//! cuDNN where there are none of ours.
//!
//! The tests run the same code, kernels included, on the CPU, and compare it with the CPU's own kernels.

mod backend;
mod cast;
mod conv;
mod convolution;
#[cfg(test)]
mod cpu_emulation;
#[cfg(any(test, feature = "cuda"))]
mod cubin_cache;
#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
pub mod driver;
pub mod exact_sums;
mod fusion;
#[cfg(feature = "cuda")]
mod gpu;
pub mod graph;
#[cfg(feature = "cuda")]
mod graph_memory;
pub mod graph_parameters;
mod kernel_source;
pub mod launch;
pub mod map;
#[cfg(feature = "cuda")]
mod nvrtc;
#[cfg(test)]
mod nvrtc_library;
mod ops;
pub mod packed_weights;
mod pending_gradients;
mod sum;
mod tensor_array;
#[cfg(test)]
mod tests;
mod ticket;
mod transpose;
