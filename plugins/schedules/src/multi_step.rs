//! Step decay.

use zskt_api::{Schedule, params};

params! {
    /// Multiplies the learning rate by `gamma` at each milestone, a share of the stage: `[0.3, 0.6, 0.8]` is PyTorch's
    /// `MultiStepLR([60, 120, 160])` over 200 epochs, and stays so when the number of epochs changes.
    pub struct MultiStep {
        /// Shares of the stage at which the learning rate changes.
        pub milestones: Vec<f64> => 0.0..=1.0,
        /// The factor at each milestone.
        pub gamma: f64 = 0.1 => 0.0..=10.0,
    }
}

impl Schedule for MultiStep {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        // Compared in whole batches, so that a milestone is not missed for a rounding error.
        let passed = self.milestones.iter().filter(|share| batch as f64 >= (*share * batches as f64).round()).count();
        self.gamma.powi(passed as i32)
    }
}
