//! Lets the tests find zskt's libraries: from `target/debug/deps`, or one folder deeper with `--target`.

use std::path::Path;

fn main() {
    let origin = if cfg!(target_os = "macos") {
        "@loader_path"
    } else {
        "$ORIGIN"
    };
    let mut places = vec![
        format!("{origin}/../../../.zskt"),
        format!("{origin}/../../../../.zskt"),
    ];
    let out = std::env::var("OUT_DIR").unwrap();
    if !Path::new(&out)
        .ancestors()
        .any(|folder| folder.join(".zskt").exists())
    {
        // What is built lies elsewhere.
        places.push(format!(
            "{}/.zskt",
            std::env::var("CARGO_MANIFEST_DIR").unwrap()
        ));
    }
    for place in places {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{place}/sdk/lib:{place}/sdk/std");
    }
}
