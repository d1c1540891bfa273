//! The convolution itself, of maps that may be upsampled first.
//!
//! Inputs are `[batch, height, width, in_channels]`, outputs `[batch, out_height, out_width, out_channels]`; weights
//! stay in the order of `PyTorch`, `[out_channels, in_channels, kernel, kernel]`.

use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::{ConvProblem, PackedConv};
use crate::cpu::conv::sub_kernels::SubKernels;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::ConvGeometry;

/// The convolution with `weight`, plus `bias` (`[out_channels]`) at every pixel.
pub fn forward<C: Operand>(
    set: InstructionSet,
    g: &ConvGeometry,
    weight: &[C::Accumulator],
    bias: Option<&[C::Accumulator]>,
) -> PackedConv<C> {
    assert_eq!(weight.len(), g.weight_len(), "the weight has the shape it should have");
    let taps = g.kernel * g.kernel;
    let problem = ConvProblem {
        batch: g.batch,
        input: [g.height, g.width],
        output: [g.out_height(), g.out_width()],
        stride: g.stride,
        out_step: g.upsampling,
        axes: g.extents().map(|extent| extent.forward()),
        taps: SubKernels {
            weight,
            outputs: g.out_channels,
            output_step: g.in_channels * taps,
            inputs: g.in_channels,
            input_step: taps,
            kernel: g.kernel,
        },
        bias,
    };
    PackedConv::new(set, &problem)
}
