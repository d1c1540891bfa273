//! Feature maps: the images and activations that layers pass on.

use candle_core::{DType, Device, Tensor};

use crate::backend::Backend;
use crate::cpu::map::CpuMap;
use crate::cuda::map::CudaMap;
use crate::error::{Error, Result};
use crate::precision::Precision;
use crate::shape::{ImageShape, MapShape};
use crate::trace::{self, Origin, TracedOperation};

/// A batch of images or activations, `[B, C, H, W]`.
///
/// It is computed when it is first read: what precedes and follows a convolution (batch norm, activation, upsampling, the
/// sum at the end of a residual block) becomes part of it. In memory the channels lie next to each other (`[B, H, W, C]`), for
/// that is what the convolutions are fast on, and numbers may have half the bits of an `f32` ([`Precision::Bf16`]).
/// [`to_nchw`](Self::to_nchw), [`channels_last`](Self::channels_last), [`from_nchw`](Self::from_nchw) and
/// [`from_channels_last`](Self::from_channels_last) convert, by a pass over memory each time, where a plugin computes with
/// candle tensors of its own. Gradients flow through all of them.
///
/// What is computed later reads parameters and running statistics as they are then: a map that outlives an update is to be read, or
/// [`detach`](Self::detach)ed, before it.
///
/// Gradients lie with the map: one backward pass at a time may go through it. Tasks that share a map (`rayon::join`) may read
/// it at the same time once one of them has read it before.
#[derive(Clone)]
pub struct FeatureMap(pub(crate) Storage, pub(crate) Origin);

/// Where a map is, and with it how it is computed.
#[derive(Clone)]
pub(crate) enum Storage {
    /// On the CPU.
    Cpu(CpuMap),
    /// On a GPU.
    Cuda(CudaMap),
}

/// Runs code for a map on whatever device it is.
macro_rules! on_backend {
    ($map:expr, $name:ident => $body:expr) => {
        match &$map.0 {
            $crate::feature_map::Storage::Cpu($name) => $body,
            $crate::feature_map::Storage::Cuda($name) => $body,
        }
    };
}
pub(crate) use on_backend;

/// Runs code for the backend of a device.
macro_rules! with_backend {
    ($device:expr, $backend:ident => $body:expr) => {
        if $device.is_cpu() {
            type $backend = $crate::cpu::map::CpuMap;
            $body
        } else {
            type $backend = $crate::cuda::map::CudaMap;
            $body
        }
    };
}
pub(crate) use with_backend;

impl From<CpuMap> for FeatureMap {
    fn from(map: CpuMap) -> Self {
        Self(Storage::Cpu(map), Origin::default())
    }
}

impl From<CudaMap> for FeatureMap {
    fn from(map: CudaMap) -> Self {
        Self(Storage::Cuda(map), Origin::default())
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
        check_rank(tensor, "[B, H, W, C]")?;
        with_backend!(tensor.device(), B => Ok(<B as Backend>::from_channels_last(tensor)?.into()))
    }

    /// From a tensor `[B, C, H, W]` of `f32` or `f64`.
    ///
    /// # Errors
    /// When it has not four dimensions or another type.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        check_rank(tensor, "[B, C, H, W]")?;
        with_backend!(tensor.device(), B => Ok(<B as Backend>::from_nchw(tensor)?.into()))
    }

    /// From vectors `[B, C]` of `f32` or `f64`, as maps of one pixel, `[B, C, 1, 1]`: such as the gates of squeeze-and-excitation, which
    /// [`multiply`](crate::ops::multiply) takes as factors of channels.
    ///
    /// # Errors
    /// When it has not two dimensions or another type.
    pub fn from_vectors(vectors: &Tensor) -> Result<Self> {
        let &[batch, channels] = vectors.dims() else {
            return Err(Error::new(format!("expected a tensor [B, C], found {:?}", vectors.dims())));
        };
        let map = Self::from_channels_last(&vectors.reshape((batch, 1, 1, channels))?)?;
        Ok(trace::tensor_to_map(vectors, TracedOperation::FromVectors, map))
    }

    /// As a tensor `[B, H, W, C]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn channels_last(&self) -> Result<Tensor> {
        Ok(on_backend!(self, map => Backend::channels_last(map))?)
    }

    /// As a tensor `[B, C, H, W]`, of `f32` where the map's precision is bf16.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        Ok(self.channels_last()?.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        self.shape().batch
    }

    /// The shape of one image.
    pub fn image(&self) -> ImageShape {
        let MapShape { height, width, channels, .. } = self.shape();
        ImageShape { channels, height, width }
    }

    /// How exact its numbers are.
    pub fn precision(&self) -> Precision {
        on_backend!(self, map => Backend::precision(map))
    }

    /// The type of the tensors that it becomes.
    pub fn dtype(&self) -> DType {
        self.precision().dtype()
    }

    /// The device it is on.
    pub fn device(&self) -> &Device {
        on_backend!(self, map => Backend::device(map))
    }

    /// The same values, through which no gradient flows: those of the parameters as they are now, whatever becomes of these.
    #[must_use]
    pub fn detach(&self) -> Self {
        on_backend!(self, map => Self::from(Backend::detach(map)).same_as(self))
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
        if precision.dtype() != self.dtype() {
            return Err(Error::new(format!("{self:?} cannot become a map of {precision:?}: weights would not fit it")));
        }
        on_backend!(self, map => Ok(Self::from(Backend::to_precision(map, precision)?).same_as(self)))
    }

    /// All images row by row, `[B, C·H·W]`, in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn flatten(&self) -> Result<Tensor> {
        let rows = self.to_nchw()?.flatten_from(1)?;
        Ok(trace::map_to_tensor(self, TracedOperation::Flatten, rows))
    }

    /// That tensors which are computed with it are on its device.
    pub(crate) fn check_device(&self, tensors: &[&Tensor]) -> Result<()> {
        let device = self.device().location();
        match tensors.iter().find(|tensor| tensor.device().location() != device) {
            None => Ok(()),
            Some(tensor) => {
                let other = tensor.device().location();
                Err(Error::new(format!("{self:?} is on {device:?}, and a tensor {:?} on {other:?}", tensor.dims())))
            }
        }
    }

    pub(crate) fn shape(&self) -> MapShape {
        on_backend!(self, map => Backend::shape(map))
    }

    /// With nothing left to be computed where it is read.
    pub(crate) fn materialized(&self) -> Result<Self> {
        on_backend!(self, map => Ok(Self::from(map.materialized()?).same_as(self)))
    }

    /// Made by the same operation as another map.
    fn same_as(self, other: &Self) -> Self {
        Self(self.0, other.1)
    }
}

fn check_rank(tensor: &Tensor, expected: &str) -> Result<()> {
    match tensor.rank() {
        4 => Ok(()),
        _ => Err(Error::new(format!("expected a tensor {expected}, found {:?}", tensor.dims()))),
    }
}
