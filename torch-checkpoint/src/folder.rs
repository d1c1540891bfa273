//! A folder as Hugging Face and timm publish a network: its weights beside what describes them.

use std::path::{Path, PathBuf};

use crate::configuration::Configuration;
use crate::error::{ErrorKind, ReadError, printable};
use crate::weights_file::WeightsFile;

/// What the weights are called, the best first.
const WEIGHTS: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// What describes the network, and its images.
const CONFIGURATIONS: [&str; 2] = ["config.json", "preprocessor_config.json"];

/// Opens the weights of the folder, and reads what stands beside them.
pub(crate) fn open(folder: &Path) -> Result<WeightsFile, ReadError> {
    let weights = WEIGHTS.map(|name| folder.join(name)).into_iter().find(|path| path.exists());
    let weights = weights.ok_or_else(|| ReadError {
        path: folder.to_path_buf(),
        kind: ErrorKind::NoWeights { expected: WEIGHTS.to_vec(), found: others(folder) },
    })?;
    WeightsFile::open(&weights).map(|file| file.given_as(folder))
}

/// Adds what is written about the network beside a file that is called as weights in such a folder are; gives where that is.
pub(crate) fn beside(path: &Path, configuration: &mut Configuration) -> Result<Vec<PathBuf>, ReadError> {
    let name = path.file_name().and_then(|name| name.to_str());
    if !name.is_some_and(|name| WEIGHTS.contains(&name)) {
        return Ok(Vec::new());
    }
    let mut read = Vec::new();
    for path in CONFIGURATIONS.map(|name| path.with_file_name(name)).into_iter().filter(|path| path.exists()) {
        configuration.read(&path)?;
        read.push(path);
    }
    Ok(read)
}

/// Files of the folder that look like weights.
fn others(folder: &Path) -> Vec<String> {
    /// Whoever has more knows which.
    const MOST: usize = 100;
    const ENDINGS: [&str; 6] = ["safetensors", "pth", "pt", "ckpt", "bin", "tar"];
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| PathBuf::from(entry.file_name()));
    let is_weights =
        |path: &PathBuf| path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    let mut found: Vec<_> =
        entries.filter(is_weights).take(MOST).map(|path| printable(&path.to_string_lossy())).collect();
    found.sort();
    found
}
