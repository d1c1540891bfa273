//! The weights files of finished stages, which a checkpoint can bring back.

use std::collections::BTreeMap;
use std::io;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use zskt_api::{Error, Result};

use super::checkpoint::{FinishedStage, not_finite};
use super::file_error::cannot_read;
use super::run_directory::RunDirectory;
use super::tensor_file;
use crate::{checksum, input_file};

/// A file with the weights of a trained network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightsFile {
    /// Its name without the ending.
    pub name: String,
    /// The SHA-256 sum of its contents, in hexadecimal digits.
    sha256: String,
}

impl WeightsFile {
    /// Writes the weights of a trained network under PyTorch's names.
    ///
    /// # Errors
    /// When they are not finite, or cannot be written.
    pub fn write(
        directory: &RunDirectory,
        name: &str,
        network: &str,
        weights: &BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let bytes = tensor_file::encode_weights(weights)?;
        if let Some(weight) = tensor_file::first_not_finite(&bytes)? {
            return Err(not_finite(&format!("`{weight}` of network `{network}`")));
        }
        directory.write(&directory.weights(name), &bytes)?;
        Ok(Self { name: name.to_owned(), sha256: checksum::of_bytes(&bytes) })
    }
}

/// Looks after the weights files of the stages that are finished: one that is damaged or missing is written again, and told.
///
/// # Errors
/// When the networks do not have the weights any more, because a later stage has trained them on, or a file cannot be
/// read or written.
pub fn restore(
    directory: &RunDirectory,
    finished: &[FinishedStage],
    networks: &BTreeMap<String, BTreeMap<String, Tensor>>,
    mut tell: impl FnMut(&str),
) -> Result<()> {
    for stage in finished {
        let Some(WeightsFile { name, sha256 }) = &stage.weights else { continue };
        let path = directory.weights(name);
        let problem = match input_file::read_whole(&path) {
            Ok(bytes) if checksum::of_bytes(&bytes) == *sha256 => continue,
            Ok(_) => "is not what the run wrote",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing",
            Err(error) => return Err(cannot_read(&path, error)),
        };
        let weights = stage.network.as_ref().and_then(|network| networks.get(network));
        let bytes = weights.map(tensor_file::encode_weights).transpose()?;
        let path_shown = path.display();
        let Some(bytes) = bytes.filter(|bytes| checksum::of_bytes(bytes) == *sha256) else {
            return Err(Error::new(format!(
                "{path_shown} {problem}, and cannot be written again: stage `{}` gave these weights, and they were trained on since; \
                 restore the file, or run the pipeline anew",
                stage.node
            )));
        };
        tell(&directory.write_again(&path, &bytes)?);
    }
    Ok(())
}
