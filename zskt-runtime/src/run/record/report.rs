//! `report.json`, and the same for a person: what a run found.

use serde_json::{Map, Value, json};

use super::{data_free, stated_accuracy};
use crate::plan::Plan;
use crate::run::resume::{FinishedStage, ResumeState};
use crate::text_format;

/// The report of a finished run.
pub fn report(plan: &Plan, device: &str, state: &ResumeState) -> Value {
    let metrics: Map<_, _> =
        state.measured.iter().map(|(node, found)| (node.clone(), Value::from(found.figures.clone()))).collect();
    let stages: Map<_, _> = state.finished.iter().map(|stage| (stage.node.clone(), stage_entry(stage))).collect();
    let mut report = json!({
        "name": plan.name,
        "seed": plan.seed,
        "device": device,
        "seconds": state.seconds,
        "images_per_second": images_per_second(&state.finished),
        "peak_memory_bytes": state.peak_memory_bytes,
        "metrics": metrics,
        "stages": stages,
    });
    if let Some(entry) = data_free::entry(plan) {
        report["data_free"] = entry;
    }
    let of_metric = |node| stated_accuracy::warning(plan, node, state.measured.get(&node.name)?);
    let known = plan.warnings.iter().map(|warning| warning.message.clone());
    let warnings: Vec<_> = known.chain(plan.nodes.iter().filter_map(of_metric)).collect();
    if !warnings.is_empty() {
        report["warnings"] = warnings.into();
    }
    report
}

/// The report as its file has it.
pub fn text(report: &Value) -> Vec<u8> {
    format!("{report:#}\n").into_bytes()
}

fn stage_entry(stage: &FinishedStage) -> Value {
    let record = &stage.record;
    let mut entry = record.figures.clone();
    entry.insert("batches".into(), record.batches.into());
    entry.insert("median_batch_seconds".into(), record.median_batch_seconds.into());
    if let Some(rate) = record.images_per_second() {
        entry.insert("images_per_second".into(), rate.into());
    }
    entry.into()
}

/// Images that all stages learnt from in a second of their batches.
fn images_per_second(stages: &[FinishedStage]) -> Option<f64> {
    let images: u64 = stages.iter().map(|stage| stage.record.images).sum();
    let seconds: f64 = stages.iter().map(|stage| stage.record.seconds).sum();
    (images > 0 && seconds > 0.0).then(|| images as f64 / seconds)
}

/// The report as lines for a person.
pub fn table(plan: &Plan, state: &ResumeState) -> Vec<String> {
    let measured = plan.nodes.iter().filter_map(|node| Some((node.name.as_str(), state.measured.get(&node.name)?)));
    let mut rows: Vec<_> = measured.map(|(node, found)| (node, found.summary.clone())).collect();
    for stage in &state.finished {
        let mut text = format!("{} batches", text_format::count(stage.record.batches));
        if let Some(seconds) = stage.record.median_batch_seconds {
            text.push_str(&format!(", {} each", text_format::short_duration(seconds)));
        }
        if let Some(rate) = stage.record.images_per_second() {
            text.push_str(&format!(", {} images/s", text_format::figure(rate)));
        }
        rows.push((&stage.node, text));
    }
    let memory = state.peak_memory_bytes.map(|bytes| format!(", {} of memory at most", text_format::bytes(bytes)));
    rows.push(("all", format!("{}{}", text_format::duration(state.seconds), memory.unwrap_or_default())));
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.into_iter().map(|(name, text)| format!("{name:width$}  {text}")).collect()
}
