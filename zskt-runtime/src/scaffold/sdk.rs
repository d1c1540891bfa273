//! The SDK: what a library of plugins is compiled against, made with this very program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::semver::Version;
use zskt_api::Diagnostic;

use super::toml_text;
use crate::library;
use crate::text_format::reason;

/// An SDK of this program.
pub struct Sdk {
    /// Its folder.
    pub folder: PathBuf,
    /// The compiler that it needs: `1.95.0`.
    pub rust_version: String,
    /// The version of its plugin API.
    pub api_version: Version,
}

/// The folder of the SDK of the release which this program is part of, if it is part of one.
pub fn beside_program() -> Result<PathBuf, Diagnostic> {
    let program = env::current_exe().map_err(|error| Diagnostic::global(reason(&error)))?;
    // `bin/zskt-run`, beside `sdk/`.
    Ok(program.ancestors().nth(2).unwrap_or(&program).join("sdk"))
}

/// Where a crate has the SDK that it is built against: a link to it.
pub fn link_of(folder: &Path) -> PathBuf {
    folder.join(".zskt/sdk")
}

impl Sdk {
    /// The SDK in a folder; without one, that of the release which this program is part of.
    ///
    /// # Errors
    /// When there is none, or it is another program's.
    pub fn find(folder: Option<&Path>) -> Result<Self, Diagnostic> {
        let ours = library::image_sum()?;
        let folder = folder.map_or_else(beside_program, |folder| Ok(folder.to_owned()))?;
        let shown = folder.display();
        let image = fs::read_to_string(folder.join("image.sha256")).map_err(|error| {
            Diagnostic::global(format!("there is no SDK in `{shown}`: {}", reason(&error))).help(
                "a release has one beside `bin/`. `cargo xtask layout`, in the folder of zskt's sources, makes `target/layout` there, with one and \
                 the program that goes with it: put its `bin/` into PATH, and run that zskt-run. --sdk DIR names another",
            )
        })?;
        if image != ours {
            return Err(Diagnostic::global(format!(
                "the SDK in `{shown}` was made with another zskt-run: this one would not load what is built with it"
            ))
            .help("install the zskt-run and the SDK from the same release"));
        }
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).map_err(|error| cannot("read", &file, &error))
        };
        let rust_version = read("rustc-version")?.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let manifest = read("Cargo.toml")?;
        let version =
            manifest.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"')?.parse().ok());
        let api_version =
            version.ok_or_else(|| Diagnostic::global(format!("the SDK in `{shown}` is damaged: it has no version")))?;
        let folder = folder.canonicalize().map_err(|error| cannot("read", &folder, &error))?;
        Ok(Self { folder, rust_version, api_version })
    }

    /// Has the crates below a folder use this SDK, if they do not already.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn link(&self, folder: &Path) -> Result<(), Diagnostic> {
        let link = link_of(folder);
        let failed = |error: std::io::Error| cannot("write", &link, &error);
        if !fs::read_link(&link).is_ok_and(|old| old == self.folder) {
            fs::create_dir_all(folder.join(".zskt")).map_err(failed)?;
            if link.is_symlink() {
                fs::remove_file(&link).map_err(failed)?;
            } else if link.exists() {
                let problem = Diagnostic::global(format!("`{}` is not a link to an SDK", link.display()));
                return Err(problem.help("remove it"));
            }
            link_folder(&self.folder, &link).map_err(failed)?;
        }
        tell_rustdoc(folder)
    }
}

/// Tells rustdoc where the SDK's crates are, and tests in documentation where its libraries are: cargo tells neither what it tells
/// the compiler. These folders are absolute, so the file is none that goes into version control.
fn tell_rustdoc(folder: &Path) -> Result<(), Diagnostic> {
    let file = folder.join(".zskt/config.toml");
    let failed = |error: std::io::Error| cannot("write", &file, &error);
    let sdk = link_of(&folder.canonicalize().map_err(failed)?);
    let [lib, crates, std] = ["lib", "crates", "std"].map(|part| sdk.join(part).display().to_string());
    // One folder an argument: the linker of macOS takes no list.
    let [of_lib, of_std] = [&lib, &std].map(|folder| format!("-Clink-arg=-Wl,-rpath,{folder}"));
    let flags = ["-L".into(), lib, "-L".into(), crates, of_lib, of_std];
    let flags = flags.map(|flag| format!("    {},\n", toml_text(&flag))).concat();
    let text = format!(
        "# Written by `zskt-run plugin build`: where rustdoc finds zskt-api.\n[build]\nrustdocflags = [\n{flags}]\n"
    );
    if fs::read_to_string(&file).is_ok_and(|old| old == text) { Ok(()) } else { fs::write(&file, text).map_err(failed) }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::global(format!("cannot {what} {}: {}", path.display(), reason(error)))
}

#[cfg(unix)]
fn link_folder(folder: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(folder, link)
}

#[cfg(not(unix))]
fn link_folder(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
