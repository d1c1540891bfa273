//! Tells the program where the shared image lies, and the manifest of a run which compiler made the program.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = |arguments: &[&str]| -> Option<String> {
        let output = Command::new(env::var_os("RUSTC")?).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if let Some(version) = rustc(&["--version"]) {
        println!("cargo:rustc-env=ZSKT_RUSTC={version}");
    }
    if env::var_os("CARGO_FEATURE_DYNAMIC").is_none() || env::var("CARGO_CFG_TARGET_FAMILY").as_deref() != Ok("unix") {
        return;
    }
    // As released (`bin/` beside `lib/`), then as built by cargo; std's own library is the toolchain's until it is released.
    let target = env::var("TARGET").unwrap_or_default();
    let std = rustc(&["--print", "target-libdir", "--target", &target]).unwrap_or_default();
    let origin = if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        "@loader_path"
    } else {
        // Before LD_LIBRARY_PATH, which may lead to the image of another build.
        println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
        "$ORIGIN"
    };
    for folder in [&format!("{origin}/../lib"), origin, &format!("{origin}/.."), &std] {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
