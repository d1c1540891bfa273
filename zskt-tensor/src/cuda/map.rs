//! A feature map on a GPU, and how tensors become one.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::autograd::{self, Node, TapeEntry, TensorInput};
use crate::cuda::cast::cast;
use crate::cuda::fusion::gradient::{Gradient, GradientAccumulator, Part};
use crate::cuda::fusion::lazy_map::{LazyInput, LazyMap};
use crate::cuda::ops::upsample;
use crate::cuda::sum::plus;
use crate::cuda::transpose::transposed;
use crate::dense::dense;
use crate::precision::Precision;
use crate::shape::MapShape;

/// A feature map on a GPU. Clones are the same map.
#[derive(Clone)]
pub struct CudaMap {
    /// What is read.
    pub input: LazyInput,
    /// How exact its numbers are.
    pub precision: Precision,
    gradient: GradientAccumulator,
    entry: Option<Arc<TapeEntry>>,
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
    precision: Precision,
    operation: B,
}

impl<B: Backward> Node for Operation<B> {
    fn backward(&self) -> Result<()> {
        self.operation.backward(&self.gradient.take(self.precision)?.sum()?.dense()?)
    }

    fn reset(&self) {
        self.gradient.reset();
    }
}

impl CudaMap {
    /// A map through which no gradient flows.
    pub fn constant(values: Tensor, precision: Precision) -> Self {
        Self::new(LazyInput::new(Arc::new(LazyMap::of(values, precision))), precision, None)
    }

    fn new(input: LazyInput, precision: Precision, entry: Option<Arc<TapeEntry>>) -> Self {
        Self { input, precision, gradient: GradientAccumulator::default(), entry }
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
        let input = LazyInput::new(Arc::new(LazyMap::of(values, precision)));
        Self::record_lazy(input, precision, inputs, tensors, |gradient| Operation {
            gradient,
            precision,
            operation: operation(),
        })
    }

    /// Records an operation whose result may be computed later, and which takes the gradient that is gathered for it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn record_lazy<N: Node + 'static>(
        input: LazyInput,
        precision: Precision,
        inputs: &[&Self],
        tensors: &[TensorInput],
        node: impl FnOnce(GradientAccumulator) -> N,
    ) -> Result<Self> {
        let gradient = GradientAccumulator::default();
        let (maps, tensors) = (inputs.iter().map(|map| map.entry()), tensors.iter().collect::<Vec<_>>());
        let entry = autograd::record(&input.map.device, maps, &tensors, || node(gradient.clone()))?;
        Ok(Self { input, precision, gradient, entry })
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
        let of_tensor = move || backward(&gathered.take(precision)?.sum()?.dense()?);
        let entry = autograd::from_tensor(tensor, of_tensor, move || dropped.reset())?;
        Ok(Self { gradient, ..Self::new(LazyInput::new(Arc::new(LazyMap::of(values, precision))), precision, entry) })
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
        let shape @ (batch, channels, height, width) = tensor.dims4()?;
        let values = transposed(tensor, [batch, channels, height * width])?;
        Self::from_tensor(tensor, values.reshape((batch, height, width, channels))?, move |gradient| {
            transposed(gradient, [batch, height * width, channels])?.reshape(shape)
        })
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        let map = self.enlarged()?;
        let values = cast(map.values()?, map.precision.dtype())?;
        autograd::to_tensor(map.clone().entry(), &[], values, move |gradient| {
            let gradient = cast(gradient, map.precision.storage_dtype())?;
            map.accumulate(|earlier| plus(gradient, earlier, map.precision))
        })
    }

    /// Its numbers, `[B, H, W, C]`, before any upsampling.
    ///
    /// # Errors
    /// When the device fails.
    pub fn values(&self) -> Result<&Tensor> {
        self.input.values()
    }

    /// Where it is.
    pub fn device(&self) -> &Device {
        &self.input.map.device
    }

    /// The shape that its readers see.
    pub fn shape(&self) -> MapShape {
        self.input.shape()
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
        self.gradient.accumulate(part)?;
        entry.schedule();
        Ok(())
    }

    /// Adds a part of its gradient, if it is tracked.
    pub fn accumulate_part(&self, part: Part) {
        if let Some(entry) = &self.entry {
            self.gradient.push(part);
            entry.schedule();
        }
    }

    /// Adds a gradient that others may get too.
    pub fn accumulate_gradient(&self, gradient: &Gradient) -> Result<()> {
        match gradient {
            Gradient::Dense(values) => self.accumulate(|earlier| plus(values.clone(), earlier, self.precision)),
            shared @ Gradient::BehindBatchNorm(_) => {
                self.accumulate_part(Part::Complete(shared.clone()));
                Ok(())
            }
        }
    }

    /// The same values, through which no gradient flows. They are computed now, for they may outlive an update of the parameters of
    /// a batch norm, which are read where its result is.
    #[must_use]
    pub fn detach(&self) -> Self {
        // Whoever reads them gets the error.
        let _ = self.values();
        Self::new(self.input.clone(), self.precision, None)
    }

    /// The same values in another precision of the same `dtype`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        if precision == self.precision {
            return Ok(self.clone());
        }
        // Upsampled is what is cast, for a convolution behind it to read it so.
        let stored = self.stored();
        let values = cast(stored.values()?, precision.storage_dtype())?;
        let cast = Self::record(values, precision, &[&stored], &[], || Cast(stored.clone()))?;
        Ok(cast.upsampled(self.input.upsampling))
    }

    /// The same map before any upsampling.
    fn stored(&self) -> Self {
        let mut stored = self.clone();
        stored.input.upsampling = 1;
        stored
    }

    /// The map with each pixel as a square of the given number of rows and columns, where it is read.
    #[must_use]
    pub fn upsampled(&self, factor: usize) -> Self {
        let mut upsampled = self.clone();
        upsampled.input.upsampling *= factor;
        upsampled
    }

    /// The same values, with no upsampling left to be done.
    ///
    /// # Errors
    /// When the device fails.
    pub fn enlarged(&self) -> Result<Self> {
        match self.input.upsampling {
            1 => Ok(self.clone()),
            factor => upsample::enlarge(&self.stored(), factor),
        }
    }
}

/// From one precision to another.
struct Cast(CudaMap);

impl Backward for Cast {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        let gradient = cast(gradient, self.0.precision.storage_dtype())?;
        self.0.accumulate(|earlier| plus(gradient, earlier, self.0.precision))
    }
}
