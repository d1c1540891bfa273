//! Where nothing multiplies bf16 numbers.

use crate::cpu::fusion::both_gradients::WantedGradients;
use crate::cpu::fusion::lazy_map::LazyInput;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::precision::Precision;
use crate::shape::ConvGeometry;

/// There is none.
pub enum Bf16Conv {}

impl Bf16Conv {
    /// None.
    pub fn forward(_: &ConvGeometry, _: &[f32], _: Option<&[f32]>, _: Precision) -> Option<Self> {
        None
    }

    /// Is never called.
    pub fn run(&self, _: &InputView<f32>, _: &Epilogue<f32>, _: MapSliceMut<f32>) -> ChannelSums {
        match *self {}
    }
}

/// Nothing.
pub fn backward(
    _: &ConvGeometry,
    _: &[f32],
    _: &LazyInput,
    _: &InputView<f32>,
    _: Precision,
    _: WantedGradients,
) -> Option<Option<Vec<f32>>> {
    None
}
