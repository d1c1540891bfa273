//! The files in a tar archive, one after the other.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::ReadError;

/// Longer than any path. Names that do not fit into an entry's header are entries of their own, whose size is a claim like any other.
const LONGEST_NAME: u64 = 1 << 16;

/// Calls `take` with the name, the size and the contents of each file in the archive; `damaged` says which archive cannot be
/// read.
pub(super) fn for_each_file<R: Read>(
    archive: R,
    damaged: impl Fn(io::Error) -> ReadError,
    mut take: impl FnMut(&Path, u64, &mut dyn Read) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut archive = Archive::new(archive);
    let mut long_name = None;
    // Left to itself, the crate reads names of any length into memory.
    for entry in archive.entries().map_err(&damaged)?.raw(true) {
        let mut entry = entry.map_err(&damaged)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let mut name = contents(&mut entry).map_err(&damaged)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                long_name = Some(path(&name));
            }
            EntryType::XHeader => {
                let records = contents(&mut entry).map_err(&damaged)?;
                let records = PaxExtensions::new(&records).filter_map(Result::ok);
                let name = records.filter(|record| record.key_bytes() == b"path").last();
                long_name = name.map(|record| path(record.value_bytes())).or(long_name);
            }
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => {
                let name = match long_name.take() {
                    Some(name) => name,
                    None => entry.path().map_err(&damaged)?.into_owned(),
                };
                let bytes = entry.size();
                take(&name, bytes, &mut entry)?;
            }
        }
    }
    Ok(())
}

fn contents<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<u8>> {
    if entry.size() > LONGEST_NAME {
        return Err(io::Error::other(format!("a name of {} bytes, {LONGEST_NAME} at most", entry.size())));
    }
    let mut contents = Vec::new();
    entry.read_to_end(&mut contents)?;
    Ok(contents)
}

/// What is looked for has an ASCII name.
fn path(name: &[u8]) -> PathBuf {
    String::from_utf8_lossy(name).into_owned().into()
}
