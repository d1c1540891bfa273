//! How many numbers the networks of a plan learn, counted without running anything.

use candle_core::Device;
use zskt_api::{Builder, Instance, Precision};

use crate::plan::PlanNode;

/// The parameters of a node's network; `None` where it has no network, or not one that can be built from the node's
/// parameters alone.
pub fn of(node: &PlanNode) -> Option<usize> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    match &node.instance {
        Instance::Architecture(architecture) => {
            architecture.build(&builder).ok()?;
        }
        Instance::Generator(generator) => {
            generator.build(&builder).ok()?;
        }
        Instance::Teacher(teacher) => {
            teacher.architecture()?.build(&builder).ok()?;
        }
        _ => return None,
    }
    Some(builder.weights().parameter_count())
}
