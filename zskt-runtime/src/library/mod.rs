//! Plugin libraries: named by the user, checked before any of their code runs, loaded once and for good.

mod description;
mod image;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zskt_api::{Registration, inventory};

use description::Difference;

pub use description::Description;
pub use image::sum as image_sum;
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

/// The libraries that these nodes, as RON text, have plugins of.
pub fn used(nodes: &[&str]) -> Vec<Library> {
    loaded().into_iter().filter(|library| library.plugin_in(nodes).is_some()).collect()
}

/// Whether the program runs with the image that it was made with.
///
/// # Errors
/// When it was started with another: what they have in common may lie elsewhere in each.
pub fn image_is_ours() -> Result<(), String> {
    if zskt_api::image::OF_IMAGE == zskt_api::image::DESCRIPTION {
        return Ok(());
    }
    Err(format!(
        "this zskt-run and the library it was started with, `{}`, are of different builds\nhelp: take both, `bin/` and `lib/`, from \
         one release",
        image::file()?.display()
    ))
}

impl Library {
    /// One of its plugins that a node, as RON text, is of or has for a parameter.
    pub fn plugin_in(&self, nodes: &[&str]) -> Option<&'static Registration> {
        let is_used = |plugin: &&'static Registration| nodes.iter().any(|node| wording::has_word(node, plugin.name));
        self.plugins.iter().copied().find(is_used)
    }

    fn has(&self, plugin: &Registration) -> bool {
        self.plugins.iter().any(|other| std::ptr::eq(*other, plugin))
    }
}

fn unreadable(error: &std::io::Error) -> String {
    let reason = wording::reason(error);
    if error.kind() != std::io::ErrorKind::NotFound {
        return reason;
    }
    format!(
        "{reason}\nhelp: paths are relative to the working directory; `zskt-run plugin build` says where a library is"
    )
}

/// What a library says of itself.
///
/// # Errors
/// When it is none, or none of zskt's.
pub fn describe(path: &Path) -> Result<Description, String> {
    Description::read(&std::fs::read(path).map_err(|error| wording::reason(&error))?)
}

/// Checks that a library, which says this of itself, may be loaded.
///
/// # Errors
/// Why not, and the way out.
pub fn check(description: &Description) -> Result<(), String> {
    let mut differences = description.differences(&image::description()?);
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
    Ok(())
}

/// What to say of a library that was compiled against another build.
fn mismatch(differences: &[Difference]) -> String {
    if let [Difference { what, .. }] = differences
        && what == "image"
    {
        return "it was compiled against another build of zskt, made of the same sources".into();
    }
    let lines = differences.iter().map(|Difference { what, theirs, ours }| {
        format!("\n  {what}\n    of the library: {theirs}\n    of zskt-run:    {ours}")
    });
    format!("it was compiled against another build of zskt{}", lines.collect::<String>())
}

/// Loads the libraries that are not loaded yet, for good: plugins, their tables of functions and what threads leave behind
/// point into them. Gives all of them.
///
/// # Errors
/// Which of them cannot be loaded, as an index, and why. Those before it are.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Library>, (usize, String)> {
    let mut named: Vec<Library> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let refused = |reason: &str| (index, format!("cannot load the plugin library `{}`: {reason}", path.display()));
        image::file().map_err(|reason| refused(&reason))?;
        let file = path.canonicalize().map_err(|error| refused(&unreadable(&error)))?;
        if file.to_str().is_none() {
            return Err(refused("its path is no text, and pipelines and manifests are\nhelp: rename it"));
        }
        let bytes = std::fs::read(&file).map_err(|error| refused(&wording::reason(&error)))?;
        let sha256 = fingerprint::of_bytes(&bytes);
        let same = libraries().iter().find(|library| library.file == file || library.sha256 == sha256).cloned();
        let library = match same {
            // The pipeline may name what the command line names, or had named in an earlier run.
            Some(library) => library,
            None => {
                let open = || {
                    let description = Description::read(&bytes)?;
                    check(&description)?;
                    open(&file, &description)
                };
                let plugins = open().map_err(|reason| refused(&reason))?;
                let library = Library { path: path.clone(), file, sha256, plugins };
                libraries().push(library.clone());
                library
            }
        };
        if let Some(other) = named.iter().find(|other| other.sha256 == library.sha256) {
            let other = other.path.display();
            return Err(refused(&format!("it is named twice, the first time as `{other}`\nhelp: name it once")));
        }
        named.push(library);
    }
    Ok(named)
}

/// Opens a library, which registers its plugins.
fn open(file: &Path, description: &Description) -> Result<Vec<&'static Registration>, String> {
    let before: Vec<_> = registrations().collect();
    open_for_good(file)?;
    let plugins: Vec<_> =
        registrations().filter(|plugin| !before.iter().any(|other| std::ptr::eq(*other, *plugin))).collect();
    // A library that brings its own registry would otherwise be invisible.
    let mut registered: Vec<_> = plugins.iter().map(|plugin| plugin.name).collect();
    registered.sort_unstable();
    let described: Vec<_> = description.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    if registered != described {
        return Err(format!(
            "it describes the plugins {described:?} and registered {registered:?}\nhelp: export plugins by `zskt_api::export!` of \
             zskt-sdk, and have no other zskt-api beside it"
        ));
    }
    Ok(plugins)
}

fn registrations() -> impl Iterator<Item = &'static Registration> {
    inventory::iter::<Registration>.into_iter()
}

#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "a library is loaded, which runs its code")]
fn open_for_good(path: &Path) -> Result<(), String> {
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
fn open_for_good(_: &Path) -> Result<(), String> {
    image::file().map(|_| ())
}
