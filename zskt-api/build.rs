//! Describes this build: whatever a loaded plugin must have been compiled against.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = String::from_utf8_lossy(&Command::new(rustc).arg("--version").output()?.stdout).trim().to_owned();
    let mut features: Vec<_> =
        env::vars().filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase())).collect();
    features.sort();
    let sources = hash_of(&["src", "build.rs", "Cargo.toml"])?;
    let tensor = ["src", "build", "build.rs", "Cargo.toml"].map(|file| format!("../zskt-tensor/{file}"));
    let tensor = hash_of(&tensor.each_ref().map(String::as_str))?;
    // Versions and features of all dependencies.
    let dependencies = hash_of(&["../Cargo.lock", "../Cargo.toml"])?;
    // What takes the place of a builder's folders says where they are, and changes no code.
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    let flags: Vec<_> = flags.split('\u{1f}').filter(|flag| !flag.starts_with("--remap-path-prefix=")).collect();
    let lines = [
        ("compiler", rustc),
        ("target", variable("TARGET")),
        ("target features", variable("CARGO_CFG_TARGET_FEATURE")),
        ("features", if features.is_empty() { "none".into() } else { features.join(" ") }),
        ("profile", format!("{}, opt-level {}", variable("PROFILE"), variable("OPT_LEVEL"))),
        ("compiler flags", flags.join(" ")),
        ("zskt-api", format!("{}, sources {sources:016x}", variable("CARGO_PKG_VERSION"))),
        ("zskt-tensor", format!("sources {tensor:016x}")),
        ("dependencies", format!("Cargo.lock and Cargo.toml {dependencies:016x}")),
    ];
    let text: String = lines.map(|(key, value)| format!("{key}: {value}\n")).concat();
    fs::write(Path::new(&variable("OUT_DIR")).join("image"), text)
}

/// A hash of files and of all files in folders; what is not there, as in a package from a registry, counts as empty.
fn hash_of(paths: &[&str]) -> io::Result<u64> {
    let mut hash = DefaultHasher::new();
    for path in paths {
        // To cargo, a file that is not there has changed.
        if Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
        let mut files = Vec::new();
        collect(Path::new(path), &mut files)?;
        files.sort();
        for file in files {
            (file.to_string_lossy(), fs::read(&file)?).hash(&mut hash);
        }
    }
    Ok(hash.finish())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}
