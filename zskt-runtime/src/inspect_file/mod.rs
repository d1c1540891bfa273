//! `inspect FILE`: what a file of weights, an ONNX file, or a folder of images holds.

mod graph;
mod images;
mod weights;

pub use graph::{is_graph, numbers};

use std::path::Path;

use zskt_api::{Diagnostic, Registry, fetch_first};

use crate::dataset_at;

/// What is asked of a file.
pub struct Request<'a> {
    /// The file or folder.
    pub path: &'a Path,
    /// Only what lies under this key.
    pub key: Option<&'a str>,
    /// Where to write a picture of the first images.
    pub samples: Option<&'a Path>,
    /// As JSON.
    pub json: bool,
}

/// Everything that a file or folder holds.
///
/// # Errors
/// When it is neither weights nor images, with the reasons why it is none of them.
pub fn describe(request: &Request<'_>, registry: &Registry) -> Result<String, Diagnostic> {
    if !request.path.exists() {
        if let Some(problem) = request.path.to_str().and_then(fetch_first) {
            return Err(problem);
        }
        let message = format!("cannot read `{}`: there is no such file or folder", request.path.display());
        return Err(Diagnostic::global(message).help("`zskt-run plugins` lists what plugins are called"));
    }
    if is_graph(request.path) {
        return match (request.samples, request.key) {
            (None, None) => graph::describe(request, registry),
            (Some(_), _) => Err(Diagnostic::global("--samples is for images, and this is an ONNX model")),
            _ => Err(Diagnostic::global("--key is for files of weights, and this is an ONNX model")),
        };
    }
    let no_weights = match weights::describe(request, registry) {
        Ok(page) if request.samples.is_none() => return Ok(page),
        Ok(_) => return Err(Diagnostic::global("--samples is for images, and these are weights")),
        Err(problem) => problem,
    };
    let found = dataset_at::at(request.path, registry);
    let found = found.map_err(|no_images| {
        let help = no_weights.help.iter().chain(&no_images.help).cloned().collect::<Vec<_>>().join("\n");
        Diagnostic::global(format!("{}; and {}", no_weights.message, no_images.message)).help(help)
    })?;
    images::describe(request, &found)
}
