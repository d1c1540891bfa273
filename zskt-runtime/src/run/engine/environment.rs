//! Where all nodes are built and run.

use candle_core::Device;
use zskt_api::{BuildContext, Precision, RandomStreams};

use crate::plan::PlanNode;
use crate::plugin_calls::{Boundary, Inspector, PluginOfNode};

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
}

impl Environment {
    /// What a node is built with.
    pub fn context(&self, node: &str) -> BuildContext {
        let Self { device, precision, streams, .. } = self;
        BuildContext { node: node.to_owned(), device: device.clone(), precision: *precision, streams: streams.clone() }
    }

    /// The boundary of a node's plugin.
    pub fn boundary(&self, node: &PlanNode) -> Boundary {
        Boundary::new(PluginOfNode::of(node), &self.inspector, &self.context(&node.name))
    }
}
