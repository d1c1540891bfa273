//! A release: one archive, the same for all who make it of the same sources with the same compiler.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::cargo::{Build, metadata, target};
use crate::layout::{layout, remove};
use crate::{Result, Workspace, archive, builder_paths, licences};

/// Files and folders of the sources that are part of a release as they are.
const DOCUMENTS: [&str; 9] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "docs",
    "pipelines",
];

/// Builds a release into `folder/NAME`, and packs it as `folder/NAME.tar.xz`, beside a file with its sum. Gives the archive.
///
/// # Errors
/// When cargo fails, a file cannot be written, or one tells of who built it.
pub fn dist(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let release = release(workspace, folder)?;
    let name = format!("{}.tar.xz", release.file_name().unwrap_or_default().display());
    let packed = folder.join(&name);
    archive::pack(&release, &packed)?;
    fs::write(folder.join("SHA256SUMS"), format!("{}  {name}\n", archive::sum(&packed)?))?;
    Ok(packed)
}

/// Builds a release, named after its version and its machine, in a folder. Gives its own folder, in which `SHA256SUMS` names all files.
///
/// # Errors
/// When cargo fails, a file cannot be written, or one tells of who built it.
pub fn release(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let metadata = metadata(workspace)?;
    let runtime = metadata.packages.iter().find(|package| package.name.as_str() == "zskt-runtime");
    let version = &runtime.ok_or("there is no package zskt-runtime")?.version;
    let release = env::current_dir()?.join(folder).join(format!("zskt-{version}-{}", target()?));
    let root = &workspace.root;
    remove(&release)?;
    layout(workspace, &release, Build::Published)?;
    for document in DOCUMENTS {
        copy_all(&root.join(document), &release.join(document))?;
    }
    fs::write(release.join("LICENSES-OF-DEPENDENCIES.txt"), licences::of_dependencies(root, &metadata)?)?;
    let std = licences::of_standard_library()?;
    fs::copy(&std, release.join("LICENSES-OF-STD.html"))
        .map_err(|error| format!("{}: {error}; `rustup component add rust-docs` brings it", std.display()))?;
    let program = release.join("bin").join(format!("zskt-run{}", env::consts::EXE_SUFFIX));
    let share = release.join("share");
    for (shell, place) in [
        ("bash", "bash-completion/completions/zskt-run"),
        ("fish", "fish/vendor_completions.d/zskt-run.fish"),
        ("zsh", "zsh/site-functions/_zskt-run"),
    ] {
        let place = share.join(place);
        fs::create_dir_all(place.parent().ok_or("it is in a folder")?)?;
        fs::write(place, said(Command::new(&program).env_remove("ZSKT_PLUGIN_PATH").args(["completions", shell]))?)?;
    }
    let manual = release.join("manual");
    // What it documents is what is released.
    said(Command::new(&program).env_remove("ZSKT_PLUGIN_PATH").arg("manual").arg(&manual))?;
    fs::create_dir_all(share.join("man"))?;
    fs::rename(manual.join("man1"), share.join("man/man1"))?;
    fs::rename(manual.join("reference"), release.join("docs/reference"))?;
    fs::remove_dir(manual)?;
    api_reference(&release)?;
    builder_paths::refuse(&release, &builder_paths::of(workspace)?)?;
    archive::write_sums(&release)?;
    Ok(release)
}

/// The reference of the plugin API, made of the SDK: what authors see.
fn api_reference(release: &Path) -> Result {
    let sdk = release.join("sdk");
    let rustdoc = env::var_os("RUSTDOC").unwrap_or_else(|| "rustdoc".into());
    let mut command = Command::new(rustdoc);
    command.args(["src/lib.rs", "--crate-name", "zskt_api", "--edition", "2024", "--output", "../docs/api"]);
    command.args(["-Lcrate=lib", "-Ldependency=lib", "-Ldependency=crates"]).current_dir(sdk);
    // Cargo sets it; that it changes with the image is all that is asked of it.
    command.env("CARGO_PKG_DESCRIPTION", "");
    said(&mut command)?;
    // Of no use but to a next rustdoc in the same folder.
    fs::remove_file(release.join("docs/api/.lock")).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    Ok(())
}

/// What a program says on its standard output.
///
/// # Errors
/// When it cannot be started, or fails.
pub fn said(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(output.stdout)
}

/// Copies a file, or a folder with all that is in it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_all(from: &Path, to: &Path) -> Result {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            copy_all(&file.path(), &to.join(file.file_name()))?;
        }
    } else {
        fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    }
    Ok(())
}
