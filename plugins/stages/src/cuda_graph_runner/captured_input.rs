//! What a captured batch reads, in memory of its own.

use zskt_api::candle_core::Tensor;
use zskt_api::{FeatureMap, Result};

use crate::batch_sampler::{BatchInput, LatentDraws};

/// What a captured batch reads: a replay reads what was written over it since.
pub enum CapturedInput {
    /// Latents, from which the generator makes images.
    Latents(LatentDraws),
    /// Images that are there.
    Ready {
        /// `[B, H, W, C]`.
        images: Tensor,
        /// `u32` `[B]`.
        labels: Option<Tensor>,
    },
}

impl CapturedInput {
    /// A copy.
    pub fn of(input: &BatchInput) -> Result<Self> {
        Ok(match input {
            BatchInput::Latents(latents) => Self::Latents(latents.copied()?),
            BatchInput::Ready { images, labels } => Self::Ready {
                images: images.channels_last()?.copy()?,
                labels: labels.as_ref().map(Tensor::copy).transpose()?,
            },
        })
    }

    /// Images.
    pub fn count(&self) -> usize {
        match self {
            Self::Latents(latents) => latents.batch,
            Self::Ready { images, .. } => images.dims()[0],
        }
    }

    /// As the input of a batch, which shares its memory.
    pub fn input(&self) -> Result<BatchInput> {
        Ok(match self {
            Self::Latents(latents) => BatchInput::Latents(latents.clone()),
            Self::Ready { images, labels } => {
                BatchInput::Ready { images: FeatureMap::from_channels_last(images)?, labels: labels.clone() }
            }
        })
    }

    /// Writes the numbers of another input over its own. Returns whether it could: the last batch of a pass has fewer images.
    pub fn overwrite(&self, other: &BatchInput) -> Result<bool> {
        match (self, other) {
            (Self::Latents(own), BatchInput::Latents(other)) if own.batch == other.batch => own.overwrite(other)?,
            (Self::Ready { images, labels }, BatchInput::Ready { images: other, labels: other_labels })
                if images.dim(0)? == other.batch() && labels.is_some() == other_labels.is_some() =>
            {
                images.slice_set(&other.channels_last()?, 0, 0)?;
                if let (Some(own), Some(other)) = (labels, other_labels) {
                    own.slice_set(other, 0, 0)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
