//! The two ways to read a weights file: all of it, or only what its tensors are called and how large they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use candle_core::{DType, Tensor};

use crate::error::{ErrorKind, ReadError};
use crate::format::{Format, HEAD_LENGTH};
use crate::tensor_archive::TensorArchive;
use crate::view::TensorView;
use crate::{safetensors_file, torch_legacy, torch_zip};

/// The state dict of a weights file.
#[derive(Debug)]
pub struct StateDict {
    /// The format that the content has, whatever the file is called.
    pub format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub key: String,
    /// The tensors by name, on the CPU, in the type that they were saved in (bool as u8). What wrappers put before every
    /// name (`module.`) is taken off.
    pub tensors: BTreeMap<String, Tensor>,
}

/// What a weights file holds, without the tensors' elements.
#[derive(Debug)]
pub struct Header {
    /// The format that the content has, whatever the file is called.
    pub format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub key: String,
    /// The tensors' types and shapes, by the names that [`StateDict::tensors`] has.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its elements.
    pub dtype: DType,
    /// The size of each dimension.
    pub shape: Vec<usize>,
}

/// Reads the state dict of a weights file.
///
/// `key` says which, where a file holds several (a teacher's and a student's): its key, or keys joined by dots. Without
/// it, it is the only one, or else that under `state_dict`, `model_state_dict`, `model` or `net`.
///
/// # Errors
/// What is wrong with the file, and what to do about it; [`ErrorKind::Ambiguous`] and [`ErrorKind::UnknownKey`] list the
/// keys that there are.
pub fn read(path: &Path, key: Option<&str>) -> Result<StateDict, ReadError> {
    with_file(path, |file, length| {
        let archive = open(file, length, key)?;
        let (format, key) = (archive.format, archive.key.clone());
        Ok(StateDict { format, key, tensors: archive.tensors()? })
    })
}

/// Reads the names, types and shapes in a weights file, and checks everything but the tensors' elements: a matter of
/// milliseconds. `key` is that of [`read`].
///
/// # Errors
/// Those of [`read`], but for a checksum of elements that is wrong.
pub fn read_header(path: &Path, key: Option<&str>) -> Result<Header, ReadError> {
    with_file(path, |file, length| {
        let TensorArchive { format, key, views, .. } = open(file, length, key)?;
        let info = |view: TensorView| TensorInfo { dtype: view.dtype, shape: view.shape };
        Ok(Header { format, key, tensors: views.into_iter().map(|(name, view)| (name, info(view))).collect() })
    })
}

fn with_file<T>(path: &Path, work: impl FnOnce(&File, u64) -> Result<T, ErrorKind>) -> Result<T, ReadError> {
    let work = || {
        // Before it is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Missing,
            _ => ErrorKind::Unreadable(error),
        })?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a directory" } else { "a device or a pipe" };
            return Err(ErrorKind::NotAFile { found });
        }
        if metadata.len() == 0 {
            return Err(ErrorKind::Empty);
        }
        work(&File::open(path)?, metadata.len())
    };
    work().map_err(|kind| ReadError { path: path.to_path_buf(), kind })
}

/// Opens a file of `length` bytes in whatever format it is.
fn open<'f>(file: &'f File, length: u64, key: Option<&str>) -> Result<TensorArchive<BufReader<&'f File>>, ErrorKind> {
    let mut file = BufReader::new(file);
    let mut head = Vec::new();
    file.by_ref().take(HEAD_LENGTH).read_to_end(&mut head)?;
    file.rewind()?;
    let archive = match Format::detect(&head)? {
        Format::Safetensors => safetensors_file::open(file, length, key),
        Format::TorchZip => torch_zip::open(file, length, key),
        Format::TorchLegacy => torch_legacy::open(file, length, key),
    }?;
    archive.check_size(length)?;
    Ok(archive)
}
