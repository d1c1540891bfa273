//! Pooling.

use candle_core::{Result, Tensor};

use crate::autograd::to_tensor;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::shape::MapShape;

/// Two maps, of which the large one has a `factor`×`factor` square for each pixel of the small one, and perhaps a rest.
#[derive(Clone, Copy)]
pub struct Squares {
    pub small: MapShape,
    pub large: MapShape,
    pub factor: usize,
}

impl Squares {
    /// Below a large map.
    fn below(large: MapShape, factor: usize) -> Self {
        Self { small: MapShape { height: large.height / factor, width: large.width / factor, ..large }, large, factor }
    }

    /// The result of a kernel, of the shape `to`.
    pub fn resample(
        self,
        kernel: &'static str,
        [from, other, plus]: [Argument<'_>; 3],
        to: MapShape,
        like: &CudaMap,
        scale: f64,
    ) -> Result<Tensor> {
        let MapShape { batch, height, width, channels } = self.small;
        let out = empty((batch, to.height, to.width, channels), like.values.dtype(), like.values.device())?;
        let variant = KernelVariant::of(like.precision, channels);
        let columns = channels / variant.vector_width;
        let arguments = [
            from,
            other,
            plus,
            Of(&out),
            Count(batch),
            Count(height),
            Count(width),
            Count(columns),
            Count(self.factor),
            Count(self.large.height),
            Count(self.large.width),
            Real(scale),
        ];
        launch(like.values.device(), variant, kernel, blocks_of_packs(to.len() / variant.vector_width), &arguments)?;
        Ok(out)
    }
}

/// The mean of each `size`×`size` square.
///
/// # Errors
/// When the device fails.
pub fn average_pool(x: &CudaMap, size: usize) -> Result<CudaMap> {
    let squares = Squares::below(x.shape(), size);
    let scale = 1.0 / (size * size) as f64;
    let values = squares.resample("gather", [Of(&x.values), Nothing, Nothing], squares.small, x, scale)?;
    CudaMap::record(values, x.precision, &[x], &[], || AveragePool { x: x.clone(), squares, scale })
}

struct AveragePool {
    x: CudaMap,
    squares: Squares,
    scale: f64,
}

impl Backward for AveragePool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares, scale } = self;
        x.accumulate(|plus| squares.resample("enlarge", [Of(gradient), Nothing, plus.into()], squares.large, x, *scale))
    }
}

/// The largest of each `size`×`size` square.
///
/// # Errors
/// When the device fails.
pub fn max_pool(x: &CudaMap, size: usize) -> Result<CudaMap> {
    let squares = Squares::below(x.shape(), size);
    let values = squares.resample("largest", [Of(&x.values), Nothing, Nothing], squares.small, x, 1.0)?;
    CudaMap::record(values, x.precision, &[x], &[], || MaxPool { x: x.clone(), squares })
}

struct MaxPool {
    x: CudaMap,
    squares: Squares,
}

impl Backward for MaxPool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares } = self;
        x.accumulate(|plus| {
            squares.resample("largest_gradient", [Of(gradient), Of(&x.values), plus.into()], squares.large, x, 1.0)
        })
    }
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &CudaMap) -> Result<Tensor> {
    let MapShape { batch, height, width, channels } = x.shape();
    let (variant, pixels, device) = (KernelVariant::of(x.precision, channels), height * width, x.values.device());
    let mean = empty((batch, channels), x.precision.dtype(), device)?;
    launch(device, variant, "average", batch, &[Of(&x.values), Of(&mean), Count(pixels), Count(channels)])?;
    let map = x.clone();
    to_tensor(x.entry(), &[], mean, move |gradient| {
        map.accumulate(|plus| {
            let of_x = empty(map.values.shape(), map.values.dtype(), map.values.device())?;
            let packs = of_x.elem_count() / variant.vector_width;
            let counts = [Count(packs), Count(pixels), Count(channels / variant.vector_width)];
            let arguments = [&[Of(gradient), plus.into(), Of(&of_x)][..], &counts].concat();
            launch(of_x.device(), variant, "average_gradient", blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    })
}
