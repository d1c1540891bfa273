//! `runs diff`: runs side by side.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use zskt_api::{Diagnostic, Objective, Registry};

use super::{cell, figure};
use crate::runs::{Headlines, Run};
use crate::text_format;

/// Puts runs side by side: in what their configurations differ, and what each found.
///
/// # Errors
/// When one is not a run, or cannot be read.
pub fn diff(folders: &[PathBuf], json: bool, registry: &Registry) -> Result<String, Diagnostic> {
    let runs = folders.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<_>, _>>()?;
    let configurations: Vec<_> = runs.iter().map(Run::configuration).collect();
    let figures = runs.iter().map(|run| Ok(run.figures()?.0)).collect::<Result<Vec<_>, Diagnostic>>()?;
    let pairs = configurations.iter().skip(1).flat_map(|other| configurations[0].differences(other));
    let differing: BTreeSet<String> = pairs.map(|difference| difference.key).collect();
    let value_of = |run: usize, key: &str| {
        let configuration = &configurations[run];
        let edge = || configuration.edges.contains(key).then(|| "there".to_owned());
        configuration.parameters.get(key).cloned().or_else(edge)
    };
    let keys: BTreeSet<_> = figures.iter().flat_map(|figures| figures.keys()).collect();
    let differs = |key: &&&String| figures.iter().any(|own| own.get(**key) != figures[0].get(**key));
    let found: Vec<_> = keys.iter().filter(differs).map(|key| key.as_str()).collect();
    if json {
        let each = |value: &dyn Fn(usize) -> Value| (0..runs.len()).map(value).collect::<Vec<_>>();
        let configuration: Map<_, _> =
            differing.iter().map(|key| (key.clone(), each(&|run| value_of(run, key).into()).into())).collect();
        let figures: Map<_, _> = found
            .iter()
            .map(|key| ((*key).to_owned(), each(&|run| figures[run].get(*key).copied().into()).into()))
            .collect();
        let folders: Vec<_> = runs.iter().map(|run| run.folder.display().to_string()).collect();
        return Ok(format!("{}\n", json!({ "runs": folders, "configuration": configuration, "figures": figures })));
    }
    let mut rows = vec![std::iter::once(String::new()).chain(names(folders)).collect::<Vec<_>>()];
    rows.push(row("state", runs.iter().zip(&figures).map(|(run, figures)| run.state_by(figures))));
    for key in &differing {
        let values = (0..runs.len()).map(|run| value_of(run, key).map(|value| cell(&value)).unwrap_or_default());
        rows.push(row(&cell(key), values));
    }
    rows.push(vec![String::new()]);
    let headlines = Headlines::of_runs(&runs, registry);
    let objective = |key: &str| headlines.find(key).map(|own| own.objective);
    let (first, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|key| objective(key).is_some());
    for key in first.into_iter().chain(others) {
        let values: Vec<_> = figures.iter().map(|figures| figures.get(key).copied()).collect();
        let best = objective(key).and_then(|objective| best(&values, objective));
        let shown = values.iter().map(|value| match value {
            Some(value) if best == Some(*value) => format!("{} *", figure(key, *value)),
            Some(value) => figure(key, *value),
            None => String::new(),
        });
        rows.push(row(&cell(key), shown));
    }
    let same = configurations[0].parameters.keys().filter(|key| !differing.contains(*key)).count();
    let table = text_format::table(&rows, |_| false);
    Ok(format!("{table}\n{} parameters are the same; * the best\n", text_format::count(same)))
}

fn row(name: &str, values: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(values).collect()
}

/// What the runs are called, each by as much of its path as tells it from the others.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let last = |folder: &PathBuf| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let short: BTreeSet<_> = folders.iter().map(last).collect();
    let is_short = short.len() == folders.len();
    let name = |folder: &PathBuf| last(folder).filter(|_| is_short).unwrap_or_else(|| folder.display().to_string());
    folders.iter().map(|folder| text_format::one_line(&name(folder))).collect()
}

fn best(values: &[Option<f64>], objective: Objective) -> Option<f64> {
    let numbers = values.iter().flatten().copied().filter(|value| !value.is_nan());
    match objective {
        Objective::Maximize => numbers.max_by(f64::total_cmp),
        Objective::Minimize => numbers.min_by(f64::total_cmp),
    }
}
