//! The gradient of a convolution with respect to its input: a convolution of the output's gradient.

use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::{ConvProblem, PackedConv};
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::ConvGeometry;

/// EpilogueKind makes the gradient with respect to the input of the one with respect to the output.
pub fn data_gradient<C: Operand>(set: InstructionSet, g: &ConvGeometry, weight: &[C::Accumulator]) -> PackedConv<C> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let taps = g.kernel * g.kernel;
    let problem = ConvProblem {
        batch: g.batch,
        input: [g.out_height(), g.out_width()],
        output: [g.height, g.width],
        stride: g.upsampling,
        out_step: g.stride,
        axes: g.extents().map(|extent| extent.backward()),
        taps: SubKernels {
            weight,
            outputs: g.in_channels,
            output_step: taps,
            inputs: g.out_channels,
            input_step: g.in_channels * taps,
            kernel: g.kernel,
        },
        bias: None,
    };
    PackedConv::new(set, &problem)
}
