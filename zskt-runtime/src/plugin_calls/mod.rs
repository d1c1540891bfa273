//! The boundary that every call of a plugin passes, in the check and in the run, be it a node or among the parameters of another. A panic
//! is told as that of the plugin it came from; what a plugin gives is compared with what it declared; and what it must not change is
//! compared with what it was.
//!
//! A violation is an error that ends the run and names the plugin, its node, what it declared and what it did. Where a method cannot
//! return one, it unwinds to the end of the run ([`violation`]).

mod architecture;
mod attribution;
mod boundary;
mod catch_panics;
mod checked_plugin;
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
mod targets;
mod teacher;
#[cfg(test)]
mod tests;
mod violation;

pub use attribution::PluginOfNode;
pub use boundary::Boundary;
pub use catch_panics::{CaughtUnwind, catch_panics, run_named_plugin, run_plugin};
pub use checked_plugin::put_behind_boundaries;
pub use dataset::CheckedDataset;
pub use inspector::{BuiltNetwork, Inspector};
pub use optimizer::CheckedOptimizer;
pub use schedule::CheckedSchedule;
