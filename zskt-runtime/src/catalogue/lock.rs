//! Locks that programs hold while they change what others change, too.

use std::fs::File;
use std::io;

/// Waits until nobody else holds the lock of a file or a folder, and holds it until what is given is dropped. Where files cannot be locked,
/// nobody waits.
///
/// # Errors
/// When the system cannot tell who holds it.
pub fn hold(file: File) -> io::Result<File> {
    match file.lock() {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(file),
    }
}
