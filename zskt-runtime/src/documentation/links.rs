//! Links lead somewhere, and every page is in the book.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::{pages, prose, root};

/// What `[text](target)` and `<img src="target">` lead to.
fn targets(text: &str) -> Vec<String> {
    let text = prose(text);
    let ends = |begin: &str, end: char| -> Vec<String> {
        text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0.to_owned())).collect()
    };
    let all = [ends("](", ')'), ends("src=\"", '"'), ends("href=\"", '"')].concat();
    all.into_iter().filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The anchors of a page: its headings as forges and mdBook write them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A path without `..` in it.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(out.pop(), "{} leads out of the sources", path.display()),
            part => out.push(part),
        }
    }
    out
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut dead = Vec::new();
    for (page, text) in &pages {
        for target in targets(text) {
            let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(file, it)| (file, Some(it)));
            let path = if file.is_empty() { page.clone() } else { normal(&page.with_file_name("").join(file)) };
            let has = |anchor: &str| match pages.iter().find(|(page, _)| *page == path) {
                Some((_, text)) => anchors(text).contains(anchor),
                None => anchors(&fs::read_to_string(root().join(&path)).unwrap_or_default()).contains(anchor),
            };
            if !root().join(&path).exists() || anchor.is_some_and(|anchor| !has(anchor)) {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_page_is_in_the_book() {
    let (_, summary) = pages()
        .into_iter()
        .find(|(page, _)| page.ends_with("docs/SUMMARY.md"))
        .expect("the book has a table of contents");
    let listed: BTreeSet<_> = targets(&summary).into_iter().map(PathBuf::from).collect();
    for (page, _) in pages() {
        let Ok(page) = page.strip_prefix("docs") else { continue };
        assert!(page == Path::new("SUMMARY.md") || listed.contains(page), "{} is not in SUMMARY.md", page.display());
    }
}
