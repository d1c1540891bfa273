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

/// The libraries that these nodes, as RON text, have plugins of.
pub fn used(nodes: &[&str]) -> Vec<Library> {
    let is_used =
        |library: &Library| library.plugins.iter().any(|plugin| nodes.iter().any(|node| mentions(node, plugin.name)));
    loaded().into_iter().filter(is_used).collect()
}

/// Whether a node, as RON text, is of a plugin or has it for a parameter.
pub fn mentions(node: &str, plugin: &str) -> bool {
    node.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == plugin)
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
    image::file()?;
    examine(&std::fs::read(path).map_err(|error| wording::reason(&error))?)
}

/// What a library that may be loaded says of itself.
fn examine(bytes: &[u8]) -> Result<Description, String> {
    let ours = image::description()?;
    let description = Description::read(bytes)?;
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
    Ok(description)
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
/// point into them.
///
/// # Errors
/// Which of them cannot be loaded, as an index, and why. Those before it are.
pub fn load(paths: &[PathBuf]) -> Result<(), (usize, String)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let refused = |reason: &str| (index, format!("cannot load the plugin library `{}`: {reason}", path.display()));
        image::file().map_err(|reason| refused(&reason))?;
        let file = path.canonicalize().map_err(|error| refused(&unreadable(&error)))?;
        if files.contains(&file) {
            return Err(refused("it is named twice\nhelp: name it once"));
        }
        if file.to_str().is_none() {
            return Err(refused("its path is no text, and pipelines and manifests are\nhelp: rename it"));
        }
        let bytes = std::fs::read(&file).map_err(|error| refused(&wording::reason(&error)))?;
        let sha256 = fingerprint::of_bytes(&bytes);
        let same = libraries().iter().find(|library| library.file == file || library.sha256 == sha256).cloned();
        match same {
            Some(copy) if files.contains(&copy.file) => {
                let copy = copy.path.display();
                return Err(refused(&format!("it is a copy of `{copy}`, which is named too\nhelp: name one of them")));
            }
            // The pipeline names what the command line names, or has named in an earlier run.
            Some(_) => {}
            None => {
                let description = examine(&bytes).map_err(|reason| refused(&reason))?;
                let plugins = open(&file, &description).map_err(|reason| refused(&reason))?;
                libraries().push(Library { path: path.clone(), file: file.clone(), sha256, plugins });
            }
        }
        files.push(file);
    }
    Ok(())
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
