//! Checks the compiler, and says where the program's library and the metadata of its crates lie.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// With another image, this is another program, and runs again.
const _: Option<&str> = option_env!("CARGO_PKG_DESCRIPTION");

fn main() {
    let sdk = env::var("CARGO_MANIFEST_DIR").unwrap();
    // Of a release for GPUs.
    let native = Some("native").filter(|folder| Path::new(&sdk).join(folder).exists());
    for file in ["rustc-version", "image.sha256", "lib", "crates"].into_iter().chain(native) {
        println!("cargo::rerun-if-changed={sdk}/{file}");
    }
    let rustc = |arguments: &[&str]| {
        let output = Command::new(env::var_os("RUSTC").unwrap()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (needed, found) = (fs::read_to_string(format!("{sdk}/rustc-version")).unwrap(), rustc(&["-vV"]));
    if needed != found {
        let version = needed.split_whitespace().nth(1).unwrap_or_default();
        let [needed, found] = [&needed, &found].map(|text| text.lines().next().unwrap_or_default());
        println!(
            "cargo::error=this SDK was made with `{needed}`, and this is `{found}`: write `channel = \"{version}\"` into \
             rust-toolchain.toml, or run `cargo +{version} build --release`"
        );
        return;
    }
    // Cargo tells tests of folders below its own only.
    let here = Path::new(&env::var_os("OUT_DIR").unwrap()).join("sdk");
    link_folder(Path::new(&sdk), &here);
    let here = here.display();
    println!("cargo::rustc-link-search=crate={here}/lib");
    println!("cargo::rustc-link-search=dependency={here}/lib");
    println!("cargo::rustc-link-search=dependency={here}/crates");
    if let Some(native) = native {
        println!("cargo::rustc-link-search=native={here}/{native}");
    }
}

fn link_folder(folder: &Path, link: &Path) {
    if link.is_symlink() {
        fs::remove_file(link).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder, link).unwrap();
}
