//! Schedules: how the learning rate changes over a stage.

/// A plugin that scales an optimizer's learning rate.
pub trait Schedule: Send + Sync {
    /// The factor for batch `batch` (0 is the first) of `batches`.
    fn factor(&self, batch: usize, batches: usize) -> f64;
}
