//! What is wrong with a data file.

use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::encoded_image::DecodeError;

/// What is wrong with a data file: which file, where in it, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    file: PathBuf,
    location: Option<String>,
    reason: String,
    help: Option<String>,
}

impl ReadError {
    /// A problem with `file` as a whole.
    pub(crate) fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), location: None, reason: reason.into(), help: None }
    }

    /// The operating system's refusal to do something with `file`.
    pub(crate) fn io(file: &Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(file, format!("{doing}: {error}"))
    }

    /// What is wrong with an image in `file`.
    pub(crate) fn image(file: &Path, error: &DecodeError) -> Self {
        Self { help: error.help(), ..Self::new(file, error.to_string()) }
    }

    /// Says where in the file: a row, a record, a byte, a variable.
    pub(crate) fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Says what to do about it.
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// File, place and reason, without the help.
    pub fn message(&self) -> String {
        let file = self.file.display();
        match &self.location {
            Some(location) => format!("{file}, {location}: {}", self.reason),
            None => format!("{file}: {}", self.reason),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{} ({help})", self.message()),
            None => f.write_str(&self.message()),
        }
    }
}

impl std::error::Error for ReadError {}

/// What the file system knows of the path that the user gave.
pub(crate) fn metadata(path: &Path) -> Result<Metadata, ReadError> {
    std::fs::metadata(path).map_err(|error| {
        ReadError::io(path, "cannot be opened", &error)
            .with_help("a path that does not begin with / begins in the working directory")
    })
}

/// A number as people read it: `30,730,000`.
pub(crate) fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
