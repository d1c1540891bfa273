//! What an opened weights file holds: checked views of storages, and a way to fetch the storages.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use candle_core::Tensor;
use zip::ZipArchive;

use crate::defect::{Defect, Place, shown};
use crate::view::{ByteOrder, View};
use crate::weights_file::Format;

/// An opened weights file whose header was read and checked.
pub(crate) struct Contents<R> {
    pub(crate) format: Format,
    /// Where in the file the state dict lies: keys joined by dots; empty if it is not wrapped.
    pub(crate) key: String,
    pub(crate) views: BTreeMap<String, View>,
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

impl<R: Read + Seek> Contents<R> {
    /// Refuses tensors that take far more memory than the file has bytes. Views may share a storage (tied weights),
    /// even with themselves (an expanded scalar), so some excess is legitimate; the file's size is `length`.
    pub(crate) fn check_size(&self, length: u64) -> Result<(), Defect> {
        const SHARING: u64 = 16;
        const FREE: u64 = 1 << 16;
        let limit = length.saturating_mul(SHARING).saturating_add(FREE);
        let total = self.views.values().try_fold(0_u64, |total, view| total.checked_add(view.length()));
        if total.is_some_and(|total| total <= limit) {
            return Ok(());
        }
        let largest = self.views.iter().max_by_key(|(_, view)| view.length());
        let largest = largest.map(|(name, view)| format!(" (the largest is `{}`: {:?})", shown(name), view.shape));
        Err(Defect::Excessive {
            place: Place::from(0),
            what: format!("its tensors take far more memory than its {length} bytes{}", largest.unwrap_or_default()),
        })
    }

    /// Reads the tensors, one storage at a time.
    pub(crate) fn tensors(mut self) -> Result<BTreeMap<String, Tensor>, Defect> {
        let mut by_storage: BTreeMap<usize, Vec<(String, View)>> = BTreeMap::new();
        for (name, view) in self.views {
            by_storage.entry(view.storage).or_default().push((name, view));
        }
        let mut tensors = BTreeMap::new();
        for (storage, views) in by_storage {
            let bytes = self.storages.fetch(storage)?;
            for (name, view) in views {
                let tensor = view.tensor(&bytes, self.order).map_err(|error| Defect::Unsupported {
                    what: format!("its tensor `{}` cannot be made here ({error})", shown(&name)),
                    way_out: "save it in another type",
                })?;
                tensors.insert(name, tensor);
            }
        }
        Ok(tensors)
    }
}

impl<R: Read + Seek> Storages<R> {
    fn fetch(&mut self, storage: usize) -> Result<Vec<u8>, Defect> {
        match self {
            Self::Ranges { file, ranges } => {
                let Range { start, end } = ranges[storage];
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = vec![0; (end - start) as usize];
                file.read_exact(&mut bytes)?;
                Ok(bytes)
            }
            Self::Entries(archive) => crate::torch_zip::read_entry(archive, storage),
        }
    }
}

/// Counts storages once each, against entries of an archive that lie on top of each other to seem more than they are.
#[derive(Default)]
pub(crate) struct Tally {
    seen: HashSet<usize>,
    total: u64,
}

impl Tally {
    /// Adds a storage; false if there are now more bytes than `limit`.
    pub(crate) fn add(&mut self, storage: usize, length: u64, limit: u64) -> bool {
        if self.seen.insert(storage) {
            self.total = self.total.saturating_add(length);
        }
        self.total <= limit
    }
}
