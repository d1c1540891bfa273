//! SHA-256 sums, in hexadecimal digits: of pipelines, of libraries, and of the files that weights and images come from.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::input_file;

/// The sum of some bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// The sum of a file, as far as its size when it is opened.
///
/// # Errors
/// When it is something else, or cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    let (file, bytes) = input_file::open(path)?;
    let sum = of_reader(file.take(bytes), || false)?;
    Ok(sum.map_or_else(String::new, |(sum, _)| sum))
}

/// The sum of all that can be read, and how many bytes that is; `None` as soon as `stop` says so.
///
/// # Errors
/// When it cannot be read.
pub fn of_reader(mut reader: impl Read, stop: impl Fn() -> bool) -> io::Result<Option<(String, u64)>> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        if stop() {
            return Ok(None);
        }
        match reader.read(&mut buffer)? {
            0 => return Ok(Some((format!("{:x}", hash.finalize()), bytes))),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}
