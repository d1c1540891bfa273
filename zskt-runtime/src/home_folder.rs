//! `~`: shells put the home folder in its place where it begins a word; in pipelines and after `=` it stays as it is.

use std::env;
use std::path::Path;

/// What to write instead of a path that begins with `~`.
pub fn hint(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("~").ok()?;
    let written =
        env::home_dir().map_or_else(|| "the whole path".into(), |home| home.join(inside).display().to_string());
    Some(format!("`~` is not expanded here: write {written}"))
}
