//! Links between pages that lie elsewhere than in the sources, or without some of what is beside them there.

use std::path::{Component, Path, PathBuf};

/// The text of a page that lies at `place` in the sources, with links to where `to` says that what they name now is, as a path from the page. What is nowhere is
/// named without a link.
pub fn redirected(text: &str, place: &Path, to: impl Fn(&Path) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((target, after)) = after.split_once(')') else { break };
        rest = after;
        let (file, anchor) = target.split_at(target.find('#').unwrap_or(target.len()));
        if file.is_empty() || target.contains("://") {
            out += &format!("{before}]({target})");
            continue;
        }
        if let Some(there) = to(&normal(&place.with_file_name("").join(file))) {
            out += &format!("{before}]({there}{anchor})");
            continue;
        }
        // `[text](…)` becomes `text`; of a picture nothing is left.
        match before.rfind('[') {
            Some(at) if before[..at].ends_with('!') => out += &before[..at - 1],
            Some(at) => out += &format!("{}{}", &before[..at], &before[at + 1..]),
            None => out += before,
        }
    }
    out + rest
}

/// A path without `..` in it.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        if part == Component::ParentDir {
            out.pop();
        } else {
            out.push(part);
        }
        out
    })
}
