//! A release: one archive, the same for all who make it of the same sources with the same compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::cargo::{Build, metadata, target};
use crate::layout::{layout, remove};
use crate::{Result, Workspace, archive, builder_paths, licences, links};

/// Files and folders of the sources that are part of a release as they are.
const DOCUMENTS: [&str; 13] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "docs",
    "pipelines",
    "python/README.md",
    "python/pyproject.toml",
    "python/src",
    "python/tests",
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
    archive::add_sum(folder, &name)?;
    Ok(packed)
}

/// Builds a release, named after its version and its machine, in a folder. Gives its own folder, in which `SHA256SUMS` names all files.
///
/// # Errors
/// When cargo fails, a file cannot be written, or one tells of who built it.
pub fn release(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let metadata = metadata(workspace)?;
    let runtime = metadata.packages.iter().find(|package| package.name.as_str() == "zskt-runtime");
    let runtime = runtime.ok_or("there is no package zskt-runtime")?;
    let name = name(&runtime.version.to_string(), &workspace.features, &runtime.features, &target()?);
    let release = env::current_dir()?.join(folder).join(name);
    let root = &workspace.root;
    // Before cargo works for minutes on what could not be released.
    let licences = licences::of_dependencies(root, &metadata)?;
    let of_std = licences::of_standard_library()?;
    let documents = workspace.files(&DOCUMENTS)?;
    remove(&release)?;
    layout(workspace, &release, Build::Published)?;
    for document in documents {
        let place = release.join(&document);
        fs::create_dir_all(place.parent().ok_or("it is in a folder")?)?;
        copy_all(&root.join(document), &place)?;
    }
    fs::write(release.join("LICENSES-OF-DEPENDENCIES.txt"), licences)?;
    fs::write(release.join("LICENSES-OF-STD.html"), of_std)?;
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
    mend_links(&release)?;
    builder_paths::refuse(&release, &builder_paths::of(workspace)?)?;
    archive::write_sums(&release)?;
    Ok(release)
}

/// What a release is called: its features are named where it has more than by default.
fn name(version: &str, features: &BTreeSet<String>, known: &BTreeMap<String, Vec<String>>, target: &str) -> String {
    let defaults = known.get("default").map(Vec::as_slice).unwrap_or_default();
    let more: Vec<_> =
        features.iter().filter(|it| *it != "default" && !defaults.contains(it)).map(String::as_str).collect();
    let plus = if more.is_empty() { "" } else { "+" };
    format!("zskt-{version}{plus}{}-{target}", more.join("."))
}

/// Names what is only in the sources without a link.
fn mend_links(release: &Path) -> Result {
    let is_page = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "md");
    for page in archive::files(release)?.iter().filter(is_page) {
        let text = fs::read_to_string(release.join(page))?;
        let up = "../".repeat(page.components().count() - 1);
        let to = |aim: &Path| release.join(aim).exists().then(|| format!("{up}{}", aim.display()));
        let mended = links::redirected(&text, page, to);
        if mended != text {
            fs::write(release.join(page), mended)?;
        }
    }
    Ok(())
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

/// Copies a file, or a folder with all that is in it but what Python leaves there.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_all(from: &Path, to: &Path) -> Result {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to.parent().ok_or("it is in a folder")?)?;
        fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
        Ok(())
    };
    if !from.is_dir() {
        return copy(from, to);
    }
    // All of them are known before the first is copied: `to` may lie in `from`.
    let is_python = |file: &&PathBuf| file.components().any(|part| part.as_os_str() == "__pycache__");
    let files = archive::files(from)?;
    files.iter().filter(|file| !is_python(file)).try_for_each(|file| copy(&from.join(file), &to.join(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_what_it_has_beyond_the_defaults() {
        let known = [("default", vec!["dynamic".to_owned()]), ("dynamic", vec![]), ("cuda", vec![])];
        let known = known.map(|(name, of)| (name.to_owned(), of)).into();
        let called =
            |features: &[&str]| name("0.1.0", &features.iter().map(|it| (*it).to_owned()).collect(), &known, "x86");
        assert_eq!(called(&[]), "zskt-0.1.0-x86");
        assert_eq!(called(&["dynamic", "default"]), "zskt-0.1.0-x86");
        assert_eq!(called(&["dynamic", "cuda"]), "zskt-0.1.0+cuda-x86");
    }

    #[test]
    fn links_of_a_release_lead_to_what_is_in_it() -> Result {
        let release = env::temp_dir().join(format!("zskt-links-{}", std::process::id()));
        fs::create_dir_all(release.join("docs/reference"))?;
        fs::create_dir_all(release.join("pipelines/methods"))?;
        let readme = "[`benches/`](benches/README.md), [pipelines](pipelines/methods) and [gpu](docs/gpu.md#measured)";
        fs::write(release.join("README.md"), readme)?;
        fs::write(
            release.join("docs/gpu.md"),
            "[test](../tests/gpu/README.md), [README](../README.md#two), ![a graph](../tests/a.svg)[up](#here)",
        )?;
        mend_links(&release)?;
        let read = |page: &str| fs::read_to_string(release.join(page));
        let (readme, gpu) = (read("README.md")?, read("docs/gpu.md")?);
        fs::remove_dir_all(&release)?;
        assert_eq!(readme, "`benches/`, [pipelines](pipelines/methods) and [gpu](docs/gpu.md#measured)");
        assert_eq!(gpu, "test, [README](../README.md#two), [up](#here)");
        Ok(())
    }
}
