//! Optimizers: how a gradient moves the weights.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Gradients, Parameter, Result};

/// A plugin that makes the updates of one player.
pub trait Optimizer: Send + Sync {
    /// The learning rate that a schedule scales.
    fn learning_rate(&self) -> f64;

    /// Begins to update these parameters.
    ///
    /// # Errors
    /// When the device has no room for its state.
    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Updates>>;
}

/// The running state of one optimizer.
pub trait Updates: Send {
    /// Moves every parameter that has a gradient, in place.
    ///
    /// # Errors
    /// When the device fails.
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()>;

    /// Whether [`step`](Self::step) touches tensors by [`update_all`](crate::ops::update_all) only, always in the same order,
    /// and [`restore`](Self::restore) is called before the first of them or never: then a GPU may replay steps that it has
    /// recorded, with the constants that `step` asks for each time.
    fn replays(&self) -> bool {
        false
    }

    /// Everything that a later step depends on, by name.
    ///
    /// # Errors
    /// When the device fails.
    fn state(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is another optimizer's.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}
