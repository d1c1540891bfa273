//! Convolutions, by the kernels that the precision of the maps and the processor call for.

use crate::cpu::conv::forward::forward;
use crate::cpu::conv::grouped::GroupedConv;
use crate::cpu::conv::packed_conv::PackedConv;
use crate::cpu::fusion::bf16_products::Bf16Conv;
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// A convolution with packed weights: what was in them when it was made, whatever becomes of them since.
pub enum Convolution {
    /// Sums of products in single precision.
    F32(PackedConv<f32>),
    /// Sums of products in double precision.
    F64(PackedConv<f64>),
    /// In groups, in single precision.
    GroupedF32(GroupedConv<f32>),
    /// In groups, in double precision.
    GroupedF64(GroupedConv<f64>),
    /// Sums in single precision of products in bf16.
    Bf16(Bf16Conv),
}

/// A type that maps are computed with.
pub trait ConvElement: Scalar {
    /// The convolution with `weight` `[O, I / groups, K, K]` plus `bias` `[O]`, into maps of the given precision.
    fn forward(g: &ConvGeometry, weight: &[Self], bias: Option<&[Self]>, precision: Precision) -> Convolution;

    /// Runs a convolution.
    fn run(
        convolution: &Convolution,
        source: &InputView<Self>,
        epilogue: &Epilogue<Self>,
        out: MapSliceMut<Self>,
    ) -> ChannelSums;
}

impl ConvElement for f32 {
    fn forward(g: &ConvGeometry, weight: &[f32], bias: Option<&[f32]>, precision: Precision) -> Convolution {
        let set = InstructionSet::best();
        if g.groups > 1 {
            return Convolution::GroupedF32(GroupedConv::forward(set, g, weight, bias));
        }
        match Bf16Conv::forward(g, weight, bias, precision) {
            Some(conv) => Convolution::Bf16(conv),
            None => Convolution::F32(forward(set, g, weight, bias)),
        }
    }

    fn run(
        convolution: &Convolution,
        source: &InputView<f32>,
        epilogue: &Epilogue<f32>,
        out: MapSliceMut<f32>,
    ) -> ChannelSums {
        match convolution {
            Convolution::F32(conv) => conv.run(source, epilogue, out),
            Convolution::GroupedF32(conv) => conv.run(source, epilogue, out),
            Convolution::Bf16(conv) => conv.run(source, epilogue, out),
            Convolution::F64(_) | Convolution::GroupedF64(_) => unreachable!("a convolution has the type of its maps"),
        }
    }
}

impl ConvElement for f64 {
    fn forward(g: &ConvGeometry, weight: &[f64], bias: Option<&[f64]>, _: Precision) -> Convolution {
        let set = InstructionSet::best();
        if g.groups > 1 {
            return Convolution::GroupedF64(GroupedConv::forward(set, g, weight, bias));
        }
        Convolution::F64(forward(set, g, weight, bias))
    }

    fn run(
        convolution: &Convolution,
        source: &InputView<f64>,
        epilogue: &Epilogue<f64>,
        out: MapSliceMut<f64>,
    ) -> ChannelSums {
        match convolution {
            Convolution::F64(conv) => conv.run(source, epilogue, out),
            Convolution::GroupedF64(conv) => conv.run(source, epilogue, out),
            _ => unreachable!("a convolution has the type of its maps"),
        }
    }
}
