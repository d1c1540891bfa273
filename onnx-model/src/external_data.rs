//! Tensors whose elements lie in files beside the model.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::bytes::Bytes;

use crate::error::{ErrorKind, printable};
use crate::proto::StringStringEntryProto;

/// The files that external data may lie in: those in the model's own folder and the folders within it.
pub(crate) struct ExternalData {
    folder: PathBuf,
    /// What was read of each file. Tensors that share a range share its bytes, and together they read no more than the file has.
    read: HashMap<PathBuf, FileRanges>,
}

struct FileRanges {
    file: File,
    length: u64,
    left: u64,
    ranges: HashMap<(u64, usize), Bytes>,
}

impl ExternalData {
    /// Of the model at this path.
    pub(crate) fn beside(model: &Path) -> Self {
        Self { folder: model.parent().unwrap_or(Path::new("")).to_path_buf(), read: HashMap::new() }
    }

    /// The files that were read.
    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self.read.into_keys().collect();
        files.sort();
        files
    }

    /// The `expected` bytes of a tensor.
    pub(crate) fn read(
        &mut self,
        tensor: &str,
        entries: &[StringStringEntryProto],
        expected: usize,
    ) -> Result<Bytes, ErrorKind> {
        let fault = |what: String| ErrorKind::ExternalData { tensor: tensor.to_owned(), what };
        let value = |key: &str| {
            let entry = entries.iter().find(|entry| entry.key.as_deref() == Some(key));
            entry.and_then(|entry| entry.value.as_deref())
        };
        let number = |key: &str| match value(key) {
            Some(text) => {
                let number = text.trim().parse::<u64>();
                number.map(Some).map_err(|_| fault(format!("has the {key} `{}`, which is not a size", printable(text))))
            }
            None => Ok(None),
        };
        let location = value("location").ok_or_else(|| fault("has no location".into()))?;
        let offset = number("offset")?.unwrap_or(0);
        if let Some(length) = number("length")?
            && length != expected as u64
        {
            return Err(fault(format!("has {length} bytes, and the tensor takes {expected}")));
        }
        let path =
            self.path_of(location).map_err(|what| fault(format!("lies in `{}`, {what}", printable(location))))?;
        let open = match self.read.entry(path) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let file = File::open(vacant.key())?;
                let length = file.metadata()?.len();
                vacant.insert(FileRanges { file, length, left: length, ranges: HashMap::new() })
            }
        };
        if offset.checked_add(expected as u64).is_none_or(|end| end > open.length) {
            let (shown, length) = (printable(location), open.length);
            return Err(fault(format!("takes {expected} bytes from byte {offset} of `{shown}`, which has {length}")));
        }
        if let Some(bytes) = open.ranges.get(&(offset, expected)) {
            return Ok(bytes.clone());
        }
        let left = open.left.checked_sub(expected as u64);
        open.left = left.ok_or_else(|| ErrorKind::Excessive {
            what: format!("its tensors lie on top of each other in `{}`", printable(location)),
        })?;
        let mut bytes = vec![0; expected];
        open.file.seek(SeekFrom::Start(offset))?;
        open.file.read_exact(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        open.ranges.insert((offset, expected), bytes.clone());
        Ok(bytes)
    }

    /// The file at a location, if it is one within the folder: a model must not read what whoever runs it may read.
    fn path_of(&self, location: &str) -> Result<PathBuf, String> {
        let relative = Path::new(location);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        // Windows' paths too, whatever this machine is.
        if location.is_empty() || location.contains(['\\', ':', '\0']) || !relative.components().all(plain) {
            return Err("which is not a path within the model's folder".into());
        }
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let path = folder.join(relative);
        let metadata = std::fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => "which is not there".to_owned(),
            _ => format!("which cannot be read: {error}"),
        })?;
        // Before it is opened: opening a pipe would wait for its other end.
        if !metadata.is_file() {
            return Err("which is not a file".into());
        }
        let real = |path: &Path| path.canonicalize().map_err(|error| format!("which cannot be read: {error}"));
        if !real(&path)?.starts_with(real(folder)?) {
            return Err("a link that leads out of the model's folder".into());
        }
        Ok(path)
    }
}
