//! `cargo xtask dist [DIR]`: builds a release, and lays out `bin/`, `lib/` and `sdk/` in a folder that may be moved.

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
    let folder = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["dist"] => "target/dist",
        ["dist", folder] if !folder.starts_with('-') => folder,
        _ => return Err("usage: cargo xtask dist [DIR]".into()),
    };
    dist(Path::new(folder), Build::Program)?;
    println!("{folder}");
    Ok(())
}
