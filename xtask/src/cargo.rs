//! What cargo builds, and what of it belongs to the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, io};

use cargo_metadata::{DependencyKind, Message, Metadata, MetadataCommand, Node, Package, PackageId, TargetKind};

use crate::{Result, Workspace, builder_paths};

/// Which build is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The one that developers have, in the profile of this very code.
    Program,
    /// The one that the tests run with: it is there, while they run.
    Tests,
    /// One to be given to others: built on its own, and nothing in it says where.
    Published,
}

/// What cargo has built.
#[derive(Default)]
pub struct Built {
    /// The program.
    pub program: Option<PathBuf>,
    /// The library that it shares with plugins.
    pub image: Option<PathBuf>,
    /// What a compiler must know of the image's crates, and the macros that run in it.
    pub metadata: Vec<PathBuf>,
    /// The shared libraries of others that the image is linked against, as linkers are told of them: `cublas`.
    pub native: BTreeSet<String>,
}

/// What the compiler answers.
///
/// # Errors
/// When it cannot be started, or says something else than text.
pub fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The machine that the compiler makes programs for.
///
/// # Errors
/// When it does not say.
pub fn target() -> Result<String> {
    let version = rustc(&["-vV"])?;
    Ok(version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no machine")?.to_owned())
}

/// The packages of a workspace, and of all that it depends on for this machine.
///
/// # Errors
/// When cargo cannot say, as of a feature that there is not.
pub fn metadata(workspace: &Workspace) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    let mut options = vec!["--locked".to_owned(), format!("--filter-platform={}", target()?)];
    options.extend(features(workspace));
    command.other_options(options).current_dir(&workspace.root).env("CARGO_HOME", &workspace.cargo_home);
    let metadata = command.exec()?;
    let runtime = metadata.packages.iter().find(|package| package.name.as_str() == "zskt-runtime");
    let known = &runtime.ok_or("there is no package zskt-runtime")?.features;
    match workspace.features.iter().find(|feature| !known.contains_key(*feature)) {
        Some(other) => Err(format!("`{other}` is no feature of zskt-runtime: it has `{}`", names(known)).into()),
        None => Ok(metadata),
    }
}

fn names<T>(features: &BTreeMap<String, T>) -> String {
    features.keys().map(String::as_str).collect::<Vec<_>>().join("`, `")
}

/// What cargo is told of features.
fn features(workspace: &Workspace) -> Option<String> {
    let all: Vec<_> = workspace.features.iter().map(String::as_str).collect();
    (!all.is_empty()).then(|| format!("--features={}", all.join(",")))
}

/// The package `name`, and all that its code is made of. What only tests and build scripts need is not in it. Of macros, `enter` says
/// whether what they are made of is: they run when others compile.
///
/// # Errors
/// When there is no such package.
pub fn packages_of(metadata: &Metadata, name: &str, enter: bool) -> Result<BTreeSet<PackageId>> {
    let nodes = &metadata.resolve.as_ref().ok_or("cargo resolves nothing")?.nodes;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
    let mut next = vec![&package.ok_or_else(|| format!("there is no package {name}"))?.id];
    let mut found = BTreeSet::new();
    while let Some(id) = next.pop() {
        if found.insert(id.clone()) && (enter || !is_macro(&metadata[id])) {
            next.extend(nodes.iter().filter(|node| node.id == *id).flat_map(normal_dependencies));
        }
    }
    Ok(found)
}

fn normal_dependencies(node: &Node) -> impl Iterator<Item = &PackageId> {
    let is_normal =
        |kinds: &[cargo_metadata::DepKindInfo]| kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
    node.deps.iter().filter(move |dependency| is_normal(&dependency.dep_kinds)).map(|dependency| &dependency.pkg)
}

fn is_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro))
}

/// The program as developers have it, built if need be.
///
/// # Errors
/// When the build fails.
pub fn program(workspace: &Workspace) -> Result<PathBuf> {
    Ok(build(workspace, Build::Program)?.program.ok_or("no program was built")?)
}

/// As in `.cargo/config.toml`.
const IMAGE_FLAG: &str = "-Cmetadata=zskt-image";

/// Whether a variable tells compilers what one builder wants.
fn is_of_builder(name: &str) -> bool {
    let tools = ["CC", "CXX", "AR", "CFLAGS", "CXXFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
    let flags = ["CFLAGS_", "CXXFLAGS_", "CC_", "CXX_", "AR_", "TARGET_C", "HOST_C", "CARGO_PROFILE_", "CARGO_TARGET_"];
    let of_cargo =
        ["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTC_WRAPPER"];
    tools.contains(&name) || of_cargo.contains(&name) || flags.iter().any(|begin| name.starts_with(begin))
}

/// Has cargo build what is laid out.
///
/// # Errors
/// When it fails.
pub fn build(workspace: &Workspace, build: Build) -> Result<Built> {
    let arguments: &[&str] = match build {
        // With a part of the workspace, dependencies have other features, and are built again.
        Build::Program => &["build", "--workspace"],
        // That test, which is there while it runs, has all that is laid out.
        Build::Tests => &["test", "--no-run", "--workspace", "--test", "libraries"],
        Build::Published => &["build", "--locked", "--package", "zskt-runtime"],
    };
    // Before cargo works for minutes on what the rest cannot be made of.
    let metadata = metadata(workspace)?;
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let mut command = workspace.cargo();
    if build == Build::Published {
        // Nothing of what this builder has set for other work.
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_builder(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", &workspace.target).env("CARGO_INCREMENTAL", "0");
        // The program then looks for its libraries beside itself only.
        command.env("ZSKT_RELEASE", "yes");
        // In this variable, for what the builder's own settings say of flags then counts for nothing: so all are named here.
        let flags = [vec![IMAGE_FLAG.to_owned()], builder_paths::flags(workspace)?].concat();
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    }
    let mut child = command
        .args(arguments)
        .args(profile)
        .args(features(workspace))
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()?;
    // Compilers ask for no more of a macro than the macro.
    let needed = packages_of(&metadata, "zskt-dylib", false)?;
    let mut built = Built::default();
    for message in Message::parse_stream(io::BufReader::new(child.stdout.take().ok_or("cargo says nothing")?)) {
        let artifact = match message? {
            Message::CompilerArtifact(artifact) if !artifact.profile.test => artifact,
            Message::BuildScriptExecuted(script) if needed.contains(&script.package_id) => {
                built.native.extend(script.linked_libs.iter().filter_map(|library| shared(library.as_str())));
                continue;
            }
            _ => continue,
        };
        for file in artifact.filenames.iter().map(|file| PathBuf::from(file.as_path())) {
            let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            match artifact.target.name.as_str() {
                "zskt-run" => built.program = Some(file),
                "zskt_dylib" if extension == env::consts::DLL_EXTENSION => built.image = Some(file),
                _ if !needed.contains(&artifact.package_id) => {}
                _ if artifact.target.is_custom_build() => {}
                // No archives of code: with them, a second copy would be linked silently.
                _ if extension == "rmeta" => built.metadata.push(file),
                _ if artifact.target.is_proc_macro() && extension == env::consts::DLL_EXTENSION => {
                    built.metadata.push(file);
                }
                _ => {}
            }
        }
    }
    if child.wait()?.success() { Ok(built) } else { Err("the build failed".into()) }
}

/// The name of a library that a build script wants to be linked (`cublas`, `dylib=cublas`, `static=moe`), unless it becomes part of the image.
fn shared(library: &str) -> Option<String> {
    let (kind, name) = library.split_once('=').unwrap_or(("dylib", library));
    // Behind a colon are how it is linked, and another name for it in attributes.
    let [kind, name] = [kind, name].map(|text| text.split(':').next().unwrap_or_default());
    (kind == "dylib").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_becomes_part_of_the_image_is_no_shared_library() {
        let found = ["cuda", "dylib=cublas", "dylib:+verbatim=nvrtc:other", "static=driver", "framework=Metal"];
        assert_eq!(
            found.map(super::shared),
            [Some("cuda"), Some("cublas"), Some("nvrtc"), None, None].map(|it| it.map(str::to_owned))
        );
    }
}
