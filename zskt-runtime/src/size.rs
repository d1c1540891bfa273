//! The size of a plan's networks, counted without running anything.

use candle_core::Device;
use zskt_api::{Architecture, Builder, Form, Instance, Kind, Precision, Registry, Value};

use crate::pipeline::read;
use crate::plan::PlanNode;

/// How many numbers a node's network learns; `None` where it has no network, or not one that can be built from its
/// parameters alone.
pub fn parameters(node: &PlanNode) -> Option<usize> {
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    match &node.instance {
        Instance::Architecture(architecture) => {
            architecture.build(&builder).ok()?;
        }
        Instance::Generator(generator) => {
            generator.build(&builder).ok()?;
        }
        // What a teacher source builds, it keeps to itself; but it says which architecture.
        Instance::Teacher(_) => {
            architecture_in(&read(&node.ron, 0, 0, &mut Vec::new()).value?)?.build(&builder).ok()?;
        }
        _ => return None,
    }
    Some(builder.weights().parameter_count())
}

fn architecture_in(value: &Value) -> Option<std::sync::Arc<dyn Architecture>> {
    let Form::Named { fields, .. } = &value.form else { return None };
    let registry = Registry::get().ok()?;
    fields.iter().find_map(|(_, value)| {
        let Form::Named { name: Some(name), .. } = &value.form else { return None };
        if registry.find(&name.text)?.kind != Kind::Architecture {
            return None;
        }
        match registry.read(value, &[Kind::Architecture], &mut Vec::new())? {
            (_, (Instance::Architecture(architecture), _)) => Some(architecture),
            _ => None,
        }
    })
}
