//! Where all nodes are built and run.

use candle_core::Device;
use zskt_api::{BuildContext, Precision, PredictionCache, RandomStreams};

use crate::plan::PlanNode;
use crate::plugin_calls::{Boundary, Inspector, PluginOfNode};
use crate::run::record::computed_by::Computer;

/// Where all nodes are built and run.
#[derive(Clone)]
pub struct Environment {
    /// The device of every tensor.
    pub device: Device,
    /// What manifest and report call the device.
    pub device_name: String,
    /// The precision of every network.
    pub precision: Precision,
    /// The random streams, which all come from the pipeline's seed.
    pub streams: RandomStreams,
    /// What the wrappers of all plugins have in common.
    pub inspector: Inspector,
    /// What classifiers make of datasets.
    pub prediction_cache: PredictionCache,
}

impl Environment {
    /// What a node is built with.
    pub fn context(&self, node: &PlanNode) -> BuildContext {
        let Self { device, precision, streams, .. } = self;
        BuildContext {
            node: node.name.clone(),
            device: device.clone(),
            precision: *precision,
            streams: streams.clone(),
            normalization: node.normalization.clone(),
        }
    }

    /// On what is computed, for the manifest.
    pub fn computer(&self) -> Computer<'_> {
        Computer { device_name: &self.device_name, device: &self.device, precision: self.precision }
    }

    /// The boundary of a node's plugin.
    pub fn boundary(&self, node: &PlanNode) -> Boundary {
        let boundary = Boundary::new(PluginOfNode::of(node), &self.inspector);
        boundary.asked_for(self.precision.dtype(), &self.device)
    }
}
