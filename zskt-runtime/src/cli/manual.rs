//! What others show of the program: completions of shells, pages for `man`, and the reference for the book.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use zskt_api::{Diagnostic, Registry};

use super::arguments::Cli;
use super::reference;
use crate::text_format::reason;

/// What completes its command line in a shell.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zskt-run", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Writes pages for `man` into `man1`, one for each command, and the reference as Markdown into `reference`.
///
/// # Errors
/// When they cannot be written.
pub fn write(folder: &Path, registry: &Registry) -> Result<(), Diagnostic> {
    let cannot =
        |error: io::Error| Diagnostic::global(format!("cannot write into {}: {}", folder.display(), reason(&error)));
    for part in ["man1", "reference"] {
        fs::create_dir_all(folder.join(part)).map_err(cannot)?;
    }
    let command = Cli::command().version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder.join("man1")).map_err(cannot)?;
    for (name, text) in reference::pages(registry) {
        fs::write(folder.join("reference").join(name), text).map_err(cannot)?;
    }
    Ok(())
}
