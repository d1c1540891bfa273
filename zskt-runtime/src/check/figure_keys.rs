//! Whether the figures that a pipeline speaks of can be of its runs.

use zskt_api::{Diagnostic, Name, NamedTurn, PluginInstance, PluginKind, PortType, Signature, StageNode, nearest_name};

use super::graph::{GraphNode, PipelineGraph};
use super::selection::Choice;
use super::signatures::arriving;
use crate::pipeline::PipelineSyntax;
use crate::plugin_calls::PluginOfNode;
use crate::stage_figures::STAGE_FIGURES;
use crate::text_format;

/// Says of each figure in `published` and `expect` that no metric and no stage has it.
pub fn check(graph: &PipelineGraph<'_>, pipeline: &PipelineSyntax, choices: &[Choice], problems: &mut Vec<Diagnostic>) {
    let figures = pipeline.published.iter().map(|(figure, _)| figure);
    let figures = figures.chain(pipeline.expect.iter().map(|expected| &expected.figure));
    problems.extend(figures.filter_map(|figure| fault(graph, choices, figure)));
}

fn fault(graph: &PipelineGraph<'_>, choices: &[Choice], figure: &Name) -> Option<Diagnostic> {
    // Figures of the whole run have no node, and are known where they are read.
    let (name, of_node) = figure.text.split_once('.')?;
    let message = match graph.find(name) {
        Some(node) if has_figures(&graph.nodes[node]) => return unknown(graph, choices, node, of_node, figure),
        // What is wrong with a plugin that there is not was said of its node.
        Some(node) if graph.nodes[node].kind().is_none() => return None,
        Some(_) => format!("`{name}` is neither a metric nor a stage, and has no figures"),
        None => format!("there is no node `{name}`"),
    };
    let with_figures = || graph.nodes.iter().filter(|node| has_figures(node)).map(|node| node.name.text.as_str());
    let near = nearest_name(name, with_figures());
    let label = near.map_or("expected a metric or a stage".to_owned(), |near| format!("did you mean `{near}`?"));
    let problem = Diagnostic::at(figure.span, message).label(label);
    Some(problem.help(format!("figures are of {}", text_format::some_of(with_figures()))))
}

fn has_figures(node: &GraphNode<'_>) -> bool {
    matches!(node.kind(), Some(PluginKind::Metric | PluginKind::Stage))
}

/// Says of a figure that its metric or stage has no such, where all that it has are known.
fn unknown(
    graph: &PipelineGraph<'_>,
    choices: &[Choice],
    node: usize,
    of_node: &str,
    figure: &Name,
) -> Option<Diagnostic> {
    let known = figures(graph, choices, node)?;
    if known.iter().any(|known| known == of_node) {
        return None;
    }
    let name = graph.name(node);
    let names = || known.iter().map(String::as_str);
    let near = nearest_name(of_node, names());
    let label = near.map_or("unknown figure".to_owned(), |near| format!("did you mean `{name}.{near}`?"));
    let problem = Diagnostic::at(figure.span, format!("`{name}` has no figure `{of_node}`")).label(label);
    Some(problem.help(format!("figures of `{name}`: {}", text_format::some_of(names()))))
}

/// The figures of a metric or a stage; nothing where they are not all known before it runs.
fn figures(graph: &PipelineGraph<'_>, choices: &[Choice], node: usize) -> Option<Vec<String>> {
    let plugin = PluginOfNode::new(graph.nodes[node].registration?, graph.name(node));
    match graph.nodes[node].instance()? {
        PluginInstance::Metric(metric) => {
            let figures = plugin.call(|| metric.figures(&arriving(graph, node)))?;
            Some(figures.into_iter().map(str::to_owned).collect())
        }
        PluginInstance::Stage(stage) => {
            let mut figures: Vec<_> = STAGE_FIGURES.iter().map(|figure| (*figure).to_owned()).collect();
            figures.extend(
                choices.iter().filter(|choice| choice.stage == node).flat_map(|choice| of_choice(graph, choice)),
            );
            figures.extend(of_batches(graph, node, &**stage, plugin)?);
            Some(figures)
        }
        _ => None,
    }
}

/// What a stage reports of its batches.
fn of_batches(
    graph: &PipelineGraph<'_>,
    node: usize,
    stage: &dyn StageNode,
    plugin: PluginOfNode,
) -> Option<Vec<String>> {
    let turns = graph.into(node).filter(|link| graph.port(link).accepts == PortType::Turn);
    let turn = |from: Option<usize>| match &graph.nodes[from?].signature {
        Some(Signature::Turn(signature)) => Some(NamedTurn { name: graph.name(from?), signature }),
        _ => None,
    };
    let turns = turns.map(|link| turn(link.from)).collect::<Option<Vec<_>>>()?;
    plugin.call(|| stage.figures(&turns))
}

/// What is known of the weights that a stage keeps by a metric.
fn of_choice(graph: &PipelineGraph<'_>, choice: &Choice) -> Vec<String> {
    let score = format!("{}.{}", graph.name(choice.metric), choice.score.figure);
    ["best", "last"].iter().flat_map(|which| [format!("{which}.{score}"), format!("{which}.batch")]).collect()
}
