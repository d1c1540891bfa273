//! What `torch.save` has written since PyTorch 1.6: a zip archive with a pickle (`NAME/data.pkl`) and one entry for
//! each storage (`NAME/data/KEY`), none of them compressed.
//!
//! Compressed entries are refused: PyTorch makes none, and without them nothing in an archive can be larger than the
//! archive. An entry's name is only ever looked up in the archive's directory.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use crate::byte_reader::ByteReader;
use crate::contents::{Contents, Storages, Tally};
use crate::defect::{Defect, Place, listed, shown};
use crate::pickle::Pickle;
use crate::rebuild;
use crate::state_dict;
use crate::view::ByteOrder;
use crate::weights_file::Format;

/// Reads the directory and the pickle of an archive of `length` bytes and checks every tensor against them.
pub(crate) fn open<R: Read + Seek>(file: R, length: u64, key: Option<&str>) -> Result<Contents<R>, Defect> {
    // The archive starts where the file does. Left to find out, the reader takes an archive whose first directory entry
    // is 76 bytes long (a folder of 21 letters: `cifar10-wrn-40-2-best`) for one that starts 76 bytes later, because
    // PyTorch's 76 bytes of zip64 records lie behind the directory.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, file).map_err(|error| Defect::Damaged {
        place: length.into(),
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
    check_entry(&mut archive, pickle_index, length)?;
    let bytes = read_entry(&mut archive, pickle_index)?;
    let mut reader = ByteReader::of_entry(bytes.as_slice(), bytes.len() as u64, shown(&pickle_name));
    let pickle = Pickle::read(&mut reader)?;
    let chosen = state_dict::choose(&pickle, key)?;

    let place = reader.place(0);
    let mut tally = Tally::default();
    let mut views = BTreeMap::new();
    for (name, id) in chosen.tensors {
        let tensor = rebuild::tensor(&pickle, name, id, &place)?;
        let storage = index(&archive, &format!("data/{}", tensor.storage.key)).ok_or_else(|| Defect::Damaged {
            place: place.clone(),
            what: format!(
                "tensor `{}` lies in storage `{}`, which the archive lacks",
                shown(name),
                shown(tensor.storage.key)
            ),
        })?;
        let found = check_entry(&mut archive, storage, length)?;
        if found != tensor.storage.length {
            return Err(Defect::Damaged {
                place,
                what: format!(
                    "storage `{}` should have {} bytes, and its entry has {found}",
                    shown(tensor.storage.key),
                    tensor.storage.length
                ),
            });
        }
        if !tally.add(storage, found, length) {
            return Err(Defect::Excessive {
                place,
                what: "the archive's entries lie on top of each other".to_string(),
            });
        }
        views.insert(name.to_string(), tensor.view(name, storage, place.clone())?);
    }
    Ok(Contents { format: Format::TorchZip, key: chosen.path, views, storages: Storages::Entries(archive), order })
}

/// Finds the pickle; the folder that it lies in has the name of the file that was saved.
fn pickle_name<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<String, Defect> {
    let mut names = archive.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
    let name =
        names.find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).ok_or_else(|| no_pickle(archive))?;
    let code = format!("{}constants.pkl", &name[..name.len() - "data.pkl".len()]);
    if archive.index_for_name_raw(code.as_bytes()).is_some() {
        return Err(Defect::Unsupported {
            what: "it is a TorchScript program".to_string(),
            way_out: "load it with `torch.jit.load` and save its `state_dict()`",
        });
    }
    Ok(name.to_string())
}

fn no_pickle<R: Read + Seek>(archive: &ZipArchive<R>) -> Defect {
    let names: Vec<String> = archive.file_names_raw().map(|name| shown(&String::from_utf8_lossy(name))).collect();
    let found = if names.is_empty() { "nothing".to_string() } else { listed(&names) };
    Defect::NotWeights {
        found: format!("a zip archive without PyTorch's `data.pkl` (it holds {found})"),
        way_out: "if the weights are packed inside it, unpack them first",
    }
}

fn byte_order<R: Read + Seek>(archive: &mut ZipArchive<R>, record: usize, length: u64) -> Result<ByteOrder, Defect> {
    check_entry(archive, record, length)?;
    match read_entry(archive, record)?.as_slice() {
        b"little" => Ok(ByteOrder::Little),
        b"big" => Ok(ByteOrder::Big),
        other => Err(Defect::Damaged {
            place: Place { entry: Some("byteorder".to_string()), offset: 0 },
            what: format!("the byte order is `{}`, not `little` or `big`", shown(&String::from_utf8_lossy(other))),
        }),
    }
}

/// Checks that an entry is stored as it is and fits into the archive of `length` bytes; returns its size.
fn check_entry<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize, length: u64) -> Result<u64, Defect> {
    let directory = archive.central_directory_start();
    let entry = archive.by_index_raw(index).map_err(|error| unreadable(&error, index, directory))?;
    let name = shown(&String::from_utf8_lossy(entry.name_raw()));
    if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
        let how = if entry.encrypted() { "encrypted" } else { "compressed" };
        return Err(Defect::Unsupported {
            what: format!("entry `{name}` of the archive is {how}, and PyTorch stores entries as they are"),
            way_out: "unpack it, load it with PyTorch, and `torch.save` its state dict",
        });
    }
    let needs = entry.header_start().saturating_add(entry.size());
    if entry.size() != entry.compressed_size() || needs > length {
        return Err(Defect::CutShort {
            what: format!("entry `{name}`"),
            whole: "the file".to_string(),
            needs,
            has: length,
        });
    }
    Ok(entry.size())
}

/// Reads an entry that was checked, and compares its checksum.
pub(crate) fn read_entry<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize) -> Result<Vec<u8>, Defect> {
    let directory = archive.central_directory_start();
    let mut entry = archive.by_index(index).map_err(|error| unreadable(&error, index, directory))?;
    let (start, size) = (entry.header_start(), entry.size());
    let mut bytes = Vec::with_capacity(size as usize);
    // The checksum is compared where the content ends, so the limit lies one byte behind that.
    let read = entry.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes);
    let name = shown(&String::from_utf8_lossy(entry.name_raw()));
    match read {
        Ok(count) if count as u64 == size => Ok(bytes),
        Ok(count) => Err(Defect::Damaged {
            place: start.into(),
            what: format!("entry `{name}` has {count} bytes instead of {size}"),
        }),
        Err(error) => Err(Defect::Damaged { place: start.into(), what: format!("entry `{name}`: {error}") }),
    }
}

/// An entry that the directory, which starts at byte `directory`, describes in no readable way.
fn unreadable(error: &zip::result::ZipError, index: usize, directory: u64) -> Defect {
    Defect::Damaged {
        place: directory.into(),
        what: format!("entry {index} of the zip archive cannot be read ({error})"),
    }
}
