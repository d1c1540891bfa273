//! Names of packages, their versions, and the names of files in them: what they may be, for they become parts of paths.

use std::fmt;
use std::path::Path;

use cargo_metadata::semver::Version;

/// Longer names are nobody's.
const LONGEST: usize = 100;

/// Longer names of files are not possible everywhere.
const LONGEST_FILE: usize = 255;

/// A package as a user names it: `cifar-resnets`, or `cifar-resnets@0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The name of the package, which is that of its crate.
    pub name: String,
    /// The version, if not the newest.
    pub version: Option<Version>,
}

impl Reference {
    /// What a text names; nothing where it cannot be the name of a package, as what has a separator or the ending of a file.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(Version::parse(version).ok()?)),
            None => (text, None),
        };
        is_package_name(name).then(|| Self { name: name.to_owned(), version })
    }

    /// The package that a path names, which is one word.
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::parse(path.to_str()?)
    }

    /// Whether a package of this name and version is meant. As to cargo, `-` and `_` are the same.
    pub fn means(&self, name: &str, version: &Version) -> bool {
        self.name.replace('_', "-") == name.replace('_', "-") && self.version.as_ref().is_none_or(|it| it == version)
    }
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

/// Whether a path within a package is a file of it, or one in a folder of it.
pub fn is_inner_path(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    parts.len() <= 2 && parts.into_iter().all(is_file_name)
}

#[cfg(test)]
mod tests {
    use super::{Reference, is_inner_path};

    #[test]
    fn a_word_names_a_package_and_a_path_does_not() {
        let shown = |text: &str| Reference::parse(text).map(|it| it.to_string());
        for word in ["cifar-resnets", "lion", "a_b@1.2.3-rc.1+x"] {
            assert_eq!(shown(word).as_deref(), Some(word));
        }
        for other in
            ["", "./lion", "lion.so", "liblion.so", "a/b", "..", "-x", "lion@", "lion@1", "lion@../x", "ä", "9a"]
        {
            assert_eq!(shown(other), None, "{other}");
        }
    }

    #[test]
    fn no_path_leaves_its_package() {
        assert!(is_inner_path("LICENSE-MIT") && is_inner_path("plugins/a.B.json"));
        for wrong in
            ["", "/etc/passwd", "../x", "a/../b", "a/b/c", "a//b", ".hidden", "a\\b", "c:x", "a/", "a/.", "x\0"]
        {
            assert!(!is_inner_path(wrong), "{wrong}");
        }
    }
}
