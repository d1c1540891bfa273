//! What is drawn of a plan, whatever the format: its nodes with what is known of them, its edges with what they carry.

use zskt_api::{ClassifierSignature, PluginInstance, PluginKind, PortType, Signature};

use crate::plan::{Plan, PlanNode};
use crate::{parameter_count, text_format};

/// What is drawn.
pub struct Picture {
    /// What is written above the picture: the pipeline's name.
    pub title: String,
    /// The nodes, in topological order.
    pub boxes: Vec<NodeBox>,
    /// The edges.
    pub arrows: Vec<Arrow>,
}

/// A node as it is drawn.
pub struct NodeBox {
    /// What the pipeline calls it.
    pub name: String,
    /// The name of its plugin.
    pub plugin: &'static str,
    /// What its plugin is.
    pub kind: PluginKind,
    /// What is known of it, a line each: shapes, classes, parameters.
    pub notes: Vec<String>,
}

/// An edge as it is drawn.
pub struct Arrow {
    /// The node it comes from, as an index into [`Picture::boxes`].
    pub from: usize,
    /// The node it leads to, as an index into [`Picture::boxes`].
    pub to: usize,
    /// The input it leads to.
    pub port: String,
    /// Whether what it brings is updated by gradients.
    pub gradient: bool,
}

impl Picture {
    /// The picture of a plan.
    pub fn of(plan: &Plan) -> Self {
        let boxes = plan.nodes.iter().enumerate().map(|(index, node)| NodeBox {
            name: node.name.clone(),
            plugin: node.registration.name,
            kind: node.registration.kind,
            notes: notes(plan, index, node),
        });
        let arrows = plan.nodes.iter().enumerate().flat_map(|(to, node)| {
            node.inputs.iter().map(move |edge| Arrow {
                from: edge.from,
                to,
                port: edge.port.clone(),
                gradient: carries_gradient(plan, to, edge.from, &edge.port),
            })
        });
        Self { title: plan.name.clone(), boxes: boxes.collect(), arrows: arrows.collect() }
    }
}

fn carries_gradient(plan: &Plan, to: usize, from: usize, port: &str) -> bool {
    let source = plan.nodes[from].registration.output;
    let is_turn = source == Some(PortType::Turn);
    let trains =
        |node: &PlanNode, port: &str| (node.registration.ports)().iter().any(|info| info.name == port && info.trains);
    let node = &plan.nodes[to];
    // Images carry gradients back to a generator that is a player of the same stage.
    let mut turns = node.inputs.iter().map(|edge| &plan.nodes[edge.from]);
    let plays = turns.any(|turn| turn.inputs.iter().any(|edge| edge.from == from && trains(turn, &edge.port)));
    is_turn || trains(node, port) || (source == Some(PortType::Generator) && plays)
}

fn notes(plan: &Plan, index: usize, node: &PlanNode) -> Vec<String> {
    let mut notes = Vec::new();
    match &node.signature {
        Some(Signature::Generator(generator)) => notes.push(format!("images {}", generator.image)),
        Some(Signature::Dataset(dataset)) => {
            notes.push(format!("{} images {}", text_format::count(dataset.images), dataset.image));
            notes.push(format!("{} classes", dataset.classes));
        }
        Some(Signature::Classifier(classifier))
            if matches!(node.instance, PluginInstance::Architecture(_) | PluginInstance::Teacher(_)) =>
        {
            notes.push(format!("{} classes", classifier.shape.classes()));
            notes.extend(activations(plan, index, classifier));
        }
        _ => {}
    }
    if let Some(count) = parameter_count::of(&node.instance) {
        notes.push(format!("{} parameters", text_format::count(count)));
    }
    notes
}

/// The activations for the images that the classifier gets where it is used.
fn activations(plan: &Plan, index: usize, classifier: &ClassifierSignature) -> Option<String> {
    let users = plan.nodes.iter().filter(|user| user.inputs.iter().any(|edge| edge.from == index));
    let image =
        users.flat_map(|user| &user.inputs).find_map(|edge| plan.nodes[edge.from].signature.as_ref()?.image())?;
    let shapes = classifier.shape.output_shape(image).ok()?.activations;
    let shapes: Vec<_> = shapes.iter().map(ToString::to_string).collect();
    (!shapes.is_empty()).then(|| shapes.join(" → "))
}
