//! Where plugin libraries are named: `--plugin` and `ZSKT_PLUGIN_PATH`, and a pipeline's `plugins`. Nothing else is
//! searched.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::wording;

/// Files and folders of libraries, separated as in `PATH`.
const VARIABLE: &str = "ZSKT_PLUGIN_PATH";

/// The libraries that the environment names.
///
/// # Errors
/// When a folder cannot be read, or others can write to it.
pub fn of_environment() -> Result<Vec<PathBuf>, String> {
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
fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let refused = |reason: &str| format!("cannot load the plugins of {VARIABLE} in `{}`: {reason}", path.display());
    let unreadable = |error: io::Error| refused(&wording::reason(&error));
    if let Some(reason) = writable_by_others(&fs::metadata(path).map_err(unreadable)?) {
        return Err(refused(&reason));
    }
    let mut libraries = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_none_or(|extension| extension != env::consts::DLL_EXTENSION) {
            continue;
        }
        let metadata = fs::metadata(&file);
        let metadata =
            metadata.map_err(|error| refused(&format!("`{}`: {}", file.display(), wording::reason(&error))))?;
        if let Some(reason) = writable_by_others(&metadata) {
            return Err(refused(&format!("`{}`: {reason}", file.display())));
        }
        libraries.push(file);
    }
    libraries.sort();
    Ok(libraries)
}

/// Why someone else could put code into a file or a folder, if one can.
#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "who runs the program is asked of the system")]
fn writable_by_others(metadata: &fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: it takes nothing and cannot fail.
    let user = unsafe { libc::geteuid() };
    if metadata.mode() & 0o022 != 0 {
        return Some(
            "others, or its group, can write to it, and a library's code is run\nhelp: chmod go-w, or name the library with --plugin"
                .into(),
        );
    }
    (![0, user].contains(&metadata.uid())).then(|| {
        "it is another user's, and a library's code is run\nhelp: copy it, or name the library with --plugin".into()
    })
}

/// Nothing is loaded.
#[cfg(not(all(feature = "dynamic", unix)))]
fn writable_by_others(_: &fs::Metadata) -> Option<String> {
    None
}
