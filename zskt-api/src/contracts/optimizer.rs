//! Optimizers: how gradients change the weights.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{CheckError, Gradients, Parameter, Result};

/// A plugin that updates the weights of one network.
pub trait Optimizer: Send + Sync {
    /// Whether its parameters go together.
    ///
    /// # Errors
    /// What does not go together; a fault of a parameter is shown where that is written.
    fn check(&self) -> Result<(), CheckError> {
        Ok(())
    }

    /// The base learning rate, which the turn's schedule scales.
    fn learning_rate(&self) -> f64;

    /// Begins to update these parameters, with fresh state: PyTorch's constructor of an optimizer.
    fn start(&self, parameters: Vec<Parameter>) -> Result<Box<dyn OptimizerState>>;
}

/// The running state of one optimizer.
pub trait OptimizerState: Send {
    /// Changes every parameter that has a gradient, in place. `learning_rate` is the one to use in this step: the
    /// [base rate](Optimizer::learning_rate) times the schedule's factor. The gradients are clipped, if the turn clips them, and
    /// of a turn that maximizes they are those of the negated loss.
    ///
    /// # Errors
    /// When a parameter is not one of those that it was started with.
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()>;

    /// Whether a GPU may capture [`step`](Self::step) once, in a CUDA graph, and replay it. For each replay `step` is called all the
    /// same, for the constants of its updates, which are not made then. `true` is right where all of these hold:
    ///
    /// - `step` changes tensors through [`apply_updates`](crate::ops::apply_updates) and [`apply_adam`](crate::ops::apply_adam) only;
    ///   what keeps weights in another order beside them relies on it.
    /// - It makes the same updates, of the same tensors, in the same order each time; their constants may change.
    /// - It reads no tensor on the host, and what it counts there is the same for a step that is replayed.
    /// - The tensors of its state stay the same ones: only [`restore`](Self::restore) may replace them.
    ///
    /// `false` unless a plugin says otherwise, so that one that knows nothing of this is never replayed.
    fn replays(&self) -> bool {
        false
    }

    /// A copy of everything that a later step depends on, by name.
    fn state(&self) -> Result<BTreeMap<String, Tensor>>;

    /// Continues from what [`state`](Self::state) returned, perhaps in another process and on another device.
    ///
    /// # Errors
    /// When something is missing or has another shape: the state of another optimizer or network.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}
