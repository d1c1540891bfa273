//! Convolutions in groups of channels: depthwise ones by kernels of their own, others group by group as any convolution.

use crate::cpu::buffer_pool::Buffer;
use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::depthwise::{self, DepthwiseConv};
use crate::cpu::conv::forward::forward;
use crate::cpu::conv::fused_backward;
use crate::cpu::conv::operand::ConvFloat;
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::conv::weight_gradient::{DirectWeightGradient, WeightGradientProblem};
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::{MapSlice, MapSliceMut};
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::threads;
use crate::shape::ConvGeometry;

/// A convolution in groups, or its gradient with respect to the input.
pub enum GroupedConv<T: ConvFloat> {
    /// One channel to a group.
    Depthwise(DepthwiseConv<T>),
    /// For each group what makes its part of an image.
    Groups(InstructionSet, Vec<PackedConv<T>>),
}

impl<T: ConvFloat> GroupedConv<T> {
    /// The convolution with `weight` `[O, I / groups, K, K]`, plus `bias` `[O]` at every pixel.
    pub fn forward(set: InstructionSet, g: &ConvGeometry, weight: &[T], bias: Option<&[T]>) -> Self {
        if depthwise::is_depthwise(g) {
            return Self::Depthwise(DepthwiseConv::forward(set, g, weight, bias));
        }
        let outputs = g.out_channels / g.groups;
        let group = |(index, weight)| {
            let bias = bias.map(|bias| &bias[index * outputs..][..outputs]);
            forward(set, &group(&ConvGeometry { batch: 1, ..*g }), weight, bias)
        };
        Self::Groups(set, weight.chunks_exact(g.weight_len() / g.groups).enumerate().map(group).collect())
    }

    /// What makes the gradient with respect to the input of the one with respect to the output.
    pub fn data_gradient(set: InstructionSet, g: &ConvGeometry, weight: &[T]) -> Self {
        if depthwise::is_depthwise(g) {
            return Self::Depthwise(DepthwiseConv::data_gradient(set, g, weight));
        }
        let group = |weight| data_gradient(set, &group(&ConvGeometry { batch: 1, ..*g }), weight);
        Self::Groups(set, weight.chunks_exact(g.weight_len() / g.groups).map(group).collect())
    }

    /// Computes `out` from `source`, and returns the sums that the epilogue asks for.
    pub fn run(&self, source: &InputView<T>, epilogue: &Epilogue<T>, out: MapSliceMut<T>) -> ChannelSums {
        let (set, groups) = match self {
            Self::Depthwise(conv) => return conv.run(source, epilogue, out),
            Self::Groups(set, groups) => (*set, groups),
        };
        let [inputs, outputs] = groups[0].channels();
        let [channels, out_channels] = [inputs, outputs].map(|channels| channels * groups.len());
        let (len, out_len) = (groups[0].input_len() * groups.len(), groups[0].len() * groups.len());
        if source.len() == 0 {
            return ChannelSums::zeros(out_channels);
        }
        let mut whole = Buffer::<T>::new(source.len() / len.max(1) * out_len);
        threads::update(&mut whole, out_len.max(1), |at, whole| {
            let [mut image, mut input, mut output] =
                [len, groups[0].input_len(), groups[0].len()].map(Buffer::<T>::new);
            source.write(set, at / out_len.max(1) * len, &mut image);
            for (index, conv) in groups.iter().enumerate() {
                part(&image, channels, index, inputs, &mut input);
                let input = InputView::Plain(MapSlice::Full(&input));
                conv.run(&input, &Epilogue::STORE, MapSliceMut::Full(&mut output));
                let places = whole.chunks_exact_mut(out_channels);
                for (place, pixel) in places.zip(output.chunks_exact(outputs)) {
                    place[index * outputs..][..outputs].copy_from_slice(pixel);
                }
            }
        });
        let produce = |first: usize, results: &mut [T]| {
            results.copy_from_slice(&whole[first * out_channels..][..results.len()]);
        };
        elementwise_loop::run(set, out_channels, produce, epilogue, out)
    }
}

/// The convolution of one group.
fn group(g: &ConvGeometry) -> ConvGeometry {
    ConvGeometry { in_channels: g.group_inputs(), out_channels: g.out_channels / g.groups, groups: 1, ..*g }
}

/// The channels of one group of a map.
fn part<T: ConvFloat>(map: &[T], channels: usize, index: usize, count: usize, to: &mut [T]) {
    for (pixel, to) in map.chunks_exact(channels).zip(to.chunks_exact_mut(count)) {
        to.copy_from_slice(&pixel[index * count..][..count]);
    }
}

/// The gradient with respect to the weight.
pub fn weight_gradient<T: ConvFloat>(
    set: InstructionSet,
    g: &ConvGeometry,
    x: &InputView<T>,
    dy: &InputView<T>,
) -> Vec<T> {
    if depthwise::is_depthwise(g) {
        return depthwise::weight_gradient(set, g, x, dy);
    }
    let one = group(g);
    let whole = |view: &InputView<T>| {
        let mut map = Buffer::<T>::new(view.len());
        view.write(set, 0, &mut map);
        map
    };
    let (x, dy) = (whole(x), whole(dy));
    let (mut input, mut gradient) = (Buffer::new(x.len() / g.groups), Buffer::new(dy.len() / g.groups));
    let problem = WeightGradientProblem::of(&one);
    let mut weight = Vec::with_capacity(g.weight_len());
    for index in 0..g.groups {
        part(&x, g.in_channels, index, one.in_channels, &mut input);
        part(&dy, g.out_channels, index, one.out_channels, &mut gradient);
        let [input, gradient] = [&input, &gradient].map(|map| InputView::Plain(MapSlice::Full(map)));
        let sums = DirectWeightGradient::new(set, &problem, &input, &gradient);
        weight.extend(fused_backward::run::<T>(None, &sums, g.batch, &input, &gradient).1);
    }
    weight
}
