//! The sum at the end of a residual block.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, bail};

use super::storage::{by_dtype, slice};
use crate::FeatureMap;
use crate::kernels::elementwise;

/// The sum of two feature maps of the same shape.
///
/// # Errors
/// When the shapes differ or the device fails.
pub fn add(a: &FeatureMap, b: &FeatureMap) -> crate::Result<FeatureMap> {
    FeatureMap::from_channels_last(a.channels_last().apply_op2(b.channels_last(), Add)?)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        if al.dims() != bl.dims() {
            bail!("cannot add maps of shapes {:?} and {:?}", al.dims(), bl.dims());
        }
        by_dtype!(a.dtype(), T => {
            let sum = elementwise::add::<T>(slice(a, al)?, slice(b, bl)?);
            Ok((T::to_cpu_storage_owned(sum), al.shape().clone()))
        })
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _sum: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |tensor: &Tensor| tensor.track_op().then(|| grad.clone());
        Ok((of(a), of(b)))
    }
}
