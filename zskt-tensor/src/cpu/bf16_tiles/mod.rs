//! Convolution kernels that multiply bf16 numbers and add in f32, by a [`Unit`](unit::Unit): strips compute outputs of a convolution
//! (forward pass and data gradient), `TileOuter` sums outer products over pixels (weight gradient); [`TileWeightGradient`]
//! and the [`Operand`](crate::cpu::conv::operand::Operand) that bf16 is make the layers' operations of them.
//!
//! They exist on x86-64 Linux only.

mod amx;
mod choice;
mod dot_product;
mod operand;
mod outer_product;
mod shape;
mod tile;
pub mod unit;
mod weight_gradient;

pub use choice::{for_data_gradient, for_forward, for_weight_gradient};
pub use weight_gradient::TileWeightGradient;

#[cfg(test)]
mod tests;
