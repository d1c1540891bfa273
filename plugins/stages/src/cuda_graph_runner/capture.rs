//! What a runner asks of a device; tests put another in its place.

use zskt_api::candle_core::Device;
use zskt_api::{CudaGraph, Result, warm_up};

use crate::turn_runtime::TurnResult;

/// A device that may capture what it is asked for.
pub trait GraphCapture {
    /// What it captures.
    type Graph: CapturedGraph;

    /// Whether it captures anything at all.
    fn is_available(&self) -> bool;

    /// Does work now as it is done while it is captured, for all that is made once to be there before.
    fn rehearse<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T>;

    /// Captures work, of which nothing is computed yet.
    ///
    /// # Errors
    /// When the work fails or cannot be captured; what it had changed on the host stays changed.
    fn capture(&self, work: impl FnOnce() -> Result<Vec<TurnResult>>) -> Result<Option<Self::Graph>>;
}

/// A captured batch.
pub trait CapturedGraph {
    /// What the work returned: the tensors hold the numbers of the latest launch or replay.
    fn results(&self) -> &[TurnResult];

    /// Computes it as it was captured.
    fn launch(&self) -> Result<()>;

    /// Computes it with the constants of the updates that `updates` asks for, which makes none itself.
    fn replay<T>(&self, updates: impl FnOnce() -> Result<T>) -> Result<T>;
}

impl GraphCapture for Device {
    type Graph = CudaGraph<Vec<TurnResult>>;

    fn is_available(&self) -> bool {
        !self.is_cpu()
    }

    fn rehearse<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        warm_up(self, work)
    }

    fn capture(&self, work: impl FnOnce() -> Result<Vec<TurnResult>>) -> Result<Option<Self::Graph>> {
        CudaGraph::capture(self, work)
    }
}

impl CapturedGraph for CudaGraph<Vec<TurnResult>> {
    fn results(&self) -> &[TurnResult] {
        self.captured()
    }

    fn launch(&self) -> Result<()> {
        CudaGraph::launch(self)
    }

    fn replay<T>(&self, updates: impl FnOnce() -> Result<T>) -> Result<T> {
        CudaGraph::replay(self, updates)
    }
}
