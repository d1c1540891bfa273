//! The curves of several runs over each other.

use std::collections::HashSet;

use zskt_api::Diagnostic;

use super::{MOST_DRAWN, Runs};
use crate::report_page::chart::{Chart, Line, MOST_LINES, MOST_POINTS, POINTS_OF_PAGE};
use crate::report_page::seeds::{self, MeanCurve};
use crate::report_page::thinning::{mean_of_intervals, thin};
use crate::report_page::{curves, figure_text};
use crate::runs::Run;

/// Charts, and how many there is no room for.
pub struct Charts {
    /// Those that are drawn, what is looked at most first.
    pub drawn: Vec<Chart>,
    /// How many are not.
    pub left_out: usize,
}

/// What is kept of a curve: no more than a page can show, for the logs of many runs are too large to be held at once.
struct Kept {
    key: String,
    stage: Option<String>,
    of_metric: bool,
    points: Vec<(f64, f64)>,
    /// For the mean over seeds; nothing where there are no others.
    means: Vec<(f64, f64)>,
}

/// A chart for each curve, with a line for each run and each group of seeds. How made images are spread over classes, which takes many
/// curves for each run, is left to the page of a run.
pub fn charts(all: &Runs<'_>) -> Result<Charts, Diagnostic> {
    let mut logs: Vec<Vec<Kept>> = all.runs.iter().map(|_| Vec::new()).collect();
    let drawn = all.groups.iter().flat_map(|group| group.runs.iter().map(|run| (*run, group.runs.len() > 1)));
    for (run, has_seeds) in drawn.take(MOST_DRAWN) {
        logs[run] = read(all.runs[run], has_seeds)?;
    }
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    for curve in logs.iter().flatten() {
        let key = (curve.key.as_str(), curve.stage.as_deref());
        if seen.insert(key) {
            keys.push(key);
        }
    }
    keys.sort_by_key(|(key, _)| curves::rank(figure_text::kind(key)));
    let (mut drawn, mut lines) = (Vec::new(), 0);
    for (key, stage) in &keys {
        let chart = chart(all, key, *stage, &logs);
        lines += chart.lines.len();
        if lines > MOST_LINES {
            break;
        }
        drawn.push(chart);
    }
    Ok(Charts { left_out: keys.len() - drawn.len(), drawn })
}

fn read(run: &Run, has_seeds: bool) -> Result<Vec<Kept>, Diagnostic> {
    let log = run.log()?;
    let is_drawn = |curve: &&crate::runs::Curve| curve.share_of_class.is_none() && curves::is_worth_drawing(curve);
    let mut found: Vec<_> = log.curves.iter().filter(is_drawn).collect();
    found.sort_by_key(|curve| curves::rank(figure_text::kind(&curve.key)));
    found.truncate(MOST_LINES);
    let most = (POINTS_OF_PAGE / found.len().max(1)).min(MOST_POINTS);
    // Runs that ended at different batches have only some of their intervals in common.
    let most_means = most.min(2 * seeds::MOST_POINTS);
    let kept = found.into_iter().map(|curve| Kept {
        key: curve.key.clone(),
        stage: curve.stage.clone(),
        of_metric: curve.of_metric,
        points: curves::points(&thin(&curve.points, most)),
        means: if has_seeds { mean_of_intervals(&curve.points, most_means) } else { Vec::new() },
    });
    Ok(kept.collect())
}

fn chart(all: &Runs<'_>, key: &str, stage: Option<&str>, logs: &[Vec<Kept>]) -> Chart {
    let is_it = |curve: &&Kept| curve.key == key && curve.stage.as_deref() == stage;
    let mut lines = Vec::new();
    for (colour, group) in all.groups.iter().enumerate() {
        let of_run = |run: &usize| Some((*run, logs[*run].iter().find(is_it)?));
        let curves: Vec<_> = group.runs.iter().filter_map(of_run).collect();
        for (run, curve) in &curves {
            let (name, points) = (all.folder_name(*run), curve.points.clone());
            lines.push(Line { name, colour, run: Some(*run), noisy: !curve.of_metric, points, band: None });
        }
        let means: Vec<_> = curves.iter().map(|(_, curve)| curve.means.clone()).collect();
        lines.extend(MeanCurve::of(&means).map(|MeanCurve { points, deviations }| {
            let run = Some(all.runs.len() + colour);
            let noisy = curves.iter().any(|(_, curve)| !curve.of_metric);
            Line { name: all.group_name(group), colour, run, noisy, points, band: Some(deviations) }
        }));
    }
    Chart { title: key.to_owned(), x: "batch", lines }
}
