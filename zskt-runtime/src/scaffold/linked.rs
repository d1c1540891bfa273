//! Where a program that has plugins linked in takes zskt from, until it is on crates.io: a folder of sources, or a git repository.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use zskt_api::Diagnostic;

use super::{sdk, toml_text};
use crate::text_format::reason;

/// The sources of zskt.
pub enum ZsktSource {
    /// In a folder, as the user named it.
    Folder(PathBuf),
    /// In a git repository, at its newest commit or at a tag.
    Repository {
        /// Its address.
        url: String,
        /// The tag.
        tag: Option<String>,
    },
}

impl ZsktSource {
    /// Reads `path/to/zskt`, or `https://host/zskt.git#v1.0.0`.
    ///
    /// # Errors
    /// When there are no sources of zskt in the folder.
    pub fn read(text: &str) -> Result<Self, Diagnostic> {
        if text.contains("://") {
            let (url, tag) = text.split_once('#').map_or((text, None), |(url, tag)| (url, Some(tag.to_owned())));
            return Ok(Self::Repository { url: url.to_owned(), tag });
        }
        let folder = Path::new(text);
        for part in ["zskt-api", "zskt-runtime"] {
            if !folder.join(part).join("Cargo.toml").is_file() {
                let message = format!("`{text}` is not the folder of zskt's sources: there is no {part} in it");
                return Err(Diagnostic::global(message)
                    .help("--linked takes that folder, or the URL of a git repository: `https://host/zskt.git#v1.0.0`, with a tag"));
            }
        }
        Ok(Self::Folder(folder.to_owned()))
    }

    /// Cargo's settings for a crate in a folder: where it takes zskt's crates from. The plugins that it depends on take them from
    /// there, too.
    ///
    /// # Errors
    /// When a folder cannot be found.
    pub fn cargo_config(&self, crate_folder: &Path) -> Result<String, Diagnostic> {
        let from: Box<dyn Fn(&str) -> String> = match self {
            Self::Folder(sources) => {
                let place = seen_from(crate_folder, sources)?;
                Box::new(move |part| format!("path = {}", toml_text(&place.join(part).to_string_lossy())))
            }
            Self::Repository { url, tag } => {
                let tag = tag.as_ref().map(|tag| format!(", tag = {}", toml_text(tag))).unwrap_or_default();
                let git = format!("git = {}{tag}", toml_text(url));
                Box::new(move |_| git.clone())
            }
        };
        let crates = ["zskt-api", "zskt-runtime"].map(|part| format!("{part} = {{ {} }}\n", from(part)));
        Ok(format!(
            "# Where zskt's crates come from, for this program and for all plugins that it depends on.\n[patch.crates-io]\n{}",
            crates.concat()
        ))
    }

    /// The versions of all dependencies that zskt is tested with: those of the folder, or of this release.
    pub fn cargo_lock(&self) -> Option<String> {
        let folder = match self {
            Self::Folder(sources) => sources.clone(),
            Self::Repository { .. } => sdk::beside_program().ok()?,
        };
        fs::read_to_string(folder.join("Cargo.lock")).ok()
    }
}

/// A folder as it is called in another one: relative as it was given, and one that was given from the root by the way to it, so that
/// nothing names a folder of this machine where both are moved together.
fn seen_from(folder: &Path, other: &Path) -> Result<PathBuf, Diagnostic> {
    let depth = folder.components().count();
    if other.is_relative() {
        return Ok(std::iter::repeat_n("..", depth).collect::<PathBuf>().join(other));
    }
    let missing = |error: std::io::Error| Diagnostic::global(reason(&error));
    let here = env::current_dir().and_then(|folder| folder.canonicalize()).map_err(missing)?.join(folder);
    let other = other.canonicalize().map_err(missing)?;
    let shared = here.components().zip(other.components()).take_while(|(one, other)| one == other).count();
    let up = here.components().skip(shared).map(|_| Component::ParentDir);
    Ok(up.chain(other.components().skip(shared)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_may_have_a_tag() -> Result<(), Diagnostic> {
        let config = ZsktSource::read("https://host/zskt.git#v0.1.0")?.cargo_config(Path::new("mine"))?;
        let expected = "zskt-api = { git = \"https://host/zskt.git\", tag = \"v0.1.0\" }\n";
        assert!(config.contains(expected), "{config}");
        let config = ZsktSource::read("file:///srv/zskt")?.cargo_config(Path::new("mine"))?;
        assert!(config.ends_with("zskt-runtime = { git = \"file:///srv/zskt\" }\n"), "{config}");
        Ok(())
    }

    #[test]
    fn a_folder_is_named_as_the_crate_sees_it() -> Result<(), Diagnostic> {
        assert_eq!(seen_from(Path::new("mine"), Path::new("../zskt"))?, Path::new("../../zskt"));
        let here = env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(seen_from(Path::new("mine"), &here.join("src"))?, Path::new("../src"));
        assert_eq!(seen_from(Path::new("mine"), here.parent().unwrap())?, Path::new("../.."));
        Ok(())
    }
}
