//! `manifest.json`: what a run was made with, so that it can be made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zskt_api::{Diagnostic, PluginInstance, Registry, Result};

use crate::library;
use crate::plan::Plan;
use crate::run::interrupt::Interrupted;
use crate::run::options::Options;
use crate::run::resume::{Fingerprint, cannot_read, fingerprints_of, of_pipeline, write_atomically};
use crate::run::start_error::StartError;
use crate::run::timestamp::timestamp;

/// The sums of every file that the plan's nodes read.
///
/// # Errors
/// When one cannot be read, or the user asked to stop.
pub fn fingerprints(plan: &Plan, interrupted: &Interrupted) -> Result<Vec<Fingerprint>> {
    let mut all = Vec::new();
    for node in &plan.nodes {
        let files = match &node.instance {
            PluginInstance::Teacher(teacher) => teacher.files(),
            PluginInstance::Dataset(dataset) => dataset.files(),
            _ => continue,
        };
        for path in files {
            all.extend(fingerprints_of(&node.name, &path, interrupted)?);
        }
    }
    Ok(all)
}

/// Writes the manifest of a new run.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, plan: &Plan, options: &Options, device: &str, files: &[Fingerprint]) -> Result<()> {
    // Also those that no node names: an optimizer is a parameter of a turn.
    let linked = Registry::get().into_iter().flat_map(Registry::iter);
    let used = plan.nodes.iter().flat_map(|node| node.plugins.iter().copied());
    let crates: BTreeMap<_, _> = linked.chain(used).map(|plugin| (plugin.crate_name, plugin.crate_version)).collect();
    store(
        path,
        &json!({
            "name": plan.name,
            "pipeline": options.pipeline_path.as_deref().map(Path::to_string_lossy),
            "pipeline_sha256": of_pipeline(&plan.resolved),
            "seed": plan.seed,
            "device": device,
            "precision": plan.precision.name(),
            "zskt": env!("CARGO_PKG_VERSION"),
            // Set by a build script that knows it.
            "rustc": option_env!("ZSKT_RUSTC"),
            "plugins": crates,
            "libraries": libraries(plan),
            "files": files,
            "starts": [start(options)],
        }),
    )
}

/// A library that the run's plugins come from.
#[derive(Serialize, Deserialize)]
struct UsedLibrary {
    path: PathBuf,
    sha256: String,
}

fn libraries(plan: &Plan) -> Vec<UsedLibrary> {
    let libraries = library::of_plugins(plan.nodes.iter().flat_map(|node| node.plugins.iter().copied()));
    libraries.into_iter().map(|library| UsedLibrary { path: library.file, sha256: library.sha256 }).collect()
}

/// Checks that the files, and the libraries that plugins come from, are the ones the run began with.
///
/// # Errors
/// When a file is another, or the manifest cannot be read.
pub fn check(path: &Path, plan: &Plan, files: &[Fingerprint]) -> Result<(), StartError> {
    let mut manifest = load(path)?;
    let libraries: Option<Vec<UsedLibrary>> =
        serde_json::from_value(manifest["libraries"].take()).map_err(|error| cannot_read(path, error))?;
    for library in self::libraries(plan) {
        if !libraries.iter().flatten().any(|kept| kept.sha256 == library.sha256) {
            let path = library.path.display();
            return Err(Diagnostic::global(format!(
                "cannot resume: the plugin library {path} changed since the run began"
            ))
            .help("restore it, or run without --resume")
            .into());
        }
    }
    let kept: Vec<Fingerprint> =
        serde_json::from_value(manifest["files"].take()).map_err(|error| cannot_read(path, error))?;
    let sums = |files: &[Fingerprint]| -> BTreeMap<_, _> {
        files.iter().map(|file| ((file.path.clone(), file.node.clone()), file.sha256.clone())).collect()
    };
    let (before, now) = (sums(&kept), sums(files));
    let changed = before.keys().chain(now.keys()).find(|file| before.get(file) != now.get(file));
    changed.map_or(Ok(()), |(file, node)| {
        let file = file.display();
        let message = format!("cannot resume: {file}, which node `{node}` reads, changed since the run began");
        Err(Diagnostic::global(message).help("restore it, or run without --resume").into())
    })
}

/// Notes that the run goes on.
///
/// # Errors
/// When the manifest cannot be read or written.
pub fn add_start(path: &Path, options: &Options) -> Result<()> {
    let mut manifest = load(path)?;
    if let Some(starts) = manifest["starts"].as_array_mut() {
        starts.push(start(options));
    }
    store(path, &manifest)
}

/// One start of the program: the first, or a later one that went on from a checkpoint.
fn start(options: &Options) -> Value {
    json!({
        "start": timestamp(SystemTime::now()),
        "command_line": options.command_line,
        "threads": candle_core::utils::get_num_threads(),
    })
}

fn load(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot_read(path, error))?;
    serde_json::from_str(&text).map_err(|error| cannot_read(path, error))
}

fn store(path: &Path, manifest: &Value) -> Result<()> {
    write_atomically(path, format!("{manifest:#}\n").as_bytes())
}
