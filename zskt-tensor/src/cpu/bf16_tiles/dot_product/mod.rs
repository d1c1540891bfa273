//! AVX-512's dot products of pairs of bf16 numbers.

pub mod products;
pub mod strip;
