//! The gradient of a convolution with respect to its input: a convolution of the output's gradient.

use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::{Correlation, Problem};
use crate::cpu::conv::sub_kernels::Taps;
use crate::cpu::simd::instruction_set::Instructions;
use crate::shape::ConvGeometry;

/// What makes the gradient with respect to the input of the one with respect to the output.
pub fn data_gradient<C: Operand>(set: Instructions, g: &ConvGeometry, weight: &[C::Real]) -> Correlation<C> {
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
