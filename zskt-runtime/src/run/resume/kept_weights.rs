//! The weights files of finished stages, which a checkpoint can bring back.

use std::collections::BTreeMap;
use std::io;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use zskt_api::{Error, Result};

use super::file_error::cannot_read;
use super::run_directory::RunDirectory;
use super::tensor_file::{self, not_finite};
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
    /// Its name with the ending.
    pub fn file_name(&self) -> String {
        format!("{}.safetensors", self.name)
    }

    /// The SHA-256 sum of its contents, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

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

    /// Writes the file again where it is damaged or missing, and tells of it; `weights` are those that the network of `stage` has now.
    ///
    /// # Errors
    /// When these are others, because a later stage has trained them on, or the file cannot be read or written.
    pub fn restore(
        &self,
        directory: &RunDirectory,
        stage: &str,
        weights: Option<&BTreeMap<String, Tensor>>,
        tell: impl FnOnce(&str),
    ) -> Result<()> {
        let path = directory.weights(&self.name);
        let problem = match input_file::read_whole(&path) {
            Ok(bytes) if checksum::of_bytes(&bytes) == self.sha256 => return Ok(()),
            Ok(_) => "is not what the run wrote",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is missing",
            Err(error) => return Err(cannot_read(&path, error)),
        };
        let bytes = weights.map(tensor_file::encode_weights).transpose()?;
        let path_shown = path.display();
        let Some(bytes) = bytes.filter(|bytes| checksum::of_bytes(bytes) == self.sha256) else {
            return Err(Error::new(format!(
                "{path_shown} {problem}, and cannot be written again: stage `{stage}` gave these weights, and they were trained on \
                 since; restore the file, or run the pipeline anew"
            )));
        };
        tell(&directory.write_again(&path, &bytes)?);
        Ok(())
    }
}
