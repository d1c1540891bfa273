//! Vectors of numbers, for each instruction set.

pub mod dtype;
pub mod float;
pub mod instruction_set;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod vector;
#[cfg(target_arch = "x86_64")]
pub mod x86;
