//! Upsampling and pooling, on accelerators.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::kernel::Argument::{Count, Nothing, Real, Tensor as Of};
use super::kernel::{Argument, Variant, blocks_of_packs, empty, launch};
use super::tape::{Map, Node, exit, record};
use crate::kernels::MapShape;

/// Two maps, of which the large one has a `factor`×`factor` square for each pixel of the small one, and perhaps a rest.
#[derive(Clone, Copy)]
struct Squares {
    small: MapShape,
    large: MapShape,
    factor: usize,
}

impl Squares {
    /// Below a large map.
    fn below(large: MapShape, factor: usize) -> Self {
        Self { small: MapShape { height: large.height / factor, width: large.width / factor, ..large }, large, factor }
    }

    /// The result of a kernel, of the shape `to`.
    fn resample(
        self,
        kernel: &'static str,
        [from, other, plus]: [Argument<'_>; 3],
        to: MapShape,
        like: &Map,
        scale: f64,
    ) -> Result<Tensor> {
        let MapShape { batch, height, width, channels } = self.small;
        let out = empty((batch, to.height, to.width, channels), like.values.dtype(), like.values.device())?;
        let variant = Variant::of(like.precision, channels);
        let columns = channels / variant.pack;
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
        launch(like.values.device(), variant, kernel, blocks_of_packs(to.len() / variant.pack), &arguments)?;
        Ok(out)
    }
}

/// Each pixel as a `factor`×`factor` square.
///
/// # Errors
/// When the device fails.
pub fn upsample(x: &Arc<Map>, factor: usize) -> Result<Arc<Map>> {
    let small = x.shape();
    let large = MapShape { height: small.height * factor, width: small.width * factor, ..small };
    let squares = Squares { small, large, factor };
    let values = squares.resample("enlarge", [Of(&x.values), Nothing, Nothing], large, x, 1.0)?;
    record(values, x.precision, &[x], &[], || Upsample { x: Arc::clone(x), squares })
}

struct Upsample {
    x: Arc<Map>,
    squares: Squares,
}

impl Node for Upsample {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares } = self;
        x.deposit(|plus| squares.resample("gather", [Of(gradient), Nothing, plus.into()], squares.small, x, 1.0))
    }
}

/// The mean of each `size`×`size` square.
///
/// # Errors
/// When the device fails.
pub fn average_pool(x: &Arc<Map>, size: usize) -> Result<Arc<Map>> {
    let squares = Squares::below(x.shape(), size);
    let scale = 1.0 / (size * size) as f64;
    let values = squares.resample("gather", [Of(&x.values), Nothing, Nothing], squares.small, x, scale)?;
    record(values, x.precision, &[x], &[], || AveragePool { x: Arc::clone(x), squares, scale })
}

struct AveragePool {
    x: Arc<Map>,
    squares: Squares,
    scale: f64,
}

impl Node for AveragePool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares, scale } = self;
        x.deposit(|plus| squares.resample("enlarge", [Of(gradient), Nothing, plus.into()], squares.large, x, *scale))
    }
}

/// The largest of each `size`×`size` square.
///
/// # Errors
/// When the device fails.
pub fn max_pool(x: &Arc<Map>, size: usize) -> Result<Arc<Map>> {
    let squares = Squares::below(x.shape(), size);
    let values = squares.resample("largest", [Of(&x.values), Nothing, Nothing], squares.small, x, 1.0)?;
    record(values, x.precision, &[x], &[], || MaxPool { x: Arc::clone(x), squares })
}

struct MaxPool {
    x: Arc<Map>,
    squares: Squares,
}

impl Node for MaxPool {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, squares } = self;
        x.deposit(|plus| {
            squares.resample("largest_gradient", [Of(gradient), Of(&x.values), plus.into()], squares.large, x, 1.0)
        })
    }
}

/// The mean of each channel over the whole map: `[B, C]`.
///
/// # Errors
/// When the device fails.
pub fn global_average(x: &Arc<Map>) -> Result<Tensor> {
    let MapShape { batch, height, width, channels } = x.shape();
    let (variant, pixels, device) = (Variant::of(x.precision, channels), height * width, x.values.device());
    let mean = empty((batch, channels), x.precision.dtype(), device)?;
    launch(device, variant, "average", batch, &[Of(&x.values), Of(&mean), Count(pixels), Count(channels)])?;
    let map = Arc::clone(x);
    exit(x, mean, move |gradient| {
        map.deposit(|plus| {
            let of_x = empty(map.values.shape(), map.values.dtype(), map.values.device())?;
            let packs = of_x.elem_count() / variant.pack;
            let counts = [Count(packs), Count(pixels), Count(channels / variant.pack)];
            let arguments = [&[Of(gradient), plus.into(), Of(&of_x)][..], &counts].concat();
            launch(of_x.device(), variant, "average_gradient", blocks_of_packs(packs), &arguments)?;
            Ok(of_x)
        })
    })
}
