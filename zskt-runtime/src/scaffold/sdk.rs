//! The SDK: what a library of plugins is compiled against, made with this very program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use zskt_api::Diagnostic;

use crate::library;
use crate::text_format::reason;

/// An SDK of this program.
pub struct Sdk {
    /// Its folder.
    pub folder: PathBuf,
    /// The compiler that it needs: `1.95.0`.
    pub rust_version: String,
}

impl Sdk {
    /// The SDK in a folder; without one, that of the release which this program is part of.
    ///
    /// # Errors
    /// When there is none, or it is another program's.
    pub fn find(folder: Option<&Path>) -> Result<Self, Diagnostic> {
        let ours = library::image_sum()?;
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => {
                let program = env::current_exe().map_err(|error| Diagnostic::global(reason(&error)))?;
                // `bin/zskt-run`, beside `sdk/`.
                program.ancestors().nth(2).unwrap_or(&program).join("sdk")
            }
        };
        let shown = folder.display();
        let image = fs::read_to_string(folder.join("image.sha256")).map_err(|error| {
            Diagnostic::global(format!("there is no SDK in `{shown}`: {}", reason(&error))).help(
                "a release has one beside `bin/`; `cargo xtask dist` in the sources of zskt makes one; --sdk DIR names another",
            )
        })?;
        if image != ours {
            return Err(Diagnostic::global(format!(
                "the SDK in `{shown}` was made with another zskt-run: this one would not load what is built with it"
            ))
            .help("install the zskt-run and the SDK from the same release"));
        }
        let file = folder.join("rustc-version");
        let unreadable = |path: &Path, error: &std::io::Error| {
            Diagnostic::global(format!("cannot read {}: {}", path.display(), reason(error)))
        };
        let rustc = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
        let rust_version = rustc.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let folder = folder.canonicalize().map_err(|error| unreadable(&folder, &error))?;
        Ok(Self { folder, rust_version })
    }

    /// Has the crate in a folder use this SDK, if it does not already.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn link(&self, folder: &Path) -> Result<(), Diagnostic> {
        let place = folder.join(".zskt");
        let link = place.join("sdk");
        let cannot =
            |error: std::io::Error| Diagnostic::global(format!("cannot write {}: {}", link.display(), reason(&error)));
        if fs::read_link(&link).is_ok_and(|old| old == self.folder) {
            return Ok(());
        }
        fs::create_dir_all(&place).map_err(cannot)?;
        if link.is_symlink() {
            fs::remove_file(&link).map_err(cannot)?;
        } else if link.exists() {
            return Err(Diagnostic::global(format!("`{}` is not a link to an SDK", link.display())).help("remove it"));
        }
        link_folder(&self.folder, &link).map_err(cannot)
    }
}

#[cfg(unix)]
fn link_folder(folder: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(folder, link)
}

#[cfg(not(unix))]
fn link_folder(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
