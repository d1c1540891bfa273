//! The curves of one run, those of a kind in one chart.

use super::chart::{Chart, Line, MOST_LINES};
use super::figure_text::{kind, title};
use super::thinning::thin;
use crate::runs::{Curve, Log};

/// The charts of a log, what is looked at most first; each line has at most `most` points.
pub fn charts(log: &Log, most: usize) -> Vec<Chart> {
    let mut charts: Vec<(&str, Chart)> = Vec::new();
    let stages = log.stages.len();
    for curve in log.curves.iter().filter(|curve| is_worth_drawing(curve)).take(MOST_LINES) {
        let kind = kind(&curve.key);
        let place = charts.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            charts.push((kind, Chart { title: title(kind), x: "batch", lines: Vec::new() }));
            charts.len() - 1
        });
        let lines = &mut charts[place].1.lines;
        lines.push(Line {
            name: name(curve, kind, stages),
            colour: lines.len(),
            run: None,
            noisy: !curve.of_metric,
            points: points(&thin(&curve.points, most)),
            band: None,
        });
    }
    charts.sort_by_key(|(kind, _)| rank(kind));
    charts.into_iter().map(|(_, chart)| chart).collect()
}

/// Whether there is more to see than a single number, or nothing but zeros.
pub fn is_worth_drawing(curve: &Curve) -> bool {
    curve.points.len() > 1 && curve.points.iter().any(|(_, value)| *value != 0.0)
}

/// The points of a curve.
pub fn points(of_batches: &[(usize, f64)]) -> Vec<(f64, f64)> {
    of_batches.iter().map(|(batch, value)| (*batch as f64, *value)).collect()
}

/// Losses and what is measured first, then how the training went.
pub fn rank(kind: &str) -> usize {
    let order = ["top1", "top5", "loss", "share", "mean_kl", "learning_rate", "gradient_norm"];
    order.iter().position(|known| *known == kind).unwrap_or(order.len())
}

/// What tells a curve from the others of its kind: `distill/imitate` of `distill/imitate.loss`.
fn name(curve: &Curve, kind: &str, stages: usize) -> String {
    let key = curve.key.replace("/monitor/", "/");
    let name = match key.rsplit_once(kind) {
        Some((before, after)) if !after.is_empty() => format!("{before}{}", after.trim_start_matches('.')),
        Some((before, _)) => before.to_owned(),
        None => key.clone(),
    };
    let name = name.trim_end_matches(['.', '/', '_']);
    match &curve.stage {
        Some(stage) if curve.of_metric && stages > 1 => format!("{name} ({stage})"),
        _ => name.to_owned(),
    }
}
