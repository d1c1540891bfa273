//! The formats of weights files, and how a file's first bytes tell them.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::error::{ErrorKind, printable};
use crate::weights_file::{head, metadata};

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

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "PyTorch",
            Self::TorchLegacy => "PyTorch before 1.6",
        })
    }
}

/// How many of a file's first bytes [`Format::detect`] looks at.
pub(crate) const HEAD_LENGTH: u64 = 512;

impl Format {
    /// The format of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is of another format.
    pub fn of(path: &Path) -> Result<Self, ErrorKind> {
        // Opening a pipe would wait for its other end.
        if metadata(path).map_err(|error| error.kind)?.is_dir() {
            return Err(ErrorKind::NotAFile { found: "a directory" });
        }
        Self::detect(&head(&mut File::open(path)?)?)
    }

    /// The format of a file that begins with `head`.
    pub(crate) fn detect(head: &[u8]) -> Result<Self, ErrorKind> {
        match head {
            // A length, whose upper bytes are zero, and a JSON object. It comes first: a length of 640 begins as a pickle does.
            [_, _, _, _, _, _, _, 0, b'{', ..] => Ok(Self::Safetensors),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Self::TorchZip),
            [0x80, 2..=5, ..] => Ok(Self::TorchLegacy),
            // `ir_version`, and behind it the name of what wrote the model, its graph, or the operator sets.
            [0x08, 3..=31, 0x12 | 0x3a | 0x42, ..] => Err(ErrorKind::Graph),
            _ => Err(unknown_format(head)),
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    // The end may be in the middle of a character.
    str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true) && bytes.iter().all(printable)
}

/// What a file of no known format is, and what to do about the usual accidents.
fn unknown_format(head: &[u8]) -> ErrorKind {
    let text = String::from_utf8_lossy(head);
    let lower = text.trim_start().to_lowercase();
    let (found, help) = if head.starts_with(b"version https://git-lfs") {
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
            format!("text that begins with `{}`", printable(text.chars().take(40).collect::<String>().trim()))
        } else {
            format!("of a format that is not known here (it begins with the bytes {:02x?})", &head[..head.len().min(8)])
        };
        return ErrorKind::NotWeights { found, help: "give a .safetensors file or one written by `torch.save`" };
    };
    ErrorKind::NotWeights { found: found.to_string(), help }
}
