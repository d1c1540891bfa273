//! Whether all that nodes leave in the folder of a run has a name of its own there, and one that a file can have.

use std::collections::{BTreeMap, BTreeSet};

use zskt_api::{Diagnostic, PluginKind, PortType, Signature};

use super::graph::PipelineGraph;
use super::players;
use crate::file_names::{file_name, made_images_file, weights_file, weights_name};
use crate::text_format;

/// Bytes that a name may have. File systems take 255; a name that is not whole yet, or that is kept beside another, is longer.
const LONGEST: usize = 200;

/// Says which nodes would write over each other's files, and of which the files have names that are too long.
pub fn check(graph: &PipelineGraph<'_>, order: &[usize], problems: &mut Vec<Diagnostic>) {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (node, file) in left_by_nodes(graph, order) {
        let (place, shown) = (graph.nodes[node].name.span, text_format::some_of([graph.name(node)]));
        let longest = file.split('/').map(str::len).max().unwrap_or_default();
        if longest > LONGEST && told.insert((node, node)) {
            let message = format!("`{shown}` is too long a name: files in the run's folder are called by it");
            problems.push(Diagnostic::at(place, message).label("expected a shorter name"));
        }
        // Some file systems do not tell capital letters from small ones.
        let other = *taken.entry(file.to_lowercase()).or_insert(node);
        if other != node && told.insert((other, node)) {
            let (first, first_place) = (text_format::some_of([graph.name(other)]), graph.nodes[other].name.span);
            let message = format!("`{first}` and `{shown}` would both leave `{file}` in the run's folder");
            let is_same = first.to_lowercase() == shown.to_lowercase();
            let why = if is_same {
                "some file systems do not tell capital letters from small ones"
            } else {
                "a stage `student` that is not the last leaves its weights as `student-stage`"
            };
            let problem = Diagnostic::at(place, message).label("give it another name");
            problems.push(problem.related(first_place, "the other one").help(why));
        }
    }
}

/// The files and folders of a run that are called by nodes, each with its node. Of the grids of a stage's images, what their names begin with.
fn left_by_nodes(graph: &PipelineGraph<'_>, order: &[usize]) -> Vec<(usize, String)> {
    let gives = |stage: &usize| graph.nodes[*stage].output();
    let is_stage = |node: &usize| graph.nodes[*node].kind() == Some(PluginKind::Stage);
    let last = order.iter().rfind(|node| is_stage(node) && gives(node) == Some(PortType::Classifier));
    let metrics = (0..graph.nodes.len()).filter(|node| graph.nodes[*node].kind() == Some(PluginKind::Metric));
    let mut left: Vec<_> =
        metrics.map(|metric| (metric, format!("measurements/{}", file_name(graph.name(metric))))).collect();
    for stage in players::stages(graph) {
        left.push((stage, format!("images/{}-", file_name(graph.name(stage)))));
        if gives(&stage).is_some() {
            left.push((stage, weights_file(weights_name(graph.name(stage), last == Some(&stage)))));
        }
        for turn in graph.into(stage).filter_map(|link| link.from) {
            if let Some(Signature::Turn(signature)) = &graph.nodes[turn].signature
                && signature.synthesis.is_some()
            {
                left.push((turn, made_images_file(graph.name(stage), graph.name(turn))));
            }
        }
    }
    left
}
