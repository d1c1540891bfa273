//! The order of the graph: cycles, nodes that are never used, and the order in which nodes are built and run.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use zskt_api::{Diagnostic, PluginKind, Span};

use super::graph::PipelineGraph;
use crate::pipeline::PipelineSyntax;

/// How many other places are shown with a problem.
const MAX_RELATED: usize = 10;

/// Reports every cycle, with its path, and takes its edges out of the graph's shape, so that the rest can be checked.
/// Returns whether there was any.
pub fn cut_cycles(graph: &mut PipelineGraph<'_>, pipeline: &PipelineSyntax, problems: &mut Vec<Diagnostic>) -> bool {
    let cycles: Vec<_> = kosaraju_scc(&graph.shape)
        .into_iter()
        .filter(|component| component.len() > 1 || graph.shape.find_edge(component[0], component[0]).is_some())
        .collect();
    if cycles.is_empty() {
        return false;
    }
    let mut cycle_of = vec![None; graph.nodes.len()];
    for (cycle, component) in cycles.iter().enumerate() {
        component.iter().for_each(|node| cycle_of[node.index()] = Some(cycle));
    }
    let mut spans: HashMap<(&str, &str), Span> = HashMap::new();
    for edge in &pipeline.edges {
        spans.entry((&edge.from.text, &edge.to.text)).or_insert(edge.span);
    }
    for component in &cycles {
        let Some(start) = component.iter().min() else { continue };
        let path = cycle_from(&graph.shape, *start, &cycle_of);
        let names: Vec<_> = path.iter().map(|node| graph.name(node.index())).collect();
        let spans: Vec<_> =
            names.windows(2).filter_map(|pair| spans.get(&(pair[0], pair[1]))).take(MAX_RELATED).collect();
        let message = format!("the edges form a cycle: {}", shown_path(&names));
        let (first, others) = match spans.split_first() {
            Some((first, others)) => (**first, others),
            None => (graph.nodes[start.index()].name.span, &spans[..]),
        };
        let problem = Diagnostic::at(first, message).label("remove one of these edges");
        problems.push(others.iter().fold(problem, |problem, span| problem.related(**span, "part of the cycle")));
    }
    graph.shape.retain_edges(|shape, edge| {
        shape.edge_endpoints(edge).is_none_or(|(from, to)| {
            let cycle = cycle_of[from.index()];
            cycle.is_none() || cycle != cycle_of[to.index()]
        })
    });
    true
}

/// `a -> b -> a`; of a long path, its beginning and its end.
fn shown_path(names: &[&str]) -> String {
    match names {
        [beginning @ .., end] if names.len() > 2 * MAX_RELATED => {
            let more = beginning.len() - MAX_RELATED;
            format!("{} -> … ({more} more) -> {end}", beginning[..MAX_RELATED].join(" -> "))
        }
        all => all.join(" -> "),
    }
}

/// A shortest way from a node back to itself within its cycle.
fn cycle_from(shape: &DiGraph<(), ()>, start: NodeIndex, cycle_of: &[Option<usize>]) -> Vec<NodeIndex> {
    let mut open = VecDeque::from([start]);
    let mut before: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    while let Some(last) = open.pop_front() {
        let inside = |node: &NodeIndex| cycle_of[node.index()] == cycle_of[start.index()];
        let mut next: Vec<_> = shape.neighbors(last).filter(inside).collect();
        next.sort_unstable();
        if next.contains(&start) {
            let mut path = vec![start, last];
            while let Some(earlier) = path.last().filter(|node| **node != start).and_then(|node| before.get(node)) {
                path.push(*earlier);
            }
            path.reverse();
            return if last == start { vec![start, start] } else { path };
        }
        for node in next {
            if let std::collections::hash_map::Entry::Vacant(new) = before.entry(node) {
                new.insert(last);
                open.push_back(node);
            }
        }
    }
    vec![start]
}

/// Reports the nodes that lead to no stage and no metric, but for those that are `mentioned` by an edge that is wrong. One is reported
/// for each dead end; what leads only there is named with it.
pub fn unused(
    graph: &PipelineGraph<'_>,
    pipeline: &PipelineSyntax,
    mentioned: &HashSet<usize>,
    problems: &mut Vec<Diagnostic>,
) {
    let works = |node: &usize| matches!(graph.nodes[*node].kind(), Some(PluginKind::Stage | PluginKind::Metric) | None);
    let before = |node: usize| graph.shape.neighbors_directed(NodeIndex::new(node), Direction::Incoming);
    let mut used = vec![false; graph.nodes.len()];
    let mut open: Vec<usize> = (0..graph.nodes.len()).filter(works).collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut used[node], true) {
            open.extend(before(node).map(NodeIndex::index));
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if used[index]
            || !graph.leads_nowhere(index)
            || mentioned.contains(&index)
            || pipeline.malformed.mention(&node.name.text)
        {
            continue;
        }
        let mut problem = Diagnostic::at(node.name.span, format!("`{}` is never used", node.name.text))
            .label("no edge leads from it to a stage or a metric")
            .help("add an edge from it, or leave it out");
        // What leads to it through something that is used is used itself.
        let mut leading = vec![index];
        let mut next = 0;
        while next < leading.len() && leading.len() <= MAX_RELATED {
            for other in before(leading[next]).map(NodeIndex::index).filter(|other| !used[*other]) {
                if leading.len() <= MAX_RELATED && !leading.contains(&other) {
                    leading.push(other);
                }
            }
            next += 1;
        }
        leading[1..].sort_unstable();
        for other in &leading[1..] {
            problem = problem.related(graph.nodes[*other].name.span, "leads only to it");
        }
        problems.push(problem);
    }
}

/// The nodes, each after all that it needs, otherwise in the order of the file; `before` adds pairs of nodes of which the
/// first comes before the second.
pub fn sorted(graph: &PipelineGraph<'_>, before: &[(usize, usize)]) -> Vec<usize> {
    let mut shape = graph.shape.clone();
    for (first, second) in before {
        shape.add_edge(NodeIndex::new(*first), NodeIndex::new(*second), ());
    }
    let mut waits: Vec<usize> =
        shape.node_indices().map(|node| shape.neighbors_directed(node, Direction::Incoming).count()).collect();
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|node| waits[*node] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for next in shape.neighbors(NodeIndex::new(node)) {
            waits[next.index()] -= 1;
            if waits[next.index()] == 0 {
                ready.insert(next.index());
            }
        }
    }
    order
}
