//! What the documentation shows is what the program takes: each command in it, each snippet of a pipeline, each link.

mod commands;
mod links;
mod pipelines;

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the sources.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Everything that is read, each with its place in the sources.
fn pages() -> Vec<(PathBuf, String)> {
    let mut files: Vec<_> =
        ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"].map(PathBuf::from).into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            files.push(Path::new("docs").join(path.file_name().unwrap()));
        }
    }
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read_to_string(root().join(file)).unwrap())).collect()
}

/// A block of code.
struct Block {
    /// The page and the line that it begins in.
    place: String,
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for (page, text) in pages() {
        let mut open: Option<Block> = None;
        for (number, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    let place = format!("{}:{}", page.display(), number + 1);
                    open = Some(Block { place, language: language.to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block of code has no end", page.display());
    }
    blocks
}

/// The page without its blocks of code.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect()
}

#[test]
fn every_block_names_its_language() {
    for block in blocks() {
        let known = ["json", "python", "ron", "rust", "sh", "text", "toml"];
        assert!(known.contains(&block.language.as_str()), "{}: `{}`", block.place, block.language);
    }
}
