//! Cosine annealing (Loshchilov & Hutter 2017), without restarts.

use std::f64::consts::PI;

use zskt_api::{Schedule, params};

params! {
    /// From the optimizer's learning rate down to a share of it along half a cosine, over the whole stage; PyTorch's
    /// `CosineAnnealingLR` with `T_max` the number of batches.
    pub struct Cosine {
        /// The share of the learning rate that is left at the end.
        pub floor: f64 = 0.0 => 0.0..=1.0,
    }
}

impl Schedule for Cosine {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        let progress = batch as f64 / batches.max(1) as f64;
        self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (PI * progress).cos())
    }
}
