//! Work on a GPU that is captured once and replayed: the host no longer asks for each of its thousands of kernels.

use std::mem::ManuallyDrop;

use candle_core::{Device, Tensor};

use crate::cuda::{graph, graph_parameters};
use crate::error::{Error, Result};
use crate::flop;

/// Work that was captured as a CUDA graph, and what it returned: tensors whose numbers are those of the latest replay.
///
/// What changes from replay to replay must lie in tensors that were there before, or be a parameter of
/// [`apply_updates`](crate::ops::apply_updates) or [`apply_adam`](crate::ops::apply_adam): replays read these anew.
pub struct CudaGraph<T> {
    graph: graph::Graph,
    /// The parameters of all updates, `[rows, 4]`, in the order in which they were asked for.
    buffer: Tensor,
    rows: usize,
    /// Its memory belongs to the graph.
    captured: ManuallyDrop<T>,
}

impl<T> CudaGraph<T> {
    /// Captures `work`, and computes nothing of it yet. `None` where the device captures nothing; work that copies between host
    /// and device, or otherwise waits for the device, cannot be captured, and fails.
    ///
    /// # Errors
    /// When the work fails, or cannot be captured; the device is as before then.
    pub fn capture(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<Option<Self>> {
        if !graph::can_capture(device) {
            return Ok(None);
        }
        let buffer = graph_parameters::new_parameter_buffer(device)?;
        let Some((graph, (captured, parameters))) =
            graph::capture(device, || graph_parameters::with_parameter_buffer(&buffer, work))?
        else {
            return Ok(None);
        };
        let graph = Self { graph, rows: parameters.len() / 4, buffer, captured: ManuallyDrop::new(captured) };
        graph_parameters::write_parameters(&graph.buffer, parameters)?;
        Ok(Some(graph))
    }

    /// What the work returned.
    pub fn captured(&self) -> &T {
        &self.captured
    }

    /// Computes it with the parameters that it was captured with, for a trial: what it computes is not counted.
    ///
    /// # Errors
    /// When the device fails.
    pub fn launch(&self) -> Result<()> {
        flop::uncounted(|| self.graph.launch()).0
    }

    /// Computes it with the parameters of the updates that `updates` asks for, of which none is made.
    ///
    /// # Errors
    /// When `updates` fails or asks for another number of updates than were captured, or the device fails.
    pub fn replay<R>(&self, updates: impl FnOnce() -> Result<R>) -> Result<R> {
        let (asked, parameters) = graph_parameters::collect_parameters(updates)?;
        let (found, captured) = (parameters.len() / 4, self.rows);
        if found != captured {
            let message =
                format!("the captured updates have {captured} rows of parameters, those to be replayed {found}");
            return Err(Error::new(message));
        }
        graph_parameters::write_parameters(&self.buffer, parameters)?;
        self.graph.launch()?;
        Ok(asked)
    }
}

/// Does work as it will be captured, for all that is made once to be there: the small tables that candle's kernels read.
///
/// # Errors
/// When the work fails.
pub fn warm_up<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    graph::warm_up(device, work)
}
