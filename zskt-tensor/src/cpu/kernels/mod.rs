//! The arithmetic of the networks on a CPU, on dense channels-last maps (`[batch, height, width, channels]`).

pub mod attention_map;
pub mod elementwise_loop;
pub mod epilogue;
pub mod kernel_table;
pub mod microkernel;
pub mod pixel_sums;
pub mod pooling;
pub mod prologue;
pub mod transpose;
pub mod upsample;
