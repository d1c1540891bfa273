//! Pooling.

use candle_core::{Device, Result, Tensor};

use crate::autograd;
use crate::cpu::fusion::storage::{Scalar, dispatch_precision};
use crate::cpu::kernels::elementwise_loop;
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::pixel_sums::pixel_sums;
use crate::cpu::kernels::pooling::{self as kernel, Pooling};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;
use crate::cpu::ops::unfused::{MapOp, apply};
use crate::cpu::simd::dtype::MapSliceMut;
use crate::cpu::simd::float::Float;
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::pool_windows::PoolGeometry;
use crate::shape::MapShape;

/// The largest number of each window.
///
/// # Errors
/// When there is no room.
pub fn max_pool(x: &CpuMap, geometry: &PoolGeometry) -> Result<CpuMap> {
    apply(x, Pool(Pooling::Largest, *geometry))
}

/// The mean of each window.
///
/// # Errors
/// When there is no room.
pub fn average_pool(x: &CpuMap, geometry: &PoolGeometry) -> Result<CpuMap> {
    apply(x, Pool(Pooling::Mean, *geometry))
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When there is no room.
pub fn global_average(x: &CpuMap) -> Result<Tensor> {
    // The mean over an upsampled map is that over the map itself.
    let MapShape { batch, height, width, channels } = x.input.map.shape;
    let pixels = height * width;
    let map = x.clone();
    dispatch_precision!(x.precision(), T => {
        let means: Vec<T> = x.input.read(|source| pixel_sums(source, batch, channels, 1.0 / pixels as f64));
        let means = Tensor::from_vec(means, (batch, channels), &Device::Cpu)?;
        autograd::to_tensor(x.entry(), &[], means, move |gradient| {
            let factor = T::from_f64(1.0 / pixels as f64);
            // Not by candle, whose threads wait for each other.
            let mut gradient = gradient.flatten_all()?.to_vec1::<T>()?;
            gradient.iter_mut().for_each(|gradient| *gradient *= factor);
            let produce = |first: usize, results: &mut [T]| {
                for (pixel, results) in (first..).zip(results.chunks_exact_mut(channels)) {
                    results.copy_from_slice(&gradient[pixel / pixels * channels..][..channels]);
                }
            };
            let set = InstructionSet::best();
            map.input.accumulate(|epilogue, out| elementwise_loop::run(set, channels, produce, epilogue, out));
            map.schedule();
            Ok(())
        })
    })
}

struct Pool(Pooling, PoolGeometry);

impl MapOp for Pool {
    fn shape(&self, _: &MapShape) -> MapShape {
        self.1.output()
    }

    fn forward<T: Scalar>(&self, _: &MapShape, x: &InputView<T>, out: MapSliceMut<T>) {
        kernel::forward(self.0, &self.1, x, out);
    }

    fn backward<T: Scalar>(
        &self,
        _: &MapShape,
        x: &InputView<T>,
        gradient: &InputView<T>,
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums {
        kernel::backward(self.0, &self.1, x, gradient, epilogue, out)
    }
}
