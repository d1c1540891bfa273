//! Fully connected layers, `y = x · weightᵀ + bias`: rows `x` are `[batch, inputs]`, `y` `[batch, outputs]`, the weight
//! is `[outputs, inputs]`.
//!
//! A row is a pixel of a 1×1 convolution.

use super::ConvGeometry;
use super::conv2d;
use super::elementwise;
use super::instructions::Instructions;
use super::outer::{self, Order};
use super::real::Real;

/// `[batch, outputs]`, with `bias` (`[outputs]`) added to every row.
pub fn forward<T: Real>(
    batch: usize,
    inputs: usize,
    outputs: usize,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    conv2d::forward(&pixels(batch, inputs, outputs), x, weight, bias)
}

/// The gradient with respect to `x`, `[batch, inputs]`.
pub fn backward_input<T: Real>(batch: usize, inputs: usize, outputs: usize, dy: &[T], weight: &[T]) -> Vec<T> {
    conv2d::backward_input(&pixels(batch, inputs, outputs), dy, weight)
}

/// The gradient with respect to the weight, `[outputs, inputs]`, summed over the rows.
pub fn backward_weight<T: Real>(batch: usize, inputs: usize, outputs: usize, x: &[T], dy: &[T]) -> Vec<T> {
    // With the sides exchanged, the sums come out in the order of the weight, and may be wide without being partial.
    outer::run(Instructions::best(), &pixels(batch, outputs, inputs), dy, x, Order::InputsFirst)
}

/// The gradient with respect to the bias, `[outputs]`: the sum over the rows.
pub fn backward_bias<T: Real>(outputs: usize, dy: &[T]) -> Vec<T> {
    elementwise::column_sums(dy, outputs)
}

pub(super) fn pixels(batch: usize, inputs: usize, outputs: usize) -> ConvGeometry {
    let (in_channels, out_channels) = (inputs, outputs);
    ConvGeometry { batch, height: 1, width: 1, in_channels, out_channels, kernel: 1, stride: 1, padding: 0 }
}
