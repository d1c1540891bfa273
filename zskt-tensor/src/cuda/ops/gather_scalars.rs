//! Scalars of many origins in one tensor, on GPUs.

use candle_core::{DType, Result, Tensor, bail};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Address, Count, Nothing, Tensor as Of};
use crate::cuda::launch::{address, empty, launch};
use crate::cuda::tensor_array::{TENSORS, put_array};

/// The numbers of scalars as `f64` `[n]`.
///
/// # Errors
/// When there is none, or the device fails.
pub fn gather_scalars(scalars: &[Tensor]) -> Result<Tensor> {
    let Some(first) = scalars.first() else { bail!("no scalars") };
    // Kernels of the run's own type are compiled already.
    let variant = KernelVariant::of_tensors(if first.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    let gathered = empty(scalars.len(), DType::F64, first.device())?;
    let mut target = address(&gathered)?;
    for scalars in scalars.chunks(TENSORS) {
        let readable = scalars.iter().map(|scalar| match scalar.dtype() {
            DType::F32 | DType::F64 => Ok(scalar.clone()),
            _ => scalar.to_dtype(DType::F64),
        });
        let readable = readable.collect::<Result<Vec<_>>>()?;
        let mut arguments = Vec::with_capacity(2 * TENSORS + 2);
        for dtype in [DType::F32, DType::F64] {
            let of_type = readable.iter().map(|scalar| if scalar.dtype() == dtype { Of(scalar) } else { Nothing });
            put_array::<TENSORS>(&mut arguments, of_type, Nothing);
        }
        arguments.extend([Address(target), Count(scalars.len())]);
        launch(first.device(), variant, "gather_scalars", 1, &arguments)?;
        target += (scalars.len() * size_of::<f64>()) as u64;
    }
    Ok(gathered)
}
