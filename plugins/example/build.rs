//! Lets the tests find zskt's libraries: from `target/debug/deps`, or one folder deeper with `--target`.

use std::env;
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
    // Examples in documentation are built elsewhere. A library that is shipped names no folder of this machine.
    let here = env::var("CARGO_MANIFEST_DIR").unwrap();
    let mut folders = Path::new(&here).ancestors().map(|it| it.join(".zskt"));
    if env::var("PROFILE").as_deref() != Ok("release")
        && let Some(place) = folders.find(|place| place.exists())
    {
        places.push(place.display().to_string());
    }
    for place in places {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{place}/sdk/lib:{place}/sdk/std");
    }
}
