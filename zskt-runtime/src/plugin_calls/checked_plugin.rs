//! A node's plugin and those among its parameters, each put behind a boundary of its own.

use std::sync::Arc;

use zskt_api::{NestedPlugin, ParsedPlugin, PluginInstance};

use super::architecture::CheckedArchitecture;
use super::attribution::PluginOfNode;
use super::boundary::Boundary;
use super::dataset::CheckedDatasetSource;
use super::generator::CheckedGeneratorArchitecture;
use super::inspector::Inspector;
use super::loss::CheckedLoss;
use super::optimizer::CheckedOptimizer;
use super::schedule::CheckedSchedule;
use super::targets::CheckedTargets;
use super::teacher::CheckedTeacherSource;

/// Puts a node's plugin, and all among its parameters, behind boundaries, before any of them is called.
pub fn put_behind_boundaries(plugin: PluginOfNode, parsed: &ParsedPlugin, inspector: &Inspector) {
    let put = |parsed: &ParsedPlugin, plugin| parsed.put_before(|instance| checked(instance, plugin, inspector));
    put(parsed, plugin);
    for NestedPlugin { parameter, registration, parsed } in parsed.all_nested() {
        put(&parsed, plugin.nested(registration, &parameter));
    }
}

fn checked(instance: &PluginInstance, plugin: PluginOfNode, inspector: &Inspector) -> PluginInstance {
    use PluginInstance::{
        Architecture, Dataset, Generator, Loss, Metric, Optimizer, Schedule, Stage, Targets, Teacher, Turn,
    };
    let boundary = Boundary::new(plugin, inspector);
    match instance.clone() {
        Architecture(inner) => Architecture(Arc::new(CheckedArchitecture::new(boundary, inner))),
        Generator(inner) => Generator(Arc::new(CheckedGeneratorArchitecture::new(boundary, inner))),
        Teacher(inner) => Teacher(Arc::new(CheckedTeacherSource::new(boundary, inner))),
        Dataset(inner) => Dataset(Arc::new(CheckedDatasetSource::new(boundary, inner))),
        Loss(inner) => Loss(Arc::new(CheckedLoss::new(boundary, inner))),
        Optimizer(inner) => Optimizer(Arc::new(CheckedOptimizer::new(boundary, inner))),
        Schedule(inner) => Schedule(Arc::new(CheckedSchedule::new(boundary, inner))),
        Targets(inner) => Targets(Arc::new(CheckedTargets::new(boundary, inner))),
        // Only nodes are these, and whoever runs a node says which it is.
        other @ (Turn(_) | Stage(_) | Metric(_)) => other,
    }
}
