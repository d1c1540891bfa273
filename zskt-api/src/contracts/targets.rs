//! Class targets: which classes made images are to show.

use crate::{CheckError, StreamRng};

/// A plugin that chooses the class of each image that a stage has made.
pub trait ClassTargets: Send + Sync {
    /// Whether its parameters go together.
    ///
    /// # Errors
    /// What does not go together; a fault of a parameter is shown where that is written.
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    /// The classes of `count` images, in their order, each below `classes`.
    fn draw(&self, count: usize, classes: usize, rng: &mut StreamRng) -> Vec<u32>;
}
