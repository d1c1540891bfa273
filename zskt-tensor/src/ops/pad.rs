//! Zeros around a map.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::shape::MapShape;
use crate::trace::{self, TracedOperation};

/// How many zeros are put before and after each axis of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Channels, before and after.
    pub channels: [usize; 2],
    /// Rows, above and below.
    pub rows: [usize; 2],
    /// Columns, left and right.
    pub columns: [usize; 2],
}

/// The map with zeros around it, `[B, C', H', W']`.
///
/// # Errors
/// When it would be larger than memory, or the device fails.
pub fn pad(x: &FeatureMap, padding: Padding) -> Result<FeatureMap> {
    let MapShape { batch, height, width, channels } = x.shape();
    let padded = |extent: usize, [before, after]: [usize; 2]| extent.checked_add(before)?.checked_add(after);
    let extents =
        [Some(batch), padded(height, padding.rows), padded(width, padding.columns), padded(channels, padding.channels)];
    if !MapShape::is_countable(extents) {
        return Err(Error::new(format!("{x:?} padded by {padding:?} has more numbers than memory")));
    }
    let padded = on_backend!(x, x => Backend::pad(x, &padding)?.into());
    Ok(trace::map(&[x], || TracedOperation::Pad(padding), padded))
}
