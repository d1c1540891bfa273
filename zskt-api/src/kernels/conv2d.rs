//! Square two-dimensional convolutions and their gradients.
//!
//! Inputs are `[batch, height, width, in_channels]`, outputs `[batch, out_height, out_width, out_channels]`; weights
//! stay in the order of `PyTorch`, `[out_channels, in_channels, kernel, kernel]`.

use super::ConvGeometry;
use super::correlate::{self, Axis, Problem};
use super::elementwise;
use super::instructions::Instructions;
use super::outer::{self, Order};
use super::pack::Taps;
use super::real::Real;

/// The convolution of `x` with `weight`, plus `bias` (`[out_channels]`) at every pixel.
pub fn forward<T: Real>(g: &ConvGeometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    forward_by(Instructions::best(), g, x, weight, bias)
}

/// The gradient with respect to the input, from the one with respect to the output, `dy`.
pub fn backward_input<T: Real>(g: &ConvGeometry, dy: &[T], weight: &[T]) -> Vec<T> {
    backward_input_by(Instructions::best(), g, dy, weight)
}

/// The gradient with respect to the weight, summed over all pixels of all images.
pub fn backward_weight<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T]) -> Vec<T> {
    outer::run(Instructions::best(), g, x, dy, Order::OutputsFirst)
}

/// The gradient with respect to the bias, `[out_channels]`: `dy` summed over all pixels of all images.
pub fn backward_bias<T: Real>(g: &ConvGeometry, dy: &[T]) -> Vec<T> {
    assert_eq!(dy.len(), g.output_len(), "the gradient has the shape it should have");
    elementwise::column_sums(dy, g.out_channels)
}

fn forward_by<T: Real>(set: Instructions, g: &ConvGeometry, x: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let output = [g.out_height(), g.out_width()];
    let axis =
        |count: usize| vec![Axis { first: 0, count, taps: (0..g.kernel).collect(), origin: -(g.padding as isize) }];
    let taps = g.kernel * g.kernel;
    let problem = Problem {
        batch: g.batch,
        input: [g.height, g.width],
        output,
        stride: g.stride,
        out_step: 1,
        axes: output.map(axis),
        taps: Taps {
            weight,
            outputs: g.out_channels,
            output_step: g.in_channels * taps,
            inputs: g.in_channels,
            input_step: taps,
            kernel: g.kernel,
        },
        bias,
    };
    correlate::run(set, &problem, x)
}

fn backward_input_by<T: Real>(set: Instructions, g: &ConvGeometry, dy: &[T], weight: &[T]) -> Vec<T> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let output = [g.height, g.width];
    let taps = g.kernel * g.kernel;
    let problem = Problem {
        batch: g.batch,
        input: [g.out_height(), g.out_width()],
        output,
        stride: 1,
        out_step: g.stride,
        axes: output.map(|count| gradient_phases(g, count)),
        taps: Taps {
            weight,
            outputs: g.in_channels,
            output_step: taps,
            inputs: g.out_channels,
            input_step: g.in_channels * taps,
            kernel: g.kernel,
        },
        bias: None,
    };
    correlate::run(set, &problem, dy)
}

/// The phases of an axis of `count` input pixels.
///
/// Input `i` gets from output `o` what tap `k` gave it: `o · stride + k = i + padding`. With `i = first + stride · t`
/// the taps are those congruent to `first + padding`, and the outputs `o = t + (first + padding) / stride − j` for the
/// `j`-th of them, so that in descending order of taps the outputs ascend.
fn gradient_phases(g: &ConvGeometry, count: usize) -> Vec<Axis> {
    let phase = |first: usize| {
        let met = first + g.padding;
        let taps: Vec<usize> = (met % g.stride..g.kernel).step_by(g.stride).rev().collect();
        let origin = (met / g.stride + 1) as isize - taps.len() as isize;
        Axis { first, count: (count - first).div_ceil(g.stride), taps, origin }
    };
    (0..g.stride.min(count)).map(phase).collect()
}

#[cfg(test)]
mod tests;
