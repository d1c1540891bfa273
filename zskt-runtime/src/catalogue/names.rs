//! Names of packages, their versions, and the names of files in them: what they may be, for they become parts of paths.

use std::cmp::Ordering;
use std::env;
use std::fmt;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use cargo_metadata::semver::Version;
use zskt_api::Diagnostic;

use super::archive::ENDING;
use crate::text_format;

/// Longer names are nobody's.
const LONGEST: usize = 100;

/// Longer names of files are not possible everywhere.
const LONGEST_FILE: usize = 255;

/// Longer paths have no place in the header of a tar entry.
const LONGEST_INNER_PATH: usize = 100;

/// A package as a user names it: `cifar-resnets`, or `cifar-resnets@0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name of the package, which is that of its crate.
    pub name: String,
    /// The version, if not the newest.
    pub version: Option<Version>,
}

impl Reference {
    /// What a text names; nothing where it is no name of a package but a path, as what has a separator or the ending of a file.
    ///
    /// # Errors
    /// When it is the name of a package with something else than a version behind it.
    pub fn read(text: &str) -> Result<Option<Self>, Diagnostic> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let is_file = |text: &str| {
            text.contains(['/', MAIN_SEPARATOR])
                || text.ends_with(&format!(".{}", env::consts::DLL_EXTENSION))
                || text.ends_with(ENDING)
        };
        if !is_package_name(name) || version.is_some_and(is_file) {
            return Ok(None);
        }
        let name = name.to_owned();
        let Some(text) = version else { return Ok(Some(Self { name, version: None })) };
        match Version::parse(text) {
            Ok(version) => Ok(Some(Self { name, version: Some(version) })),
            Err(error) => {
                let whole = [".0", ".0.0"].map(|rest| format!("{text}{rest}")).into_iter();
                let meant = whole.clone().find(|it| Version::parse(it).is_ok()).unwrap_or("0.1.0".into());
                let shown = text_format::one_line(text);
                let problem = Diagnostic::global(format!("`{shown}` is not the version of a package: {error}"));
                Err(problem.help(format!(
                    "a version is written whole, as in `{name}@{meant}`; `{name}` alone is the newest; a file of this name is \
                     `./{name}@{shown}`"
                )))
            }
        }
    }

    /// The package that a path names, which is one word.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of_path(path: &Path) -> Result<Option<Self>, Diagnostic> {
        path.to_str().map_or(Ok(None), Self::read)
    }

    /// Whether it names a package of this name, in whatever version.
    pub fn has_name(&self, name: &str) -> bool {
        canonical(&self.name) == canonical(name)
    }

    /// Whether a package of this name and version is meant.
    pub fn means(&self, name: &str, version: &Version) -> bool {
        self.has_name(name) && self.version.as_ref().is_none_or(|it| it == version)
    }
}

/// The packages, in whatever version, among what names libraries.
pub fn packages_among<'p>(named: impl IntoIterator<Item = &'p PathBuf>) -> Vec<Reference> {
    named.into_iter().filter_map(|path| Reference::of_path(path).ok().flatten()).collect()
}

/// The one spelling of a name: `-` and `_` are the same, as to cargo.
pub fn canonical(name: &str) -> String {
    name.replace('_', "-")
}

/// Of two versions of a package, the one that is meant where none is named comes first: the newer one, but a prerelease, as to cargo, only
/// where there is nothing else.
pub fn newest_first(one: &Version, other: &Version) -> Ordering {
    (!one.pre.is_empty()).cmp(&!other.pre.is_empty()).then_with(|| other.cmp(one))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

/// Whether a package can be called so: as crates are.
pub fn is_package_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.len() <= LONGEST && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(letters)
}

/// Whether a file can be called so anywhere: by letters, digits and `-_.+`, and not hidden.
pub fn is_file_name(name: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    name.len() <= LONGEST_FILE
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(letters)
        && !name.ends_with('.')
}

/// Whether a path within a package is a file of it, or one in a folder of it, or in a folder of that.
pub fn is_inner_path(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    path.len() <= LONGEST_INNER_PATH && parts.len() <= 3 && parts.into_iter().all(is_file_name)
}

#[cfg(test)]
mod tests {
    use super::{Reference, is_inner_path, newest_first};

    #[test]
    fn a_word_names_a_package_and_a_path_does_not() {
        let shown = |text: &str| Reference::read(text).map(|it| it.map(|it| it.to_string()));
        for word in ["cifar-resnets", "lion", "a_b@1.2.3-rc.1+x"] {
            assert_eq!(shown(word), Ok(Some(word.to_owned())));
        }
        for other in
            ["", "./lion", "lion.so", "liblion.so", "a/b", "..", "-x", "lion@../x", "lion@2.zskt", "./a@1", "ä", "9a"]
        {
            assert_eq!(shown(other), Ok(None), "{other}");
        }
        for (unfinished, meant) in [("lion@", "lion@0.1.0"), ("lion@1", "lion@1.0.0"), ("lion@0.2", "lion@0.2.0")] {
            let problem = shown(unfinished).unwrap_err();
            assert!(problem.help.is_some_and(|help| help.contains(&format!("as in `{meant}`"))), "{unfinished}");
        }
    }

    #[test]
    fn a_prerelease_is_the_newest_only_where_there_is_nothing_else() {
        let newest = |versions: &[&str]| {
            let mut versions: Vec<_> = versions.iter().map(|it| it.parse().unwrap()).collect();
            versions.sort_by(newest_first);
            versions[0].to_string()
        };
        assert_eq!(newest(&["0.9.0", "0.10.0", "0.11.0-rc.1"]), "0.10.0");
        assert_eq!(newest(&["0.1.0-rc.2", "0.1.0-rc.10"]), "0.1.0-rc.10");
    }

    #[test]
    fn no_path_leaves_its_package() {
        assert!(is_inner_path("LICENSE-MIT") && is_inner_path("plugins/a.B.json") && is_inner_path("example/data/x"));
        for wrong in
            ["", "/etc/passwd", "../x", "a/../b", "a/b/c/d", "a//b", ".hidden", "a\\b", "c:x", "a/", "a/.", "x\0"]
        {
            assert!(!is_inner_path(wrong), "{wrong}");
        }
        assert!(is_inner_path(&"x".repeat(100)) && !is_inner_path(&"x".repeat(101)));
    }
}
