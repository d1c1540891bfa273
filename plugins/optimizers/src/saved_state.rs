//! Reading the saved state of an optimizer.

use std::collections::BTreeMap;

use zskt_api::candle_core::Tensor;
use zskt_api::{Error, Result};

/// The saved tensor of this name, checked against the one it replaces.
pub fn saved_tensor(state: &BTreeMap<String, Tensor>, name: &str, like: &Tensor) -> Result<Tensor> {
    let saved = state.get(name).ok_or_else(|| Error::new(format!("the optimizer's state has no `{name}`")))?;
    if saved.dims() != like.dims() || saved.dtype() != like.dtype() {
        return Err(Error::new(format!(
            "the optimizer's `{name}` has shape {:?} and not {:?}",
            saved.dims(),
            like.dims()
        )));
    }
    // A copy of its own: it is updated in place.
    Ok(saved.to_device(like.device())?.copy()?)
}
