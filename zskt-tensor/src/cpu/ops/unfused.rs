//! The frame that operations on one feature map share that no convolution is fused with: they read what is done to the map, and
//! write its gradient in front of that.

use std::sync::Arc;

use candle_core::Result;

use crate::autograd::Node;
use crate::cpu::fusion::lazy_map::LazyMap;
use crate::cpu::fusion::storage::{MapStorage, Scalar, dispatch_precision};
use crate::cpu::kernels::epilogue::{ChannelSums, Epilogue};
use crate::cpu::kernels::prologue::InputView;
use crate::cpu::map::CpuMap;
use crate::cpu::simd::dtype::MapSliceMut;
use crate::shape::MapShape;

/// An operation on one feature map, for any type of numbers.
pub trait MapOp: Send + Sync + 'static {
    /// The shape of the result.
    fn shape(&self, shape: &MapShape) -> MapShape;

    /// Writes the result of a map of this shape.
    fn forward<T: Scalar>(&self, shape: &MapShape, x: &InputView<T>, out: MapSliceMut<T>);

    /// Writes the gradient of `x`, and returns the sums that the epilogue asks for.
    fn backward<T: Scalar>(
        &self,
        shape: &MapShape,
        x: &InputView<T>,
        gradient: &InputView<T>,
        epilogue: &Epilogue<T>,
        out: MapSliceMut<T>,
    ) -> ChannelSums;
}

/// Applies an operation to a feature map.
pub fn apply<O: MapOp>(x: &CpuMap, op: O) -> Result<CpuMap> {
    let x = match x.input.prologue.upsampling {
        1 => x.clone(),
        _ => x.materialized()?,
    };
    let (shape, precision) = (op.shape(&x.shape()), x.precision());
    let mut values = MapStorage::new(precision, shape.len());
    dispatch_precision!(precision, T => {
        x.input.read(|source: &InputView<T>| op.forward(&x.shape(), source, T::of_mut(&mut values)));
    });
    let to = Arc::new(LazyMap::of(shape, precision, values));
    CpuMap::record(Arc::clone(&to), &[&x], || Unfused { op, x: x.clone(), to })
}

struct Unfused<O> {
    op: O,
    x: CpuMap,
    to: Arc<LazyMap>,
}

impl<O: MapOp> Node for Unfused<O> {
    fn backward(&self) -> Result<()> {
        let (input, shape) = (&self.x.input, self.x.shape());
        let gradient = self.to.gradient.take(&self.to)?;
        dispatch_precision!(self.to.precision, T => {
            gradient.read(|gradient: &InputView<T>| input.read(|x: &InputView<T>| {
                input.accumulate(|epilogue, out| self.op.backward(&shape, x, gradient, epilogue, out));
            }));
        });
        self.x.schedule();
        Ok(())
    }

    fn reset(&self) {
        self.to.gradient.reset();
    }
}
