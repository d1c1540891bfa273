//! Square two-dimensional convolutions, of maps that may be upsampled first, and their gradients.
//!
//! Inputs are `[batch, height, width, in_channels]`, outputs `[batch, out_height, out_width, out_channels]`; weights
//! stay in the order of `PyTorch`, `[out_channels, in_channels, kernel, kernel]`.

use super::ConvGeometry;
use super::correlate::{Correlation, Problem};
use super::instructions::Instructions;
use super::operand::Operand;
use super::outer;
use super::taps::{Extent, Taps};

impl ConvGeometry {
    fn extents(&self) -> [Extent; 2] {
        let Self { upsampling, kernel, stride, padding, .. } = *self;
        [(self.height, self.out_height()), (self.width, self.out_width())].map(|(input, output)| Extent {
            input,
            upsampling,
            output,
            kernel,
            stride,
            padding,
        })
    }
}

/// The convolution with `weight`, plus `bias` (`[out_channels]`) at every pixel.
pub fn forward<C: Operand>(
    set: Instructions,
    g: &ConvGeometry,
    weight: &[C::Real],
    bias: Option<&[C::Real]>,
) -> Correlation<C> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let taps = g.kernel * g.kernel;
    let problem = Problem {
        batch: g.batch,
        input: [g.height, g.width],
        output: [g.out_height(), g.out_width()],
        stride: g.stride,
        out_step: g.upsampling,
        axes: g.extents().map(|extent| extent.forward()),
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
    Correlation::new(set, &problem)
}

/// What makes the gradient with respect to the input of the one with respect to the output.
pub fn backward_input<C: Operand>(set: Instructions, g: &ConvGeometry, weight: &[C::Real]) -> Correlation<C> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let taps = g.kernel * g.kernel;
    let problem = Problem {
        batch: g.batch,
        input: [g.out_height(), g.out_width()],
        output: [g.height, g.width],
        stride: g.upsampling,
        out_step: g.stride,
        axes: g.extents().map(|extent| extent.backward()),
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
    Correlation::new(set, &problem)
}

/// The weight gradient of a convolution as a sum of outer products.
pub fn outer_problem(g: &ConvGeometry) -> outer::Problem {
    outer::Problem {
        batch: g.batch,
        input: [g.height, g.width],
        in_channels: g.in_channels,
        output: [g.out_height(), g.out_width()],
        out_channels: g.out_channels,
        stride: g.stride,
        out_step: g.upsampling,
        axes: g.extents().map(|extent| extent.forward()),
        kernel: g.kernel,
    }
}

#[cfg(test)]
mod tests;
