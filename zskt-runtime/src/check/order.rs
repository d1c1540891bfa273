//! The order of the graph: cycles, nodes that are never used, and the order in which nodes are built and run.

use std::collections::BTreeSet;

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use zskt_api::{Diagnostic, PluginKind};

use super::edges::near_node;
use super::graph::PipelineGraph;
use crate::pipeline::PipelineSyntax;

/// Reports every cycle, with its path, and takes its edges out of the graph's shape, so that the rest can be checked.
/// Returns whether there was any.
pub fn cut_cycles(graph: &mut PipelineGraph<'_>, pipeline: &PipelineSyntax, problems: &mut Vec<Diagnostic>) -> bool {
    let before = problems.len();
    for component in tarjan_scc(&graph.shape) {
        let Some(start) = component.iter().copied().min() else { continue };
        if component.len() == 1 && graph.shape.find_edge(start, start).is_none() {
            continue;
        }
        let path = cycle_from(&graph.shape, start, &component);
        let names: Vec<_> = path.iter().map(|node| graph.name(node.index())).collect();
        let edge_of = |from: &str, to: &str| {
            pipeline.edges.iter().find(|edge| edge.from.text == from && edge.to.text == to).map(|edge| edge.span)
        };
        let spans: Vec<_> = names.windows(2).filter_map(|pair| edge_of(pair[0], pair[1])).collect();
        let message = format!("the edges form a cycle: {}", names.join(" -> "));
        let (first, others) = match spans.split_first() {
            Some((first, others)) => (*first, others),
            None => (graph.nodes[start.index()].name.span, &spans[..]),
        };
        let problem = Diagnostic::at(first, message).label("remove one of these edges");
        problems.push(others.iter().fold(problem, |problem, span| problem.related(*span, "part of the cycle")));
        graph.shape.retain_edges(|shape, edge| {
            shape.edge_endpoints(edge).is_none_or(|(from, to)| !component.contains(&from) || !component.contains(&to))
        });
    }
    problems.len() > before
}

/// A shortest way from a node back to itself within its component.
fn cycle_from(shape: &DiGraph<(), ()>, start: NodeIndex, component: &[NodeIndex]) -> Vec<NodeIndex> {
    let mut paths = std::collections::VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(path) = paths.pop_front() {
        let Some(last) = path.last() else { continue };
        let mut next: Vec<_> = shape.neighbors(*last).filter(|node| component.contains(node)).collect();
        next.sort_unstable();
        for node in next {
            let longer: Vec<_> = path.iter().copied().chain([node]).collect();
            if node == start {
                return longer;
            }
            if seen.insert(node) {
                paths.push_back(longer);
            }
        }
    }
    vec![start]
}

/// Reports the nodes that lead to no stage and no metric. One is reported for each dead end; what leads only there is
/// named with it.
pub fn unused(graph: &PipelineGraph<'_>, pipeline: &PipelineSyntax, problems: &mut Vec<Diagnostic>) {
    let works = |node: usize| matches!(graph.nodes[node].kind(), Some(PluginKind::Stage | PluginKind::Metric) | None);
    let used: Vec<bool> = (0..graph.nodes.len())
        .map(|node| (0..graph.nodes.len()).any(|end| works(end) && graph.leads(node, end)))
        .collect();
    // Where a name is misspelt, or an edge is wrong, the node was not forgotten.
    let mentioned = |node: usize| {
        pipeline.edges.iter().any(|edge| {
            let from = graph.find(&edge.from.text).or_else(|| near_node(graph, &edge.from.text));
            from == Some(node) && (graph.find(&edge.from.text).is_none() || graph.find(&edge.to.text).is_none())
        }) || pipeline.may_mean(graph.name(node))
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        let ends = graph.shape.neighbors_directed(NodeIndex::new(index), Direction::Outgoing).next().is_none();
        if used[index] || !ends || mentioned(index) {
            continue;
        }
        let mut problem = Diagnostic::at(node.name.span, format!("`{}` is never used", node.name.text))
            .label("no edge leads from it to a stage or a metric")
            .help("add an edge from it, or leave it out");
        for (other, before) in graph.nodes.iter().enumerate() {
            if other != index && !used[other] && graph.leads(other, index) {
                problem = problem.related(before.name.span, "leads only to it");
            }
        }
        problems.push(problem);
    }
}

/// The nodes, each after all that it needs, otherwise in the order of the file; `before` adds pairs of nodes of which the
/// first comes before the second.
pub fn sorted(graph: &PipelineGraph<'_>, before: &[(usize, usize)]) -> Vec<usize> {
    let mut shape = graph.shape.clone();
    for (first, second) in before {
        shape.update_edge(NodeIndex::new(*first), NodeIndex::new(*second), ());
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
