//! The evaluation of one metric.

use std::path::PathBuf;

use zskt_api::{Context, Error, Inputs, MetricContext, MetricFiles, NodeOutput, PluginInstance, Result};

use super::environment::Environment;
use super::frozen_weights::FrozenWeights;
use crate::plan::PlanNode;
use crate::plugin_calls::{PluginOfNode, run_plugin};
use crate::run::interrupt::Interrupted;
use crate::run::record::Console;
use crate::run::resume::{MeasuredMetric, evaluation_name};

/// When a metric is evaluated, and where its files go.
pub struct MetricEvaluation<'e> {
    /// The stage whose network is measured, where one leads to the metric.
    pub stage: Option<&'e str>,
    /// Its batches that are done.
    pub batch: usize,
    /// The folder of all that the metric leaves.
    pub folder: PathBuf,
    /// Whether the user asked to stop.
    pub interrupted: &'e Interrupted,
}

impl MetricEvaluation<'_> {
    /// Evaluates a metric on what arrives at its inputs.
    ///
    /// # Errors
    /// When the metric fails or changes a network, or the user asked to stop.
    pub fn of(
        self,
        node: &PlanNode,
        inputs: Inputs,
        environment: &Environment,
        console: &mut Console,
    ) -> Result<MeasuredMetric> {
        let PluginInstance::Metric(metric) = &node.instance else {
            return Err(Error::new(format!("node `{}` is not a metric", node.name)));
        };
        console.live(&format!("{}  measuring", node.name));
        let class_names = class_names(node, &inputs);
        let context = MetricContext {
            build: environment.context(node),
            stage: self.stage.map(str::to_owned),
            batch: self.batch,
            files: MetricFiles::new(self.folder, &evaluation_name(self.stage, self.batch)),
            interrupted: self.interrupted.clone(),
            prediction_cache: environment.prediction_cache.clone(),
        };
        let (plugin, inspector) = (PluginOfNode::of(node), &environment.inspector);
        let frozen = FrozenWeights::all(plugin, inspector)?;
        // Numbers that are not finite are the metric's to count.
        let measured =
            inspector.looking_at_numbers(false, || run_plugin(plugin, || metric.evaluate(inputs, &context)))?;
        frozen.check().context(format_args!("node `{}`", node.name))?;
        Ok(MeasuredMetric::new(measured, &class_names))
    }
}

/// What the classes of the first dataset are called that arrives and knows it.
fn class_names(node: &PlanNode, inputs: &Inputs) -> Vec<String> {
    let mut inputs = inputs.clone();
    let arriving = node.inputs.iter().flat_map(|edge| inputs.take(&edge.port));
    let mut names = arriving.filter_map(|product| match product {
        NodeOutput::Dataset(dataset) => Some(dataset.class_names().to_vec()),
        _ => None,
    });
    names.find(|names| !names.is_empty()).unwrap_or_default()
}
