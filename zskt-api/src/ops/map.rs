//! The frame that operations on one feature map share.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

use super::storage::{Dense, Element, by_dtype, slice};
use crate::FeatureMap;
use crate::kernels::MapShape;

/// An operation on one feature map, for any element type.
pub trait MapOp: Send + Sync + 'static {
    /// Its name in error messages.
    const NAME: &'static str;

    /// The result, and its dimensions.
    fn forward<T: Element>(&self, shape: &MapShape, x: &[T]) -> (Vec<T>, Shape);

    /// The gradient of `x`.
    fn backward<T: Element>(&self, shape: &MapShape, x: &[T], grad: &[T]) -> Vec<T>;
}

/// Applies an operation to a feature map.
pub fn apply<O: MapOp>(x: &FeatureMap, op: O) -> crate::Result<Tensor> {
    Ok(x.channels_last().apply_op1(Framed(op))?)
}

struct Framed<O>(O);

fn map_shape(dims: &[usize]) -> MapShape {
    MapShape { batch: dims[0], height: dims[1], width: dims[2], channels: dims[3] }
}

impl<O: MapOp> CustomOp1 for Framed<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x.dtype(), T => {
            let (y, shape) = self.0.forward::<T>(&map_shape(layout.dims()), slice(x, layout)?);
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (x_data, grad_data) = (Dense::of(x), Dense::of(&grad));
        by_dtype!(x.dtype(), T => {
            let dx = self.0.backward::<T>(&map_shape(x.dims()), x_data.slice()?, grad_data.slice()?);
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}
