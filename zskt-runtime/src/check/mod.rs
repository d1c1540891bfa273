//! Proves a pipeline sound before anything runs, or finds everything that is wrong with it.

mod data_free;
mod edges;
mod graph;
mod order;
mod players;
mod signatures;

use zskt_api::{Problem, Registry};

use crate::library;
use crate::pipeline::{self, Document, Resolved, Texts};
use crate::plan::{Plan, PlanEdge, PlanNode};
use graph::Graph;

/// Reads a pipeline, applies the `--set` arguments and proves it sound; with `skip_files`, without looking at the files
/// that its parameters name.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn prove(texts: &Texts, registry: &Registry, skip_files: bool) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let plan = pipeline::document(texts, registry, &mut problems)
        .and_then(|document| check(&document, registry, skip_files, &mut problems));
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => {
            // What concerns the whole pipeline comes last.
            problems.sort_by_key(|problem| (problem.span.is_none(), problem.span));
            let mut seen = Vec::new();
            problems.retain(|problem| {
                let key = (problem.span, problem.message.clone());
                let new = !seen.contains(&key);
                seen.push(key);
                new
            });
            Err(problems)
        }
    }
}

fn check(document: &Document, registry: &Registry, skip_files: bool, problems: &mut Vec<Problem>) -> Option<Plan> {
    let mut graph = Graph::read(document, registry, problems);
    edges::connect(&mut graph, document, problems);
    let circular = order::cut_cycles(&mut graph, document, problems);
    order::unused(&graph, document, problems);
    let needs = order::sorted(&graph, &[]);
    signatures::propagate(&mut graph, &needs, skip_files, problems);
    let trainings = players::trainings(&graph);
    // In a circle nothing is before anything else, and all that follows is about before and after.
    if circular {
        return None;
    }
    let before = players::check(&graph, &trainings, problems);
    let order = order::sorted(&graph, &before);
    let data_free = data_free::prove(&graph, document, &order, &trainings, problems);
    if graph.nodes.is_empty() {
        problems.push(Problem::global("the pipeline has no nodes"));
    }
    if !problems.is_empty() {
        return None;
    }
    let resolved = resolve(document, &graph);
    let nodes = plan_nodes(graph, &order)?;
    let Document { name, seed, device, precision, .. } = document;
    Some(Plan {
        name: name.clone(),
        seed: *seed,
        device: device.clone(),
        precision: precision.clone(),
        nodes,
        data_free,
        resolved,
    })
}

fn plan_nodes(graph: Graph<'_>, order: &[usize]) -> Option<Vec<PlanNode>> {
    let position = |node: usize| order.iter().position(|other| *other == node);
    let mut inputs: Vec<Vec<PlanEdge>> = (0..graph.nodes.len()).map(|_| Vec::new()).collect();
    for link in &graph.links {
        inputs[link.to].push(PlanEdge { port: graph.port(link).name.to_owned(), from: position(link.from?)? });
    }
    let mut nodes: Vec<_> = graph.nodes.into_iter().zip(inputs).map(Some).collect();
    let plan_node = |node: &usize| {
        let (node, inputs) = nodes[*node].take()?;
        let (instance, ron) = node.parsed?;
        Some(PlanNode {
            name: node.name.text.clone(),
            registration: node.registration?,
            instance,
            ron,
            inputs,
            signature: node.signature,
        })
    };
    order.iter().map(plan_node).collect()
}

fn resolve(document: &Document, graph: &Graph<'_>) -> String {
    let data_free = document.data_free.as_ref().map(|claim| match &claim.networks {
        None => "true".to_owned(),
        Some(networks) => {
            let names: Vec<_> = networks.iter().map(|network| format!("{:?}", network.text)).collect();
            format!("[{}]", names.join(", "))
        }
    });
    let nodes = graph.nodes.iter().filter_map(|node| Some((node.name.text.as_str(), node.parsed.as_ref()?.1.as_str())));
    let nodes: Vec<_> = nodes.collect();
    let plugins: Vec<_> = nodes.iter().map(|(_, plugin)| *plugin).collect();
    let edges = graph.links.iter().map(|link| {
        let edge = link.edge;
        (edge.from.text.as_str(), edge.to.text.as_str(), graph.port(link).name)
    });
    pipeline::write(&Resolved {
        name: &document.name,
        seed: document.seed,
        device: &document.device,
        precision: &document.precision,
        // Also those that the command line and the environment name, so that the run can be made again without them.
        libraries: library::used(&plugins).into_iter().map(|library| library.file).collect(),
        data_free,
        nodes,
        edges: edges.collect(),
    })
}
