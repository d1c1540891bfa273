//! The numbers of maps in another type.

use candle_core::{DType, Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{blocks_of_packs, empty, launch};
use crate::dense::dense;
use crate::precision::Precision;

/// The numbers of a map, or of its gradient, as this type.
///
/// # Errors
/// When the device fails.
pub fn cast(values: &Tensor, dtype: DType) -> Result<Tensor> {
    let kernel = match (values.dtype(), dtype) {
        (DType::F32, DType::BF16) => "narrow",
        (DType::BF16, DType::F32) => "widen",
        _ => return values.to_dtype(dtype),
    };
    let values = dense(&values.detach())?;
    let cast = empty(values.shape(), dtype, values.device())?;
    let variant = KernelVariant::of(Precision::Bf16, values.elem_count());
    let packs = values.elem_count() / variant.vector_width;
    launch(values.device(), variant, kernel, blocks_of_packs(packs), &[Of(&values), Of(&cast), Count(packs)])?;
    Ok(cast)
}
