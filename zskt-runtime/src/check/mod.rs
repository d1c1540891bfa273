//! Proves a pipeline sound before anything runs, or finds everything that is wrong with it.

mod buildable;
mod data_free;
mod edges;
mod figure_keys;
mod file_names;
mod graph;
mod misread_path;
#[cfg(test)]
mod name_tests;
mod normalization;
mod order;
mod players;
mod selection;
mod signatures;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use zskt_api::{Diagnostic, Normalization, Registry};

use crate::library::{self, Library};
use crate::pipeline::{self, PipelineSyntax, Resolved, Sources};
use crate::plan::{Plan, PlanEdge, PlanNode, StageSelection};
use graph::PipelineGraph;

/// Reads a pipeline, applies the `--set` arguments and proves it sound; with `skip_files`, without looking at the files
/// that its parameters name.
///
/// # Errors
/// Everything that is wrong with it, warnings too, in the order of the text.
pub fn prove(sources: &Sources, registry: &Registry, skip_files: bool) -> Result<Plan, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let plan = pipeline::parse(sources, registry, &mut problems)
        .and_then(|pipeline| check(&pipeline, registry, skip_files, &mut problems));
    // What concerns the whole pipeline comes last.
    problems.sort_by_key(|problem| (problem.span.is_none(), problem.span));
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert((problem.span, problem.message.clone())));
    match plan {
        Some(plan) if !problems.iter().any(Diagnostic::is_error) => Ok(Plan { warnings: problems, ..plan }),
        _ => Err(problems),
    }
}

/// A resolved pipeline as it is resolved now: with the defaults of parameters that plugins have got since it was written. As it is, where it is not
/// sound any more.
pub fn resolved_now(resolved: &str, registry: &Registry) -> String {
    let sources = Sources::new("pipeline.ron", resolved, &[]);
    prove(&sources, registry, true).map_or_else(|_| resolved.to_owned(), |plan| plan.resolved)
}

fn check(
    pipeline: &PipelineSyntax,
    registry: &Registry,
    skip_files: bool,
    problems: &mut Vec<Diagnostic>,
) -> Option<Plan> {
    let mut graph = PipelineGraph::read(pipeline, registry, problems);
    let mentioned = edges::connect(&mut graph, pipeline, problems);
    let cyclic = order::cut_cycles(&mut graph, pipeline, problems);
    order::unused(&graph, pipeline, &mentioned, problems);
    let needs = order::sorted(&graph, &[]);
    signatures::propagate(&mut graph, &needs, skip_files, problems);
    let trainings = players::trainings(&graph);
    // In a cycle nothing is before anything else, and all that follows is about before and after.
    if cyclic {
        return None;
    }
    let mut before = players::check(&graph, &trainings, problems);
    let choices = selection::find(&graph, problems);
    selection::order(&graph, &choices, &mut before, problems);
    let order = order::sorted(&graph, &before);
    let data_free = data_free::prove(&graph, pipeline, &order, &trainings, &choices, problems);
    let normalizations = normalization::resolve(&graph, skip_files, problems);
    warnings::find(&graph, &trainings, problems);
    figure_keys::check(&graph, pipeline, &choices, problems);
    file_names::check(&graph, &order, problems);
    if graph.nodes.is_empty() {
        problems.push(Diagnostic::global("the pipeline has no nodes"));
    }
    if problems.iter().any(Diagnostic::is_error) {
        return None;
    }
    let resolved = resolve(pipeline, &graph);
    let trains = (0..graph.nodes.len()).map(|node| players::trained_by(&graph, &trainings, node)).collect();
    let inspector = graph.inspector.clone();
    let selections = choices.iter().map(|choice| (choice.stage, choice.planned(&graph))).collect();
    let nodes = plan_nodes(graph, &order, trains, &normalizations, selections)?;
    let PipelineSyntax { name, seed, device, precision, .. } = pipeline;
    Some(Plan {
        name: name.clone(),
        seed: *seed,
        device: *device,
        precision: *precision,
        nodes,
        data_free,
        published: pipeline.published.clone(),
        expect: pipeline.expect.clone(),
        warnings: Vec::new(),
        inspector,
        resolved,
    })
}

fn plan_nodes(
    graph: PipelineGraph<'_>,
    order: &[usize],
    mut trains: Vec<BTreeSet<String>>,
    normalizations: &[Option<Normalization>],
    mut selections: BTreeMap<usize, StageSelection>,
) -> Option<Vec<PlanNode>> {
    let mut position = vec![None; graph.nodes.len()];
    order.iter().enumerate().for_each(|(place, node)| position[*node] = Some(place));
    let mut inputs: Vec<Vec<PlanEdge>> = (0..graph.nodes.len()).map(|_| Vec::new()).collect();
    for link in &graph.links {
        inputs[link.to].push(PlanEdge { port: graph.port(link).name.to_owned(), from: position[link.from?]? });
    }
    let mut nodes: Vec<_> = graph.nodes.into_iter().zip(inputs).map(Some).collect();
    let plan_node = |index: &usize| {
        let trains = std::mem::take(&mut trains[*index]);
        let (node, inputs) = nodes[*index].take()?;
        let (plugins, parsed) = (node.plugins(), node.parsed?);
        Some(PlanNode {
            name: node.name.text.clone(),
            registration: node.registration?,
            plugins,
            nested: parsed.all_nested(),
            instance: parsed.instance().clone(),
            ron: parsed.ron,
            paths: parsed.paths,
            inputs,
            signature: node.signature,
            trains,
            normalization: normalizations[*index].clone(),
            selection: selections.remove(index),
        })
    };
    order.iter().map(plan_node).collect()
}

fn resolve(pipeline: &PipelineSyntax, graph: &PipelineGraph<'_>) -> String {
    let data_free = pipeline.data_free.as_ref().map(|claim| match &claim.networks {
        None => "true".to_owned(),
        Some(networks) => {
            let names: Vec<_> = networks.iter().map(|network| format!("{:?}", network.text)).collect();
            format!("[{}]", names.join(", "))
        }
    });
    let nodes =
        graph.nodes.iter().filter_map(|node| Some((node.name.text.as_str(), node.parsed.as_ref()?.ron.as_str())));
    let nodes: Vec<_> = nodes.collect();
    let plugins = graph.nodes.iter().flat_map(graph::GraphNode::plugins);
    let edges = graph.links.iter().map(|link| {
        let edge = link.edge;
        (edge.from.text.as_str(), edge.to.text.as_str(), graph.port(link).name)
    });
    pipeline::write(&Resolved {
        name: &pipeline.name,
        seed: pipeline.seed,
        device: pipeline.device,
        precision: pipeline.precision,
        // Also those that the command line and the environment name, so that the run can be made again without them.
        libraries: library::of_plugins(plugins).iter().map(Library::lasting_name).collect(),
        data_free,
        published: &pipeline.published,
        expect: &pipeline.expect,
        nodes,
        edges: edges.collect(),
    })
}
