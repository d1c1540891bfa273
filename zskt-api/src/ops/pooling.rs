//! Pooling.

use candle_core::Tensor;

use super::framed::{MapOp, apply};
use crate::feature_map::Place;
use crate::kernels::{Instructions, MapShape, elementwise, pass, pooling as kernel};
use crate::map::Loaded;
use crate::map::tape::{self, Node};
use crate::map::values::{Number, by_precision};
use crate::{Error, FeatureMap, Result};

/// The largest of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn max_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    let size = fitting(x, size)?;
    match &x.0 {
        Place::Host(x) => apply(x, Max(size)),
        Place::Device(x) => Ok(x.max_pool(size)?.into()),
    }
}

/// The mean of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn average_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    let size = fitting(x, size)?;
    match &x.0 {
        Place::Host(x) => apply(x, Average(size)),
        Place::Device(x) => Ok(x.average_pool(size)?.into()),
    }
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &FeatureMap) -> Result<Tensor> {
    let x = match &x.0 {
        Place::Host(x) => x,
        Place::Device(x) => return x.global_average(),
    };
    // The mean over an upsampled map is that over the map itself.
    let MapShape { batch, height, width, channels } = x.input.map.shape;
    let scale = 1.0 / (height * width) as f64;
    let node = GlobalAverage(x.input.clone());
    Ok(by_precision!(x.precision(), T => {
        let means: Vec<T> = x.input.read(|source| elementwise::pixel_sums(source, batch, channels, scale));
        tape::tensor(&[&x.token], means, (batch, channels), node)?
    }))
}

struct GlobalAverage(Loaded);

impl Node for GlobalAverage {
    const NAME: &'static str = "global average";

    fn backward(&self, inputs: &[&Tensor], gradient: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        let MapShape { height, width, channels, .. } = self.0.map.shape;
        let pixels = height * width;
        by_precision!(self.0.map.precision, T => {
            let gradient = (gradient.flatten_all()? / pixels as f64)?.to_vec1::<T>()?;
            let produce = |first: usize, results: &mut [T]| {
                for (pixel, results) in (first..).zip(results.chunks_exact_mut(channels)) {
                    results.copy_from_slice(&gradient[pixel / pixels * channels..][..channels]);
                }
            };
            self.0.deposit(|sink, out| pass::run(Instructions::best(), channels, produce, sink, out));
        });
        Ok(vec![tape::passed(inputs[0])?])
    }
}

fn fitting(x: &FeatureMap, size: usize) -> Result<usize> {
    let image = x.image();
    if size == 0 || image.height < size || image.width < size {
        return Err(Error::new(format!("cannot pool {size}×{size} squares of a map {image}")));
    }
    Ok(size)
}

struct Max(usize);

impl MapOp for Max {
    const NAME: &'static str = "max pooling";

    fn shape(&self, shape: &MapShape) -> MapShape {
        kernel::pooled(shape, self.0)
    }

    fn forward<T: Number>(&self, shape: &MapShape, x: &[T]) -> Vec<T> {
        kernel::max_pool2d(shape, self.0, x).0
    }

    fn backward<T: Number>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T> {
        // Finding the largest once more costs less than keeping their places through the forward pass.
        let (_, places) = kernel::max_pool2d(shape, self.0, x);
        kernel::max_pool2d_backward(shape, self.0, grad, &places)
    }
}

struct Average(usize);

impl MapOp for Average {
    const NAME: &'static str = "average pooling";

    fn shape(&self, shape: &MapShape) -> MapShape {
        kernel::pooled(shape, self.0)
    }

    fn forward<T: Number>(&self, shape: &MapShape, x: &[T]) -> Vec<T> {
        kernel::avg_pool2d(shape, self.0, x)
    }

    fn backward<T: Number>(&self, shape: &MapShape, _x: &[T], grad: &[T]) -> Vec<T> {
        kernel::avg_pool2d_backward(shape, self.0, grad)
    }
}
