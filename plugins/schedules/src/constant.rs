//! The learning rate as it is.

use zskt_api::{Schedule, params};

params! {
    /// Leaves the learning rate as it is.
    pub struct Constant {}
}

impl Schedule for Constant {
    fn factor(&self, _batch: usize, _batches: usize) -> f64 {
        1.0
    }
}
