//! `manifest.json`: what a run was made with, so that it can be made again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use zskt_api::{Instance, Result};

use super::clock::timestamp;
use super::failure::{Stop, cannot_read};
use super::fingerprint::{self, Fingerprint};
use super::interrupt::Interrupted;
use super::{Options, atomic_file};
use crate::plan::Plan;

/// The sums of every file that the plan's nodes read.
///
/// # Errors
/// When one cannot be read, or the user asked to stop.
pub fn fingerprints(plan: &Plan, interrupted: &Interrupted) -> Result<Vec<Fingerprint>> {
    let mut all = Vec::new();
    for node in &plan.nodes {
        let files = match &node.instance {
            Instance::Teacher(teacher) => teacher.files(),
            Instance::Dataset(dataset) => dataset.files(),
            _ => continue,
        };
        for path in files {
            all.extend(fingerprint::of_files(&node.name, &path, interrupted)?);
        }
    }
    Ok(all)
}

/// Writes the manifest of a new run.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, plan: &Plan, options: &Options, device: &str, files: &[Fingerprint]) -> Result<()> {
    let crates: BTreeMap<_, _> =
        plan.nodes.iter().map(|node| (node.registration.crate_name, node.registration.crate_version)).collect();
    store(
        path,
        &json!({
            "name": plan.name,
            "pipeline": options.pipeline_path,
            "pipeline_sha256": fingerprint::of_text(&plan.resolved),
            "seed": plan.seed,
            "device": device,
            "precision": plan.precision,
            "zskt": env!("CARGO_PKG_VERSION"),
            // Set by a build script that knows it.
            "rustc": option_env!("ZSKT_RUSTC"),
            "plugins": crates,
            "files": files,
            "sessions": [session(options)],
        }),
    )
}

/// Checks that the files are the ones the run began with, and notes in the manifest that it goes on.
///
/// # Errors
/// When a file is another, or the manifest cannot be read or written.
pub fn resume(path: &Path, options: &Options, files: &[Fingerprint]) -> Result<(), Stop> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, error))?;
    let mut manifest: Value = serde_json::from_str(&text).map_err(|error| cannot_read(path, error))?;
    let kept: Vec<Fingerprint> =
        serde_json::from_value(manifest["files"].clone()).map_err(|error| cannot_read(path, error))?;
    let key = |file: &Fingerprint| (file.node.clone(), file.path.clone());
    let before: BTreeMap<_, _> = kept.iter().map(|file| (key(file), &file.sha256)).collect();
    let now: BTreeMap<_, _> = files.iter().map(|file| (key(file), &file.sha256)).collect();
    let mut paths = before.keys().chain(now.keys());
    if let Some((node, file)) = paths.find(|key| before.get(key) != now.get(key)) {
        return Err(Stop::Refused(format!(
            "cannot resume: {}, which node `{node}` reads, changed since the run began; restore it, or run without --resume",
            file.display()
        )));
    }
    if let Some(sessions) = manifest["sessions"].as_array_mut() {
        sessions.push(session(options));
    }
    Ok(store(path, &manifest)?)
}

/// One start of the program: the first, or a later one that went on from a checkpoint.
fn session(options: &Options) -> Value {
    json!({
        "start": timestamp(SystemTime::now()),
        "command_line": options.command_line,
        "threads": candle_core::utils::get_num_threads(),
    })
}

fn store(path: &Path, manifest: &Value) -> Result<()> {
    atomic_file::write(path, format!("{manifest:#}\n").as_bytes())
}
