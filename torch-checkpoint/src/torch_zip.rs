//! What `torch.save` has written since PyTorch 1.6: a zip archive with a pickle (`NAME/data.pkl`) and one entry for
//! each storage (`NAME/data/KEY`), none of them compressed.
//!
//! Compressed entries are refused: PyTorch makes none, and without them nothing in an archive can be larger than the
//! archive. An entry's name is only ever looked up in the archive's directory.

use std::collections::HashSet;
use std::io::{Read, Seek};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

use crate::allocation_budget::AllocationBudget;
use crate::byte_reader::ByteReader;
use crate::configuration::Configuration;
use crate::error::{ErrorKind, Location, printable, quoted_list};
use crate::format::Format;
use crate::numpy_array::InlineStorages;
use crate::pickle::Pickle;
use crate::rebuild::{self, TensorReference};
use crate::tensor_archive::{Storages, TensorArchive, TensorDict};
use crate::view::{ByteOrder, TensorView};
use crate::{state_dict, zip_entry};

/// Reads the directory and the pickle of an archive of `length` bytes and checks every tensor against them.
pub(crate) fn open<R: Read + Seek>(file: R, length: u64) -> Result<TensorArchive<R>, ErrorKind> {
    // The archive starts where the file does. Left to find out, the reader takes an archive whose first directory entry
    // is 76 bytes long (a folder of 21 letters: `cifar10-wrn-40-2-best`) for one that starts 76 bytes later, because
    // PyTorch's 76 bytes of zip64 records lie behind the directory.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, file).map_err(|error| ErrorKind::Damaged {
        location: length.into(),
        what: format!(
            "the zip archive's directory, which lies at its end, cannot be read, as when a download stops early ({error})"
        ),
    })?;
    let pickle_name = pickle_name(&archive)?;
    let prefix = &pickle_name[..pickle_name.len() - "data.pkl".len()];
    let index = |archive: &ZipArchive<R>, name: &str| archive.index_for_name_raw(format!("{prefix}{name}").as_bytes());

    let order = match index(&archive, "byteorder") {
        Some(record) => byte_order(&mut archive, record, length)?,
        None => ByteOrder::Little,
    };
    let Some(pickle_index) = index(&archive, "data.pkl") else { return Err(no_pickle(&archive)) };
    zip_entry::check(&mut archive, pickle_index, length)?;
    let bytes = zip_entry::read(&mut archive, pickle_index)?;
    let mut reader = ByteReader::of_entry(bytes.as_slice(), bytes.len() as u64, printable(&pickle_name));
    let pickle = Pickle::read(&mut reader)?;
    let location = reader.location(0);
    let found = state_dict::find(&pickle, length, &location)?;

    let mut budget = AllocationBudget::for_storages(length);
    let mut seen = HashSet::new();
    let mut inline = InlineStorages::new(&pickle);
    let mut dicts = Vec::with_capacity(found.len());
    for dict in found {
        let mut tensors = TensorDict::new(dict.path);
        for (name, id) in dict.tensors {
            let mut view = |name: &str| -> Result<TensorView, ErrorKind> {
                let reference = match rebuild::tensor(&pickle, name, id, &location)? {
                    TensorReference::Array(array) => return inline.view(array, name, &location),
                    TensorReference::View(view) => view,
                };
                let key = reference.storage.key;
                let storage = index(&archive, &format!("data/{key}")).ok_or_else(|| ErrorKind::Damaged {
                    location: location.clone(),
                    what: format!(
                        "tensor `{}` lies in storage `{}`, which the archive lacks",
                        printable(name),
                        printable(key)
                    ),
                })?;
                let found = zip_entry::check(&mut archive, storage, length)?;
                if found != reference.storage.length {
                    return Err(ErrorKind::Damaged {
                        location: location.clone(),
                        what: format!(
                            "storage `{}` should have {} bytes, and its entry has {found}",
                            printable(key),
                            reference.storage.length
                        ),
                    });
                }
                if seen.insert(storage) && !budget.take(found) {
                    return Err(ErrorKind::Excessive {
                        location: location.clone(),
                        what: "the archive's entries lie on top of each other".to_string(),
                    });
                }
                reference.view(name, storage, order, location.clone())
            };
            let view = view(&name);
            tensors.push(name.into_owned(), view)?;
        }
        dicts.push(tensors);
    }
    Ok(TensorArchive {
        format: Format::TorchZip,
        configuration: Configuration::default(),
        dicts,
        inline: inline.into_storages(),
        storages: Storages::Entries(archive),
    })
}

/// Finds the pickle; the folder that it lies in has the name of the file that was saved.
fn pickle_name<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<String, ErrorKind> {
    let mut names = archive.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
    let name =
        names.find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).ok_or_else(|| no_pickle(archive))?;
    let code = format!("{}constants.pkl", &name[..name.len() - "data.pkl".len()]);
    if archive.index_for_name_raw(code.as_bytes()).is_some() {
        return Err(ErrorKind::Unsupported {
            what: "it is a TorchScript program".to_string(),
            help: "load it with `torch.jit.load` and save its `state_dict()`",
        });
    }
    Ok(name.to_string())
}

fn no_pickle<R: Read + Seek>(archive: &ZipArchive<R>) -> ErrorKind {
    let names: Vec<String> = archive.file_names_raw().map(|name| printable(&String::from_utf8_lossy(name))).collect();
    let found = if names.is_empty() { "nothing".to_string() } else { quoted_list(&names) };
    ErrorKind::NotWeights {
        found: format!("a zip archive without PyTorch's `data.pkl` (it holds {found})"),
        help: "if the weights are packed inside it, unpack them first",
    }
}

fn byte_order<R: Read + Seek>(archive: &mut ZipArchive<R>, record: usize, length: u64) -> Result<ByteOrder, ErrorKind> {
    zip_entry::check(archive, record, length)?;
    match zip_entry::read(archive, record)?.as_slice() {
        b"little" => Ok(ByteOrder::Little),
        b"big" => Ok(ByteOrder::Big),
        other => Err(ErrorKind::Damaged {
            location: Location { entry: Some("byteorder".to_string()), offset: 0 },
            what: format!("the byte order is `{}`, not `little` or `big`", printable(&String::from_utf8_lossy(other))),
        }),
    }
}
