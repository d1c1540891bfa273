//! Signatures: what flows along each edge, proven to fit before anything is built. Whether shapes and classes fit, the plugins say
//! (`Stage::check`, `Metric::check`; by default `Signatures::check_compatible`).

use zskt_api::{
    CheckError, ClassifierSignature, Diagnostic, GeneratorSignature, Name, NestedPlugin, ParsedPlugin, PluginInstance,
    Severity, Signature, Signatures, Span, Value, ValueKind,
};

use super::buildable::Buildable;
use super::graph::PipelineGraph;
use super::misread_path;
use crate::plugin_calls::PluginOfNode;

/// Works out every node's signature in topological order, and reports what does not fit.
pub fn propagate(graph: &mut PipelineGraph<'_>, order: &[usize], skip_files: bool, problems: &mut Vec<Diagnostic>) {
    let networks = Buildable::new(skip_files);
    for node in order {
        let inputs = arriving(graph, *node);
        let mut faults = Vec::new();
        let work = || signature(graph, *node, &inputs, skip_files, &networks, &mut faults);
        let signature = match graph.nodes[*node].registration {
            Some(plugin) => PluginOfNode::new(plugin, graph.name(*node)).call(work),
            None => None,
        };
        for fault in faults {
            if fault.severity == Severity::Error
                && let Some(link) = link_at_fault(graph, *node, &fault)
            {
                graph.links[link].is_refused = true;
            }
            problems.push(to_problem(graph, *node, fault));
        }
        graph.nodes[*node].signature = signature;
    }
}

/// What is known to arrive at a node.
pub fn arriving(graph: &PipelineGraph<'_>, node: usize) -> Signatures {
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
    networks: &Buildable,
    faults: &mut Vec<CheckError>,
) -> Option<Signature> {
    let network = || graph.name(node).to_owned();
    let known = faults.len();
    check_nested(graph.nodes[node].parsed.as_ref()?, "", skip_files, networks, faults);
    // What is made of something faulty would only be found faulty again.
    let sound = faults.len() == known;
    match graph.nodes[node].instance()? {
        PluginInstance::Architecture(architecture) => {
            architecture.check().map_err(|fault| faults.push(fault)).ok().filter(|()| sound)?;
            faults.extend(networks.fault(graph.nodes[node].registration?, graph.nodes[node].parsed.as_ref()?));
            Some(Signature::Classifier(ClassifierSignature {
                shape: architecture.clone(),
                network: network(),
                images: None,
                observable: architecture.observable(),
            }))
        }
        PluginInstance::Generator(generator) => {
            let image = generator.image().map_err(|fault| faults.push(fault)).ok()?;
            if !skip_files {
                faults.extend(generator.check().err());
            }
            if faults.len() == known {
                faults.extend(networks.fault(graph.nodes[node].registration?, graph.nodes[node].parsed.as_ref()?));
            }
            let (classes, batch_size) = (generator.classes(), generator.batch_size());
            let architecture = generator.clone();
            Some(Signature::Generator(GeneratorSignature {
                architecture,
                image,
                network: network(),
                classes,
                batch_size,
            }))
        }
        PluginInstance::Teacher(_) if !sound => None,
        PluginInstance::Teacher(teacher) => {
            let fault = if skip_files { None } else { teacher.check().err() };
            // Without an architecture, the files alone tell the shapes.
            let is_known = teacher.architecture().is_some() || (!skip_files && fault.is_none());
            faults.extend(fault);
            is_known.then_some(())?;
            Some(Signature::Classifier(ClassifierSignature {
                shape: teacher.clone(),
                network: network(),
                images: None,
                observable: teacher.observable(),
            }))
        }
        PluginInstance::Dataset(_) if skip_files => None,
        PluginInstance::Dataset(dataset) => {
            dataset.describe().map(Signature::Dataset).map_err(|fault| faults.push(fault)).ok()
        }
        PluginInstance::Loss(loss) => Some(Signature::Loss(loss.clone())),
        PluginInstance::Turn(turn) => {
            faults.extend(turn.check(inputs));
            turn.signature(inputs).map(Signature::Turn)
        }
        PluginInstance::Stage(stage) => {
            faults.extend(stage.check(inputs));
            stage.output(inputs)
        }
        PluginInstance::Metric(metric) => {
            faults.extend(metric.check(inputs));
            None
        }
        PluginInstance::Optimizer(_) | PluginInstance::Schedule(_) | PluginInstance::Targets(_) => None,
    }
}

/// Checks the plugins among a plugin's parameters as it would be checked itself, the innermost first; `way` leads to it.
fn check_nested(
    plugin: &ParsedPlugin,
    way: &str,
    skip_files: bool,
    networks: &Buildable,
    faults: &mut Vec<CheckError>,
) {
    for NestedPlugin { parameter, parsed, registration } in &plugin.nested {
        let way = if way.is_empty() { parameter.clone() } else { format!("{way}.{parameter}") };
        let known = faults.len();
        check_nested(parsed, &way, skip_files, networks, faults);
        if faults.len() > known {
            continue;
        }
        let checked = match parsed.instance() {
            PluginInstance::Architecture(architecture) => architecture.check(),
            PluginInstance::Generator(generator) if skip_files => generator.image().map(|_| ()),
            PluginInstance::Generator(generator) => generator.image().and_then(|_| generator.check()),
            PluginInstance::Teacher(teacher) if !skip_files => teacher.check(),
            PluginInstance::Dataset(dataset) if !skip_files => dataset.describe().map(|_| ()),
            PluginInstance::Optimizer(optimizer) => optimizer.check(),
            PluginInstance::Schedule(schedule) => schedule.check(),
            PluginInstance::Targets(targets) => targets.check(),
            _ => Ok(()),
        };
        let fault = checked.err().or_else(|| networks.fault(registration, parsed));
        faults.extend(fault.map(|fault| {
            let parameter = fault.parameter.as_ref().map_or(way.clone(), |inner| format!("{way}.{inner}"));
            CheckError { parameter: Some(parameter), port: None, ..fault }
        }));
    }
}

/// The edge that brings what a plugin found wrong, as an index into the graph's.
fn link_at_fault(graph: &PipelineGraph<'_>, node: usize, fault: &CheckError) -> Option<usize> {
    let port = fault.port.as_ref().filter(|_| fault.parameter.is_none())?;
    let arrives = |link: &&usize| graph.port(&graph.links[**link]).name == *port;
    graph.incoming(node).iter().filter(arrives).nth(fault.index).copied()
}

/// Shows what a plugin found wrong where the pipeline says it.
pub fn to_problem(graph: &PipelineGraph<'_>, node: usize, mut fault: CheckError) -> Diagnostic {
    let (plugin, severity) = (&graph.nodes[node], fault.severity);
    if let Some(value) = fault.parameter.as_ref().and_then(|parameter| parameter_value(plugin.value, parameter)) {
        misread_path::explain(value, &mut fault);
    }
    let message = format!("`{}`: {}", plugin.name.text, fault.message);
    let mut problem = Diagnostic { severity, ..Diagnostic::at(head(plugin.value), message) };
    if let Some(parameter) = &fault.parameter {
        let name = parameter.rsplit('.').next().unwrap_or(parameter);
        match parameter_value(plugin.value, parameter).map(|value| value.span) {
            Some(span) => {
                problem =
                    Diagnostic { span: Some(span), ..problem }.label(format!("`{name}` of `{}`", plugin.name.text));
            }
            None => {
                let name = parameter.split('[').next().unwrap_or(parameter);
                problem = problem.label(format!("`{name}` is not set; default used"));
            }
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

/// A parameter's value: of `depth`, or of `model.depth` for one of a plugin within.
pub fn parameter_value<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let ValueKind::Named { name, fields, items } = &value.kind else { return None };
    if let ([inner], Some(Name { text, .. })) = (items.as_slice(), name)
        && text == "Some"
    {
        return parameter_value(inner, path);
    }
    let (first, place) = match first.strip_suffix(']').and_then(|first| first.split_once('[')) {
        Some((first, place)) => (first, place.parse::<usize>().ok()),
        None => (first, None),
    };
    let item = |value: &'v Value| match &value.kind {
        ValueKind::List(items) => items.get(place?),
        _ => None,
    };
    match fields.iter().find(|(field, _)| field.text == first).map(|(name, value)| (name, item(value).unwrap_or(value)))
    {
        // What is not written within is a default of what is written: that is as near as it gets.
        Some((_, value)) => Some(rest.and_then(|rest| parameter_value(value, rest)).unwrap_or(value)),
        // A plugin within may not know that it is within.
        None => fields.iter().find_map(|(_, value)| parameter_value(value, path)),
    }
}
