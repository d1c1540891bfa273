//! Where a metric's files go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folders in which a metric may leave files of any kind. They are made when they are first asked for.
///
/// In a run they are `measurements/<node>` and, for each evaluation, `measurements/<node>/<stage>-<batch>` with seven digits of the batch,
/// or `measurements/<node>/start` where no stage leads to the metric. A run that goes on from a checkpoint does again what came after it,
/// so a file may be there already: what is written then takes its place. `runs prune` removes them with the run.
#[derive(Clone, Debug)]
pub struct MetricFiles {
    shared: PathBuf,
    own: PathBuf,
}

impl MetricFiles {
    /// Of an evaluation of this name, in the folder of a node.
    pub fn new(node: PathBuf, evaluation: &str) -> Self {
        Self { own: node.join(evaluation), shared: node }
    }

    /// The folder of this evaluation alone, which no other writes to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_evaluation(&self) -> Result<&Path> {
        self.of_all_evaluations()?;
        make(&self.own)?;
        Ok(&self.own)
    }

    /// The folder of all evaluations of the metric, for what grows from one to the next or is to be there once.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of_all_evaluations(&self) -> Result<&Path> {
        // The folder of a run that was taken away is not made anew.
        self.shared.parent().map_or(Ok(()), make)?;
        make(&self.shared)?;
        Ok(&self.shared)
    }
}

fn make(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::new(format!("{} cannot be made: {error}", folder.display())))
        }
        _ => Ok(()),
    }
}
