//! `metrics.jsonl`: what happened, one JSON object per line.

use serde_json::{Map, Value, json};
use zskt_api::{LoggedScalar, Progress};

use super::events::EventKind;
use super::histogram::Histogram;
use crate::run::resume::MeasuredMetric;

/// A batch of a stage.
pub fn batch(stage: &str, progress: &Progress<'_>) -> Value {
    let figures = progress.figures.iter().map(|scalar| (scalar.name.clone(), Value::from(scalar.value))).collect();
    let mut fixed = EventKind::Batch.with(json!({
        "stage": stage,
        "batch": progress.batch,
        "images": progress.images,
        "seconds": progress.seconds,
    }));
    if progress.batches > 0 {
        fixed["batches"] = progress.batches.into();
    }
    with_figures(fixed, figures)
}

/// A metric while a stage runs; where the stage chooses by it, also whether this is the best so far.
pub fn metric_during(
    metric: &str,
    stage: &str,
    batch: usize,
    measured: &MeasuredMetric,
    is_best: Option<bool>,
) -> Value {
    let mut fixed = of_metric(json!({ "metric": metric, "stage": stage, "batch": batch }), measured);
    if let Some(is_best) = is_best {
        fixed["best"] = is_best.into();
    }
    with_figures(fixed, logged(&measured.figures))
}

/// What a stage looked at beside a batch.
pub fn monitor(stage: &str, batch: usize, figures: &[LoggedScalar]) -> Value {
    let figures = figures.iter().map(|scalar| (scalar.name.clone(), Value::from(scalar.value))).collect();
    with_figures(EventKind::Monitor.with(json!({ "stage": stage, "batch": batch })), figures)
}

/// How what a stage looked at beside a batch is distributed.
pub fn distributions(stage: &str, batch: usize, histograms: &[(&str, Histogram)]) -> Value {
    let figures = histograms.iter().map(|(name, histogram)| ((*name).to_owned(), histogram.to_json())).collect();
    with_figures(EventKind::Distributions.with(json!({ "stage": stage, "batch": batch })), figures)
}

/// What a stage warned of.
pub fn warning(stage: &str, batch: usize, message: &str) -> Value {
    EventKind::Warning.with(json!({ "stage": stage, "batch": batch, "message": message }))
}

/// A metric in its place in the pipeline: after a stage, or before the first.
pub fn metric_after(metric: &str, stage: Option<&str>, measured: &MeasuredMetric) -> Value {
    let fixed = of_metric(json!({ "metric": metric, "after": stage }), measured);
    with_figures(fixed, logged(&measured.figures))
}

fn of_metric(mut fixed: Value, measured: &MeasuredMetric) -> Value {
    if !measured.picture_files.is_empty() {
        fixed["pictures"] = json!(measured.picture_files);
    }
    EventKind::Metric.with(fixed)
}

/// What of a metric's figures goes into the log: lists of lists are for the report alone.
fn logged(figures: &Map<String, Value>) -> Map<String, Value> {
    let is_matrix = |value: &Value| value.as_array().is_some_and(|list| list.iter().any(Value::is_array));
    figures.iter().filter(|(_, value)| !is_matrix(value)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Plugins choose the names of figures, so these are kept apart from what an event has by itself, now or later.
fn with_figures(mut object: Value, figures: Map<String, Value>) -> Value {
    object["figures"] = figures.into();
    object
}

/// An object as a line of the log.
pub fn line(object: &Value) -> Vec<u8> {
    format!("{object}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use zskt_api::{Error, LoggedDistribution};

    use super::{Histogram, distributions, line};
    use crate::run::options::Budget;
    use crate::run::record::events::end;
    use crate::runs::Log;

    #[test]
    fn why_a_run_ends_is_read_again() {
        let budget = |limit| Some(Budget { limit, began: Instant::now() });
        let [used_up, ample] = [budget(Duration::ZERO), budget(Duration::MAX)];
        let ends = [
            (Error::interrupted(), &None, "Some(Interrupted)"),
            (Error::interrupted(), &ample, "Some(Interrupted)"),
            (Error::interrupted(), &used_up, "Some(OutOfBudget)"),
            (Error::new("no"), &used_up, r#"Some(Failed("no"))"#),
        ];
        for (error, budget, expected) in ends {
            let mut log = Log::default();
            log.add_line(&end(&error, budget.as_ref()).to_string());
            assert_eq!(format!("{:?}", log.end), expected);
        }
    }

    #[test]
    fn how_images_are_spread_over_classes_is_read_as_curves() {
        let of = |edges: &[f64], values: &[f64]| {
            Histogram::of(&LoggedDistribution { name: String::new(), edges: edges.into(), values: values.into() })
        };
        let classes = of(&[-0.5, 0.5, 1.5], &[0.0, 0.0, 1.0, 0.0]).expect("a histogram");
        let confidences = of(&[0.0, 0.5, 1.0], &[0.7, 0.9]).expect("a histogram");
        let written =
            line(&distributions("distill", 100, &[("teacher_classes", classes), ("teacher_confidences", confidences)]));
        let mut log = Log::default();
        log.add_line(std::str::from_utf8(&written).expect("text"));
        let curves: Vec<_> =
            log.curves.iter().map(|curve| (curve.key.as_str(), curve.share_of_class, curve.points[0])).collect();
        assert_eq!(
            curves,
            [
                ("distill/monitor/teacher_classes.0", Some(0), (100, 0.75)),
                ("distill/monitor/teacher_classes.1", Some(1), (100, 0.25)),
            ]
        );
    }
}
