//! The SDK: a crate that is called zskt-api, as the sources' is, and has no code in it but that of the program's own library.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::cargo::rustc;
use crate::layout::copy;

/// The file with the sum of the image, by which an SDK is known.
pub const SUM: &str = "image.sha256";

/// Writes the SDK of an image into an empty folder: `metadata` is what a compiler must know of the image's crates.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(root: &Path, sdk: &Path, image: &Path, standard_library: &Path, metadata: &[PathBuf]) -> Result {
    let sum = format!("{:x}", Sha256::digest(fs::read(image)?));
    // Before all else.
    fs::write(sdk.join(SUM), &sum)?;
    for part in ["src", "lib", "std", "crates"] {
        fs::create_dir_all(sdk.join(part))?;
    }
    for file in ["build.rs", "src/lib.rs"] {
        fs::copy(root.join("sdk").join(file), sdk.join(file))?;
    }
    // The versions that a program with plugins linked in begins with.
    copy(&root.join("Cargo.lock"), sdk)?;
    copy(image, &sdk.join("lib"))?;
    copy(standard_library, &sdk.join("std"))?;
    for file in metadata {
        copy(file, &sdk.join("crates"))?;
    }
    let workspace = MetadataCommand::new().current_dir(root).no_deps().exec()?;
    let (release, api) = (version_of(&workspace, "zskt-runtime")?, version_of(&workspace, "zskt-api")?);
    fs::write(sdk.join("release"), &release)?;
    fs::write(sdk.join("rustc-version"), rustc(&["-vV"])?)?;
    let manifest = fs::read_to_string(root.join("sdk/Cargo.toml"))?;
    let with_versions = |line: &str| match line.split_once(" = ") {
        Some(("version", _)) => format!("version = \"{api}\"\n"),
        Some(("description", _)) => {
            format!("description = \"The plugin API of zskt {release}, as the zskt-run with the image {sum} has it\"\n")
        }
        _ => format!("{line}\n"),
    };
    Ok(fs::write(sdk.join("Cargo.toml"), manifest.lines().map(with_versions).collect::<String>())?)
}

/// Writes a library with nothing in it for each that the image is linked against: rustc names them to the linker of every plugin, too, which
/// takes nothing from them, and must not need the toolkit that they come from. A text that names no file is one to linkers of ELF. What
/// compilers bring is left to them: a plugin may have C++ of its own.
///
/// # Errors
/// When a file cannot be written.
pub fn write_stand_ins(sdk: &Path, native: &BTreeSet<String>) -> Result {
    let folder = sdk.join("native");
    for name in native.iter().filter(|name| *name != "stdc++") {
        // An empty folder would be none in an archive.
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("lib{name}.so")), "/* nothing */\n")?;
    }
    Ok(())
}

fn version_of(workspace: &Metadata, package: &str) -> Result<String> {
    let found = workspace.packages.iter().find(|it| it.name.as_str() == package);
    Ok(found.ok_or_else(|| format!("the workspace has no package {package}"))?.version.to_string())
}
