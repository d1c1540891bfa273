//! Sums of the numbers of maps, element by element.

use candle_core::{Result, Tensor};

use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{KernelVariant, blocks_of_packs, empty, launch};
use crate::precision::Precision;

/// The sum of two dense tensors of a map's numbers, or the first.
///
/// # Errors
/// When the device fails.
pub fn plus(x: Tensor, y: Option<&Tensor>, precision: Precision) -> Result<Tensor> {
    let Some(y) = y else { return Ok(x) };
    let sum = empty(x.shape(), x.dtype(), x.device())?;
    let (variant, packs) = flat(&x, precision);
    launch(x.device(), variant, "sum", blocks_of_packs(packs), &[Of(&x), Of(y), Of(&sum), Count(packs)])?;
    Ok(sum)
}

/// How all numbers of a map are read, channels being the same to the kernel.
pub fn flat(values: &Tensor, precision: Precision) -> (KernelVariant, usize) {
    let count = values.elem_count();
    // By the channels and not by the count, for parts of a batch to begin where a pack may.
    let variant = KernelVariant::of(precision, values.dims().last().copied().unwrap_or_default());
    (variant, count / variant.vector_width)
}
