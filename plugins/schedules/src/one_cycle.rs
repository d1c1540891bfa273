//! One cycle of warm-up and annealing (Smith & Topin 2018).

use std::f64::consts::PI;

use zskt_api::{Schedule, choice, params};

choice! {
    /// The way from one learning rate to the next.
    pub enum Anneal {
        /// Half a cosine.
        Cosine,
        /// A straight line.
        Linear,
    }
}

params! {
    /// Up from a share of the optimizer's learning rate to all of it, then down to next to nothing; PyTorch's
    /// `OneCycleLR` with the optimizer's learning rate as `max_lr`. It moves the learning rate only, not the momentum.
    pub struct OneCycle {
        /// The share of the stage spent on the way up.
        pub warm_up: f64 = 0.3 => 0.0..=1.0,
        /// The learning rate at its highest over the one at the start.
        pub start_divisor: f64 = 25.0 => 1.0..,
        /// The learning rate at the start over the one at the end.
        pub end_divisor: f64 = 1e4 => 1.0..,
        /// The way from one learning rate to the next.
        pub anneal: Anneal = Anneal::Cosine,
    }
}

impl Schedule for OneCycle {
    fn factor(&self, batch: usize, batches: usize) -> f64 {
        let start = 1.0 / self.start_divisor;
        let end = start / self.end_divisor;
        let peak = self.warm_up * batches as f64 - 1.0;
        let last = batches as f64 - 1.0;
        let step = batch as f64;
        if step <= peak && peak > 0.0 {
            self.between(start, 1.0, step / peak)
        } else {
            let peak = peak.max(0.0);
            self.between(1.0, end, ((step - peak) / (last - peak).max(1.0)).min(1.0))
        }
    }
}

impl OneCycle {
    fn between(&self, from: f64, to: f64, progress: f64) -> f64 {
        match self.anneal {
            Anneal::Cosine => to + (from - to) / 2.0 * (1.0 + (PI * progress).cos()),
            Anneal::Linear => from + (to - from) * progress,
        }
    }
}
