//! Fully connected layers, `y = x · weightᵀ + bias`: rows `x` are `[batch, inputs]`, `y` `[batch, outputs]`, the weight
//! is `[outputs, inputs]`.
//!
//! A row is a pixel of a 1×1 convolution.

use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::forward;
use crate::cpu::conv::operand::ConvFloat;
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::conv::weight_gradient::{self, WeightGradientProblem, WeightLayout};
use crate::cpu::kernels::epilogue::Epilogue;
use crate::cpu::kernels::pixel_sums;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::{MapSlice, MapSliceMut};
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::ConvGeometry;

/// `[batch, outputs]`, with `bias` (`[outputs]`) added to every row.
pub fn forward<T: ConvFloat>(
    batch: usize,
    inputs: usize,
    outputs: usize,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let forward = forward::forward::<T>(InstructionSet::best(), &pixels(batch, inputs, outputs), weight, bias);
    run(&forward, x)
}

/// The gradient with respect to `x`, `[batch, inputs]`.
pub fn backward_input<T: ConvFloat>(batch: usize, inputs: usize, outputs: usize, dy: &[T], weight: &[T]) -> Vec<T> {
    run(&data_gradient::<T>(InstructionSet::best(), &pixels(batch, inputs, outputs), weight), dy)
}

/// The gradient with respect to the weight, `[outputs, inputs]`, summed over the rows.
pub fn backward_weight<T: ConvFloat>(batch: usize, inputs: usize, outputs: usize, x: &[T], dy: &[T]) -> Vec<T> {
    // With the sides exchanged, the sums come out in the order of the weight, and may be wide without being partial.
    let [x, dy] = [x, dy].map(|rows| InputView::Plain(MapSlice::Full(rows)));
    let problem = WeightGradientProblem::of(&pixels(batch, outputs, inputs));
    weight_gradient::run(InstructionSet::best(), &problem, &dy, &x, WeightLayout::InputsFirst)
}

/// The gradient with respect to the bias, `[outputs]`: the sum over the rows.
pub fn backward_bias<T: ConvFloat>(outputs: usize, dy: &[T]) -> Vec<T> {
    pixel_sums::pixel_sums(&InputView::Plain(MapSlice::Full(dy)), 1, outputs, 1.0)
}

pub fn pixels(batch: usize, inputs: usize, outputs: usize) -> ConvGeometry {
    let (in_channels, out_channels) = (inputs, outputs);
    let (height, width, upsampling, kernel, stride, padding, groups) = (1, 1, 1, 1, 1, 0, 1);
    ConvGeometry { batch, height, width, upsampling, in_channels, out_channels, kernel, stride, padding, groups }
}

fn run<T: ConvFloat>(layer: &PackedConv<T>, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; layer.len()];
    layer.run(&InputView::Plain(MapSlice::Full(x)), &Epilogue::STORE, MapSliceMut::Full(&mut y));
    y
}
