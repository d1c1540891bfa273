//! Channels of a map in another order, or some of them.

use crate::channel_selection::ChannelSelection;
use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::channel_selection::select;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::ops::unfused::MapOp;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::shape::MapShape;

impl MapOp for ChannelSelection {
    fn shape(&self, shape: &MapShape) -> MapShape {
        MapShape { channels: self.channels, ..*shape }
    }

    fn forward<T: Scalar>(&self, _: &MapShape, x: &InputView<T>, out: MapSliceMut<T>) {
        select(self, x, &Epilogue::STORE, out);
    }

    fn backward<T: Scalar>(
        &self,
        _: &MapShape,
        _: &InputView<T>,
        gradient: &InputView<T>,
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums {
        select(&self.inverse(), gradient, epilogue, out)
    }
}
