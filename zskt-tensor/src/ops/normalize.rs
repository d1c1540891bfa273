//! Normalization by the statistics of parts of single images.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::trace;

/// Which numbers of an image are normalized together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormalizedOver {
    /// All channels of each pixel, as in layer norm (Ba, Kiros & Hinton 2016).
    Pixels,
    /// All pixels of each of so many equal parts of the channels, as in group norm (Wu & He, ECCV 2018).
    Groups(usize),
}

/// `(x − mean) / √(variance + epsilon)` for `x` `[B, C, H, W]`, with the mean and the biased variance of the numbers that are normalized
/// together.
///
/// # Errors
/// When the groups do not divide the channels, or the device fails.
pub fn normalize(x: &FeatureMap, over: NormalizedOver, epsilon: f64) -> Result<FeatureMap> {
    let channels = x.image().channels;
    if let NormalizedOver::Groups(groups) = over
        && (groups == 0 || !channels.is_multiple_of(groups))
    {
        return Err(Error::new(format!("{groups} groups do not divide {channels} channels")));
    }
    trace::refuse("a layer or group norm computes statistics of each image");
    Ok(on_backend!(x, x => Backend::normalize(x, over, epsilon)?.into()))
}
