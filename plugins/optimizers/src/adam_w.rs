//! Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019).

use zskt_api::{Optimizer, OptimizerState, Parameter, Result, above, params};

use crate::adam_state::{AdamSettings, AdamState};

params! {
    /// Adam with decoupled weight decay, as PyTorch has it: each step first shrinks the weight by lr·weight_decay.
    pub struct AdamW {
        /// Learning rate.
        pub lr: f64 = 1e-3 => 0.0..,
        /// What the averages of the gradient and of its square keep at each step.
        pub betas: [f64; 2] = [0.9, 0.999] => 0.0..1.0,
        /// Keeps the denominator from zero.
        pub eps: f64 = 1e-8 => above(0.0),
        /// Share of the weight, times the learning rate, that each step takes away.
        pub weight_decay: f64 = 0.01 => 0.0..,
    }
}

impl Optimizer for AdamW {
    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let Self { betas, eps, weight_decay, .. } = *self;
        AdamState::start(AdamSettings { betas, eps, weight_decay, decoupled: true }, &parameters)
    }
}
