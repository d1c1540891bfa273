//! Feature maps: the images and activations that layers pass on.

use candle_core::{DType, Tensor};

use crate::device::DeviceMap;
use crate::map::host::HostMap;
use crate::{ImageShape, Precision, Result};

/// A batch of images or activations, `[B, C, H, W]`.
///
/// It is computed when it is first read: what precedes and follows a convolution (batch norm, activation, upsampling, the
/// sum at the end of a residual block) becomes part of it. In memory the channels lie next to each other (`[B, H, W, C]`), for
/// that is what the convolutions are fast on, and numbers may have half the bits of an `f32` ([`Precision::Bf16`]).
/// [`to_nchw`](Self::to_nchw), [`channels_last`](Self::channels_last), [`from_nchw`](Self::from_nchw) and
/// [`from_channels_last`](Self::from_channels_last) convert, by a pass over memory each time, where a plugin computes with
/// candle tensors of its own. Gradients flow through all of them.
///
/// Gradients lie with the map: one backward pass at a time may go through it. Tasks that share a map (`rayon::join`) may read
/// it at the same time once one of them has read it before.
#[derive(Clone)]
pub struct FeatureMap(pub(crate) Place);

/// Where a map is, and with it how it is computed.
#[derive(Clone)]
pub(crate) enum Place {
    /// On the CPU.
    Host(HostMap),
    /// On an accelerator.
    Device(DeviceMap),
}

/// Runs code for a map wherever it is.
macro_rules! wherever {
    ($map:expr, $name:ident => $body:expr) => {
        match &$map.0 {
            Place::Host($name) => $body,
            Place::Device($name) => $body,
        }
    };
}

impl From<HostMap> for FeatureMap {
    fn from(map: HostMap) -> Self {
        Self(Place::Host(map))
    }
}

impl From<DeviceMap> for FeatureMap {
    fn from(map: DeviceMap) -> Self {
        Self(Place::Device(map))
    }
}

impl std::fmt::Debug for FeatureMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FeatureMap({} × {}, {:?})", self.batch(), self.image(), self.precision())
    }
}

impl FeatureMap {
    /// From a tensor `[B, H, W, C]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_channels_last(tensor: &Tensor) -> Result<Self> {
        if tensor.device().is_cpu() {
            return Ok(HostMap::from_channels_last(tensor)?.into());
        }
        Ok(DeviceMap::from_channels_last(tensor)?.into())
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        if tensor.device().is_cpu() {
            return Ok(HostMap::from_nchw(tensor)?.into());
        }
        Ok(DeviceMap::from_nchw(tensor)?.into())
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        wherever!(self, map => map.channels_last())
    }

    /// As a tensor `[B, C, H, W]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        wherever!(self, map => map.to_nchw())
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        wherever!(self, map => map.batch())
    }

    /// The shape of one image.
    pub fn image(&self) -> ImageShape {
        wherever!(self, map => map.image())
    }

    /// How exact its numbers are.
    pub fn precision(&self) -> Precision {
        wherever!(self, map => map.precision())
    }

    /// The type of the tensors that it becomes.
    pub fn dtype(&self) -> DType {
        self.precision().dtype()
    }

    /// The same values, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        wherever!(self, map => map.detach().into())
    }

    /// Images `start..start + count`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Self::from_channels_last(&self.channels_last()?.narrow(0, start, count)?)?.to_precision(self.precision())
    }

    /// The same values in another precision of the same [`dtype`](Precision::dtype), rounded to the nearest.
    ///
    /// # Errors
    /// When only one of both is `f64`.
    pub fn to_precision(&self, precision: Precision) -> Result<Self> {
        wherever!(self, map => Ok(map.to_precision(precision)?.into()))
    }

    /// All images row by row, `[B, C·H·W]`, in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn flatten(&self) -> Result<Tensor> {
        Ok(self.to_nchw()?.flatten_from(1)?)
    }

    /// With nothing left to be done where it is read.
    pub(crate) fn settled(&self) -> Result<Self> {
        match &self.0 {
            Place::Host(map) => Ok(map.settled()?.into()),
            Place::Device(_) => Ok(self.clone()),
        }
    }
}

impl std::ops::Add for &FeatureMap {
    type Output = Result<FeatureMap>;

    /// The sum of two feature maps of the same shape, as at the end of a residual block.
    fn add(self, other: Self) -> Result<FeatureMap> {
        crate::ops::add(self, other)
    }
}
