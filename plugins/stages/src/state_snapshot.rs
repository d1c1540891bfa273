//! A copy of all that training on a batch changes.

use std::collections::BTreeMap;

use zskt_api::candle_core::{DType, Tensor};
use zskt_api::{Result, Weights};

use crate::turn_runtime::{Networks, TurnRuntime};

/// A copy of all that training on a batch changes: weights, running statistics and the state of optimizers.
pub struct StateSnapshot {
    networks: Vec<(Weights, BTreeMap<String, Tensor>)>,
    optimizers: Vec<BTreeMap<String, Tensor>>,
}

impl StateSnapshot {
    /// Copies the state as it is now.
    pub fn take(turns: &[TurnRuntime], networks: Networks<'_>) -> Result<Self> {
        // The teacher is frozen.
        let changing = [Some(&networks.student.weights), networks.generator.map(|generator| &generator.weights)];
        let networks = changing.into_iter().flatten().map(|weights| Ok((weights.clone(), weights.snapshot()?)));
        let optimizers = turns.iter().map(TurnRuntime::state).collect::<Result<_>>()?;
        Ok(Self { networks: networks.collect::<Result<_>>()?, optimizers })
    }

    /// Whether all tensors are those of another snapshot, up to a difference relative to each tensor's largest number.
    pub fn agrees(&self, other: &Self, tolerance: f64) -> Result<bool> {
        for (own, other) in self.tensors().zip(other.tensors()) {
            let (own, other) = (own.to_dtype(DType::F64)?.flatten_all()?, other.to_dtype(DType::F64)?.flatten_all()?);
            let difference = (own - &other)?.abs()?.max(0)?.to_scalar::<f64>()?;
            // A difference that is not a number is no agreement.
            let near = difference <= tolerance * other.abs()?.max(0)?.to_scalar::<f64>()?;
            if !near {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the state what it was.
    pub fn restore(&self, turns: &mut [TurnRuntime]) -> Result<()> {
        for (weights, copies) in &self.networks {
            weights.load(copies)?;
        }
        for (turn, state) in turns.iter_mut().zip(&self.optimizers) {
            turn.restore(state)?;
        }
        Ok(())
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let networks = self.networks.iter().flat_map(|(_, copies)| copies.values());
        networks.chain(self.optimizers.iter().flat_map(BTreeMap::values))
    }
}
