//! What is probably not meant, though it can be run.

use std::collections::{HashMap, HashSet};

use zskt_api::{Diagnostic, LossInputs, PluginKind, PortType, Signature, TurnSignature};

use super::graph::{Link, PipelineGraph};
use super::players::Training;
use super::signatures::head;
use crate::parameter_count;
use crate::text_format;

/// Warns of students that are larger than their teacher or learn nothing from it, and of networks that are measured and never trained, or only
/// before they are.
pub fn find(graph: &PipelineGraph<'_>, trainings: &[Training<'_>], problems: &mut Vec<Diagnostic>) {
    if problems.iter().any(Diagnostic::is_error) {
        return;
    }
    let mut counted = HashMap::new();
    problems.extend(trainings.iter().filter_map(|training| larger_than_its_teacher(graph, training, &mut counted)));
    problems.extend(trainings.iter().filter_map(|training| ignores_its_teacher(graph, training)));
    let trained: HashSet<&str> = trainings.iter().map(|training| training.network).collect();
    problems.extend(graph.links.iter().filter_map(|link| measured_untrained(graph, link, &trained)));
    problems.extend(graph.links.iter().filter_map(|link| measured_before(graph, link, trainings)));
}

/// `counted` keeps the parameters of equal networks: counting them takes making one.
fn larger_than_its_teacher<'g>(
    graph: &'g PipelineGraph<'_>,
    training: &Training<'_>,
    counted: &mut HashMap<&'g str, Option<usize>>,
) -> Option<Diagnostic> {
    let mut parameters = |network: &str| {
        let index = graph.find(network)?;
        let node = &graph.nodes[index];
        let parsed = node.parsed.as_ref().filter(|_| node.output() == Some(PortType::Classifier))?;
        let count = *counted.entry(&parsed.ron).or_insert_with(|| parameter_count::of(parsed.instance()));
        Some((index, count?))
    };
    let teacher = graph.into(training.stage).find(|link| graph.brings_knowledge(link))?;
    let (teacher, knows) = parameters(graph.network(teacher)?)?;
    let (student, learns) = parameters(training.network)?;
    let [shown_student, shown_teacher] = [learns, knows].map(text_format::count);
    let (name, of) = (graph.name(student), graph.name(teacher));
    (learns > knows).then(|| {
        Diagnostic::at(
            head(graph.nodes[student].value),
            format!(
                "the student `{name}` has {shown_student} parameters, more than its teacher `{of}` with {shown_teacher}"
            ),
        )
        .label("larger than its teacher")
        .related(head(graph.nodes[teacher].value), format!("`{of}`"))
        .help("a student is usually smaller: are the two exchanged?")
        .warning()
    })
}

/// A stage whose turns have a teacher at hand, and no loss by which their student would follow it.
fn ignores_its_teacher(graph: &PipelineGraph<'_>, training: &Training<'_>) -> Option<Diagnostic> {
    let (stage, student) = (training.stage, training.network);
    graph.find(student).filter(|node| graph.nodes[*node].output() == Some(PortType::Classifier))?;
    let teacher = graph.into(stage).find(|link| graph.brings_knowledge(link))?;
    let (turns, others): (Vec<_>, Vec<_>) =
        turns_of(graph, stage).into_iter().partition(|(_, turn)| turn.network == training.network);
    let any = |turns: &[(usize, &TurnSignature)], is: &dyn Fn(LossInputs) -> bool| {
        turns.iter().any(|(_, turn)| turn.losses.iter().any(|loss| is(loss.needs())))
    };
    if any(&turns, &|needs| needs.student && needs.teacher) {
        return None;
    }
    // Images that its teacher takes for given classes teach by these.
    if any(&turns, &|needs| needs.labels) && any(&others, &|needs| needs.teacher && needs.labels) {
        return None;
    }
    let (first, _) = turns.first()?;
    let loss = graph.nodes[*first].ports.iter().find(|port| port.accepts == PortType::Loss)?.name;
    let names: Vec<_> = turns.iter().map(|(turn, _)| format!("`{}`", graph.name(*turn))).collect();
    let (names, first) = (names.join(" or "), graph.name(*first));
    let (stage_name, teacher_name) = (graph.name(stage), graph.network(teacher).unwrap_or(&teacher.edge.from.text));
    let message = format!(
        "nothing in `{stage_name}` makes `{student}` learn from `{teacher_name}`: no loss of {names} compares the two"
    );
    let help = format!(
        "add a loss that looks at both, such as `KlDivergence()`, and an edge from it to `{first}.{loss}`; what learns without a teacher is \
         trained by `Train`"
    );
    Some(
        Diagnostic::at(head(graph.nodes[stage].value), message)
            .label("its teacher teaches nothing")
            .related(teacher.edge.span, "the teacher")
            .help(help)
            .warning(),
    )
}

/// The turns of a stage, and what is known of them.
fn turns_of<'g>(graph: &'g PipelineGraph<'_>, stage: usize) -> Vec<(usize, &'g TurnSignature)> {
    let turn = |from: usize| match &graph.nodes[from].signature {
        Some(Signature::Turn(turn)) => Some((from, turn)),
        _ => None,
    };
    graph.into(stage).filter_map(|link| link.from).filter_map(turn).collect()
}

fn measured_untrained(graph: &PipelineGraph<'_>, link: &Link<'_>, trained: &HashSet<&str>) -> Option<Diagnostic> {
    let (from, metric) = (link.from?, &graph.nodes[link.to]);
    let untrained = graph.nodes[from].kind() == Some(PluginKind::Architecture) && !trained.contains(graph.name(from));
    (metric.kind() == Some(PluginKind::Metric) && untrained).then(|| {
        let name = graph.name(from);
        Diagnostic::at(link.edge.span, format!("`{}` measures `{name}`, which is never trained", metric.name.text))
            .label("its weights are random")
            .help("train it in a stage, or take it from a file with `Checkpoint`")
            .warning()
    })
}

/// A metric of a new network itself where none is of what a stage makes of it.
fn measured_before(graph: &PipelineGraph<'_>, link: &Link<'_>, trainings: &[Training<'_>]) -> Option<Diagnostic> {
    let is_of_metric = |link: &Link<'_>| graph.nodes[link.to].kind() == Some(PluginKind::Metric);
    let network = link.from.filter(|from| graph.nodes[*from].kind() == Some(PluginKind::Architecture))?;
    let network = is_of_metric(link).then(|| graph.name(network))?;
    let of_it = || trainings.iter().filter(|training| training.network == network);
    let last = of_it().next_back()?.stage;
    let is_measured_after = graph
        .links
        .iter()
        .any(|other| is_of_metric(other) && of_it().any(|training| other.from == Some(training.stage)));
    (!is_measured_after).then(|| {
        let (metric, stage) = (&graph.nodes[link.to].name.text, graph.name(last));
        Diagnostic::at(link.edge.span, format!("`{metric}` measures `{network}` before `{stage}` trains it"))
            .label("its weights are those that it begins with")
            .help(format!("`{stage} -> {metric}.{}` measures it afterwards", graph.port(link).name))
            .warning()
    })
}
