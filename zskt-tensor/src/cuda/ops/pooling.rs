//! Pooling.

use candle_core::{Result, Tensor};

use crate::autograd::to_tensor;
use crate::candle_function::Values;
use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Address, Count, Nothing, Real, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};
use crate::pool_windows::{PoolAxis, PoolGeometry, Windows};
use crate::shape::MapShape;

/// Two maps, of which the large one has a `factor`×`factor` square for each pixel of the small one, and perhaps a rest.
#[derive(Clone, Copy)]
pub struct Squares {
    pub small: MapShape,
    pub large: MapShape,
    pub factor: usize,
}

impl Squares {
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
        let out = empty((batch, to.height, to.width, channels), like.precision.storage_dtype(), like.device())?;
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
        launch(like.device(), variant, kernel, blocks_of_packs(to.len() / variant.vector_width), &arguments)?;
        Ok(out)
    }
}

/// The result of a kernel that goes over windows, of the shape `to`.
fn pool(
    kernel: &'static str,
    geometry: &PoolGeometry,
    [from, other, plus]: [Argument<'_>; 3],
    to: MapShape,
    like: &CudaMap,
) -> Result<Tensor> {
    let out = empty((to.batch, to.height, to.width, to.channels), like.precision.storage_dtype(), like.device())?;
    let variant = KernelVariant::of(like.precision, to.channels);
    let axis = |PoolAxis { input, output, windows }| {
        let (size, stride, before, count_padding) = match windows {
            Windows::Regular { size, stride, before, count_padding } => (size, stride, before, count_padding),
            Windows::Adaptive => (0, 1, 0, false),
        };
        [input, output, size, stride, before, usize::from(count_padding)].map(Count)
    };
    let [rows, columns] = geometry.axes.map(axis);
    let maps = [from, other, plus, Of(&out), Count(to.batch), Count(to.channels / variant.vector_width)];
    let blocks = blocks_of_packs(to.len() / variant.vector_width);
    launch(like.device(), variant, kernel, blocks, &[&maps[..], &rows, &columns].concat())?;
    Ok(out)
}

/// The mean of each window.
///
/// # Errors
/// When the device fails.
pub fn average_pool(x: &CudaMap, geometry: &PoolGeometry) -> Result<CudaMap> {
    let values = pool("mean", geometry, [Of(x.values()?), Nothing, Nothing], geometry.output(), x)?;
    CudaMap::record(values, x.precision, &[x], &[], || AveragePool { x: x.clone(), geometry: *geometry })
}

struct AveragePool {
    x: CudaMap,
    geometry: PoolGeometry,
}

impl Backward for AveragePool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, geometry } = self;
        x.accumulate(|plus| pool("mean_gradient", geometry, [Of(gradient), Nothing, plus.into()], geometry.input(), x))
    }
}

/// The largest number of each window.
///
/// # Errors
/// When the device fails.
pub fn max_pool(x: &CudaMap, geometry: &PoolGeometry) -> Result<CudaMap> {
    let values = pool("largest", geometry, [Of(x.values()?), Nothing, Nothing], geometry.output(), x)?;
    CudaMap::record(values, x.precision, &[x], &[], || MaxPool { x: x.clone(), geometry: *geometry })
}

struct MaxPool {
    x: CudaMap,
    geometry: PoolGeometry,
}

impl Backward for MaxPool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, geometry } = self;
        x.accumulate(|plus| {
            let maps = [Of(gradient), Of(x.values()?), plus.into()];
            pool("largest_gradient", geometry, maps, geometry.input(), x)
        })
    }
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &CudaMap) -> Result<Tensor> {
    let MapShape { batch, height, width, channels } = x.shape();
    let (variant, pixels, device) = (KernelVariant::of(x.precision, channels), height * width, x.device());
    let (map, averaged, on) = (x.clone(), x.clone(), device.clone());
    let write = move |mean| {
        let arguments = [Of(averaged.values()?), Address(mean), Count(pixels), Count(channels)];
        launch(&on, variant, "average", batch, &arguments)
    };
    let mean = Values::written(device, x.precision.dtype(), (batch, channels), write);
    to_tensor(x.entry(), &[], mean, move |gradient| {
        map.accumulate(|plus| {
            let of_x = empty(map.values()?.shape(), map.precision.storage_dtype(), map.device())?;
            let packs = of_x.elem_count() / variant.vector_width;
            let counts = [Count(packs), Count(pixels), Count(channels / variant.vector_width)];
            let arguments = [&[Of(gradient), plus.into(), Of(&of_x)][..], &counts].concat();
            launch(of_x.device(), variant, "average_gradient", blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    })
}
