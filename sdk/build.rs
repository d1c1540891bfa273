//! Checks the compiler, and says where the program's library and the metadata of its crates lie.

use std::process::Command;
use std::{env, fs};

fn main() {
    let sdk = env::var("CARGO_MANIFEST_DIR").unwrap();
    for file in ["rustc-version", "image.sha256", "lib", "crates"] {
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
    println!("cargo::rustc-link-search=crate={sdk}/lib");
    println!("cargo::rustc-link-search=dependency={sdk}/lib");
    println!("cargo::rustc-link-search=dependency={sdk}/crates");
}
