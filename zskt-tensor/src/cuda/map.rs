//! A feature map on a GPU, and how tensors become one.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, Tensor, bail};

use crate::autograd::{self, Node, TapeEntry, TensorInput, dense};
use crate::cuda::sum::plus;
use crate::precision::Precision;
use crate::shape::MapShape;

/// A feature map on a GPU. Clones are the same map.
#[derive(Clone)]
pub struct CudaMap {
    /// `[B, H, W, C]`, dense.
    pub values: Tensor,
    /// How exact its numbers are.
    pub precision: Precision,
    gradient: GradientAccumulator,
    entry: Option<Arc<TapeEntry>>,
}

/// The gradient of a map, `[B, H, W, C]`, as it is gathered from those that read the map.
#[derive(Clone, Default)]
struct GradientAccumulator(Arc<Mutex<Option<Tensor>>>);

impl GradientAccumulator {
    fn take(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What an operation does with the gradient of its output.
pub trait Backward: Send + Sync {
    /// Passes the gradient of the output, `[B, H, W, C]`, on to the inputs.
    ///
    /// # Errors
    /// When the device fails.
    fn backward(&self, gradient: &Tensor) -> Result<()>;
}

/// An operation on the tape, with the gradient of its output.
struct Operation<B> {
    gradient: GradientAccumulator,
    operation: B,
}

impl<B: Backward> Node for Operation<B> {
    fn backward(&self) -> Result<()> {
        self.gradient.take().map_or(Ok(()), |gradient| self.operation.backward(&gradient))
    }

    fn reset(&self) {
        self.gradient.take();
    }
}

impl CudaMap {
    /// A map through which no gradient flows.
    pub fn constant(values: Tensor, precision: Precision) -> Self {
        Self { values, precision, gradient: GradientAccumulator::default(), entry: None }
    }

    /// Records an operation on maps and tensors whose result is there.
    ///
    /// # Errors
    /// When the device fails.
    pub fn record<B: Backward + 'static>(
        values: Tensor,
        precision: Precision,
        inputs: &[&Self],
        tensors: &[TensorInput],
        operation: impl FnOnce() -> B,
    ) -> Result<Self> {
        let gradient = GradientAccumulator::default();
        let (maps, tensors) = (inputs.iter().map(|map| map.entry()), tensors.iter().collect::<Vec<_>>());
        let node = || Operation { gradient: gradient.clone(), operation: operation() };
        let entry = autograd::record(values.device(), maps, &tensors, node)?;
        Ok(Self { values, precision, gradient, entry })
    }

    /// A map made of a tensor, whose numbers are in `values`; `backward` makes the tensor's gradient of the map's.
    fn from_tensor(
        tensor: &Tensor,
        values: Tensor,
        backward: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Self> {
        let precision = Precision::of(tensor.dtype())?;
        let gradient = GradientAccumulator::default();
        let [gathered, dropped] = [gradient.clone(), gradient.clone()];
        let of_tensor = move || match gathered.take() {
            Some(gradient) => backward(&gradient),
            None => bail!("a map that is tracked has no gradient"),
        };
        let reset = move || drop(dropped.take());
        Ok(Self { values, precision, gradient, entry: autograd::from_tensor(tensor, of_tensor, reset)? })
    }

    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has another type, or the device has no room.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        Self::from_tensor(tensor, dense(&tensor.detach())?, |gradient| Ok(gradient.clone()))
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has another type, or the device has no room.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        let values = tensor.detach().permute((0, 2, 3, 1))?.contiguous()?;
        Self::from_tensor(tensor, values, |gradient| gradient.permute((0, 3, 1, 2))?.contiguous())
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        let map = self.clone();
        let values = map.values.to_dtype(map.precision.dtype())?;
        autograd::to_tensor(self.entry(), &[], values, move |gradient| {
            let gradient = gradient.to_dtype(map.values.dtype())?;
            map.accumulate(|earlier| plus(gradient, earlier, map.precision))
        })
    }

    /// Its shape.
    pub fn shape(&self) -> MapShape {
        let dims = self.values.dims();
        MapShape { batch: dims[0], height: dims[1], width: dims[2], channels: dims[3] }
    }

    /// Its place on the tape, if a gradient may flow through it.
    pub fn entry(&self) -> Option<&Arc<TapeEntry>> {
        self.entry.as_ref()
    }

    /// Whether a gradient may flow through it.
    pub fn is_tracked(&self) -> bool {
        self.entry.is_some()
    }

    /// Adds a part of its gradient, if it is tracked: `part` gets what there is already, and returns the sum.
    ///
    /// # Errors
    /// When `part` fails.
    pub fn accumulate(&self, part: impl FnOnce(Option<&Tensor>) -> Result<Tensor>) -> Result<()> {
        let Some(entry) = &self.entry else { return Ok(()) };
        let mut gradient = self.gradient.0.lock().unwrap_or_else(PoisonError::into_inner);
        *gradient = Some(part(gradient.as_ref())?);
        entry.schedule();
        Ok(())
    }

    /// The same values, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::constant(self.values.clone(), self.precision)
    }

    /// The same values in another precision of the same `dtype`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision == self.precision {
            return Ok(self.clone());
        }
        let values = self.values.to_dtype(precision.storage_dtype())?;
        Self::record(values, precision, &[self], &[], || Cast(self.clone()))
    }
}

/// From one precision to another.
struct Cast(CudaMap);

impl Backward for Cast {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.to_dtype(self.0.values.dtype())?;
        self.0.accumulate(|earlier| plus(gradient, earlier, self.0.precision))
    }
}
