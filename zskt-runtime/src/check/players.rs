//! Players: which stage changes which network, and whether turns, stages and readers of a network agree about it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use zskt_api::{Diagnostic, PluginKind, PortType};

use super::graph::{Link, PipelineGraph};
use super::order;
use crate::text_format;

/// How often it is searched for readers that contradict each other: the first few are reason enough to refuse a pipeline.
const MAX_CONTRADICTIONS: usize = 10;

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
        let mut networks = HashSet::new();
        let direct = graph.into(stage).filter(|link| graph.port(link).trains).map(|link| (link, link));
        let by_turns = graph.into(stage).filter_map(|link| Some((link, player_of(graph, link)?)));
        for (link, player) in direct.chain(by_turns) {
            let Some(network) = graph.network(player) else { continue };
            if networks.insert(network) {
                found.push(Training { network, stage, link, player });
            }
        }
    }
    found
}

/// The networks that a node trains: a turn its player, a stage what it changes.
pub fn trained_by(graph: &PipelineGraph<'_>, trainings: &[Training<'_>], node: usize) -> BTreeSet<String> {
    let by_stage = trainings.iter().filter(|training| training.stage == node).map(|training| training.network);
    let by_turn = player(graph, node).and_then(|player| graph.network(player));
    by_stage.chain(by_turn).map(str::to_owned).collect()
}

/// The stages, in the order of the file.
pub fn stages<'g>(graph: &'g PipelineGraph<'_>) -> impl Iterator<Item = usize> + 'g {
    (0..graph.nodes.len()).filter(|node| graph.nodes[*node].kind() == Some(PluginKind::Stage))
}

/// The edge that brings a turn its player, for an edge that brings a turn.
fn player_of<'g>(graph: &'g PipelineGraph<'g>, link: &Link<'_>) -> Option<&'g Link<'g>> {
    player(graph, link.from?)
}

/// The edge that brings a turn its player.
fn player<'g>(graph: &'g PipelineGraph<'g>, turn: usize) -> Option<&'g Link<'g>> {
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
    teachers_are_frozen(graph, trainings, problems);
    let (trained, readers) = ancestry(graph, trainings);
    let mut doubled = HashSet::new();
    for pair in trained.windows(2) {
        if pair[0].training.network == pair[1].training.network && trained_twice(graph, &pair[0], &pair[1], problems) {
            doubled.insert(pair[0].training.network);
        }
    }
    readers_come_first(graph, &trained, &doubled, &readers, problems)
}

/// A training among those of its network, each after those that lead to it.
struct Lineage<'t, 'g> {
    training: &'t Training<'g>,
    /// Its place among all trainings.
    index: usize,
    /// Whether it leads to the next one of its network, and to what brings that its network.
    leads_to_next: bool,
    leads_to_source_of_next: bool,
}

/// A stage or a metric that reads a network that some stage trains, with the edge that brings it.
struct Reader {
    link: usize,
    /// How many trainings of the network lead to what brings it, and to the reader: where each follows the one before, the first ones.
    before_source: usize,
    before_reader: usize,
}

/// The trainings, network by network, and the readers of each network.
fn ancestry<'t, 'g>(
    graph: &'t PipelineGraph<'t>,
    trainings: &'t [Training<'g>],
) -> (Vec<Lineage<'t, 'g>>, BTreeMap<&'t str, Vec<Reader>>) {
    let order = order::sorted(graph, &[]);
    let mut position = vec![0; graph.nodes.len()];
    order.iter().enumerate().for_each(|(place, node)| position[*node] = place);
    let lineage = |(index, training): (usize, &'t Training<'g>)| Lineage {
        training,
        index,
        leads_to_next: false,
        leads_to_source_of_next: false,
    };
    let mut trained: Vec<_> = trainings.iter().enumerate().map(lineage).collect();
    trained.sort_by_key(|one| (one.training.network, position[one.training.stage]));
    let mut readers: BTreeMap<&str, Vec<Reader>> =
        trainings.iter().map(|training| (training.network as &str, Vec::new())).collect();
    for (index, link) in graph.links.iter().enumerate() {
        let reads = matches!(graph.nodes[link.to].kind(), Some(PluginKind::Stage | PluginKind::Metric));
        if reads
            && graph.brings_network(link)
            && let Some(readers) = graph.network(link).and_then(|network| readers.get_mut(network))
        {
            readers.push(Reader { link: index, before_source: 0, before_reader: 0 });
        }
    }
    // As many at once as a word has bits.
    for start in (0..trained.len()).step_by(64) {
        let end = trained.len().min(start + 64);
        let reached = graph.reached_from(trained[start..end].iter().map(|one| one.training.stage), &order);
        for one in start..end.min(trained.len() - 1) {
            let (bit, next) = (1 << (one - start), trained[one + 1].training);
            trained[one].leads_to_next = reached[next.stage] & bit != 0;
            trained[one].leads_to_source_of_next = next.link.from.is_some_and(|from| reached[from] & bit != 0);
        }
        let mut first = start;
        for same in trained[start..end].chunk_by(|one, other| one.training.network == other.training.network) {
            let bits = (u64::MAX >> (64 - same.len())) << (first - start);
            first += same.len();
            for reader in readers.get_mut(same[0].training.network).into_iter().flatten() {
                let link = &graph.links[reader.link];
                let count = |node: usize| (reached[node] & bits).count_ones() as usize;
                reader.before_source += link.from.map_or(0, count);
                reader.before_reader += count(link.to);
            }
        }
    }
    (trained, readers)
}

fn turns_update_networks_of_their_stage(graph: &PipelineGraph<'_>, stage: usize, problems: &mut Vec<Diagnostic>) {
    let unknown =
        graph.into(stage).any(|other| graph.port(other).accepts != PortType::Turn && unknown_network(graph, other));
    let arriving =
        || graph.into(stage).filter(|link| graph.brings_network(link)).filter_map(|link| graph.network(link));
    let networks: HashSet<&str> = arriving().collect();
    for link in graph.into(stage) {
        let Some(player) = player_of(graph, link) else { continue };
        let Some(network) = graph.network(player) else { continue };
        // A stage that refuses the turn has said why, in words of its own.
        if !networks.contains(network) && !unknown && !link.is_refused {
            let (stage_name, turn) = (graph.name(stage), &link.edge.from.text);
            problems.push(
                Diagnostic::at(
                    link.edge.span,
                    format!("the turn `{turn}` updates `{network}`, which takes no part in `{stage_name}`"),
                )
                .label("its loss cannot reach its player")
                .related(player.edge.span, "the player")
                .help(format!("networks of `{stage_name}`: {}", text_format::some_of(arriving()))),
            );
        }
    }
}

/// Whether a network should arrive along an edge, but it is not known which.
fn unknown_network(graph: &PipelineGraph<'_>, link: &Link<'_>) -> bool {
    link.from.is_none_or(|_| graph.brings_network(link) && graph.network(link).is_none())
}

fn teachers_are_frozen(graph: &PipelineGraph<'_>, trainings: &[Training<'_>], problems: &mut Vec<Diagnostic>) {
    let trained: HashMap<_, _> =
        trainings.iter().map(|training| ((training.stage, training.network), training)).collect();
    for link in graph.links.iter().filter(|link| graph.brings_knowledge(link)) {
        let Some(training) = graph.network(link).and_then(|network| trained.get(&(link.to, network))) else { continue };
        let (stage, port) = (graph.name(training.stage), graph.port(link).name);
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

/// Reports two stages that train the same network, one right after the other, without the second continuing from the first.
fn trained_twice(
    graph: &PipelineGraph<'_>,
    first: &Lineage<'_, '_>,
    second: &Lineage<'_, '_>,
    problems: &mut Vec<Diagnostic>,
) -> bool {
    let (one, other) = (first.training, second.training);
    if !first.leads_to_next {
        let (one, other) = if first.index < second.index { (one, other) } else { (other, one) };
        problems.push(not_continued(graph, one, other));
        return true;
    }
    // A generator cannot be passed on by a stage: that the second follows the first in some way is all there can be.
    let classifier =
        graph.find(one.network).is_some_and(|node| graph.nodes[node].output() == Some(PortType::Classifier));
    let direct = std::ptr::eq(other.link, other.player);
    if classifier && direct && !first.leads_to_source_of_next {
        problems.push(not_continued(graph, one, other));
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
    trained: &[Lineage<'_, '_>],
    doubled: &HashSet<&str>,
    readers: &BTreeMap<&str, Vec<Reader>>,
    problems: &mut Vec<Diagnostic>,
) -> Vec<(usize, usize)> {
    let mut wanted = Vec::new();
    let networks = trained.chunk_by(|one, other| one.training.network == other.training.network);
    // Where the order of two trainings is not known, no other is.
    for trained in networks.filter(|trained| !doubled.contains(trained[0].training.network)) {
        for reader in readers.get(trained[0].training.network).into_iter().flatten() {
            // Each training leads to the next: who comes before one comes before all after it.
            let Some(next) = trained.get(reader.before_source) else { continue };
            let link = &graph.links[reader.link];
            if link.to == next.training.stage {
                continue;
            }
            if reader.before_reader > reader.before_source {
                problems.extend(read_too_late(graph, link, next.training));
            } else {
                wanted.push((next.index, reader.link, next.training));
            }
        }
    }
    wanted.sort_by_key(|(index, link, _)| (*index, *link));
    let mut seen = HashSet::new();
    wanted.retain(|(_, link, training)| seen.insert((graph.links[*link].to, training.stage)));
    for _ in 0..MAX_CONTRADICTIONS {
        let pairs: Vec<_> = wanted.iter().map(|(_, link, next)| (graph.links[*link].to, next.stage)).collect();
        let fits = |count: usize| order::sorted(graph, &pairs[..count]).len() == graph.nodes.len();
        if fits(pairs.len()) {
            return pairs;
        }
        // The first that contradicts those before it.
        let (mut fitting, mut contradicting) = (0, pairs.len());
        while contradicting - fitting > 1 {
            let middle = usize::midpoint(fitting, contradicting);
            if fits(middle) { fitting = middle } else { contradicting = middle }
        }
        let (_, link, training) = wanted.remove(fitting);
        problems.extend(read_too_late(graph, &graph.links[link], training));
    }
    Vec::new()
}

fn read_too_late(graph: &PipelineGraph<'_>, link: &Link<'_>, training: &Training<'_>) -> Option<Diagnostic> {
    if link.from.is_none_or(|source| graph.nodes[source].output() != Some(PortType::Classifier)) {
        return None;
    }
    let (stage, reader) = (graph.name(training.stage), graph.name(link.to));
    Some(
        Diagnostic::at(
            link.edge.span,
            format!("`{reader}` reads `{}` as it is before `{stage}` trains it, but runs after that", training.network),
        )
        .label("by then it has changed")
        .related(training.player.edge.span, format!("`{stage}` changes it"))
        .help(format!("take it from the stage: \"{stage} -> {reader}.{}\"", graph.port(link).name)),
    )
}
