//! `export`: a network of a run as a file that other programs open.

mod found_network;
mod onnx_file;
mod safetensors_file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use zskt_api::{Context, Diagnostic, Error, Registry, Result};

use crate::text_format;
use found_network::FoundNetwork;

/// How a network is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Weights under PyTorch's names, and what is known of the network beside them
    Safetensors,
    /// PyTorch's state dict, as torch.load(weights_only=True) opens it
    Pth,
    /// An ONNX model, operator set 17 or, with GELU, 20, with its weights under PyTorch's names
    Onnx,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Onnx => "onnx",
        }
    }
}

/// What is to be exported.
pub struct Request<'a> {
    /// The run's folder.
    pub run: &'a Path,
    /// Which network; `None` for the student.
    pub network: Option<&'a str>,
    /// Whether its best weights are taken, and not the last.
    pub best: bool,
    /// How it is written.
    pub format: Format,
    /// The file to write; `None` for one in the working directory that is named like the network.
    pub to: Option<&'a Path>,
    /// Whether an ONNX model normalizes images itself.
    pub with_normalization: bool,
}

/// Writes a network of a run, and says what was written; `tell` is given what may be wrong with it.
///
/// # Errors
/// When the folder holds no run, the run no such network, or the file cannot be written.
pub fn export(
    request: &Request<'_>,
    registry: &Registry,
    tell: impl Fn(&Diagnostic),
) -> std::result::Result<String, Diagnostic> {
    if request.with_normalization && request.format != Format::Onnx {
        let problem = Diagnostic::global("only an ONNX model can normalize images: the others are weights alone");
        return Err(problem.help("add --format onnx, or leave --with-normalization away"));
    }
    let found = FoundNetwork::read(request.run, request.network, request.best, registry)?;
    // It is not refused: a library that is built again for a later release has another sum, and the network is the run's all the same.
    for library in &found.changed_libraries {
        let what = match request.format {
            Format::Onnx => "its weights fit, but what it computes may not be what was trained",
            Format::Safetensors | Format::Pth => {
                "the weights are those that were trained; what they are part of may be another"
            }
        };
        let message = format!("the plugin library {} changed since the run began: {what}", library.display());
        let problem = Diagnostic::global(message).warning();
        tell(&problem.help("`zskt-run runs verify RUN` compares it with the sum in the run's manifest; a copy of what it was is named with --plugin"));
    }
    let bytes = match request.format {
        Format::Safetensors => safetensors_file::encode(&found.weights, &found.metadata),
        Format::Pth => state_dict(&found),
        Format::Onnx => onnx_model(&found, request.with_normalization),
    };
    let (ending, best) = (request.format.ending(), if request.best { ".best" } else { "" });
    let path = request.to.map_or_else(|| PathBuf::from(format!("{}{best}.{ending}", found.name)), Path::to_owned);
    let written = bytes.and_then(|bytes| write(&path, &bytes));
    written.map_err(|error| Diagnostic::global(format!("cannot export: {error}")))?;
    let count = text_format::count(found.parameters);
    Ok(format!(
        "{}: `{}` of {}, {count} parameters, {}\n",
        path.display(),
        found.name,
        request.run.display(),
        found.moment
    ))
}

fn state_dict(found: &FoundNetwork) -> Result<Vec<u8>> {
    let tensors = found.weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    torch_checkpoint::write_state_dict(tensors).context("PyTorch's format")
}

fn onnx_model(found: &FoundNetwork, with_normalization: bool) -> Result<Vec<u8>> {
    let not = |what: &str| Error::new(format!("`{}` {what}", found.name));
    let forward =
        found.forward.as_deref().ok_or_else(|| not("tells no classes apart, and only classifiers become ONNX"))?;
    let image = found.image.ok_or_else(|| not("has no images in its pipeline, whose size an ONNX model states"))?;
    let normalization = found.normalization.as_ref().filter(|_| with_normalization);
    if with_normalization && normalization.is_none() {
        return Err(not("has no images in its pipeline whose normalization is known: leave --with-normalization away"));
    }
    let mut metadata = found.metadata.clone();
    // What is meant for PyTorch's loaders.
    metadata.remove("format");
    let classes = found.classes.unwrap_or_default();
    let network = onnx_file::Network { forward, weights: &found.network, precision: found.precision, image, classes };
    onnx_file::encode(&network, normalization, &metadata).context("as ONNX")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |failure: std::io::Error| {
        let reason = text_format::reason(&failure);
        let more = match failure.kind() {
            std::io::ErrorKind::AlreadyExists => "; nothing is ever overwritten: give another file with --to",
            std::io::ErrorKind::NotFound => "; its folder has to be there",
            _ => "",
        };
        Error::new(format!("cannot write {}: {reason}{more}", path.display()))
    };
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// What is written beside the weights: texts by name.
pub type Metadata = BTreeMap<String, String>;
