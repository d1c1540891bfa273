//! A schedule scales the learning rate by a factor that is not negative.

use std::sync::Arc;

use zskt_api::{CheckError, Schedule};

use super::boundary::Boundary;
use super::violation::end_run;

/// A schedule whose factors are looked at.
pub struct CheckedSchedule {
    boundary: Boundary,
    inner: Arc<dyn Schedule>,
}

impl CheckedSchedule {
    /// Wraps a schedule.
    pub fn new(boundary: Boundary, inner: Arc<dyn Schedule>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl Schedule for CheckedSchedule {
    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn factor(&self, batch: usize, batches: usize) -> f64 {
        let factor = self.boundary.plugin.call(|| self.inner.factor(batch, batches));
        // A negative one would climb where the turn descends.
        if !(factor.is_finite() && factor >= 0.0) {
            let did = format!("gave {factor} for batch {batch} of {batches}");
            end_run(self.boundary.violation("has to give a factor of 0 or more", did));
        }
        factor
    }
}
