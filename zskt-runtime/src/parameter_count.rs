//! How many numbers the networks of a plan learn, counted without running anything.

use candle_core::Device;
use zskt_api::{Builder, PluginInstance, Precision};

use crate::plan::PlanNode;

/// The parameters of a node's network; `None` where it has no network, or not one that can be built from the node's
/// parameters alone.
pub fn of(node: &PlanNode) -> Option<usize> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    match &node.instance {
        PluginInstance::Architecture(architecture) => {
            architecture.build(&builder).ok()?;
        }
        PluginInstance::Generator(generator) => {
            generator.build(&builder).ok()?;
        }
        PluginInstance::Teacher(teacher) => {
            teacher.architecture()?.build(&builder).ok()?;
        }
        _ => return None,
    }
    Some(builder.weights().parameter_count())
}
