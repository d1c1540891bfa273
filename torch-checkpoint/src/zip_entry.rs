//! Entries of a zip archive as PyTorch writes them: neither compressed nor encrypted, so that none can be larger than the
//! archive.

use std::io::{Read, Seek};

use zip::{CompressionMethod, ZipArchive};

use crate::error::{ErrorKind, printable};

/// Checks that an entry is stored as it is and fits into the archive of `length` bytes; returns its size.
pub(crate) fn check<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize, length: u64) -> Result<u64, ErrorKind> {
    let directory = archive.central_directory_start();
    let entry = archive.by_index_raw(index).map_err(|error| unreadable(&error, index, directory))?;
    let name = printable(&String::from_utf8_lossy(entry.name_raw()));
    if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
        let how = if entry.encrypted() { "encrypted" } else { "compressed" };
        return Err(ErrorKind::Unsupported {
            what: format!("entry `{name}` of the archive is {how}, and PyTorch stores entries as they are"),
            help: "unpack it, load it with PyTorch, and `torch.save` its state dict",
        });
    }
    let needs = entry.header_start().saturating_add(entry.size());
    if entry.size() != entry.compressed_size() || needs > length {
        return Err(ErrorKind::CutShort {
            what: format!("entry `{name}`"),
            whole: "the file".to_string(),
            needs,
            has: length,
        });
    }
    Ok(entry.size())
}

/// Reads an entry that was checked, and compares its checksum.
pub(crate) fn read<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize) -> Result<Vec<u8>, ErrorKind> {
    let directory = archive.central_directory_start();
    let mut entry = archive.by_index(index).map_err(|error| unreadable(&error, index, directory))?;
    let (start, size) = (entry.header_start(), entry.size());
    let mut bytes = Vec::with_capacity(size as usize);
    // The checksum is compared where the content ends, so the limit lies one byte behind that.
    let read = entry.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes);
    let name = printable(&String::from_utf8_lossy(entry.name_raw()));
    match read {
        Ok(count) if count as u64 == size => Ok(bytes),
        Ok(count) => Err(ErrorKind::Damaged {
            location: start.into(),
            what: format!("entry `{name}` has {count} bytes instead of {size}"),
        }),
        Err(error) => Err(ErrorKind::Damaged { location: start.into(), what: format!("entry `{name}`: {error}") }),
    }
}

/// An entry that the directory, which starts at byte `directory`, describes in no readable way.
fn unreadable(error: &zip::result::ZipError, index: usize, directory: u64) -> ErrorKind {
    ErrorKind::Damaged {
        location: directory.into(),
        what: format!("entry {index} of the zip archive cannot be read ({error})"),
    }
}
