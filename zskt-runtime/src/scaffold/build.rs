//! `plugin build`: has cargo build crates against the SDK of this program.

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Message, TargetKind};
use zskt_api::Diagnostic;

use super::sdk::Sdk;
use crate::text_format::reason;

/// Builds the crate in a folder, or all of a workspace, and gives the libraries.
///
/// # Errors
/// When the folder holds no crate of plugins, or cargo fails; what cargo says it says itself.
pub fn build(folder: &Path, sdk: &Sdk) -> Result<Vec<PathBuf>, Diagnostic> {
    let shown = folder.display();
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| {
        let (manifest, reason) = (manifest.display(), reason(&error));
        Diagnostic::global(format!("there is no crate in `{shown}`: {manifest}: {reason}"))
            .help("`zskt-run plugin new NAME --kind …` makes one")
    })?;
    // The crates of a workspace share one SDK, which lies at its root.
    let root = workspace(folder)?;
    let of_root = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    if !text.contains(".zskt/sdk") && !of_root.contains(".zskt/sdk") {
        return Err(Diagnostic::global(format!("`{}` does not name the SDK", manifest.display()))
            .help("zskt-api = { package = \"zskt-sdk\", path = \".zskt/sdk\" }"));
    }
    sdk.link(&root)?;
    let arguments = ["build", "--release", "--message-format=json-render-diagnostics"];
    let mut child = cargo(folder).args(arguments).stdout(Stdio::piped()).spawn().map_err(|error| no_cargo(&error))?;
    let mut libraries = Vec::new();
    for message in child.stdout.take().into_iter().flat_map(|out| Message::parse_stream(BufReader::new(out))) {
        let Ok(Message::CompilerArtifact(artifact)) = message else { continue };
        if artifact.target.kind.contains(&TargetKind::CDyLib) {
            let is_library = |file: &PathBuf| file.extension().is_some_and(|it| it == std::env::consts::DLL_EXTENSION);
            libraries.extend(artifact.filenames.into_iter().map(PathBuf::from).filter(is_library));
        }
    }
    if !child.wait().is_ok_and(|status| status.success()) {
        return Err(Diagnostic::global(format!("cargo could not build the crate in `{shown}`")));
    }
    if libraries.is_empty() {
        return Err(Diagnostic::global(format!("the crate in `{shown}` made no library that can be loaded"))
            .help("[lib] crate-type = [\"cdylib\", \"rlib\"], for a target that has shared libraries"));
    }
    Ok(libraries)
}

/// The root of the workspace that a crate belongs to; of most crates it is the crate itself.
fn workspace(folder: &Path) -> Result<PathBuf, Diagnostic> {
    let arguments = ["locate-project", "--workspace", "--message-format=plain"];
    let output = cargo(folder).args(arguments).stderr(Stdio::inherit()).output().map_err(|error| no_cargo(&error))?;
    let manifest = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    match manifest.parent() {
        Some(root) if output.status.success() => Ok(root.to_owned()),
        _ => Err(Diagnostic::global(format!("cargo finds no crate in `{}`", folder.display()))),
    }
}

fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder);
    cargo
}

fn no_cargo(error: &std::io::Error) -> Diagnostic {
    let reason = if error.kind() == ErrorKind::NotFound { "it is not in PATH".into() } else { reason(error) };
    Diagnostic::global(format!("cannot run cargo: {reason}")).help("Rust is installed by https://rustup.rs")
}
