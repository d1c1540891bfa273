//! The gradients of convolutions, by the kernels that the precision of the maps and the processor call for.

use half::bf16;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::cpu::bf16_tiles::{TileWeightGradient, Unit, for_data_gradient, for_weight_gradient};
use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::fused_backward;
use crate::cpu::conv::grouped::{self, GroupedConv};
use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::weight_gradient::{DirectWeightGradient, WeightGradientProblem, WeightGradientSums};
use crate::cpu::fusion::convolution::ConvElement;
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::epilogue::ChannelSums;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// Which gradients are wanted.
#[derive(Clone, Copy)]
pub struct WantedGradients {
    /// That of the input.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
}

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
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        {
            let (of_data, of_weight) = (for_data_gradient(precision, g), for_weight_gradient(precision, g));
            if of_data.is_some() || of_weight.is_some() {
                return bf16_gradients(g, weight, x, dy, wanted, of_data.is_some(), of_weight);
            }
        }
        multiply_add(g, weight, x, dy, wanted)
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

/// [`ConvGradient::backward`] of bf16 maps, the data gradient as bf16 or not, the weight gradient by a unit or by fused
/// multiply-adds.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn bf16_gradients(
    g: &ConvGeometry,
    weight: &[f32],
    x: &LazyInput,
    dy: &InputView<f32>,
    wanted: WantedGradients,
    data: bool,
    unit: Option<Unit>,
) -> Option<Vec<f32>> {
    let (set, problem) = (InstructionSet::best(), WeightGradientProblem::of(g));
    let weights: &WithSums<'_, f32> = &|x, read| match unit {
        Some(unit) => read(&TileWeightGradient::new(unit, set, &problem)),
        None => read(&DirectWeightGradient::new(set, &problem, x, dy)),
    };
    if data {
        gradients::<bf16>(g, weight, x, dy, wanted, weights)
    } else {
        gradients::<f32>(g, weight, x, dy, wanted, weights)
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
        read(&DirectWeightGradient::new(InstructionSet::best(), &problem, x, dy));
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

/// Calls its second argument with the sums of the weight gradient for inputs that are read in this way.
type WithSums<'a, T> = dyn Fn(&InputView<T>, &mut dyn FnMut(&dyn WeightGradientSums<T>)) + 'a;

/// [`ConvGradient::backward`] by the kernels of an operand; `weights` calls its argument with the sums of the weight gradient.
fn gradients<C: Operand>(
    g: &ConvGeometry,
    weight: &[C::Accumulator],
    x: &LazyInput,
    dy: &InputView<C::Accumulator>,
    wanted: WantedGradients,
    weights: &WithSums<'_, C::Accumulator>,
) -> Option<Vec<C::Accumulator>>
where
    C::Accumulator: Scalar,
{
    let backward_input = |weight| data_gradient::<C>(InstructionSet::best(), g, weight);
    let conv = wanted.input.then(|| backward_input(weight));
    let mut of_weight = None;
    // Weight gradients with what becomes of the data gradient, if anything.
    let mut both = |data: Option<fused_backward::Data<'_, C>>| {
        let (mut data, mut sums) = (data, ChannelSums::zeros(0));
        x.read(|x| {
            weights(x, &mut |weights| {
                let (of_data, gradient) = fused_backward::run(data.take(), weights, g.batch, x, dy);
                (sums, of_weight) = (of_data, Some(gradient));
            });
        });
        sums
    };
    match &conv {
        Some(conv) if wanted.weight && conv.images().is_some() => {
            x.accumulate(|epilogue, out| both(Some(fused_backward::Data { conv, epilogue: *epilogue, out })));
        }
        conv => {
            if let Some(conv) = conv {
                x.accumulate(|epilogue, out| conv.run(dy, epilogue, out));
            }
            if wanted.weight {
                both(None);
            }
        }
    }
    of_weight
}
