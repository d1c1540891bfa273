//! Work on a GPU that is recorded once and replayed: the host no longer asks for each of its thousands of kernels.

use std::mem::ManuallyDrop;

use candle_core::{Device, Tensor};

use crate::cuda::{graph, graph_parameters};
use crate::error::{Error, Result};

/// Work that was recorded as a CUDA graph, and what it returned: tensors whose numbers are those of the latest replay.
///
/// What changes from replay to replay must lie in tensors that were there before, or be a constant of
/// [`update_all`](crate::ops::update::update_all): replays read these anew.
pub struct Recording<T> {
    graph: graph::Graph,
    /// The constants of all updates, `[updates, 4]`, in the order in which they were asked for.
    board: Tensor,
    updates: usize,
    /// Its memory belongs to the graph.
    recorded: ManuallyDrop<T>,
}

impl<T> Recording<T> {
    /// Records `work`, and computes nothing of it yet. `None` where the device records nothing; work that copies between host
    /// and device, or otherwise waits for the device, cannot be recorded, and fails.
    ///
    /// # Errors
    /// When the work fails, or cannot be recorded; the device is as before then.
    pub fn of(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<Option<Self>> {
        if !graph::can_record(device) {
            return Ok(None);
        }
        let board = graph_parameters::empty_board(device)?;
        let Some((graph, (recorded, constants))) = graph::record(device, || graph_parameters::on_board(&board, work))?
        else {
            return Ok(None);
        };
        let recording = Self { graph, updates: constants.len() / 4, board, recorded: ManuallyDrop::new(recorded) };
        graph_parameters::write(&recording.board, constants)?;
        Ok(Some(recording))
    }

    /// What the work returned.
    pub fn recorded(&self) -> &T {
        &self.recorded
    }

    /// Computes it with the constants that it was recorded with.
    ///
    /// # Errors
    /// When the device fails.
    pub fn launch(&self) -> Result<()> {
        self.graph.launch()
    }

    /// Computes it with the constants of the updates that `updates` asks for, of which none is made.
    ///
    /// # Errors
    /// When `updates` fails or asks for another number of updates than were recorded, or the device fails.
    pub fn replay<R>(&self, updates: impl FnOnce() -> Result<R>) -> Result<R> {
        let (listed, constants) = graph_parameters::listed(updates)?;
        if constants.len() / 4 != self.updates {
            let found = constants.len() / 4;
            return Err(Error::new(format!("{} updates were recorded, and {found} are to be replayed", self.updates)));
        }
        graph_parameters::write(&self.board, constants)?;
        self.graph.launch()?;
        Ok(listed)
    }
}

/// Does work as it will be recorded, for all that is made once to be there: the small tables that candle's kernels read.
///
/// # Errors
/// When the work fails.
pub fn rehearsed<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    graph::rehearsed(device, work)
}
