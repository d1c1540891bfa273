//! `metrics.jsonl`: what happened, one JSON object per line.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use zskt_api::{LoggedScalar, Progress};

use crate::run::timestamp::timestamp;

/// A batch of a stage.
pub fn batch(stage: &str, progress: &Progress<'_>) -> Value {
    let figures = progress.figures.iter().map(|scalar| (scalar.name.clone(), Value::from(scalar.value))).collect();
    let fixed = json!({
        "time": timestamp(SystemTime::now()),
        "stage": stage,
        "batch": progress.batch,
        "images": progress.images,
        "seconds": progress.seconds,
    });
    with_figures(fixed, &figures)
}

/// A metric while a stage runs; where the stage chooses by it, also whether this is the best so far.
pub fn metric_during(
    metric: &str,
    stage: &str,
    batch: usize,
    figures: &Map<String, Value>,
    is_best: Option<bool>,
) -> Value {
    let time = timestamp(SystemTime::now());
    let mut fixed = json!({ "time": time, "metric": metric, "stage": stage, "batch": batch });
    if let Some(is_best) = is_best {
        fixed["best"] = is_best.into();
    }
    with_figures(fixed, figures)
}

/// What a stage looked at beside a batch.
pub fn monitor(stage: &str, batch: usize, figures: &[LoggedScalar]) -> Value {
    let figures = figures.iter().map(|scalar| (scalar.name.clone(), Value::from(scalar.value))).collect();
    let time = timestamp(SystemTime::now());
    with_figures(json!({ "time": time, "event": "monitor", "stage": stage, "batch": batch }), &figures)
}

/// What a stage warned of.
pub fn warning(stage: &str, batch: usize, message: &str) -> Value {
    let time = timestamp(SystemTime::now());
    json!({ "time": time, "event": "warning", "stage": stage, "batch": batch, "message": message })
}

/// A metric in its place in the pipeline: after a stage, or before the first.
pub fn metric_after(metric: &str, stage: Option<&str>, figures: &Map<String, Value>) -> Value {
    with_figures(json!({ "time": timestamp(SystemTime::now()), "metric": metric, "after": stage }), figures)
}

/// Figures are entries beside the fixed ones. One that has the name of such an entry gets an underscore in front.
fn with_figures(mut object: Value, figures: &Map<String, Value>) -> Value {
    if let Some(entries) = object.as_object_mut() {
        for (name, value) in figures {
            let name = if entries.contains_key(name) { format!("_{name}") } else { name.clone() };
            entries.insert(name, value.clone());
        }
    }
    object
}

/// An object as a line of the log.
pub fn line(object: &Value) -> Vec<u8> {
    format!("{object}\n").into_bytes()
}

/// A metric's figures as points of curves: those that are numbers.
pub fn points(metric: &str, figures: &Map<String, Value>) -> Vec<(String, f64)> {
    figures.iter().filter_map(|(name, value)| Some((format!("{metric}/{name}"), value.as_f64()?))).collect()
}
