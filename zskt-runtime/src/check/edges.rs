//! Whether edges lead from nodes that exist to inputs that exist and take what they bring, and no input is left open.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use zskt_api::{Arity, Diagnostic, Name, PortInfo, Span, nearest_name, with_article};

use super::graph::{Link, PipelineGraph, describe_port};
use crate::pipeline::{Edge, PipelineSyntax};

/// Searching the whole graph for what an open input could be connected to takes its time.
const MAX_SUGGESTIONS: usize = 100;

/// Inputs, as a node and the index of its port.
#[derive(Default)]
struct Inputs {
    /// Those with an edge, and the first edge of each.
    fed: HashMap<(usize, usize), Span>,
    /// Those whose edge is misspelt. They do not count as open: it is one mistake, not two.
    meant: HashSet<(usize, usize)>,
}

/// Adds every edge to the graph, and reports those that do not fit and the inputs that lack one. Returns the nodes that
/// edges come from, or should, that cannot be added: they were not forgotten.
pub fn connect<'d>(
    graph: &mut PipelineGraph<'d>,
    pipeline: &'d PipelineSyntax,
    problems: &mut Vec<Diagnostic>,
) -> HashSet<usize> {
    let mut inputs = Inputs::default();
    let mut mentioned = HashSet::new();
    let mut seen = HashMap::new();
    for edge in &pipeline.edges {
        let port = edge.port.as_ref().map(|port| port.text.as_str());
        match seen.entry((edge.from.text.as_str(), edge.to.text.as_str(), port)) {
            Entry::Occupied(first) => problems.push(
                Diagnostic::at(edge.span, "duplicate edge")
                    .label("written again")
                    .related(*first.get(), "the same edge"),
            ),
            Entry::Vacant(new) => {
                new.insert(edge.span);
                connect_edge(graph, edge, &mut inputs, &mut mentioned, problems);
            }
        }
    }
    let mut open = 0;
    for (index, node) in graph.nodes.iter().enumerate() {
        for (position, port) in node.ports.iter().enumerate() {
            let input = (index, position);
            if port.arity != Arity::Optional
                && !inputs.fed.contains_key(&input)
                && !inputs.meant.contains(&input)
                && !pipeline.malformed.mention(&format!("{}.{}", node.name.text, port.name))
            {
                problems.push(missing_input(graph, index, port, open < MAX_SUGGESTIONS));
                open += 1;
            }
        }
    }
    mentioned
}

fn connect_edge<'d>(
    graph: &mut PipelineGraph<'d>,
    edge: &'d Edge,
    inputs: &mut Inputs,
    mentioned: &mut HashSet<usize>,
    problems: &mut Vec<Diagnostic>,
) {
    let from = find(graph, &edge.from, problems);
    let to = find(graph, &edge.to, problems);
    if from.is_none() || to.is_none() {
        mentioned.extend(from.or_else(|| graph.near(&edge.from.text)));
    }
    let Some(to) = to else {
        if let Some(node) = graph.near(&edge.to.text)
            && let Some(port) = &edge.port
            && let Some(position) = graph.nodes[node].ports.iter().position(|known| known.name == port.text)
        {
            inputs.meant.insert((node, position));
        }
        return;
    };
    if let Some(from) = from {
        graph.join(from, to);
    }
    if graph.nodes[to].registration.is_none() {
        return;
    }
    let Some(position) = find_port(graph, edge, to, from, inputs, problems) else { return };
    let port = &graph.nodes[to].ports[position];
    match inputs.fed.entry((to, position)) {
        Entry::Occupied(first) if port.arity != Arity::Many => {
            problems.push(
                Diagnostic::at(port_span(edge), format!("`{}.{}` takes one edge", edge.to.text, port.name))
                    .label("a second edge")
                    .related(*first.get(), "the first edge"),
            );
            return;
        }
        entry => entry.or_insert(edge.span),
    };
    let from = from.filter(|from| fits(graph, edge, *from, port, problems));
    graph.add_link(Link { edge, from, to, port: position, is_refused: false });
}

fn find(graph: &PipelineGraph<'_>, name: &Name, problems: &mut Vec<Diagnostic>) -> Option<usize> {
    let found = graph.find(&name.text);
    if found.is_none() {
        let label = graph
            .near(&name.text)
            .map_or("unknown node".into(), |near| format!("did you mean `{}`?", graph.name(near)));
        problems.push(
            Diagnostic::at(name.span, format!("there is no node `{}`", name.text))
                .label(label)
                .help(format!("nodes: {}", graph.listed())),
        );
    }
    found
}

fn find_port(
    graph: &PipelineGraph<'_>,
    edge: &Edge,
    to: usize,
    from: Option<usize>,
    found: &mut Inputs,
    problems: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let node = &graph.nodes[to];
    let inputs = || {
        format!("inputs of `{}`: {}", edge.to.text, node.ports.iter().map(describe_port).collect::<Vec<_>>().join(", "))
    };
    let plugin = node.registration.map_or("", |plugin| plugin.name);
    // Of several inputs that would do, none is more likely meant than the others.
    let given = from.and_then(|from| graph.nodes[from].output());
    let fitting: Vec<usize> = (0..node.ports.len())
        .filter(|port| given.is_some_and(|given| node.ports[*port].accepts.accepts(given)))
        .collect();
    let problem = match &edge.port {
        Some(name) => {
            if let Some(position) = node.ports.iter().position(|port| port.name == name.text) {
                return Some(position);
            }
            let near = nearest_name(&name.text, node.ports.iter().map(|port| port.name));
            found
                .meant
                .extend(node.ports.iter().position(|port| Some(port.name) == near).map(|position| (to, position)));
            let label = near.map_or("unknown input".into(), |near| format!("did you mean `{near}`?"));
            Diagnostic::at(name.span, format!("`{}` has no input `{}`", edge.to.text, name.text)).label(label)
        }
        None => {
            let label = match fitting.as_slice() {
                [only] => {
                    found.meant.insert((to, *only));
                    format!("did you mean `{}.{}`?", edge.to.text, node.ports[*only].name)
                }
                _ => format!("expected `{}.input`", edge.to.text),
            };
            Diagnostic::at(edge.to.span, format!("the edge does not say which input of `{}` it leads to", edge.to.text))
                .label(label)
        }
    };
    let help = if node.ports.is_empty() { format!("`{plugin}` takes no inputs") } else { inputs() };
    problems.push(problem.help(help));
    None
}

/// Whether an input takes what a node gives; reported if not, unless it is not known what the node gives.
fn fits(graph: &PipelineGraph<'_>, edge: &Edge, from: usize, port: &PortInfo, problems: &mut Vec<Diagnostic>) -> bool {
    let source = &graph.nodes[from];
    let Some(plugin) = source.registration else { return false };
    let target = format!("`{}.{}`", edge.to.text, port.name);
    let expected = with_article(port.accepts);
    let Some(given) = plugin.output else {
        problems.push(
            Diagnostic::at(
                edge.from.span,
                format!("`{}` has no output, but {target} takes {expected}", edge.from.text),
            )
            .label(format!("{}: no output", with_article(plugin.kind))),
        );
        return false;
    };
    if port.accepts.accepts(given) {
        return true;
    }
    let mut problem = Diagnostic::at(
        edge.from.span,
        format!("the output of `{}` is {}, but {target} takes {expected}", edge.from.text, with_article(given)),
    )
    .label(with_article(given));
    let to = graph.find(&edge.to.text);
    let other = to.and_then(|to| graph.nodes[to].ports.iter().find(|other| other.accepts.accepts(given)));
    if let Some(other) = other {
        problem = problem.help(format!("`{}.{}` takes {}", edge.to.text, other.name, with_article(given)));
    }
    problems.push(problem);
    false
}

fn missing_input(graph: &PipelineGraph<'_>, node: usize, port: &PortInfo, suggest: bool) -> Diagnostic {
    let name = graph.name(node);
    let candidates = if suggest { candidates(graph, node, port) } else { Vec::new() };
    let edge = |other: &usize| format!("\"{} -> {name}.{}\"", graph.name(*other), port.name);
    let fitting: Vec<_> = candidates.iter().map(edge).take(4).collect();
    let needs = match port.arity {
        Arity::Many => format!("one or more edges from {}", with_article(port.accepts)),
        _ => format!("an edge from {}", with_article(port.accepts)),
    };
    let help = match fitting.len() {
        0 => port.doc.clone(),
        1..=3 => format!("add {}", fitting.join(" or ")),
        _ => format!("add {}, say", fitting[0]),
    };
    Diagnostic::at(graph.nodes[node].name.span, format!("input `{name}.{}` is not connected", port.name))
        .label(format!("expected {needs}"))
        .help(help)
}

/// The nodes that an open input could be connected to: those that lead nowhere yet, or else all.
fn candidates(graph: &PipelineGraph<'_>, node: usize, port: &PortInfo) -> Vec<usize> {
    let after = graph.after(node);
    let gives = |other: &usize| graph.nodes[*other].output().is_some_and(|given| port.accepts.accepts(given));
    let all: Vec<usize> = (0..graph.nodes.len()).filter(|other| !after.contains(other)).filter(gives).collect();
    let unused: Vec<usize> = all.iter().copied().filter(|other| graph.leads_nowhere(*other)).collect();
    if unused.is_empty() { all } else { unused }
}

fn port_span(edge: &Edge) -> Span {
    edge.port.as_ref().map_or(edge.span, |port| port.span)
}
