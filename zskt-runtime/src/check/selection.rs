//! Stages that choose their best weights: by a metric that exists, measures what the stage trains, and can be evaluated meanwhile.

use petgraph::graph::NodeIndex;
use zskt_api::{CheckError, Diagnostic, PluginInstance, PluginKind, Score, Selection};

use super::graph::PipelineGraph;
use super::players;
use super::signatures::to_problem;
use super::{data_free, order};
use crate::plan::StageSelection;
use crate::plugin_calls::PluginOfNode;
use crate::text_format;

/// A stage that chooses its best weights by a metric.
pub struct Choice {
    /// The stage's node.
    pub stage: usize,
    /// The metric's.
    pub metric: usize,
    /// What the stage asks for.
    pub selection: Selection,
    /// The metric's figure.
    pub score: Score,
}

impl Choice {
    /// What a plan has of it.
    pub fn planned(&self, graph: &PipelineGraph<'_>) -> StageSelection {
        let chosen_on = data_free::chosen_on(graph, self.metric);
        StageSelection { selection: self.selection.clone(), score: self.score, chosen_on }
    }
}

/// The stages that choose by a metric, or what is wrong with that.
pub fn find(graph: &PipelineGraph<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Choice> {
    let find = |stage: usize| {
        let (node, Some(PluginInstance::Stage(plugin))) = (&graph.nodes[stage], graph.nodes[stage].instance()) else {
            return None;
        };
        let selection = PluginOfNode::new(node.registration?, &node.name.text).call(|| plugin.selection())?;
        match metric(graph, stage, &selection.metric) {
            Ok((metric, score)) => Some(Choice { stage, metric, selection, score }),
            Err(fault) => {
                problems.extend(fault.map(|fault| to_problem(graph, stage, fault)));
                None
            }
        }
    };
    players::stages(graph).filter_map(find).collect()
}

/// The metric that a stage chooses by, and its figure. Without a fault, what is wrong was said of the metric itself.
fn metric(graph: &PipelineGraph<'_>, stage: usize, name: &str) -> Result<(usize, Score), Option<CheckError>> {
    let fault = |message: String| Some(CheckError::parameter("keep", message));
    let helped = |message: String| fault(message).map(|fault| fault.help(way_out(graph, stage)));
    let Some(node) = graph.find(name) else {
        let near = graph.near(name).map(|near| format!("did you mean `{}`? ", graph.name(near)));
        let help = format!("{}{}", near.unwrap_or_default(), way_out(graph, stage));
        return Err(fault(format!("there is no node `{name}`")).map(|fault| fault.help(help)));
    };
    match graph.nodes[node].kind() {
        Some(PluginKind::Metric) => {}
        None => return Err(None),
        Some(kind) => return Err(helped(format!("`{name}` is a {kind}, and not a metric"))),
    }
    let stage_name = graph.name(stage);
    if !graph.into(node).any(|link| link.from == Some(stage)) {
        let meant = graph.shape.contains_edge(NodeIndex::new(stage), NodeIndex::new(node));
        if meant || graph.into(node).any(|link| link.from.is_none()) {
            return Err(None);
        }
        return Err(helped(format!(
            "`{name}` does not measure what `{stage_name}` trains: no edge leads there from it"
        )));
    }
    let Some((score, during)) = scored(graph, node) else { return Err(None) };
    if !during {
        return Err(helped(format!("`{name}` is measured at the end of a stage only, and not while it trains")));
    }
    let score =
        score.ok_or_else(|| helped(format!("`{name}` has no figure that says which of two networks is better")))?;
    let after = graph.after(stage);
    let late = graph.into(node).filter_map(|link| link.from).find(|from| *from != stage && after.contains(from));
    match late {
        Some(late) => Err(helped(reads_later(graph, node, late, stage))),
        None => Ok((node, score)),
    }
}

/// The figure of a metric, and whether it is evaluated while a stage trains; nothing where the metric could not be read.
fn scored(graph: &PipelineGraph<'_>, node: usize) -> Option<(Option<Score>, bool)> {
    let PluginInstance::Metric(metric) = graph.nodes[node].instance()? else { return None };
    let plugin = PluginOfNode::new(graph.nodes[node].registration?, graph.name(node));
    Some(plugin.call(|| (metric.score(), metric.during_stages())))
}

fn reads_later(graph: &PipelineGraph<'_>, metric: usize, late: usize, stage: usize) -> String {
    let [metric, late, stage] = [metric, late, stage].map(|node| graph.name(node));
    format!("`{metric}` also needs `{late}`, which is there only after `{stage}`")
}

/// The metrics that a stage could choose by.
fn way_out(graph: &PipelineGraph<'_>, stage: usize) -> String {
    let after = graph.after(stage);
    let fits = |node: &usize| {
        let early = |from: usize| from == stage || !after.contains(&from);
        matches!(scored(graph, *node), Some((Some(_), true)))
            && graph.into(*node).any(|link| link.from == Some(stage))
            && graph.into(*node).filter_map(|link| link.from).all(early)
    };
    let metrics: Vec<_> = (0..graph.nodes.len()).filter(fits).map(|node| graph.name(node)).collect();
    let stage = graph.name(stage);
    match metrics.as_slice() {
        [] => format!(
            "give `{stage}` a metric to choose by, as \"accuracy\": Accuracy() with the edge \"{stage} -> accuracy.classifier\""
        ),
        metrics => format!("`{stage}` can choose by: {}", text_format::some_of(metrics.iter().copied())),
    }
}

/// Adds to the pairs of nodes of which the first must run before the second what the metrics of these stages need besides.
pub fn order(
    graph: &PipelineGraph<'_>,
    choices: &[Choice],
    before: &mut Vec<(usize, usize)>,
    problems: &mut Vec<Diagnostic>,
) {
    let needs = |choice: &Choice| {
        let (stage, metric) = (choice.stage, choice.metric);
        let others = graph.into(metric).filter_map(|link| link.from).filter(move |from| *from != stage);
        others.map(move |other| (other, stage, metric)).collect::<Vec<_>>()
    };
    let needs: Vec<_> = choices.iter().flat_map(needs).collect();
    let fits = |pairs: &[(usize, usize)]| order::sorted(graph, pairs).len() == graph.nodes.len();
    let known = before.len();
    before.extend(needs.iter().map(|(other, stage, _)| (*other, *stage)));
    if fits(before) {
        return;
    }
    before.truncate(known);
    for (other, stage, metric) in needs {
        before.push((other, stage));
        if !fits(before) {
            before.pop();
            let fault = CheckError::parameter("keep", reads_later(graph, metric, other, stage));
            problems.push(to_problem(graph, stage, fault.help("choose by a metric that does not need it")));
        }
    }
}
