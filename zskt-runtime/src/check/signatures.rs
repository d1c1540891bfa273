//! Signatures: what flows along each edge, proven to fit before anything is built. Whether shapes and classes fit, the plugins say
//! (`Stage::check`, `Metric::check`; by default `Signatures::check_compatible`).

use zskt_api::{
    Architecture, CheckError, ClassifierSignature, Diagnostic, GeneratorSignature, Name, PluginInstance, Signature,
    Signatures, Span, Value, ValueKind,
};

use super::graph::{Link, PipelineGraph};
use crate::plugin_calls::PluginOfNode;

/// Works out every node's signature in topological order, and reports what does not fit.
pub fn propagate(graph: &mut PipelineGraph<'_>, order: &[usize], skip_files: bool, problems: &mut Vec<Diagnostic>) {
    for node in order {
        let inputs = arriving(graph, *node);
        let mut faults = Vec::new();
        let work = || signature(graph, *node, &inputs, skip_files, &mut faults);
        let signature = match graph.nodes[*node].registration {
            Some(plugin) => PluginOfNode::new(plugin, graph.name(*node)).call(work),
            None => None,
        };
        for fault in faults {
            if let Some(link) = link_at_fault(graph, *node, &fault) {
                graph.links[link].is_refused = true;
            }
            problems.push(to_problem(graph, *node, fault));
        }
        graph.nodes[*node].signature = signature;
    }
}

fn arriving(graph: &PipelineGraph<'_>, node: usize) -> Signatures {
    let mut inputs = Signatures::default();
    for link in graph.into(node) {
        let given = link.from.and_then(|from| graph.nodes[from].signature.clone());
        inputs.push(graph.port(link).name, given);
    }
    inputs
}

fn signature(
    graph: &PipelineGraph<'_>,
    node: usize,
    inputs: &Signatures,
    skip_files: bool,
    faults: &mut Vec<CheckError>,
) -> Option<Signature> {
    let network = || graph.name(node).to_owned();
    match graph.nodes[node].instance()? {
        PluginInstance::Architecture(architecture) => {
            architecture.check().map_err(|fault| faults.push(fault)).ok()?;
            Some(Signature::Classifier(ClassifierSignature {
                shape: architecture.clone(),
                network: network(),
                images: None,
            }))
        }
        PluginInstance::Generator(generator) => {
            let image = generator.image().map_err(|fault| faults.push(fault)).ok()?;
            Some(Signature::Generator(GeneratorSignature { image, network: network() }))
        }
        PluginInstance::Teacher(teacher) => {
            let architecture = teacher.architecture().map_or(Ok(()), Architecture::check);
            architecture.map_err(|fault| faults.push(fault)).ok()?;
            if !skip_files {
                faults.extend(teacher.check().err());
            }
            Some(Signature::Classifier(ClassifierSignature {
                shape: teacher.clone(),
                network: network(),
                images: None,
            }))
        }
        PluginInstance::Dataset(_) if skip_files => None,
        PluginInstance::Dataset(dataset) => {
            dataset.describe().map(Signature::Dataset).map_err(|fault| faults.push(fault)).ok()
        }
        PluginInstance::Loss(loss) => Some(Signature::Loss(loss.clone())),
        PluginInstance::Turn(turn) => turn.signature(inputs).map(Signature::Turn),
        PluginInstance::Stage(stage) => {
            faults.extend(stage.check(inputs));
            stage.output(inputs)
        }
        PluginInstance::Metric(metric) => {
            faults.extend(metric.check(inputs));
            None
        }
        PluginInstance::Optimizer(_) | PluginInstance::Schedule(_) => None,
    }
}

/// The edge that brings what a plugin found wrong, as an index into the graph's.
fn link_at_fault(graph: &PipelineGraph<'_>, node: usize, fault: &CheckError) -> Option<usize> {
    let port = fault.port.as_ref().filter(|_| fault.parameter.is_none())?;
    let arrives = |link: &Link<'_>| link.to == node && graph.port(link).name == *port;
    (0..graph.links.len()).filter(|link| arrives(&graph.links[*link])).nth(fault.index)
}

/// Shows what a plugin found wrong where the pipeline says it.
fn to_problem(graph: &PipelineGraph<'_>, node: usize, fault: CheckError) -> Diagnostic {
    let plugin = &graph.nodes[node];
    let mut problem = Diagnostic::at(head(plugin.value), format!("`{}`: {}", plugin.name.text, fault.message));
    if let Some(parameter) = &fault.parameter {
        let name = parameter.rsplit('.').next().unwrap_or(parameter);
        match parameter_span(plugin.value, parameter) {
            Some(span) => {
                problem =
                    Diagnostic { span: Some(span), ..problem }.label(format!("`{name}` of `{}`", plugin.name.text));
            }
            None => problem = problem.label(format!("`{parameter}` is not set; default used")),
        }
    } else if let Some(port) = &fault.port {
        if let Some(link) = link_at_fault(graph, node, &fault).map(|link| &graph.links[link]) {
            problem = Diagnostic { span: Some(link.edge.span), ..problem }
                .label(format!("output of `{}`", link.edge.from.text));
            if let Some(from) = link.from {
                problem = problem.related(head(graph.nodes[from].value), format!("`{}`", graph.name(from)));
            }
        } else {
            problem = problem.label(format!("its input `{port}`"));
        }
    }
    match fault.help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// The place of a plugin's name; of the whole value where it has none.
pub fn head(value: &Value) -> Span {
    match &value.kind {
        ValueKind::Named { name: Some(name), .. } => name.span,
        _ => value.span,
    }
}

/// The place of a parameter's value: `depth`, or `model.depth` for one of a plugin within.
fn parameter_span(value: &Value, path: &str) -> Option<Span> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let ValueKind::Named { name, fields, items } = &value.kind else { return None };
    if let ([inner], Some(Name { text, .. })) = (items.as_slice(), name)
        && text == "Some"
    {
        return parameter_span(inner, path);
    }
    match fields.iter().find(|(field, _)| field.text == first) {
        // What is not written within is a default of what is written: that is as near as it gets.
        Some((_, value)) => Some(rest.and_then(|rest| parameter_span(value, rest)).unwrap_or(value.span)),
        // A plugin within may not know that it is within.
        None => fields.iter().find_map(|(_, value)| parameter_span(value, path)),
    }
}
