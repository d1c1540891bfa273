//! `index.json`: which packages there are beside it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use zskt_api::Diagnostic;

use super::archive::ENDING;
use super::build::Build;
use super::index_place::{FILE, IndexPlace};
use super::manifest::{FORMAT, Summary};
use super::names::{Reference, is_file_name};
use crate::text_format;

/// More than any index has.
const MOST: u64 = 64 << 20;

/// The packages of a place.
#[derive(Serialize, Deserialize)]
pub struct Index {
    /// The form of this.
    format: u32,
    /// Them.
    pub packages: Vec<Entry>,
}

/// A package of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its file, beside the index.
    pub file: String,
    /// How long that is.
    pub bytes: u64,
    /// The SHA-256 sum of that.
    pub sha256: String,
    /// What it is.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Entry {
    fn is_sound(&self) -> bool {
        self.summary.is_sound() && is_file_name(&self.file) && self.file.ends_with(ENDING)
    }

    /// Whether another is of the same name and version, for the same release and machine: their files have one name.
    fn is_same(&self, other: &Self) -> bool {
        self.file == other.file
    }
}

impl Index {
    /// Reads an index. Entries that no package could have are left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(place: &IndexPlace) -> Result<Self, Diagnostic> {
        let mut bytes = Vec::new();
        let refused = |why: String| Diagnostic::global(format!("cannot read {}: {why}", place.shown(FILE)));
        let read = place.open(FILE)?.take(MOST + 1).read_to_end(&mut bytes);
        read.map_err(|error| refused(text_format::reason(&error)))?;
        if bytes.len() as u64 > MOST {
            return Err(refused(format!("it has more than {} MB", MOST >> 20)));
        }
        let mut index: Self = serde_json::from_slice(&bytes)
            .map_err(|error| refused(format!("it is not an index of packages ({error})")))?;
        if index.format > FORMAT {
            let problem = refused(format!("it is of form {}, and this zskt-run reads forms to {FORMAT}", index.format));
            return Err(problem.help("a newer zskt-run reads it"));
        }
        index.packages.retain(Entry::is_sound);
        index.packages.sort_by(|one, other| {
            (&one.summary.name, &other.summary.version).cmp(&(&other.summary.name, &one.summary.version))
        });
        Ok(index)
    }

    /// The newest package of those that a user means, for a build of zskt.
    ///
    /// # Errors
    /// When there is none, with what there is instead.
    pub fn choose(&self, wanted: &Reference, ours: &Build, place: &IndexPlace) -> Result<&Entry, Diagnostic> {
        let means = |entry: &&Entry| wanted.means(&entry.summary.name, &entry.summary.version);
        // The newest of a name comes first.
        let meant: Vec<_> = self.packages.iter().filter(means).collect();
        if let Some(entry) = meant.iter().find(|entry| entry.summary.build.misfit(ours).is_none()) {
            return Ok(entry);
        }
        let there = place.shown(FILE);
        if let Some(other) = meant.first() {
            let why = other.summary.build.misfit(ours).unwrap_or_default();
            let problem = Diagnostic::global(format!("{} of {there} is {why}", other.summary.title()));
            return Err(problem.help(other.summary.way_out()));
        }
        let names = self.packages.iter().map(|entry| entry.summary.name.as_str());
        let near = zskt_api::nearest_name(&wanted.name, names);
        let help = match near {
            Some(near) if near == wanted.name => {
                let versions = self.packages.iter().filter(|entry| entry.summary.name == near);
                let versions: Vec<_> = versions.map(|entry| entry.summary.version.to_string()).collect();
                format!("it has {near} {}", versions.join(", "))
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => "`zskt-run plugin search` lists what it has".into(),
        };
        Err(Diagnostic::global(format!("{there} has no package `{wanted}`")).help(help))
    }

    /// The index of a folder; an empty one where there is none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self, Diagnostic> {
        if folder.join(FILE).exists() {
            return Self::read(&IndexPlace::Folder(folder.to_owned()));
        }
        Ok(Self { format: FORMAT, packages: Vec::new() })
    }

    /// Checks that this index of a folder has no other package of the same name and version for the same release and machine.
    ///
    /// # Errors
    /// When it has one.
    pub fn check_new(&self, folder: &Path, entry: &Entry) -> Result<(), Diagnostic> {
        if let Some(other) = self.packages.iter().find(|other| other.is_same(entry) && other.sha256 != entry.sha256) {
            let title = other.summary.title();
            let why = entry
                .summary
                .build
                .misfit(&other.summary.build)
                .map_or_else(String::new, |_| " for another build of this release".into());
            let message = format!("{} has another {title}{why}", folder.join(FILE).display());
            return Err(Diagnostic::global(message)
                .help("what was published under a version stays: raise the version in Cargo.toml, or say --replace"));
        }
        Ok(())
    }

    /// Adds a package to this index of a folder, in the place of what has the same name and version for the same release and machine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(mut self, folder: &Path, entry: Entry) -> Result<(), Diagnostic> {
        self.packages.retain(|other| !other.is_same(&entry));
        self.packages.push(entry);
        let path = folder.join(FILE);
        let cannot = |error: std::io::Error| {
            Diagnostic::global(format!("cannot write {}: {}", path.display(), text_format::reason(&error)))
        };
        let text = serde_json::to_string_pretty(&self).map_err(|error| cannot(error.into()))?;
        write_whole(&path, |file| file.write_all(format!("{text}\n").as_bytes())).map_err(cannot)
    }
}

/// Has `fill` write a file that others may read, which is there whole or not at all.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut fs::File) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file: NamedTempFile = builder.tempfile_in(folder)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Build, Index, IndexPlace, Reference};

    #[test]
    fn the_newest_that_fits_is_chosen_and_what_does_not_fit_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = IndexPlace::Folder(folder.path().to_owned());
        let image = "a".repeat(64);
        let entry = |name: &str, version: &str, release: &str, file: &str| {
            format!(
                r#"{{"file": "{file}", "bytes": 1, "sha256": "", "name": "{name}", "version": "{version}", "release": "{release}", "image": "{image}", "target": "t", "plugins": []}}"#
            )
        };
        let entries = [
            entry("nets", "0.9.0", "1.0.0", "a.zskt"),
            entry("nets", "0.10.0", "1.0.0", "b.zskt"),
            entry("nets", "0.11.0", "2.0.0", "c.zskt"),
            entry("later", "1.0.0", "2.0.0", "d.zskt"),
            entry("../escape", "1.0.0", "1.0.0", "e.zskt"),
            entry("escape", "1.0.0", "1.0.0", "../e.zskt"),
        ];
        fs::write(
            folder.path().join("index.json"),
            format!(r#"{{"format": 1, "packages": [{}]}}"#, entries.join(", ")),
        )
        .unwrap();
        let ours = Build { release: "1.0.0".into(), image: image.clone(), target: "t".into() };
        let index = Index::read(&place).unwrap();
        let choose = |name: &str| {
            let chosen = index.choose(&Reference::parse(name).unwrap(), &ours, &place);
            chosen
                .map(|entry| entry.file.clone())
                .map_err(|it| format!("{}; {}", it.message, it.help.unwrap_or_default()))
        };
        assert_eq!(choose("nets"), Ok("b.zskt".into()));
        assert_eq!(choose("nets@0.9.0"), Ok("a.zskt".into()));
        assert!(choose("later").unwrap_err().contains("later 1.0.0 of"), "{:?}", choose("later"));
        assert!(choose("later").unwrap_err().contains("is for zskt 2.0.0, and this is zskt 1.0.0"));
        assert!(choose("nets@0.8.0").unwrap_err().contains("it has nets 0.11.0, 0.10.0, 0.9.0"));
        assert!(choose("net").unwrap_err().contains("did you mean `nets`?"));
        assert!(choose("escape").unwrap_err().contains("has no package `escape`"));
    }
}
