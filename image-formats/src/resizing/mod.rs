//! Images of all sizes made to one, as torchvision's `Resize` and `CenterCrop` do with Pillow's images.

mod bilinear;

use crate::OutOfMemory;

#[cfg(test)]
mod tests;

/// The longest side that an image may be resized to: its shorter side and its form could ask for any.
const MAX_SIDE: usize = 16_384;

/// What becomes of the size of images; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resizing {
    /// The shorter side in pixels that images are resized to, keeping their form: bilinear, smoothed where they become smaller.
    pub resize: Option<usize>,
    /// Then, height and width in pixels of what is kept of their middle.
    pub center_crop: Option<usize>,
}

/// Why an image cannot be given another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// The middle would be larger than the image.
    #[error("there are no {crop}×{crop} pixels for `center_crop` in an image of {width}×{height}")]
    CropTooLarge {
        /// What is to be kept.
        crop: usize,
        /// Of the image, resized where that is asked for.
        height: usize,
        /// Likewise.
        width: usize,
    },
    /// A long and narrow image would become enormous.
    #[error("`resize` would make an image {width}×{height}; each side must be from 1 to {MAX_SIDE} pixels")]
    TooLong {
        /// Of the resized image.
        height: usize,
        /// Likewise.
        width: usize,
    },
    /// There is no memory for so many images of that size.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

impl ResizeError {
    /// What to do about it, as text for a pipeline.
    pub fn help(&self) -> String {
        match self {
            Self::CropTooLarge { crop, .. } => format!("with `resize: {crop}` before it, every image is large enough"),
            Self::TooLong { .. } => "ask for a smaller `resize`, or leave the image out".into(),
            Self::OutOfMemory(_) => "ask for smaller images, or for fewer".into(),
        }
    }
}

impl Resizing {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Height and width of what becomes of an image.
    ///
    /// # Errors
    /// When it is smaller than what is to be kept of it, or would become too long.
    pub fn size(&self, height: usize, width: usize) -> Result<(usize, usize), ResizeError> {
        let (height, width) = self.resized(height, width);
        if self.resize.is_some() && (height.max(width) > MAX_SIDE || height.min(width) == 0) {
            return Err(ResizeError::TooLong { height, width });
        }
        match self.center_crop {
            Some(crop) if crop > height.min(width) => Err(ResizeError::CropTooLarge { crop, height, width }),
            Some(crop) => Ok((crop, crop)),
            None => Ok((height, width)),
        }
    }

    /// Writes what becomes of the image `planes` `[channels, height, width]` to `out`, `[channels, …]` of the size that [`size`](Self::size)
    /// tells.
    ///
    /// # Errors
    /// Those of [`size`](Self::size).
    pub fn apply(
        &self,
        planes: &[u8],
        channels: usize,
        (height, width): (usize, usize),
        out: &mut [u8],
    ) -> Result<(), ResizeError> {
        let (kept_height, kept_width) = self.size(height, width)?;
        let (resized_height, resized_width) = self.resized(height, width);
        let rows = bilinear::Weights::new(height, resized_height);
        let columns = bilinear::Weights::new(width, resized_width);
        let (top, left) = (middle(resized_height, kept_height), middle(resized_width, kept_width));
        for channel in 0..channels {
            let plane = &planes[channel * height * width..][..height * width];
            let resized = bilinear::resize(plane, &rows, &columns);
            let kept = &mut out[channel * kept_height * kept_width..][..kept_height * kept_width];
            for (row, line) in kept.chunks_exact_mut(kept_width).enumerate() {
                line.copy_from_slice(&resized[(top + row) * resized_width + left..][..kept_width]);
            }
        }
        Ok(())
    }

    /// Height and width before the middle is taken: torchvision rounds the longer side down.
    fn resized(&self, height: usize, width: usize) -> (usize, usize) {
        match self.resize {
            Some(short) if height <= width => (short, short.saturating_mul(width) / height.max(1)),
            Some(short) => (short.saturating_mul(height) / width.max(1), short),
            None => (height, width),
        }
    }
}

/// Where the middle of `kept` pixels of `all` begins: torchvision rounds halves to even numbers, as Python does.
fn middle(all: usize, kept: usize) -> usize {
    let (half, odd) = ((all - kept) / 2, (all - kept) % 2);
    if odd == 1 && half % 2 == 1 { half + 1 } else { half }
}
