//! Maps of a GPU, computed when they are first read.
//!
//! Where our own convolutions follow, a batch norm with its rectifier and an upsampling are not computed by themselves: they are
//! noted down and applied as the convolution reads. The sum at the end of a residual block, and the sums that the next batch
//! norm's statistics are made of, are taken as a convolution writes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{Device, Result, Tensor, bail};

use crate::cuda::conv::{Normalization, Operand, tensor_cores};
use crate::cuda::exact_sums::UnfinishedMoments;
use crate::cuda::ops::batch_norm;
use crate::precision::Precision;
use crate::shape::{ConvGeometry, MapShape};

/// A map: its numbers, or how they will be computed.
pub struct LazyMap {
    /// Its shape.
    pub shape: MapShape,
    /// How exact its numbers are.
    pub precision: Precision,
    /// Where it is.
    pub device: Device,
    values: OnceLock<Tensor>,
    convolution: Mutex<Option<PendingConvolution>>,
}

/// A convolution that nobody has read.
#[derive(Clone)]
pub struct PendingConvolution {
    /// Its shape.
    pub geometry: ConvGeometry,
    /// `[O, K, K, I]`, as maps are stored.
    pub weight: Tensor,
    /// `[O]`.
    pub bias: Option<Tensor>,
    /// What is convolved.
    pub input: LazyInput,
    /// What is added to the result.
    pub residual: Option<Arc<LazyMap>>,
}

impl LazyMap {
    /// A map that is there, `[B, H, W, C]`.
    pub fn of(values: Tensor, precision: Precision) -> Self {
        let [batch, height, width, channels] = [0, 1, 2, 3].map(|axis| values.dims()[axis]);
        let (shape, device) = (MapShape { batch, height, width, channels }, values.device().clone());
        Self { shape, precision, device, values: OnceLock::from(values), convolution: Mutex::new(None) }
    }

    /// The result of a convolution.
    pub fn convolved(convolution: PendingConvolution, precision: Precision) -> Self {
        let geometry = &convolution.geometry;
        let shape = MapShape {
            batch: geometry.batch,
            height: geometry.out_height(),
            width: geometry.out_width(),
            channels: geometry.out_channels,
        };
        let device = convolution.weight.device().clone();
        Self { shape, precision, device, values: OnceLock::new(), convolution: Mutex::new(Some(convolution)) }
    }

    /// Its numbers, `[B, H, W, C]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn values(&self) -> Result<&Tensor> {
        Ok(self.evaluate(None)?.0)
    }

    /// Computes its numbers along with sums for their statistics, if nobody has computed them before: whether that was done.
    ///
    /// # Errors
    /// When the device fails.
    pub fn evaluate_with(&self, moments: &UnfinishedMoments) -> Result<bool> {
        Ok(self.evaluate(Some(moments))?.1)
    }

    /// Whether nobody has read it.
    pub fn is_pending(&self) -> bool {
        self.values.get().is_none()
    }

    /// The convolution that will compute it, if nobody has read it and nothing is added to it.
    pub fn convolution(&self) -> Option<PendingConvolution> {
        let convolution = self.convolution.lock().unwrap_or_else(PoisonError::into_inner);
        convolution.clone().filter(|convolution| convolution.residual.is_none())
    }

    /// Its numbers, and whether they were computed here.
    fn evaluate(&self, moments: Option<&UnfinishedMoments>) -> Result<(&Tensor, bool)> {
        let mut pending = self.convolution.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = self.values.get() {
            return Ok((values, false));
        }
        let Some(convolution) = &*pending else { bail!("a map has neither numbers nor a convolution") };
        let values = convolution.run(moments)?;
        // What it was made of is freed as soon as nobody else needs it.
        *pending = None;
        Ok((self.values.get_or_init(|| values), true))
    }
}

impl PendingConvolution {
    fn run(&self, moments: Option<&UnfinishedMoments>) -> Result<Tensor> {
        let Self { geometry, weight, bias, input, residual } = self;
        let residual = residual.as_ref().map(|map| map.values()).transpose()?;
        tensor_cores::forward(geometry, input.operand()?, weight, bias.as_ref(), residual, moments)
    }
}

/// A batch norm and its rectifier, to be applied to a map where it is read.
pub struct Normalized {
    /// How.
    pub normalization: Normalization,
    /// Their result, where somebody needed it by itself.
    values: OnceLock<Tensor>,
}

impl Normalized {
    /// To be applied.
    pub fn new(normalization: Normalization) -> Self {
        Self { normalization, values: OnceLock::new() }
    }
}

/// A map, and what is done to it where it is read.
#[derive(Clone)]
pub struct LazyInput {
    /// The map.
    pub map: Arc<LazyMap>,
    /// What its numbers become.
    pub normalized: Option<Arc<Normalized>>,
    /// How often each row and column is repeated then.
    pub upsampling: usize,
}

impl LazyInput {
    /// The map as it is.
    pub fn new(map: Arc<LazyMap>) -> Self {
        Self { map, normalized: None, upsampling: 1 }
    }

    /// Whether it is read as it is.
    pub fn is_plain(&self) -> bool {
        self.normalized.is_none() && self.upsampling == 1
    }

    /// The shape that its readers see.
    pub fn shape(&self) -> MapShape {
        let (shape, factor) = (self.map.shape, self.upsampling);
        MapShape { height: shape.height * factor, width: shape.width * factor, ..shape }
    }

    /// As a convolution reads it, before any upsampling.
    ///
    /// # Errors
    /// When the device fails.
    pub fn operand(&self) -> Result<Operand<'_>> {
        Ok(match &self.normalized {
            None => Operand { values: self.map.values()?, normalization: None },
            Some(normalized) => match normalized.values.get() {
                Some(values) => Operand { values, normalization: None },
                None => Operand { values: self.map.values()?, normalization: Some(&normalized.normalization) },
            },
        })
    }

    /// The numbers before any upsampling.
    ///
    /// # Errors
    /// When the device fails.
    pub fn values(&self) -> Result<&Tensor> {
        let Some(Normalized { normalization, values }) = self.normalized.as_deref() else { return self.map.values() };
        if let Some(values) = values.get() {
            return Ok(values);
        }
        let computed = batch_norm::normalized(self.map.values()?, self.map.precision, normalization)?;
        Ok(values.get_or_init(|| computed))
    }
}
