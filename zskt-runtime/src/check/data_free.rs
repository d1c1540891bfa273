//! The data-free proof: from where training images reach the networks that stages train.
//!
//! A dataset that arrives at a stage reaches every network that the stage trains, and a network that was reached carries
//! it on to those it is trained with, as does a generator with its images. Only one way does not count: what a
//! classifier that does not change tells, which is a teacher's knowledge.

use std::collections::{BTreeMap, BTreeSet};

use zskt_api::{Diagnostic, PluginKind, PortType, Span};

use super::graph::{Link, PipelineGraph};
use super::players::Training;
use crate::pipeline::{DataFree, PipelineSyntax};
use crate::plan::DataFreeProof;
use crate::text_format;

/// What reached a network.
#[derive(Clone, Default)]
struct Reached {
    /// Datasets whose images reached it, each with the way it took and the edge where that began.
    data: BTreeMap<usize, (Vec<String>, Span)>,
    /// Datasets that shaped its teachers.
    through_teacher: BTreeSet<usize>,
}

/// Proves the pipeline's claim, if it makes one, or reports how it is violated.
pub fn prove(
    graph: &PipelineGraph<'_>,
    pipeline: &PipelineSyntax,
    order: &[usize],
    trainings: &[Training<'_>],
    problems: &mut Vec<Diagnostic>,
) -> Vec<DataFreeProof> {
    let Some(claim) = &pipeline.data_free else { return Vec::new() };
    let reached = follow(graph, order, trainings);
    let mut proofs = Vec::new();
    for (network, place) in claimed(graph, claim, trainings, problems) {
        let name = graph.name(network);
        let found = reached.get(name).cloned().unwrap_or_default();
        if graph.nodes[network].kind() == Some(PluginKind::Teacher) {
            problems.push(
                Diagnostic::at(
                    place,
                    format!("`{name}` begins with weights from a file, and what data shaped those is not known"),
                )
                .label(format!("claims that no training image reaches `{name}`"))
                .help("leave it out of the claim, or let an architecture make the network"),
            );
            continue;
        }
        for (dataset, (path, edge)) in &found.data {
            let path = path.join(" -> ");
            problems.push(
                Diagnostic::at(place, format!("`{name}` is not data-free: {path}"))
                    .label(format!("claims that no training image reaches `{name}`"))
                    .related(*edge, format!("`{}` enters here", graph.name(*dataset)))
                    .help("leave out the edge or the claim; a dataset may lead to metrics, and to the stage that trains a teacher"),
            );
        }
        if found.data.is_empty() {
            let through_teacher = found.through_teacher.iter().map(|dataset| graph.name(*dataset).to_owned()).collect();
            proofs.push(DataFreeProof { network: name.to_owned(), through_teacher });
        }
    }
    proofs
}

/// The networks a claim is about, in the order of the file, each with the place that claims it.
fn claimed(
    graph: &PipelineGraph<'_>,
    claim: &DataFree,
    trainings: &[Training<'_>],
    problems: &mut Vec<Diagnostic>,
) -> Vec<(usize, Span)> {
    let Some(names) = &claim.networks else {
        let names: BTreeSet<&str> = trainings.iter().map(|training| training.network).collect();
        let trained = |node: &usize| names.contains(graph.name(*node));
        return (0..graph.nodes.len()).filter(trained).map(|node| (node, claim.span)).collect();
    };
    let is_network = |node: usize| {
        matches!(
            graph.nodes[node].kind(),
            Some(PluginKind::Architecture | PluginKind::Generator | PluginKind::Teacher) | None
        )
    };
    let mut found = Vec::new();
    let networks = (0..graph.nodes.len()).filter(|node| is_network(*node)).map(|node| graph.name(node));
    let help = format!("networks: {}", text_format::some_of(networks));
    for name in names {
        match graph.find(&name.text) {
            Some(node) if is_network(node) => found.push((node, name.span)),
            Some(_) => problems.push(
                Diagnostic::at(name.span, format!("`{}` is not a network", name.text))
                    .label("expected a network")
                    .help(&help),
            ),
            None => {
                let near = graph.near(&name.text).filter(|node| is_network(*node));
                let label = near.map_or("unknown node".into(), |near| format!("did you mean `{}`?", graph.name(near)));
                problems.push(
                    Diagnostic::at(name.span, format!("there is no node `{}`", name.text)).label(label).help(&help),
                );
            }
        }
    }
    found
}

/// Follows the images through the stages, in the order in which they run.
fn follow(graph: &PipelineGraph<'_>, order: &[usize], trainings: &[Training<'_>]) -> BTreeMap<String, Reached> {
    let mut reached: BTreeMap<String, Reached> = BTreeMap::new();
    let mut trained_by: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for training in trainings {
        trained_by.entry(training.stage).or_default().push(training.network);
    }
    for stage in order {
        let mut arriving = Reached::default();
        for link in arriving_links(graph, *stage) {
            let Some(from) = link.from else { continue };
            let step = format!("{}.{}", graph.name(link.to), graph.port(link).name);
            if graph.nodes[from].output() == Some(PortType::Dataset) {
                arriving.data.entry(from).or_insert_with(|| (vec![graph.name(from).to_owned(), step], link.edge.span));
                continue;
            }
            let Some(before) = graph.network(link).and_then(|network| reached.get(network)) else { continue };
            arriving.through_teacher.extend(&before.through_teacher);
            for (dataset, (path, edge)) in &before.data {
                if graph.brings_knowledge(link) {
                    arriving.through_teacher.insert(*dataset);
                } else {
                    let path = || path.iter().cloned().chain([step.clone()]).collect();
                    arriving.data.entry(*dataset).or_insert_with(|| (path(), *edge));
                }
            }
        }
        let trained = trained_by.get(stage).into_iter().flatten().copied();
        // What a stage gives is made of what arrived, whether or not it says that it trains it.
        let given = graph.nodes[*stage].signature.as_ref().and_then(zskt_api::Signature::network);
        for name in trained.chain(given) {
            let network = reached.entry(name.to_owned()).or_default();
            network.through_teacher.extend(&arriving.through_teacher);
            for (dataset, (path, edge)) in &arriving.data {
                let path = || path.iter().cloned().chain([name.to_owned()]).collect();
                network.data.entry(*dataset).or_insert_with(|| (path(), *edge));
            }
        }
    }
    reached
}

/// The edges into a stage, and those into the turns that lead to it.
fn arriving_links<'g>(graph: &'g PipelineGraph<'g>, stage: usize) -> Vec<&'g Link<'g>> {
    let mut links = Vec::new();
    for link in graph.into(stage) {
        let turn = link.from.filter(|from| graph.nodes[*from].output() == Some(PortType::Turn));
        links.extend(turn.into_iter().flat_map(|turn| graph.into(turn)));
        links.push(link);
    }
    // A network's own edge shows its way more plainly than a turn's.
    links.sort_by_key(|link| link.to != stage);
    links
}
