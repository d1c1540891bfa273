//! The evaluation of one metric.

use zskt_api::{Error, Inputs, MetricContext, PluginInstance, Result};

use super::catch_panics::run_plugin;
use super::environment::Environment;
use crate::plan::PlanNode;
use crate::run::interrupt::Interrupted;
use crate::run::record::Console;
use crate::run::resume::MeasuredMetric;

/// Evaluates a metric on what arrives at its inputs.
///
/// # Errors
/// When the metric fails, or the user asked to stop.
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
    let context = MetricContext { build: environment.context(&node.name), interrupted: interrupted.clone() };
    Ok(run_plugin(node, || metric.evaluate(inputs, &context))?.into())
}
