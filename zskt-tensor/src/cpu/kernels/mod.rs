//! The arithmetic of the networks on a CPU, on dense channels-last maps (`[batch, height, width, channels]`).

pub mod attention_map;
pub mod channel_selection;
pub mod curve;
pub mod depthwise;
pub mod elementwise_loop;
pub mod epilogue;
pub mod finish;
pub mod kernel_table;
pub mod microkernel;
pub mod normalize;
pub mod pixel_sums;
pub mod placement;
pub mod pooling;
pub mod product;
pub mod prologue;
pub mod read;
pub mod shift;
pub mod transpose;
pub mod upsample;
pub mod winograd;
