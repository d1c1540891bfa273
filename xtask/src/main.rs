//! `cargo xtask dist [DIR]`: builds a release, and lays out `bin/`, `lib/` and `sdk/` in a folder that may be moved.
//! `cargo xtask publish [DIR]`: the same to be given to others, built on its own; no file of it holds a path of its builder.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use xtask::{Build, Result, dist};

fn main() -> ExitCode {
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (build, folder) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["dist"] => (Build::Program, "target/dist"),
        ["publish"] => (Build::Published, "target/publish"),
        ["dist", folder] if !folder.starts_with('-') => (Build::Program, folder),
        ["publish", folder] if !folder.starts_with('-') => (Build::Published, folder),
        _ => return Err("usage: cargo xtask dist|publish [DIR]".into()),
    };
    dist(Path::new(folder), build)?;
    println!("{folder}");
    Ok(())
}
