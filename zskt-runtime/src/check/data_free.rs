//! The data-free proof: from where training images reach the networks that stages train.
//!
//! A dataset that arrives at a stage, along an edge or as a parameter of the stage, its turns or their losses, reaches every
//! network that the stage trains, and a network that was reached carries it on to those it is trained with, as does a generator
//! with its images. Only one way does not count: what a classifier that does not change tells, which is a teacher's knowledge.
//!
//! A plugin may also read images from outside. Where one has a part in the training and does not declare to read nothing, it is not
//! known what reached the network, and nothing is proven.

use std::collections::{BTreeMap, BTreeSet};

use zskt_api::{Diagnostic, ParsedPlugin, PluginKind, PluginRegistration, PortType, Reads, Span, Value, nearest_name};

use super::graph::{GraphNode, Link, PipelineGraph};
use super::players::Training;
use super::signatures::{head, parameter_span};
use crate::library::is_standard;
use crate::pipeline::{DataFree, PipelineSyntax};
use crate::plan::{DataFreeProof, OutsideReader};

/// What brings images or may do so: a node, or a plugin among its parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    node: usize,
    /// The way to the parameter; empty for the node itself.
    parameter: String,
}

impl Source {
    fn place(&self, graph: &PipelineGraph<'_>) -> String {
        match self.parameter.as_str() {
            "" => graph.name(self.node).to_owned(),
            parameter => format!("{}.{parameter}", graph.name(self.node)),
        }
    }

    fn within(&self, parameter: &str) -> Self {
        let parameter = match self.parameter.as_str() {
            "" => parameter.to_owned(),
            outer => format!("{outer}.{parameter}"),
        };
        Self { node: self.node, parameter }
    }
}

/// What reached a network.
#[derive(Clone, Default)]
struct Reached {
    /// Datasets whose images reached it, each with the way it took and the place where that began.
    data: BTreeMap<Source, (Vec<String>, Span)>,
    /// Datasets that shaped its teachers.
    through_teacher: BTreeSet<Source>,
    /// What may have read images from outside on the way.
    unknown: BTreeMap<Source, OutsideReader>,
    /// What others than zskt say that they have not read from outside.
    on_its_word: BTreeMap<Source, OutsideReader>,
}

impl Reached {
    /// Adds what reached this by another network or node, along one more step.
    fn extend(&mut self, other: &Self, step: &str) {
        self.through_teacher.extend(other.through_teacher.iter().cloned());
        self.unknown.extend(other.unknown.clone());
        self.on_its_word.extend(other.on_its_word.clone());
        for (dataset, (path, place)) in &other.data {
            let path = || path.iter().cloned().chain([step.to_owned()]).collect();
            self.data.entry(dataset.clone()).or_insert_with(|| (path(), *place));
        }
    }
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
        for (dataset, (path, entrance)) in &found.data {
            let path = path.join(" -> ");
            let what = if dataset.parameter.is_empty() { "edge" } else { "parameter" };
            problems.push(
                Diagnostic::at(place, format!("`{name}` is not data-free: {path}"))
                    .label(format!("claims that no training image reaches `{name}`"))
                    .related(*entrance, format!("`{}` enters here", dataset.place(graph)))
                    .help(format!(
                        "leave out the {what} or the claim; a dataset may lead to metrics, and to the stage that trains a teacher"
                    )),
            );
        }
        if found.data.is_empty() {
            proofs.push(DataFreeProof {
                network: name.to_owned(),
                through_teacher: found.through_teacher.iter().map(|dataset| dataset.place(graph)).collect(),
                unknown: found.unknown.into_values().collect(),
                on_its_word: found.on_its_word.into_values().collect(),
            });
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
        let trained = |node: &usize| trainings.iter().any(|training| training.network == graph.name(*node));
        return (0..graph.nodes.len()).filter(trained).map(|node| (node, claim.span)).collect();
    };
    let is_network = |node: usize| {
        matches!(
            graph.nodes[node].kind(),
            Some(PluginKind::Architecture | PluginKind::Generator | PluginKind::Teacher) | None
        )
    };
    let mut found = Vec::new();
    for name in names {
        let networks = || (0..graph.nodes.len()).filter(|node| is_network(*node)).map(|node| graph.name(node));
        let help = format!("networks: {}", networks().collect::<Vec<_>>().join(", "));
        match graph.find(&name.text) {
            Some(node) if is_network(node) => found.push((node, name.span)),
            Some(_) => problems.push(
                Diagnostic::at(name.span, format!("`{}` is not a network", name.text))
                    .label("expected a network")
                    .help(help),
            ),
            None => {
                let label = nearest_name(&name.text, networks())
                    .map_or("unknown node".into(), |near| format!("did you mean `{near}`?"));
                problems.push(
                    Diagnostic::at(name.span, format!("there is no node `{}`", name.text)).label(label).help(help),
                );
            }
        }
    }
    found
}

/// Follows the images through the stages, in the order in which they run.
fn follow(graph: &PipelineGraph<'_>, order: &[usize], trainings: &[Training<'_>]) -> BTreeMap<String, Reached> {
    // A network is made of what its node reads.
    let made = (0..graph.nodes.len()).filter(|node| graph.nodes[*node].kind() != Some(PluginKind::Stage));
    let mut reached: BTreeMap<String, Reached> =
        made.map(|node| (graph.name(node).to_owned(), brought_by(graph, node))).collect();
    for stage in order.iter().copied().filter(|node| graph.nodes[*node].kind() == Some(PluginKind::Stage)) {
        let mut arriving = brought_by(graph, stage);
        for link in arriving_links(graph, stage) {
            let Some(from) = link.from else { continue };
            let step = format!("{}.{}", graph.name(link.to), graph.port(link).name);
            match graph.nodes[from].output() {
                Some(PortType::Dataset) => {
                    let dataset = Source { node: from, parameter: String::new() };
                    let path = || vec![graph.name(from).to_owned(), step];
                    arriving.data.entry(dataset).or_insert_with(|| (path(), link.edge.span));
                }
                Some(PortType::Turn | PortType::Loss) => arriving.extend(&brought_by(graph, from), &step),
                _ => {
                    let Some(before) = graph.network(link).and_then(|network| reached.get(network)) else { continue };
                    if graph.brings_knowledge(link) {
                        arriving
                            .through_teacher
                            .extend(before.through_teacher.iter().chain(before.data.keys()).cloned());
                    } else {
                        arriving.extend(before, &step);
                    }
                }
            }
        }
        let trained = trainings.iter().filter(|training| training.stage == stage).map(|training| training.network);
        // What a stage gives is made of what arrived, whether or not it says that it trains it.
        let given = graph.nodes[stage].signature.as_ref().and_then(zskt_api::Signature::network);
        for name in trained.chain(given) {
            reached.entry(name.to_owned()).or_default().extend(&arriving, name);
        }
    }
    reached
}

/// What a node brings by itself: by its parameters, the plugins among them, and what these read from outside. That a teacher source
/// reads a file is a teacher's knowledge.
fn brought_by(graph: &PipelineGraph<'_>, node: usize) -> Reached {
    let mut brought = Reached::default();
    let GraphNode { registration: Some(registration), parsed: Some(parsed), value, .. } = &graph.nodes[node] else {
        return brought;
    };
    add_plugin(graph, &Source { node, parameter: String::new() }, registration, parsed, value, &mut brought);
    brought
}

fn add_plugin(
    graph: &PipelineGraph<'_>,
    source: &Source,
    registration: &'static PluginRegistration,
    parsed: &ParsedPlugin,
    value: &Value,
    brought: &mut Reached,
) {
    let kind = graph.nodes[source.node].kind();
    match registration.kind {
        // One that is a node is followed along its edges.
        PluginKind::Dataset if source.parameter.is_empty() => return,
        PluginKind::Dataset => {
            let entrance = parameter_span(value, &source.parameter).unwrap_or_else(|| head(value));
            let path = vec![source.place(graph), graph.name(source.node).to_owned()];
            brought.data.insert(source.clone(), (path, entrance));
            return;
        }
        PluginKind::Teacher => {
            let datasets =
                parsed.all_nested().into_iter().filter(|nested| nested.registration.kind == PluginKind::Dataset);
            brought.through_teacher.extend(datasets.map(|nested| source.within(&nested.parameter)));
            // A network that is made of one begins with its weights.
            if source.parameter.is_empty() || !matches!(kind, Some(PluginKind::Architecture | PluginKind::Generator)) {
                return;
            }
        }
        _ => {}
    }
    // Whoever is given a path reads it, whatever else is declared.
    let reads = match registration.reads {
        Some(Reads::None) if !parsed.paths.is_empty() => Some(Reads::Files),
        reads => reads,
    };
    let reader = || OutsideReader { place: source.place(graph), registration, reads };
    if reads != Some(Reads::None) {
        brought.unknown.insert(source.clone(), reader());
    } else if !is_standard(registration) {
        brought.on_its_word.insert(source.clone(), reader());
    }
    for nested in &parsed.nested {
        add_plugin(graph, &source.within(&nested.parameter), nested.registration, &nested.parsed, value, brought);
    }
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
