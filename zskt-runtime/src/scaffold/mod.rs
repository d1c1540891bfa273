//! `plugin`: crates of third parties, from an empty folder to a library that this program loads.

mod api_source;
mod build;
mod linked;
mod new_crate;
mod sdk;

use std::fmt::Write;
use std::path::{Path, PathBuf};

pub use build::crates;
pub use new_crate::{DESCRIPTION, ScaffoldKind};

use zskt_api::{Diagnostic, Registry};

use crate::catalogue;
use crate::library::{self, Description};
use linked::ZsktSource;
use new_crate::Linkage;
use sdk::Sdk;

/// Makes a crate with one plugin, and says what to do with it.
///
/// # Errors
/// When there is no SDK, or the crate cannot be written.
pub fn new(name: &str, kind: ScaffoldKind, sdk: Option<&Path>, linked: Option<&str>) -> Result<String, Diagnostic> {
    let registry = Registry::get()?;
    if let Some(source) = linked {
        let source = ZsktSource::read(source)?;
        let folder = new_crate::write(name, kind, &Linkage::Linked(&source), registry)?;
        return Ok(format!("made {0}/\n\n  cd {0}\n  cargo run --release -- pipeline.ron\n", folder.display()));
    }
    let folder = new_crate::write(name, kind, &Linkage::Loaded(&Sdk::find(sdk)?), registry)?;
    Ok(format!("made {0}/\n\n  cd {0}\n  zskt-run plugin build\n  zskt-run pipeline.ron\n", folder.display()))
}

/// Builds a crate of plugins, and says what is in its library.
///
/// # Errors
/// When there is no SDK, cargo fails, or this program would not load the library.
pub fn build(folder: &Path, sdk: Option<&Path>) -> Result<String, Diagnostic> {
    build_libraries(folder, sdk)?.iter().map(|library| check(library)).collect()
}

/// Builds a crate of plugins, and gives its libraries.
///
/// # Errors
/// When there is no SDK, or cargo fails.
pub fn build_libraries(folder: &Path, sdk: Option<&Path>) -> Result<Vec<PathBuf>, Diagnostic> {
    build::build(folder, &Sdk::find(sdk)?)
}

/// Says what is in a library, or in that of an installed package, that this program would load.
///
/// # Errors
/// When it would not load it, with everything that differs.
pub fn check(named: &Path) -> Result<String, Diagnostic> {
    let refused = |problem: Diagnostic| problem.context(format_args!("`{}` would not be loaded", named.display()));
    let path = &catalogue::find_file(named).map_err(refused)?;
    let description = library::describe(path).map_err(refused)?;
    let contents = contents(&description);
    library::check(&description).map_err(|problem| {
        let message = format!("{}\nit contains\n{}", problem.message, contents.trim_end());
        refused(Diagnostic { message, ..problem })
    })?;
    Ok(format!("{} can be loaded:\n{contents}", shortest(path).display()))
}

fn contents(description: &Description) -> String {
    let width = description.plugins.iter().map(|plugin| plugin.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for plugin in &description.plugins {
        // A string takes whatever is written to it.
        let _ = writeln!(out, "  {:width$}  {} of {}", plugin.name, plugin.kind, plugin.origin);
    }
    out
}

/// The path from the working directory, where it leads there.
fn shortest(path: &Path) -> PathBuf {
    let folder = std::env::current_dir().ok();
    folder.and_then(|folder| path.strip_prefix(folder).ok()).unwrap_or(path).to_owned()
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Where releases are, for the end of a sentence; nothing while zskt names no such place.
fn from_homepage() -> String {
    library::HOMEPAGE.map(|place| format!(" ({place})")).unwrap_or_default()
}
