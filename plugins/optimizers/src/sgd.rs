//! Stochastic gradient descent.

use std::collections::BTreeMap;

use zskt_api::candle_core::Tensor;
use zskt_api::ops::{UpdateOperands, UpdateRule, apply_updates};
use zskt_api::{Error, Gradients, Optimizer, OptimizerState, Parameter, Result, params};

use crate::saved_state::saved_tensor;

params! {
    /// Stochastic gradient descent with momentum, as PyTorch has it (no dampening).
    pub struct Sgd {
        /// Learning rate.
        pub lr: f64 = 0.1 => 0.0..,
        /// What is kept of earlier gradients at each step.
        pub momentum: f64 = 0.0 => 0.0..=1.0,
        /// Whether to look ahead along the momentum (Nesterov).
        pub nesterov: bool = false,
        /// How much of the weight counts as gradient.
        pub weight_decay: f64 = 0.0 => 0.0..,
    }
}

impl Optimizer for Sgd {
    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let mut velocities = BTreeMap::new();
        if self.momentum > 0.0 {
            for parameter in parameters {
                let var = parameter.var();
                let velocity = Tensor::zeros(var.shape(), var.dtype(), var.device())?;
                velocities.insert(parameter.name().to_owned(), velocity);
            }
        }
        Ok(Box::new(Descent { sgd: self.clone(), velocities }))
    }
}

struct Descent {
    sgd: Sgd,
    velocities: BTreeMap<String, Tensor>,
}

impl OptimizerState for Descent {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let Sgd { momentum, nesterov, weight_decay, .. } = self.sgd;
        let keep = 1.0 - learning_rate * weight_decay;
        let weights: Vec<_> = gradients.iter().map(|(parameter, gradient)| (parameter.value(), gradient)).collect();
        let weights_and = weights.iter().map(|(weight, gradient)| (weight, *gradient));
        if momentum == 0.0 {
            let moved: Vec<_> = weights_and.map(|(target, a)| UpdateOperands { target, a, b: a }).collect();
            return apply_updates(&moved, UpdateRule::Step { keep, x: -learning_rate, y: 0.0 });
        }
        let velocity = |(parameter, _): (&Parameter, _)| {
            let missing = || Error::new(format!("`{}` is not this optimizer's", parameter.name()));
            self.velocities.get(parameter.name()).ok_or_else(missing)
        };
        let velocities = gradients.iter().map(velocity).collect::<Result<Vec<_>>>()?;
        let with_velocities = weights_and.zip(velocities);
        let averaged = with_velocities.clone().map(|((b, a), target)| UpdateOperands { target, a, b });
        apply_updates(
            &averaged.collect::<Vec<_>>(),
            UpdateRule::Average { decay: momentum, share: 1.0, weight_decay },
        )?;
        let moved: Vec<_> = with_velocities.map(|((target, a), b)| UpdateOperands { target, a, b }).collect();
        let step = if nesterov {
            UpdateRule::Step { keep, x: -learning_rate, y: -learning_rate * momentum }
        } else {
            UpdateRule::Step { keep: 1.0, x: 0.0, y: -learning_rate }
        };
        apply_updates(&moved, step)
    }

    fn replays(&self) -> bool {
        true
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.velocities.iter().map(|(name, velocity)| Ok((format!("velocity.{name}"), velocity.copy()?))).collect()
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, velocity) in &mut self.velocities {
            *velocity = saved_tensor(state, &format!("velocity.{name}"), velocity)?;
        }
        Ok(())
    }
}
