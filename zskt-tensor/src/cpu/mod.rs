//! Feature maps on the CPU.

pub mod amx;
mod backend;
mod buffer_pool;
mod conv;
mod fusion;
mod kernels;
pub mod map;
mod ops;
mod simd;
mod storage;
mod tensor_slice;
mod threads;
