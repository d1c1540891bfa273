//! Which plugin libraries a command loads: those that the command line and the environment name, and those of its pipeline.

use std::path::{Path, PathBuf};

use zskt_api::Diagnostic;

use super::commands::{Failure, read_text, unsound};
use crate::catalogue::{self, Reference};
use crate::library::{self, Library};
use crate::pipeline::{self, Sources};
use crate::run::{RunFiles, kept_libraries, unseal};
use crate::{checksum, input_file};

/// A library of a run or a sweep that may have begun before: of a package without a version the one that it `began_with`.
fn of_began(named: PathBuf, began_with: &[Reference]) -> PathBuf {
    let package = Reference::of_path(&named).ok().flatten().filter(|package| package.version.is_none());
    let kept = package.and_then(|package| began_with.iter().find(|kept| package.has_name(&kept.name)));
    kept.map_or(named, |kept| kept.to_string().into())
}

/// Loads the libraries that the command line names, and the environment. The command line's come first: a package that both name has its version.
pub fn load_named(libraries: &[PathBuf], began_with: &[Reference]) -> Result<(), Diagnostic> {
    for paths in [libraries.to_vec(), library::of_environment()?] {
        let paths: Vec<_> = paths.into_iter().map(|path| of_began(path, began_with)).collect();
        library::load_all(&paths)?;
    }
    Ok(())
}

/// Loads the libraries that a pipeline names.
pub fn load_libraries(sources: &Sources, began_with: &[Reference]) -> Result<Vec<Library>, Failure> {
    load_libraries_but(sources, began_with, |_| false)
}

/// Loads the libraries that the pipeline of a run names, but for those that are not what they were and in whose place others were named: what
/// they were, or, where they are gone, what is called as they were, which whoever compares sums will find.
pub fn load_libraries_of_begun(
    run: &Path,
    sources: &Sources,
    began_with: &[Reference],
) -> Result<Vec<Library>, Failure> {
    let manifest = input_file::read_whole(&RunFiles::new(run.to_owned()).manifest()).ok();
    let manifest = manifest.and_then(|bytes| unseal(&String::from_utf8_lossy(&bytes))).unwrap_or_default();
    let (kept, named) = (kept_libraries(&manifest), library::loaded());
    load_libraries_but(sources, began_with, |path| {
        let is_package = !matches!(Reference::of_path(path), Ok(None));
        let is_kept = |sum: &str| kept.iter().any(|kept| kept.sha256 == sum);
        if is_package || checksum::of_file(path).is_ok_and(|sum| is_kept(&sum)) {
            return false;
        }
        let then = kept.iter().find(|kept| kept.path == path);
        named.iter().any(|named| match then {
            Some(then) if then.sha256 == named.sha256 => true,
            // It has moved before: the manifest says where it was when the run began.
            None if is_kept(&named.sha256) => true,
            _ => !path.exists() && named.file.file_name() == path.file_name(),
        })
    })
}

/// Loads the libraries that a pipeline names, but for those to be left out.
fn load_libraries_but(
    sources: &Sources,
    began_with: &[Reference],
    is_left_out: impl Fn(&Path) -> bool,
) -> Result<Vec<Library>, Failure> {
    let mut libraries = Vec::new();
    for (path, span) in pipeline::libraries(sources) {
        if is_left_out(&path) {
            continue;
        }
        match library::load(&of_began(path, began_with), &libraries) {
            Ok(library) => libraries.push(library),
            Err(problem) => {
                let problem = Diagnostic { span: Some(span), ..problem };
                return Err(unsound(&[problem], sources));
            }
        }
    }
    Ok(libraries)
}

/// The packages that a run began with; none where nothing began there.
pub fn packages_of(run: &Path) -> Vec<Reference> {
    let Ok(kept) = read_text(&run.join("pipeline.ron"), &[]) else { return Vec::new() };
    catalogue::packages_among(pipeline::libraries(&kept).iter().map(|(path, _)| path))
}

/// Loads the libraries that the pipeline of a run names.
pub fn load_libraries_of(run: &Path, began_with: &[Reference]) -> Result<(), Failure> {
    let pipeline = run.join("pipeline.ron");
    // A folder without one is no run's, which is said where its checkpoint is missed.
    if !pipeline.is_file() {
        return Ok(());
    }
    load_libraries_of_begun(run, &read_text(&pipeline, &[])?, began_with).map(drop)
}
