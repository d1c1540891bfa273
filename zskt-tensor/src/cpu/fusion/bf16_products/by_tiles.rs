//! By a unit of the processor, for the shapes for which it is faster than f32.

use half::bf16;

use crate::cpu::bf16_tiles::{TileWeightGradient, for_data_gradient, for_forward, for_weight_gradient};
use crate::cpu::conv::forward::forward;
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::conv::weight_gradient::WeightGradientProblem;
use crate::cpu::conv::winograd_weight_gradient::by_multiply_add;
use crate::cpu::fusion::both_gradients::{WantedGradients, WithSums, gradients};
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A convolution with packed weights: sums in single precision of products in bf16.
pub struct Bf16Conv(PackedConv<bf16>);

impl Bf16Conv {
    /// The convolution with `weight` `[O, I, K, K]` plus `bias` `[O]` into maps of the given precision, where it is computed so.
    pub fn forward(g: &ConvGeometry, weight: &[f32], bias: Option<&[f32]>, precision: Precision) -> Option<Self> {
        for_forward(precision, g).map(|_| Self(forward(InstructionSet::best(), g, weight, bias)))
    }

    /// Runs the convolution.
    pub fn run(&self, source: &InputView<f32>, epilogue: &Epilogue<f32>, out: MapSliceMut<f32>) -> ChannelSums {
        self.0.run(source, epilogue, out)
    }
}

/// [`ConvGradient::backward`](crate::cpu::fusion::conv_gradient::ConvGradient::backward) where a gradient of maps of the given
/// precision is computed so: each by a unit or by fused multiply-adds.
pub fn backward(
    g: &ConvGeometry,
    weight: &[f32],
    x: &LazyInput,
    dy: &InputView<f32>,
    precision: Precision,
    wanted: WantedGradients,
) -> Option<Option<Vec<f32>>> {
    let (data, unit) = (for_data_gradient(precision, g).is_some(), for_weight_gradient(precision, g));
    if !data && unit.is_none() {
        return None;
    }
    let (set, problem) = (InstructionSet::best(), WeightGradientProblem::of(g));
    let weights: &WithSums<'_, f32> = &|x, read| match unit {
        Some(unit) => read(&TileWeightGradient::new(unit, set, &problem)),
        None => read(&*by_multiply_add(set, &problem, x, dy)),
    };
    Some(if data {
        gradients::<bf16>(g, weight, x, dy, wanted, weights)
    } else {
        gradients::<f32>(g, weight, x, dy, wanted, weights)
    })
}
