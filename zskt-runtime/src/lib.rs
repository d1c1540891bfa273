//! Reads a pipeline, proves it sound and runs it. Which plugins there are is decided by the program that links this.

mod check;
mod cli;
mod commands;
mod diagnostics;
mod draw;
mod inspect;
mod pipeline;
mod plan;
mod run;
mod size;
mod wording;

pub use check::prove;
pub use diagnostics::render;
pub use draw::{Picture, dot, mermaid, svg};
pub use inspect::{describe, list};
pub use pipeline::Texts;
pub use plan::{DataFreeProof, Plan, PlanEdge, PlanNode};

use std::process::ExitCode;

/// The program `zskt-run`, with the plugins that are linked in.
pub fn main() -> ExitCode {
    commands::execute(std::env::args_os().collect())
}
