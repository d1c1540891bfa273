//! Tells the program where the shared image lies, which compiler made it, and for what machine.

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
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=ZSKT_TARGET={target}");
    if env::var_os("CARGO_FEATURE_DYNAMIC").is_none() || env::var("CARGO_CFG_TARGET_FAMILY").as_deref() != Ok("unix") {
        return;
    }
    let origin = if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        "@loader_path"
    } else {
        // Before LD_LIBRARY_PATH, which may lead to the image of another build.
        println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
        "$ORIGIN"
    };
    // As released: `bin/` beside `lib/`.
    let mut folders = vec![format!("{origin}/../lib")];
    // As built by cargo; std's own library is then the toolchain's. A release names no folder of whoever builds it.
    println!("cargo:rerun-if-env-changed=ZSKT_RELEASE");
    if env::var_os("ZSKT_RELEASE").is_none() {
        let std = rustc(&["--print", "target-libdir", "--target", &target]).unwrap_or_default();
        folders.extend([origin.to_owned(), format!("{origin}/.."), std]);
    }
    for folder in folders {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
