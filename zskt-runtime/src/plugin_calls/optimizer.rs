//! An optimizer changes the parameters that it was started with, and no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use zskt_api::{CheckError, Gradients, Optimizer, OptimizerState, Parameter, Result};

use super::boundary::Boundary;
use super::inspector::Looked;
use super::violation::end_run;

/// An optimizer whose steps are watched.
pub struct CheckedOptimizer {
    boundary: Boundary,
    inner: Arc<dyn Optimizer>,
}

impl CheckedOptimizer {
    /// Wraps an optimizer.
    pub fn new(boundary: Boundary, inner: Arc<dyn Optimizer>) -> Self {
        Self { boundary, inner }
    }
}

#[warn(clippy::missing_trait_methods)]
impl Optimizer for CheckedOptimizer {
    fn check(&self) -> Result<(), CheckError> {
        self.boundary.plugin.call(|| self.inner.check())
    }

    fn learning_rate(&self) -> f64 {
        let rate = self.boundary.plugin.call(|| self.inner.learning_rate());
        if !(rate.is_finite() && rate >= 0.0) {
            end_run(self.boundary.violation("has to give a learning rate of 0 or more", format_args!("gave {rate}")));
        }
        rate
    }

    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>> {
        let boundary = match parameters.first() {
            Some(first) => self.boundary.asked_for(first.var().dtype(), first.var().device()),
            None => self.boundary.clone(),
        };
        let inner = boundary.call(|| self.inner.start(parameters.clone()))?;
        Ok(Box::new(CheckedState { boundary, inner, parameters, looked: Looked::default() }))
    }
}

/// Its state.
struct CheckedState {
    boundary: Boundary,
    inner: Box<dyn OptimizerState>,
    parameters: Vec<Parameter>,
    looked: Looked,
}

#[warn(clippy::missing_trait_methods)]
impl OptimizerState for CheckedState {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let Self { boundary, inner, parameters, looked } = self;
        boundary.call_changing(looked, parameters, || inner.step(gradients, learning_rate))
    }

    fn replays(&self) -> bool {
        self.boundary.plugin.call(|| self.inner.replays())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.boundary.call(|| self.inner.state())
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let Self { boundary, inner, .. } = self;
        boundary.call(|| inner.restore(state))
    }
}
