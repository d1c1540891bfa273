//! Lion.

use std::collections::BTreeMap;

use zskt_api::candle_core::Tensor;
use zskt_api::ops::{UpdateOperands, UpdateRule, apply_updates};
use zskt_api::{Error, Gradients, Optimizer, OptimizerState, Parameter, Result, params};

params! {
    /// Lion (Chen et al., NeurIPS 2023): every weight moves by the learning rate, in the direction of the sign of an average of
    /// gradients. Learning rates are a tenth of Adam's.
    pub struct ExampleOptimizer {
        /// Learning rate.
        pub lr: f64 = 1e-4 => 0.0..,
        /// What the direction of a step keeps of earlier gradients.
        pub beta1: f64 = 0.9 => 0.0..=1.0,
        /// What the average of gradients keeps.
        pub beta2: f64 = 0.99 => 0.0..=1.0,
        /// How much of itself a weight loses at each step, times the learning rate.
        pub weight_decay: f64 = 0.0 => 0.0..,
    }
}

impl Optimizer for ExampleOptimizer {
    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let average = |parameter: &Parameter| {
            Ok((parameter.name().to_owned(), parameter.value().zeros_like()?))
        };
        let averages = parameters.iter().map(average).collect::<Result<_>>()?;
        Ok(Box::new(Averages {
            rule: self.clone(),
            averages,
        }))
    }
}

/// The averages of gradients, by the names of their weights.
struct Averages {
    rule: ExampleOptimizer,
    averages: BTreeMap<String, Tensor>,
}

impl OptimizerState for Averages {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let ExampleOptimizer {
            beta1,
            beta2,
            weight_decay,
            ..
        } = self.rule;
        let keep = 1.0 - learning_rate * weight_decay;
        for (parameter, gradient) in gradients.iter() {
            let missing = || Error::new(format!("`{}` is not this optimizer's", parameter.name()));
            let average = self.averages.get(parameter.name()).ok_or_else(missing)?;
            let direction = ((average * beta1)? + (gradient * (1.0 - beta1))?)?.sign()?;
            let weight = parameter.value();
            apply_updates(
                &[UpdateOperands {
                    target: &weight,
                    a: &direction,
                    b: &direction,
                }],
                UpdateRule::Step {
                    keep,
                    x: -learning_rate,
                    y: 0.0,
                },
            )?;
            apply_updates(
                &[UpdateOperands {
                    target: average,
                    a: gradient,
                    b: &weight,
                }],
                UpdateRule::Average {
                    decay: beta2,
                    share: 1.0 - beta2,
                    weight_decay: 0.0,
                },
            )?;
        }
        Ok(())
    }

    // Tensors change through `apply_updates` alone, and their state is the same tensors: a GPU may replay it.
    fn replays(&self) -> bool {
        true
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        // Copies: the averages are updated in place.
        self.averages
            .iter()
            .map(|(name, average)| Ok((name.clone(), average.copy()?)))
            .collect()
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, average) in &mut self.averages {
            let missing =
                || Error::new(format!("the optimizer's state has no average of `{name}`"));
            let saved = state.get(name).ok_or_else(missing)?;
            if saved.dims() != average.dims() {
                return Err(Error::new(format!(
                    "the average of `{name}` has shape {:?}",
                    saved.dims()
                )));
            }
            *average = saved.to_device(average.device())?.copy()?;
        }
        Ok(())
    }
}

zskt_api::export! { reads: none; optimizer: ExampleOptimizer }

#[cfg(test)]
mod tests {
    use zskt_api::candle_core::{Device, Tensor};
    use zskt_api::testing::conforms;
    use zskt_api::{Builder, Gradients, Init, Optimizer, Precision, Result};

    use super::ExampleOptimizer;

    #[test]
    fn it_keeps_its_contract() -> Result<()> {
        conforms("ExampleOptimizer(lr: 0.01, weight_decay: 0.1)")
    }

    #[test]
    fn its_steps_are_those_computed_by_hand() -> Result<()> {
        let builder = Builder::zeros(Precision::F64, &Device::Cpu);
        let weight = builder.parameter("weight", &[2], Init::Constant(1.0))?;
        let rule = ExampleOptimizer {
            lr: 0.1,
            beta1: 0.5,
            beta2: 0.75,
            weight_decay: 0.0,
        };
        let mut updates = rule.start(vec![weight.clone()])?;
        // The averages are 1 and -1 after the first gradient; the second one is smaller than the one, and larger than the other.
        for gradient in [[4.0, -4.0], [-0.5, 2.0]] {
            let gradient = Tensor::new(&gradient, &Device::Cpu)?;
            updates.step(
                &Gradients::from_entries(vec![(weight.clone(), gradient)]),
                rule.lr,
            )?;
        }
        let found = weight.value().to_vec1::<f64>()?;
        assert!(
            (found[0] - 0.8).abs() < 1e-12 && (found[1] - 1.0).abs() < 1e-12,
            "{found:?}"
        );
        Ok(())
    }
}
