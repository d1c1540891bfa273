//! `runs show`: all that is known of one run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zskt_api::{Diagnostic, Registry};

use super::{Answer, cell, disk_bytes, figure, moment};
use crate::run::RunFiles;
use crate::runs::{Headlines, Run, RunState, changed};
use crate::shell_quoting::quoted;
use crate::{checksum, text_format};

/// Shows a run.
///
/// # Errors
/// When it is not one, or cannot be read.
pub fn show(folder: &Path, json: bool, registry: &Registry) -> Result<Answer, Diagnostic> {
    let run = Run::read(folder)?;
    let figures = run.figures()?.0;
    let falls_short = run.falls_short(&figures);
    let changed = changed(&run.configuration(), registry);
    let files = files(&run.files());
    if json {
        let why = match &run.state {
            RunState::Failed(why) => Some(why),
            _ => None,
        };
        let changed: Map<_, _> = changed.into_iter().map(|(key, value)| (key, value.into())).collect();
        let files: Map<_, _> = files
            .into_iter()
            .map(|(name, bytes, sha256)| (name, json!({ "bytes": bytes, "sha256": sha256 })))
            .collect();
        let published: Map<_, _> = run.published().into_iter().map(|(key, text)| (key, text.into())).collect();
        let all = json!({
            "folder": folder.display().to_string(),
            "name": run.name,
            "state": run.state.to_string(),
            "failure": why,
            "falls_short": falls_short,
            "manifest": run.manifest,
            "figures": figures,
            "published": published,
            "configuration": run.configuration().parameters,
            "not_default": changed,
            "files": files,
            "disk_bytes": disk_bytes(folder),
        });
        return Ok(format!("{all}\n").into());
    }
    let of_manifest = |key: &str| text_format::one_line(run.manifest[key].as_str().unwrap_or("?"));
    let state = match &run.state {
        RunState::Failed(why) => format!("failed: {}", text_format::one_line(why)),
        RunState::Killed => killed(run.last_known_memory()),
        _ => run.state_by(&figures),
    };
    let starts = run.manifest["starts"].as_array().map_or(0, Vec::len);
    let mut took = vec![format!("{} UTC", moment(run.began()))];
    took.extend(figures.get("seconds").map(|seconds| format!("took {}", text_format::duration(*seconds))));
    if starts > 1 {
        took.push(format!("{starts} starts"));
    }
    let seed = &run.manifest["seed"];
    let devices = text_format::one_line(&run.devices().unwrap_or_else(|| "?".into()));
    let made_with = format!("zskt {}, {devices}, {}, seed {seed}", of_manifest("zskt"), of_manifest("precision"));
    let mut rows = vec![
        vec!["run".to_owned(), text_format::one_line(&run.name)],
        vec!["state".to_owned(), state],
        vec!["began".to_owned(), took.join(", ")],
        vec!["command".to_owned(), command(&run.manifest)],
        vec!["made with".to_owned(), made_with],
    ];
    if let Some(computed_by) = run.computed_by() {
        rows.push(vec!["computed by".to_owned(), text_format::one_line(&computed_by)]);
    }
    if let Some(statement) = run.report.as_ref().and_then(|report| report["data_free"]["statement"].as_str()) {
        rows.push(vec!["data-free".to_owned(), text_format::one_line(statement)]);
    }
    let mut out = text_format::table(&rows, |_| false);
    if !figures.is_empty() {
        let (headlines, published, expected) = (Headlines::of_runs([&run], registry), run.published(), run.expected());
        let is_headline = |key: &str| headlines.find(key).is_some();
        let (first, others): (Vec<_>, Vec<_>) = figures.iter().partition(|(key, _)| is_headline(key));
        let rows = first.into_iter().chain(others).map(|(key, value)| {
            let published = published.iter().find(|(known, _)| known == key);
            let published = published.map(|(_, text)| format!("published {}", text_format::one_line(text)));
            let expected = expected.iter().find(|(known, _)| known == key).map(|(_, bounds)| {
                format!("expected {bounds}: {}", if bounds.hold(*value) { "met" } else { "NOT MET" })
            });
            let beside: Vec<_> = published.into_iter().chain(expected).collect();
            vec![cell(key), figure(key, *value), beside.join(", ")]
        });
        out += &format!("\nfigures\n{}", text_format::table(&indented(rows), |column| column == 1));
    }
    if !changed.is_empty() {
        let rows = changed.into_iter().map(|(key, value)| vec![cell(&key), text_format::one_line(&value)]);
        out += &format!("\nnot as by default\n{}", text_format::table(&indented(rows), |_| false));
    }
    let rows = files.into_iter().map(|(name, bytes, sha256)| {
        let sum = sha256.map(|sum| format!("sha256 {sum}"));
        vec![text_format::one_line(&name), text_format::bytes(bytes), sum.unwrap_or_default()]
    });
    out += &format!("\nfiles\n{}", text_format::table(&indented(rows), |column| column == 1));
    let warnings = run.report.as_ref().and_then(|report| report["warnings"].as_array());
    for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
        out += &format!("\nwarning: {}\n", text_format::one_line(warning));
    }
    Ok(out.into())
}

/// Of a run that ended without a word, what may have ended it: most often the system, when memory ran out.
fn killed(memory: Option<u64>) -> String {
    let why = match memory {
        Some(bytes) => {
            format!(", perhaps for want of memory (it had taken {} by its last checkpoint)", text_format::bytes(bytes))
        }
        None => String::new(),
    };
    format!("killed{why}: on Linux the kernel's log tells whether memory ran out (`dmesg`, `journalctl -k`)")
}

fn indented(rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let indent = |mut row: Vec<String>| {
        row[0].insert_str(0, "  ");
        row
    };
    rows.map(indent).collect()
}

/// The command that began the run, as it was typed.
fn command(manifest: &Value) -> String {
    let words = manifest["starts"][0]["command_line"].as_array();
    let words = words.into_iter().flatten().filter_map(Value::as_str);
    words.map(|word| quoted(&text_format::one_line(word))).collect::<Vec<_>>().join(" ")
}

/// Every file, its size, and the sum of those that others may want to compare: weights and made images.
fn files(files: &RunFiles) -> Vec<(String, u64, Option<String>)> {
    let mut all = Vec::new();
    let entries = fs::read_dir(files.path()).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            all.push((format!("{name}/"), disk_bytes(&path), None));
            continue;
        }
        let is_summed = metadata.is_file()
            && path.extension().is_some_and(|extension| extension == "safetensors" || extension == "parquet");
        let sum = is_summed.then(|| checksum::of_file(&path).ok()).flatten();
        all.push((name, metadata.len(), sum));
    }
    all
}
