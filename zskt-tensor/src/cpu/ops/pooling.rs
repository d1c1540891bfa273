//! Pooling.

use candle_core::{Device, Result, Tensor};

use crate::autograd;
use crate::cpu::fusion::storage::{Scalar, dispatch_precision};
use crate::cpu::kernels::pixel_sums::pixel_sums;
use crate::cpu::kernels::{elementwise_loop, pooling as kernel};
use crate::cpu::map::CpuMap;
use crate::cpu::ops::unfused::{MapOp, apply};
use crate::cpu::simd::instruction_set::InstructionSet;
use crate::shape::MapShape;

/// The largest of each `size`×`size` square.
///
/// # Errors
/// When there is no room.
pub fn max_pool(x: &CpuMap, size: usize) -> Result<CpuMap> {
    apply(x, Max(size))
}

/// The mean of each `size`×`size` square.
///
/// # Errors
/// When there is no room.
pub fn average_pool(x: &CpuMap, size: usize) -> Result<CpuMap> {
    apply(x, Average(size))
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
            let gradient = (gradient.flatten_all()? / pixels as f64)?.to_vec1::<T>()?;
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

struct Max(usize);

impl MapOp for Max {
    fn shape(&self, shape: &MapShape) -> MapShape {
        kernel::pooled(shape, self.0)
    }

    fn forward<T: Scalar>(&self, shape: &MapShape, x: &[T]) -> Vec<T> {
        kernel::max_pool2d(shape, self.0, x).0
    }

    fn backward<T: Scalar>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T> {
        // Finding the largest once more costs less than keeping their places through the forward pass.
        let (_, places) = kernel::max_pool2d(shape, self.0, x);
        kernel::max_pool2d_backward(shape, self.0, grad, &places)
    }
}

struct Average(usize);

impl MapOp for Average {
    fn shape(&self, shape: &MapShape) -> MapShape {
        kernel::pooled(shape, self.0)
    }

    fn forward<T: Scalar>(&self, shape: &MapShape, x: &[T]) -> Vec<T> {
        kernel::avg_pool2d(shape, self.0, x)
    }

    fn backward<T: Scalar>(&self, shape: &MapShape, _x: &[T], grad: &[T]) -> Vec<T> {
        kernel::avg_pool2d_backward(shape, self.0, grad)
    }
}
