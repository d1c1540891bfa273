//! What is wrong with a data file.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a data file: which file, where in it, why, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataError {
    file: PathBuf,
    place: Option<String>,
    reason: String,
    help: Option<String>,
}

impl DataError {
    /// A problem with `file` as a whole.
    pub fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: file.to_path_buf(), place: None, reason: reason.into(), help: None }
    }

    /// The operating system's refusal to do something with `file`.
    pub fn io(file: &Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(file, format!("{doing}: {error}"))
    }

    /// Says where in the file: a row, a record, a byte, a variable.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// File, place and reason, without the way out.
    pub fn message(&self) -> String {
        let file = self.file.display();
        match &self.place {
            Some(place) => format!("{file}, {place}: {}", self.reason),
            None => format!("{file}: {}", self.reason),
        }
    }

    /// What the user can do about it.
    pub fn way_out(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{} ({help})", self.message()),
            None => f.write_str(&self.message()),
        }
    }
}

impl std::error::Error for DataError {}

/// What the file system knows of the path that the user gave.
pub(crate) fn given(path: &Path) -> Result<std::fs::Metadata, DataError> {
    std::fs::metadata(path).map_err(|error| {
        DataError::io(path, "cannot be opened", &error)
            .help("a path that does not begin with / begins in the working directory; no dataset is downloaded")
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
