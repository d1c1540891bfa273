//! Convolutions and their gradients, by the kernels that the precision of the maps and the processor call for.

use crate::cpu::amx;
use crate::cpu::conv::data_gradient::data_gradient;
use crate::cpu::conv::forward::forward;
use crate::cpu::conv::fused_backward;
use crate::cpu::conv::operand::Operand;
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::conv::weight_gradient::{DirectWeightGradient, WeightGradientProblem, WeightGradientSums};
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::{Bf16, MapSliceMut};
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::cpu::storage::Scalar;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A convolution with packed weights: what was in them when it was made, whatever becomes of them since.
pub enum Convolution {
    /// ChannelSums of products in single precision.
    F32(PackedConv<f32>),
    /// ChannelSums of products in double precision.
    F64(PackedConv<f64>),
    /// ChannelSums in single precision of products in bf16.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Tiles(PackedConv<Bf16>),
}

/// Whether maps of this precision are multiplied by tiles here.
fn uses_amx(precision: Precision) -> bool {
    precision == Precision::Bf16 && amx::available()
}

/// Which gradients are wanted.
#[derive(Clone, Copy)]
pub struct WantedGradients {
    /// That of the input.
    pub input: bool,
    /// That of the weight.
    pub weight: bool,
}

/// A type that maps are computed with.
pub trait ConvElement: Scalar {
    /// The convolution with `weight` `[O, I, K, K]` plus `bias` `[O]`, into maps of the given precision.
    fn forward(g: &ConvGeometry, weight: &[Self], bias: Option<&[Self]>, precision: Precision) -> Convolution;

    /// Runs a convolution.
    fn run(
        convolution: &Convolution,
        source: &InputView<Self>,
        epilogue: &Epilogue<Self>,
        out: MapSliceMut<Self>,
    ) -> ChannelSums;

    /// From the gradient `dy` of a convolution of `x` into maps of the given precision: deposits the gradient of `x`, and
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

impl ConvElement for f32 {
    fn forward(g: &ConvGeometry, weight: &[f32], bias: Option<&[f32]>, precision: Precision) -> Convolution {
        let set = InstructionSet::best();
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if uses_amx(precision) {
            return Convolution::Tiles(forward(set, g, weight, bias));
        }
        Convolution::F32(forward(set, g, weight, bias))
    }

    fn run(
        convolution: &Convolution,
        source: &InputView<f32>,
        epilogue: &Epilogue<f32>,
        out: MapSliceMut<f32>,
    ) -> ChannelSums {
        match convolution {
            Convolution::F32(conv) => conv.run(source, epilogue, out),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Convolution::Tiles(conv) => conv.run(source, epilogue, out),
            Convolution::F64(_) => unreachable!("a convolution has the type of its maps"),
        }
    }

    fn backward(
        g: &ConvGeometry,
        weight: &[f32],
        x: &LazyInput,
        dy: &InputView<f32>,
        precision: Precision,
        wanted: WantedGradients,
    ) -> Option<Vec<f32>> {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        if uses_amx(precision) {
            let problem = WeightGradientProblem::of(g);
            let sums = amx::AmxWeightGradient::new(InstructionSet::best(), &problem);
            return gradients::<Bf16>(g, weight, x, dy, wanted, &|_, read| read(&sums));
        }
        multiply_add(g, weight, x, dy, wanted)
    }
}

impl ConvElement for f64 {
    fn forward(g: &ConvGeometry, weight: &[f64], bias: Option<&[f64]>, _: Precision) -> Convolution {
        Convolution::F64(forward(InstructionSet::best(), g, weight, bias))
    }

    fn run(
        convolution: &Convolution,
        source: &InputView<f64>,
        epilogue: &Epilogue<f64>,
        out: MapSliceMut<f64>,
    ) -> ChannelSums {
        match convolution {
            Convolution::F64(conv) => conv.run(source, epilogue, out),
            _ => unreachable!("a convolution has the type of its maps"),
        }
    }

    fn backward(
        g: &ConvGeometry,
        weight: &[f64],
        x: &LazyInput,
        dy: &InputView<f64>,
        _: Precision,
        wanted: WantedGradients,
    ) -> Option<Vec<f64>> {
        multiply_add(g, weight, x, dy, wanted)
    }
}

/// [`ConvElement::backward`] by fused multiply-adds.
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

/// Calls its second argument with the sums of the weight gradient for inputs that are read in this way.
type WithSums<'a, T> = dyn Fn(&InputView<T>, &mut dyn FnMut(&dyn WeightGradientSums<T>)) + 'a;

/// [`ConvElement::backward`] by the kernels of an operand; `weights` calls its argument with the sums of the weight gradient.
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
