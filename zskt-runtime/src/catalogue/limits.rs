//! How large packages and indexes may be: the same where they are made and where they are read, so that nothing is made that is refused.

use zskt_api::Diagnostic;

/// Bytes of a package's file.
pub const MOST_PACKED: u64 = 256 << 20;

/// Bytes of all files of a package together.
pub const MOST_FILES_BYTES: u64 = 512 << 20;

/// Files of a package.
pub const MOST_FILES: usize = 1000;

/// Bytes of a package's manifest.
pub const MOST_MANIFEST: u64 = 1 << 20;

/// What a package unpacks to, with what its format adds to each file.
pub const MOST_UNPACKED: u64 = MOST_FILES_BYTES + MOST_MANIFEST + (MOST_FILES as u64 + 2) * 1024;

/// Bytes of an index.
pub const MOST_INDEX: u64 = 64 << 20;

/// Checks that something has no more bytes than it may have.
///
/// # Errors
/// When it has.
pub fn check(bytes: u64, most: u64) -> Result<(), Diagnostic> {
    if bytes <= most {
        return Ok(());
    }
    Err(Diagnostic::global(format!("it has more than {} MB", most >> 20)))
}
