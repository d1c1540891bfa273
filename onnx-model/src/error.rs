//! What can be wrong with a model, and what to do about it.

use std::path::PathBuf;

/// A model that cannot be read: which file, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the ONNX model `{}`: {kind}; {}", path.display(), kind.help())]
pub struct ReadError {
    /// The path as it was given.
    pub path: PathBuf,
    /// What is wrong with the file.
    pub kind: ErrorKind,
}

/// What is wrong with a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing lies at the path.
    #[error("there is no such file")]
    Missing,
    /// A directory, a device, a pipe.
    #[error("it is {found}, not a file")]
    NotAFile {
        /// What lies at the path.
        found: &'static str,
    },
    /// The operating system refuses.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// A file of no bytes.
    #[error("it is empty (0 bytes)")]
    Empty,
    /// A file of another kind.
    #[error("it is {found}")]
    NotOnnx {
        /// What the file is, judged by its content.
        found: &'static str,
        /// What to do about it.
        help: &'static str,
    },
    /// The content contradicts itself or its format.
    #[error("it is damaged: {what}")]
    Damaged {
        /// The contradiction, and where.
        what: String,
    },
    /// The content asks for far more memory than its size can justify, as only a hostile or badly damaged file does.
    #[error("it is refused: {what}")]
    Excessive {
        /// What is demanded.
        what: String,
    },
    /// Sound, but of a kind that is not read here.
    #[error("{what}")]
    Unsupported {
        /// What is not supported.
        what: String,
        /// What to do about it.
        help: &'static str,
    },
    /// A tensor in another file that is not there, not in the model's folder, or too short.
    #[error("the external data of tensor `{tensor}` {what}")]
    ExternalData {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with its data.
        what: String,
    },
}

impl ErrorKind {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Missing => "relative paths start at the working directory",
            Self::NotAFile { .. } => "give the path of an .onnx file",
            Self::Unreadable(_) => "check the permissions and the disk",
            Self::Empty => "copy or download it again",
            Self::Damaged { .. } => "copy, download or export it again, and try `onnx.checker.check_model` on it",
            Self::Excessive { .. } => "only a hostile or badly damaged file looks like this: do not use it",
            Self::ExternalData { .. } => {
                "put the file that it was exported with beside the model, under its own name, or save the model as one file"
            }
            Self::NotOnnx { help, .. } | Self::Unsupported { help, .. } => help,
        }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

/// Text out of a file, fit to be shown: a hostile name must not write control characters to a terminal or fill it.
///
/// Control characters are escaped, and what is longer than 200 characters is cut off.
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut escaped: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        escaped.push('…');
    }
    escaped
}
