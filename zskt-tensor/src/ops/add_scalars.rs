//! The sum of scalars.

use candle_core::Tensor;

use crate::backend::Backend;
use crate::error::Result;
use crate::feature_map::with_backend;
use crate::ops::gather_scalars::check;

/// The sum of scalars of one type and device, in their order, such as the losses of a step: on a GPU its gradient costs less than that of a
/// chain of sums.
///
/// # Errors
/// When there are no scalars, one is more than a number, or types or devices differ.
pub fn add_scalars(scalars: &[Tensor]) -> Result<Tensor> {
    let first = check(scalars)?;
    if let Some(sum) = with_backend!(first.device(), B => B::add_scalars(scalars))? {
        return Ok(sum);
    }
    Ok(scalars[1..].iter().try_fold(first.clone(), |sum, other| sum + other)?)
}
