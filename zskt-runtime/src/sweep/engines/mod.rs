//! Programs that run a list of commands elsewhere, or here: Slurm, HyperQueue and GNU parallel.

mod hyperqueue;
mod parallel;
mod slurm;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use zskt_api::Diagnostic;

use super::record::SweepFolder;
use crate::run::{WayOut, write_file};

/// What runs the commands of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Slurm, as an array job: sbatch
    Slurm,
    /// HyperQueue: hq submit --each-line
    Hyperqueue,
    /// GNU parallel, on this machine or over ssh
    Parallel,
}

impl Engine {
    /// Whether its program is there: before anything is written for it.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(self) -> Result<(), Diagnostic> {
        let program = match self {
            Self::Slurm => slurm::PROGRAM,
            Self::Hyperqueue => hyperqueue::PROGRAM,
            Self::Parallel => parallel::PROGRAM,
        };
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let is_there = std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
        if is_there { Ok(()) } else { Err(not_started(program, &io::ErrorKind::NotFound.into())) }
    }
}

/// What is handed to an engine.
pub struct Submission<'s> {
    /// The folder of the sweep.
    pub folder: &'s SweepFolder,
    /// Its place, whatever the working directory.
    pub path: PathBuf,
    /// What the sweep is called.
    pub name: String,
    /// A command for each point of the sweep, one a line.
    pub commands: Vec<String>,
    /// Which of them are to be run, counted from zero.
    pub todo: Vec<usize>,
    /// How many at once.
    pub jobs: Option<usize>,
    /// What else the engine is told.
    pub options: Vec<String>,
    /// Whether to wait until all have ended.
    pub wait: bool,
}

impl Submission<'_> {
    /// Hands the commands over, and says what was done.
    ///
    /// # Errors
    /// When the engine is not there, or does not take them.
    pub fn submit(&self, engine: Engine) -> Result<String, Diagnostic> {
        let list =
            self.write("commands", &self.commands.iter().map(|command| format!("{command}\n")).collect::<String>())?;
        match engine {
            Engine::Slurm => slurm::submit(self, &list),
            Engine::Hyperqueue => hyperqueue::submit(self),
            Engine::Parallel => parallel::submit(self),
        }
    }

    /// Writes the commands that are to be run, and no others, for engines that run a whole file.
    fn write_todo(&self) -> Result<PathBuf, Diagnostic> {
        let todo: String = self.todo.iter().map(|place| format!("{}\n", self.commands[*place])).collect();
        self.write("commands.todo", &todo)
    }

    /// Writes a file into the sweep's folder, and gives its place, whatever the working directory.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Diagnostic> {
        write_file(&self.folder.path.join(name), WayOut::CopyOfSweep, |file| file.write_all(text.as_bytes()))
            .map_err(|error| Diagnostic::global(error.to_string()))?;
        Ok(self.path.join(name))
    }

    /// Where what the engine's programs say is kept.
    fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }
}

/// Runs an engine's program to its end, with what it says shown, and gives its standard output. One that `waits` ends as its runs do.
fn call(program: &str, arguments: &[OsString], waits: bool) -> Result<String, Diagnostic> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| not_started(program, &error))?;
    if !output.status.success() && (!waits || output.stdout.is_empty()) {
        return Err(Diagnostic::global(format!("{program} did not take the sweep: it ended with {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn not_started(program: &str, error: &io::Error) -> Diagnostic {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => Diagnostic::global(format!("there is no program `{program}` here")),
        _ => Diagnostic::global(format!("`{program}` cannot be started: {error}")),
    };
    problem.help("--list prints the commands, for whatever runs them")
}

fn text(path: &Path) -> OsString {
    path.as_os_str().to_owned()
}
