//! Feature maps: the images and activations that layers pass on.

use candle_core::Tensor;

use crate::{Error, ImageShape, Result};

/// A batch of images or activations, `[B, C, H, W]`.
///
/// In memory the channels lie next to each other (`[B, H, W, C]`), for that is what the convolutions are fast on;
/// [`FeatureMap::to_nchw`] and [`FeatureMap::from_nchw`] convert where a plugin computes with candle tensors of its own.
/// Gradients flow through both.
#[derive(Clone, Debug)]
pub struct FeatureMap {
    channels_last: Tensor,
}

impl FeatureMap {
    /// From a tensor `[B, H, W, C]`.
    ///
    /// # Errors
    /// When it has not four dimensions.
    pub fn from_channels_last(tensor: Tensor) -> Result<Self> {
        tensor.dims4().map_err(|_| Error::new(format!("expected a tensor [B, H, W, C], found {:?}", tensor.dims())))?;
        let channels_last = if tensor.is_contiguous() { tensor } else { tensor.contiguous()? };
        Ok(Self { channels_last })
    }

    /// From a tensor `[B, C, H, W]`.
    ///
    /// # Errors
    /// When it has not four dimensions.
    pub fn from_nchw(tensor: &Tensor) -> Result<Self> {
        Self::from_channels_last(tensor.permute((0, 2, 3, 1))?)
    }

    /// As a tensor `[B, H, W, C]`.
    pub fn channels_last(&self) -> &Tensor {
        &self.channels_last
    }

    /// As a tensor `[B, C, H, W]`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn to_nchw(&self) -> Result<Tensor> {
        Ok(self.channels_last.permute((0, 3, 1, 2))?.contiguous()?)
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        self.channels_last.dims()[0]
    }

    /// The shape of one image.
    pub fn image(&self) -> ImageShape {
        let dims = self.channels_last.dims();
        ImageShape { channels: dims[3], height: dims[1], width: dims[2] }
    }

    /// The same values, through which no gradient flows.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { channels_last: self.channels_last.detach() }
    }

    /// Images `start..start + count`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Self::from_channels_last(self.channels_last.narrow(0, start, count)?)
    }

    /// All images row by row, `[B, C·H·W]`, in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn flatten(&self) -> Result<Tensor> {
        Ok(self.to_nchw()?.flatten_from(1)?)
    }
}

impl std::ops::Add for &FeatureMap {
    type Output = Result<FeatureMap>;

    /// The sum of two feature maps of the same shape, as at the end of a residual block.
    fn add(self, other: Self) -> Result<FeatureMap> {
        crate::ops::add(self, other)
    }
}
