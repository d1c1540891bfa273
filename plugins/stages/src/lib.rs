//! Stages, and the turns they are made of.
//!
//! There is one training loop, in which turns update a network each on every batch. Adversarial belief matching,
//! distillation on real images and supervised training differ in which networks are updated and by which losses.

mod batch_metrics;
mod batch_sampler;
mod check;
mod cuda_graph_runner;
mod intervals;
mod state_snapshot;
mod train;
mod training_length;
mod training_loop;
mod training_options;
mod transfer;
mod turn_plugins;
mod turn_runtime;

pub use train::{Train, TrainInputs};
pub use transfer::{Transfer, TransferInputs};
pub use turn_plugins::{Maximize, Minimize, TurnInputs};

zskt_api::export! { stage: Transfer, Train; turn: Maximize, Minimize }
