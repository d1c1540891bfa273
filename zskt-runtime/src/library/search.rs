//! Where plugin libraries are named: `--plugin` and `ZSKT_PLUGIN_PATH`, and a pipeline's `plugins`. Nothing else is
//! searched.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zskt_api::Diagnostic;

use crate::text_format;

/// Files and folders of libraries, separated as in `PATH`.
const VARIABLE: &str = "ZSKT_PLUGIN_PATH";

/// The libraries that the environment names.
///
/// # Errors
/// When a folder cannot be read, or others can write to it.
pub fn of_environment() -> Result<Vec<PathBuf>, Diagnostic> {
    let mut libraries = Vec::new();
    let variable = env::var_os(VARIABLE).unwrap_or_default();
    // Nothing between two separators means the working directory in `PATH`; here it means nothing.
    for entry in env::split_paths(&variable).filter(|entry| !entry.as_os_str().is_empty()) {
        if entry.is_dir() {
            libraries.extend(folder(&entry)?);
        } else {
            libraries.push(entry);
        }
    }
    Ok(libraries)
}

/// The libraries in a folder, sorted.
fn folder(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let refused = |problem: Diagnostic| {
        problem.context(format_args!("cannot load the plugins of {VARIABLE} in `{}`", path.display()))
    };
    let unreadable = |error: io::Error| refused(Diagnostic::global(text_format::reason(&error)));
    if let Some(problem) = writable_by_others(&fs::metadata(path).map_err(unreadable)?) {
        return Err(refused(problem));
    }
    let mut libraries = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_none_or(|extension| extension != env::consts::DLL_EXTENSION) {
            continue;
        }
        let of_file = |problem: Diagnostic| refused(problem.context(format_args!("`{}`", file.display())));
        let metadata = fs::metadata(&file).map_err(|error| of_file(Diagnostic::global(text_format::reason(&error))))?;
        if let Some(problem) = writable_by_others(&metadata) {
            return Err(of_file(problem));
        }
        libraries.push(file);
    }
    libraries.sort();
    Ok(libraries)
}

/// Why someone else could put code into a file or a folder, if one can.
#[cfg(all(feature = "dynamic", unix))]
pub fn writable_by_others(metadata: &fs::Metadata) -> Option<Diagnostic> {
    use std::os::unix::fs::MetadataExt;
    if metadata.mode() & 0o022 != 0 {
        let problem = Diagnostic::global("others, or its group, can write to it, and a library's code is run");
        return Some(problem.help("chmod go-w, or name the library with --plugin"));
    }
    let user = rustix::process::geteuid().as_raw();
    (![0, user].contains(&metadata.uid())).then(|| {
        Diagnostic::global("it is another user's, and a library's code is run")
            .help("copy it, or name the library with --plugin")
    })
}

/// Nothing is loaded.
#[cfg(not(all(feature = "dynamic", unix)))]
pub fn writable_by_others(_: &fs::Metadata) -> Option<Diagnostic> {
    None
}
