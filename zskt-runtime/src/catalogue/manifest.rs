//! `manifest.json` of a package: what it is, for which build of zskt, and the sum of each of its files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::semver::Version;
use serde::{Deserialize, Serialize};
use zskt_api::Diagnostic;

use super::build::Build;
use super::form;
use super::limits::{self, MOST_FILES, MOST_FILES_BYTES, MOST_MANIFEST};
use super::names::{Reference, canonical, is_file_name, is_inner_path, is_package_name, newest_first};
use crate::text_format;

/// What a package is: what an index says of it, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The crate's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its licence, as an SPDX expression, if it says one.
    #[serde(default)]
    pub license: Option<String>,
    /// What it says of itself.
    #[serde(default)]
    pub description: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub authors: Vec<String>,
    /// Where its source is.
    #[serde(default)]
    pub repository: Option<String>,
    /// For which build of zskt it is.
    #[serde(flatten)]
    pub build: Build,
    /// Its plugins.
    pub plugins: Vec<PackagedPlugin>,
}

/// A plugin of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackagedPlugin {
    /// Its full name.
    pub name: String,
    /// What it is, in the words of `export!`.
    pub kind: String,
}

/// What a package says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this.
    pub format: u32,
    /// What the package is.
    #[serde(flatten)]
    pub summary: Summary,
    /// The library among its files.
    pub library: String,
    /// All of its files but this one, by their paths.
    pub files: BTreeMap<String, PackagedFile>,
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackagedFile {
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256 sum, in hexadecimal digits.
    pub sha256: String,
}

impl Summary {
    /// How a pipeline names this version of it, and what its folder is called: `cifar-resnets@0.1.0`, whichever of `-` and `_` its name has.
    pub fn reference(&self) -> Reference {
        Reference { name: canonical(&self.name), version: Some(self.version.clone()) }
    }

    /// Whether it is the same version of the same package, for whatever release and machine.
    pub fn is_version_of(&self, other: &Self) -> bool {
        self.reference() == other.reference()
    }

    /// By names, and of one name that first which is meant where no version is named.
    pub fn order(&self, other: &Self) -> Ordering {
        canonical(&self.name).cmp(&canonical(&other.name)).then_with(|| newest_first(&self.version, &other.version))
    }

    /// `cifar-resnets 0.1.0`.
    pub fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Its licence, for a person.
    pub fn licence(&self) -> String {
        self.license.as_deref().map_or_else(|| "no licence given".into(), text_format::one_line)
    }

    /// Its plugins, a line each.
    pub fn contents(&self) -> String {
        let width = self.plugins.iter().map(|plugin| plugin.name.chars().count()).max().unwrap_or(0);
        let line = |plugin: &PackagedPlugin| {
            format!("  {:width$}  {}\n", text_format::one_line(&plugin.name), text_format::one_line(&plugin.kind))
        };
        self.plugins.iter().map(line).collect()
    }

    /// What to do about a package for another build.
    pub fn way_out(&self) -> String {
        let source = self.repository.as_deref().map_or_else(
            || "with its source, `zskt-run plugin package` makes one for this zskt-run".to_owned(),
            |place| {
                let place = text_format::one_line(place);
                format!("build it from its source, {place}, by `zskt-run plugin package`")
            },
        );
        format!("take the package that is for this zskt-run, or use the zskt-run that this one is for; {source}")
    }

    /// Why it cannot be used, if it cannot.
    pub fn fault(&self) -> Option<String> {
        if !is_package_name(&self.name) {
            return Some(format!("no package can be called {:?}", self.name));
        }
        if self.version.to_string().len() > 64 {
            return Some("its version is too long".into());
        }
        let Build { release, target, .. } = &self.build;
        if let Some(wrong) = [release, target].into_iter().find(|name| !is_file_name(name)) {
            return Some(format!("{wrong:?} is not a release or a machine"));
        }
        let is_sum = self.build.image.len() == 64 && self.build.image.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!is_sum).then(|| "its image is not a SHA-256 sum".into())
    }
}

impl Manifest {
    /// Reads the manifest of a package, and checks what it says: names and sizes that lead nowhere else.
    ///
    /// # Errors
    /// When it is not the manifest of a package.
    pub fn read(bytes: &[u8]) -> Result<Self, Diagnostic> {
        let broken = |what: String| Diagnostic::global(format!("its manifest is not one of a package: {what}"));
        limits::check(bytes.len() as u64, MOST_MANIFEST).map_err(|problem| broken(problem.message))?;
        form::check(bytes).map_err(|problem| problem.context("its manifest"))?;
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
        match manifest.fault() {
            Some(fault) => Err(broken(fault)),
            None => Ok(manifest),
        }
    }

    fn fault(&self) -> Option<String> {
        let Self { summary, library, files, .. } = self;
        if let Some(fault) = summary.fault() {
            return Some(fault);
        }
        if files.len() > MOST_FILES {
            return Some(format!("more than {MOST_FILES} files"));
        }
        if let Some(wrong) =
            files.keys().find(|path| !is_inner_path(path) || path.eq_ignore_ascii_case(super::archive::MANIFEST))
        {
            return Some(format!("no file of a package can be called {wrong:?}"));
        }
        // Where letters of both cases are the same, one would take the other's place.
        let distinct: BTreeSet<_> = files.keys().map(|path| path.to_ascii_lowercase()).collect();
        if distinct.len() < files.len() {
            return Some("two of its files differ only in upper and lower case".into());
        }
        let total = files.values().try_fold(0_u64, |total, file| total.checked_add(file.bytes));
        if total.is_none_or(|total| total > MOST_FILES_BYTES) {
            return Some(format!("its files have more than {} MB", MOST_FILES_BYTES >> 20));
        }
        let ending = format!(".{}", std::env::consts::DLL_EXTENSION);
        if !files.contains_key(library) || library.contains('/') || !library.ends_with(&ending) {
            return Some(format!("its library, {library:?}, is not a library among its files"));
        }
        None
    }
}
