//! Adam (Kingma & Ba, ICLR 2015).

use zskt_api::{Optimizer, OptimizerState, Parameter, Result, above, params};

use crate::adam_state::{AdamSettings, AdamState};

params! {
    /// Adam, as PyTorch has it: weight decay, if any, is added to the gradient.
    pub struct Adam {
        /// Learning rate.
        pub lr: f64 = 1e-3 => 0.0..,
        /// What the averages of the gradient and of its square keep at each step.
        pub betas: [f64; 2] = [0.9, 0.999] => 0.0..1.0,
        /// Keeps the denominator from zero.
        pub eps: f64 = 1e-8 => above(0.0),
        /// How much of the weight counts as gradient.
        pub weight_decay: f64 = 0.0 => 0.0..,
    }
}

impl Optimizer for Adam {
    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let Self { betas, eps, weight_decay, .. } = *self;
        AdamState::start(AdamSettings { betas, eps, weight_decay, decoupled: false }, &parameters)
    }
}
