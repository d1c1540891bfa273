//! Turns: the updates of one network, the player, on one batch.

use std::sync::Arc;

use super::{Loss, Optimizer, Schedule, Synthesis};
use crate::{
    CheckError, ForwardMode, Inputs, Params, Player, PortInfo, Ports, Result, Signatures, TurnSignature, choice,
};

/// Which way a turn's updates move the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Down, as a student's do.
    Minimize,
    /// Up, as those of a generator that looks for disagreement do.
    Maximize,
}

/// One player's updates on one batch.
pub struct Turn {
    /// The name of the turn's node; its metrics are logged under it.
    pub name: String,
    /// The network it updates.
    pub player: Player,
    /// Which way it moves the loss.
    pub objective: Objective,
    /// Updates per batch.
    pub steps: usize,
    /// The losses, which it adds up.
    pub losses: Vec<Arc<dyn Loss>>,
    /// How a gradient moves the player.
    pub optimizer: Arc<dyn Optimizer>,
    /// How the learning rate changes; constant without one.
    pub schedule: Option<Arc<dyn Schedule>>,
    /// The largest global L2 norm that a gradient keeps.
    pub clip_norm: Option<f64>,
    /// Where the latents of its steps come from.
    pub latents: Latents,
    /// How the other player's network is run: the student while images are made, the generator while the student learns.
    pub opponent: Mode,
    /// Where the turn makes images for the others: how. Its schedule is then over the steps of a synthesis.
    pub synthesis: Option<Synthesis>,
}

impl Turn {
    /// How many draws of latents are its alone in each batch.
    pub fn fresh_draws(&self) -> usize {
        match self.latents {
            Latents::Fresh if self.synthesis.is_none() => self.steps,
            _ => 0,
        }
    }
}

choice! {
    /// Where the latents of a turn's steps come from.
    pub enum Latents {
        /// All steps, and all other turns that say so, take those of the batch.
        Shared,
        /// Each step draws its own.
        Fresh,
    }
}

choice! {
    /// Whose statistics the batch norms of a network take.
    pub enum Mode {
        /// The batch's, which move the running ones: PyTorch's `train()`.
        Train,
        /// The running ones: PyTorch's `eval()`.
        Eval,
    }
}

impl Mode {
    /// A pass in this mode through a network that does not learn.
    pub fn frozen(self) -> ForwardMode {
        match self {
            Self::Train => ForwardMode::train_frozen(),
            Self::Eval => ForwardMode::eval(),
        }
    }
}

/// A plugin that makes turns.
pub trait TurnPlugin: Params + Send + Sync + 'static {
    /// The struct of its inputs, declared with [`ports!`](crate::ports).
    type Inputs: Ports;

    /// What is wrong with its parameters, seen beside what arrives.
    fn check(&self, _inputs: &Signatures) -> Vec<CheckError> {
        Vec::new()
    }

    /// What can be known of the turn before it is built; `None` when its player or a loss is at fault.
    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature>;

    /// Makes the turn of the node called `node`.
    fn build(&self, node: &str, inputs: Self::Inputs) -> Result<Turn>;
}

/// A turn plugin whose inputs are no longer part of its type: what the graph holds.
pub trait TurnNode: Send + Sync {
    /// [`TurnPlugin::Inputs`], as the graph checks them.
    fn ports(&self) -> Vec<PortInfo>;
    /// See [`TurnPlugin::check`].
    fn check(&self, inputs: &Signatures) -> Vec<CheckError>;
    /// See [`TurnPlugin::signature`].
    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature>;
    /// See [`TurnPlugin::build`].
    ///
    /// # Errors
    /// Also when the inputs are of other types than declared, which the check before a run excludes.
    fn build(&self, node: &str, inputs: Inputs) -> Result<Turn>;
}

impl<T: TurnPlugin> TurnNode for T {
    fn ports(&self) -> Vec<PortInfo> {
        T::Inputs::ports()
    }
    fn check(&self, inputs: &Signatures) -> Vec<CheckError> {
        TurnPlugin::check(self, inputs)
    }
    fn signature(&self, inputs: &Signatures) -> Option<TurnSignature> {
        TurnPlugin::signature(self, inputs)
    }
    fn build(&self, node: &str, inputs: Inputs) -> Result<Turn> {
        TurnPlugin::build(self, node, T::Inputs::take(inputs)?)
    }
}
