//! What an opened weights file holds: checked views of storages, and a way to fetch the storages.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use candle_core::Tensor;
use zip::ZipArchive;

use crate::allocation_budget::AllocationBudget;
use crate::error::{ErrorKind, Location, printable};
use crate::format::Format;
use crate::view::{ByteOrder, TensorView};
use crate::zip_entry;

/// An opened weights file whose header was read and checked.
pub(crate) struct TensorArchive<R> {
    pub(crate) format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub(crate) key: String,
    pub(crate) views: BTreeMap<String, TensorView>,
    pub(crate) storages: Storages<R>,
    pub(crate) order: ByteOrder,
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
    /// Refuses tensors that take far more memory than the file, whose size is `length`, can justify.
    pub(crate) fn check_size(&self, length: u64) -> Result<(), ErrorKind> {
        let mut budget = AllocationBudget::for_tensors(length);
        if self.views.values().all(|view| budget.take(view.length())) {
            return Ok(());
        }
        let largest = self.views.iter().max_by_key(|(_, view)| view.length());
        let largest = largest.map(|(name, view)| format!(" (the largest is `{}`: {:?})", printable(name), view.shape));
        Err(ErrorKind::Excessive {
            location: Location::from(0),
            what: format!("its tensors take far more memory than its {length} bytes{}", largest.unwrap_or_default()),
        })
    }

    /// Reads the tensors, one storage at a time.
    pub(crate) fn tensors(mut self) -> Result<BTreeMap<String, Tensor>, ErrorKind> {
        let mut by_storage: BTreeMap<usize, Vec<(String, TensorView)>> = BTreeMap::new();
        for (name, view) in self.views {
            by_storage.entry(view.storage).or_default().push((name, view));
        }
        let mut tensors = BTreeMap::new();
        for (storage, views) in by_storage {
            let bytes = self.storages.fetch(storage)?;
            for (name, view) in views {
                let tensor = view.tensor(&bytes, self.order).map_err(|error| ErrorKind::Unsupported {
                    what: format!("its tensor `{}` cannot be made here ({error})", printable(&name)),
                    help: "save it in another type",
                })?;
                tensors.insert(name, tensor);
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
