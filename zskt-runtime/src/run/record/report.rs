//! `report.json`, and the same for a person: what a run found.

use serde_json::{Map, Value, json};
use zskt_api::Objective;

use super::{data_free, stated_accuracy};
use crate::plan::{Plan, StageSelection};
use crate::run::resume::{Evaluation, FinishedStage, ResumeState, WeightsFile};
use crate::text_format;

/// The report of a finished run.
pub fn report(plan: &Plan, device: &str, state: &ResumeState) -> Value {
    let metrics: Map<_, _> =
        state.measured.iter().map(|(node, found)| (node.clone(), Value::from(found.figures.clone()))).collect();
    let stages: Map<_, _> = state.finished.iter().map(|stage| (stage.node.clone(), stage_entry(plan, stage))).collect();
    let mut report = json!({
        "name": plan.name,
        "seed": plan.seed,
        "device": device,
        "seconds": state.seconds,
        "flop": state.finished.iter().map(|stage| stage.record.flop).sum::<u64>(),
        "images_per_second": images_per_second(&state.finished),
        "peak_memory_bytes": state.peak_memory_bytes,
        "metrics": metrics,
        "stages": stages,
    });
    let files = state.finished.iter().flat_map(|stage| stage.weights.iter().chain(&stage.best));
    let sums: Map<_, _> = files.map(|file| (file.file_name(), file.sha256().into())).collect();
    if !sums.is_empty() {
        report["weights"] = sums.into();
    }
    let by_class = state.measured.iter().filter(|(_, found)| !found.by_class.is_empty());
    let by_class: Map<_, _> = by_class.map(|(node, found)| (node.clone(), json!(found.by_class))).collect();
    if !by_class.is_empty() {
        report["by_class"] = by_class.into();
    }
    let named = state.measured.iter().filter(|(_, found)| !found.class_names.is_empty());
    let named: Map<_, _> = named.map(|(node, found)| (node.clone(), json!(found.class_names))).collect();
    if !named.is_empty() {
        report["class_names"] = named.into();
    }
    let drawn = state.measured.iter().filter(|(_, found)| !found.picture_files.is_empty());
    let drawn: Map<_, _> = drawn.map(|(node, found)| (node.clone(), json!(found.picture_files))).collect();
    if !drawn.is_empty() {
        report["pictures"] = drawn.into();
    }
    let teachers = &state.manifest["teachers"];
    if teachers.as_object().is_some_and(|teachers| !teachers.is_empty()) {
        report["teachers"] = teachers.clone();
    }
    if let Some(entry) = data_free::entry(plan) {
        report["data_free"] = entry;
    }
    let of_metric = |node| stated_accuracy::warning(plan, node, state.measured.get(&node.name)?);
    let of_stage = |stage: &FinishedStage| {
        let warnings = stage.record.warnings.iter();
        warnings
            .map(|warning| format!("{}, batch {}: {}", stage.node, warning.batch, warning.message))
            .collect::<Vec<_>>()
    };
    let known = plan.warnings.iter().map(|warning| warning.message.clone());
    let warnings: Vec<_> =
        known.chain(plan.nodes.iter().filter_map(of_metric)).chain(state.finished.iter().flat_map(of_stage)).collect();
    if !warnings.is_empty() {
        report["warnings"] = warnings.into();
    }
    report
}

/// The report as its file has it.
pub fn text(report: &Value) -> Vec<u8> {
    format!("{report:#}\n").into_bytes()
}

fn stage_entry(plan: &Plan, stage: &FinishedStage) -> Value {
    let record = &stage.record;
    let mut entry = record.figures.clone();
    entry.insert("batches".into(), record.batches.into());
    entry.insert("flop".into(), record.flop.into());
    entry.insert("images".into(), record.images.into());
    entry.insert("median_batch_seconds".into(), record.median_batch_seconds.into());
    if let Some(rate) = record.images_per_second() {
        entry.insert("images_per_second".into(), rate.into());
    }
    if let Some(chosen_by) = plan.selection_of(&stage.node) {
        entry.insert("selection".into(), selection_entry(chosen_by, stage));
    }
    entry.into()
}

/// Which weights are the best and which the last, by what, and on whose images that was decided.
fn selection_entry(chosen_by: &StageSelection, stage: &FinishedStage) -> Value {
    let record = &stage.record.selection;
    let kept = |evaluation: &Option<Evaluation>, file: &Option<WeightsFile>| {
        let evaluation = evaluation.as_ref()?;
        Some(json!({
            "batch": evaluation.batch,
            "value": evaluation.value,
            "weights": file.as_ref().map(WeightsFile::file_name),
        }))
    };
    json!({
        "metric": chosen_by.selection.metric,
        "figure": chosen_by.score.figure,
        "objective": match chosen_by.score.objective {
            Objective::Maximize => "maximize",
            Objective::Minimize => "minimize",
        },
        "chosen_on": chosen_by.chosen_on,
        "best": kept(&record.best, &stage.best),
        "last": kept(&record.last, &stage.weights),
        "ended_early": record.ended_early,
    })
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
    let mut rows: Vec<_> = measured.map(|(node, found)| (node.to_owned(), found.summary.clone())).collect();
    for stage in &state.finished {
        let mut text = format!("{} batches", text_format::count(stage.record.batches));
        if let Some(seconds) = stage.record.median_batch_seconds {
            text.push_str(&format!(", {} each (median)", text_format::short_duration(seconds)));
        }
        if let Some(rate) = stage.record.images_per_second() {
            text.push_str(&format!(", {} images/s", text_format::figure(rate)));
        }
        if stage.record.selection.ended_early {
            text.push_str(", ended early");
        }
        rows.push((stage.node.clone(), text));
        if let Some(chosen_by) = plan.selection_of(&stage.node) {
            rows.extend(selection_rows(chosen_by, stage));
        }
    }
    let mut all = vec![text_format::duration(state.seconds)];
    let flop: u64 = state.finished.iter().map(|stage| stage.record.flop).sum();
    if flop > 0 {
        all.push(format!("{} of training", text_format::flop(flop as f64)));
    }
    all.extend(state.peak_memory_bytes.map(|bytes| format!("{} of memory at most", text_format::bytes(bytes))));
    rows.push(("all".to_owned(), all.join(", ")));
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.into_iter().map(|(name, text)| format!("{name:width$}  {text}")).collect()
}

/// Both numbers of a stage that keeps its best weights, the best and the last.
fn selection_rows(chosen_by: &StageSelection, stage: &FinishedStage) -> Vec<(String, String)> {
    let images = chosen_by.on_images();
    let chosen = if images.is_empty() { images } else { format!("; chosen{images}") };
    let row = |which: &str, evaluation: &Option<Evaluation>, file: &Option<WeightsFile>, more: &str| {
        let text = evaluation.as_ref().map_or("no evaluation gave a number".to_owned(), |evaluation| {
            let (metric, batch) = (&chosen_by.selection.metric, text_format::count(evaluation.batch));
            let file = file.as_ref().map(|file| format!(", {}", file.file_name())).unwrap_or_default();
            format!("{metric} at batch {batch}: {}{file}{more}", evaluation.summary)
        });
        (format!("{}, {which}", stage.node), text)
    };
    let record = &stage.record.selection;
    vec![row("best", &record.best, &stage.best, &chosen), row("last", &record.last, &stage.weights, "")]
}
