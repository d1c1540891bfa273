//! Scalars of many origins in one tensor.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::with_backend;

/// The numbers of scalars of one device, as a tensor `[n]` of `f64` there, through which no gradient flows: on a GPU 64 of them by one
/// kernel, so that whoever keeps or reads them does it once.
///
/// # Errors
/// When there are no scalars, they are on several devices, or one is more than a number.
pub fn gather_scalars(scalars: &[Tensor]) -> Result<Tensor> {
    let first = check(scalars)?;
    Ok(with_backend!(first.device(), B => B::gather_scalars(scalars))?)
}

/// The first of scalars on one device.
///
/// # Errors
/// As [`gather_scalars`].
pub(super) fn check(scalars: &[Tensor]) -> Result<&Tensor> {
    let Some(first) = scalars.first() else { return Err(Error::new("there are no scalars")) };
    if let Some(other) = scalars.iter().find(|other| other.elem_count() != 1) {
        return Err(Error::new(format!("expected a scalar, found {:?}", other.dims())));
    }
    if scalars.iter().any(|other| !other.device().same_device(first.device())) {
        return Err(Error::new("these scalars are on several devices"));
    }
    Ok(first)
}
