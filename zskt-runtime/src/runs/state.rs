//! How far a run is.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::log::{Log, LoggedEnd};
use crate::run::RunFiles;

/// The last line of a log is not longer.
const TAIL: u64 = 64 << 10;

/// How a finished run is called whose figures do not lie where its pipeline expects them.
pub const NOT_AS_EXPECTED: &str = "finished, not as expected";

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// A program writes to it.
    Running,
    /// It came to its end.
    Finished,
    /// It was asked to stop, and can go on.
    Interrupted,
    /// Its budget was used up, and it can go on.
    OutOfBudget,
    /// It failed: why.
    Failed(String),
    /// It ended without a word: it was killed, or the machine stopped. It can go on from its last checkpoint.
    Killed,
}

impl RunState {
    /// Of the run with these files.
    pub fn read(files: &RunFiles, finished: bool) -> Self {
        if is_locked(files.path()) { Self::Running } else { Self::at_rest(files, finished) }
    }

    /// Of the run with these files, which no program writes to.
    pub fn at_rest(files: &RunFiles, finished: bool) -> Self {
        if finished {
            return Self::Finished;
        }
        match last_word(&files.metrics()) {
            Some(LoggedEnd::Interrupted) => Self::Interrupted,
            Some(LoggedEnd::OutOfBudget) => Self::OutOfBudget,
            Some(LoggedEnd::Failed(why)) => Self::Failed(why),
            None => Self::Killed,
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => out.write_str("running"),
            Self::Finished => out.write_str("finished"),
            Self::Interrupted => out.write_str("interrupted"),
            Self::OutOfBudget => out.write_str("out of budget"),
            Self::Failed(_) => out.write_str("failed"),
            Self::Killed => out.write_str("killed"),
        }
    }
}

/// Whether a program writes to a run's folder.
pub fn is_locked(folder: &Path) -> bool {
    // Shared, so that two who look do not see each other; it ends with the file.
    File::open(folder).is_ok_and(|folder| matches!(folder.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// What a log says of its end.
fn last_word(metrics: &Path) -> Option<LoggedEnd> {
    let mut file = File::open(metrics).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let mut log = Log::default();
    log.add_line(tail.lines().last()?);
    log.end
}
