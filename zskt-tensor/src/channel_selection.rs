//! Which channels of a map another one has.

/// Where the channels of a map come from: channel `c` is channel `c mod groups · (C / groups) + ⌊c / groups⌋ + skipped − before` of
/// another map, and zero where that has no such channel. So the gradient of a selection is [another](Self::inverse).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSelection {
    /// Channels of the map, `C`.
    pub channels: usize,
    /// Channels of the other map.
    pub of: usize,
    /// Equal parts of the other map's channels, of which the map has one of each in turn; with several, it has all channels.
    pub groups: usize,
    /// Channels of the other map in front of the first that the map has.
    pub skipped: usize,
    /// Zeros in front of it.
    pub before: usize,
}

impl ChannelSelection {
    /// Channels `start..start + length` of so many.
    pub fn narrow(of: usize, start: usize, length: usize) -> Self {
        Self { channels: length, of, groups: 1, skipped: start, before: 0 }
    }

    /// One channel of each group in turn.
    pub fn shuffle(channels: usize, groups: usize) -> Self {
        Self { channels, of: channels, groups, skipped: 0, before: 0 }
    }

    /// Each channel back to where it came from.
    pub fn inverse(&self) -> Self {
        let Self { channels, of, groups, skipped, before } = *self;
        let groups = if groups == 1 { 1 } else { channels / groups };
        Self { channels: of, of: channels, groups, skipped: before, before: skipped }
    }
}
