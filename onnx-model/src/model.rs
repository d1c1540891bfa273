//! A model: a graph, and what is said of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::Bytes;

use crate::error::{ErrorKind, ReadError};
use crate::external_data::ExternalData;
use crate::graph::Graph;
use crate::memory_demand;
use crate::proto::ModelProto;

/// IR versions whose messages are as this crate reads them.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What wrote it: `pytorch 2.9.1`.
    pub producer: String,
    /// The version of the format's own operations that it uses, where it uses any.
    pub opset: Option<i64>,
    /// What else is said of it, by key.
    pub metadata: BTreeMap<String, String>,
    /// What it computes.
    pub graph: Graph,
    /// The files that hold its external data.
    pub external_files: Vec<PathBuf>,
}

/// Reads a model and the external data beside it.
///
/// # Errors
/// What is wrong with it, and what to do about it.
pub fn read(path: &Path) -> Result<Model, ReadError> {
    let work = || {
        let file = bytes_of(path)?;
        refuse_other_formats(&file)?;
        memory_demand::check(&file)?;
        let proto = ModelProto::decode(file).map_err(|error| ErrorKind::damaged(format!("{error}")))?;
        Model::read(proto, path)
    };
    work().map_err(|kind| ReadError { path: path.to_path_buf(), kind })
}

fn bytes_of(path: &Path) -> Result<Bytes, ErrorKind> {
    // Before it is opened: opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Missing,
        _ => ErrorKind::Unreadable(error),
    })?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "a device or a pipe" };
        return Err(ErrorKind::NotAFile { found });
    }
    let bytes = std::fs::read(path)?;
    if bytes.is_empty() { Err(ErrorKind::Empty) } else { Ok(bytes.into()) }
}

/// What the usual mistakes are, and what to do about them.
fn refuse_other_formats(file: &[u8]) -> Result<(), ErrorKind> {
    let start = String::from_utf8_lossy(&file[..file.len().min(64)]).trim_start().to_lowercase();
    let (found, help) = if start.starts_with("version https://git-lfs") {
        ("a Git LFS pointer instead of the file itself", "fetch the file with `git lfs pull`")
    } else if start.starts_with("<!doctype html") || start.starts_with("<html") {
        ("a web page (HTML)", "download the file itself: the link led to a page about it, or to an error")
    } else if file.starts_with(b"PK\x03\x04") {
        (
            "a zip archive, as PyTorch's and Keras's own files are",
            "weights of PyTorch are for `Checkpoint(model: …, path: …)`; export any other model as ONNX",
        )
    } else if file.starts_with(b"\x89HDF\r\n") {
        ("an HDF5 file, as Keras's own files are", "convert it with `tf2onnx`")
    } else if file.get(4..8) == Some(b"TFL3") {
        ("a TensorFlow Lite model", "convert it with `tf2onnx --tflite`")
    } else if file.get(4..8) == Some(b"ORTM") {
        ("a model in ONNX Runtime's own format", "give the .onnx file that it was made of")
    } else {
        return Ok(());
    };
    Err(ErrorKind::NotOnnx { found, help })
}

impl Model {
    fn read(proto: ModelProto, path: &Path) -> Result<Self, ErrorKind> {
        let graph = proto.graph.ok_or_else(|| ErrorKind::damaged("it holds no graph"))?;
        let version = proto.ir_version.unwrap_or_default();
        if !IR_VERSIONS.contains(&version) {
            let (first, last) = IR_VERSIONS.into_inner();
            return Err(ErrorKind::Unsupported {
                what: format!("it is of IR version {version}, and {first} to {last} are read"),
                help: "export it again with another version of `onnx`",
            });
        }
        let mut opset = None;
        for set in proto.opset_import {
            if set.domain.is_none_or(|domain| domain.is_empty() || domain == "ai.onnx") {
                opset = opset.max(set.version);
            }
        }
        let entries = proto.metadata_props.into_iter();
        let metadata = entries.map(|entry| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default())).collect();
        let mut external = ExternalData::beside(path);
        let graph = Graph::read(graph, &mut external)?;
        let producer =
            [proto.producer_name, proto.producer_version].into_iter().flatten().collect::<Vec<_>>().join(" ");
        Ok(Self { producer, opset, metadata, graph, external_files: external.into_files() })
    }
}
