//! `zskt-run runs`: what is known of runs that were made before.

mod diff;
mod list;
mod prune;
mod show;
mod verify;

use std::fs;
use std::path::Path;

use zskt_api::{Diagnostic, Registry};

pub use self::prune::Pruned;
use super::arguments::RunsCommand;
use crate::text_format;

/// What a command has to say.
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// What is wrong with what was asked about.
    pub complaint: Option<String>,
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self { text, complaint: None }
    }
}

/// Does what a command asks for.
///
/// # Errors
/// When what it names is not a run, or cannot be read.
pub fn execute(command: Option<&RunsCommand>, registry: &Registry) -> Result<Answer, Diagnostic> {
    match command {
        None => list::list(&list::Request { folders: &[], sort: None, ascending: false, json: false }, registry),
        Some(RunsCommand::List { folders, sort, ascending, json }) => {
            list::list(&list::Request { folders, sort: sort.as_deref(), ascending: *ascending, json: *json }, registry)
        }
        Some(RunsCommand::Show { run, json }) => show::show(run, *json, registry),
        Some(RunsCommand::Diff { runs, json }) => diff::diff(runs, *json, registry).map(Answer::from),
        Some(RunsCommand::Verify { runs, json }) => verify::verify(runs, *json),
        Some(RunsCommand::Prune { folders, what, older_than, dry: _, yes }) => {
            prune::prune(&prune::Request { folders, what, older_than: *older_than, yes: *yes })
        }
    }
}

/// A figure of this key as tables have it: `0.9570`, `752`, `3543.21`, `1.200e-7`, `5.95 TFLOP`, `103 MB`.
fn figure(key: &str, value: f64) -> String {
    match value.abs() {
        _ if key == "flop" || key.ends_with(".flop") => text_format::flop(value),
        _ if key == "peak_memory_bytes" => text_format::bytes(value as u64),
        _ if value == value.trunc() && value.abs() < 1e15 => format!("{value}"),
        1e-3..1.0 => format!("{value:.4}"),
        1.0..1e6 => format!("{value:.2}"),
        _ => format!("{value:.3e}"),
    }
}

/// A text of a file, fit for a cell of a table.
fn cell(text: &str) -> String {
    const LONGEST: usize = 40;
    let line = text_format::one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// `2026-11-22 11:06:08` of `2026-11-22T11:06:08.125Z`.
fn moment(timestamp: &str) -> String {
    text_format::one_line(timestamp).chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// The bytes of all files in a folder; links count for nothing.
fn disk_bytes(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if metadata.is_file() {
        return metadata.len();
    }
    if !metadata.is_dir() {
        return 0;
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| disk_bytes(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::{cell, figure, moment};

    #[test]
    fn cells_are_short() {
        let figures = [0.957, 752.0, 3543.21, -1.2e-7, 0.0].map(|value| figure("a.b", value));
        assert_eq!(figures, ["0.9570", "752", "3543.21", "-1.200e-7", "0"]);
        assert_eq!(figure("a.b", f64::NAN), "NaN");
        assert_eq!(figure("distill.flop", 5.95e12), "5.95 TFLOP");
        assert_eq!(cell("a\nb"), "a␊b");
        assert_eq!(cell(&"ü".repeat(50)).chars().count(), 41);
        assert_eq!(moment("2026-11-22T11:06:08.125Z"), "2026-11-22 11:06:08");
    }
}
