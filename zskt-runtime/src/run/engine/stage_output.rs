//! What a stage gives is what it declared: the very network that it was given to train.

use zskt_api::{Error, NodeOutput, PortType, Result, Signature};

use super::node_outputs::{NodeOutputs, network};
use crate::plan::PlanNode;
use crate::plugin_calls::PluginOfNode;

/// Compares what a stage gave with what it declared.
///
/// # Errors
/// When it is something else.
pub fn check(node: &PlanNode, output: &NodeOutput, outputs: &NodeOutputs<'_>) -> Result<()> {
    let plugin = PluginOfNode::of(node);
    let (declared, found) = (node.registration.output, port_type(output));
    if let Some(declared) = declared.filter(|declared| *declared != found) {
        return Err(Error::new(format!("{plugin} declares that it gives a {declared}, but gave a {found}")));
    }
    let Some(expected) = node.signature.as_ref().and_then(Signature::network) else { return Ok(()) };
    let Some((name, _)) = network(output) else { return Ok(()) };
    let same = match (outputs.of_network(expected), output) {
        (Some(NodeOutput::Classifier(built)), NodeOutput::Classifier(given)) => std::sync::Arc::ptr_eq(built, given),
        (Some(NodeOutput::Generator(built)), NodeOutput::Generator(given)) => std::sync::Arc::ptr_eq(built, given),
        // A network of the stage's own making.
        (None, _) => name == expected,
        _ => false,
    };
    if same {
        return Ok(());
    }
    let given = if name == expected { "another network of that name".to_owned() } else { format!("`{name}`") };
    Err(Error::new(format!("{plugin} declares that it gives the network `{expected}`, but gave {given}")))
}

fn port_type(output: &NodeOutput) -> PortType {
    match output {
        NodeOutput::Classifier(_) => PortType::Classifier,
        NodeOutput::Generator(_) => PortType::Generator,
        NodeOutput::Dataset(_) => PortType::Dataset,
        NodeOutput::Loss(_) => PortType::Loss,
        NodeOutput::Turn(_) => PortType::Turn,
    }
}
