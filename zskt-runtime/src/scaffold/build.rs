//! `plugin build`: has cargo build crates against the SDK of this program.

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Message, Metadata, MetadataCommand, Package, TargetKind};
use zskt_api::Diagnostic;

use super::api_source;
use super::sdk::Sdk;
use crate::text_format::reason;

/// What cargo knows of the crates in a folder that would be built.
///
/// # Errors
/// When the folder holds no crate, or cargo cannot read it; what cargo says it says itself.
pub fn crates(folder: &Path) -> Result<Vec<Package>, Diagnostic> {
    Ok(built(folder, &described(folder)?).into_iter().cloned().collect())
}

/// Builds the crate in a folder, or all of a workspace, and gives the libraries.
///
/// # Errors
/// When the folder holds no crate of plugins, or cargo fails; what cargo says it says itself.
pub fn build(folder: &Path, sdk: &Sdk) -> Result<Vec<PathBuf>, Diagnostic> {
    let shown = folder.display();
    let described = described(folder)?;
    let workspace = PathBuf::from(described.workspace_root.as_str());
    let crates = built(folder, &described);
    api_source::check_asked(&crates, sdk)?;
    api_source::set(folder, &workspace, sdk)?;
    if locked_version(&workspace).is_some_and(|version| version != sdk.api_version.to_string()) {
        // Cargo would ask crates.io for it, which needs a network, and is not needed.
        quietly(folder, &["update", "--offline", "zskt-api"]);
    }
    api_source::check_found(&metadata(folder, &[])?, sdk)?;
    let arguments = ["build", "--release", "--message-format=json-render-diagnostics"];
    let mut child = cargo(folder).args(arguments).stdout(Stdio::piped()).spawn().map_err(|error| no_cargo(&error))?;
    let mut libraries = Vec::new();
    for message in child.stdout.take().into_iter().flat_map(|out| Message::parse_stream(BufReader::new(out))) {
        let Ok(Message::CompilerArtifact(artifact)) = message else { continue };
        // Crates of plugins that these crates depend on are libraries, too.
        let is_asked_for = crates.iter().any(|package| package.id == artifact.package_id);
        if is_asked_for && artifact.target.kind.contains(&TargetKind::CDyLib) {
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

/// What cargo knows of the workspace of a folder with a crate, or of crates, in it.
fn described(folder: &Path) -> Result<Metadata, Diagnostic> {
    let manifest = folder.join("Cargo.toml");
    manifest.metadata().map_err(|error| {
        let (shown, manifest, reason) = (folder.display(), manifest.display(), reason(&error));
        Diagnostic::global(format!("there is no crate in `{shown}`: {manifest}: {reason}"))
            .help("`zskt-run plugin new NAME --kind …` makes one")
    })?;
    metadata(folder, &["--no-deps"])
}

/// The crates that cargo builds in a folder: the folder's own, or where it has none, all of the workspace.
fn built<'m>(folder: &Path, workspace: &'m Metadata) -> Vec<&'m Package> {
    let own = |package: &&Package| {
        let manifest = Path::new(package.manifest_path.as_str()).canonicalize();
        manifest.ok() == folder.join("Cargo.toml").canonicalize().ok()
    };
    let members = || workspace.packages.iter();
    members().find(own).map_or_else(|| members().collect(), |package| vec![package])
}

/// What cargo knows of the crates in a folder.
fn metadata(folder: &Path, arguments: &[&str]) -> Result<Metadata, Diagnostic> {
    let mut command = cargo(folder);
    command.args(["metadata", "--format-version=1"]).args(arguments).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| no_cargo(&error))?;
    let failed = || Diagnostic::global(format!("cargo could not build the crate in `{}`", folder.display()));
    if !output.status.success() {
        return Err(failed());
    }
    MetadataCommand::parse(String::from_utf8_lossy(&output.stdout)).map_err(|_| failed())
}

/// The version of zskt-api that was built with before, if any was.
fn locked_version(workspace: &Path) -> Option<String> {
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).ok()?;
    let (_, rest) = lock.split_once("name = \"zskt-api\"\nversion = \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Writes down the versions of a new crate's dependencies, of which it has none but the SDK: its first build then needs no network.
/// Where this fails, cargo says why when it is asked to build.
pub fn lock_without_network(folder: &Path) {
    quietly(folder, &["generate-lockfile", "--offline"]);
}

fn quietly(folder: &Path, arguments: &[&str]) {
    let mut command = cargo(folder);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    // Both are tried only to spare cargo the network.
    let _ = command.status();
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
