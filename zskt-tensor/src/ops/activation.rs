//! Activations that follow no batch norm.

use candle_core::Tensor;

use crate::activation::Activation;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::trace::{self, TracedOperation};

/// The activation of each number of a map `[B, C, H, W]`.
///
/// # Errors
/// When the device fails.
pub fn activate(x: &FeatureMap, activation: Activation) -> Result<FeatureMap> {
    let active = on_backend!(x, x => x.activate(activation.form())?.into());
    Ok(trace::map(&[x], || TracedOperation::Activation(activation), active))
}

/// The activation of each number of a tensor `[B, N]`, as behind a fully connected layer.
///
/// # Errors
/// When the tensor has another rank or type, or the device fails.
pub fn activate_vectors(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let &[batch, numbers] = x.dims() else {
        return Err(Error::new(format!("expected a tensor [B, N], found {:?}", x.dims())));
    };
    let active = trace::unrecorded(|| {
        let map = FeatureMap::from_channels_last(&x.reshape((batch, 1, 1, numbers))?)?;
        Ok::<_, Error>(activate(&map, activation)?.channels_last()?.reshape((batch, numbers))?)
    })?;
    Ok(trace::tensor(x, || TracedOperation::Activation(activation), active))
}
