//! `runs prune`: makes room. Nothing is removed that a run did not write.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use zskt_api::Diagnostic;

use super::list::find;
use super::{Answer, disk_bytes};
use crate::pipeline;
use crate::run::{RunDirectory, RunFiles, is_partial_file};
use crate::runs::{Run, RunState};
use crate::{report_page, text_format};

/// What is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pruned {
    /// The checkpoints of finished runs: they can then no longer be exported, their weights files stay
    Checkpoints,
    /// The runs that failed
    Failed,
    /// The runs that were killed, and could go on from their last checkpoint
    Killed,
    /// The runs that were interrupted, and could go on
    Interrupted,
}

/// What to remove.
pub struct Request<'a> {
    /// Runs, and folders of runs.
    pub folders: &'a [PathBuf],
    /// What of them.
    pub what: &'a [Pruned],
    /// Only of runs that began longer ago.
    pub older_than: Option<Duration>,
    /// Whether it is removed, or listed.
    pub yes: bool,
}

/// Removes what was asked for, or says what that would be.
///
/// # Errors
/// When a folder cannot be read.
pub fn prune(request: &Request<'_>) -> Result<Answer, Diagnostic> {
    let (runs, _) = find(request.folders)?;
    let (mut out, mut complaints, mut freed) = (String::new(), Vec::new(), 0);
    for run in runs.iter().filter(|run| is_old(run, request.older_than)) {
        let removed = if request.yes { remove(run, request.what) } else { Removal::of(run, request.what) };
        match removed {
            Ok(None) => {}
            Ok(Some(removal)) => {
                freed += removal.bytes;
                out += &format!("{}  {}, {}\n", shown(&run.folder), removal.what, text_format::bytes(removal.bytes));
            }
            Err(problem) => complaints.push(problem),
        }
    }
    out += &match (request.yes, out.is_empty()) {
        (_, true) if !complaints.is_empty() => String::new(),
        (_, true) => "nothing to remove\n".to_owned(),
        (true, _) => format!("removed: {}\n", text_format::bytes(freed)),
        (false, _) => format!("{} would be removed; add --yes to do so\n", text_format::bytes(freed)),
    };
    let complaint = (!complaints.is_empty()).then(|| complaints.join("\n"));
    Ok(Answer { text: out, complaint })
}

/// What is removed of a run.
struct Removal {
    /// What it is called.
    what: String,
    /// The files, and the folders after their contents.
    paths: Vec<PathBuf>,
    bytes: u64,
}

impl Removal {
    /// What was asked for of a run as it is now, or why it stays.
    fn of(run: &Run, what: &[Pruned]) -> Result<Option<Self>, String> {
        let folder = match &run.state {
            RunState::Finished if what.contains(&Pruned::Checkpoints) => run.folder.join("checkpoint"),
            RunState::Failed(_) if what.contains(&Pruned::Failed) => run.folder.clone(),
            RunState::Killed if what.contains(&Pruned::Killed) => run.folder.clone(),
            RunState::Interrupted | RunState::OutOfBudget if what.contains(&Pruned::Interrupted) => run.folder.clone(),
            _ => return Ok(None),
        };
        // What a link leads to is not of this run.
        if !fs::symlink_metadata(&folder).is_ok_and(|folder| folder.is_dir()) {
            return Ok(None);
        }
        let (mut paths, others) = files_in(&folder, &run.files(), &names(run));
        if paths.is_empty() {
            return Ok(None);
        }
        if let Some(other) = others.first() {
            return Err(format!("{} stays: {} is not a file of a run", shown(&run.folder), shown(other)));
        }
        // A folder with it is known as a run's, should the rest not be removed.
        paths.sort_by_key(|path| *path == run.files().manifest());
        let bytes = paths.iter().map(|path| disk_bytes(path)).sum();
        let what = if folder == run.folder { run.state.to_string() } else { "checkpoints".into() };
        paths.push(folder);
        Ok(Some(Self { what, paths, bytes }))
    }
}

fn shown(path: &Path) -> String {
    text_format::one_line(&path.display().to_string())
}

fn is_old(run: &Run, older_than: Option<Duration>) -> bool {
    let Some(age) = older_than else { return true };
    let began = humantime::parse_rfc3339(run.began()).ok();
    began.is_some_and(|began| SystemTime::now().duration_since(began).is_ok_and(|passed| passed >= age))
}

/// The names that files of a run begin with: its nodes', and what the last stage's weights are called.
fn names(run: &Run) -> Vec<String> {
    let nodes = pipeline::resolved_nodes(&run.pipeline).into_iter().map(|(node, _)| node);
    nodes.chain(["student", "student-stage"].map(str::to_owned)).collect()
}

/// What a run wrote in a folder of its own, and what else is there; the contents of folders before them.
fn files_in(folder: &Path, files: &RunFiles, names: &[String]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let of_run = files.checkpoints()[0].parent() == Some(&path) || files.images() == path;
        if kind.is_dir() && of_run {
            let (own_inside, others_inside) = files_in(&path, files, names);
            own.extend(own_inside);
            others.extend(others_inside);
            own.push(path);
        } else if kind.is_dir() && files.measurements() == path {
            // Whatever metrics left there.
            own.extend(everything_in(&path));
            own.push(path);
        } else if kind.is_file() && is_of_run(&path, files, names) {
            own.push(path);
        } else {
            others.push(path);
        }
    }
    (own, others)
}

/// All that is in a folder, the contents of folders before them; what a link leads to is not in it.
fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(everything_in(&entry.path()));
        }
        all.push(entry.path());
    }
    all
}

fn is_of_run(path: &Path, files: &RunFiles, names: &[String]) -> bool {
    if is_partial_file(path) {
        return true;
    }
    let known = [files.pipeline(), files.manifest(), files.metrics(), files.events(), files.report()];
    // What was found in a file's place is kept beside it.
    let written = beside(path);
    let written = written.as_deref().unwrap_or(path);
    known.iter().chain(&files.checkpoints()).any(|file| file == written)
        || written == files.page() && report_page::is_page(path)
        || names.iter().any(|name| {
            [files.weights(name), files.weights(&format!("{name}.best"))].iter().any(|file| file == written)
                || batch_of(path).is_some_and(|batch| files.image(name, batch) == path)
                || names.iter().any(|turn| files.made_images(name, turn) == path)
        })
}

/// The file beside which this one is kept: it is called the same, with `.differs` or `.differs-2` at its end.
fn beside(path: &Path) -> Option<PathBuf> {
    let (written, number) = path.file_name()?.to_str()?.rsplit_once(".differs")?;
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    let is_ours = number.is_empty() || number.strip_prefix('-').is_some_and(is_number);
    is_ours.then(|| path.with_file_name(written))
}

/// The batch that the name of a grid of pseudo-images ends with.
fn batch_of(path: &Path) -> Option<usize> {
    path.file_stem()?.to_str()?.rsplit_once('-')?.1.parse().ok()
}

/// Removes what was asked for of a run; gives what that was, unless the run is another by now.
fn remove(run: &Run, what: &[Pruned]) -> Result<Option<Removal>, String> {
    if Removal::of(run, what)?.is_none() {
        return Ok(None);
    }
    // Nobody else begins to write to it meanwhile; what somebody wrote until now is read first.
    let directory = RunDirectory::open(run.folder.clone()).map_err(|problem| problem.message)?;
    let run = Run::read_locked(&directory).map_err(|problem| problem.message)?;
    let Some(removal) = Removal::of(&run, what)? else { return Ok(None) };
    for path in &removal.paths {
        let removed = fs::symlink_metadata(path)
            .and_then(|found| if found.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) });
        removed.map_err(|error| format!("cannot remove {}: {}", shown(path), text_format::reason(&error)))?;
    }
    Ok(Some(removal))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::{Pruned, files_in, remove};
    use crate::run::{RunFiles, seal};
    use crate::runs::{Run, RunState};

    fn run_in(folder: &Path) -> Run {
        fs::write(folder.join("manifest.json"), seal(json!({ "name": "n" })).to_string()).unwrap();
        fs::write(folder.join("pipeline.ron"), "()").unwrap();
        Run::read(folder).unwrap()
    }

    #[test]
    fn what_a_run_has_become_meanwhile_is_looked_at_before_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let run = run_in(folder.path());
        assert_eq!(run.state, RunState::Killed);
        fs::write(folder.path().join("report.json"), "{}").unwrap();
        assert!(remove(&run, &[Pruned::Killed]).unwrap().is_none(), "it is finished now");
        fs::remove_file(folder.path().join("report.json")).unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        assert!(remove(&run, &[Pruned::Killed]).is_err());
        fs::remove_file(folder.path().join("thesis.tex")).unwrap();
        assert_eq!(remove(&run, &[Pruned::Killed]).unwrap().unwrap().what, "killed");
        assert!(!folder.path().exists());
    }

    #[test]
    fn only_what_a_run_writes_is_taken_for_its_own() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let own = ["report.json", "report.json.differs", "report.json.differs-2", "images/distill-0000100.png"];
        let others = [
            "report.html",
            "report.json.differs-from-mine",
            "report.json.differs-",
            "x.differs",
            "images/cat.png",
            "images/distill-100.png",
            "images/other-0000100.png",
        ];
        own.iter().chain(&others).for_each(|name| fs::write(folder.path().join(name), "text").unwrap());
        let (found, left) = files_in(folder.path(), &RunFiles::new(folder.path().to_owned()), &["distill".to_owned()]);
        let is_in = |paths: &[std::path::PathBuf], name: &str| paths.contains(&folder.path().join(name));
        assert!(own.iter().all(|name| is_in(&found, name)), "{found:?}");
        assert!(others.iter().all(|name| is_in(&left, name)), "{left:?}");
    }
}
