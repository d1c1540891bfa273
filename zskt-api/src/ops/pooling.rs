//! Pooling.

use candle_core::{Shape, Tensor};

use super::map::{MapOp, apply};
use super::storage::Element;
use crate::kernels::{MapShape, pooling as kernel};
use crate::{Error, FeatureMap, Result};

/// The largest of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn max_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    FeatureMap::from_channels_last(apply(x, Max(fitting(x, size)?))?)
}

/// The mean of each `size`×`size` square: `[B, C, H/size, W/size]`, rows and columns left over are dropped.
///
/// # Errors
/// When the map is smaller than a square, or the device fails.
pub fn average_pool(x: &FeatureMap, size: usize) -> Result<FeatureMap> {
    FeatureMap::from_channels_last(apply(x, Average(fitting(x, size)?))?)
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &FeatureMap) -> Result<Tensor> {
    apply(x, GlobalAverage)
}

fn fitting(x: &FeatureMap, size: usize) -> Result<usize> {
    let image = x.image();
    if size == 0 || image.height < size || image.width < size {
        return Err(Error::new(format!("cannot pool {size}×{size} squares of a map {image}")));
    }
    Ok(size)
}

fn dims(shape: &MapShape) -> Shape {
    (shape.batch, shape.height, shape.width, shape.channels).into()
}

struct Max(usize);

impl MapOp for Max {
    const NAME: &'static str = "max pooling";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        (kernel::max_pool2d(shape, self.0, x).0, dims(&kernel::pooled(shape, self.0)))
    }

    fn backward<T: Element>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T> {
        // Finding the largest once more costs less than keeping their places through the forward pass.
        let (_, places) = kernel::max_pool2d(shape, self.0, x);
        kernel::max_pool2d_backward(shape, self.0, grad, &places)
    }
}

struct Average(usize);

impl MapOp for Average {
    const NAME: &'static str = "average pooling";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        (kernel::avg_pool2d(shape, self.0, x), dims(&kernel::pooled(shape, self.0)))
    }

    fn backward<T: Element>(&self, shape: &MapShape, _x: &[T], grad: &[T]) -> Vec<T> {
        kernel::avg_pool2d_backward(shape, self.0, grad)
    }
}

struct GlobalAverage;

impl MapOp for GlobalAverage {
    const NAME: &'static str = "global average";

    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape) {
        (kernel::global_average(shape, x), (shape.batch, shape.channels).into())
    }

    fn backward<T: Element>(&self, shape: &MapShape, _x: &[T], grad: &[T]) -> Vec<T> {
        kernel::global_average_backward(shape, grad)
    }
}
