//! Sources of zskt, and where cargo has its files.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, archive};

/// Sources of zskt, and where cargo has its files.
pub struct Workspace {
    /// The folder of the sources.
    pub root: PathBuf,
    /// Where a release is built.
    pub target: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub cargo_home: PathBuf,
    /// What is built beyond the default features of zskt-runtime.
    pub features: BTreeSet<String>,
}

impl Workspace {
    /// Those that this very code is part of.
    ///
    /// # Errors
    /// When the home folder is not known.
    pub fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace is gone")?.to_owned();
        let home = || env::home_dir().ok_or("the home folder is not known");
        let cargo_home = match env::var_os("CARGO_HOME") {
            Some(folder) => folder.into(),
            None => home()?.join(".cargo"),
        };
        Ok(Self { target: root.join("target/published"), root, cargo_home, features: BTreeSet::new() })
    }

    /// Files below some of its folders, or these files themselves, each as its place in the sources. In a checkout, what git ignores is none of
    /// them: editors and interpreters leave files that are nobody else's.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&self, places: &[&str]) -> Result<Vec<PathBuf>> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"];
        if let Some(listed) = self.git(&[&list[..], places].concat()) {
            let files = listed.split('\0').filter(|file| !file.is_empty()).map(PathBuf::from);
            // One that is removed and not committed is listed, too.
            return Ok(files.filter(|file| self.root.join(file).is_file()).collect());
        }
        let mut all = Vec::new();
        for place in places {
            if self.root.join(place).is_dir() {
                all.extend(archive::files(&self.root.join(place))?.iter().map(|file| Path::new(place).join(file)));
            } else {
                all.push(PathBuf::from(place));
            }
        }
        Ok(all)
    }

    /// What is not as it was committed, as `git status` shows it; nothing where the sources are no checkout.
    pub fn uncommitted(&self) -> Vec<String> {
        let status = self.git(&["status", "--porcelain"]).unwrap_or_default();
        status.lines().map(str::to_owned).collect()
    }

    /// What git says; nothing where the sources are no checkout of their own, or there is no git.
    fn git(&self, arguments: &[&str]) -> Option<String> {
        if !self.root.join(".git").exists() {
            return None;
        }
        let output = Command::new("git").arg("-C").arg(&self.root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
    }

    /// Cargo in it, as a shell would start it: where a cargo runs this code, it has told of a package that has no part in what is built,
    /// and build scripts that ask would be run anew.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let of_a_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "OUT_DIR"];
            if name.to_str().is_some_and(|name| of_a_package.iter().any(|prefix| name.starts_with(prefix))) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.root).env("CARGO_HOME", &self.cargo_home);
        command
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_git_ignores_is_no_part_of_the_sources() -> Result {
        let root = env::temp_dir().join(format!("zskt-sources-{}", std::process::id()));
        let workspace = Workspace { root: root.clone(), ..Workspace::here()? };
        fs::create_dir_all(root.join("docs/deep"))?;
        for file in ["README.md", "docs/deep/page.md", "docs/page.md~", "other"] {
            fs::write(root.join(file), "")?;
        }
        fs::write(root.join(".gitignore"), "*~\n")?;
        let files = || workspace.files(&["README.md", "docs"]);
        let unpacked = files()?;
        let no_checkout = workspace.uncommitted();
        let made = Command::new("git").args(["init", "--quiet"]).current_dir(&root).status()?;
        let (checkout, uncommitted) = (files()?, workspace.uncommitted());
        fs::remove_dir_all(&root)?;
        assert!(made.success() && no_checkout.is_empty());
        assert_eq!(unpacked, ["README.md", "docs/deep/page.md", "docs/page.md~"].map(PathBuf::from));
        assert_eq!(checkout, ["README.md", "docs/deep/page.md"].map(PathBuf::from));
        assert_eq!(uncommitted, ["?? .gitignore", "?? README.md", "?? docs/", "?? other"]);
        Ok(())
    }
}
