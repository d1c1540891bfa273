//! Players: which stage changes which network, and whether turns, stages and readers of a network agree about it.

use zskt_api::{Diagnostic, PluginKind, PortType};

use super::graph::{Link, PipelineGraph};

/// A network that a stage changes.
#[derive(Clone, Copy)]
pub struct Training<'g> {
    /// The network's node.
    pub network: &'g str,
    /// The stage.
    pub stage: usize,
    /// The edge into the stage that makes it so: from the network, or from a turn on it.
    pub link: &'g Link<'g>,
    /// The edge from the network: `link` itself, or the turn's.
    pub player: &'g Link<'g>,
}

/// Every network that a stage changes, once for each such stage, in the order of the stages in the file.
pub fn trainings<'g>(graph: &'g PipelineGraph<'g>) -> Vec<Training<'g>> {
    let mut found: Vec<Training<'g>> = Vec::new();
    for stage in stages(graph) {
        let direct = graph.into(stage).filter(|link| graph.port(link).trains).map(|link| (link, link));
        let by_turns = graph.into(stage).filter_map(|link| Some((link, player_of(graph, link)?)));
        for (link, player) in direct.chain(by_turns) {
            let Some(network) = graph.network(player) else { continue };
            if !found.iter().any(|other| other.stage == stage && other.network == network) {
                found.push(Training { network, stage, link, player });
            }
        }
    }
    found
}

/// The stages, in the order of the file.
pub fn stages<'g>(graph: &'g PipelineGraph<'_>) -> impl Iterator<Item = usize> + 'g {
    (0..graph.nodes.len()).filter(|node| graph.nodes[*node].kind() == Some(PluginKind::Stage))
}

/// The edge that brings a turn its player, for an edge that brings a turn.
fn player_of<'g>(graph: &'g PipelineGraph<'g>, link: &Link<'_>) -> Option<&'g Link<'g>> {
    let turn = link.from?;
    (graph.nodes[turn].output() == Some(PortType::Turn))
        .then(|| graph.into(turn).find(|link| graph.port(link).trains))
        .flatten()
}

/// Reports turns whose player takes no part in their stage, and networks that are changed while others rely on them. Returns the pairs of nodes of
/// which the first must run before the second: who reads a network, and the stage that changes it.
pub fn check(
    graph: &PipelineGraph<'_>,
    trainings: &[Training<'_>],
    problems: &mut Vec<Diagnostic>,
) -> Vec<(usize, usize)> {
    for stage in stages(graph) {
        turns_update_networks_of_their_stage(graph, stage, problems);
    }
    for training in trainings {
        teacher_is_frozen(graph, training, problems);
    }
    let mut doubled = Vec::new();
    for (index, second) in trainings.iter().enumerate() {
        for first in trainings[..index].iter().filter(|first| first.network == second.network) {
            if trained_twice(graph, first, second, problems) {
                doubled.push(second.network);
            }
        }
    }
    readers_come_first(graph, trainings, &doubled, problems)
}

fn turns_update_networks_of_their_stage(graph: &PipelineGraph<'_>, stage: usize, problems: &mut Vec<Diagnostic>) {
    for link in graph.into(stage) {
        let Some(player) = player_of(graph, link) else { continue };
        let Some(network) = graph.network(player) else { continue };
        let unknown =
            graph.into(stage).any(|other| graph.port(other).accepts != PortType::Turn && unknown_network(graph, other));
        let arrives =
            graph.into(stage).any(|other| graph.brings_network(other) && graph.network(other) == Some(network));
        // A stage that refuses the turn has said why, in words of its own.
        if !arrives && !unknown && !link.is_refused {
            let (stage_name, turn) = (graph.name(stage), &link.edge.from.text);
            let networks: Vec<_> = graph
                .into(stage)
                .filter(|other| graph.brings_network(other))
                .filter_map(|other| graph.network(other))
                .collect();
            problems.push(
                Diagnostic::at(
                    link.edge.span,
                    format!("the turn `{turn}` updates `{network}`, which takes no part in `{stage_name}`"),
                )
                .label("its loss cannot reach its player")
                .related(player.edge.span, "the player")
                .help(format!("networks of `{stage_name}`: {}", networks.join(", "))),
            );
        }
    }
}

/// Whether a network should arrive along an edge, but it is not known which.
fn unknown_network(graph: &PipelineGraph<'_>, link: &Link<'_>) -> bool {
    link.from.is_none_or(|_| graph.brings_network(link) && graph.network(link).is_none())
}

fn teacher_is_frozen(graph: &PipelineGraph<'_>, training: &Training<'_>, problems: &mut Vec<Diagnostic>) {
    let stage = graph.name(training.stage);
    let teachers = graph.into(training.stage).filter(|link| graph.brings_knowledge(link));
    for link in teachers.filter(|link| graph.network(link) == Some(training.network)) {
        let port = graph.port(link).name;
        problems.push(
            Diagnostic::at(
                link.edge.span,
                format!("`{}` is the {port} of `{stage}`, which also trains it", training.network),
            )
            .label(format!("as {port}, it must not change"))
            .related(training.player.edge.span, "here it is trained")
            .help("two nodes with the same parameters are two networks"),
        );
    }
}

/// Reports two stages that train the same network without the second continuing from the first.
fn trained_twice(
    graph: &PipelineGraph<'_>,
    one: &Training<'_>,
    other: &Training<'_>,
    problems: &mut Vec<Diagnostic>,
) -> bool {
    let (first, second) = match (graph.leads(one.stage, other.stage), graph.leads(other.stage, one.stage)) {
        (true, _) => (one, other),
        (_, true) => (other, one),
        _ => {
            problems.push(not_continued(graph, one, other));
            return true;
        }
    };
    // A generator cannot be passed on by a stage: that the second follows the first in some way is all there can be.
    let classifier =
        graph.find(first.network).is_some_and(|node| graph.nodes[node].output() == Some(PortType::Classifier));
    let direct = std::ptr::eq(second.link, second.player);
    let continued = second.link.from.is_some_and(|source| graph.leads(first.stage, source));
    if classifier && direct && !continued {
        problems.push(not_continued(graph, first, second));
        return true;
    }
    false
}

fn not_continued(graph: &PipelineGraph<'_>, first: &Training<'_>, second: &Training<'_>) -> Diagnostic {
    let (one, other) = (graph.name(first.stage), graph.name(second.stage));
    let problem = Diagnostic::at(
        second.player.edge.span,
        format!("`{}` is trained by `{one}` and by `{other}`, each from its beginning", first.network),
    )
    .label(format!("for `{other}`"))
    .related(first.player.edge.span, format!("for `{one}`"));
    let gives = graph.nodes[first.stage].signature.as_ref().and_then(zskt_api::Signature::network);
    if gives == Some(first.network) && std::ptr::eq(second.link, second.player) {
        let port = graph.port(second.link).name;
        return problem
            .help(format!("to continue, write \"{one} -> {other}.{port}\"; to begin anew, add another node"));
    }
    problem.help("to begin anew, add another node")
}

/// Who reads a network as it was before a stage changed it, has to do so before.
fn readers_come_first(
    graph: &PipelineGraph<'_>,
    trainings: &[Training<'_>],
    doubled: &[&str],
    problems: &mut Vec<Diagnostic>,
) -> Vec<(usize, usize)> {
    let mut before: Vec<(usize, usize)> = Vec::new();
    let mut shape = graph.shape.clone();
    // Where the order of two trainings is not known, no other is.
    for training in trainings.iter().filter(|training| !doubled.contains(&training.network)) {
        for link in graph.links.iter().filter(|link| link.to != training.stage && graph.brings_network(link)) {
            let (Some(source), reader) = (link.from, link.to) else { continue };
            let reads = matches!(graph.nodes[reader].kind(), Some(PluginKind::Stage | PluginKind::Metric));
            let pair = (reader, training.stage);
            if !reads
                || graph.network(link) != Some(training.network)
                || graph.leads(training.stage, source)
                || before.contains(&pair)
            {
                continue;
            }
            let (from, to) = (petgraph::graph::NodeIndex::new(training.stage), petgraph::graph::NodeIndex::new(reader));
            if !petgraph::algo::has_path_connecting(&shape, from, to, None) {
                shape.update_edge(to, from, ());
                before.push(pair);
            } else if graph.nodes[source].output() == Some(PortType::Classifier) {
                let (stage, reader) = (graph.name(training.stage), graph.name(reader));
                problems.push(
                    Diagnostic::at(
                        link.edge.span,
                        format!(
                            "`{reader}` reads `{}` as it is before `{stage}` trains it, but runs after that",
                            training.network
                        ),
                    )
                    .label("by then it has changed")
                    .related(training.player.edge.span, format!("`{stage}` changes it"))
                    .help(format!("take it from the stage: \"{stage} -> {reader}.{}\"", graph.port(link).name)),
                );
            }
        }
    }
    before
}
