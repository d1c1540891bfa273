//! The folders of whoever builds a release: the compiler writes other names in their places, so that nothing tells of a home and
//! two who build the same sources get the same files.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::cargo::rustc;
use crate::{Result, Workspace};

/// A folder, and what takes its place.
pub struct BuilderPath {
    folder: PathBuf,
    name: &'static str,
}

/// Those that a build writes into files, the more special ones last, as the compiler wants them.
///
/// # Errors
/// When the compiler does not say where it is.
pub fn of(workspace: &Workspace) -> Result<Vec<BuilderPath>> {
    let home = env::home_dir().ok_or("the home folder is not known")?;
    let toolchain = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
    let named = [
        (home, "/home"),
        (workspace.cargo_home.clone(), "/cargo"),
        (toolchain, "/rust"),
        (workspace.root.clone(), "/zskt"),
        (workspace.target.clone(), "/zskt/target/published"),
    ];
    Ok(named.map(|(folder, name)| BuilderPath { folder, name }).into())
}

/// What the compiler is told of them.
///
/// # Errors
/// When it does not say where it is.
pub fn flags(workspace: &Workspace) -> Result<Vec<String>> {
    let flag = |path: &BuilderPath| format!("--remap-path-prefix={}={}", path.folder.display(), path.name);
    Ok(of(workspace)?.iter().map(flag).collect())
}

/// Refuses a release in which one of these folders is written. `/root`, say, is a home too, but names nobody, and stands in the
/// documentation of crates.
///
/// # Errors
/// When a file names one, or cannot be read.
pub fn refuse(release: &Path, paths: &[BuilderPath]) -> Result {
    let telling = |path: &&BuilderPath| path.folder.components().count() > 2;
    let mut folders = vec![release.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path)?;
            for BuilderPath { folder, .. } in paths.iter().filter(telling) {
                let text = format!("{}/", folder.display());
                if let Some(place) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
                    let rest = &bytes[place..bytes.len().min(place + 160)];
                    let found: String =
                        rest.iter().take_while(|byte| byte.is_ascii_graphic()).map(|byte| *byte as char).collect();
                    return Err(format!(
                        "not to be published: {} holds a path of its builder: {found}",
                        path.display()
                    )
                    .into());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_builder_is_found_wherever_it_is() -> Result {
        let release = env::temp_dir().join(format!("zskt-release-{}", std::process::id()));
        fs::create_dir_all(release.join("sdk/crates"))?;
        let paths = ["/root", "/home/somebody"].map(|folder| BuilderPath { folder: folder.into(), name: "/home" });
        fs::write(release.join("sdk/crates/a.rmeta"), b"\0\x01/home/somebodys/x\0/root/file.txt\0")?;
        let clean = refuse(&release, &paths);
        fs::write(release.join("sdk/crates/b.so"), b"\0\x01/home/somebody/.cargo/z.rs\0")?;
        let found = refuse(&release, &paths).map_err(|error| error.to_string());
        fs::remove_dir_all(&release)?;
        clean?;
        let complaint = found.unwrap_err();
        assert!(complaint.contains("b.so holds a path of its builder: /home/somebody/.cargo/z.rs"), "{complaint}");
        Ok(())
    }
}
