//! Channels in another order.

use crate::backend::Backend;
use crate::channel_selection::ChannelSelection;
use crate::error::{Error, Result};
use crate::feature_map::{FeatureMap, on_backend};
use crate::trace::{self, TracedOperation};

/// The channels of a map `[B, C, H, W]`, one of each of `groups` equal parts in turn: with two groups the first, the first of the second
/// half, the second, and so on. PyTorch's `ChannelShuffle`, as in ShuffleNet (Zhang et al., CVPR 2018).
///
/// # Errors
/// When the channels do not make up so many groups, or the device fails.
pub fn channel_shuffle(x: &FeatureMap, groups: usize) -> Result<FeatureMap> {
    let channels = x.shape().channels;
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::new(format!("cannot shuffle the channels of {x:?} in {groups} groups: they must be equal")));
    }
    let selection = ChannelSelection::shuffle(channels, groups);
    let shuffled = on_backend!(x, x => x.select_channels(selection)?.into());
    Ok(trace::map(&[x], || TracedOperation::ChannelShuffle { of: x.image(), groups }, shuffled))
}
