//! An ONNX model: what it is given and gives, its operations by name, and whether it can be a teacher.

use std::collections::BTreeMap;
use std::path::Path;

use onnx_model::{Dimension, Graph, Model, Port};
use serde_json::{Value, json};
use torch_checkpoint::{ErrorKind, Format};
use zskt_api::{Diagnostic, Normalization, PluginInstance, PluginKind, Registry};

use super::Request;
use crate::pipeline::{parse_plugin, unambiguous};
use crate::text_format;

/// Whether a path is taken for an ONNX model: by its first bytes where they are those of weights, or as exporters begin a model, else by
/// what it is called, for the format has no mark of its own.
pub fn is_graph(path: &Path) -> bool {
    match Format::of(path) {
        Ok(_) => false,
        Err(ErrorKind::Graph) => true,
        Err(_) => path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")),
    }
}

/// What an ONNX model holds.
///
/// # Errors
/// When it is none.
pub fn describe(request: &Request<'_>, registry: &Registry) -> Result<String, Diagnostic> {
    let model = onnx_model::read(request.path).map_err(|error| {
        Diagnostic::global(format!("cannot read `{}`: {}", request.path.display(), error.kind)).help(error.kind.help())
    })?;
    let teacher = as_teacher(request.path, registry);
    Ok(if request.json { format!("{:#}\n", to_json(&model, &teacher)) } else { page(request.path, &model, &teacher) })
}

/// A model as a teacher: the plugin that takes it, and how its images are normalized, where that is known; or why none does.
type AsTeacher = Result<(String, Option<Normalization>), String>;

fn as_teacher(path: &Path, registry: &Registry) -> AsTeacher {
    let ron = unambiguous(&format!("Onnx(path: {:?})", path.to_string_lossy()), registry);
    let (_, parsed) = parse_plugin(&ron, PluginKind::Teacher, registry).map_err(|problem| problem.message)?;
    let PluginInstance::Teacher(teacher) = parsed.instance() else {
        return Err("`Onnx` is not a teacher source".into());
    };
    match teacher.check() {
        Ok(()) => Ok((ron, teacher.normalization())),
        Err(fault) => Err(std::iter::once(fault.message).chain(fault.help).collect::<Vec<_>>().join("\n")),
    }
}

fn page(path: &Path, model: &Model, teacher: &AsTeacher) -> String {
    let graph = &model.graph;
    let mut out = format!("{}: ONNX", path.display());
    if let Some(opset) = model.opset {
        out += &format!(", operator set {opset}");
    }
    if !model.producer.is_empty() {
        out += &format!(", by {}", onnx_model::printable(&model.producer));
    }
    out += "\n";
    for (what, ports) in [("input", &graph.inputs), ("output", &graph.outputs)] {
        for port in ports {
            out += &format!("  {what} {}\n", described(graph, port));
        }
    }
    let (nodes, numbers) = (text_format::count(graph.nodes.len()), text_format::count(numbers(graph)));
    out += &format!("  {nodes} operations, {} tensors of {numbers} numbers\n", graph.initializers.len());
    for (operation, count) in operations(graph) {
        out += &format!("    {:>5} {}\n", count, onnx_model::printable(operation));
    }
    for (name, text) in &model.metadata {
        out += &format!("  {}: {}\n", onnx_model::printable(name), onnx_model::printable(text));
    }
    out + &match teacher {
        Ok((ron, Some(normalization))) => format!("  as a teacher: {ron}, for images of {normalization}\n"),
        Ok((ron, None)) => format!(
            "  as a teacher: {ron}; how its images were normalized is not told: without `mean` and `std` datasets normalize them as they \
             say, or as is usual for them\n"
        ),
        Err(reason) => format!("  cannot be a teacher: {reason}\n"),
    }
}

fn described(graph: &Graph, port: &Port) -> String {
    let shape = port.shape.as_ref().map_or_else(String::new, |shape| {
        let sizes = shape.iter().map(|size| match size {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Free(name) => name.as_deref().map_or("any".into(), onnx_model::printable),
        });
        format!(" [{}]", sizes.collect::<Vec<_>>().join(", "))
    });
    format!("{}{shape}", onnx_model::printable(graph.name_of(port.value)))
}

fn operations(graph: &Graph) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    graph.nodes.iter().for_each(|node| *counted.entry(node.operation.as_str()).or_insert(0) += 1);
    counted
}

/// How many numbers a graph has in its tensors.
pub fn numbers(graph: &Graph) -> usize {
    graph.initializers.values().map(onnx_model::Tensor::count).sum()
}

fn to_json(model: &Model, teacher: &AsTeacher) -> Value {
    let graph = &model.graph;
    let ports = |ports: &[Port]| -> Vec<String> { ports.iter().map(|port| described(graph, port)).collect() };
    json!({
        "format": "ONNX",
        "opset": model.opset,
        "producer": model.producer,
        "inputs": ports(&graph.inputs),
        "outputs": ports(&graph.outputs),
        "operations": operations(graph),
        "tensors": graph.initializers.len(),
        "numbers": numbers(graph),
        "metadata": model.metadata,
        "teacher": teacher.as_ref().ok().map(|(ron, _)| ron),
        "not_a_teacher": teacher.as_ref().err(),
    })
}
