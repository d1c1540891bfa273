//! The file of a package: a tar archive, packed by gzip, whose first entry is the manifest. It may come from anyone: nothing is taken from
//! it but plain files that the manifest lists, each no longer than it says and with the sum that it says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};
use zskt_api::Diagnostic;

use super::limits::{MOST_MANIFEST, MOST_UNPACKED};
use super::manifest::Manifest;
use crate::text_format;

/// What a package's file ends with.
pub const ENDING: &str = ".zskt";

/// The entry that says what the others are.
pub const MANIFEST: &str = "manifest.json";

/// Writes a package: the same files make the same bytes.
///
/// # Errors
/// When they cannot be written.
pub fn write(out: impl Write, manifest: &[u8], files: &[(String, Vec<u8>)]) -> io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(out, Compression::best()));
    let all =
        std::iter::once((MANIFEST, manifest)).chain(files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])));
    for (path, bytes) in all {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes)?;
    }
    archive.into_inner()?.finish()?.flush()
}

/// Unpacks a package into an empty folder, and gives its manifest. `accept` looks at the manifest before anything else is read.
///
/// # Errors
/// When it is not a package, or another than its manifest says. What was unpacked until then is in the folder.
pub fn unpack(
    packed: impl Read,
    folder: &Path,
    accept: impl FnOnce(&Manifest) -> Result<(), Diagnostic>,
) -> Result<Manifest, Diagnostic> {
    let unreadable = |error: io::Error| {
        Diagnostic::global(format!(
            "it is damaged, not whole, or no package ({})",
            text_format::one_line(&text_format::reason(&error))
        ))
    };
    let refused =
        |path: &str, why: &str| Diagnostic::global(format!("its entry `{}` {why}", text_format::one_line(path)));
    // Raw: what tar formats add to entries, as longer names and links, are entries of kinds that no package has.
    let mut archive = Archive::new(GzDecoder::new(packed).take(MOST_UNPACKED));
    let mut entries = archive.entries().map_err(unreadable)?.raw(true);
    let mut next = || -> Result<_, Diagnostic> {
        let Some(entry) = entries.next() else { return Ok(None) };
        let entry = entry.map_err(unreadable)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(refused(&path, "is not a plain file"));
        }
        Ok(Some((path, entry)))
    };
    let Some((first, entry)) = next()? else { return Err(Diagnostic::global("it is empty")) };
    if first != MANIFEST || entry.size() > MOST_MANIFEST {
        return Err(Diagnostic::global(format!("it is not a package: it does not begin with `{MANIFEST}`")));
    }
    let mut bytes = Vec::new();
    entry.take(MOST_MANIFEST).read_to_end(&mut bytes).map_err(unreadable)?;
    let manifest = Manifest::read(&bytes)?;
    accept(&manifest)?;
    let mut left: BTreeSet<_> = manifest.files.keys().map(String::as_str).collect();
    while let Some((path, mut entry)) = next()? {
        let Some(expected) = manifest.files.get(&path).filter(|_| left.remove(path.as_str())) else {
            return Err(refused(&path, "is not in its manifest, or is there twice"));
        };
        if entry.size() != expected.bytes {
            return Err(refused(&path, "has another length than its manifest says"));
        }
        if copy(&mut entry, &folder.join(&path), &unreadable)? != expected.sha256 {
            return Err(refused(&path, "has another SHA-256 sum than its manifest says: it was changed or damaged"));
        }
    }
    if let Some(missing) = left.first() {
        return Err(refused(missing, "is missing"));
    }
    write_new(&folder.join(MANIFEST), |file| file.write_all(&bytes)).map_err(|error| cannot_write(&error))?;
    Ok(manifest)
}

/// Writes a file of a package, and gives its sum.
fn copy(
    entry: &mut impl Read,
    target: &Path,
    unreadable: &impl Fn(io::Error) -> Diagnostic,
) -> Result<String, Diagnostic> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|error| cannot_write(&error))?;
    }
    let (mut sum, mut piece, mut broken) = (Sha256::new(), vec![0; 1 << 16], None);
    let copied = write_new(target, |file| {
        loop {
            match entry.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    sum.update(&piece[..count]);
                    file.write_all(&piece[..count])?;
                }
                Err(error) => {
                    broken = Some(error);
                    return Ok(());
                }
            }
        }
    });
    copied.map_err(|error| cannot_write(&error))?;
    broken.map_or_else(|| Ok(format!("{:x}", sum.finalize())), |error| Err(unreadable(error)))
}

/// Writes a file that others can read and not change; what is there already is never written to.
fn write_new(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    let mut file = options.open(path)?;
    fill(&mut file)?;
    file.sync_all()
}

fn cannot_write(error: &io::Error) -> Diagnostic {
    Diagnostic::global(format!("it cannot be unpacked: {}", text_format::reason(error)))
}
