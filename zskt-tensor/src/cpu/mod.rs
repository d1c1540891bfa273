//! Feature maps on the CPU.

mod backend;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod bf16_tiles;
mod buffer_pool;
mod conv;
mod fusion;
pub mod instructions;
mod kernels;
pub mod map;
mod ops;
mod simd;
mod tensor_slice;
mod threads;
