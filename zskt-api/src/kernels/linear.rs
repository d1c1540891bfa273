//! Fully connected layers, `y = x · weightᵀ + bias`: rows `x` are `[batch, inputs]`, `y` `[batch, outputs]`, the weight
//! is `[outputs, inputs]`.
//!
//! A row is a pixel of a 1×1 convolution.

use super::ConvGeometry;
use super::conv2d;
use super::correlate::Correlation;
use super::element::{Numbers, NumbersMut};
use super::elementwise;
use super::instructions::Instructions;
use super::outer::{self, Order};
use super::real::Real;
use super::sink::Sink;
use super::source::Source;

/// `[batch, outputs]`, with `bias` (`[outputs]`) added to every row.
pub fn forward<T: Real>(
    batch: usize,
    inputs: usize,
    outputs: usize,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let forward = conv2d::forward::<T>(Instructions::best(), &pixels(batch, inputs, outputs), weight, bias);
    run(&forward, x)
}

/// The gradient with respect to `x`, `[batch, inputs]`.
pub fn backward_input<T: Real>(batch: usize, inputs: usize, outputs: usize, dy: &[T], weight: &[T]) -> Vec<T> {
    run(&conv2d::backward_input::<T>(Instructions::best(), &pixels(batch, inputs, outputs), weight), dy)
}

/// The gradient with respect to the weight, `[outputs, inputs]`, summed over the rows.
pub fn backward_weight<T: Real>(batch: usize, inputs: usize, outputs: usize, x: &[T], dy: &[T]) -> Vec<T> {
    // With the sides exchanged, the sums come out in the order of the weight, and may be wide without being partial.
    let [x, dy] = [x, dy].map(|rows| Source::Plain(Numbers::Full(rows)));
    let problem = conv2d::outer_problem(&pixels(batch, outputs, inputs));
    outer::run(Instructions::best(), &problem, &dy, &x, Order::InputsFirst)
}

/// The gradient with respect to the bias, `[outputs]`: the sum over the rows.
pub fn backward_bias<T: Real>(outputs: usize, dy: &[T]) -> Vec<T> {
    elementwise::pixel_sums(&Source::Plain(Numbers::Full(dy)), 1, outputs, 1.0)
}

pub(super) fn pixels(batch: usize, inputs: usize, outputs: usize) -> ConvGeometry {
    let (in_channels, out_channels) = (inputs, outputs);
    let (height, width, upsampling, kernel, stride, padding) = (1, 1, 1, 1, 1, 0);
    ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding }
}

fn run<T: Real>(layer: &Correlation<T>, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; layer.len()];
    layer.run(&Source::Plain(Numbers::Full(x)), &Sink::STORE, NumbersMut::Full(&mut y));
    y
}
