//! Convolutions on the CPU.

pub mod data_gradient;
pub mod depthwise;
pub mod direct;
pub mod forward;
pub mod fused_backward;
pub mod grouped;
pub mod linear;
pub mod operand;
pub mod packed_conv;
pub mod padded_input;
pub mod row_ring;
pub mod sub_kernels;
#[cfg(test)]
mod tests;
pub mod weight_gradient;
pub mod winograd_conv;
pub mod winograd_weight_gradient;
