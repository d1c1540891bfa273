//! What a user sees while a pipeline runs.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// For whom standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// A person at a terminal: milestones, and one live line.
    Terminal,
    /// A file or a pipe: milestones, and now and then a line of progress.
    Lines,
    /// Nobody, until the end.
    Quiet,
    /// A program: JSON, one object per line.
    Json,
}

/// The terminal, or what is used in its place. That nobody listens any more, as behind `| head`, or that a disk is full does not stop a run:
/// its folder is what counts.
pub struct Console {
    mode: OutputMode,
    out: Box<dyn Write>,
    live: bool,
    lost: Option<io::Error>,
}

impl Console {
    /// In the mode that the options and the streams imply.
    pub fn new(quiet: bool, json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let mode = match (json, quiet) {
            (true, _) => OutputMode::Json,
            (false, true) => OutputMode::Quiet,
            _ if io::stdout().is_terminal() && io::stderr().is_terminal() && !dumb => OutputMode::Terminal,
            _ => OutputMode::Lines,
        };
        Self::writing_to(Box::new(io::stdout()), mode)
    }

    /// In this mode, with something in place of standard output.
    pub fn writing_to(out: Box<dyn Write>, mode: OutputMode) -> Self {
        Self { mode, out, live: false, lost: None }
    }

    /// For whom standard output is.
    pub fn mode(&self) -> OutputMode {
        self.mode
    }

    /// A milestone.
    pub fn line(&mut self, text: &str) {
        if matches!(self.mode, OutputMode::Terminal | OutputMode::Lines) {
            self.print(text);
        }
    }

    /// Where the run is kept; a program finds that beside its objects, on standard error.
    pub fn run_directory(&mut self, text: &str) {
        match self.mode {
            OutputMode::Json => notice(text),
            _ => self.line(text),
        }
    }

    /// A result, which even a quiet run shows.
    pub fn result(&mut self, text: &str) {
        if self.mode != OutputMode::Json {
            self.print(text);
        }
    }

    /// An object for a program.
    pub fn json(&mut self, object: &Value) {
        if self.mode == OutputMode::Json {
            self.print(&object.to_string());
        }
    }

    /// Why objects for a program that reads could not be written, if so.
    pub fn lost_objects(&self) -> Option<&io::Error> {
        self.lost.as_ref().filter(|_| self.mode == OutputMode::Json)
    }

    /// What the live line says from now on.
    pub fn live(&mut self, text: &str) {
        if self.mode == OutputMode::Terminal {
            // Without line wrap, what is too long for the terminal is cut, not spread over lines that stay.
            let _ = write!(io::stderr(), "\r\x1b[K\x1b[?7l{text}\x1b[?7h");
            self.live = true;
        }
    }

    /// Removes the live line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.live) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn print(&mut self, text: &str) {
        self.clear();
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        // Who left did not want the rest.
        let failure = written.err().filter(|failure| failure.kind() != io::ErrorKind::BrokenPipe);
        self.lost = self.lost.take().or(failure);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Tells what every user must know, whatever standard output is for.
pub fn notice(text: &str) {
    // What tests are told is for their harness to show, when one fails.
    #[cfg(test)]
    eprintln!("{text}");
    #[cfg(not(test))]
    let _ = writeln!(io::stderr(), "{text}");
}
