//! `zskt-run report`: which runs, and where the page goes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::Builder;
use zskt_api::{Diagnostic, Registry};

use super::document::GENERATOR;
use super::{comparison, one_run};
use crate::draw::{self, Picture};
use crate::pipeline::Sources;
use crate::plugin_calls::catch_panics;
use crate::run::PARTIAL_SUFFIX;
use crate::runs::Run;
use crate::{check, text_format};

/// A page says within as much of it what made it.
const HEAD: u64 = 2048;

/// What a page is asked for.
pub struct Request<'a> {
    /// Folders of runs, or folders with such folders.
    pub folders: &'a [PathBuf],
    /// The file to write, instead of `report.html` in the folder.
    pub to: Option<&'a Path>,
}

/// Writes the page, and says where; what cannot be read of many runs is told by `tell`, and left out.
///
/// # Errors
/// When there is no run, or the page cannot be written.
pub fn make(
    request: &Request<'_>,
    registry: &Registry,
    mut tell: impl FnMut(&Diagnostic),
) -> Result<String, Diagnostic> {
    let mut runs = Vec::new();
    for folder in request.folders {
        if Run::is_at(folder) {
            runs.push(Run::read(folder)?);
        } else {
            let (found, damaged) = Run::find(folder)?;
            damaged.iter().for_each(&mut tell);
            if found.is_empty() {
                let message = format!("`{}` is not the folder of a run, and there is none in it", folder.display());
                return Err(Diagnostic::global(message).help("a run's folder has a manifest.json"));
            }
            runs.extend(found);
        }
    }
    // Whoever names a folder and a run in it means that run once.
    let mut seen = Vec::new();
    runs.retain(|run| {
        let place = run.folder.canonicalize().unwrap_or_else(|_| run.folder.clone());
        !seen.contains(&place) && {
            seen.push(place);
            true
        }
    });
    let page = match &runs[..] {
        [run] => one_run::page(run, graph(run, registry).as_deref(), registry)?,
        _ => comparison::page(&runs, registry)?,
    };
    let folder = match (&runs[..], request.folders) {
        ([run], _) => run.folder.as_path(),
        (_, [folder]) => folder,
        _ => Path::new("."),
    };
    let to = request.to.map_or_else(|| folder.join("report.html"), Path::to_owned);
    write(&to, &page)?;
    let count = if runs.len() == 1 { String::new() } else { format!(" of {} runs", runs.len()) };
    Ok(format!("wrote {}{count}\n", to.display()))
}

/// The picture of a run's pipeline, with what its files hold where they are still there; nothing when its plugins are not known here.
/// Libraries that it names are not loaded for that, for it would run their code.
fn graph(run: &Run, registry: &Registry) -> Option<String> {
    let sources = Sources::new("pipeline.ron", run.pipeline.as_str(), &[]);
    let prove = |skip_files| check::prove(&sources, registry, skip_files);
    let drawn = catch_panics(|| Some(draw::svg(&Picture::of(&prove(false).or_else(|_| prove(true)).ok()?))));
    drawn.ok().flatten()
}

/// Writes a page in place of an earlier one, and of nothing else.
fn write(path: &Path, page: &str) -> Result<(), Diagnostic> {
    let refused = |failure: io::Error| {
        Diagnostic::global(format!("cannot write {}: {}", path.display(), text_format::reason(&failure)))
            .help("give another file with --to")
    };
    if fs::symlink_metadata(path).is_ok() && !is_page(path) {
        let message = format!("{} is there, and was not made by `{GENERATOR}`", path.display());
        return Err(Diagnostic::global(message).help("nothing else is ever overwritten: give another file with --to"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = Builder::new();
    builder.prefix("report").suffix(PARTIAL_SUFFIX);
    // For everyone whom the user's umask lets read, as any other file; temporary files are private.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut partial = builder.tempfile_in(folder).map_err(refused)?;
    partial.write_all(page.as_bytes()).map_err(refused)?;
    partial.persist(path).map_err(|error| refused(error.error))?;
    Ok(())
}

/// Whether a file is a page of ours.
pub fn is_page(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(&format!("content=\"{GENERATOR}\""))
}
