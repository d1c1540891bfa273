//! The gradients of convolutions, by the kernels that the precision of the maps and the processor call for.

use crate::cpu::conv::grouped::{self, GroupedConv};
use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::weight_gradient::WeightGradientProblem;
use crate::cpu::conv::winograd_weight_gradient::by_multiply_add;
use crate::cpu::fusion::bf16_products;
use crate::cpu::fusion::both_gradients::{WantedGradients, gradients};
use crate::cpu::fusion::convolution::ConvElement;
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A type that gradients of convolutions are computed with.
pub trait ConvGradient: ConvElement {
    /// From the gradient `dy` of a convolution of `x` into maps of the given precision: gives `x` its gradient, and
    /// returns that of the weight, if they are wanted.
    fn backward(
        g: &ConvGeometry,
        weight: &[Self],
        x: &LazyInput,
        dy: &InputView<Self>,
        precision: Precision,
        wanted: WantedGradients,
    ) -> Option<Vec<Self>>;
}

impl ConvGradient for f32 {
    fn backward(
        g: &ConvGeometry,
        weight: &[f32],
        x: &LazyInput,
        dy: &InputView<f32>,
        precision: Precision,
        wanted: WantedGradients,
    ) -> Option<Vec<f32>> {
        if g.groups > 1 {
            return grouped_gradients(g, weight, x, dy, wanted);
        }
        bf16_products::backward(g, weight, x, dy, precision, wanted)
            .unwrap_or_else(|| multiply_add(g, weight, x, dy, wanted))
    }
}

impl ConvGradient for f64 {
    fn backward(
        g: &ConvGeometry,
        weight: &[f64],
        x: &LazyInput,
        dy: &InputView<f64>,
        _: Precision,
        wanted: WantedGradients,
    ) -> Option<Vec<f64>> {
        if g.groups > 1 {
            return grouped_gradients(g, weight, x, dy, wanted);
        }
        multiply_add(g, weight, x, dy, wanted)
    }
}

/// [`ConvGradient::backward`] by fused multiply-adds.
fn multiply_add<T: Scalar + Operand<Accumulator = T>>(
    g: &ConvGeometry,
    weight: &[T],
    x: &LazyInput,
    dy: &InputView<T>,
    wanted: WantedGradients,
) -> Option<Vec<T>> {
    let problem = WeightGradientProblem::of(g);
    gradients::<T>(g, weight, x, dy, wanted, &|x, read| {
        read(&*by_multiply_add(InstructionSet::best(), &problem, x, dy));
    })
}

/// [`ConvGradient::backward`] of a convolution in groups.
fn grouped_gradients<T: Scalar>(
    g: &ConvGeometry,
    weight: &[T],
    x: &LazyInput,
    dy: &InputView<T>,
    wanted: WantedGradients,
) -> Option<Vec<T>> {
    let set = InstructionSet::best();
    if wanted.input {
        let conv = GroupedConv::data_gradient(set, g, weight);
        x.accumulate(|epilogue, out| conv.run(dy, epilogue, out));
    }
    wanted.weight.then(|| x.read(|x| grouped::weight_gradient(set, g, x, dy)))
}
