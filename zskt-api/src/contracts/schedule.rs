//! Schedules: how the learning rate changes over a stage.

use crate::CheckError;

/// A plugin that scales an optimizer's learning rate.
pub trait Schedule: Send + Sync {
    /// Whether its parameters go together.
    ///
    /// # Errors
    /// What does not go together; a fault of a parameter is shown where that is written.
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    /// The factor for batch `batch` (0 is the first) of `batches`: finite, and not negative, which would climb where a turn
    /// means to descend.
    fn factor(&self, batch: usize, batches: usize) -> f64;
}
