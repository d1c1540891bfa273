//! Products of maps.

use candle_core::{Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{Argument, blocks_of_packs, empty, launch};
use crate::cuda::map::{Backward, CudaMap};

/// The product of two maps of one precision; the second may have one factor for each channel, of each image or of all.
///
/// # Errors
/// When the device fails.
pub fn multiply(x: &CudaMap, factor: &CudaMap) -> Result<CudaMap> {
    let values = product(x, Of(x.values()?), factor, Argument::Nothing)?;
    CudaMap::record(values, x.precision, &[x, factor], &[], || Multiply { x: x.clone(), factor: factor.clone() })
}

/// Pixels for which a pixel of the factor stands.
fn pixels(x: &CudaMap, factor: &CudaMap) -> usize {
    let [x, factor] = [x.shape(), factor.shape()].map(|shape| shape.height * shape.width);
    x / factor.max(1)
}

/// `values`, of the shape of `x`, times a factor.
fn product(x: &CudaMap, values: Argument<'_>, factor: &CudaMap, plus: Argument<'_>) -> Result<Tensor> {
    let out = empty(x.values()?.shape(), x.precision.storage_dtype(), x.device())?;
    let (shape, of_factor) = (x.shape(), factor.shape());
    let variant = KernelVariant::of(x.precision, shape.channels);
    let [packs, columns] = [shape.len(), shape.channels].map(|numbers| numbers / variant.vector_width);
    let counts = [packs, columns, pixels(x, factor), of_factor.batch * of_factor.height * of_factor.width].map(Count);
    let arguments = [&[values, Of(factor.values()?), plus, Of(&out)][..], &counts].concat();
    launch(x.device(), variant, "product", blocks_of_packs(packs), &arguments)?;
    Ok(out)
}

struct Multiply {
    x: CudaMap,
    factor: CudaMap,
}

impl Backward for Multiply {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let Self { x, factor } = self;
        x.accumulate(|plus| product(x, Of(gradient), factor, plus.into()))?;
        factor.accumulate(|plus| {
            if factor.shape() == x.shape() {
                return product(x, Of(gradient), x, plus.into());
            }
            let out = empty(factor.values()?.shape(), factor.precision.storage_dtype(), factor.device())?;
            let (whole, part) = (x.shape(), factor.shape());
            let variant = KernelVariant::of(x.precision, part.channels);
            let counts = [whole.height * whole.width, whole.batch / part.batch.max(1), part.channels].map(Count);
            let arguments = [&[Of(x.values()?), Of(gradient), plus.into(), Of(&out)][..], &counts].concat();
            launch(out.device(), variant, "product_sums", part.batch, &arguments)?;
            Ok(out)
        })
    }
}
