//! `plugin build`: has cargo build a crate against the SDK of this program, and says whether this program would load it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::sdk::Sdk;
use crate::wording::reason;

/// Builds the crate in a folder, and gives its library.
///
/// # Errors
/// When the folder holds no crate of plugins, or cargo fails; what cargo says it says itself.
pub fn build(folder: &Path, sdk: &Sdk) -> Result<PathBuf, String> {
    let shown = folder.display();
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| {
        format!(
            "there is no crate in `{shown}`: {}: {}\nhelp: `zskt-run plugin new NAME --kind …` makes one",
            manifest.display(),
            reason(&error)
        )
    })?;
    if !text.contains(".zskt/sdk") {
        return Err(format!(
            "`{}` does not name the SDK\nhelp: zskt-api = {{ package = \"zskt-sdk\", path = \".zskt/sdk\" }}",
            manifest.display()
        ));
    }
    sdk.link(folder)?;
    // Files of another SDK may be older than what was built: cargo would not see that they are others.
    let stamp = folder.join(".zskt").join("built-against");
    if fs::read_to_string(&stamp).is_ok_and(|image| image != sdk.image) {
        let mut clean = cargo(folder);
        // Where it fails, so does the build, and says why.
        let _ = clean.args(["clean", "--quiet", "--release", "--package", "zskt-sdk"]).status();
    }
    let mut child = cargo(folder)
        .args(["build", "--release", "--message-format=json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!("cannot run cargo: {}\nhelp: Rust is installed by https://rustup.rs", reason(&error))
        })?;
    let manifest = manifest.canonicalize().map_err(|error| reason(&error))?;
    let mut library = None;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let message: Value = line.ok().and_then(|line| serde_json::from_str(&line).ok()).unwrap_or_default();
        let ours = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from);
        let mut libraries =
            files.filter(|file| file.extension().is_some_and(|it| it == std::env::consts::DLL_EXTENSION));
        if ours && let Some(file) = libraries.next() {
            library = Some(file);
        }
    }
    let status = child.wait().map_err(|error| reason(&error))?;
    if !status.success() {
        return Err(format!("cargo could not build the crate in `{shown}`"));
    }
    // Without it the next build is only slower.
    let _ = fs::write(&stamp, &sdk.image);
    library.ok_or_else(|| {
        format!("the crate in `{shown}` makes no library that can be loaded\nhelp: [lib] crate-type = [\"cdylib\", \"rlib\"]")
    })
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder);
    cargo
}
