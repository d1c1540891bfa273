//! The evaluation of one metric.

use zskt_api::{Context, Error, Inputs, MetricContext, PluginInstance, Result};

use super::environment::Environment;
use super::frozen_weights::FrozenWeights;
use crate::plan::PlanNode;
use crate::plugin_calls::{PluginOfNode, run_plugin};
use crate::run::interrupt::Interrupted;
use crate::run::record::Console;
use crate::run::resume::MeasuredMetric;

/// Evaluates a metric on what arrives at its inputs.
///
/// # Errors
/// When the metric fails or changes a network, or the user asked to stop.
pub fn evaluate(
    node: &PlanNode,
    inputs: Inputs,
    environment: &Environment,
    interrupted: &Interrupted,
    console: &mut Console,
) -> Result<MeasuredMetric> {
    let PluginInstance::Metric(metric) = &node.instance else {
        return Err(Error::new(format!("node `{}` is not a metric", node.name)));
    };
    console.live(&format!("{}  measuring", node.name));
    let context = MetricContext { build: environment.context(node), interrupted: interrupted.clone() };
    let (plugin, inspector) = (PluginOfNode::of(node), &environment.inspector);
    let frozen = FrozenWeights::all(plugin, inspector)?;
    // Numbers that are not finite are the metric's to count.
    let measured = inspector.looking_at_numbers(false, || run_plugin(plugin, || metric.evaluate(inputs, &context)))?;
    frozen.check().context(format_args!("node `{}`", node.name))?;
    Ok(measured.into())
}
