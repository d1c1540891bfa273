//! Sources of zskt, and where cargo has its files.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

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
