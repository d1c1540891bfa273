//! Feature maps on NVIDIA GPUs: tensors `[B, H, W, C]`, with kernels of our own (`kernels/*.cu`); convolutions are cuDNN's.
//!
//! The tests run the same code, kernels included, on the CPU, and compare it with the CPU's own kernels.

mod backend;
mod convolution;
#[cfg(test)]
mod cpu_emulation;
#[cfg(feature = "cuda")]
mod cudnn;
#[cfg(feature = "cuda")]
pub mod driver;
pub mod graph;
pub mod graph_parameters;
mod kernel_source;
mod launch;
pub mod map;
#[cfg(feature = "cuda")]
mod nvrtc;
mod ops;
mod sum;
#[cfg(test)]
mod tests;
