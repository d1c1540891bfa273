//! The state of Adam and of AdamW, which differ in how weights decay.

use std::collections::BTreeMap;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::ops::{AdamOperands, AdamStep, apply_adam};
use zskt_api::{Context, Error, Gradients, OptimizerState, Parameter, Result};

use crate::saved_state::saved_tensor;

/// The parameters that Adam and AdamW share.
#[derive(Clone, Copy)]
pub struct AdamSettings {
    /// What the averages keep at each step.
    pub betas: [f64; 2],
    /// Keeps the denominator from zero.
    pub eps: f64,
    /// How much weights decay.
    pub weight_decay: f64,
    /// Whether weights decay beside the gradient, as in AdamW, and not as part of it.
    pub decoupled: bool,
}

/// The running averages of the gradients and of their squares.
pub struct AdamState {
    settings: AdamSettings,
    steps: u32,
    averages: BTreeMap<String, [Tensor; 2]>,
}

impl AdamState {
    /// Averages at zero.
    pub fn start(settings: AdamSettings, parameters: &[Parameter]) -> Result<Box<dyn OptimizerState>> {
        let zeros = |parameter: &Parameter| -> Result<[Tensor; 2]> {
            let var = parameter.var();
            let zeros = || Tensor::zeros(var.shape(), var.dtype(), var.device());
            Ok([zeros()?, zeros()?])
        };
        let averages = parameters.iter().map(|parameter| Ok((parameter.name().to_owned(), zeros(parameter)?)));
        Ok(Box::new(Self { settings, steps: 0, averages: averages.collect::<Result<_>>()? }))
    }
}

impl OptimizerState for AdamState {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let AdamSettings { betas, eps: epsilon, weight_decay, decoupled } = self.settings;
        let [beta1, beta2] = betas;
        let (weight_decay, keep) =
            if decoupled { (0.0, 1.0 - learning_rate * weight_decay) } else { (weight_decay, 1.0) };
        let rate = learning_rate / (1.0 - beta1.powi(self.steps as i32));
        let root_bias = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let mut moved = Vec::new();
        for (parameter, gradient) in gradients.iter() {
            let [average, average_of_squares] = self
                .averages
                .get(parameter.name())
                .ok_or_else(|| Error::new(format!("`{}` is not this optimizer's", parameter.name())))?;
            moved.push((parameter.value(), gradient, average, average_of_squares));
        }
        let operands = moved.iter().map(|(weight, gradient, average, average_of_squares)| AdamOperands {
            weight,
            gradient,
            average,
            average_of_squares,
        });
        apply_adam(&operands.collect::<Vec<_>>(), AdamStep { betas, weight_decay, keep, rate, root_bias, epsilon })
    }

    fn replays(&self) -> bool {
        true
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (name, [first, second]) in &self.averages {
            state.insert(format!("first.{name}"), first.copy()?);
            state.insert(format!("second.{name}"), second.copy()?);
        }
        state.insert("steps".into(), Tensor::new(self.steps, &Device::Cpu)?);
        Ok(state)
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, averages) in &mut self.averages {
            for (average, which) in averages.iter_mut().zip(["first", "second"]) {
                *average = saved_tensor(state, &format!("{which}.{name}"), average)?;
            }
        }
        let steps = state.get("steps").ok_or_else(|| Error::new("the optimizer's state has no `steps`"))?;
        self.steps = steps.to_dtype(DType::U32)?.to_scalar().context("steps")?;
        Ok(())
    }
}
