//! The frame that operations on one feature map share that are rare enough to be computed apart.

use std::sync::Arc;

use candle_core::Tensor;

use crate::kernels::MapShape;
use crate::map::host::HostMap;
use crate::map::tape::{self, Node};
use crate::map::values::{Number, by_precision};
use crate::map::{Loaded, Map};
use crate::{FeatureMap, Result};

/// An operation on one feature map, for any type of numbers.
pub trait MapOp: Send + Sync + 'static {
    /// Its name in error messages.
    const NAME: &'static str;

    /// The shape of the result.
    fn shape(&self, shape: &MapShape) -> MapShape;

    /// The result.
    fn forward<T: Number>(&self, shape: &MapShape, x: &[T]) -> Vec<T>;

    /// The gradient of `x`.
    fn backward<T: Number>(&self, shape: &MapShape, x: &[T], gradient: &[T]) -> Vec<T>;
}

/// Applies an operation to a feature map.
pub fn apply<O: MapOp>(x: &HostMap, op: O) -> Result<FeatureMap> {
    let (from, shape, precision) = (x.input.clone(), x.input.shape(), x.precision());
    let to = by_precision!(precision, T => {
        Map::from_numbers(op.shape(&shape), precision, &op.forward::<T>(&shape, &from.to_vec()))
    });
    let to = Arc::new(to);
    let token = tape::map(&[&x.token], Framed { op, from, to: Arc::clone(&to) })?;
    Ok(HostMap::new(to, token).into())
}

struct Framed<O> {
    op: O,
    from: Loaded,
    to: Arc<Map>,
}

impl<O: MapOp> Node for Framed<O> {
    const NAME: &'static str = O::NAME;

    fn backward(&self, inputs: &[&Tensor], _: &Tensor) -> candle_core::Result<Vec<Option<Tensor>>> {
        by_precision!(self.to.precision, T => {
            let gradient = self.to.take_gradient::<T>()?;
            self.from.deposit_numbers(&self.op.backward(&self.from.shape(), &self.from.to_vec(), &gradient));
        });
        Ok(vec![tape::passed(inputs[0])?])
    }
}
