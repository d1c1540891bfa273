//! Plugin libraries: named by the user, checked before any of their code runs, loaded once and for good.

mod description;
mod image;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zskt_api::{Registration, inventory};

use description::Difference;

pub use description::Description;
pub use search::of_environment;

use crate::run::fingerprint;
use crate::wording;

/// A library that is loaded.
#[derive(Clone)]
pub struct Library {
    /// Its file, as the user named it first.
    pub path: PathBuf,
    /// The SHA-256 sum of its file.
    pub sha256: String,
    /// Its file, wherever links lead to it.
    pub file: PathBuf,
    /// Its plugins.
    pub plugins: Vec<&'static Registration>,
}

static LOADED: Mutex<Vec<Library>> = Mutex::new(Vec::new());

fn libraries() -> MutexGuard<'static, Vec<Library>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The libraries that are loaded, in order.
pub fn loaded() -> Vec<Library> {
    libraries().clone()
}

/// The library that a plugin comes from, if it was loaded.
pub fn of(plugin: &Registration) -> Option<Library> {
    libraries().iter().find(|library| library.has(plugin)).cloned()
}

impl Library {
    fn has(&self, plugin: &Registration) -> bool {
        self.plugins.iter().any(|other| std::ptr::eq(*other, plugin))
    }
}

/// What a library says of itself.
///
/// # Errors
/// When it is none, or none of zskt's.
pub fn describe(path: &Path) -> Result<Description, String> {
    Description::read(&std::fs::read(path).map_err(|error| wording::reason(&error))?)
}

/// The sum of the image that libraries must have been compiled against.
///
/// # Errors
/// When this program cannot load any.
pub fn image_sum() -> Result<String, String> {
    let description = image::description()?;
    Ok(description.lines().find_map(|line| line.strip_prefix("image: ")).unwrap_or_default().to_owned())
}

/// What a library says of itself, if it would be loaded. None of its code is run.
///
/// # Errors
/// Why it would not be, and the way out.
pub fn check(path: &Path) -> Result<Description, String> {
    Ok(examine(path)?.0)
}

/// A library that may be loaded: what it says of itself, and its sum.
fn examine(path: &Path) -> Result<(Description, String), String> {
    let ours = image::description()?;
    let bytes = std::fs::read(path).map_err(|error| wording::reason(&error))?;
    let description = Description::read(&bytes)?;
    let mut differences = description.differences(ours);
    // The image differs whenever anything does.
    if differences.len() > 1 {
        differences.retain(|difference| difference.what != "image");
    }
    if !differences.is_empty() {
        return Err(format!(
            "{}\nhelp: build it with the SDK of this zskt-run: `zskt-run plugin build` in the folder of its crate",
            mismatch(&differences)
        ));
    }
    let sha256 = fingerprint::of_bytes(&bytes);
    if let Some(same) = libraries().iter().find(|library| library.sha256 == sha256) {
        return Err(format!(
            "it is a copy of `{}`, which is loaded already\nhelp: name one of them",
            same.path.display()
        ));
    }
    for (index, plugin) in description.plugins.iter().enumerate() {
        if description.plugins[..index].iter().any(|other| other.name == plugin.name) {
            return Err(format!("it has two plugins called `{}`\nhelp: rename one of them", plugin.name));
        }
        if let Some(other) = registrations().find(|other| other.name == plugin.name) {
            let owner = of(other).map_or_else(
                || format!("of {} {}, which is linked in", other.crate_name, other.crate_version),
                |library| format!("of the library `{}`", library.path.display()),
            );
            return Err(format!(
                "its plugin `{}` has the name of a plugin {owner}\nhelp: rename it, or leave one of the libraries out",
                plugin.name
            ));
        }
    }
    Ok((description, sha256))
}

/// What to say of a library that was compiled against another build.
fn mismatch(differences: &[Difference]) -> String {
    let lines = differences.iter().map(|Difference { what, theirs, ours }| {
        format!("\n  {what}\n    of the library: {theirs}\n    of zskt-run:    {ours}")
    });
    format!("it was compiled against another build of zskt{}", lines.collect::<String>())
}

/// Loads the libraries that are not loaded yet, for good: plugins, their tables of functions and what threads leave behind
/// point into them.
///
/// # Errors
/// Which of them cannot be loaded, as an index, and why. Those before it are.
pub fn load(paths: &[PathBuf]) -> Result<(), (usize, String)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let refused = |reason: &str| (index, format!("cannot load the plugin library `{}`: {reason}", path.display()));
        image::file().map_err(|reason| refused(&reason))?;
        let file = path.canonicalize().map_err(|error| refused(&wording::reason(&error)))?;
        if files.contains(&file) {
            return Err(refused("it is named twice\nhelp: name it once"));
        }
        files.push(file.clone());
        if !libraries().iter().any(|library| library.file == file) {
            let library = load_new(path.clone(), file).map_err(|reason| refused(&reason))?;
            libraries().push(library);
        }
    }
    Ok(())
}

fn load_new(path: PathBuf, file: PathBuf) -> Result<Library, String> {
    let (description, sha256) = examine(&file)?;
    let before: Vec<_> = registrations().collect();
    open(&file)?;
    let plugins: Vec<_> =
        registrations().filter(|plugin| !before.iter().any(|other| std::ptr::eq(*other, *plugin))).collect();
    // A library that brings its own registry would otherwise be invisible.
    let mut names: Vec<_> = plugins.iter().map(|plugin| plugin.name).collect();
    names.sort_unstable();
    if !names.iter().eq(description.plugins.iter().map(|plugin| &plugin.name)) {
        return Err(format!(
            "it describes {} plugins and registered {}\nhelp: `zskt_api::export!` is zskt-sdk's; name no other zskt-api beside it",
            description.plugins.len(),
            names.len()
        ));
    }
    Ok(Library { path, sha256, file, plugins })
}

fn registrations() -> impl Iterator<Item = &'static Registration> {
    inventory::iter::<Registration>.into_iter()
}

#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "a library is loaded, which runs its code")]
fn open(path: &Path) -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    use std::error::Error;
    // SAFETY: the user named the library, and it was compiled against this very image.
    match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.source().map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

#[cfg(not(all(feature = "dynamic", unix)))]
fn open(_: &Path) -> Result<(), String> {
    image::file().map(|_| ())
}
