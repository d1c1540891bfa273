//! The files of a run that a checkpoint can bring back.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use candle_core::Tensor;
use zskt_api::Result;

use crate::input_file;
use crate::pipeline::resumed_part;
use crate::run::record::{manifest, notice, report};
use crate::run::resume::{ResumeState, RunDirectory, cannot_read};

/// Writes what is damaged or missing again: the pipeline, the manifest, the weights of finished stages, and the report of a
/// finished run.
///
/// # Errors
/// When weights were trained on since, or a file cannot be read or written.
pub fn restore_files(
    directory: &RunDirectory,
    state: &ResumeState,
    networks: &BTreeMap<String, BTreeMap<String, Tensor>>,
    best: &BTreeMap<String, BTreeMap<String, Tensor>>,
) -> Result<()> {
    restore(directory, &directory.pipeline(), state.pipeline.as_bytes())?;
    manifest::restore(directory, &state.manifest, notice)?;
    if let Some(report) = &state.report {
        restore(directory, &directory.report(), &report::text(report))?;
    }
    for stage in &state.finished {
        let weights = stage.network.as_ref().and_then(|network| networks.get(network));
        if let Some(file) = &stage.weights {
            file.restore(directory, &stage.node, weights, notice)?;
        }
        if let Some(file) = &stage.best {
            file.restore(directory, &stage.node, best.get(&stage.node), notice)?;
        }
    }
    Ok(())
}

/// Writes down what the pipeline now says of its figures, where it runs and where its libraries lie: none is part of what is computed, and all may
/// change before a run goes on. What the run has `written` itself gives way, too, to the same as this version of zskt writes it.
///
/// # Errors
/// When it cannot be written.
pub fn adopt_pipeline(directory: &RunDirectory, resolved: &str, written: &str) -> Result<()> {
    let path = directory.pipeline();
    let found = input_file::read_whole(&path).ok().and_then(|found| String::from_utf8(found).ok());
    match found {
        Some(found) if found != resolved && (found == written || resumed_part(&found) == resumed_part(resolved)) => {
            directory.write(&path, resolved.as_bytes())
        }
        _ => Ok(()),
    }
}

fn restore(directory: &RunDirectory, path: &Path, expected: &[u8]) -> Result<()> {
    match input_file::read_whole(path) {
        Ok(found) if found == expected => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot_read(path, error)),
        _ => notice(&directory.write_again(path, expected)?),
    }
    Ok(())
}
