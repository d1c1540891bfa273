//! The two running averages that Adam and AdamW share.

use std::collections::BTreeMap;

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::ops::{Update, Updated, update_all};
use zskt_api::{Context, Error, Gradients, Parameter, Result, Updates};

/// How weights decay.
#[derive(Clone, Copy)]
pub enum Decay {
    /// As part of the gradient.
    Coupled(f64),
    /// Beside it.
    Decoupled(f64),
}

/// What Adam and AdamW are told.
#[derive(Clone, Copy)]
pub struct Settings {
    /// What the averages keep at each step.
    pub betas: [f64; 2],
    /// Keeps the denominator from zero.
    pub eps: f64,
    /// How weights decay.
    pub decay: Decay,
}

/// The running averages of one player's gradients.
pub struct Moments {
    settings: Settings,
    steps: u32,
    averages: BTreeMap<String, [Tensor; 2]>,
}

impl Moments {
    /// Averages at zero.
    pub fn new(settings: Settings, parameters: &[Parameter]) -> Result<Self> {
        let zeros = |parameter: &Parameter| -> Result<[Tensor; 2]> {
            let var = parameter.var();
            let zeros = || Tensor::zeros(var.shape(), var.dtype(), var.device());
            Ok([zeros()?, zeros()?])
        };
        let averages = parameters.iter().map(|parameter| Ok((parameter.name().to_owned(), zeros(parameter)?)));
        Ok(Self { settings, steps: 0, averages: averages.collect::<Result<_>>()? })
    }
}

impl Updates for Moments {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let Settings { betas: [beta1, beta2], eps: epsilon, decay } = self.settings;
        let (weight_decay, keep) = match decay {
            Decay::Coupled(decay) => (decay, 1.0),
            Decay::Decoupled(decay) => (0.0, 1.0 - learning_rate * decay),
        };
        let rate = learning_rate / (1.0 - beta1.powi(self.steps as i32));
        let root_bias = (1.0 - beta2.powi(self.steps as i32)).sqrt();
        let mut moved = Vec::new();
        for (parameter, gradient) in gradients.iter() {
            let [first, second] = self
                .averages
                .get(parameter.name())
                .ok_or_else(|| Error::new(format!("`{}` is not this optimizer's", parameter.name())))?;
            moved.push((parameter.value(), gradient, first, second));
        }
        let updated = moved.iter().map(|(b, a, target, _)| Updated { target, a, b }).collect::<Vec<_>>();
        update_all(&updated, Update::Average { decay: beta1, share: 1.0 - beta1, weight_decay })?;
        let updated = moved.iter().map(|(b, a, _, target)| Updated { target, a, b }).collect::<Vec<_>>();
        update_all(&updated, Update::AverageOfSquares { decay: beta2, weight_decay })?;
        let updated = moved.iter().map(|(target, _, a, b)| Updated { target, a, b }).collect::<Vec<_>>();
        update_all(&updated, Update::Adam { keep, rate, root_bias, epsilon })
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
                *average = restored(state, &format!("{which}.{name}"), average)?;
            }
        }
        let steps = state.get("steps").ok_or_else(|| Error::new("the optimizer's state has no `steps`"))?;
        self.steps = steps.to_dtype(DType::U32)?.to_scalar().context("steps")?;
        Ok(())
    }
}

/// The saved tensor of this name, checked against the one it replaces.
pub fn restored(state: &BTreeMap<String, Tensor>, name: &str, like: &Tensor) -> Result<Tensor> {
    let saved = state.get(name).ok_or_else(|| Error::new(format!("the optimizer's state has no `{name}`")))?;
    if saved.dims() != like.dims() || saved.dtype() != like.dtype() {
        return Err(Error::new(format!(
            "the optimizer's `{name}` has shape {:?} and not {:?}",
            saved.dims(),
            like.dims()
        )));
    }
    // A copy of its own: it is updated in place.
    Ok(saved.to_device(like.device())?.copy()?)
}
