//! `runs verify`: whether a run's files are what the run wrote, and the files that it read, and the libraries of its plugins, what they
//! were.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Deserialize;
use serde_json::{Value, json};
use zskt_api::Diagnostic;

use super::Answer;
use crate::run::{Checkpoint, Fingerprint, fingerprints_of, kept_libraries, of_pipeline, unseal};
use crate::runs::Run;
use crate::{checksum, input_file, text_format};

/// What became of a file.
enum Finding {
    Same,
    /// Why it is not what it was.
    Differs(String),
    /// Why it cannot be told.
    Unknown(String),
}

/// A file, and what became of it.
struct Checked {
    file: PathBuf,
    what: &'static str,
    finding: Finding,
}

/// Checks all sums of runs again; a folder that is none stands for the runs in it.
///
/// # Errors
/// When one is not a run, and has none in it.
pub fn verify(folders: &[PathBuf], json: bool) -> Result<Answer, Diagnostic> {
    let (mut text, mut objects, mut differ) = (String::new(), Vec::new(), 0);
    let mut runs = Vec::new();
    for folder in folders {
        let within = if Run::is_at(folder) { Vec::new() } else { Run::folders(folder)? };
        runs.extend(if within.is_empty() { vec![folder.clone()] } else { within });
    }
    let (is_alone, mut unread) = (runs.len() == 1, 0);
    for folder in &runs {
        let checked = match verify_one(folder) {
            // Others are looked at all the same, as those of `runs/*`.
            Err(problem) if !is_alone => {
                unread += 1;
                vec![Checked { file: folder.clone(), what: "run", finding: Finding::Unknown(problem.message) }]
            }
            checked => checked?,
        };
        differ += checked.iter().filter(|checked| matches!(checked.finding, Finding::Differs(_))).count();
        let rows = checked.iter().map(|Checked { file, what, finding }| {
            let finding = match finding {
                Finding::Same => "ok".to_owned(),
                Finding::Differs(why) => format!("DIFFERS: {}", text_format::one_line(why)),
                Finding::Unknown(why) => format!("not known: {}", text_format::one_line(why)),
            };
            vec![text_format::one_line(&file.display().to_string()), (*what).to_owned(), finding]
        });
        text += &text_format::table(&rows.collect::<Vec<_>>(), |_| false);
        objects.extend(checked.into_iter().map(|Checked { file, what, finding }| {
            let (same, why) = match finding {
                Finding::Same => (Some(true), None),
                Finding::Differs(why) => (Some(false), Some(why)),
                Finding::Unknown(why) => (None, Some(why)),
            };
            json!({ "run": folder.display().to_string(), "file": file.display().to_string(), "what": what, "same": same, "why": why })
        }));
    }
    let text = if json { format!("{}\n", Value::Array(objects)) } else { text };
    let count = |count, one, many| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{} {many}", text_format::count(count))),
    };
    let complaints = [
        count(differ, "file differs", "files differ"),
        count(unread, "folder is no run that can be checked", "folders are no runs that can be checked"),
    ];
    let complaints: Vec<_> = complaints.into_iter().flatten().collect();
    let complaint = (!complaints.is_empty()).then(|| complaints.join(", "));
    Ok(Answer { text, complaint })
}

fn verify_one(folder: &Path) -> Result<Vec<Checked>, Diagnostic> {
    // A manifest that is damaged is a finding, and not a reason to look at nothing else.
    let files = Run::files_of(folder)?;
    let mut all = Vec::new();
    let mut add = |file: PathBuf, what, finding| all.push(Checked { file, what, finding });
    let sealed = input_file::read_whole(&files.manifest()).map(|bytes| unseal(&String::from_utf8_lossy(&bytes)));
    let manifest = match sealed {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => Err(Finding::Differs("its seal is broken".into())),
        Err(error) => Err(Finding::Differs(text_format::reason(&error))),
    };
    let (manifest, finding) = match manifest {
        Ok(manifest) => (manifest, Finding::Same),
        Err(finding) => (Value::Null, finding),
    };
    add(files.manifest(), "what it was made with", finding);
    let mut kept = None;
    for path in files.checkpoints().into_iter().filter(|path| path.exists()) {
        let finding = match Checkpoint::read(&path, &Device::Cpu) {
            Ok(checkpoint) => {
                kept = kept.or(Some(checkpoint.state));
                Finding::Same
            }
            Err(error) => Finding::Differs(error.to_string()),
        };
        add(path, "checkpoint", finding);
    }
    let expected_pipeline = match (&kept, manifest["pipeline_sha256"].as_str()) {
        (Some(state), _) => Some(of_pipeline(&state.pipeline)),
        (None, sum) => sum.map(str::to_owned),
    };
    let pipeline = input_file::read_whole(&files.pipeline()).map(|bytes| of_pipeline(&String::from_utf8_lossy(&bytes)));
    let finding = match (pipeline, expected_pipeline) {
        (Err(error), _) => Finding::Differs(text_format::reason(&error)),
        (Ok(_), None) => Finding::Unknown("nothing says what it was".into()),
        (Ok(now), Some(then)) => same(now == then),
    };
    add(files.pipeline(), "pipeline as resolved", finding);
    let report: Option<Value> =
        input_file::read_whole(&files.report()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(state) = &kept {
        add(files.metrics(), "log", found(state.metrics.check(&files.metrics())));
        add(files.events(), "log for TensorBoard", found(state.events.check(&files.events())));
        if let Some(then) = &state.report {
            let finding = match &report {
                Some(now) => same(now == then),
                None => Finding::Differs("it is missing, or not JSON".into()),
            };
            add(files.report(), "what it found", finding);
        }
    } else if report.is_some() {
        add(files.report(), "what it found", Finding::Unknown("there is no checkpoint to compare it with".into()));
    }
    let report = kept.as_ref().and_then(|state| state.report.clone()).or(report).unwrap_or_default();
    let of_report = report["weights"].as_object().into_iter().flatten();
    let mut weights: Vec<(String, String)> =
        of_report.filter_map(|(file, sum)| Some((file.clone(), sum.as_str()?.to_owned()))).collect();
    if weights.is_empty() {
        let finished = kept.iter().flat_map(|state| &state.finished);
        let written = finished.flat_map(|stage| stage.weights.iter().chain(&stage.best));
        weights = written.map(|file| (file.file_name(), file.sha256().to_owned())).collect();
    }
    for (name, then) in weights {
        // A name that leads elsewhere is not of a run.
        let path = folder.join(Path::new(&name).file_name().unwrap_or_default());
        let finding = match checksum::of_file(&path) {
            Ok(now) => same(now == then),
            Err(error) => Finding::Differs(text_format::reason(&error)),
        };
        add(path, "weights", finding);
    }
    for then in kept_libraries(&manifest) {
        let finding = match checksum::of_file(&then.path) {
            Ok(now) => same(now == then.sha256),
            // Where a library lies does not matter.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Finding::Unknown("it is no longer there; it may lie elsewhere".into())
            }
            Err(error) => Finding::Differs(text_format::reason(&error)),
        };
        add(then.path, "plugin library", finding);
    }
    let inputs = Vec::<Fingerprint>::deserialize(&manifest["files"]).unwrap_or_default();
    for then in inputs {
        let now = fingerprints_of(&then.node, &then.path, &(std::sync::Arc::new(|| false) as _));
        let finding = match now.as_deref() {
            Ok([now]) => same(now.sha256 == then.sha256),
            Ok(_) => Finding::Differs("it is another number of files".into()),
            Err(_) if then.path.is_relative() && !then.path.exists() => {
                Finding::Unknown("it is not there, seen from this folder; the run may have begun in another".into())
            }
            Err(error) => Finding::Differs(error.to_string()),
        };
        add(then.path, "read by the run", finding);
    }
    Ok(all)
}

fn same(is_same: bool) -> Finding {
    if is_same { Finding::Same } else { Finding::Differs("it is not what it was".into()) }
}

fn found(checked: zskt_api::Result<()>) -> Finding {
    checked.map_or_else(|error| Finding::Differs(error.to_string()), |()| Finding::Same)
}
