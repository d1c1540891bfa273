//! Opens a weights file: knows its format by its content, reads its tensors, or only what they are called.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::{DType, Tensor};

use crate::contents::Contents;
use crate::defect::{Defect, WeightsError, shown};
use crate::{safetensors_file, torch_legacy, torch_zip};

/// The format of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6, usually `.pth` or `.pt`.
    TorchZip,
    /// `torch.save` before PyTorch 1.6, often `.pth.tar` (without being a tar archive).
    TorchLegacy,
}

/// The state dict of a weights file.
#[derive(Debug)]
pub struct WeightsFile {
    /// The format that the content has, whatever the file is called.
    pub format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub key: String,
    /// The tensors by name, on the CPU, in the type that they were saved in (bool as u8).
    pub tensors: BTreeMap<String, Tensor>,
}

/// What a weights file holds, without the tensors' elements.
#[derive(Debug)]
pub struct Outline {
    /// The format that the content has, whatever the file is called.
    pub format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub key: String,
    /// Types and shapes by name.
    pub tensors: BTreeMap<String, (DType, Vec<usize>)>,
}

/// Reads the state dict of a weights file: safetensors, or anything that `torch.save` wrote.
///
/// A file that holds several (a teacher's and a student's) needs a `key`: see [`Defect::Ambiguous`]. Nothing in a
/// pickle is ever run.
pub fn read(path: &Path, key: Option<&str>) -> Result<WeightsFile, WeightsError> {
    with_file(path, |file, length| {
        let contents = open(file, length, key)?;
        let (format, key) = (contents.format, contents.key.clone());
        Ok(WeightsFile { format, key, tensors: contents.tensors()? })
    })
}

/// Reads the names, types and shapes in a weights file, and checks everything but the tensors' elements: a matter of
/// milliseconds.
pub fn outline(path: &Path, key: Option<&str>) -> Result<Outline, WeightsError> {
    with_file(path, |file, length| {
        let contents = open(file, length, key)?;
        let tensors = contents.views.into_iter().map(|(name, view)| (name, (view.dtype, view.shape))).collect();
        Ok(Outline { format: contents.format, key: contents.key, tensors })
    })
}

fn with_file<T>(path: &Path, work: impl FnOnce(&File, u64) -> Result<T, Defect>) -> Result<T, WeightsError> {
    let work = || {
        // Before it is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Defect::Missing,
            _ => Defect::Unreadable(error),
        })?;
        if !metadata.is_file() {
            let found = if metadata.is_dir() { "a directory" } else { "a device or a pipe" };
            return Err(Defect::NotAFile { found });
        }
        if metadata.len() == 0 {
            return Err(Defect::Empty);
        }
        work(&File::open(path)?, metadata.len())
    };
    work().map_err(|defect| WeightsError { path: path.to_path_buf(), defect })
}

/// Opens a file of `length` bytes in whatever format it is.
fn open<'f>(file: &'f File, length: u64, key: Option<&str>) -> Result<Contents<BufReader<&'f File>>, Defect> {
    const HEAD: u64 = 512;
    let mut file = BufReader::new(file);
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let contents = match format(&head)? {
        Format::Safetensors => safetensors_file::open(file, length, key),
        Format::TorchZip => torch_zip::open(file, length, key),
        Format::TorchLegacy => torch_legacy::open(file, length, key),
    }?;
    contents.check_size(length)?;
    Ok(contents)
}

/// The format of a file that begins with `head`.
fn format(head: &[u8]) -> Result<Format, Defect> {
    match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Format::TorchZip),
        [0x80, 2..=5, ..] => Ok(Format::TorchLegacy),
        // A length, whose upper bytes are zero, and a JSON object.
        [_, _, _, _, _, _, _, 0, b'{', ..] => Ok(Format::Safetensors),
        _ => Err(stranger(head)),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    // The end may be in the middle of a character.
    str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true) && bytes.iter().all(printable)
}

/// What a file of no known format is, and what to do about the usual accidents.
fn stranger(head: &[u8]) -> Defect {
    let text = String::from_utf8_lossy(head);
    let lower = text.trim_start().to_lowercase();
    let (found, way_out) = if head.starts_with(b"version https://git-lfs") {
        ("a Git LFS pointer instead of the file itself", "fetch the file with `git lfs pull`")
    } else if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        ("a web page (HTML)", "download the file itself: the link led to a page about it, or to an error")
    } else if lower.starts_with("<?xml") {
        ("an XML document", "download the file itself: servers report errors like this")
    } else if head.starts_with(&[0x1f, 0x8b]) {
        ("compressed with gzip", "unpack it with gunzip first")
    } else if head.get(257..262) == Some(b"ustar") {
        ("a tar archive", "unpack it first; if PyTorch before 0.2 wrote it, save it again with a newer one")
    } else if head.starts_with(b"\x89HDF\r\n") {
        ("an HDF5 file", "convert it to safetensors with PyTorch's parameter names")
    } else if head.starts_with(b"\x93NUMPY") {
        ("a NumPy array", "convert it to safetensors with PyTorch's parameter names")
    } else if head.iter().all(|byte| *byte == 0) {
        ("filled with zeros", "copy or download it again")
    } else {
        let found = if is_text(head) {
            format!("text that begins with `{}`", shown(text.chars().take(40).collect::<String>().trim()))
        } else {
            format!("of a format that is not known here (it begins with the bytes {:02x?})", &head[..head.len().min(8)])
        };
        return Defect::NotWeights { found, way_out: "give a .safetensors file or one written by `torch.save`" };
    };
    Defect::NotWeights { found: found.to_string(), way_out }
}
