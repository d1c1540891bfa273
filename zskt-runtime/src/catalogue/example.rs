//! The example of a crate, as those have it who add its package: the pipeline, and the files of the crate that it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use zskt_api::{Diagnostic, Registry};

use super::names::{Reference, is_inner_path};
use crate::check::prove;
use crate::pipeline::{self, Sources};
use crate::plugin_calls::catch_panics;
use crate::text_format::{one_line, reason};
use crate::{input_file, library};

/// The pipeline of a crate that shows what it is for.
const OF_CRATE: &str = "pipeline.ron";

/// The folder of a package that its example is in, and the pipeline there.
pub const FOLDER: &str = "example/";
pub const PIPELINE: &str = "example/pipeline.ron";

/// A larger pipeline is none.
const MOST_TEXT: u64 = 4 << 20;

/// More bytes are a dataset, and not part of an example.
const MOST_READ: u64 = 16 << 20;

/// What files hold, by their paths in a package.
type Files = BTreeMap<String, Vec<u8>>;

/// An example, before it is known which plugins there are.
pub struct Example {
    /// The folder of the crate.
    folder: PathBuf,
    /// The pipeline, as its author wrote it.
    text: String,
    /// The same with the names of packages in the place of libraries that packages are made of.
    with_packages: String,
    /// What its author should know.
    notes: Vec<String>,
}

impl Example {
    /// Reads the example of a crate, if it has one, and loads the libraries that it names. `package_of` knows the packages that are made, by
    /// the names of their libraries' files.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(folder: &Path, own: &str, package_of: &BTreeMap<String, String>) -> Result<Option<Self>, Diagnostic> {
        let path = folder.join(OF_CRATE);
        if !path.is_file() {
            return Ok(None);
        }
        let cannot = |why: String| Diagnostic::global(format!("cannot read {}: {why}", path.display()));
        let bytes = input_file::read(&path, MOST_TEXT).map_err(|error| cannot(reason(&error)))?;
        let text = String::from_utf8(bytes).map_err(|_| cannot("it is not valid UTF-8".into()))?;
        let made = |library: &Path| package_of.get(library.file_name()?.to_str()?).cloned();
        let with_packages = pipeline::with_libraries(&text, made);
        let mut notes = Vec::new();
        let names_own = |named: &Path| Reference::of_path(named).ok().flatten().is_some_and(|it| it.has_name(own));
        let mut is_own_named = false;
        for (named, _) in pipeline::libraries(&Sources::new("", with_packages.clone(), &[])) {
            is_own_named |= names_own(&named);
            if package_of.values().any(|package| Path::new(package) == named) || names_own(&named) {
                continue;
            }
            let shown = one_line(&named.display().to_string());
            let is_package = Reference::of_path(&named).is_ok_and(|it| it.is_some());
            let found = if is_package { named } else { folder.join(named) };
            if let Err(problem) = library::load(&found, &[]) {
                notes.push(one_line(&problem.message));
            } else if !is_package {
                notes.push(format!(
                    "it names the library `{shown}`, which others do not have: make a package of that, too, and name this"
                ));
            }
        }
        if !is_own_named {
            notes.push(format!("its `{}` do not name `{own}`", pipeline::LIBRARIES));
        }
        Ok(Some(Self { folder: folder.to_owned(), text, with_packages, notes }))
    }

    /// Gives the files that a package has of it, and what its author should know.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn files(self) -> Result<(Files, Vec<String>), Diagnostic> {
        let Self { folder, text, with_packages, mut notes } = self;
        let mut files = BTreeMap::from([(PIPELINE.to_owned(), with_packages.into_bytes())]);
        let registry = Registry::get()?;
        let proven = catch_panics(|| prove(&Sources::new(OF_CRATE, text, &[]), registry, true));
        let plan = match proven {
            Ok(Ok(plan)) => plan,
            Ok(Err(problems)) => {
                let first =
                    problems.iter().find(|problem| problem.is_error()).map(|problem| one_line(&problem.message));
                notes.push(format!("nobody can run it: {}", first.unwrap_or_default()));
                return Ok((files, notes));
            }
            Err(_) => {
                notes.push("nobody can run it: a plugin panics while it is checked".into());
                return Ok((files, notes));
            }
        };
        let nested = plan.nodes.iter().flat_map(|node| &node.nested).flat_map(|nested| &nested.parsed.paths);
        let read: BTreeSet<_> = plan.nodes.iter().flat_map(|node| &node.paths).chain(nested).collect();
        for path in read {
            match packed(&folder, path) {
                Ok(found) => files.extend(found),
                Err(why) => notes.push(format!(
                    "it reads `{}`, which is not packed, for {why}: others cannot run it without",
                    one_line(&path.display().to_string())
                )),
            }
        }
        Ok((files, notes))
    }
}

/// The files that lie in a path which a pipeline in a folder names, by their paths in a package, or why they are in none.
fn packed(folder: &Path, path: &Path) -> Result<Files, String> {
    let inside = path.components().filter(|part| *part != Component::CurDir);
    let inside: Option<PathBuf> =
        inside.map(|part| if let Component::Normal(part) = part { Some(part) } else { None }).collect();
    const OUTSIDE: &str = "it is not in the crate's folder";
    let Some(inside) = inside else { return Err(OUTSIDE.into()) };
    let folder = folder.canonicalize().map_err(|error| reason(&error))?;
    let mut found = BTreeMap::new();
    let (mut left, mut bytes) = (vec![inside], 0);
    while let Some(path) = left.pop() {
        let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
        let inner = format!("{FOLDER}{}", parts.join("/"));
        // Folders, too: links among them may lead to each other without an end.
        if !is_inner_path(&inner) || inner == PIPELINE {
            return Err(format!(
                "no package has a file {inner:?}: names are of letters, digits and `-_.+`, none is hidden, and there is one folder in \
                 `{FOLDER}` at most"
            ));
        }
        let file = folder.join(&path).canonicalize().map_err(|error| reason(&error))?;
        // A link may lead to what its author means to give to nobody.
        if !file.starts_with(&folder) {
            return Err(OUTSIDE.into());
        }
        if file.is_dir() {
            let entries = fs::read_dir(&file).map_err(|error| reason(&error))?.flatten();
            left.extend(entries.map(|entry| path.join(entry.file_name())));
            continue;
        }
        let content = input_file::read(&file, MOST_READ - bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => format!("it has more than {} MB", MOST_READ >> 20),
            _ => reason(&error),
        })?;
        bytes += content.len() as u64;
        found.insert(inner, content);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::packed;

    #[test]
    fn files_of_the_crate_are_packed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("data/a.csv"), "1").unwrap();
        fs::write(folder.join("b.csv"), "2").unwrap();
        let names = |path: &str| packed(folder, Path::new(path)).map(|it| it.into_keys().collect::<Vec<_>>());
        assert_eq!(names("./b.csv"), Ok(vec!["example/b.csv".to_owned()]));
        assert_eq!(names("data"), Ok(vec!["example/data/a.csv".to_owned()]));
        assert!(names("missing.csv").is_err());
        for outside in ["../b.csv", "/etc/passwd", "data/../../b.csv"] {
            assert_eq!(names(outside), Err("it is not in the crate's folder".to_owned()), "{outside}");
        }
        #[cfg(unix)]
        {
            let linked = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.join("data").join(name)).unwrap();
            linked("../b.csv", "linked.csv");
            assert!(names("data").unwrap().contains(&"example/data/linked.csv".to_owned()));
            linked("/etc/passwd", "out.csv");
            assert_eq!(names("data"), Err("it is not in the crate's folder".to_owned()));
            fs::remove_file(folder.join("data/out.csv")).unwrap();
            linked(".", "again");
            assert!(names("data").unwrap_err().contains("no package has a file \"example/data/again/"));
            fs::remove_file(folder.join("data/again")).unwrap();
        }
        fs::File::create(folder.join("data/large")).unwrap().set_len((16 << 20) + 1).unwrap();
        assert_eq!(names("data"), Err("it has more than 16 MB".to_owned()));
    }
}
