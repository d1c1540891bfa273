//! The boundary that every call of a plugin passes which is a node, or the optimizer or schedule of a turn, in the check and in the run;
//! what goes wrong in a plugin among the parameters of another is told as the other's. A panic is told as that of the plugin it came from;
//! what a plugin gives is compared with what it declared; and what it must not change is compared with what it was.
//!
//! A violation is an error that ends the run and names the plugin, its node, what it declared and what it did. Where a method cannot
//! return one, it unwinds to the end of the run ([`violation`]).

mod attributed_loss;
mod attribution;
mod boundary;
mod catch_panics;
mod classifier;
mod dataset;
mod exit_guard;
mod generator;
mod inspector;
mod loss;
mod network;
mod numbers;
mod optimizer;
mod schedule;
mod shape;
#[cfg(test)]
mod tests;
mod violation;

pub use attributed_loss::AttributedLoss;
pub use attribution::PluginOfNode;
pub use boundary::Boundary;
pub use catch_panics::{CaughtUnwind, catch_panics, run_plugin};
pub use classifier::CheckedClassifier;
pub use dataset::CheckedDataset;
pub use generator::CheckedGenerator;
pub use inspector::{BuiltNetwork, Inspector};
pub use loss::CheckedLoss;
pub use network::NetworkBoundary;
pub use optimizer::CheckedOptimizer;
pub use schedule::CheckedSchedule;
pub use shape::AttributedShape;
