//! `index.json`: which packages there are beside it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;
use zskt_api::Diagnostic;

use super::archive::ENDING;
use super::build::Build;
use super::form::{self, FORMAT};
use super::index_place::{FILE, IndexPlace};
use super::limits::{self, MOST_INDEX};
use super::lock;
use super::manifest::Summary;
use super::names::{Reference, is_file_name};
use crate::shell_quoting::quoted;
use crate::text_format;

/// What others hold who add to the index of a folder.
const LOCK: &str = "index.lock";

/// What an index calls its list.
const PACKAGES: &str = "packages";

/// The packages of a place.
pub struct Index {
    /// All of the file but its packages, whoever wrote it.
    rest: Map<String, Value>,
    /// Its packages as they are written there, also those that a newer program wrote.
    written: Vec<Value>,
    /// The packages, as far as they are understood, the newest of a name first.
    pub packages: Vec<Entry>,
    /// What is not understood of it.
    pub left_out: Vec<Diagnostic>,
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
    /// Reads what an index says of a package.
    fn read(written: &Value) -> Result<Self, String> {
        let entry: Self = Self::deserialize(written).map_err(|error| error.to_string())?;
        if !is_file_name(&entry.file) || !entry.file.ends_with(ENDING) {
            return Err(format!("{:?} is not the file of a package", entry.file));
        }
        entry.summary.fault().map_or(Ok(entry), Err)
    }

    /// Whether another is of the same name and version, for the same release and machine.
    fn is_same(&self, other: &Self) -> bool {
        let place = |entry: &Self| (entry.summary.build.release.clone(), entry.summary.build.target.clone());
        self.file == other.file || self.summary.is_version_of(&other.summary) && place(self) == place(other)
    }
}

impl Index {
    /// Reads an index. Packages that it does not describe as it should are left out, and told of.
    ///
    /// # Errors
    /// When it cannot be read, or is of a newer form.
    pub fn read(place: &IndexPlace) -> Result<Self, Diagnostic> {
        let mut bytes = Vec::new();
        let refused = |problem: Diagnostic| problem.context(format_args!("cannot use the index {}", place.shown(FILE)));
        let read = place.open(FILE)?.take(MOST_INDEX + 1).read_to_end(&mut bytes);
        read.map_err(|error| refused(Diagnostic::global(text_format::reason(&error))))?;
        limits::check(bytes.len() as u64, MOST_INDEX).map_err(refused)?;
        form::check(&bytes).map_err(refused)?;
        let broken = |why: String| refused(Diagnostic::global(format!("it is not an index of packages: {why}")));
        let mut rest: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        let Some(Value::Array(written)) = rest.remove(PACKAGES) else {
            return Err(broken(format!("it has no list `{PACKAGES}`")));
        };
        let (mut packages, mut left_out) = (Vec::new(), Vec::new());
        for (number, written) in written.iter().enumerate() {
            match Entry::read(written) {
                Ok(entry) => packages.push(entry),
                Err(why) => {
                    let name = written["file"].as_str().or(written["name"].as_str()).map(|name| format!(", {name}"));
                    let message = format!(
                        "{} has a package that is left out, number {}{}: {why}",
                        place.shown(FILE),
                        number + 1,
                        name.unwrap_or_default()
                    );
                    left_out.push(Diagnostic::global(text_format::one_line(&message)).warning());
                }
            }
        }
        packages.sort_by(|one, other| one.summary.order(&other.summary));
        Ok(Self { rest, written, packages, left_out })
    }

    /// The newest package of those that a user means, for a build of zskt.
    ///
    /// # Errors
    /// When there is none, with what there is instead.
    pub fn choose(&self, wanted: &Reference, ours: &Build, place: &IndexPlace) -> Result<&Entry, Diagnostic> {
        let means = |entry: &&Entry| wanted.means(&entry.summary.name, &entry.summary.version);
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
        let versions = self.packages.iter().filter(|entry| wanted.has_name(&entry.summary.name));
        let mut versions: Vec<_> = versions.map(|entry| entry.summary.version.to_string()).collect();
        versions.dedup();
        let help = match zskt_api::nearest_name(&wanted.name, names) {
            _ if !versions.is_empty() => format!("it has {} {}", wanted.name, versions.join(", ")),
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("`zskt-run plugin search --index {}` lists what it has", quoted(&place.shown("")))
            }
        };
        Err(Diagnostic::global(format!("{there} has no package `{wanted}`")).help(help))
    }

    /// Adds a package to the index of a folder, which has none at first, in the place of what has the same name and version for the same
    /// release and machine; `put` puts its file there. Others that would add wait meanwhile. What the index says of other packages
    /// stays as it is.
    ///
    /// # Errors
    /// When there is another of its version, and it shall not `replace` that; when the index cannot be read or written; and those of `put`.
    pub fn add(
        folder: &Path,
        entry: &Entry,
        replace: bool,
        put: impl FnOnce() -> Result<(), Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let path = folder.join(FILE);
        let cannot = |error: io::Error| {
            Diagnostic::global(format!("cannot write {}: {}", path.display(), text_format::reason(&error)))
        };
        let _lock = open_lock(&folder.join(LOCK)).and_then(lock::hold).map_err(|error| {
            Diagnostic::global(format!("cannot lock {}: {}", folder.join(LOCK).display(), text_format::reason(&error)))
        })?;
        // Before anything is overwritten: an index that cannot be read would keep the sum of what was.
        let mut index = if path.exists() {
            Self::read(&IndexPlace::Folder(folder.to_owned()))?
        } else {
            let rest = Map::from_iter([("format".into(), FORMAT.into())]);
            Self { rest, written: Vec::new(), packages: Vec::new(), left_out: Vec::new() }
        };
        if !replace {
            index.check_new(&path, entry)?;
        }
        let is_other = |written: &Value| {
            written["file"] != entry.file.as_str() && !Entry::read(written).is_ok_and(|it| it.is_same(entry))
        };
        index.written.retain(is_other);
        index.written.push(serde_json::to_value(entry).map_err(|error| cannot(error.into()))?);
        index.rest.insert(PACKAGES.into(), Value::Array(index.written));
        let text = serde_json::to_string_pretty(&index.rest).map_err(|error| cannot(error.into()))? + "\n";
        limits::check(text.len() as u64, MOST_INDEX)
            .map_err(|problem| problem.context(format_args!("cannot write {}", path.display())))?;
        put()?;
        write_whole(&path, |file| file.write_all(text.as_bytes())).map_err(cannot)
    }

    /// Checks that it has no other package of the same name and version for the same release and machine.
    fn check_new(&self, path: &Path, entry: &Entry) -> Result<(), Diagnostic> {
        let is_same = |other: &&Entry| other.is_same(entry) && other.sha256 != entry.sha256;
        let understood = self.packages.iter().find(is_same);
        // One that a newer program described has a file, too.
        let has_file =
            |written: &Value| written["file"] == entry.file.as_str() && written["sha256"] != entry.sha256.as_str();
        if understood.is_none() && !self.written.iter().any(has_file) {
            return Ok(());
        }
        let misfit = understood.and_then(|other| entry.summary.build.misfit(&other.summary.build));
        let why = misfit.map_or("", |_| " for another build of this release");
        let message = format!("{} has another {}{why}", path.display(), entry.summary.title());
        Err(Diagnostic::global(message)
            .help("what was published under a version stays: raise the version in Cargo.toml, or say --replace"))
    }
}

/// Opens the file that is locked, which may be that of another who adds to the same folder: it is never written to.
fn open_lock(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::options().read(true).append(true).create(true).open(path)
        }
        opened => opened,
    }
}

/// Has `fill` write a file that others may read, which is there whole or not at all.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
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
    use std::path::Path;
    use std::thread;

    use serde_json::{Value, json};

    use super::{Build, Entry, FILE, Index, IndexPlace, Reference};

    /// A package as an index has it.
    fn entry(name: &str, version: &str, release: &str, file: &str) -> Value {
        json!({
            "file": file, "bytes": 1, "sha256": "", "name": name, "version": version, "release": release,
            "image": "a".repeat(64), "target": "t", "plugins": [],
        })
    }

    fn write(folder: &Path, index: &Value) {
        fs::write(folder.join(FILE), index.to_string()).unwrap();
    }

    fn read(folder: &Path) -> Result<Index, String> {
        let read = Index::read(&IndexPlace::Folder(folder.to_owned()));
        read.map_err(|it| format!("{}; {}", it.message, it.help.unwrap_or_default()))
    }

    fn add(folder: &Path, entry: &Value, replace: bool) -> Result<(), String> {
        let entry = Entry::read(entry).unwrap();
        Index::add(folder, &entry, replace, || Ok(())).map_err(|problem| problem.message)
    }

    #[test]
    fn the_newest_that_fits_is_chosen_and_what_does_not_fit_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let place = IndexPlace::Folder(folder.path().to_owned());
        let packages = [
            entry("nets", "0.9.0", "1.0.0", "a.zskt"),
            entry("nets", "0.10.0", "1.0.0", "b.zskt"),
            entry("nets", "0.11.0-rc.1", "1.0.0", "f.zskt"),
            entry("nets", "0.11.0", "2.0.0", "c.zskt"),
            entry("later", "1.0.0", "2.0.0", "d.zskt"),
            entry("two_words", "0.2.0", "1.0.0", "g.zskt"),
            entry("two-words", "0.3.0", "1.0.0", "h.zskt"),
            entry("early", "0.1.0-rc.1", "1.0.0", "i.zskt"),
        ];
        write(folder.path(), &json!({"format": 1, "packages": packages}));
        let ours = Build { release: "1.0.0".into(), image: "a".repeat(64), target: "t".into() };
        let index = Index::read(&place).unwrap();
        let choose = |name: &str| {
            let chosen = index.choose(&Reference::read(name).unwrap().unwrap(), &ours, &place);
            chosen
                .map(|entry| entry.file.clone())
                .map_err(|it| format!("{}; {}", it.message, it.help.unwrap_or_default()))
        };
        assert_eq!(choose("nets"), Ok("b.zskt".into()));
        assert_eq!(choose("nets@0.9.0"), Ok("a.zskt".into()));
        assert!(choose("later").unwrap_err().contains("later 1.0.0 of"), "{:?}", choose("later"));
        assert!(choose("later").unwrap_err().contains("is for zskt 2.0.0, and this is zskt 1.0.0"));
        assert!(choose("nets@0.8.0").unwrap_err().contains("it has nets 0.11.0, 0.10.0, 0.9.0, 0.11.0-rc.1"));
        assert_eq!(choose("nets@0.11.0-rc.1"), Ok("f.zskt".into()));
        assert_eq!(choose("early"), Ok("i.zskt".into()));
        assert_eq!([choose("two-words"), choose("two_words")], ["h.zskt", "h.zskt"].map(|it| Ok(it.into())));
        assert!(choose("net").unwrap_err().contains("did you mean `nets`?"));
    }

    #[test]
    fn one_package_that_is_not_understood_is_left_out_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut newer = entry("newer", "1.0.0", "1.0.0", "b.zskt");
        newer["version"] = json!({"of": "another form"});
        let packages = [
            entry("nets", "0.9.0", "1.0.0", "a.zskt"),
            newer.clone(),
            entry("../escape", "1.0.0", "1.0.0", "c.zskt"),
            entry("escape", "1.0.0", "1.0.0", "../c.zskt"),
            json!("no\nobject"),
        ];
        write(folder, &json!({"format": 1, "packages": packages}));
        let index = read(folder).unwrap();
        assert_eq!(index.packages.iter().map(|it| &*it.summary.name).collect::<Vec<_>>(), ["nets"]);
        assert!(!index.left_out.iter().any(zskt_api::Diagnostic::is_error), "the rest is of use");
        let told: Vec<_> = index.left_out.into_iter().map(|it| it.message).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("index.json has a package that is left out, number 2, b.zskt: "), "{told:?}");
        assert!(told[1].contains("no package can be called \"../escape\""), "{told:?}");
        assert!(told[3].contains("number 5: "), "{told:?}");

        write(folder, &json!({"format": 2, "packages": {"another": "form"}}));
        let refused = read(folder).err().unwrap();
        assert!(refused.contains("it is of form 2") && refused.contains("a newer zskt-run reads it"), "{refused}");
        assert!(add(folder, &packages[0], true).is_err(), "what is not understood is not written to");
        for (other, why) in [
            (json!({"packages": []}), "does not say its form"),
            (json!({"format": 0, "packages": []}), "of form 0"),
            (json!({"format": 1}), "has no list `packages`"),
        ] {
            write(folder, &other);
            let refused = read(folder).err().unwrap();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn adding_changes_nothing_that_is_there_but_what_is_of_the_same_version() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut newer = entry("nets", "0.9.0", "1.0.0", "a.zskt");
        newer["yanked"] = json!("a field of a newer zskt");
        let unread = json!({"file": "z.zskt", "sha256": "1", "delta": "of"});
        write(folder, &json!({"format": 1, "mirrors": ["b"], "packages": [newer, unread]}));
        add(folder, &entry("two_words", "0.1.0", "1.0.0", "two_words.zskt"), false).unwrap();
        let mut other = entry("two-words", "0.1.0", "1.0.0", "two-words.zskt");
        add(folder, &other, false).unwrap();
        other["sha256"] = "2".into();
        assert!(add(folder, &other, false).unwrap_err().contains("has another two-words 0.1.0"));
        add(folder, &other, true).unwrap();
        let mut of_newer = entry("z", "1.0.0", "1.0.0", "z.zskt");
        assert!(add(folder, &of_newer, false).unwrap_err().contains("has another z 1.0.0"));
        of_newer["sha256"] = "1".into();
        add(folder, &of_newer, false).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(folder.join(FILE)).unwrap()).unwrap();
        assert_eq!(written["mirrors"], json!(["b"]));
        let packages = written["packages"].as_array().unwrap();
        assert_eq!(packages[0], newer);
        assert_eq!(packages[1..].iter().map(|it| &it["file"]).collect::<Vec<_>>(), ["two-words.zskt", "z.zskt"]);
        assert_eq!(packages[1]["sha256"], "2");
    }

    #[test]
    fn all_that_is_added_at_once_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        thread::scope(|scope| {
            for number in 0..16 {
                let entry = entry(&format!("net{number}"), "0.1.0", "1.0.0", &format!("{number}.zskt"));
                scope.spawn(move || add(folder, &entry, false).unwrap());
            }
        });
        assert_eq!(read(folder).unwrap().packages.len(), 16);
    }
}
