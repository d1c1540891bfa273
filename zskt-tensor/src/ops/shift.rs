//! Images that are moved and mirrored.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::shape::MapShape;
use crate::trace;

/// How far an image is moved, and whether it is mirrored after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Rows downwards. PyTorch's `RandomCrop(padding=p)` that cuts out from row `r` of the padded image moves it by `p − r`.
    pub down: isize,
    /// Columns to the right.
    pub right: isize,
    /// Whether left and right are swapped, after the move.
    pub flip: bool,
}

impl Shift {
    /// What leads back.
    pub(crate) fn inverse(self) -> Self {
        // Left and right are swapped before the move back.
        let right = if self.flip { self.right } else { -self.right };
        Self { down: -self.down, right, flip: self.flip }
    }

    /// Each axis by no more than its length, however far it was to be.
    fn bounded(self, shape: &MapShape, border: &Border<'_>) -> Self {
        let bound = |by: isize, extent: usize| {
            let extent = isize::try_from(extent).unwrap_or(isize::MAX);
            match border {
                Border::Fill(_) => by.clamp(-extent, extent),
                Border::Wrap => by.rem_euclid(extent.max(1)),
            }
        };
        Self { down: bound(self.down, shape.height), right: bound(self.right, shape.width), flip: self.flip }
    }
}

/// What is where an image was moved away from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Border<'a> {
    /// A number for each channel.
    Fill(&'a [f64]),
    /// What was moved out at the other side.
    Wrap,
}

/// Each image moved and mirrored by its own shift, with `fill` (a number for each channel, such as the normalized black) where
/// nothing of it is, `[B, C, H, W]`: PyTorch's `RandomCrop(H, padding)` and `RandomHorizontalFlip`, differentiable.
///
/// # Errors
/// When there is not a shift for each image or a number for each channel, or the device fails.
pub fn crop_and_flip(x: &FeatureMap, shifts: &[Shift], fill: &[f64]) -> Result<FeatureMap> {
    let MapShape { batch, channels, .. } = x.shape();
    if shifts.len() != batch {
        return Err(Error::new(format!("{} shifts for {batch} images: each has one", shifts.len())));
    }
    if fill.len() != channels {
        return Err(Error::new(format!("{} numbers to fill {channels} channels: each has one", fill.len())));
    }
    shift(x, shifts.iter().copied(), Border::Fill(fill))
}

/// All images moved by the same shift, wrapping round, then mirrored or not, `[B, C, H, W]`: PyTorch's `roll` and `flip`.
///
/// # Errors
/// When the device fails.
pub fn roll(x: &FeatureMap, by: Shift) -> Result<FeatureMap> {
    shift(x, std::iter::repeat_n(by, x.shape().batch), Border::Wrap)
}

fn shift(x: &FeatureMap, shifts: impl Iterator<Item = Shift>, border: Border<'_>) -> Result<FeatureMap> {
    let shifts: Vec<_> = shifts.map(|shift| shift.bounded(&x.shape(), &border)).collect();
    trace::refuse("an image that is moved at random is of training");
    Ok(on_backend!(x, x => Backend::shift(x, &shifts, &border)?.into()))
}
