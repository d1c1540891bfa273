//! The licences of all that a release is made of, in one file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use cargo_metadata::{Metadata, Package};

use crate::cargo::{packages_of, rustc};
use crate::{Result, archive};

/// What comes with no package: a script that is part of every `report.html`.
const PLOTS: (&str, &str) = ("uPlot (JavaScript)", "zskt-runtime/src/report_page/uplot");

/// How the files are called that hold licences, and the ends of those that only sound like it.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
const NO_TEXTS: [&str; 6] = ["rs", "py", "json", "toml", "html", "yml"];

/// Every licence text of the crates once, below the names of those that come under it.
///
/// # Errors
/// When a package has no licence that is known, or a file cannot be read.
pub fn of_dependencies(root: &Path, metadata: &Metadata) -> Result<String> {
    // Texts, and who comes under them.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for id in packages_of(metadata, "zskt-runtime", true)? {
        let package = &metadata[&id];
        if package.source.is_none() {
            continue;
        }
        let name = format!("{} {}", package.name, package.version);
        writeln!(list, "{name}: {}", package.license.as_deref().unwrap_or("see below"))?;
        for text in texts_of(package)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    writeln!(list, "{}", PLOTS.0)?;
    for text in licence_files(&root.join(PLOTS.1))? {
        texts.entry(text).or_default().push(PLOTS.0.to_owned());
    }
    let mut all = format!("What zskt-run is made of, beside zskt itself and Rust's standard library.\n\n{list}");
    let mut texts: Vec<_> = texts.into_iter().map(|(text, names)| (names, text)).collect();
    texts.sort();
    for (names, text) in texts {
        write!(all, "\n{}\n{}:\n\n{text}\n", "=".repeat(100), names.join(", "))?;
    }
    Ok(all)
}

/// What the toolchain says of the licences of std, which is a page of every release.
///
/// # Errors
/// When the toolchain does not have it.
pub fn of_standard_library() -> Result<Vec<u8>> {
    let page = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    let missing = |error| format!("{}: {error}; `rustup component add rust-docs` brings it", page.display());
    Ok(fs::read(&page).map_err(missing)?)
}

/// What a package says itself; where it says nothing, the text of the licence that it names.
fn texts_of(package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().ok_or("a manifest is in a folder")?;
    let found = licence_files(folder.as_std_path())?;
    if !found.is_empty() {
        return Ok(found);
    }
    let unknown = || format!("{} {} has no licence that is known", package.name, package.version);
    let expression = spdx::Expression::parse(package.license.as_deref().ok_or_else(unknown)?)?;
    let authors = package.authors.join(", ");
    let texts = expression.requirements().filter_map(|needed| Some(needed.req.license.id()?.text()));
    let texts: Vec<_> = texts.map(|text| format!("Copyright (c) {authors}\n\n{}", tidy(text))).collect();
    if texts.is_empty() { Err(unknown().into()) } else { Ok(texts) }
}

/// The texts of files that are called as licences are, also those of what a package has within it.
fn licence_files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for file in archive::files(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let end = file.extension().unwrap_or_default();
        if NAMES.iter().any(|it| name.starts_with(it)) && !NO_TEXTS.iter().any(|it| end == *it) {
            let text = tidy(&String::from_utf8_lossy(&fs::read(folder.join(file))?));
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    Ok(texts)
}

/// The same text is the same whoever wrote its lines' ends.
fn tidy(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}
