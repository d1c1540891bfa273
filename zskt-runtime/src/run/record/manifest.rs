//! `manifest.json`: what a run was made with, so that it can be made again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zskt_api::{Diagnostic, Error, NestedPlugin, PluginInstance, PluginRegistration, Registry, Result, WeightsSource};

use super::computed_by::{self, Computer};
use crate::library::{self, Library};
use crate::plan::{Plan, StageSelection};
use crate::plugin_calls::PluginOfNode;
use crate::run::interrupt::Interrupted;
use crate::run::options::Options;
use crate::run::resume::{Fingerprint, RunDirectory, fingerprints_of, of_pipeline, seal, unseal};
use crate::run::start_error::StartError;
use crate::run::timestamp::timestamp;

/// What chooses the convolutions of a GPU (`docs/gpu.md`).
const CONVOLUTIONS: [&str; 2] = ["ZSKT_TENSOR_CORES", "ZSKT_DEPTHWISE"];

/// The sums of every file that the plan's nodes read.
///
/// # Errors
/// When one cannot be read, or the user asked to stop.
pub fn fingerprints(plan: &Plan, interrupted: &Interrupted) -> Result<Vec<Fingerprint>> {
    let mut all = Vec::new();
    for node in &plan.nodes {
        let mut files: BTreeSet<_> = files(&node.instance, &node.paths).into_iter().collect();
        for NestedPlugin { parsed, .. } in &node.nested {
            files.extend(self::files(parsed.instance(), &parsed.paths));
        }
        for path in files {
            all.extend(fingerprints_of(&node.name, &path, interrupted)?);
        }
    }
    Ok(all)
}

/// The files that a plugin reads: a source says which, of any other they are those that its parameters name.
fn files(plugin: &PluginInstance, paths: &[PathBuf]) -> Vec<PathBuf> {
    match plugin {
        PluginInstance::Teacher(teacher) => teacher.files(),
        PluginInstance::Dataset(dataset) => dataset.files(),
        _ => paths.iter().filter(|path| path.exists()).cloned().collect(),
    }
}

/// Where the weights of each teacher lie in its files, by the node that it is, or is a parameter of (`mix.teacher`).
///
/// # Errors
/// When the files are no longer what they were when they were checked.
pub fn teachers(plan: &Plan) -> Result<BTreeMap<String, WeightsSource>> {
    let mut sources = BTreeMap::new();
    for node in &plan.nodes {
        let own = (node.name.clone(), &node.instance, node.registration);
        let nested = node.nested.iter().map(|nested| {
            (format!("{}.{}", node.name, nested.parameter), nested.parsed.instance(), nested.registration)
        });
        for (name, instance, registration) in std::iter::once(own).chain(nested) {
            if let PluginInstance::Teacher(teacher) = instance {
                let found = PluginOfNode::new(registration, &node.name).call(|| teacher.weights_source());
                sources.extend(found.map_err(Error::from)?.map(|source| (name, source)));
            }
        }
    }
    Ok(sources)
}

/// The teachers' sources that a manifest has.
pub fn kept_teachers(manifest: &Value) -> BTreeMap<String, WeightsSource> {
    Deserialize::deserialize(&manifest["teachers"]).unwrap_or_default()
}

/// What a run is made with, but for its starts: the same as long as it lasts.
pub fn describe(
    plan: &Plan,
    options: &Options,
    device: &str,
    files: &[Fingerprint],
    teachers: &BTreeMap<String, WeightsSource>,
) -> Value {
    // Also those that no node names: an optimizer is a parameter of a turn.
    let linked = Registry::get().into_iter().flat_map(Registry::iter);
    let used = plan.nodes.iter().flat_map(|node| node.plugins.iter().copied());
    let crates: BTreeMap<_, _> = linked.chain(used).map(|plugin| (plugin.crate_name, plugin.crate_version)).collect();
    let nodes: BTreeMap<_, Vec<_>> = plan
        .nodes
        .iter()
        .map(|node| (&node.name, node.plugins.iter().map(|plugin| plugin.full_name()).collect()))
        .collect();
    let mut manifest = json!({
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
        // The full names: of the node's plugin first, then of those among its parameters.
        "nodes": nodes,
        "libraries": libraries(plan),
        "files": files,
        "teachers": teachers,
    });
    let selections = plan.nodes.iter().filter_map(|node| {
        let StageSelection { selection, chosen_on, .. } = node.selection.as_ref()?;
        Some((
            node.name.clone(),
            json!({ "metric": selection.metric, "chosen_on": chosen_on, "patience": selection.patience }),
        ))
    });
    let selections: serde_json::Map<_, _> = selections.collect();
    if !selections.is_empty() {
        manifest["selections"] = selections.into();
    }
    manifest
}

/// A library that the run's plugins come from.
#[derive(Serialize, Deserialize)]
pub struct UsedLibrary {
    /// Its file, when the run began.
    pub path: PathBuf,
    /// The SHA-256 sum of that.
    pub sha256: String,
}

fn plugins(plan: &Plan) -> impl Iterator<Item = &'static PluginRegistration> {
    plan.nodes.iter().flat_map(|node| node.plugins.iter().copied())
}

fn libraries(plan: &Plan) -> Vec<UsedLibrary> {
    let libraries = library::of_plugins(plugins(plan));
    libraries.into_iter().map(|library| UsedLibrary { path: library.file, sha256: library.sha256 }).collect()
}

/// The libraries that a manifest has.
pub fn kept_libraries(manifest: &Value) -> Vec<UsedLibrary> {
    Deserialize::deserialize(&manifest["libraries"]).unwrap_or_default()
}

/// The files of those libraries of some plugins with which a run did not begin.
pub fn changed_libraries(
    manifest: &Value,
    plugins: impl IntoIterator<Item = &'static PluginRegistration>,
) -> Vec<PathBuf> {
    let kept = kept_libraries(manifest);
    let is_kept = |library: &Library| kept.iter().any(|kept| kept.sha256 == library.sha256);
    let used = library::of_plugins(plugins).into_iter();
    used.filter(|library| !is_kept(library)).map(|library| library.file).collect()
}

/// Checks that the files, and the libraries that plugins come from, are the ones the run began with.
///
/// # Errors
/// When a file is another.
pub fn check(manifest: &Value, plan: &Plan, files: &[Fingerprint]) -> Result<(), StartError> {
    let unreadable = |error| Error::new(format!("the checkpoint does not say what the run was made with: {error}"));
    if let Some(path) = changed_libraries(manifest, plugins(plan)).first() {
        let message = format!("cannot resume: the plugin library {} changed since the run began", path.display());
        return Err(Diagnostic::global(message).help("restore it, or run without --resume").into());
    }
    let kept: Vec<Fingerprint> = Deserialize::deserialize(&manifest["files"]).map_err(unreadable)?;
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

/// Writes the manifest of a new run.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &RunDirectory, manifest: &Value, options: &Options, computer: Computer<'_>) -> Result<()> {
    store(directory, manifest, vec![start(options, computer)])
}

/// Notes that the run goes on, on a device that may be another: what the manifest says `before`, and then. Tells where it is not computed by what
/// computed it last.
///
/// # Errors
/// When the manifest cannot be written.
pub fn add_start(
    directory: &RunDirectory,
    [before, manifest]: [&Value; 2],
    options: &Options,
    computer: Computer<'_>,
    tell: impl FnOnce(&str),
) -> Result<()> {
    let mut starts = kept_starts(&directory.manifest(), before).unwrap_or_default();
    let start = start(options, computer);
    if let Some(change) = starts.last().and_then(|last| computed_by::change(last, &start)) {
        tell(&change);
    }
    starts.push(start);
    store(directory, manifest, starts)
}

/// Writes the manifest again if it is damaged or missing, without the starts so far, and tells that.
///
/// # Errors
/// When it cannot be written.
pub fn restore(directory: &RunDirectory, manifest: &Value, tell: impl FnOnce(&str)) -> Result<()> {
    let path = directory.manifest();
    if kept_starts(&path, manifest).is_some() {
        return Ok(());
    }
    let told = directory.write_again(&path, &bytes(manifest, Vec::new()))?;
    tell(&format!("{told}, without the starts so far"));
    Ok(())
}

fn store(directory: &RunDirectory, manifest: &Value, starts: Vec<Value>) -> Result<()> {
    directory.write(&directory.manifest(), &bytes(manifest, starts))
}

fn bytes(manifest: &Value, starts: Vec<Value>) -> Vec<u8> {
    let mut all = manifest.clone();
    all["starts"] = starts.into();
    format!("{:#}\n", seal(all)).into_bytes()
}

/// The starts so far; nothing when the manifest is not whole, or another run's.
fn kept_starts(path: &Path, expected: &Value) -> Option<Vec<Value>> {
    let mut manifest = unseal(&std::fs::read_to_string(path).ok()?)?;
    let Value::Array(starts) = manifest.as_object_mut()?.remove("starts")? else { return None };
    (manifest == *expected).then_some(starts)
}

/// One start of the program, on a device of this name: the first, or a later one that went on from a checkpoint.
fn start(options: &Options, computer: Computer<'_>) -> Value {
    let mut start = json!({
        "start": timestamp(SystemTime::now()),
        "command_line": options.command_line,
        "device": computer.device_name,
        "threads": rayon::current_num_threads(),
    });
    start.as_object_mut().into_iter().for_each(|start| start.extend(computed_by::describe(computer)));
    // By which card, and by which convolutions, changes the numbers.
    #[cfg(feature = "cuda")]
    if let Some(card) = zskt_api::describe_gpu(computer.device) {
        start["gpu"] = card.into();
    }
    for variable in CONVOLUTIONS {
        if let Ok(setting) = std::env::var(variable) {
            start[variable] = setting.into();
        }
    }
    start
}
