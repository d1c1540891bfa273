//! Packages that are installed: each in a folder of its own, `$XDG_DATA_HOME/zskt/plugins/IMAGE/NAME@VERSION`.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zskt_api::Diagnostic;

use super::archive::{ENDING, MANIFEST, unpack};
use super::build::Build;
use super::example;
use super::index::Index;
use super::index_place::IndexPlace;
use super::limits::{self, MOST_MANIFEST, MOST_PACKED};
use super::lock;
use super::manifest::{Manifest, PackagedFile, Summary};
use super::names::Reference;
use super::package::plugins_of;
use crate::shell_quoting::quoted;
use crate::text_format::{self, one_line, reason};
use crate::{checksum, home_folder, input_file, library};

/// What the names of folders begin with that are not whole.
const UNFINISHED: &str = ".unfinished-";

/// A package that is installed.
pub struct Installed {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

impl Installed {
    /// Whether all of its files are as they were.
    fn is_whole(&self) -> bool {
        let is_as_listed = |(path, file): (&String, &PackagedFile)| {
            checksum::of_file(&self.folder.join(path)).is_ok_and(|sum| sum == file.sha256)
        };
        self.manifest.files.iter().all(is_as_listed)
    }
}

/// The folder that all installed packages are in.
fn root() -> Result<PathBuf, Diagnostic> {
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let data = data.or_else(|| env::home_dir().map(|home| home.join(".local/share")));
    data.map(|data| data.join("zskt/plugins")).ok_or_else(|| {
        Diagnostic::global("the system does not say where your home folder is, in which plugins are installed")
            .help("set HOME or XDG_DATA_HOME")
    })
}

/// The folder of what is for a build of zskt.
fn of_build(build: &Build) -> Result<PathBuf, Diagnostic> {
    Ok(root()?.join(build.image.get(..16).unwrap_or(&build.image)))
}

/// Everything that is installed for any build, the newest version of a package first.
pub fn all() -> Result<Vec<Installed>, Diagnostic> {
    let mut all: Vec<_> = folders(&root()?).iter().flat_map(|folder| within(folder)).collect();
    all.sort_by(|one, other| one.manifest.summary.order(&other.manifest.summary));
    Ok(all)
}

/// The packages in a folder. What is none, or not whole, is left out.
fn within(folder: &Path) -> Vec<Installed> {
    let package = |folder: PathBuf| {
        let bytes = input_file::read(&folder.join(MANIFEST), MOST_MANIFEST).ok()?;
        let manifest = Manifest::read(&bytes).ok()?;
        let is_its_own = folder.file_name()?.to_str()? == manifest.summary.reference().to_string();
        is_its_own.then_some(Installed { folder, manifest })
    };
    folders(folder).into_iter().filter_map(package).collect()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_hidden = |path: &PathBuf| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    entries.filter(|path| path.is_dir() && !is_hidden(path)).collect()
}

/// The library of an installed package, the newest that a user means, for this very program; and the reference to this very version.
///
/// # Errors
/// When there is none, it is no longer what was installed, or someone else could have changed it.
pub fn find(wanted: &Reference) -> Result<(PathBuf, Reference), Diagnostic> {
    let ours = Build::ours()?;
    let (named, others): (Vec<_>, Vec<_>) = all()?
        .into_iter()
        .filter(|package| wanted.has_name(&package.manifest.summary.name))
        .partition(|package| wanted.means(&package.manifest.summary.name, &package.manifest.summary.version));
    let fits = |package: &&Installed| package.manifest.summary.build.misfit(&ours).is_none();
    let Some(Installed { folder, manifest }) = named.iter().find(fits) else {
        return Err(match named.first() {
            Some(Installed { manifest: Manifest { summary, .. }, .. }) => {
                let why = summary.build.misfit(&ours).unwrap_or_default();
                let problem = Diagnostic::global(format!("the installed {} is {why}", summary.title()));
                problem.help(format!("{}; {}", summary.way_out(), how_to_add(wanted, "")))
            }
            None => {
                let versions: Vec<_> =
                    others.iter().filter(fits).map(|other| other.manifest.summary.version.to_string()).collect();
                let others = if versions.is_empty() {
                    String::new()
                } else {
                    format!("; installed is {} {}", wanted.name, text_format::join(&versions, "and"))
                };
                let problem = Diagnostic::global(format!("no plugin package `{wanted}` is installed{others}"));
                problem.help(how_to_add(wanted, ""))
            }
        });
    };
    let library = folder.join(&manifest.library);
    trusted(&library)?;
    let sum = checksum::of_file(&library)
        .map_err(|error| Diagnostic::global(format!("cannot read {}: {}", library.display(), reason(&error))))?;
    if manifest.files.get(&manifest.library).is_none_or(|file| file.sha256 != sum) {
        let title = manifest.summary.title();
        let problem = Diagnostic::global(format!("{} is not what was installed as {title}", library.display()));
        return Err(problem.help(how_to_add(&manifest.summary.reference(), " --replace")));
    }
    Ok((library, manifest.summary.reference()))
}

/// The file that a user names by its path, or by the name of an installed package.
///
/// # Errors
/// As [`find`].
pub fn find_file(named: &Path) -> Result<PathBuf, Diagnostic> {
    Ok(match Reference::of_path(named)? {
        Some(wanted) => find(&wanted)?.0,
        None => named.to_owned(),
    })
}

/// How a package is installed, or put in the place of itself.
fn how_to_add(wanted: &Reference, option: &str) -> String {
    let file = Path::new(&wanted.to_string())
        .is_file()
        .then(|| format!("; the library in the working directory is named `./{wanted}`"));
    format!(
        "`zskt-run plugin add FILE.zskt{option}` installs it from a package's file, `zskt-run plugin add {wanted} --index PLACE{option}` from an \
         index, a folder or an https address{}",
        file.unwrap_or_default()
    )
}

/// Checks that nobody else can put anything in the place of a file or a folder of packages.
fn trusted(path: &Path) -> Result<(), Diagnostic> {
    let data = root()?;
    let data = data.ancestors().nth(2).unwrap_or(&data);
    for place in path.ancestors().take_while(|place| *place != data) {
        let Ok(metadata) = fs::metadata(place) else { continue };
        if let Some(problem) = library::writable_by_others(&metadata) {
            let problem = problem.context(format_args!("`{}`", place.display()));
            return Err(problem.help(format!("chmod go-w {}, if it is yours", place.display())));
        }
    }
    Ok(())
}

/// What `plugin add` is given.
enum Named {
    File(PathBuf),
    Package(Reference),
}

impl Named {
    fn parse(text: &str) -> Result<Self, Diagnostic> {
        if text.ends_with(ENDING) || text.contains(['/', std::path::MAIN_SEPARATOR]) {
            return Ok(Self::File(text.into()));
        }
        if let Some(package) = Reference::read(text)? {
            return Ok(Self::Package(package));
        }
        let problem = Diagnostic::global(format!("`{}` is neither a package's file nor its name", one_line(text)));
        Err(problem.help("a file ends with `.zskt`; a name is written as `cifar-resnets` or `cifar-resnets@0.1.0`"))
    }
}

/// Installs a package from its file, or from an index by its name, and says what is there now; what of the index cannot be used is told.
///
/// # Errors
/// When it is not for this program, not what it says, or another of its name and version is there already.
pub fn add(what: &str, index: Option<&str>, replace: bool, tell: impl Fn(&Diagnostic)) -> Result<String, Diagnostic> {
    match Named::parse(what)? {
        Named::File(path) => {
            let refused = |problem: Diagnostic| problem.context(format_args!("cannot add `{}`", path.display()));
            let opened = input_file::open(&path).map_err(|error| {
                let problem = refused(Diagnostic::global(reason(&error)));
                Diagnostic { help: home_folder::hint(&path), ..problem }
            })?;
            let (file, bytes) = opened;
            limits::check(bytes, MOST_PACKED).map_err(refused)?;
            install(file, None, replace).map_err(refused)
        }
        Named::Package(wanted) => {
            let place = IndexPlace::named(index)?;
            let index = Index::read(&place)?;
            index.left_out.iter().for_each(tell);
            let entry = index.choose(&wanted, &Build::ours()?, &place)?;
            let shown = place.shown(&entry.file);
            let refused = |problem: Diagnostic| problem.context(format_args!("cannot add {shown}"));
            let broken = |error: io::Error| refused(Diagnostic::global(reason(&error)));
            let mut packed = tempfile::tempfile().map_err(broken)?;
            let copied = io::copy(&mut place.open(&entry.file)?.take(MOST_PACKED + 1), &mut packed).map_err(broken)?;
            limits::check(copied, MOST_PACKED).map_err(refused)?;
            packed.rewind().map_err(broken)?;
            let sum = checksum::of_reader(&mut packed, || false).map_err(broken)?;
            if sum != Some((entry.sha256.clone(), entry.bytes)) {
                let problem =
                    Diagnostic::global("it is not the file that the index says: its length or SHA-256 sum is another");
                return Err(refused(problem.help("it was changed or not fetched whole; tell whoever keeps the index")));
            }
            packed.rewind().map_err(broken)?;
            install(packed, Some(&entry.summary), replace).map_err(refused)
        }
    }
}

/// Checks a package and puts it in its place, as a whole.
fn install(packed: impl Read, expected: Option<&Summary>, replace: bool) -> Result<String, Diagnostic> {
    let ours = Build::ours()?;
    let parent = of_build(&ours)?;
    let cannot = |error: io::Error| {
        let problem = Diagnostic::global(format!("cannot write to {}: {}", parent.display(), reason(&error)));
        problem.help("`XDG_DATA_HOME=FOLDER` in the environment, a whole path, has packages installed and found below that folder")
    };
    make_folders(&parent).map_err(cannot)?;
    trusted(&parent)?;
    remove_leftovers(&parent);
    let mut builder = tempfile::Builder::new();
    let unfinished = builder.prefix(UNFINISHED).tempdir_in(&parent).map_err(cannot)?;
    let manifest = unpack(packed, unfinished.path(), |manifest| {
        let summary = &manifest.summary;
        if let Some(why) = summary.build.misfit(&ours) {
            return Err(Diagnostic::global(format!("it is {why}")).help(summary.way_out()));
        }
        if expected.is_some_and(|expected| expected != summary) {
            return Err(
                Diagnostic::global("it is another package than the index says").help("tell whoever keeps the index")
            );
        }
        Ok(())
    })?;
    let summary = &manifest.summary;
    check_library(&unfinished.path().join(&manifest.library), summary)?;
    // Temporary folders are private.
    #[cfg(unix)]
    fs::set_permissions(unfinished.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(cannot)?;
    let target = parent.join(summary.reference().to_string());
    let mut said = match put(unfinished.path(), &target, &manifest, replace).map_err(cannot)? {
        Put::New => String::new(),
        Put::Replaced => format!("replaced the {} that was in {}\n", summary.title(), target.display()),
        Put::IsThere => return Ok(format!("{} is installed already\n", summary.title())),
        Put::OtherIsThere => {
            let message = format!("another {} is installed, in {}", summary.title(), target.display());
            return Err(Diagnostic::global(message).help("--replace puts this one in its place"));
        }
    };
    // It goes by another name now, and is not to be removed.
    let _ = unfinished.keep();
    said += &format!("added {} ({})\n{}\n", summary.title(), summary.licence(), summary.contents());
    let alone = Reference { name: summary.name.clone(), version: None };
    let is_meant_alone = find(&alone).is_ok_and(|(_, found)| found == summary.reference());
    // By its version where the name alone means a newer one.
    let named = if is_meant_alone { alone } else { summary.reference() };
    said += &format!("  in a pipeline:  plugins: [{:?}],\n", named.to_string());
    said += &how_to_try(&manifest, &target, &named);
    Ok(said)
}

/// How the example of a package, which pipelines name so, is run, if it has one: where it reads files of its own, in a copy of its folder, for
/// paths are relative to the working directory, and runs are written there.
fn how_to_try(manifest: &Manifest, folder: &Path, named: &Reference) -> String {
    if !manifest.files.contains_key(example::PIPELINE) {
        return String::new();
    }
    let shown = |path: &str| quoted(&folder.join(path).display().to_string());
    // The example names no version, and goes by what the command line names.
    let option = if named.version.is_some() { format!(" --plugin {named}") } else { String::new() };
    let is_read = |path: &String| path.starts_with(example::FOLDER) && path != example::PIPELINE;
    if manifest.files.keys().any(is_read) {
        let copy = format!("{}-{}-example", manifest.summary.name, manifest.summary.version);
        // Into no copy of before, which would hold it in a folder of its own.
        return format!(
            "  an example:     mkdir {copy} && cp -r {}. {copy} && cd {copy} && zskt-run pipeline.ron{option}\n",
            shown(example::FOLDER)
        );
    }
    format!("  an example:     zskt-run {}{option}\n", shown(example::PIPELINE))
}

/// What became of a package that was to be put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// Nothing was there.
    New,
    /// What was there is gone.
    Replaced,
    /// The same is there already, and stays.
    IsThere,
    /// Another is there, and stays.
    OtherIsThere,
}

/// Gives the folder of a package its name, in the folder of its build. What had the name is removed where this one is to `replace` it, or has
/// it again where that fails. Others wait meanwhile.
fn put(folder: &Path, target: &Path, manifest: &Manifest, replace: bool) -> io::Result<Put> {
    let parent = target.parent().unwrap_or(target);
    let _lock = lock::hold(File::open(parent)?)?;
    if target.symlink_metadata().is_err() {
        return fs::rename(folder, target).map(|()| Put::New);
    }
    let before = within(parent).into_iter().find(|package| package.folder == target);
    if before.is_some_and(|package| package.manifest == *manifest && package.is_whole()) {
        return Ok(Put::IsThere);
    }
    if !replace {
        return Ok(Put::OtherIsThere);
    }
    let old = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
    let kept = old.path().join("old");
    fs::rename(target, &kept)?;
    fs::rename(folder, target).or_else(|error| fs::rename(&kept, target).and(Err(error)))?;
    Ok(Put::Replaced)
}

/// Removes what processes have left that were killed: nothing else takes so long.
fn remove_leftovers(parent: &Path) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let changed = entry.metadata().and_then(|found| found.modified()).ok();
        if is_unfinished && changed.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > DAY) {
            // Whoever can remove it does; it is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Folders that others cannot write to, whatever the user's umask.
fn make_folders(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
    builder.create(path)
}

/// Checks that a library, none of whose code is run for it, would be loaded, and holds the plugins that its package lists.
fn check_library(library: &Path, summary: &Summary) -> Result<(), Diagnostic> {
    let of_library = |problem: Diagnostic| problem.context("its library would not be loaded");
    let description = library::describe(library).map_err(of_library)?;
    library::check(&description).map_err(of_library)?;
    let plugins = plugins_of(&description);
    if plugins != summary.plugins {
        return Err(Diagnostic::global("its library has other plugins than its manifest lists"));
    }
    Ok(())
}

/// Removes what is installed of a package for this program, and says what that was.
///
/// # Errors
/// When nothing of it is installed, or it cannot be removed.
pub fn remove(what: &str) -> Result<String, Diagnostic> {
    let wanted = Reference::read(what)?.ok_or_else(|| {
        let problem = Diagnostic::global(format!("`{}` cannot be the name of a package", one_line(what)));
        problem.help("`zskt-run plugin list` says what is installed")
    })?;
    let ours = Build::ours()?;
    let means = |package: &Installed| wanted.means(&package.manifest.summary.name, &package.manifest.summary.version);
    let (fitting, others): (Vec<_>, Vec<_>) =
        all()?.into_iter().filter(means).partition(|package| package.manifest.summary.build.misfit(&ours).is_none());
    if fitting.is_empty() {
        let problem = Diagnostic::global(format!("no plugin package `{wanted}` is installed for this zskt-run"));
        return Err(match others.first() {
            Some(other) => problem.help(format!(
                "that in {} is for zskt {}, whose zskt-run removes it; or remove the folder",
                other.folder.display(),
                other.manifest.summary.build.release
            )),
            None => problem.help("`zskt-run plugin list` says what is installed"),
        });
    }
    let mut said = String::new();
    for Installed { folder, manifest } in fitting {
        let cannot =
            |error: io::Error| Diagnostic::global(format!("cannot remove {}: {}", folder.display(), reason(&error)));
        // First by another name: what is there under its own is whole.
        let parent = folder.parent().unwrap_or(&folder);
        let _lock = File::open(parent).and_then(lock::hold).map_err(cannot)?;
        let hidden = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent).map_err(cannot)?;
        fs::rename(&folder, hidden.path().join("old")).map_err(cannot)?;
        hidden.close().map_err(cannot)?;
        said += &format!("removed {}\n", manifest.summary.title());
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::thread;

    use super::{MANIFEST, Manifest, Put, put};
    use crate::checksum;

    /// A package that is unpacked, whose library and example have this text.
    fn unpacked(folder: &Path, text: &str) -> Manifest {
        let library = format!("libnets.{}", std::env::consts::DLL_EXTENSION);
        let file = serde_json::json!({"bytes": text.len(), "sha256": checksum::of_bytes(text.as_bytes())});
        let manifest = serde_json::json!({
            "format": 1, "name": "nets", "version": "0.1.0", "release": "1.0.0", "image": "0".repeat(64), "target": "here",
            "plugins": [], "library": library, "files": {&*library: file, "example/pipeline.ron": file},
        });
        fs::create_dir_all(folder.join("example")).unwrap();
        for path in [library.as_str(), "example/pipeline.ron"] {
            fs::write(folder.join(path), text).unwrap();
        }
        fs::write(folder.join(MANIFEST), manifest.to_string()).unwrap();
        Manifest::read(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn of_several_that_are_added_at_once_one_is_there_and_replaced_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("nets@0.1.0");
        let unpack = |text: &str| {
            let unfinished = folder.path().join(format!(".unfinished-{text}"));
            let manifest = unpacked(&unfinished, text);
            (unfinished, manifest)
        };
        let all: Vec<_> = (0..16).map(|number| unpack(&number.to_string())).collect();
        let add = |(unfinished, manifest): &(PathBuf, Manifest)| put(unfinished, &target, manifest, false).unwrap();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = all.iter().map(|package| scope.spawn(|| add(package))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Put::New).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Put::OtherIsThere).count(), 15, "{outcomes:?}");

        let again = |text: &str, replace| {
            let (unfinished, manifest) = unpack(text);
            put(&unfinished, &target, &manifest, replace).unwrap()
        };
        assert_eq!(
            [again("a", true), again("a", true), again("a", false)],
            [Put::Replaced, Put::IsThere, Put::IsThere]
        );
        let example = target.join("example/pipeline.ron");
        fs::write(&example, "tried out").unwrap();
        assert_eq!([again("a", false), again("a", true)], [Put::OtherIsThere, Put::Replaced]);
        assert_eq!(fs::read_to_string(example).unwrap(), "a");
    }
}
