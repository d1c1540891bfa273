//! Matrices with rows and columns exchanged.

use candle_core::{Result, Tensor};

use crate::cuda::kernel_source::KernelVariant;
use crate::cuda::launch::Argument::{Count, Tensor as Of};
use crate::cuda::launch::{empty, launch};
use crate::dense::dense;

/// Rows and columns of what a block does, `SQUARE` in the kernels.
const SQUARE: usize = 32;

/// Matrices `[rows, columns]`, one behind the other in a tensor of `f32` or `f64`, with rows and columns exchanged:
/// `[matrices, columns, rows]`.
///
/// # Errors
/// When it has another type, or the device fails.
pub fn transposed(tensor: &Tensor, [matrices, rows, columns]: [usize; 3]) -> Result<Tensor> {
    let (tensor, variant) = (dense(&tensor.detach())?, KernelVariant::of_tensors(tensor.dtype())?);
    if rows == 1 || columns == 1 {
        return tensor.reshape((matrices, columns, rows));
    }
    let transposed = empty((matrices, columns, rows), tensor.dtype(), tensor.device())?;
    let [down, across] = [rows, columns].map(|size| size.div_ceil(SQUARE));
    let counts = [rows, columns, down, across].map(Count);
    let arguments = [&[Of(&tensor), Of(&transposed)][..], &counts].concat();
    launch(tensor.device(), variant, "transpose", matrices * down * across, &arguments)?;
    Ok(transposed)
}
