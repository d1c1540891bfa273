//! Metrics: what is measured, on real images.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::BuildContext;
use crate::{Fault, Inputs, Params, PortInfo, Ports, Result, Signatures};

/// What a metric found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Its figures by name, shares as fractions; they stand in `report.json` under the node's name.
    pub figures: Map<String, Value>,
    /// One line for a person.
    pub summary: String,
}

impl Measurement {
    /// No figures yet.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { figures: Map::new(), summary: summary.into() }
    }

    /// Adds a figure.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }
}

/// Where a metric is evaluated.
pub struct MetricContext {
    /// The node, device, precision and streams.
    pub build: BuildContext,
    /// Set when the user asked to stop; a long evaluation looks at it between batches.
    pub interrupted: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// A plugin that measures.
pub trait Metric: Params + Send + Sync + 'static {
    /// Its inputs.
    type Inputs: Ports;

    /// What is wrong with what arrives; by default, classifiers must take the images and all class counts must agree.
    fn check(&self, inputs: &Signatures) -> Vec<Fault> {
        inputs.agree(&Self::Inputs::ports())
    }

    /// Whether it is cheap enough to be evaluated again and again while a stage trains, not only at its end.
    fn during_stages(&self) -> bool {
        true
    }

    /// Measures.
    ///
    /// # Errors
    /// When the device fails or the user asked to stop.
    fn evaluate(&self, inputs: &Self::Inputs, context: &MetricContext) -> Result<Measurement>;
}

/// A metric whose inputs are no longer part of its type: what the graph holds.
pub trait MetricNode: Send + Sync {
    /// Its inputs.
    fn ports(&self) -> Vec<PortInfo>;
    /// What is wrong with what arrives.
    fn check(&self, inputs: &Signatures) -> Vec<Fault>;
    /// Whether it is evaluated while a stage trains.
    fn during_stages(&self) -> bool;
    /// Measures.
    ///
    /// # Errors
    /// When the device fails or the user asked to stop.
    fn evaluate(&self, inputs: Inputs, context: &MetricContext) -> Result<Measurement>;
}

impl<T: Metric> MetricNode for T {
    fn ports(&self) -> Vec<PortInfo> {
        T::Inputs::ports()
    }
    fn check(&self, inputs: &Signatures) -> Vec<Fault> {
        Metric::check(self, inputs)
    }
    fn during_stages(&self) -> bool {
        Metric::during_stages(self)
    }
    fn evaluate(&self, inputs: Inputs, context: &MetricContext) -> Result<Measurement> {
        Metric::evaluate(self, &T::Inputs::take(inputs)?, context)
    }
}
