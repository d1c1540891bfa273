//! What a stage gives is what it declared: the very network that it was given to train.

use std::sync::Arc;

use zskt_api::{Error, NodeOutput, PortType, Result, Signature};

use super::environment::Environment;
use super::node_outputs::{NodeOutputs, network};
use crate::plan::PlanNode;
use crate::plugin_calls::{CheckedDataset, PluginOfNode};

/// What a stage gave, compared with what it declared; a dataset of its own goes on to be compared.
///
/// # Errors
/// When it is something else.
pub fn checked(
    node: &PlanNode,
    output: NodeOutput,
    outputs: &NodeOutputs<'_>,
    environment: &Environment,
) -> Result<NodeOutput> {
    check(node, &output, outputs)?;
    Ok(match (output, &node.signature) {
        (NodeOutput::Dataset(made), Some(Signature::Dataset(declared))) => {
            NodeOutput::Dataset(Arc::new(CheckedDataset::new(environment.boundary(node), made, Some(declared))?))
        }
        (output, _) => output,
    })
}

fn check(node: &PlanNode, output: &NodeOutput, outputs: &NodeOutputs<'_>) -> Result<()> {
    let plugin = PluginOfNode::of(node);
    let (declared, found) = (node.registration.output, port_type(output));
    if let Some(declared) = declared.filter(|declared| *declared != found) {
        return Err(Error::new(format!("{plugin} declares that it gives a {declared}, but gave a {found}")));
    }
    let Some(expected) = node.signature.as_ref().and_then(Signature::network) else { return Ok(()) };
    let Some((name, _)) = network(output) else { return Ok(()) };
    let same = match (outputs.of_network(expected), output) {
        (Some(NodeOutput::Classifier(built)), NodeOutput::Classifier(given)) => Arc::ptr_eq(built, given),
        (Some(NodeOutput::Generator(built)), NodeOutput::Generator(given)) => Arc::ptr_eq(built, given),
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
