//! The command line: what can be asked of the program, what each command does, and how problems are shown.

mod arguments;
mod commands;
mod diagnostics;
mod inspect;
mod libraries;
mod manual;
mod reference;
mod runs;
mod sweep;
mod version;

#[cfg(test)]
pub use arguments::Cli;
pub use commands::execute;
pub use diagnostics::render;
