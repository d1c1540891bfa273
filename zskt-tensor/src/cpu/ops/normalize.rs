//! Normalization by the statistics of parts of single images.

use candle_core::Result;

use crate::cpu::fusion::storage::Scalar;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::normalize as kernel;
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;
use crate::cpu::ops::unfused::{MapOp, apply};
use crate::cpu::simd::dtype::MapSliceMut;
use crate::ops::NormalizedOver;
use crate::shape::MapShape;

/// `(x − mean) / √(variance + epsilon)`.
///
/// # Errors
/// When there is no room.
pub fn normalize(x: &CpuMap, over: NormalizedOver, epsilon: f64) -> Result<CpuMap> {
    apply(x, Normalize { over, epsilon })
}

struct Normalize {
    over: NormalizedOver,
    epsilon: f64,
}

impl MapOp for Normalize {
    fn shape(&self, shape: &MapShape) -> MapShape {
        *shape
    }

    fn forward<T: Scalar>(&self, shape: &MapShape, x: &InputView<T>, out: MapSliceMut<T>) {
        kernel::forward(self.over, self.epsilon, shape, x, out);
    }

    fn backward<T: Scalar>(
        &self,
        shape: &MapShape,
        x: &InputView<T>,
        gradient: &InputView<T>,
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums {
        kernel::backward(self.over, self.epsilon, shape, (x, gradient), epilogue, out)
    }
}
