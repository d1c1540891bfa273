//! What an opened weights file holds: dicts of checked views of storages, and a way to fetch the storages.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use candle_core::Tensor;
use zip::ZipArchive;

use crate::allocation_budget::AllocationBudget;
use crate::configuration::Configuration;
use crate::error::{ErrorKind, Location, printable};
use crate::format::Format;
use crate::view::{StorageNumber, TensorView};
use crate::zip_entry;

/// An opened weights file whose header was read and checked.
pub(crate) struct TensorArchive<R> {
    pub(crate) format: Format,
    /// What the file itself says of its network.
    pub(crate) configuration: Configuration,
    pub(crate) dicts: Vec<TensorDict>,
    pub(crate) storages: Storages<R>,
    /// The storages that the pickle itself holds.
    pub(crate) inline: Vec<Vec<u8>>,
}

/// A dict with tensors under text keys.
pub(crate) struct TensorDict {
    /// Where in the file it lies: keys joined by dots; empty if it is not wrapped.
    pub(crate) key: String,
    /// Its tensors in the file's order, each name once. What is wrong with one matters only to who needs it.
    pub(crate) tensors: Vec<(String, Result<TensorView, ErrorKind>)>,
    unreadable: usize,
}

/// Each of these is a text of its own, so a file does not get to have as many as it likes.
const MOST_UNREADABLE: usize = 1000;

impl TensorDict {
    pub(crate) fn new(key: String) -> Self {
        Self { key, tensors: Vec::new(), unreadable: 0 }
    }

    /// Adds a tensor.
    pub(crate) fn push(&mut self, name: String, view: Result<TensorView, ErrorKind>) -> Result<(), ErrorKind> {
        if view.is_err() {
            self.unreadable += 1;
        }
        if self.unreadable > MOST_UNREADABLE {
            return view.map(|_| ());
        }
        self.tensors.push((name, view));
        Ok(())
    }
}

/// Where the storages are.
pub(crate) enum Storages<R> {
    /// In ranges of the file.
    Ranges {
        /// The file.
        file: R,
        /// The ranges by storage number. They lie within the file.
        ranges: Vec<Range<u64>>,
    },
    /// In entries of an archive, uncompressed. A storage's number is its entry's.
    Entries(ZipArchive<R>),
}

impl<R: Read + Seek> TensorArchive<R> {
    /// Refuses tensors that take far more memory than the file, whose size is `length`, can justify: those of one dict, for no more
    /// are read at a time.
    pub(crate) fn check_size(&self, length: u64) -> Result<(), ErrorKind> {
        for dict in &self.dicts {
            let views = || dict.tensors.iter().filter_map(|(name, view)| Some((name, view.as_ref().ok()?)));
            let mut budget = AllocationBudget::for_tensors(length);
            if views().all(|(_, view)| budget.take(view.length())) {
                continue;
            }
            let largest = views().max_by_key(|(_, view)| view.length());
            let largest =
                largest.map(|(name, view)| format!(" (the largest is `{}`: {:?})", printable(name), view.info.shape));
            return Err(ErrorKind::Excessive {
                location: Location::from(0),
                what: format!(
                    "its tensors take far more memory than its {length} bytes{}",
                    largest.unwrap_or_default()
                ),
            });
        }
        Ok(())
    }

    /// Reads these tensors of one dict, each by its number there, one storage at a time.
    pub(crate) fn read(&mut self, dict: usize, wanted: &[usize]) -> Result<Vec<(usize, Tensor)>, ErrorKind> {
        let mut by_storage: BTreeMap<StorageNumber, Vec<(usize, &str, &TensorView)>> = BTreeMap::new();
        for number in wanted {
            let (name, view) = &self.dicts[dict].tensors[*number];
            let view = view.as_ref().map_err(Clone::clone)?;
            by_storage.entry(view.storage).or_default().push((*number, name, view));
        }
        let mut tensors = Vec::with_capacity(wanted.len());
        for (storage, views) in by_storage {
            let fetched;
            let bytes = match storage {
                StorageNumber::InPickle(number) => &self.inline[number],
                StorageNumber::InFile(number) => {
                    fetched = self.storages.fetch(number)?;
                    &fetched
                }
            };
            for (number, name, view) in views {
                let tensor = view.tensor(bytes).map_err(|error| ErrorKind::Unsupported {
                    what: format!("its tensor `{}` cannot be made here ({error})", printable(name)),
                    help: "save it in another type",
                })?;
                tensors.push((number, tensor));
            }
        }
        Ok(tensors)
    }
}

impl<R: Read + Seek> Storages<R> {
    fn fetch(&mut self, storage: usize) -> Result<Vec<u8>, ErrorKind> {
        match self {
            Self::Ranges { file, ranges } => {
                let Range { start, end } = ranges[storage];
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = vec![0; (end - start) as usize];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Self::Entries(archive) => zip_entry::read(archive, storage),
        }
    }
}
