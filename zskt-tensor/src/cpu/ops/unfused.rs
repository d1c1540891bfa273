//! The frame that operations on one feature map share that are rare enough to be computed apart.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::map::CpuMap;
use crate::cpu::storage::{Scalar, dispatch_precision};
use crate::shape::MapShape;

/// An operation on one feature map, for any type of numbers.
pub trait MapOp: Send + Sync + 'static {
    /// The shape of the result.
    fn shape(&self, shape: &MapShape) -> MapShape;

    /// The result.
    fn forward<T: Scalar>(&self, shape: &MapShape, x: &[T]) -> Vec<T>;

    /// The gradient of `x`.
    fn backward<T: Scalar>(&self, shape: &MapShape, x: &[T], gradient: &[T]) -> Vec<T>;
}

/// Applies an operation to a feature map.
pub fn apply<O: MapOp>(x: &CpuMap, op: O) -> Result<CpuMap> {
    let (shape, precision) = (x.shape(), x.precision());
    let to = dispatch_precision!(precision, T => {
        LazyMap::from_numbers(op.shape(&shape), precision, &op.forward::<T>(&shape, &x.input.to_vec()))
    });
    let to = Arc::new(to);
    CpuMap::record(Arc::clone(&to), &[x], || Unfused { op, x: x.clone(), to })
}

struct Unfused<O> {
    op: O,
    x: CpuMap,
    to: Arc<LazyMap>,
}

impl<O: MapOp> Node for Unfused<O> {
    fn backward(&self) -> Result<()> {
        dispatch_precision!(self.to.precision, T => {
            let (input, gradient) = (&self.x.input, self.to.take_gradient::<T>()?);
            input.accumulate_values(&self.op.backward(&input.shape(), &input.to_vec(), &gradient));
        });
        self.x.schedule();
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
