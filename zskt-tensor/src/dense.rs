//! Tensors as kernels read them.

use candle_core::{Result, Tensor};

/// The tensor, dense and with nothing before it in its storage.
///
/// # Errors
/// When the device has no room.
pub fn dense(tensor: &Tensor) -> Result<Tensor> {
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 {
        Ok(tensor.clone())
    } else {
        tensor.force_contiguous()
    }
}
