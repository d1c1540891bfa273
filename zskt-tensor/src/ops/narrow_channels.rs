//! Some channels of a map.

use crate::backend::Backend;
use crate::channel_selection::ChannelSelection;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::trace::{self, TracedOperation};

/// Channels `start..start + length`, `[B, length, H, W]`: PyTorch's `narrow` along the channels, and one part of its `split` or `chunk`.
///
/// # Errors
/// When there are fewer channels, none is asked for, or the device fails.
pub fn narrow_channels(x: &FeatureMap, start: usize, length: usize) -> Result<FeatureMap> {
    let channels = x.shape().channels;
    if length == 0 || start.checked_add(length).is_none_or(|end| end > channels) {
        return Err(Error::new(format!("cannot take {length} channels from channel {start} on of {x:?}")));
    }
    let selection = ChannelSelection::narrow(channels, start, length);
    let part = on_backend!(x, x => x.select_channels(selection)?.into());
    Ok(trace::map(&[x], || TracedOperation::NarrowChannels { start, length }, part))
}
