//! The data-free proof: from where training images reach the networks that stages train.
//!
//! A dataset that arrives at a stage, along an edge or as a parameter of the stage, its turns or their losses, reaches every
//! network that the stage trains, and a network that was reached carries it on to those it is trained with, as does a generator
//! with its images. Only one way does not count: what a classifier that does not change tells, which is a teacher's knowledge.
//!
//! What a generator reads that describes classes and is no image, such as vectors of their names, is named as metadata.
//! A metric's images teach nobody anything, whatever weights are kept beside the last because of it. But where it ends a stage
//! (`patience`), its images decide how long every network of that stage is trained, and so they reach it.
//!
//! A plugin may also read images from outside. Where one has a part in the training and does not declare to read nothing, it is not
//! known what reached the network, and nothing is proven.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zskt_api::{
    Diagnostic, ParsedPlugin, PluginInstance, PluginKind, PluginRegistration, PortType, Reads, Span, Value,
};

use super::graph::{GraphNode, Link, PipelineGraph};
use super::players::Training;
use super::selection::Choice;
use super::signatures::{head, parameter_value};
use crate::library::is_standard;
use crate::pipeline::{DataFree, PipelineSyntax};
use crate::plan::{DataFreeProof, Metadata, OutsideReader, reads_of};
use crate::text_format;

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

/// How the images of a dataset reached a network.
#[derive(Clone)]
struct Way {
    /// From the dataset on.
    path: Vec<String>,
    /// The place where it began.
    entrance: Span,
    /// Whether they only ended a stage.
    by_patience: bool,
}

/// What reached a network.
#[derive(Clone, Default)]
struct Reached {
    /// Datasets whose images reached it.
    data: BTreeMap<Source, Way>,
    /// Datasets that shaped its teachers.
    through_teacher: BTreeSet<Source>,
    /// What is no image and was read from files on the way.
    metadata: BTreeSet<Metadata>,
    /// What may have read images from outside on the way.
    unknown: BTreeMap<Source, OutsideReader>,
    /// What others than zskt say that they have not read from outside.
    on_its_word: BTreeMap<Source, OutsideReader>,
}

impl Reached {
    /// Adds what reached this by another network or node, along one more step.
    fn extend(&mut self, other: &Self, step: &str) {
        self.through_teacher.extend(other.through_teacher.iter().cloned());
        self.metadata.extend(other.metadata.iter().cloned());
        self.unknown.extend(other.unknown.clone());
        self.on_its_word.extend(other.on_its_word.clone());
        for (dataset, way) in &other.data {
            let path = || way.path.iter().cloned().chain([step.to_owned()]).collect();
            self.data.entry(dataset.clone()).or_insert_with(|| Way { path: path(), ..*way });
        }
    }
}

/// Proves the pipeline's claim, if it makes one, or reports how it is violated.
pub fn prove(
    graph: &PipelineGraph<'_>,
    pipeline: &PipelineSyntax,
    order: &[usize],
    trainings: &[Training<'_>],
    choices: &[Choice],
    problems: &mut Vec<Diagnostic>,
) -> Vec<DataFreeProof> {
    let Some(claim) = &pipeline.data_free else { return Vec::new() };
    let reached = follow(graph, order, trainings, choices);
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
        for (dataset, Way { path, entrance, by_patience }) in &found.data {
            let path = path.join(" -> ");
            let help = match (by_patience, dataset.parameter.is_empty()) {
                (true, _) => "its images would decide how long that is trained: leave out `patience` or the claim; \
                              `keep: Best(…)` without `patience` leaves the last weights as they are"
                    .to_owned(),
                (false, is_node) => format!(
                    "leave out the {} or the claim; a dataset may lead to metrics, and to the stage that trains a teacher",
                    if is_node { "edge" } else { "parameter" }
                ),
            };
            problems.push(
                Diagnostic::at(place, format!("`{name}` is not data-free: {path}"))
                    .label(format!("claims that no training image reaches `{name}`"))
                    .related(*entrance, format!("`{}` enters here", dataset.place(graph)))
                    .help(help),
            );
        }
        if found.data.is_empty() {
            proofs.push(DataFreeProof {
                network: name.to_owned(),
                through_teacher: found.through_teacher.iter().map(|dataset| dataset.place(graph)).collect(),
                metadata: found.metadata.into_iter().collect(),
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
fn follow(
    graph: &PipelineGraph<'_>,
    order: &[usize],
    trainings: &[Training<'_>],
    choices: &[Choice],
) -> BTreeMap<String, Reached> {
    // A network is made of what its node reads.
    let made = (0..graph.nodes.len()).filter(|node| graph.nodes[*node].kind() != Some(PluginKind::Stage));
    let mut reached: BTreeMap<String, Reached> =
        made.map(|node| (graph.name(node).to_owned(), brought_by(graph, node))).collect();
    let mut trained_by: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for training in trainings {
        trained_by.entry(training.stage).or_default().push(training.network);
    }
    // What arrived at each stage, which whatever it gives is made of.
    let mut at_stage: BTreeMap<usize, Reached> = BTreeMap::new();
    for stage in order.iter().copied().filter(|node| graph.nodes[*node].kind() == Some(PluginKind::Stage)) {
        let mut arriving = brought_by(graph, stage);
        // What is knowledge to a network that is trained is what one of the stage's own making begins with.
        let mut as_weights = weights_among_parameters(graph, stage);
        let mut networks = BTreeSet::new();
        let links = arriving_links(graph, stage);
        for link in &links {
            let Some(from) = link.from else { continue };
            let step = format!("{}.{}", graph.name(link.to), graph.port(link).name);
            if graph.nodes[from].output() == Some(PortType::Dataset) {
                let dataset = Source { node: from, parameter: String::new() };
                let way = || Way { path: vec![graph.name(from).to_owned(), step], ..entering(link) };
                arriving.data.entry(dataset).or_insert_with(way);
                continue;
            }
            let network = graph.network(link).filter(|_| graph.brings_network(link));
            networks.extend(network);
            let mut before = network.and_then(|network| reached.get(network)).cloned().unwrap_or_default();
            match at_stage.get(&from) {
                Some(stage) => before.extend(stage, graph.name(from)),
                None if network.is_none() => arriving.extend(&brought_by(graph, from), &step),
                None => {}
            }
            if graph.brings_knowledge(link) {
                as_weights.extend(&before, &step);
                as_weights.unknown.extend(read_by_teacher(graph, from));
                arriving.through_teacher.extend(before.through_teacher.into_iter().chain(before.data.into_keys()));
            } else {
                arriving.extend(&before, &step);
            }
        }
        for choice in choices.iter().filter(|choice| choice.stage == stage && choice.selection.patience.is_some()) {
            let mut seen = seen_by_metric(graph, choice.metric);
            seen.data.values_mut().for_each(|way| way.by_patience = true);
            arriving.extend(&seen, &format!("{}.patience", graph.name(stage)));
        }
        let trained = trained_by.get(&stage).into_iter().flatten().copied();
        let of_turns = links.iter().filter(|link| graph.port(link).trains).filter_map(|link| graph.network(link));
        for name in trained.chain(of_turns).collect::<BTreeSet<_>>() {
            reached.entry(name.to_owned()).or_default().extend(&arriving, name);
        }
        // What a stage gives is made of what arrived, whether or not it says that it trains it.
        let given = graph.nodes[stage].signature.as_ref().and_then(zskt_api::Signature::network);
        if given.is_none_or(|given| !networks.contains(given)) {
            as_weights.through_teacher.clear();
            arriving.extend(&as_weights, graph.name(stage));
        }
        if let Some(name) = given {
            reached.entry(name.to_owned()).or_default().extend(&arriving, name);
        }
        at_stage.insert(stage, arriving);
    }
    reached
}

/// An edge that brings images, as the beginning of their way.
fn entering(link: &Link<'_>) -> Way {
    Way { path: Vec::new(), entrance: link.edge.span, by_patience: false }
}

/// What a metric looks at: the datasets that arrive, those among its parameters, and what it may read from outside.
fn seen_by_metric(graph: &PipelineGraph<'_>, metric: usize) -> Reached {
    let mut seen = brought_by(graph, metric);
    for link in graph.into(metric) {
        let Some(from) = link.from.filter(|from| graph.nodes[*from].output() == Some(PortType::Dataset)) else {
            continue;
        };
        let path = vec![graph.name(from).to_owned(), format!("{}.{}", graph.name(metric), graph.port(link).name)];
        seen.data.insert(Source { node: from, parameter: String::new() }, Way { path, ..entering(link) });
    }
    seen
}

/// Where the images come from that a metric looks at.
pub fn chosen_on(graph: &PipelineGraph<'_>, metric: usize) -> Vec<String> {
    let seen = seen_by_metric(graph, metric);
    let readers = seen.unknown.values().map(|reader| format!("what {reader} reads"));
    seen.data.keys().map(|dataset| dataset.place(graph)).chain(readers).collect()
}

/// The files of a teacher and of those that it is made of, where its weights themselves are given on.
fn read_by_teacher(graph: &PipelineGraph<'_>, node: usize) -> BTreeMap<Source, OutsideReader> {
    let Some(registration) = graph.nodes[node].registration.filter(|plugin| plugin.kind == PluginKind::Teacher) else {
        return BTreeMap::new();
    };
    let source = Source { node, parameter: String::new() };
    let reader = OutsideReader { place: source.place(graph), registration, reads: registration.reads };
    let mut read = weights_among_parameters(graph, node).unknown;
    read.insert(source, reader);
    read
}

/// The teachers among a node's parameters, as what a network of its own making may begin with.
fn weights_among_parameters(graph: &PipelineGraph<'_>, node: usize) -> Reached {
    let nested = graph.nodes[node].parsed.iter().flat_map(ParsedPlugin::all_nested);
    let teachers = nested.filter(|nested| nested.registration.kind == PluginKind::Teacher).map(|nested| {
        let source = Source { node, parameter: nested.parameter };
        let (registration, reads) = (nested.registration, nested.registration.reads);
        (source.clone(), OutsideReader { place: source.place(graph), registration, reads })
    });
    Reached { unknown: teachers.collect(), ..Reached::default() }
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
            let entrance = parameter_value(value, &source.parameter).map_or_else(|| head(value), |value| value.span);
            let path = vec![source.place(graph), graph.name(source.node).to_owned()];
            brought.data.insert(source.clone(), Way { path, entrance, by_patience: false });
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
    let mut reads = reads_of(registration, &parsed.paths);
    // Whoever declares to read nothing but what its parameters name may say that these are no images.
    if registration.reads == Some(Reads::None)
        && let PluginInstance::Generator(generator) = parsed.instance()
        && let Some(what) = generator.metadata()
    {
        reads = Some(Reads::None);
        brought.metadata.insert(Metadata { place: source.place(graph), what });
    }
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

/// The edges into a stage, and those into the turns that lead to it, and into the turns that lead to these.
fn arriving_links<'g>(graph: &'g PipelineGraph<'g>, stage: usize) -> Vec<&'g Link<'g>> {
    let (mut links, mut nodes, mut seen) = (Vec::new(), VecDeque::from([stage]), BTreeSet::from([stage]));
    while let Some(node) = nodes.pop_front() {
        for link in graph.into(node) {
            let turn = link.from.filter(|from| graph.nodes[*from].output() == Some(PortType::Turn));
            nodes.extend(turn.filter(|turn| seen.insert(*turn)));
            links.push(link);
        }
    }
    // A network's own edge shows its way more plainly than a turn's.
    links.sort_by_key(|link| link.to != stage);
    links
}
