//! The command line: what can be asked of the program, what each command does, and how problems are shown.

mod arguments;
mod commands;
mod diagnostics;
mod inspect;

pub use commands::execute;
pub use diagnostics::render;
