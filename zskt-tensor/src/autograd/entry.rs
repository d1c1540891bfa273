//! Where maps are on the tape.

use std::sync::Arc;

use candle_core::{Result, Tensor, TensorId};

/// An operation whose output is a map.
pub trait Node: Send + Sync {
    /// Takes the gradient that the output has gathered, and passes it on to the inputs.
    ///
    /// # Errors
    /// When there is none, or the device fails.
    fn backward(&self) -> Result<()>;

    /// Drops the gradient that the output has gathered: a backward pass has failed.
    fn reset(&self);
}

/// A map's place on the tape: a map without one is a constant.
pub struct TapeEntry {
    /// Later than those of all that it was made of.
    pub(super) sequence: u64,
    /// What made the map.
    pub(super) node: Box<dyn Node>,
    /// Where candle's tape leads to it.
    pub(super) anchor: Anchor,
}

/// Where candle's tape meets that of maps.
#[derive(Clone)]
pub struct Anchor {
    /// One number, whose operation runs nodes as candle goes back through it; or a root, behind which there is nothing to run.
    pub tensor: Tensor,
    /// Whether candle is sure to go back to it: it may find no variable behind a tensor that is tracked.
    pub rooted: bool,
    /// It and the anchors that it was joined of, which candle visits after it.
    pub visited: Arc<[TensorId]>,
}
