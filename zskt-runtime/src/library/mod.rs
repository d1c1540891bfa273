//! Plugin libraries: named by the user, checked before any of their code runs, loaded once and for good.

mod build_id;
mod description;
mod mismatch;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use object::read::ReadCache;
use zskt_api::{Diagnostic, PluginRegistration, inventory};

pub use build_id::{program_sum, sum as image_sum};
pub use description::Description;
pub use mismatch::{HOMEPAGE, RELEASE};
pub use search::{of_environment, writable_by_others};

use crate::catalogue::{self, Reference};
use crate::{checksum, home_folder, input_file, text_format};

/// A library that is loaded.
#[derive(Clone)]
pub struct Library {
    /// Its file, as the user named it first.
    pub path: PathBuf,
    /// The SHA-256 sum of its file.
    pub sha256: String,
    /// Its file, wherever links lead to it.
    pub file: PathBuf,
    /// The package that it was installed with and named by, in this very version.
    pub package: Option<Reference>,
    /// Its plugins.
    pub plugins: Vec<&'static PluginRegistration>,
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
pub fn of(plugin: &PluginRegistration) -> Option<Library> {
    libraries().iter().find(|library| library.has(plugin)).cloned()
}

/// The libraries that these plugins come from, in the order of loading.
pub fn of_plugins(plugins: impl IntoIterator<Item = &'static PluginRegistration>) -> Vec<Library> {
    let plugins: Vec<_> = plugins.into_iter().collect();
    loaded().into_iter().filter(|library| plugins.iter().any(|plugin| library.has(plugin))).collect()
}

/// Whether a plugin is one of zskt's own.
pub fn is_standard(plugin: &PluginRegistration) -> bool {
    crate::STANDARD_CRATES.contains(&plugin.crate_name) && of(plugin).is_none()
}

/// Whether the program runs with the image that it was made with.
///
/// # Errors
/// When it was started with another: what they have in common may lie elsewhere in each.
pub fn image_is_ours() -> Result<(), Diagnostic> {
    if zskt_api::build_id::OF_IMAGE == zskt_api::build_id::DESCRIPTION {
        return Ok(());
    }
    let library = build_id::file()?;
    let message =
        format!("this zskt-run and the library it was started with, `{}`, were built separately", library.display());
    Err(Diagnostic::global(message).help("install both, `bin/` and `lib/`, from the same release"))
}

impl Library {
    /// What a pipeline calls it that means the same wherever its package is installed, and later: that very version, or else its file.
    pub fn lasting_name(&self) -> PathBuf {
        self.package.as_ref().map_or_else(|| self.file.clone(), |package| package.to_string().into())
    }

    /// Whether a plugin comes from it.
    pub fn has(&self, plugin: &PluginRegistration) -> bool {
        self.plugins.iter().any(|other| std::ptr::eq(*other, plugin))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let problem = Diagnostic::global(text_format::reason(error));
    if error.kind() != std::io::ErrorKind::NotFound {
        return problem;
    }
    if let Some(hint) = home_folder::hint(path) {
        return problem.help(hint);
    }
    problem.help(
        "paths are relative to the working directory; `zskt-run plugin build` says where a library is, and --plugin names one of a run that has moved",
    )
}

/// What a library says about itself.
///
/// # Errors
/// When it is not a library, or not one of zskt's.
pub fn describe(path: &Path) -> Result<Description, Diagnostic> {
    let (file, _) = input_file::open(path).map_err(|error| unreadable(path, &error))?;
    Description::read(&ReadCache::new(file))
}

/// Checks that a library, which says this of itself, may be loaded.
///
/// # Errors
/// Why not, and how to mend it.
pub fn check(description: &Description) -> Result<(), Diagnostic> {
    let ours = build_id::description()?;
    mismatch::check(description, &ours)?;
    for (index, plugin) in description.plugins.iter().enumerate() {
        let name = plugin.full_name();
        if description.plugins[..index].iter().any(|other| other.full_name() == name) {
            return Err(Diagnostic::global(format!("it has two plugins called `{name}`")).help("rename one of them"));
        }
        if let Some(other) = registrations().find(|other| other.full_name() == name) {
            let from = of(other).map_or_else(
                || "which is linked in".to_owned(),
                |library| format!("of the library `{}`", library.path.display()),
            );
            let (origin, version) = (other.crate_name, other.crate_version);
            let message =
                format!("its plugin `{name}` of {} is there already, of {origin} {version}, {from}", plugin.origin);
            return Err(Diagnostic::global(message)
                .help("leave one of the two out, or give one of the crates another name in its Cargo.toml"));
        }
    }
    Ok(())
}

/// Loads libraries, each once, and gives them.
///
/// # Errors
/// Which of them cannot be loaded, and why. Those before it are.
pub fn load_all(paths: &[PathBuf]) -> Result<Vec<Library>, Diagnostic> {
    let mut named = Vec::new();
    for path in paths {
        named.push(load(path, &named)?);
    }
    Ok(named)
}

/// The package that is meant by a name without a version: what is loaded of it already, or else what is installed. So one run, with all that
/// it starts, has one version of it.
fn meant(wanted: Reference) -> Reference {
    let loaded = loaded().into_iter().filter_map(|library| library.package);
    let same = loaded.filter(|_| wanted.version.is_none()).find(|package| wanted.has_name(&package.name));
    same.unwrap_or(wanted)
}

/// Loads a library, named by its path or as an installed package, unless it is loaded already, for good: plugins, their tables of
/// functions and what threads leave behind point into it. The libraries that were named in the same place before are `named`.
///
/// # Errors
/// Why it cannot be loaded.
pub fn load(path: &Path, named: &[Library]) -> Result<Library, Diagnostic> {
    let load = || {
        build_id::file()?;
        let (place, package) = match Reference::of_path(path)? {
            Some(installed) => catalogue::find(&meant(installed)).map(|(place, package)| (place, Some(package)))?,
            None => (path.to_owned(), None),
        };
        let file = place.canonicalize().map_err(|error| unreadable(path, &error))?;
        if file.to_str().is_none() {
            let problem = Diagnostic::global("its path is not valid UTF-8, as pipelines and manifests are");
            return Err(problem.help("rename it"));
        }
        let sha256 = checksum::of_file(&file).map_err(|error| unreadable(&file, &error))?;
        if let Some(other) = named.iter().find(|other| other.sha256 == sha256) {
            let problem =
                Diagnostic::global(format!("it is named twice, the first time as `{}`", other.path.display()));
            return Err(problem.help("name it once"));
        }
        // The pipeline may name what the command line names, or had named in an earlier run.
        if let Some(same) = libraries().iter_mut().find(|library| library.file == file || library.sha256 == sha256) {
            same.package = same.package.take().or(package);
            return Ok(same.clone());
        }
        let description = describe(&file)?;
        check(&description)?;
        let plugins = open(&file, &description)?;
        let library = Library { path: path.to_owned(), file, package, sha256, plugins };
        libraries().push(library.clone());
        Ok(library)
    };
    load().map_err(|problem| problem.context(format_args!("cannot load the plugin library `{}`", path.display())))
}

/// Opens a library, which registers its plugins.
fn open(file: &Path, description: &Description) -> Result<Vec<&'static PluginRegistration>, Diagnostic> {
    let before: Vec<_> = registrations().collect();
    open_for_good(file)?;
    let plugins: Vec<_> =
        registrations().filter(|plugin| !before.iter().any(|other| std::ptr::eq(*other, *plugin))).collect();
    // A library that brings its own registry would otherwise be invisible.
    let mut registered: Vec<_> = plugins.iter().map(|plugin| plugin.name).collect();
    registered.sort_unstable();
    let described: Vec<_> = description.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    if registered != described {
        return Err(Diagnostic::global(format!(
            "it describes the plugins {described:?} and registered {registered:?}"
        ))
        .help("export plugins by `zskt_api::export!` of the SDK, and have no other zskt-api beside it"));
    }
    Ok(plugins)
}

fn registrations() -> impl Iterator<Item = &'static PluginRegistration> {
    inventory::iter::<PluginRegistration>.into_iter()
}

#[cfg(all(feature = "dynamic", unix))]
#[expect(unsafe_code, reason = "a library is loaded, which runs its code")]
fn open_for_good(path: &Path) -> Result<(), Diagnostic> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    use std::error::Error;
    // SAFETY: the user named the library, and it was compiled against this very image.
    match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(Diagnostic::global(error.source().map_or_else(|| error.to_string(), ToString::to_string))),
    }
}

#[cfg(not(all(feature = "dynamic", unix)))]
fn open_for_good(_: &Path) -> Result<(), Diagnostic> {
    build_id::file().map(|_| ())
}
