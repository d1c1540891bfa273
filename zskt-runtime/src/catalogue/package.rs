//! `plugin package`: a crate's library with what belongs to it, as one file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Package, TargetKind};
use zskt_api::{Diagnostic, PluginRegistration};

use super::archive::{self, ENDING};
use super::build::Build;
use super::example::{self, Example};
use super::form::FORMAT;
use super::index::{Entry, Index, write_whole};
use super::limits::{self, MOST_FILES_BYTES, MOST_PACKED};
use super::manifest::{Manifest, PackagedFile, PackagedPlugin, Summary};
use super::names::{canonical, is_file_name};
use crate::library::{self, Description, Library};
use crate::shell_quoting::quoted;
use crate::text_format::{self, reason};
use crate::{checksum, input_file, scaffold};

/// A larger licence is none.
const MOST_TEXT: u64 = 4 << 20;

/// What the names of licences' files begin with.
const LICENCES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// What is to be packed, and how.
pub struct PackageRequest<'a> {
    /// The crate's folder.
    pub folder: &'a Path,
    /// The SDK to build it with, if not the one beside this program.
    pub sdk: Option<&'a Path>,
    /// The folder of an index to add it to; without one it is put into the working directory.
    pub index: Option<&'a Path>,
    /// Whether it may take the place of another of its version in the index.
    pub replace: bool,
    /// What `inspect --json` says of a plugin.
    pub inspect: &'a dyn Fn(&PluginRegistration) -> Result<String, Diagnostic>,
    /// Tells of what others will miss, before anything is built.
    pub tell: &'a dyn Fn(&Diagnostic),
}

/// Builds a crate, or all of a workspace, and packs each library, whose code is run to ask what its plugins are. Says what was made.
///
/// # Errors
/// When it cannot be built, or a file cannot be read or written.
pub fn package(request: &PackageRequest<'_>) -> Result<String, Diagnostic> {
    let build = Build::ours()?;
    let packages = scaffold::crates(request.folder)?;
    packages.iter().flat_map(missing).for_each(|problem| (request.tell)(&problem));
    let libraries = scaffold::build_libraries(request.folder, request.sdk)?;
    // All of them first: which plugins there are is settled when the first is asked for.
    let loaded = library::load_all(&libraries).map_err(|problem| match libraries.len() {
        1 => problem,
        // Such as a crate that has the plugins of another, which it depends on.
        _ => problem
            .help("crates that cannot be loaded together are packed one by one: `zskt-run plugin package FOLDER`"),
    })?;
    let mut made = Vec::new();
    for (path, library) in libraries.iter().zip(loaded) {
        let package = packages.iter().find(|package| makes(package, path)).ok_or_else(|| {
            Diagnostic::global(format!("cargo does not say which crate `{}` is made of", path.display()))
        })?;
        made.push(Made { package, library });
    }
    let package_of: BTreeMap<_, _> =
        made.iter().map(|made| (made.file_name().to_owned(), made.package.name.to_string())).collect();
    // These name libraries, too.
    let examples = made.iter().map(|made| Example::read(&made.folder(request), &made.package.name, &package_of));
    let examples: Vec<_> = examples.collect::<Result<_, _>>()?;
    let packed = made.iter().zip(examples).map(|(made, example)| pack(request, &build, made, example));
    // All of them before the first is written: what one of them lacks is mended before others have any.
    let packed: Vec<_> = packed.collect::<Result<_, _>>()?;
    let (mut said, mut written) = (String::new(), Vec::new());
    for packed in packed {
        let title = packed.summary.title();
        said += &write(request, packed).map_err(|problem| match &written[..] {
            [] => problem,
            written => problem.context(format_args!("after {}", text_format::join(written, "and"))),
        })?;
        written.push(title);
    }
    Ok(said)
}

/// What others will miss in a package, for its author to add: a version that was published stays as it is.
fn missing(package: &Package) -> Vec<Diagnostic> {
    let mut missing = Vec::new();
    if package.license.is_none() && package.license_file.is_none() {
        let message = format!("`{}` names no licence, without which others may not use it", package.name);
        let help = format!("write `license = \"MIT\"`, or another, into {}", package.manifest_path);
        missing.push(Diagnostic::global(message).warning().help(help));
    }
    if package.description.as_deref().is_none_or(|text| text.ends_with(scaffold::DESCRIPTION)) {
        let message =
            format!("the description of `{}` does not say what it is, and `plugin search` shows it", package.name);
        let help = format!("write it as `description = \"…\"` into {}", package.manifest_path);
        missing.push(Diagnostic::global(message).warning().help(help));
    }
    missing
}

/// A package that is to be written.
struct Packed {
    summary: Summary,
    bytes: Vec<u8>,
    /// What of the example is in it.
    of_example: Vec<String>,
    /// What its author should know.
    notes: Vec<String>,
}

/// A crate's package, and the library that cargo made of it.
struct Made<'p> {
    package: &'p Package,
    library: Library,
}

impl Made<'_> {
    fn file_name(&self) -> &str {
        self.library.file.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn folder(&self, request: &PackageRequest<'_>) -> PathBuf {
        self.package.manifest_path.parent().map_or(request.folder, |folder| folder.as_std_path()).to_owned()
    }
}

/// Whether a library is made of a package.
fn makes(package: &Package, library: &Path) -> bool {
    let stem = library.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let stem = stem.strip_prefix(std::env::consts::DLL_PREFIX).unwrap_or(stem);
    package
        .targets
        .iter()
        .any(|target| target.kind.contains(&TargetKind::CDyLib) && target.name.replace('-', "_") == stem)
}

/// The plugins that a library says it has, in order.
pub fn plugins_of(description: &Description) -> Vec<PackagedPlugin> {
    let plugins = description.plugins.iter();
    let mut plugins: Vec<_> =
        plugins.map(|plugin| PackagedPlugin { name: plugin.full_name(), kind: plugin.kind.clone() }).collect();
    plugins.sort();
    plugins
}

fn pack(
    request: &PackageRequest<'_>,
    build: &Build,
    made: &Made<'_>,
    example: Option<Example>,
) -> Result<Packed, Diagnostic> {
    let Made { package, library: Library { file: path, plugins, .. } } = made;
    let library = made.file_name().to_owned();
    let mut files = BTreeMap::from([(library.clone(), read(path, MOST_FILES_BYTES)?)]);
    files.extend(licences(&made.folder(request), package)?);
    let mut notes = Vec::new();
    if let Some(example) = example {
        let (of_example, of_author) = example.files()?;
        files.extend(of_example);
        notes.extend(of_author.into_iter().map(|note| format!("the example, pipeline.ron: {note}")));
    }
    for plugin in plugins {
        let description = (request.inspect)(plugin)?.replace(&json_text(path), &format!("{library:?}"));
        files.insert(format!("plugins/{}.json", plugin.full_name().replace("::", ".")), description.into_bytes());
    }
    let summary = Summary {
        name: package.name.to_string(),
        version: package.version.clone(),
        license: package.license.clone(),
        description: package.description.clone(),
        authors: package.authors.clone(),
        repository: package.repository.clone(),
        build: build.clone(),
        plugins: plugins_of(&library::describe(path)?),
    };
    let sums = files.iter().map(|(path, bytes)| {
        let file = PackagedFile { bytes: bytes.len() as u64, sha256: checksum::of_bytes(bytes) };
        (path.clone(), file)
    });
    let manifest = Manifest { format: FORMAT, summary, library, files: sums.collect() };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| Diagnostic::global(format!("the package's manifest cannot be written: {error}")))?;
    let cannot = |problem: Diagnostic| problem.context(format_args!("`{}` cannot be packed", package.name));
    // What would not be read must not be written.
    Manifest::read(text.as_bytes()).map_err(cannot)?;
    let files: Vec<_> = files.into_iter().collect();
    let mut bytes = Vec::new();
    archive::write(&mut bytes, text.as_bytes(), &files).map_err(|error| cannot(Diagnostic::global(reason(&error))))?;
    limits::check(bytes.len() as u64, MOST_PACKED).map_err(cannot)?;
    let of_example = files.into_iter().map(|(path, _)| path).filter(|path| path.starts_with(example::FOLDER)).collect();
    Ok(Packed { summary: manifest.summary, bytes, of_example, notes })
}

fn write(request: &PackageRequest<'_>, packed: Packed) -> Result<String, Diagnostic> {
    let Packed { summary, bytes: packed, of_example, notes } = packed;
    let Build { release, target, .. } = &summary.build;
    let file = format!("{}-{}-{release}-{target}{ENDING}", canonical(&summary.name), summary.version);
    let path = request.index.map_or_else(|| PathBuf::from(&file), |index| index.join(&file));
    let cannot =
        |error: std::io::Error| Diagnostic::global(format!("cannot write {}: {}", path.display(), reason(&error)));
    let (bytes, sha256) = (packed.len() as u64, checksum::of_bytes(&packed));
    let mut said = String::new();
    let put = || write_whole(&path, |file| std::io::Write::write_all(file, &packed)).map_err(cannot);
    match request.index {
        Some(index) => {
            fs::create_dir_all(index).map_err(cannot)?;
            let entry = Entry { file, bytes, sha256: sha256.clone(), summary: summary.clone() };
            Index::add(index, &entry, request.replace, put)?;
        }
        None => {
            if path.exists() {
                said += &format!("replaced {}\n", path.display());
            }
            put()?;
        }
    }
    let size = text_format::bytes(bytes);
    said += &format!("made {} ({size}, SHA-256 {sha256})\n{}", path.display(), summary.contents());
    if !of_example.is_empty() {
        said += &format!("  with {}\n", text_format::some_of(of_example.iter().map(String::as_str)));
    }
    said.extend(notes.into_iter().map(|note| format!("  note: {note}\n")));
    let add = match request.index {
        Some(index) => {
            // By its version: a newer one may be there, too.
            format!("{} --index {}", summary.reference(), quoted(&index.display().to_string()))
        }
        None => quoted(&format!("./{}", path.display())),
    };
    Ok(said + &format!("\n  zskt-run plugin add {add}\n"))
}

/// The files of a crate that say what others may do with it.
fn licences(folder: &Path, package: &Package) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
        path.is_file() && LICENCES.iter().any(|begins| name.starts_with(begins))
    };
    let named = package.license_file().map(PathBuf::from);
    let mut found = Vec::new();
    for path in entries.filter(is_licence).chain(named) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !is_file_name(&name) {
            let problem = Diagnostic::global(format!("`{}` cannot be packed under this name", path.display()));
            return Err(problem.help("call it by letters, digits, `-`, `_` and `.`"));
        }
        found.push((name, read(&path, MOST_TEXT)?));
    }
    Ok(found)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Diagnostic> {
    input_file::read(path, most)
        .map_err(|error| Diagnostic::global(format!("cannot read {}: {}", path.display(), reason(&error))))
}

/// A path as JSON has it.
fn json_text(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
