//! What can be wrong with a weights file, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A weights file that cannot be used: which file, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot take weights from `{}`: {kind}; {}", path.display(), kind.help())]
pub struct ReadError {
    /// The path as it was given.
    pub path: PathBuf,
    /// What is wrong with the file.
    pub kind: ErrorKind,
}

/// What is wrong with a weights file: what was found, and where.
#[derive(Clone, Debug, thiserror::Error)]
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
    Unreadable(Arc<std::io::Error>),
    /// A file of no bytes.
    #[error("it is empty (0 bytes)")]
    Empty,
    /// A file of another kind: a web page, a Git LFS pointer, an archive of something else.
    #[error("it is {found}")]
    NotWeights {
        /// What the file is, judged by its content.
        found: String,
        /// What to do about it.
        help: &'static str,
    },
    /// A model in ONNX's format, as far as its first bytes tell.
    #[error("it is an ONNX model")]
    Graph,
    /// The file, or a part of it, ends before its content does.
    #[error("it is cut short: {what} ends at byte {needs} of {whole}, which has {has} bytes")]
    CutShort {
        /// The part that is not all there.
        what: String,
        /// What should hold the part: the file, or an entry of its archive.
        whole: String,
        /// Where the part should end.
        needs: u64,
        /// How many bytes there are.
        has: u64,
    },
    /// The content contradicts itself or its format.
    #[error("it is damaged at {location}: {what}")]
    Damaged {
        /// Where the contradiction was noticed.
        location: Location,
        /// What it is.
        what: String,
    },
    /// The content asks for far more memory than its size can justify, as only a hostile or badly damaged file does.
    #[error("it is refused at {location}: {what}")]
    Excessive {
        /// Where the demand is made.
        location: Location,
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
    /// A folder without the weights of a network.
    #[error("it is a folder without weights")]
    NoWeights {
        /// What weights in a folder are called.
        expected: Vec<&'static str>,
        /// Files in it that look like weights.
        found: Vec<String>,
    },
    /// A readable file without named tensors.
    #[error("it holds no state dict: found {found}")]
    NoStateDict {
        /// What it holds instead.
        found: String,
    },
    /// Several state dicts and no reason to prefer one.
    #[error("it holds several state dicts: {}", quoted_list(keys))]
    Ambiguous {
        /// Where they are: keys, joined by dots.
        keys: Vec<String>,
    },
    /// The asked-for state dict is not there.
    #[error("it has no state dict under the key `{key}`")]
    UnknownKey {
        /// The key that was asked for.
        key: String,
        /// The keys that there are; none where the state dict is not wrapped in anything.
        keys: Vec<String>,
    },
}

impl From<std::io::Error> for ErrorKind {
    fn from(error: std::io::Error) -> Self {
        Self::Unreadable(Arc::new(error))
    }
}

impl ErrorKind {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Missing => "relative paths start at the working directory".to_string(),
            Self::NoWeights { found, .. } if !found.is_empty() => {
                format!("give the file itself: it has {}", quoted_list(found))
            }
            Self::NoWeights { expected, .. } => {
                let names: Vec<_> = expected.iter().map(ToString::to_string).collect();
                format!("give a .safetensors, .pth or .pth.tar file, or a folder with one of {}", quoted_list(&names))
            }
            Self::NotAFile { .. } => "give the path of a .safetensors, .pth or .pth.tar file".to_string(),
            Self::Unreadable(_) => "check the permissions and the disk".to_string(),
            Self::Graph => "`Onnx(path: …)` takes it as a teacher".to_string(),
            Self::Empty | Self::CutShort { .. } => "copy or download it again".to_string(),
            Self::Damaged { .. } => "copy, download or save it again".to_string(),
            Self::Excessive { .. } => "only a hostile or badly damaged file looks like this: do not use it".to_string(),
            Self::NotWeights { help, .. } | Self::Unsupported { help, .. } => (*help).to_string(),
            Self::NoStateDict { .. } => "save `model.state_dict()`".to_string(),
            Self::Ambiguous { .. } => "choose one with the parameter `key`".to_string(),
            Self::UnknownKey { keys, .. } if keys.is_empty() => {
                "its tensors are not wrapped in anything: leave `key` out".to_string()
            }
            Self::UnknownKey { keys, .. } => format!("it has {}", quoted_list(keys)),
        }
    }
}

/// A position in a file, or in one entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The name of the archive's entry, if the file is one.
    pub entry: Option<String>,
    /// The byte, counted from the start of the entry or the file.
    pub offset: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "byte {} of `{entry}`", self.offset),
            None => write!(f, "byte {}", self.offset),
        }
    }
}

impl From<u64> for Location {
    fn from(offset: u64) -> Self {
        Self { entry: None, offset }
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

/// `a`, `b` and 3 more.
pub(crate) fn quoted_list(names: &[String]) -> String {
    const MOST: usize = 12;
    let mut text = names.iter().take(MOST).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}
