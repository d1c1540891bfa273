//! Convolutions of bf16 maps by products of bf16 numbers, where there are instructions for these; elsewhere by those of f32.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod by_tiles;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod none;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use by_tiles::{Bf16Conv, backward};
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub use none::{Bf16Conv, backward};
