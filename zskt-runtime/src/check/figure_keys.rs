//! Whether the figures that a pipeline speaks of can be of its runs.

use zskt_api::{Diagnostic, Name, PluginKind, nearest_name};

use super::graph::{GraphNode, PipelineGraph};
use crate::pipeline::PipelineSyntax;
use crate::text_format;

/// Says of each figure in `published` and `expect` that no metric and no stage has it.
pub fn check(graph: &PipelineGraph<'_>, pipeline: &PipelineSyntax, problems: &mut Vec<Diagnostic>) {
    let figures = pipeline.published.iter().map(|(figure, _)| figure);
    let figures = figures.chain(pipeline.expect.iter().map(|expected| &expected.figure));
    problems.extend(figures.filter_map(|figure| fault(graph, figure)));
}

fn fault(graph: &PipelineGraph<'_>, figure: &Name) -> Option<Diagnostic> {
    // Figures of the whole run have no node, and are known where they are read.
    let (name, _) = figure.text.split_once('.')?;
    let message = match graph.nodes.iter().find(|node| node.name.text == name) {
        // What is wrong with a plugin that there is not was said of its node.
        Some(node) if has_figures(node) || node.kind().is_none() => return None,
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
