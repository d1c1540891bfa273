//! Makes what is released: `bin/`, `lib/` and `sdk/` in a folder that may be moved.

mod builder_paths;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use cargo_metadata::{DependencyKind, Message, MetadataCommand, PackageId};
use sha2::{Digest, Sha256};

/// A result, or whatever went wrong on the way.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Which build is released.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// One of the program alone, in the profile of this very code.
    Program,
    /// The one that the tests run with: it is there, while they run.
    Tests,
    /// One to be given to others: built on its own, and nothing in it says where.
    Published,
}

/// What cargo has built.
#[derive(Default)]
struct Built {
    program: Option<PathBuf>,
    image: Option<PathBuf>,
    /// What a compiler must know of the image's crates, and the macros that run in it.
    metadata: Vec<PathBuf>,
}

/// Lays out a release in a folder.
///
/// # Errors
/// When cargo fails, or a file cannot be written.
pub fn dist(folder: &Path, build: Build) -> Result {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace is gone")?;
    let folder = env::current_dir()?.join(folder);
    let built = built(root, build)?;
    let (program, image) = (built.program.ok_or("no program was built")?, built.image.ok_or("no library was built")?);
    for part in ["bin", "lib", "sdk"] {
        remove(&folder.join(part))?;
        fs::create_dir_all(folder.join(part))?;
    }
    let standard_library = standard_library()?;
    copy(&program, &folder.join("bin"))?;
    if let (Some(name), Some(toolchain), "linux") = (program.file_name(), standard_library.parent(), env::consts::OS) {
        forget(&folder.join("bin").join(name), &format!(":{}", toolchain.display()))?;
    }
    for library in [&image, &standard_library] {
        copy(library, &folder.join("lib"))?;
    }
    let sdk = folder.join("sdk");
    for part in ["src", "lib", "std", "crates"] {
        fs::create_dir_all(sdk.join(part))?;
    }
    for file in ["build.rs", "src/lib.rs"] {
        fs::copy(root.join("sdk").join(file), sdk.join(file))?;
    }
    let sum = format!("{:x}", Sha256::digest(fs::read(&image)?));
    fs::write(sdk.join("image.sha256"), &sum)?;
    let manifest = fs::read_to_string(root.join("sdk/Cargo.toml"))?;
    let with_sum = |line: &str| match line.strip_prefix("version = \"").and_then(|rest| rest.strip_suffix('"')) {
        Some(version) => format!("version = \"{version}+{}\"\n", &sum[..16]),
        None => format!("{line}\n"),
    };
    fs::write(sdk.join("Cargo.toml"), manifest.lines().map(with_sum).collect::<String>())?;
    copy(&image, &sdk.join("lib"))?;
    copy(&standard_library, &sdk.join("std"))?;
    for file in &built.metadata {
        copy(file, &sdk.join("crates"))?;
    }
    fs::write(sdk.join("rustc-version"), rustc(&["-vV"])?)?;
    if build == Build::Published { builder_paths::refuse(&folder, &builder_paths::of(root)?) } else { Ok(()) }
}

fn built(root: &Path, build: Build) -> Result<Built> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments: &[&str] = match build {
        Build::Program => &["build", "--package", "zskt-runtime"],
        Build::Tests => &["test", "--no-run", "--workspace"],
        Build::Published => &["build", "--package", "zskt-runtime", "--target-dir", "target/published"],
    };
    let profile: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
    let mut command = Command::new(cargo);
    if build == Build::Published {
        builder_paths::remap(&mut command, &builder_paths::of(root)?);
    }
    let mut child = command
        .args(arguments)
        .args(profile)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()?;
    let needed = packages_of_image(root)?;
    let mut built = Built::default();
    for message in Message::parse_stream(io::BufReader::new(child.stdout.take().ok_or("cargo says nothing")?)) {
        let Message::CompilerArtifact(artifact) = message? else { continue };
        if artifact.profile.test {
            continue;
        }
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

/// The packages of every crate that the image may be made of.
fn packages_of_image(root: &Path) -> Result<BTreeSet<PackageId>> {
    let metadata = MetadataCommand::new().current_dir(root).exec()?;
    let nodes = metadata.resolve.ok_or("cargo resolves nothing")?.nodes;
    let mut found = BTreeSet::new();
    let is_image =
        |id: &&PackageId| metadata.packages.iter().any(|it| it.id == **id && it.name.as_str() == "zskt-dylib");
    let mut next: Vec<PackageId> = nodes.iter().map(|node| &node.id).filter(is_image).cloned().collect();
    while let Some(id) = next.pop() {
        for dependency in nodes.iter().filter(|node| node.id == id).flat_map(|node| &node.deps) {
            // What only tests and build scripts need has another kind.
            let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if is_normal && !found.contains(&dependency.pkg) {
                next.push(dependency.pkg.clone());
            }
        }
        found.insert(id);
    }
    Ok(found)
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(arguments).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// std as the library that the image is linked against.
fn standard_library() -> Result<PathBuf> {
    let folder = PathBuf::from(rustc(&["--print", "target-libdir"])?.trim());
    let library = fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path())).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libstd-") && name.ends_with(env::consts::DLL_SUFFIX)
    });
    library.ok_or_else(|| format!("there is no shared std in {}", folder.display()).into())
}

/// Takes the toolchain out of the folders that a program looks for its libraries in: in a release they lie beside it, and the
/// toolchain's folder may be anybody's on another machine. The list of folders is a text that ends with zero.
fn forget(program: &Path, folder: &str) -> Result {
    let mut bytes = fs::read(program)?;
    let text = [folder.as_bytes(), b"\0"].concat();
    let place = bytes.windows(text.len()).position(|window| window == text);
    let place = place.ok_or_else(|| format!("the program does not look for its libraries in `{folder}`"))?;
    bytes[place..place + text.len()].fill(0);
    // Writing leaves its permissions as they are.
    Ok(fs::write(program, bytes)?)
}

fn copy(file: &Path, folder: &Path) -> Result {
    let name = file.file_name().ok_or("a file has a name")?;
    fs::copy(file, folder.join(name)).map_err(|error| format!("cannot copy {}: {error}", file.display()))?;
    Ok(())
}

fn remove(folder: &Path) -> Result {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
