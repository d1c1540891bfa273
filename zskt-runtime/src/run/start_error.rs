//! Why a run does not start.

use zskt_api::{Diagnostic, Error};

/// Why a run does not start.
pub enum StartError {
    /// What was asked for cannot be done, and nothing was run.
    Refused(Diagnostic),
    /// Something failed, or the user asked to stop.
    Failed(Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Diagnostic> for StartError {
    fn from(problem: Diagnostic) -> Self {
        Self::Refused(problem)
    }
}
